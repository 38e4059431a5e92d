"""Thresholds that means must reach, in the form of `--fail-under`: "seen=40,recall.harmonic=30"."""

from __future__ import annotations

from partseg_cli.errors import BoundError, UsageError
from partseg_cli.evaluation.metrics import EvalResult
from partseg_cli.evaluation.rules import GROUPS, METRICS

Thresholds = dict[tuple[str, str], float]
"""(metric, group) -> least mean, in percent."""

METRIC_BY_NAME = {metric.lower(): metric for metric in METRICS}


def parse_thresholds(text: str) -> Thresholds:
    """Parse thresholds.

    >>> parse_thresholds("seen=40, recall.harmonic=30.5")
    {('mIoU', 'seen'): 40.0, ('recall', 'harmonic'): 30.5}

    Raises:
        UsageError: One has no known group or metric, no number from 0 to 100, or is there twice.
    """
    thresholds: Thresholds = {}
    for entry in text.split(","):
        name, _, number = (word.strip() for word in entry.partition("="))
        metric, _, group = name.lower().rpartition(".")
        metric = METRIC_BY_NAME.get(metric or "miou", "")
        if not metric or group not in GROUPS:
            raise UsageError(
                f"--fail-under: must read [METRIC.]GROUP=NUMBER, ... with a metric of {', '.join(METRICS)} and a group "
                f"of {', '.join(GROUPS)}, got {entry.strip()!r}"
            )
        if (metric, group) in thresholds:
            raise UsageError(f"--fail-under: duplicate entry, got {metric}.{group} twice; remove one")
        thresholds[metric, group] = _parse_percentage(number, entry)
    return thresholds


def _parse_percentage(text: str, entry: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1
    if not 0 <= number <= 100:
        raise UsageError(f"--fail-under: a threshold must be a percentage from 0 to 100, got {entry.strip()!r}")
    return number


def check_thresholds(result: EvalResult, thresholds: Thresholds) -> None:
    """Compare means with their thresholds.

    Raises:
        BoundError: A mean is below, or there is none because its group has no class.
    """
    missed = []
    for (metric, group), threshold in thresholds.items():
        mean = result.means[metric][group]
        if mean is None:
            sides = [side for side in GROUPS[:2] if result.means[metric][side] is None]
            missed.append(
                f"{metric} {group} must be at least {threshold:g}, got none: "
                f"no {' and no '.join(sides)} pair counts there"
            )
        elif mean < threshold:
            missed.append(f"{metric} {group} must be at least {threshold:g}, got {mean:.6g}")
    if missed:
        raise BoundError("; ".join(missed))
