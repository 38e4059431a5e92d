"""What is drawn of a run's curves, and where: panels of lines over two axes, for pictures and for pages alike."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from partseg_cli.reports.curves.history import Curves, Series, smoothed, window

COLOURS = ("#2f6db5", "#c8611f", "#2e8b57", "#a23b72", "#7656b0", "#8a7416", "#2b8f9e", "#c0443c")
"""Of lines, in turn: told apart on light and dark paper, the first ones also by colour-blind eyes."""
WIDE, DEEPEST = 20, 1e5
"""Largest to smallest value of an axis: from which on it is logarithmic, and the most that it then shows."""
MARGIN = 0.05
"""Of an axis, beyond its largest value, and below its smallest unless that is 0."""
TICKS = 6
"""Of an axis, about."""
FINE = 4
"""Decades of a logarithmic axis up to which it is also marked at 2 and 5."""


@dataclass(frozen=True)
class Axis:
    """The range of one direction of a panel.

    Attributes:
        low: value at its start.
        high: value at its end, above `low`.
        is_log: whether equal ways are equal ratios; then `low` is above 0.
        is_whole: whether it is marked at whole numbers alone.
    """

    low: float
    high: float
    is_log: bool = False
    is_whole: bool = False

    @classmethod
    def over(cls, values: Float[np.ndarray, "N"], *, is_log: bool | None = None) -> Axis:
        """Give the axis that shows values: logarithmic where none is below 0 and they span a wide range.

        Args:
            values: at least one, all finite.
            is_log: settles it, if any value is above 0.
        """
        high, positive = float(values.max()), values[values > 0]
        if positive.size and (is_log or (is_log is None and values.min() >= 0 and high > WIDE * positive.min())):
            low = max(float(positive.min()), high / DEEPEST)
            margin = max(high / low, 1.1) ** MARGIN
            return cls(low / margin, high * margin, True)
        low = float(values.min())
        low = 0.0 if 0 <= low < high / 2 else low
        margin = MARGIN * (high - low) or abs(high) / 2 or 1.0
        return cls(low - margin if low else 0.0, high + margin)

    def place(self, values: Float[np.ndarray, "N"]) -> Float[np.ndarray, "N"]:
        """Give how far along the axis values are, in [0, 1]; those outside lie at its ends."""
        low, high = self.low, self.high
        values = np.clip(values, low, high)
        if self.is_log:
            low, high, values = math.log(low), math.log(high), np.log(values)
        return (values - low) / (high - low)

    def ticks(self) -> list[tuple[float, str]]:
        """Give the places in [0, 1] of round values, and these in words."""
        values = self._decades() if self.is_log else []
        if len(values) < 2:
            values = self._even()
        places = self.place(np.array(values))
        return [(float(place), _short(value)) for place, value in zip(places, values, strict=True)]

    def _decades(self) -> list[float]:
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        marks = (1, 2, 5) if last - first <= FINE else (1,)
        values = [mark * 10.0**power for power in range(first, last + 1) for mark in marks]
        return [value for value in values if self.low <= value <= self.high]

    def _even(self) -> list[float]:
        rough = (self.high - self.low) / TICKS
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(mark * power for mark in (1, 2, 5, 10) if mark * power >= rough * 0.999)
        step = max(step, 1.0) if self.is_whole else step
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [round(number * step, 12) for number in range(first, last + 1)]


@dataclass(frozen=True)
class Line:
    """One line of a panel.

    Attributes:
        name: in the legend; empty: it has no place there.
        series: at least one point.
        colour: as "#rrggbb".
        is_raw: whether it is thin and pale, behind its own running mean.
        has_dots: whether each point is marked.
    """

    name: str
    series: Series
    colour: str
    is_raw: bool = False
    has_dots: bool = False


@dataclass(frozen=True)
class Panel:
    """Lines over steps.

    Attributes:
        title: what is drawn, in which unit.
        lines: at least one, in the order in which they are drawn.
        across: the axis of the steps.
        up: that of the values.
    """

    title: str
    lines: tuple[Line, ...]
    across: Axis
    up: Axis

    @property
    def legend(self) -> tuple[Line, ...]:
        """The lines that have a name."""
        return tuple(line for line in self.lines if line.name)


def panels(curves: Curves) -> dict[str, Panel]:
    """Give the panels that a run has something for: total, terms, grad_norm, lr, miou."""
    if not curves.last:
        return {}
    total, first = curves.terms.get("total"), COLOURS[0]
    terms = {name: smoothed(series) for name, series in curves.terms.items() if name != "total"}
    steps = f"exponential mean of {window(curves.last):,} steps"
    across = Axis(1.0 if curves.last > 1 else 0.0, float(curves.last), is_whole=True)
    found = {
        "total": _panel("total loss", _with_mean(total, first, steps), across),
        "terms": _panel(f"terms of the loss, unweighted, {steps}", _coloured(terms), across),
        "grad_norm": _panel("norm of the gradient", _with_mean(curves.grad_norm, COLOURS[4], steps), across),
        "lr": _panel("learning rate", _coloured({"": curves.lr}), across, is_log=False),
        "miou": _panel("mIoU on val, percent", _coloured(curves.miou(), has_dots=True), across, is_log=False),
    }
    return {name: panel for name, panel in found.items() if panel is not None}


def _panel(title: str, lines: Sequence[Line], across: Axis, *, is_log: bool | None = None) -> Panel | None:
    lines = tuple(line for line in lines if len(line.series))
    if not lines:
        return None
    up = Axis.over(np.concatenate([line.series.values for line in lines]), is_log=is_log)
    return Panel(f"{title}, logarithmic" if up.is_log else title, lines, across, up)


def _with_mean(series: Series | None, colour: str, steps: str) -> list[Line]:
    if series is None:
        return []
    return [Line("each step", series, colour, is_raw=True), Line(steps, smoothed(series), colour)]


def _coloured(series: Mapping[str, Series], *, has_dots: bool = False) -> list[Line]:
    return [
        Line(name.replace("_", " "), values, COLOURS[number % len(COLOURS)], has_dots=has_dots)
        for number, (name, values) in enumerate(series.items())
    ]


def outline(series: Series, columns: int) -> Series:
    """Give the points that a line of so many columns of pixels shows: the lowest and the highest of each column."""
    if len(series) <= 2 * columns:
        return series
    kept = {0, len(series) - 1}
    for column in np.array_split(np.arange(len(series)), columns):
        kept |= {int(column[series.values[column].argmin()]), int(column[series.values[column].argmax()])}
    chosen = np.array(sorted(kept))
    return Series(series.steps[chosen], series.values[chosen])


def _short(value: float) -> str:
    """Give a number as short as an axis needs it."""
    return f"{value:,.0f}" if abs(value) >= 1000 and value == int(value) and abs(value) < 1e7 else f"{value:g}"
