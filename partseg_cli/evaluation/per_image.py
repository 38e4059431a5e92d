"""The score of each image by itself: for finding the best, the worst, and those on which two models differ most."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float

from partseg_cli.evaluation.confusion_table import ConfusionTable
from partseg_cli.evaluation.counts import FIELDS
from partseg_cli.evaluation.rules import Counts, Scores, score

CHUNK = 64
"""Images whose counts are held in full at once."""


def image_means(
    table: ConfusionTable, rule: str, protocol: str, is_seen: Sequence[bool]
) -> tuple[list[str], Float[np.ndarray, "N"]]:
    """Give the ids of the images, sorted, and of each the mean IoU over its classes, seen and unseen alike.

    In percent; nan where the rule counts no class. Their mean is not the mean IoU of a data set, which adds up pixels
    before it divides.
    """
    images: list[str] = []
    means = [np.zeros(0)]
    for names, _, scores in scored_images(table, rule, protocol, is_seen):
        number = scores.counted.sum(-1)
        total = np.where(scores.counted & ~np.isnan(scores.iou), scores.iou, 0).sum(-1)
        images += names
        means.append(np.divide(total, number, out=np.full(len(names), np.nan), where=number > 0))
    return images, np.concatenate(means)


def scored_images(
    table: ConfusionTable, rule: str, protocol: str, is_seen: Sequence[bool]
) -> Iterator[tuple[list[str], Counts, Scores]]:
    """Give the ids of some images at a time, sorted, the sums of each over its samples, and the scores of each."""
    images, matrix = table.by_image()
    for start in range(0, len(images), CHUNK):
        names = images[start : start + CHUNK]
        counts = matrix[start : start + CHUNK].toarray().reshape(len(names), -1, len(FIELDS))
        yield names, counts, score(counts, rule, protocol, is_seen)
