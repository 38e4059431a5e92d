"""Confidence intervals of means by resampling images with replacement (percentile bootstrap).

An image is resampled with all its samples, which are no independent evidence. The intervals cover the choice of the
images only, not, for example, another training seed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import csr_array

from partseg_cli.errors import DataError
from partseg_cli.evaluation.counts import FIELDS, ConfusionTable
from partseg_cli.evaluation.metrics import to_number
from partseg_cli.evaluation.rules import GROUPS, METRICS, score

CHUNK = 64
"""Resamples in memory at once; their number changes no bit of the result."""

Interval = tuple[float, float]
ConfidenceIntervals = dict[str, dict[str, Interval | None]]
"""Metric -> group -> (low, high) in percent; None where there is no mean, and for fewer than two images."""
ResampledMeans = dict[str, dict[str, Float[np.ndarray, "R"]]]
"""Metric -> group -> mean in each resample, in percent; nan in a resample in which the group has no class."""


@dataclass(frozen=True)
class Difference:
    """Difference of a mean between two evaluations of the same images, in percent.

    Attributes:
        a: Mean of the first; None where its group has no class.
        b: Mean of the second.
        difference: a - b; None where either is None.
        interval: Confidence interval of the difference; None also for fewer than two images.
        share: Fraction of resamples, 0 to 1, in which a is better; a tie counts half.
        left_out: Number of resamples in which the group has no class, in either.
    """

    a: float | None
    b: float | None
    difference: float | None
    interval: Interval | None
    share: float | None
    left_out: int


def confidence_intervals(
    table: ConfusionTable,
    rule: str,
    protocol: str,
    is_seen: Sequence[bool],
    bootstrap_samples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> ConfidenceIntervals:
    """Compute the percentile interval of every mean.

    The order in which samples were added changes nothing: images are resampled in the order of their ids. Other ids
    give other resamples. A resample in which a group has no class is left out; `resampled_means` shows them.

    Args:
        table: Counts of all samples.
        rule: One of `RULES`.
        protocol: Protocol of the predictions.
        is_seen: Whether each class is seen.
        bootstrap_samples: Number of bootstrap resamples.
        seed: Seed of the resampling.
        level: Fraction of the resamples inside the interval, above 0 and below 1.

    Example:
        >>> import torch
        >>> from partseg_cli.evaluation.counts import count_pixels
        >>> table = ConfusionTable(1)
        >>> for image, found in (("a", 0), ("b", -1)):
        ...     table.add(image, count_pixels(torch.tensor([[found]]), torch.tensor([[0]]), classes=1))
        >>> confidence_intervals(table, "ref-v2", "pred-all", [True])["mIoU"]
        {'seen': (0.0, 100.0), 'unseen': None, 'harmonic': None}
    """
    _check_options(bootstrap_samples, level)
    means = score(table.totals(), rule, protocol, is_seen).means
    resampled = resampled_means(table, rule, protocol, is_seen, bootstrap_samples, seed)
    return {
        metric: {
            group: None if np.isnan(means[metric][group]) else _percentile_interval(resampled[metric][group], level)
            for group in GROUPS
        }
        for metric in METRICS
    }


def resampled_means(
    table: ConfusionTable,
    rule: str,
    protocol: str,
    is_seen: Sequence[bool],
    bootstrap_samples: int = 1000,
    seed: int = 0,
) -> ResampledMeans:
    """Compute the means of each resample; none for fewer than two images. Arguments as in `confidence_intervals`."""
    images, matrix = table.by_image()
    return _resample([matrix], len(images), rule, protocol, is_seen, bootstrap_samples, seed)[0]


def paired_differences(
    table_a: ConfusionTable,
    table_b: ConfusionTable,
    rule: str,
    protocol: str,
    is_seen: Sequence[bool],
    bootstrap_samples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, dict[str, Difference]]:
    """Compare two evaluations of the same images in the same resamples.

    Much of what makes one resample easier than another is the same for both, and cancels in their difference.

    Returns:
        Metric -> group -> difference. Other arguments as in `confidence_intervals`.

    Raises:
        DataError: The images differ.

    Example:
        >>> import torch
        >>> from partseg_cli.evaluation.counts import count_pixels
        >>> tables = ConfusionTable(1), ConfusionTable(1)
        >>> for table, width in zip(tables, (4, 3)):
        ...     for image in "ab":
        ...         prediction = torch.where(torch.arange(4) < width, 0, -1)[None]
        ...         table.add(image, count_pixels(prediction, torch.zeros(1, 4, dtype=torch.long), classes=1))
        >>> paired_differences(*tables, "ref-v2", "pred-all", [True])["mIoU"]["seen"]
        Difference(a=100.0, b=75.0, difference=25.0, interval=(25.0, 25.0), share=1.0, left_out=0)
    """
    _check_options(bootstrap_samples, level)
    images = check_same_images(table_a, table_b)
    matrices = [table.by_image()[1] for table in (table_a, table_b)]
    means_a, means_b = (score(table.totals(), rule, protocol, is_seen).means for table in (table_a, table_b))
    resampled_a, resampled_b = _resample(matrices, len(images), rule, protocol, is_seen, bootstrap_samples, seed)
    return {
        metric: {
            group: _difference(
                to_number(means_a[metric][group]),
                to_number(means_b[metric][group]),
                resampled_a[metric][group] - resampled_b[metric][group],
                level,
            )
            for group in GROUPS
        }
        for metric in METRICS
    }


def check_same_images(table_a: ConfusionTable, table_b: ConfusionTable) -> list[str]:
    """Return the sorted images of two tables, which must be the same.

    Raises:
        DataError: They differ.
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


