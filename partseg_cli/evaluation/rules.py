"""Counting rules: scores from the same counts, with different pixels and classes counted.

| rule | which pixels count | which classes a mean IoU runs over |
|---|---|---|
| ref-v2 | with a labelled part | with labelled pixels |
| full | all of the samples, which show a labelled part each | with labelled pixels |
| partclipseg | as ref-v2; in Oracle-Obj not those predicted as void | with labelled pixels |
| ovparts | labelled and predicted as some part | with labelled or predicted pixels, the latter as 0 |
| partcatseg | as ref-v2 | with an IoU above 0 |

All use the true boundary (Cheng et al.) but `partclipseg`, which uses the published variant for label maps. Sources:
the evaluators of part-clipseg (v2 of the paper), OV_PARTS and part-catseg. All functions take counts with any number of
leading axes, such as that of bootstrap samples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from partseg_cli.evaluation.counts import FIELDS

Counts = Int[np.ndarray, "*R K1 F"]
Pixels = Int[np.ndarray, "*R _"]
PerClass = Float[np.ndarray, "*R _"]
ClassMask = Bool[np.ndarray, "*R _"]
Means = dict[str, Float[np.ndarray, "*R"]]

GROUPS = ("seen", "unseen", "harmonic")
METRICS = ("mIoU", "recall", "precision", "boundary_iou", "pixel_accuracy")


@dataclass(frozen=True)
class Scores:
    """Scores by one rule, in percent; nan where a class or a group has nothing to score.

    Attributes:
        iou: IoU of each class.
        recall: tp / target of each class.
        precision: tp / pred of each class.
        boundary_iou: Boundary IoU of each class.
        means: Metric -> group -> mean.
        counted: Whether a class enters the mean IoU.
        pixels: Number of pixels that count: labelled ones, and under `full` those predicted as a part where none is
            labelled.
    """

    iou: PerClass
    recall: PerClass
    precision: PerClass
    boundary_iou: PerClass
    means: dict[str, Means]
    counted: ClassMask
    pixels: Int[np.ndarray, "*R"]


@dataclass(frozen=True)
class Rule:
    """Choice of pixels and classes.

    Attributes:
        pixel_counts: Function from counts and protocol to tp, target and pred of every class.
        boundary_counts: The same for the boundary.
        class_mask: Function from IoU, target and pred to the classes that a mean IoU runs over.
        description: What counts, in a phrase for reports.
    """

    pixel_counts: Callable[[Counts, str], tuple[Pixels, Pixels, Pixels]]
    boundary_counts: Callable[[Counts, str], tuple[Pixels, Pixels, Pixels]]
    class_mask: Callable[[PerClass, Pixels, Pixels], ClassMask]
    description: str


def class_pixels(counts: Counts, name: str) -> Pixels:
    """Return one field of the counts of every class, void excluded.

    >>> class_pixels(np.arange(3 * len(FIELDS)).reshape(3, -1), "target").tolist()
    [1, 16]
    """
    pixels: Pixels = class_and_void_pixels(counts, name)
    return pixels[..., :-1]


def class_and_void_pixels(counts: Counts, name: str) -> Pixels:
    """Return one field of the counts of every class, then of void."""
    return np.asarray(counts[..., FIELDS.index(name)])


def score(counts: Counts, rule: str, protocol: str, is_seen: Sequence[bool]) -> Scores:
    """Compute all scores by a rule.

    Args:
        counts: Sums over samples, in pixels.
        rule: One of `RULES`.
        protocol: Protocol of the predictions; the published code has a formula for each.
        is_seen: Whether each class is seen.

    Example:
        A seen and an unseen class of 10 labelled pixels each; 8 and 5 are found, none is predicted elsewhere.

        >>> counts = np.zeros((3, len(FIELDS)), int)
        >>> for name, pixels in {"tp": (8, 5), "target": (10, 10), "pred": (8, 5)}.items():
        ...     counts[:2, FIELDS.index(name)] = pixels
        >>> scores = score(counts, "ref-v2", "pred-all", is_seen=(True, False))
        >>> {group: round(float(mean), 2) for group, mean in scores.means["mIoU"].items()}
        {'seen': 80.0, 'unseen': 50.0, 'harmonic': 61.54}
    """
    chosen = RULES[rule]
    tp, target, pred = chosen.pixel_counts(counts, protocol)
    recall, precision = _percent(tp, target), _percent(tp, pred)
    is_labelled = target > 0
    iou = np.where(is_labelled, _iou(tp, target, pred), np.nan)
    counted = chosen.class_mask(iou, target, pred)
    seen = np.asarray(is_seen, np.bool_)
    boundary = _iou(*chosen.boundary_counts(counts, protocol))
    has_boundary = ~np.isnan(boundary)
    if boundary.shape[-1] > len(seen):  # void is one more unseen class, but makes no group where there is none
        has_boundary[..., -1] &= not seen.all()
    seen_or_void = np.resize(np.append(seen, False), boundary.shape[-1])
    means = {
        "mIoU": _group_means(np.where(is_labelled, iou, 0), counted, seen),
        "recall": _group_means(recall, is_labelled, seen),
        "precision": _group_means(precision, is_labelled & (pred > 0), seen),
        "boundary_iou": _group_means(boundary, has_boundary, seen_or_void),
        "pixel_accuracy": _add_harmonic(
            [_percent(*(np.asarray((pixels * group).sum(-1)) for pixels in (tp, target))) for group in (seen, ~seen)]
        ),
    }
    unlabelled = pred - class_pixels(counts, "pred")  # predicted where no part is labelled
    pixels = np.asarray((target + unlabelled).sum(-1))
    return Scores(iou, recall, precision, boundary[..., : len(seen)], means, counted, pixels)


def harmonic_mean(seen: Float[np.ndarray, "*R"], unseen: Float[np.ndarray, "*R"]) -> Float[np.ndarray, "*R"]:
    """Return 2su / (s + u): 0 if one mean is 0, nan if one is nan.

    >>> harmonic_mean(np.array([50.0, 0.0, np.nan]), np.array([30.0, 20.0, 20.0])).tolist()
    [37.5, 0.0, nan]
    """
    total = seen + unseen
    mean = np.where(np.isnan(total), np.nan, 0.0)
    np.divide(2 * seen * unseen, total, out=mean, where=total > 0)
    return mean


def _percent(part: Int[np.ndarray, "*A"], whole: Int[np.ndarray, "*A"]) -> Float[np.ndarray, "*A"]:
    """Return 100 part / whole, nan where the whole is 0."""
    share = np.full(np.shape(part), np.nan)
    np.divide(100.0 * part, whole, out=share, where=whole > 0)
    return share


def _iou(tp: Pixels, target: Pixels, pred: Pixels) -> PerClass:
    return _percent(tp, target + pred - tp)


def _group_means(values: PerClass, members: ClassMask, seen: Bool[np.ndarray, "_"]) -> Means:
    """Return the means over the members of each group; nan where a group has none."""
    means = []
    for group in (seen, ~seen):
        inside = members & group
        number = np.asarray(inside.sum(-1))
        mean = np.full(number.shape, np.nan)
        np.divide(np.where(inside, values, 0).sum(-1), number, out=mean, where=number > 0)
        means.append(mean)
    return _add_harmonic(means)


def _add_harmonic(means: Sequence[Float[np.ndarray, "*R"]]) -> Means:
    return dict(zip(GROUPS, (*means, harmonic_mean(*means)), strict=True))


# Pixels that count


def _labelled(counts: Counts, protocol: str) -> tuple[Pixels, Pixels, Pixels]:
    return class_pixels(counts, "tp"), class_pixels(counts, "target"), class_pixels(counts, "pred")


def _everywhere(counts: Counts, protocol: str) -> tuple[Pixels, Pixels, Pixels]:
    return class_pixels(counts, "tp"), class_pixels(counts, "target"), class_pixels(counts, "pred_anywhere")


def _labelled_and_predicted(counts: Counts, protocol: str) -> tuple[Pixels, Pixels, Pixels]:
    target = class_pixels(counts, "target") - class_pixels(counts, "missed")
    return class_pixels(counts, "tp"), target, class_pixels(counts, "pred")


def _as_published(counts: Counts, protocol: str) -> tuple[Pixels, Pixels, Pixels]:
    """Drop what is predicted as void in Oracle-Obj, as part-clipseg does, and keep it as missed in Pred-All."""
    return _labelled_and_predicted(counts, protocol) if protocol == "oracle-obj" else _labelled(counts, protocol)


# Pixels of the boundary that count


def _band(counts: Counts, protocol: str) -> tuple[Pixels, Pixels, Pixels]:
    target = class_pixels(counts, "band_target")
    return class_pixels(counts, "band_tp"), target, np.where(target > 0, class_pixels(counts, "band_pred"), 0)


def _whole_band(counts: Counts, protocol: str) -> tuple[Pixels, Pixels, Pixels]:
    target = class_pixels(counts, "band_target")
    pred = np.where(target > 0, class_pixels(counts, "whole_band_pred"), 0)
    return class_pixels(counts, "whole_band_tp"), target, pred


def _map_border(counts: Counts, protocol: str) -> tuple[Pixels, Pixels, Pixels]:
    """Return the published variant, in which void is one more unseen class in Pred-All, and left out in Oracle-Obj."""
    if protocol == "oracle-obj":
        target = class_pixels(counts, "map_target") - class_pixels(counts, "map_missed")
        return class_pixels(counts, "map_tp"), target, class_pixels(counts, "map_pred")
    tp, target, pred = (class_and_void_pixels(counts, f"map_{name}") for name in ("tp", "target", "pred_anywhere"))
    return tp, target, pred


# Classes that a mean IoU runs over


def _with_target(iou: PerClass, target: Pixels, pred: Pixels) -> ClassMask:
    return np.asarray(target > 0)


def _with_target_or_pred(iou: PerClass, target: Pixels, pred: Pixels) -> ClassMask:
    return np.asarray(target + pred > 0)


def _above_zero(iou: PerClass, target: Pixels, pred: Pixels) -> ClassMask:
    return np.asarray(iou > 0)


RULES: dict[str, Rule] = {
    "ref-v2": Rule(_labelled, _band, _with_target, "pixels with a labelled part; classes with labelled pixels"),
    "full": Rule(
        _everywhere,
        _whole_band,
        _with_target,
        "all pixels of samples with a labelled part; classes with labelled pixels",
    ),
    "partclipseg": Rule(
        _as_published, _map_border, _with_target, "as part-clipseg: ref-v2, and a boundary of label maps, which is none"
    ),
    "ovparts": Rule(
        _labelled_and_predicted,
        _band,
        _with_target_or_pred,
        "as OV-PARTS: a class that is predicted but not labelled counts as 0",
    ),
    "partcatseg": Rule(_labelled, _band, _above_zero, "as part-catseg: classes that score 0 are left out"),
}
