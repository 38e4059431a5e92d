"""Metrics of an evaluation: scores by every counting rule with the numbers of classes, and scores of each image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from partseg_cli.evaluation.counts import FIELDS, ConfusionTable
from partseg_cli.evaluation.partclipseg_metrics import published_figures
from partseg_cli.evaluation.rules import GROUPS, METRICS, RULES, Counts, Scores, class_pixels, score
from partseg_cli.vocabulary import Vocabulary

DEFAULT_RULE = "ref-v2"
ROUND_TRIP = "ref-bug"
"""Rule partclipseg on targets that were scaled to another size and back, which have counts of their own."""
SIZES = {"small": (1, 32**2), "medium": (32**2, 96**2), "large": (96**2, 2**62)}
"""Pixels of a class in a sample, from (inclusive) and to (exclusive): the limits of COCO."""
CHUNK = 64
"""Images whose dense counts are in memory at once."""

Means = dict[str, float | None]


@dataclass(frozen=True)
class RuleResult:
    """Scores by one rule, in percent; None where a group has no class.

    Attributes:
        means: Metric -> "seen", "unseen", "harmonic" -> mean.
        classes_counted: Number of classes that the mean IoU runs over.
        classes_at_zero: Number of these with an IoU of 0.
        pixels: Number of pixels that count; see `Scores`.
    """

    means: dict[str, Means]
    classes_counted: int
    classes_at_zero: int
    pixels: int


@dataclass(frozen=True)
class EvalResult:
    """Scores of one evaluation, in percent; None where nothing can be scored.

    Attributes:
        protocol: "pred-all", "oracle-obj" or "pred-obj".
        rule: Counting rule of `means` and `per_class`.
        means: Metric -> group -> mean.
        classes_counted: Number of classes that the mean IoU runs over.
        classes_at_zero: Number of these with an IoU of 0.
        pixels: Number of labelled pixels of all samples, under any rule.
        samples: Number of samples with a labelled pixel: images, or instances if those are counted; see `SampleConfig`.
        per_class: One record per pair: name, seen, iou, recall, precision, boundary_iou, over, under, target_pixels,
            predicted_pixels.
        rules: The same means by every rule.
        sizes: Size of a part in its sample -> group -> mean IoU of the classes over the samples with a part of that
            size.
        published: Every figure that the published evaluator prints, by its names, for its rules; None for others.
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
    """Compute every score from counts.

    Args:
        table: Counts of all samples; for the rule `ref-bug` those of the scaled targets.
        vocabulary: The pairs, in the order of the counts.
        protocol: Protocol of the predictions.
        rule: One of `RULES`, or "ref-bug".

    Example:
        A seen part, found on half of its pixels, and an unseen one, found whole:

        >>> import torch
        >>> from partseg_cli.evaluation.counts import count_pixels
        >>> from partseg_cli.vocabulary import Pair
        >>> vocabulary, table = Vocabulary((Pair("cat", "ear"), Pair("dog", "ear", False))), ConfusionTable(2)
        >>> prediction, target = torch.tensor([[0, -1, 1, 1]]), torch.tensor([[0, 0, 1, 1]])
        >>> table.add("photo", count_pixels(prediction, target, classes=2))
        >>> result = compute_metrics(table, vocabulary, "pred-all")
        >>> result.miou
        {'seen': 50.0, 'unseen': 100.0, 'harmonic': 66.66666666666667}
        >>> result.means["precision"]
        {'seen': 100.0, 'unseen': 100.0, 'harmonic': 100.0}
    """
    totals, is_seen, formula = table.totals(), vocabulary.is_seen, formula_of(rule)
    names = [formula] if rule == ROUND_TRIP else list(RULES)
    scored = {name: score(totals, name, protocol, is_seen) for name in names}
    own = _rule_result(scored[formula])
    published = None
    if formula == "partclipseg" and class_pixels(totals, "tp").any():  # the published evaluator fails on none
        published = published_figures(totals, protocol, is_seen, [pair.name for pair in vocabulary.pairs])
    return EvalResult(
        protocol=protocol,
        rule=rule,
        means=own.means,
        classes_counted=own.classes_counted,
        classes_at_zero=own.classes_at_zero,
        pixels=int(class_pixels(totals, "target").sum()),
        samples=len(table),
        per_class=_per_class(totals, scored[formula], vocabulary),
        rules={} if rule == ROUND_TRIP else {name: _rule_result(scores) for name, scores in scored.items()},
        sizes=_by_size(table, formula, protocol, is_seen),
        published=published,
    )


