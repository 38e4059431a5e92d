"""Figures of the published evaluator of PartCLIPSeg, by the names it prints (part-clipseg, `evaluation`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from partseg_cli.evaluation.rules import class_and_void_pixels, class_pixels, score


def published_figures(
    counts: Int[np.ndarray, "K1 F"], protocol: str, is_seen: Sequence[bool], names: Sequence[str]
) -> dict[str, float | None]:
    """Compute all figures, in percent; None where nan is printed.

    Args:
        counts: Sums over a dataset.
        protocol: "oracle-obj" or "pred-all".
        is_seen: Whether each class is seen.
        names: Name of each class.

    Example:
        >>> from partseg_cli.evaluation.counts import FIELDS
        >>> counts = np.zeros((3, len(FIELDS)), int)
        >>> for name, pixels in {"tp": (8, 5), "target": (10, 10), "pred": (8, 5)}.items():
        ...     counts[:2, FIELDS.index(name)] = pixels
        >>> figures = published_figures(counts, "pred-all", (True, False), ("cat's ear", "dog's ear"))
        >>> [figures[name] for name in ("mIoU-base", "mIoU-unbase", "fwIoU", "pACC", "IoU-dog's ear")]
        [80.0, 50.0, 65.0, 65.0, 50.0]
    """
    scores = score(counts, "partclipseg", protocol, is_seen)
    if protocol == "oracle-obj":
        target = (class_pixels(counts, "target") - class_pixels(counts, "missed")).astype(float)
        tp, pred = (class_pixels(counts, name).astype(float) for name in ("tp", "pred"))
    else:  # void is one more class, predicted but never labelled
        tp, target, pred = (class_and_void_pixels(counts, name).astype(float) for name in ("tp", "target", "pred"))
        tp[-1] = target[-1] = 0
    union = target + pred - tp
    iou = np.divide(100.0 * tp, union, out=np.full(len(tp), np.nan), where=union > 0)
    if protocol == "oracle-obj":
        iou[target == 0] = np.nan
    recall = scores.means["recall"]
    all_recall = float(np.nanmean(scores.recall))
    figures: dict[str, Any] = {
        "mIoU": float(np.nanmean(iou)),
        "fwIoU": float(np.nansum(iou * target) / target.sum()),
        "mACC": all_recall,
        "pACC": float(100 * tp.sum() / target.sum()),
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
