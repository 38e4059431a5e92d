"""Which class was predicted where which class is labelled: counts of pixels."""

from __future__ import annotations

import torch
from jaxtyping import Int
from torch import Tensor


def confusion(
    prediction: Int[Tensor, "H W"], target: Int[Tensor, "H W"], classes: int
) -> Int[Tensor, "{classes}+1 {classes}+1"]:
    """Count pixels by (predicted, labelled) class; the last row and column stand for none (-1 or `classes`).

    Raises:
        ValueError: a label is outside -1 ... classes.
    """
    size = classes + 1
    for name, labels in (("prediction", prediction), ("target", target)):
        if labels.numel() and not (labels.min() >= -1 and labels.max() <= classes):
            raise ValueError(f"{name} must lie in -1 ... {classes}, got {labels.min()} ... {labels.max()}")
    cell = prediction.long().flatten() % size * size + target.long().flatten() % size
    return torch.bincount(cell, minlength=size * size).view(size, size)
