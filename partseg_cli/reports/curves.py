"""Curves of a training run, read from its directory, and their running means."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from partseg_cli.io.journal import METRICS_FILE, SCORES_FILE, read_log

NO_LOSS_TERMS = {"step", "lr", "grad_norm", "seconds"}
"""Keys of a line of metrics that are no term of the loss."""
SHARE, FEWEST, MOST = 0.02, 5, 500
"""Window of a running mean: share of the steps of the run, minimum and maximum number of steps."""
RECENT = 100
"""Number of steps from which the current pace is measured."""
EARLY = 4
"""Weight of the value at step t of a short run: at least EARLY / (EARLY + t)."""


@dataclass(frozen=True)
class Series:
    """A value over the steps at which it was logged and finite.

    Attributes:
        steps: Steps, ascending.
        values: Finite value at each step.
    """

    steps: Int[np.ndarray, "N"]
    values: Float[np.ndarray, "N"]

    def __len__(self) -> int:
        return len(self.steps)

    @classmethod
    def of(cls, steps: Sequence[int], values: Sequence[object]) -> Series:
        """Return the finite numbers among the values; they are int or float, as in JSON."""
        numbers = np.array([value if type(value) in {int, float} else math.nan for value in values], np.float64)
        is_finite = np.isfinite(numbers)
        return cls(np.array(steps, np.int64)[is_finite], numbers[is_finite])

    def smoothed(self) -> Series:
        """Return the running mean over the usual window."""
        return Series(self.steps, running_mean(self.values, window(len(self))))

    def outline(self, columns: int) -> Series:
        """Return the points that a line of `columns` pixels shows: the lowest and the highest of each column."""
        if len(self) <= 2 * columns:
            return self
        kept = {0, len(self) - 1}
        for column in np.array_split(np.arange(len(self)), columns):
            kept |= {int(column[self.values[column].argmin()]), int(column[self.values[column].argmax()])}
        chosen = np.array(sorted(kept))
        return Series(self.steps[chosen], self.values[chosen])


@dataclass(frozen=True)
class Score:
    """Scores of one validation.

    Attributes:
        step: Step after which the model was validated.
        protocol: Evaluation protocol.
        miou: mIoU in percent by group of pairs (seen, unseen, harmonic); None where no class can be scored.
    """

    step: int
    protocol: str
    miou: dict[str, float | None]


@dataclass(frozen=True)
class Curves:
    """Logged values of a run.

    Attributes:
        terms: Loss terms by name, `total` first.
        lr: Learning rate.
        grad_norm: L2 norm of the gradient before clipping.
        seconds: Seconds since the run was started or resumed.
        scores: Validation scores in order.
        last: Last logged step, 0 = none.
    """

    terms: dict[str, Series]
    lr: Series
    grad_norm: Series
    seconds: Series
    scores: tuple[Score, ...] = ()
    last: int = 0

    @property
    def elapsed(self) -> float:
        """Seconds until the last step; where the clock goes back, it was reset by a new start."""
        values = self.seconds.values
        rises = np.diff(values, prepend=0.0)
        return float(np.where(rises < 0, values, rises).sum())

    @property
    def pace(self) -> float | None:
        """Median seconds per step of the last steps, which excludes pauses; None before two steps."""
        rises = np.diff(self.seconds.values[-RECENT:])
        return float(np.median(rises)) if len(rises) else None

    def miou(self) -> dict[str, Series]:
        """Return the mIoU over the steps by protocol and group, or by group alone if there is one protocol."""
        found: dict[str, dict[int, float]] = {}
        is_one = len({score.protocol for score in self.scores}) == 1
        for score in self.scores:
            for group, value in score.miou.items():
                if value is not None:
                    found.setdefault(group if is_one else f"{score.protocol} {group}", {})[score.step] = value
        return {name: Series.of(list(points), list(points.values())) for name, points in found.items()}


def read_curves(folder: Path) -> Curves:
    """Read the training log of a run directory; each of its files may be missing.

    Where a run was resumed from an earlier step, the newer lines replace the older ones.
    """
    rows: list[dict[str, Any]] = []
    for line in read_log(folder / METRICS_FILE):
        while rows and rows[-1]["step"] >= line["step"]:
            rows.pop()
        rows.append(line)
    steps = [row["step"] for row in rows]
    names = dict.fromkeys(["total", *(name for row in rows for name in row)])
    series = {name: Series.of(steps, [row.get(name) for row in rows]) for name in [*names, *NO_LOSS_TERMS]}
    return Curves(
        terms={name: series[name] for name in names if name not in NO_LOSS_TERMS and len(series[name])},
        lr=series["lr"],
        grad_norm=series["grad_norm"],
        seconds=series["seconds"],
        scores=_scores(read_log(folder / SCORES_FILE)),
        last=steps[-1] if steps else 0,
    )


def _scores(lines: Iterable[dict[str, Any]]) -> tuple[Score, ...]:
    """Return the newest validation of each step and protocol."""
    newest: dict[tuple[int, str], Score] = {}
    for line in lines:
        means = line.get("mIoU")
        if isinstance(means, Mapping):
            miou = {
                str(name): mean if isinstance(mean, int | float) and math.isfinite(mean) else None
                for name, mean in means.items()
            }
            score = Score(line["step"], str(line.get("protocol", "val")), miou)
            newest[score.step, score.protocol] = score
    return tuple(newest[key] for key in sorted(newest))


def window(count: int) -> int:
    """Return the number of steps in the window of the running mean of `count` steps."""
    return min(MOST, max(FEWEST, round(SHARE * count)))


def running_mean(values: Float[np.ndarray, "N"], steps: int) -> Float[np.ndarray, "N"]:
    """Compute the exponential running mean, whose weights fall to 1/e within `steps`.

    At the start its window is a quarter of the steps so far, so that the first, often huge values are soon forgotten.

    >>> running_mean(np.array([3.0, 1.0, 1.0]), 10).round(3).tolist()
    [3.0, 1.4, 1.133]
    """
    weights = np.maximum(-math.expm1(-1 / steps), EARLY / (EARLY + np.arange(len(values))))
    mean, means = 0.0, []
    for weight, value in zip(weights.tolist(), values.tolist(), strict=True):
        mean += weight * (value - mean)
        means.append(mean)
    return np.array(means, np.float64)
