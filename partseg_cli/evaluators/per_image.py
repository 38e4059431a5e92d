"""The score of each image by itself: for finding the best, the worst, and those on which two models differ most."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from partseg_cli.evaluators.counts import FIELDS
from partseg_cli.evaluators.rules import score
from partseg_cli.evaluators.table import CountTable

CHUNK = 64
"""Images whose counts are held in full at once."""


def image_means(
    table: CountTable, rule: str, protocol: str, is_seen: Sequence[bool]
) -> tuple[list[str], Float[np.ndarray, "N"]]:
    """Give the ids of the images, sorted, and of each the mean IoU over its classes, seen and unseen alike.

    In percent; nan where the rule counts no class. Their mean is not the mean IoU of a data set, which adds up pixels
    before it divides.
    """
    images, matrix = table.by_image()
    means = np.full(len(images), np.nan)
    for start in range(0, len(images), CHUNK):
        counts = matrix[start : start + CHUNK].toarray()
        scores = score(counts.reshape(len(counts), -1, len(FIELDS)), rule, protocol, is_seen)
        number = scores.counted.sum(-1)
        total = np.where(scores.counted & ~np.isnan(scores.iou), scores.iou, 0).sum(-1)
        np.divide(total, number, out=means[start : start + CHUNK], where=number > 0)
    return images, means
