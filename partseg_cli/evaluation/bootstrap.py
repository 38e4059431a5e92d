"""Error bars: how far means move when the photos are drawn again, with replacement (percentile bootstrap).

A photo is drawn with all its samples: those of one photo are no independent evidence. What the photos cannot tell,
such as another seed of the training, is not in these intervals.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import csr_array

from partseg_cli.errors import DataError
from partseg_cli.evaluation.confusion_table import ConfusionTable
from partseg_cli.evaluation.counts import FIELDS
from partseg_cli.evaluation.metrics import number
from partseg_cli.evaluation.rules import GROUPS, METRICS, score

CHUNK = 64
"""Draws that are held at once; their number changes no bit of the result."""

Interval = tuple[float, float]
Drawn = dict[str, dict[str, Float[np.ndarray, "R"]]]
"""Metric -> group -> its mean in each draw, in percent; nan in a draw in which the group has no class."""


@dataclass(frozen=True)
class Difference:
    """A mean of two evaluations of the same photos, in percent.

    Attributes:
        a: of the first; None where its group has no class.
        b: of the second.
        difference: a - b; None where either has none.
        interval: of the difference; None also for fewer than two photos.
        share: of draws, 0 to 1, in which a is better; a tie counts half.
        left_out: draws in which the group has no class, in either.
    """

    a: float | None
    b: float | None
    difference: float | None
    interval: Interval | None
    share: float | None
    left_out: int


def intervals(
    table: ConfusionTable,
    rule: str,
    protocol: str,
    is_seen: Sequence[bool],
    bootstrap_samples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, dict[str, Interval | None]]:
    """Give for each mean the interval, in percent, that holds the share `level` of its draws.

    The order in which samples were added changes nothing: photos are drawn by the order of their ids. Other ids give
    other draws. A draw in which a group has no class is left out: `draw_means` shows them.

    Args:
        table: counts of all samples.
        rule: one of `RULES`.
        protocol: under which was predicted.
        is_seen: of each class.
        bootstrap_samples: Number of bootstrap resamples.
        seed: of the draws.
        level: share of the draws inside, above 0 and below 1.

    Returns:
        Metric -> group -> (low, high); None where the mean itself is none, and for fewer than two photos.
    """
    _check(bootstrap_samples, level)
    means = score(table.totals(), rule, protocol, is_seen).means
    drawn = draw_means(table, rule, protocol, is_seen, bootstrap_samples, seed)
    return {
        metric: {
            group: None if np.isnan(means[metric][group]) else _interval(drawn[metric][group], level)
            for group in GROUPS
        }
        for metric in METRICS
    }


def draw_means(
    table: ConfusionTable,
    rule: str,
    protocol: str,
    is_seen: Sequence[bool],
    bootstrap_samples: int = 1000,
    seed: int = 0,
) -> Drawn:
    """Give the means of each draw; no draw at all for fewer than two photos. Arguments as in `intervals`."""
    images, matrix = table.by_image()
    return _draw([matrix], len(images), rule, protocol, is_seen, bootstrap_samples, seed)[0]


def paired(
    table_a: ConfusionTable,
    table_b: ConfusionTable,
    rule: str,
    protocol: str,
    is_seen: Sequence[bool],
    bootstrap_samples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, dict[str, Difference]]:
    """Compare two evaluations of the same photos, by drawing the same ones for both.

    Much of what makes one draw easier than another is the same for both, and falls out of their difference.

    Returns:
        Metric -> group -> difference. Other arguments as in `intervals`.

    Raises:
        DataError: they are not of the same photos.
    """
    _check(bootstrap_samples, level)
    images = check_same_images(table_a, table_b)
    matrices = [table.by_image()[1] for table in (table_a, table_b)]
    means_a, means_b = (score(table.totals(), rule, protocol, is_seen).means for table in (table_a, table_b))
    drawn_a, drawn_b = _draw(matrices, len(images), rule, protocol, is_seen, bootstrap_samples, seed)
    return {
        metric: {
            group: _difference(
                number(means_a[metric][group]),
                number(means_b[metric][group]),
                drawn_a[metric][group] - drawn_b[metric][group],
                level,
            )
            for group in GROUPS
        }
        for metric in METRICS
    }


def check_same_images(table_a: ConfusionTable, table_b: ConfusionTable) -> list[str]:
    """Give the photos of two tables, sorted.

    Raises:
        DataError: they are not the same.
    """
    a, b = set(table_a.images), set(table_b.images)
    if a != b:
        first = min(a ^ b)
        where = "first" if first in a else "second"
        raise DataError(
            f"images: both evaluations must be of the same images, got {len(a):,} and {len(b):,}, of which "
            f"{len(a & b):,} are in both ({first!r} is in the {where} alone); evaluate both on the same data"
        )
    return sorted(a)


def _draw(
    matrices: Sequence[csr_array],
    images: int,
    rule: str,
    protocol: str,
    is_seen: Sequence[bool],
    bootstrap_samples: int,
    seed: int,
) -> list[Drawn]:
    """Give the means of each draw of each of several tables, the same photos drawn for all."""
    chunks: list[list[Any]] = [[] for _ in matrices]
    for weights in _weights(images, bootstrap_samples if images > 1 else 0, seed):
        for matrix, found in zip(matrices, chunks, strict=True):
            counts = (weights @ matrix).reshape(len(weights), -1, len(FIELDS))
            found.append(score(counts, rule, protocol, is_seen).means)
    return [
        {
            metric: {
                group: np.concatenate([np.zeros(0), *(means[metric][group] for means in found)]) for group in GROUPS
            }
            for metric in METRICS
        }
        for found in chunks
    ]


def _weights(images: int, bootstrap_samples: int, seed: int) -> Iterator[Int[np.ndarray, "R N"]]:
    """Say how often each photo is drawn, in some draws at a time."""
    generator = np.random.default_rng(seed)
    for start in range(0, bootstrap_samples, CHUNK):
        count = min(CHUNK, bootstrap_samples - start)
        places = generator.integers(images, size=(count, images)) + images * np.arange(count)[:, None]
        yield np.bincount(places.ravel(), minlength=count * images).reshape(count, images)


def _interval(values: Float[np.ndarray, "R"], level: float) -> Interval | None:
    """Give the percentiles of the draws that count."""
    values = values[~np.isnan(values)]
    if not values.size:
        return None
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _difference(a: float | None, b: float | None, drawn: Float[np.ndarray, "R"], level: float) -> Difference:
    """Put together two means and the differences of their draws."""
    counted = drawn[~np.isnan(drawn)]
    gap = None if a is None or b is None else a - b
    share = None
    if gap is not None and counted.size:
        share = float((counted > 0).mean() + (counted == 0).mean() / 2)
    interval = None if gap is None else _interval(counted, level)
    return Difference(a, b, gap, interval, share, len(drawn) - len(counted))


def _check(bootstrap_samples: int, level: float) -> None:
    if bootstrap_samples < 1 or not 0 < level < 1:
        raise ValueError(
            f"bootstrap_samples must be >= 1 and level above 0 and below 1, got {bootstrap_samples} and {level}"
        )
