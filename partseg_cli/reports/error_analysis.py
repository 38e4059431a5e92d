"""What counts tell beside scores: the worst and the best images, and which part is taken for which."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from partseg_cli.evaluation.confusion_table import ConfusionTable
from partseg_cli.evaluation.metrics import DEFAULT_RULE
from partseg_cli.evaluation.per_image import scored_images
from partseg_cli.evaluation.rules import field
from partseg_cli.vocabulary import Vocabulary

FATES = (
    "the part itself",
    "another part of the same object",
    "the same part of another object",
    "another part of another object",
    "nothing",
)
"""What a labelled pixel can be predicted as."""


@dataclass(frozen=True)
class ImageScore:
    """How one image was predicted, by the rule `ref-v2`.

    Attributes:
        image_id: of the record.
        mean: mean IoU in percent of the parts that are labelled in it.
        classes: index of each of them -> its IoU in percent.
        pixels: labelled pixels.
    """

    image_id: str
    mean: float
    classes: dict[int, float]
    pixels: int


@dataclass(frozen=True)
class Confusion:
    """Pixels of one part that were taken for another.

    Attributes:
        labelled: index of the part.
        predicted: index of the part that was predicted there.
        pixels: how many.
        share: percent of the labelled pixels of the part.
    """

    labelled: int
    predicted: int
    pixels: int
    share: float


def worst_and_best(
    table: ConfusionTable, vocabulary: Vocabulary, count: int
) -> tuple[tuple[ImageScore, ...], tuple[ImageScore, ...]]:
    """Give the `count` worst images, the worst first, and the best, the best first; no image is in both.

    Of equal ones that with more labelled pixels comes first, then the one whose name does.
    """
    scores = sorted(image_scores(table, vocabulary), key=lambda image: (image.mean, -image.pixels, image.image_id))
    low = scores[: min(count, (len(scores) + 1) // 2)]
    rest = sorted(scores[len(low) :], key=lambda image: (-image.mean, -image.pixels, image.image_id))
    return tuple(low), tuple(rest[:count])


def image_scores(table: ConfusionTable, vocabulary: Vocabulary) -> Iterator[ImageScore]:
    """Score each image by itself; those without a labelled pixel are left out."""
    # Of ref-v2 the IoU is the same under each protocol.
    for names, counts, scores in scored_images(table, DEFAULT_RULE, "pred-all", vocabulary.is_seen):
        pixels = field(counts, "target").sum(-1).tolist()
        for name, values, labelled in zip(names, scores.iou, pixels, strict=True):
            counted = np.flatnonzero(~np.isnan(values))
            if counted.size:
                of_class = dict(zip(counted.tolist(), values[counted].tolist(), strict=True))
                yield ImageScore(name, float(values[counted].mean()), of_class, labelled)


def largest_confusions(matrix: Int[np.ndarray, "K1 K1"], count: int) -> list[Confusion]:
    """Give the largest confusions of one part with another, by pixels and by share, sorted by pixels.

    Args:
        matrix: pixels by (predicted, labelled) class, none last, as `ConfusionTable.confusion` gives them.
        count: how many to take by each measure.
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
    """Give the first `count` classes that the confusions name, ascending."""
    named = dict.fromkeys(index for one in confusions for index in (one.labelled, one.predicted))
    return sorted(list(named)[:count])


def fates(matrix: Int[np.ndarray, "K1 K1"], vocabulary: Vocabulary) -> Int[np.ndarray, "K 5"]:
    """Give for each class how many of its labelled pixels are predicted as what, in the order of `FATES`.

    Args:
        matrix: pixels by (predicted, labelled) class, none last.
        vocabulary: the pairs, in the order of the classes.
    """
    pairs = matrix[:-1, :-1]
    objects, parts = np.array(vocabulary.object_of), np.array(vocabulary.part_of)
    same_object = objects[:, None] == objects
    same_part = parts[:, None] == parts
    kinds = (same_object & same_part, same_object & ~same_part, ~same_object & same_part, ~same_object & ~same_part)
    return np.stack([*(np.where(kind, pairs, 0).sum(0) for kind in kinds), matrix[-1, :-1]], 1)
