"""From counts to a result: every rule beside each other, with the numbers of classes that its means run over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from partseg_cli.evaluation.confusion_table import ConfusionTable
from partseg_cli.evaluation.counts import FIELDS
from partseg_cli.evaluation.partclipseg_metrics import published_figures
from partseg_cli.evaluation.rules import GROUPS, METRICS, RULES, Scores, score
from partseg_cli.evaluation.rules import field as pixels_of
from partseg_cli.vocabulary import Vocabulary

DEFAULT_RULE = "ref-v2"
ROUND_TRIP = "ref-bug"
"""partclipseg on a target that was scaled to another size and back: counts of its own."""
SIZES = {"small": (1, 32**2), "medium": (32**2, 96**2), "large": (96**2, 2**62)}
"""Pixels of a class in a sample, from and below: the bounds of COCO."""

Means = dict[str, float | None]


@dataclass(frozen=True)
class RuleResult:
    """What one rule gives, in percent; None where a group has no class.

    Attributes:
        means: metric -> "seen", "unseen", "harmonic" -> mean.
        classes_counted: classes that the mean IoU runs over.
        classes_at_zero: of these, with an IoU of 0.
        pixels: that count; see `Scores`.
    """

    means: dict[str, Means]
    classes_counted: int
    classes_at_zero: int
    pixels: int


@dataclass(frozen=True)
class EvalResult:
    """Scores of one evaluation, in percent; None where nothing can be scored.

    Attributes:
        protocol: what the model was told.
        rule: how pixels and classes are counted in `means` and `per_class`.
        means: metric -> group -> mean.
        classes_counted: classes that the mean IoU runs over.
        classes_at_zero: of these, with an IoU of 0.
        pixels: labelled pixels of all samples, whatever the rule.
        samples: with a labelled pixel: photos, or instances if those are counted; see `SampleConfig`.
        per_class: one record a pair: name, seen, iou, recall, precision, boundary_iou, over, under, target_pixels,
            predicted_pixels.
        rules: the same means by every rule.
        sizes: size of a part in its sample -> group -> mean IoU of the classes over the samples with a part of that
            size.
        published: for rules of the published evaluator every figure that it prints, under its names.
    """

    protocol: str
    rule: str
    means: dict[str, Means]
    classes_counted: int
    classes_at_zero: int
    pixels: int
    samples: int
    per_class: tuple[dict[str, Any], ...]
    rules: dict[str, RuleResult] = field(default_factory=dict)
    sizes: dict[str, Means] = field(default_factory=dict)
    published: dict[str, float | None] | None = None

    @property
    def miou(self) -> Means:
        """The mean IoU of each group."""
        return self.means["mIoU"]


def compute_metrics(
    table: ConfusionTable, vocabulary: Vocabulary, protocol: str, rule: str = DEFAULT_RULE
) -> EvalResult:
    """Turn counts into scores.

    Args:
        table: counts of all samples; for the rule `ref-bug` those of the scaled targets.
        vocabulary: the pairs, in the order of the counts.
        protocol: under which was predicted.
        rule: one of `RULES`, or "ref-bug".
    """
    totals = table.totals()
    names = [formula_of(rule)] if rule == ROUND_TRIP else list(RULES)
    scored = {name: score(totals, name, protocol, vocabulary.is_seen) for name in names}
    main = scored[formula_of(rule)]
    own = _rule_result(main)
    return EvalResult(
        protocol=protocol,
        rule=rule,
        means=own.means,
        classes_counted=own.classes_counted,
        classes_at_zero=own.classes_at_zero,
        pixels=int(pixels_of(totals, "target").sum()),
        samples=len(table),
        per_class=_per_class(totals, main, vocabulary),
        rules={} if rule == ROUND_TRIP else {name: _rule_result(scores) for name, scores in scored.items()},
        sizes=_by_size(table, formula_of(rule), protocol, vocabulary.is_seen),
        published=_published(totals, vocabulary, protocol) if formula_of(rule) == "partclipseg" else None,
    )


def formula_of(rule: str) -> str:
    """Give the one of `RULES` that scores a rule's counts: its own, or for "ref-bug" partclipseg."""
    return "partclipseg" if rule == ROUND_TRIP else rule


def _published(
    totals: Int[np.ndarray, "K1 F"], vocabulary: Vocabulary, protocol: str
) -> dict[str, float | None] | None:
    """Give the figures of the published evaluator; None where it could print none."""
    if not pixels_of(totals, "hit").any():
        return None
    return published_figures(totals, protocol, vocabulary.is_seen, [pair.name for pair in vocabulary.pairs])


def _rule_result(scores: Scores) -> RuleResult:
    means = {metric: {group: number(scores.means[metric][group]) for group in GROUPS} for metric in METRICS}
    at_zero = scores.counted & ~(scores.iou > 0)
    return RuleResult(means, int(scores.counted.sum()), int(at_zero.sum()), int(scores.pixels))


def _per_class(totals: Int[np.ndarray, "K1 F"], scores: Scores, vocabulary: Vocabulary) -> tuple[dict[str, Any], ...]:
    """Give a record for each pair; over- and under-segmentation do not depend on the rule.

    over: share of the predicted pixels on which no part is labelled; under: share of the labelled ones that are
    predicted as nothing.
    """
    target, guess, anywhere, missed = (
        pixels_of(totals, name).tolist() for name in ("target", "predicted", "anywhere", "missed")
    )
    return tuple(
        {
            "name": pair.name,
            "seen": pair.is_seen,
            "iou": number(scores.iou[index]),
            "recall": number(scores.recall[index]),
            "precision": number(scores.precision[index]),
            "boundary_iou": number(scores.boundary_iou[index]),
            "over": _share(int(anywhere[index] - guess[index]), int(anywhere[index])),
            "under": _share(int(missed[index]), int(target[index])),
            "target_pixels": target[index],
            "predicted_pixels": guess[index],
        }
        for index, pair in enumerate(vocabulary.pairs)
    )


def _by_size(table: ConfusionTable, rule: str, protocol: str, is_seen: Sequence[bool]) -> dict[str, Means]:
    """Score the classes over the samples in which they have a size; their pixels in other samples are left out."""
    column = FIELDS.index("target")
    result = {}
    for name, (low, high) in SIZES.items():
        totals = np.zeros((table.classes + 1, len(FIELDS)), np.int64)
        for sample in table.samples:
            chosen = (sample.values[:, column] >= low) & (sample.values[:, column] < high)
            totals[sample.classes[chosen]] += sample.values[chosen]
        means = score(totals, rule, protocol, is_seen).means["mIoU"]
        result[name] = {group: number(means[group]) for group in GROUPS}
    return result


def number(value: Float[np.ndarray, ""] | float) -> float | None:
    """Give a plain number, None for nan."""
    return None if np.isnan(value) else float(value)


def _share(part: int, whole: int) -> float | None:
    return 100 * part / whole if whole else None
