"""Every figure that the published evaluator of PartCLIPSeg prints, under its names (part-clipseg, `evaluation`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from partseg_cli.evaluation.rules import field, field_and_none, score


def published_figures(
    counts: Int[np.ndarray, "K1 F"], protocol: str, is_seen: Sequence[bool], names: Sequence[str]
) -> dict[str, float | None]:
    """Give all figures in percent, None where nan is printed.

    Args:
        counts: of a whole data set.
        protocol: "oracle-obj" or "pred-all".
        is_seen: of each class.
        names: of each class.
    """
    scores = score(counts, "partclipseg", protocol, is_seen)
    hit, target, guess = _of_all_classes(counts, protocol)
    either = target + guess - hit
    iou = np.divide(100.0 * hit, either, out=np.full(len(hit), np.nan), where=either > 0)
    if protocol == "oracle-obj":
        iou[target == 0] = np.nan
    recall = scores.means["recall"]
    all_recall = float(np.nanmean(scores.recall))
    figures: dict[str, Any] = {
        "mIoU": float(np.nanmean(iou)),
        "fwIoU": float(np.nansum(iou * target) / target.sum()),
        "mACC": all_recall,
        "pACC": float(100 * hit.sum() / target.sum()),
        "mRecall": all_recall,
        "h-IoU": scores.means["mIoU"]["harmonic"],
        "h-bIoU": scores.means["boundary_iou"]["harmonic"],
        "h-Recall": recall["harmonic"],
    }
    for group, name in (("seen", "base"), ("unseen", "unbase")):
        figures[f"mIoU-{name}"] = scores.means["mIoU"][group]
        figures[f"pAcc-{name}"] = scores.means["pixel_accuracy"][group]
        figures[f"mRecall-{name}"] = recall[group]
        figures[f"Boundary-mIoU-{name}"] = scores.means["boundary_iou"][group]
    for index, name in enumerate(names):
        figures[f"IoU-{name}"] = iou[index]
        figures[f"ACC-{name}"] = figures[f"Recall-{name}"] = scores.recall[index]
        figures[f"BoundaryIoU-{name}"] = scores.boundary_iou[index]
    return {name: None if np.isnan(value) else float(value) for name, value in figures.items()}


def _of_all_classes(
    counts: Int[np.ndarray, "K1 F"], protocol: str
) -> tuple[Float[np.ndarray, "_"], Float[np.ndarray, "_"], Float[np.ndarray, "_"]]:
    """Give hit, target and predicted pixels; in Pred-All of none too, which is predicted but never labelled."""
    if protocol == "oracle-obj":
        target = field(counts, "target") - field(counts, "missed")
        return field(counts, "hit").astype(float), target.astype(float), field(counts, "predicted").astype(float)
    hit, target, guess = (field_and_none(counts, name).astype(float) for name in ("hit", "target", "predicted"))
    hit[-1] = target[-1] = 0
    return hit, target, guess
