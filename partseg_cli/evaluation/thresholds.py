"""Bounds that means must reach, as a user writes them: "seen=40,recall.harmonic=30"."""

from __future__ import annotations

from collections.abc import Mapping

from partseg_cli.errors import UsageError
from partseg_cli.evaluation.metrics import EvalResult
from partseg_cli.evaluation.rules import GROUPS, METRICS

Bounds = dict[tuple[str, str], float]
"""(metric, group) -> the least mean, in percent."""

MEANT = {metric.lower(): metric for metric in METRICS}


def parse_bounds(text: str) -> Bounds:
    """Read bounds.

    >>> parse_bounds("seen=40, recall.harmonic=30.5")
    {('mIoU', 'seen'): 40.0, ('recall', 'harmonic'): 30.5}

    Raises:
        UsageError: one has no group or metric that is known, no number from 0 to 100, or stands twice.
    """
    bounds: Bounds = {}
    for piece in text.split(","):
        name, _, number = (word.strip() for word in piece.partition("="))
        key = _key(name, piece)
        if key in bounds:
            raise UsageError(f"--fail-under: each mean must stand once, got {'.'.join(key)} twice; drop one")
        bounds[key] = _number(number, piece)
    return bounds


def below(result: EvalResult, bounds: Mapping[tuple[str, str], float]) -> list[str]:
    """Give a sentence for each mean that is less than its bound, or that is none because its group has no class."""
    sentences = []
    for (metric, group), bound in bounds.items():
        mean = result.means[metric][group]
        if mean is None:
            sides = [side for side in GROUPS[:2] if result.means[metric][side] is None]
            sentences.append(
                f"{metric} {group} must be at least {bound:g}, got none: no {' and no '.join(sides)} pair counts there"
            )
        elif mean < bound:
            sentences.append(f"{metric} {group} must be at least {bound:g}, got {mean:.6g}")
    return sentences


def _key(name: str, piece: str) -> tuple[str, str]:
    metric, _, group = name.rpartition(".")
    metric = MEANT.get(metric.lower() or "miou", "")
    if not metric or group.lower() not in GROUPS:
        raise UsageError(
            f"--fail-under: must read [METRIC.]GROUP=NUMBER, ... with a metric of {', '.join(METRICS)} and a group of "
            f"{', '.join(GROUPS)}, got {piece.strip()!r}"
        )
    return metric, group.lower()


def _number(text: str, piece: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1
    if not 0 <= number <= 100:
        raise UsageError(f"--fail-under: a bound must be a number of percent from 0 to 100, got {piece.strip()!r}")
    return number
