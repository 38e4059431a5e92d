"""Error analysis of an evaluation: worst and best images, confusion between parts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from partseg_cli.evaluation.counts import ConfusionTable
from partseg_cli.evaluation.metrics import DEFAULT_RULE, score_images
from partseg_cli.evaluation.rules import class_pixels
from partseg_cli.vocabulary import Vocabulary

OUTCOMES = (
    "the part itself",
    "another part of the same object",
    "the same part of another object",
    "another part of another object",
    "nothing",
)
"""Kinds of prediction on a labelled pixel."""


@dataclass(frozen=True)
class ImageScore:
    """Scores of one image by the rule `ref-v2`.

    Attributes:
        image_id: Id of the record.
        mean: Mean IoU in percent of the parts that are labelled in the image.
        classes: Index of each of these parts -> its IoU in percent.
        pixels: Number of labelled pixels.
    """

    image_id: str
    mean: float
    classes: dict[int, float]
    pixels: int


@dataclass(frozen=True)
class Confusion:
    """Pixels of one part that are predicted as another one.

    Attributes:
        labelled: Index of the labelled part.
        predicted: Index of the predicted part.
        pixels: Number of pixels.
        share: Percentage of the labelled pixels of the part.
    """

    labelled: int
    predicted: int
    pixels: int
    share: float


def worst_and_best(
    table: ConfusionTable, vocabulary: Vocabulary, count: int
) -> tuple[tuple[ImageScore, ...], tuple[ImageScore, ...]]:
    """Return the `count` worst images, the worst first, and the best, the best first; no image is in both.

    Among equal scores, the image with more labelled pixels comes first, then the lower image id.
    """
    scores = sorted(image_scores(table, vocabulary), key=lambda image: (image.mean, -image.pixels, image.image_id))
    low = scores[: min(count, (len(scores) + 1) // 2)]
    rest = sorted(scores[len(low) :], key=lambda image: (-image.mean, -image.pixels, image.image_id))
    return tuple(low), tuple(rest[:count])


def image_scores(table: ConfusionTable, vocabulary: Vocabulary) -> Iterator[ImageScore]:
    """Yield the scores of each image that has a labelled pixel."""
    # By ref-v2, the IoU does not depend on the protocol.
    for names, counts, scores in score_images(table, DEFAULT_RULE, "pred-all", vocabulary.is_seen):
        pixels = class_pixels(counts, "target").sum(-1).tolist()
        for name, values, labelled in zip(names, scores.iou, pixels, strict=True):
            counted = np.flatnonzero(~np.isnan(values))
            if counted.size:
                of_class = dict(zip(counted.tolist(), values[counted].tolist(), strict=True))
                yield ImageScore(name, float(values[counted].mean()), of_class, labelled)


def largest_confusions(matrix: Int[np.ndarray, "K1 K1"], count: int) -> list[Confusion]:
    """Return the largest confusions of one part with another, by pixels and by share, sorted by pixels.

    Args:
        matrix: Number of pixels by (predicted, labelled) class, none last, as `ConfusionTable.confusion` returns.
        count: Number of confusions to take by each measure.
    """
    labelled = matrix.sum(0)[:-1]
    wrong = matrix[:-1, :-1].copy()
    np.fill_diagonal(wrong, 0)
    shares = np.divide(100.0 * wrong, labelled, out=np.zeros(wrong.shape), where=labelled > 0)
    chosen = {
        int(cell)
        for values in (wrong, shares)
        for cell in np.argsort(-values, axis=None, kind="stable")[:count]
        if values.flat[cell] > 0
    }
    found = [(*divmod(cell, len(labelled)), int(wrong.flat[cell]), float(shares.flat[cell])) for cell in chosen]
    confusions = [Confusion(target, guess, pixels, share) for guess, target, pixels, share in found]
    return sorted(confusions, key=lambda one: (-one.pixels, one.labelled, one.predicted))


def most_confused(confusions: Sequence[Confusion], count: int) -> list[int]:
    """Return the first `count` classes that occur in the confusions, ascending."""
    named = dict.fromkeys(index for one in confusions for index in (one.labelled, one.predicted))
    return sorted(list(named)[:count])


def confusion_breakdown(matrix: Int[np.ndarray, "K1 K1"], vocabulary: Vocabulary) -> Int[np.ndarray, "K 5"]:
    """Count the labelled pixels of each class by kind of prediction, in the order of `OUTCOMES`.

    Args:
        matrix: Number of pixels by (predicted, labelled) class, none last.
        vocabulary: Pairs in the order of the classes.
    """
    pairs = matrix[:-1, :-1]
    objects, parts = np.array(vocabulary.object_of), np.array(vocabulary.part_of)
    same_object = objects[:, None] == objects
    same_part = parts[:, None] == parts
    kinds = (same_object & same_part, same_object & ~same_part, ~same_object & same_part, ~same_object & ~same_part)
    return np.stack([*(np.where(kind, pairs, 0).sum(0) for kind in kinds), matrix[-1, :-1]], 1)


def part_gaps(ious: Sequence[float | None], vocabulary: Vocabulary) -> list[float | None]:
    """Return for each class the mean IoU of its generalised part over seen pairs minus that over unseen ones.

    Args:
        ious: IoU of each class in percent; None where it has none.
        vocabulary: Pairs in the order of the classes.

    Returns:
        Percentage points; None where the part has no IoU on one side.

    Example:
        >>> from partseg_cli.vocabulary import Pair
        >>> pairs = Pair("cat", "ear"), Pair("fox", "ear", False), Pair("cat", "eye")
        >>> part_gaps([60.0, 25.0, None], Vocabulary(pairs))
        [35.0, 35.0, None]
    """
    found: dict[tuple[int, bool], list[float]] = {}
    for iou, part, is_seen in zip(ious, vocabulary.part_of, vocabulary.is_seen, strict=True):
        if iou is not None:
            found.setdefault((part, is_seen), []).append(iou)
    means = {key: sum(values) / len(values) for key, values in found.items()}
    sides = ((means.get((part, True)), means.get((part, False))) for part in vocabulary.part_of)
    return [None if seen is None or unseen is None else seen - unseen for seen, unseen in sides]