def _resample(
    matrices: Sequence[csr_array],
    images: int,
    rule: str,
    protocol: str,
    is_seen: Sequence[bool],
    bootstrap_samples: int,
    seed: int,
) -> list[ResampledMeans]:
    """Compute the means of each resample of each of several tables, with the same images in all."""
    chunks: list[list[Any]] = [[] for _ in matrices]
    for weights in _image_weights(images, bootstrap_samples if images > 1 else 0, seed):
        for matrix, means in zip(matrices, chunks, strict=True):
            counts = (weights @ matrix).reshape(len(weights), -1, len(FIELDS))
            means.append(score(counts, rule, protocol, is_seen).means)
    return [
        {
            metric: {
                group: np.concatenate([np.zeros(0), *(means[metric][group] for means in chunk)]) for group in GROUPS
            }
            for metric in METRICS
        }
        for chunk in chunks
    ]


def _image_weights(images: int, bootstrap_samples: int, seed: int) -> Iterator[Int[np.ndarray, "R N"]]:
    """Yield how often each image is in each resample, in chunks of resamples."""
    generator = np.random.default_rng(seed)
    for start in range(0, bootstrap_samples, CHUNK):
        count = min(CHUNK, bootstrap_samples - start)
        indices = generator.integers(images, size=(count, images)) + images * np.arange(count)[:, None]
        yield np.bincount(indices.ravel(), minlength=count * images).reshape(count, images)


def _percentile_interval(values: Float[np.ndarray, "R"], level: float) -> Interval | None:
    """Return the percentiles of the values that are not nan."""
    values = values[~np.isnan(values)]
    if not values.size:
        return None
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _difference(a: float | None, b: float | None, resampled: Float[np.ndarray, "R"], level: float) -> Difference:
    """Build the difference of two means from that of each resample."""
    counted = resampled[~np.isnan(resampled)]
    left_out = len(resampled) - len(counted)
    if a is None or b is None:
        return Difference(a, b, None, None, None, left_out)
    share = float((counted > 0).mean() + (counted == 0).mean() / 2) if counted.size else None
    return Difference(a, b, a - b, _percentile_interval(counted, level), share, left_out)


def _check_options(bootstrap_samples: int, level: float) -> None:
    if bootstrap_samples < 1 or not 0 < level < 1:
        raise ValueError(
            f"bootstrap_samples must be >= 1 and level above 0 and below 1, got {bootstrap_samples} and {level}"
        )
