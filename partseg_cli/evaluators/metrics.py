"""Scores as pure functions of counts, under the counting rule `ref-v2`.

ref-v2: only pixels with a labelled part count. There a part predicted as nothing is a miss; outside of them nothing is
wrong. A mean runs over the classes that have labelled pixels. (The rule of the paper's second version: v1 of the paper
also counted the background.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor


class ClassScores(NamedTuple):
    """Scores of each class, in percent, nan where the class has no labelled pixel.

    Attributes:
        iou: intersection over union.
        recall: share of the labelled pixels that were found.
        target_pixels: number of labelled pixels.
        predicted_pixels: number of predicted pixels among all labelled ones.
    """

    iou: Float[Tensor, "K"]
    recall: Float[Tensor, "K"]
    target_pixels: Int[Tensor, "K"]
    predicted_pixels: Int[Tensor, "K"]


def class_scores(counts: Int[Tensor, "K1 K1"]) -> ClassScores:
    """Score each class by a confusion count; denominators: target + predicted - hit (IoU), target (recall)."""
    labelled = counts[:, :-1]
    hit = labelled.diagonal().double()
    target, predicted = labelled.sum(0), labelled.sum(1)[:-1]
    absent = target == 0
    iou = (100 * hit / (target + predicted - hit)).masked_fill(absent, torch.nan)
    recall = (100 * hit / target).masked_fill(absent, torch.nan)
    return ClassScores(iou, recall, target, predicted)


def group_mean(values: Float[Tensor, "K"], member: Sequence[bool]) -> float | None:
    """Give the mean over the members that have labelled pixels (not nan); None if there are none."""
    chosen = values[torch.tensor(member, dtype=torch.bool, device=values.device)]
    chosen = chosen[~chosen.isnan()]
    return float(chosen.mean()) if len(chosen) else None


def harmonic_mean(seen: float | None, unseen: float | None) -> float | None:
    """Give 2su / (s + u); 0 if a side is 0, None if a side has no class.

    >>> harmonic_mean(50.0, 30.0)
    37.5
    """
    if seen is None or unseen is None:
        return None
    return 2 * seen * unseen / (seen + unseen) if seen and unseen else 0.0
