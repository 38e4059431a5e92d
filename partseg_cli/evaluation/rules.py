"""Counting rules: from the same counts to scores, each with its own idea of which pixels and classes count.

| rule | which pixels count | which classes a mean IoU runs over |
|---|---|---|
| ref-v2 | with a labelled part | with labelled pixels |
| full | all of the samples, which show a labelled part each | with labelled pixels |
| partclipseg | as ref-v2; in Oracle-Obj not those predicted as nothing | with labelled pixels |
| ovparts | labelled and predicted as some part | with labelled or predicted pixels, the latter as 0 |
| partcatseg | as ref-v2 | with an IoU above 0 |

Their boundary is the true one (Cheng et al.) but for `partclipseg`, which has the published label-map variant. Sources:
the evaluators of part-clipseg (v2 of the paper), OV_PARTS and part-catseg, read line by line. All functions take counts
with any number of leading axes, such as those of bootstrap draws.
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
Means = dict[str, Float[np.ndarray, "*R"]]

GROUPS = ("seen", "unseen", "harmonic")
METRICS = ("mIoU", "recall", "precision", "boundary_iou", "pixel_accuracy")


@dataclass(frozen=True)
class Scores:
    """What a rule gives, in percent; nan where a class or a group has nothing to be scored.

    Attributes:
        iou: of each class.
        recall: of each class: hit / target.
        precision: of each class: hit / predicted.
        boundary_iou: of each class.
        means: metric -> group -> mean.
        counted: whether a class enters the mean IoU.
        pixels: that count: labelled ones, and under `full` those predicted as a part where none is labelled.
    """

    iou: PerClass
    recall: PerClass
    precision: PerClass
    boundary_iou: PerClass
    means: dict[str, Means]
    counted: Bool[np.ndarray, "*R _"]
    pixels: Int[np.ndarray, "*R"]


@dataclass(frozen=True)
class Rule:
    """How a rule reads the counts.

    Attributes:
        hit_target_guess: gives hit, target and predicted pixels of every class.
        band: gives the same of the boundary.
        over: gives the classes that a mean IoU is divided by, from IoU, target and predicted.
        tells: what counts, in a sentence for reports.
    """

    hit_target_guess: Callable[[Counts, str], tuple[Pixels, Pixels, Pixels]]
    band: Callable[[Counts, str], tuple[Pixels, Pixels, Pixels]]
    over: Callable[[PerClass, Pixels, Pixels], Bool[np.ndarray, "*R _"]]
    tells: str


def field(counts: Counts, name: str) -> Pixels:
    """Give one field of the counts, of every class but none."""
    of_all: Pixels = field_and_none(counts, name)
    return of_all[..., :-1]


def field_and_none(counts: Counts, name: str) -> Pixels:
    """Give one field of the counts, of every class and of none."""
    return np.asarray(counts[..., FIELDS.index(name)])


def score(counts: Counts, rule: str, protocol: str, is_seen: Sequence[bool]) -> Scores:
    """Score counts by a rule.

    Args:
        counts: sums over samples, in pixels.
        rule: one of `RULES`.
        protocol: under which was predicted; the published code has a formula for each.
        is_seen: of each class.
    """
    chosen = RULES[rule]
    hit, target, guess = chosen.hit_target_guess(counts, protocol)
    iou, recall, precision = _iou(hit, target, guess), _percent(hit, target), _percent(hit, guess)
    is_labelled = target > 0
    iou = np.where(is_labelled, iou, np.nan)
    counted = chosen.over(iou, target, guess)
    seen = np.asarray(is_seen, np.bool_)
    boundary = _iou(*chosen.band(counts, protocol))
    members = ~np.isnan(boundary)
    if boundary.shape[-1] > len(seen):  # none is one more unseen class, but makes no group where there is none
        members[..., -1] &= not seen.all()
    seen_or_none = np.resize(np.append(seen, False), boundary.shape[-1])
    means = {
        "mIoU": _groups(np.where(is_labelled, iou, 0), counted, seen),
        "recall": _groups(recall, is_labelled, seen),
        "precision": _groups(precision, is_labelled & (guess > 0), seen),
        "boundary_iou": _groups(boundary, members, seen_or_none),
        "pixel_accuracy": _pooled(hit, target, seen),
    }
    beside = guess - field(counts, "predicted")  # where no part is labelled
    pixels = np.asarray((target + beside).sum(-1))
    return Scores(iou, recall, precision, boundary[..., : len(seen)], means, counted, pixels)


def harmonic_mean(seen: Float[np.ndarray, "*R"], unseen: Float[np.ndarray, "*R"]) -> Float[np.ndarray, "*R"]:
    """Give 2su / (s + u); 0 if a side is 0, nan if a side has no class.

    >>> harmonic_mean(np.array([50.0, 0.0, np.nan]), np.array([30.0, 20.0, 20.0])).tolist()
    [37.5, 0.0, nan]
    """
    total = seen + unseen
    mean = np.where(np.isnan(total), np.nan, 0.0)
    np.divide(2 * seen * unseen, total, out=mean, where=total > 0)
    return mean


def _labelled(counts: Counts, protocol: str) -> tuple[Pixels, Pixels, Pixels]:
    return field(counts, "hit"), field(counts, "target"), field(counts, "predicted")


def _everywhere(counts: Counts, protocol: str) -> tuple[Pixels, Pixels, Pixels]:
    return field(counts, "hit"), field(counts, "target"), field(counts, "anywhere")


def _both_some_part(counts: Counts, protocol: str) -> tuple[Pixels, Pixels, Pixels]:
    target = field(counts, "target") - field(counts, "missed")
    return field(counts, "hit"), target, field(counts, "predicted")


def _as_published(counts: Counts, protocol: str) -> tuple[Pixels, Pixels, Pixels]:
    """Drop what is predicted as nothing in Oracle-Obj, as part-clipseg does, and keep it as missed in Pred-All."""
    return _both_some_part(counts, protocol) if protocol == "oracle-obj" else _labelled(counts, protocol)


def _band(counts: Counts, protocol: str) -> tuple[Pixels, Pixels, Pixels]:
    target = field(counts, "band_target")
    return field(counts, "band_hit"), target, np.where(target > 0, field(counts, "band_predicted"), 0)


def _whole_band(counts: Counts, protocol: str) -> tuple[Pixels, Pixels, Pixels]:
    target = field(counts, "band_target")
    return field(counts, "whole_band_hit"), target, np.where(target > 0, field(counts, "whole_band_predicted"), 0)


def _map_border(counts: Counts, protocol: str) -> tuple[Pixels, Pixels, Pixels]:
    """Give the published variant, in which none is one more unseen class in Pred-All, and left out in Oracle-Obj."""
    if protocol == "oracle-obj":
        target = field(counts, "map_target") - field(counts, "map_missed")
        return field(counts, "map_hit"), target, field(counts, "map_predicted")
    hit, target, guess = (field_and_none(counts, name) for name in ("map_hit", "map_target", "map_anywhere"))
    return hit, target, guess


def _with_target(iou: PerClass, target: Pixels, guess: Pixels) -> Bool[np.ndarray, "*R _"]:
    return np.asarray(target > 0)


def _with_any(iou: PerClass, target: Pixels, guess: Pixels) -> Bool[np.ndarray, "*R _"]:
    return np.asarray(target + guess > 0)


def _above_zero(iou: PerClass, target: Pixels, guess: Pixels) -> Bool[np.ndarray, "*R _"]:
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
        _both_some_part, _band, _with_any, "as OV-PARTS: a class that is predicted but not labelled counts as 0"
    ),
    "partcatseg": Rule(_labelled, _band, _above_zero, "as part-catseg: classes that score 0 are left out"),
}


def _percent(part: Int[np.ndarray, "*A"], whole: Int[np.ndarray, "*A"]) -> Float[np.ndarray, "*A"]:
    """Give 100 part / whole, nan where the whole is 0."""
    share = np.full(np.shape(part), np.nan)
    np.divide(100.0 * part, whole, out=share, where=whole > 0)
    return share


def _iou(hit: Pixels, target: Pixels, guess: Pixels) -> PerClass:
    return _percent(hit, target + guess - hit)


def _groups(values: PerClass, members: Bool[np.ndarray, "*R _"], seen: Bool[np.ndarray, "_"]) -> Means:
    """Give the means over the members of each group; nan where a group has none."""
    means = []
    for group in (seen, ~seen):
        inside = members & group
        number = np.asarray(inside.sum(-1))
        mean = np.full(number.shape, np.nan)
        np.divide(np.where(inside, values, 0).sum(-1), number, out=mean, where=number > 0)
        means.append(mean)
    return dict(zip(GROUPS, (*means, harmonic_mean(*means)), strict=True))


def _pooled(hit: Pixels, target: Pixels, seen: Bool[np.ndarray, "_"]) -> Means:
    """Give the share of a group's labelled pixels that are hit, all classes together."""
    means = [_percent(*(np.asarray((pixels * group).sum(-1)) for pixels in (hit, target))) for group in (seen, ~seen)]
    return dict(zip(GROUPS, (*means, harmonic_mean(*means)), strict=True))