def formula_of(rule: str) -> str:
    """Return the one of `RULES` that scores a rule's counts: the rule itself, or partclipseg for "ref-bug".

    >>> formula_of("full"), formula_of("ref-bug")
    ('full', 'partclipseg')
    """
    return "partclipseg" if rule == ROUND_TRIP else rule


def _rule_result(scores: Scores) -> RuleResult:
    means = {metric: {group: to_number(scores.means[metric][group]) for group in GROUPS} for metric in METRICS}
    at_zero = scores.counted & ~(scores.iou > 0)
    return RuleResult(means, int(scores.counted.sum()), int(at_zero.sum()), int(scores.pixels))


def _per_class(totals: Int[np.ndarray, "K1 F"], scores: Scores, vocabulary: Vocabulary) -> tuple[dict[str, Any], ...]:
    """Return a record for each pair; over- and under-segmentation do not depend on the rule.

    over: percentage of the predicted pixels on which no part is labelled; under: percentage of the labelled ones that
    are predicted as void.
    """
    target, pred, anywhere, missed = (
        class_pixels(totals, name).tolist() for name in ("target", "pred", "pred_anywhere", "missed")
    )
    return tuple(
        {
            "name": pair.name,
            "seen": pair.is_seen,
            "iou": to_number(scores.iou[index]),
            "recall": to_number(scores.recall[index]),
            "precision": to_number(scores.precision[index]),
            "boundary_iou": to_number(scores.boundary_iou[index]),
            "over": 100 * (anywhere[index] - pred[index]) / anywhere[index] if anywhere[index] else None,
            "under": 100 * missed[index] / target[index] if target[index] else None,
            "target_pixels": target[index],
            "predicted_pixels": pred[index],
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
        result[name] = {group: to_number(means[group]) for group in GROUPS}
    return result


def to_number(value: Float[np.ndarray, ""] | float) -> float | None:
    """Convert to a plain number, nan to None.

    >>> to_number(np.float64(50)), to_number(np.nan)
    (50.0, None)
    """
    return None if np.isnan(value) else float(value)


def image_means(
    table: ConfusionTable, rule: str, protocol: str, is_seen: Sequence[bool]
) -> tuple[list[str], Float[np.ndarray, "N"]]:
    """Return the sorted image ids, and for each the mean IoU over its classes, seen and unseen alike.

    In percent; nan where the rule counts no class. The mean of these is not the mean IoU of a dataset, which sums
    pixels before it divides.

    Example:
        >>> import torch
        >>> from partseg_cli.evaluation.counts import count_pixels
        >>> table = ConfusionTable(1)
        >>> table.add("b", count_pixels(torch.tensor([[0, -1]]), torch.tensor([[0, 0]]), classes=1))
        >>> table.add("a", count_pixels(torch.tensor([[0, 0]]), torch.tensor([[0, 0]]), classes=1))
        >>> images, means = image_means(table, "ref-v2", "pred-all", [True])
        >>> images, means.tolist()
        (['a', 'b'], [100.0, 50.0])
    """
    images: list[str] = []
    means = [np.zeros(0)]
    for names, _, scores in score_images(table, rule, protocol, is_seen):
        number = scores.counted.sum(-1)
        total = np.where(scores.counted & ~np.isnan(scores.iou), scores.iou, 0).sum(-1)
        images += names
        means.append(np.divide(total, number, out=np.full(len(names), np.nan), where=number > 0))
    return images, np.concatenate(means)


def score_images(
    table: ConfusionTable, rule: str, protocol: str, is_seen: Sequence[bool]
) -> Iterator[tuple[list[str], Counts, Scores]]:
    """Yield ids, sums over samples and scores of the images, sorted by id, in chunks."""
    images, matrix = table.by_image()
    for start in range(0, len(images), CHUNK):
        names = images[start : start + CHUNK]
        counts = matrix[start : start + CHUNK].toarray().reshape(len(names), -1, len(FIELDS))
        yield names, counts, score(counts, rule, protocol, is_seen)
