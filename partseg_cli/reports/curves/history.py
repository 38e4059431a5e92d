"""The curves of a training run, read from its folder, and their running means."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from partseg_cli.io.training_log import METRICS_FILE, SCORES_FILE, read_log

NUMBERS = {int, float}
"""What JSON's numbers are read as."""
PLACED = {"step", "lr", "grad_norm", "seconds"}
"""Keys of a line of metrics that are no term of the loss."""
SHARE, FEWEST, MOST = 0.02, 5, 500
"""How many steps a running mean looks back: a share of those of the run, at least, and at most."""
LATELY = 100
"""Steps from which the pace is taken."""
YOUNG = 4
"""Of a running mean: the share of a value at step t of a young run is so much to so much and t."""


@dataclass(frozen=True)
class Series:
    """One value over the steps at which it was noted and finite.

    Attributes:
        steps: ascending.
        values: at each of them, finite.
    """

    steps: Int[np.ndarray, "N"]
    values: Float[np.ndarray, "N"]

    def __len__(self) -> int:
        return len(self.steps)


@dataclass(frozen=True)
class Score:
    """One evaluation on val.

    Attributes:
        step: after which it was.
        protocol: what the model was told.
        miou: in percent by group of pairs: seen, unseen, harmonic; None where there is no class to score.
    """

    step: int
    protocol: str
    miou: dict[str, float | None]


@dataclass(frozen=True)
class Curves:
    """What a run has noted so far.

    Attributes:
        terms: of the loss by name, `total` first.
        lr: learning rate.
        grad_norm: L2 norm of the gradient before clipping.
        seconds: since the run, or its last part, was started.
        scores: of the evaluations, in their order.
        last: the last step that was noted, 0 = none.
    """

    terms: dict[str, Series]
    lr: Series
    grad_norm: Series
    seconds: Series
    scores: tuple[Score, ...] = ()
    last: int = 0

    @property
    def elapsed(self) -> float:
        """Seconds that the run had taken at its last step; a clock that goes back was set to 0 by a new start."""
        values = self.seconds.values
        rises = np.diff(values, prepend=0.0)
        return float(np.where(rises < 0, values, rises).sum())

    @property
    def pace(self) -> float | None:
        """Seconds of a step, lately, apart from what came between some of them; None before there are two."""
        rises = np.diff(self.seconds.values[-LATELY:])
        return float(np.median(rises)) if len(rises) else None

    def miou(self) -> dict[str, Series]:
        """Give the mean IoU over the steps, by protocol and group; by group alone where there is but one protocol."""
        found: dict[str, dict[int, float]] = {}
        is_one = len({score.protocol for score in self.scores}) == 1
        for score in self.scores:
            for group, value in score.miou.items():
                if value is not None:
                    found.setdefault(group if is_one else f"{score.protocol} {group}", {})[score.step] = value
        return {name: _series(list(points), list(points.values())) for name, points in found.items()}


def read_curves(folder: Path) -> Curves:
    """Read `metrics.jsonl` and `val.jsonl` of a run folder, each of which may be missing.

    A line that is cut off is left out. Where a run went on from an earlier step, the newer lines count.
    """
    rows = _newest(read_log(folder / METRICS_FILE))
    names = dict.fromkeys(["total", *(name for row in rows for name in row if name not in PLACED)])
    terms = {name: _column(rows, name) for name in names}
    return Curves(
        terms={name: series for name, series in terms.items() if len(series)},
        lr=_column(rows, "lr"),
        grad_norm=_column(rows, "grad_norm"),
        seconds=_column(rows, "seconds"),
        scores=tuple(_scores(read_log(folder / SCORES_FILE))),
        last=rows[-1]["step"] if rows else 0,
    )


def window(count: int) -> int:
    """Give the number of steps that the running mean of `count` steps looks back."""
    return min(MOST, max(FEWEST, round(SHARE * count)))


def smooth(values: Float[np.ndarray, "N"], steps: int) -> Float[np.ndarray, "N"]:
    """Give the exponential running mean, whose weights fall to 1/e within so many steps.

    At the start it looks back over a quarter of what there is, so that the first, often huge values are soon forgotten.

    >>> smooth(np.array([3.0, 1.0, 1.0]), 10).round(3).tolist()
    [3.0, 1.4, 1.133]
    """
    new = np.maximum(-math.expm1(-1 / steps), YOUNG / (YOUNG + np.arange(len(values))))
    mean, means = 0.0, []
    for share, value in zip(new.tolist(), values.tolist(), strict=True):
        mean += share * (value - mean)
        means.append(mean)
    return np.array(means, np.float64)


def smoothed(series: Series) -> Series:
    """Give the running mean of a series over its usual window."""
    return Series(series.steps, smooth(series.values, window(len(series))))


def _newest(lines: Iterator[dict[str, Any]]) -> list[dict[str, Any]]:
    """Give lines of ascending steps: one that goes back takes the place of all from its step on."""
    rows: list[dict[str, Any]] = []
    for line in lines:
        while rows and rows[-1]["step"] >= line["step"]:
            rows.pop()
        rows.append(line)
    return rows


def _scores(lines: Iterator[dict[str, Any]]) -> Iterator[Score]:
    """Give the evaluations, of each step and protocol the newest."""
    newest: dict[tuple[int, str], Score] = {}
    for line in lines:
        means = line.get("mIoU")
        if isinstance(means, Mapping):
            miou = {str(name): mean if _is_finite(mean) else None for name, mean in means.items()}
            score = Score(line["step"], str(line.get("protocol", "val")), miou)
            newest[score.step, score.protocol] = score
    yield from (newest[key] for key in sorted(newest))


def _column(rows: Sequence[dict[str, Any]], name: str) -> Series:
    return _series([row["step"] for row in rows], [row.get(name) for row in rows])


def _series(steps: Sequence[int], found: Sequence[object]) -> Series:
    """Give the finite numbers among what was found."""
    values = np.array([value if type(value) in NUMBERS else math.nan for value in found], np.float64)
    is_finite = np.isfinite(values)
    return Series(np.array(steps, np.int64)[is_finite], values[is_finite])


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
