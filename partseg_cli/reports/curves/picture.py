"""A run's curves as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageDraw, ImageFont

from partseg_cli.reports.curves.history import Curves
from partseg_cli.reports.curves.panels import Line, Panel, outline, panels
from partseg_cli.reports.overlay import INK, PAPER

SCALE = 2
"""The picture is drawn so much larger and then made smaller, so that lines are smooth."""
DIM, GRID, FRAME = (98, 98, 106), (228, 228, 224), (168, 168, 164)
PALE = 0.62
"""How much paper is in the colour of a raw line."""
TITLE, TEXT = 20, 13
"""Sizes of letters, in pixels of the picture."""
LEFT, RIGHT, TOP, BOTTOM = 64, 28, 34, 30
"""Room around the frame of a panel, in the same."""
ROW, SAMPLE, GAP = 20, 28, 16
"""Of a legend: the height of a row, the room for a piece of the line, and that between two entries."""
THICK, THIN, DOT = 2.6, 1.0, 3.4


class Box(NamedTuple):
    """A rectangle in pixels of the picture."""

    left: float
    top: float
    right: float
    bottom: float


def loss_plot(curves: Curves, title: str, size: tuple[int, int] = (1200, 800)) -> Image.Image:
    """Draw the total loss over its terms and, where there are evaluations, the mean IoU on val.

    Args:
        curves: of the run.
        title: above all.
        size: width and height in pixels.
    """
    found = panels(curves)
    width, height = size
    pen = _Pen(size)
    pen.text(LEFT, 26, title, TITLE, INK, "lm", room=width - LEFT - RIGHT)
    if not found:
        pen.text(width / 2, height / 2, "no step was noted yet", TITLE, DIM, "mm")
    for name, box in _layout(found.keys() & {"total", "terms", "miou"}, width, height).items():
        _draw(pen, found[name], box)
    return pen.finished()


def _layout(names: set[str], width: int, height: int) -> dict[str, Box]:
    """Put the total above, what else there is beside each other below."""
    top = 46
    below = [name for name in ("terms", "miou") if name in names]
    middle = top + (height - top) * (0.55 if below else 1.0)
    boxes = {"total": Box(0, top, width, middle)} if "total" in names else {}
    each = width / max(1, len(below))
    return boxes | {name: Box(each * i, middle, each * (i + 1), height) for i, name in enumerate(below)}


class _Pen:
    """Draws in pixels of the picture, on a larger sheet."""

    def __init__(self, size: tuple[int, int]) -> None:
        self.size = size
        self.sheet = Image.new("RGB", (size[0] * SCALE, size[1] * SCALE), PAPER)
        self.draw = ImageDraw.Draw(self.sheet)

    def finished(self) -> Image.Image:
        return self.sheet.resize(self.size, Image.Resampling.BOX)

    def line(self, points: Float[np.ndarray, "N 2"], colour: tuple[int, ...], width: float) -> None:
        flat = (points * SCALE).round().ravel().tolist()
        self.draw.line(flat, fill=colour, width=round(width * SCALE), joint="curve")

    def dots(self, points: Float[np.ndarray, "N 2"], colour: tuple[int, ...]) -> None:
        for x, y in (points * SCALE).tolist():
            self.draw.circle((x, y), DOT * SCALE, fill=colour)

    def width(self, text: str, size: int) -> float:
        return ImageFont.load_default(size * SCALE).getlength(text) / SCALE

    def text(
        self, x: float, y: float, text: str, size: int, colour: tuple[int, ...], anchor: str, room: float | None = None
    ) -> None:
        """Write a text; one that is longer than `room` loses its beginning."""
        if room is not None and self.width(text, size) > room:
            while text and self.width(f"...{text}", size) > room:
                text = text[1:]
            text = f"...{text}"
        font = ImageFont.load_default(size * SCALE)
        self.draw.text((x * SCALE, y * SCALE), text, fill=colour, font=font, anchor=anchor)


def _draw(pen: _Pen, panel: Panel, box: Box) -> None:
    left, right, middle = box.left + LEFT, box.right - RIGHT, box.top + TOP / 2
    pen.text(left, middle, panel.title, TEXT + 1, INK, "lm", room=right - left)
    used = pen.width(panel.title, TEXT + 1)
    rows = _rows(pen, panel.legend, right - left)
    beside = len(rows) == 1 and used + _long(pen, rows[0]) < right - left
    for number, row in enumerate(rows):
        start = right - _long(pen, row) + GAP if beside else left
        _legend(pen, row, start, middle + (0 if beside else ROW * (number + 1)))
    frame = Box(left, box.top + TOP + (0 if beside else ROW * len(rows)), right, box.bottom - BOTTOM)
    _grid(pen, panel, frame)
    for line in panel.lines:
        _line(pen, panel, line, frame)


def _rows(pen: _Pen, lines: Sequence[Line], room: float) -> list[list[Line]]:
    """Put the entries of a legend into rows that fit."""
    rows: list[list[Line]] = []
    for line in lines:
        if rows and _long(pen, [*rows[-1], line]) - GAP <= room:
            rows[-1].append(line)
        else:
            rows.append([line])
    return rows


def _long(pen: _Pen, row: Sequence[Line]) -> float:
    return sum(SAMPLE + pen.width(line.name, TEXT) + GAP for line in row)


def _legend(pen: _Pen, row: Sequence[Line], left: float, y: float) -> None:
    for line in row:
        pen.line(np.array([[left, y], [left + SAMPLE - 6, y]]), _colour(line), THIN if line.is_raw else THICK)
        pen.text(left + SAMPLE, y, line.name, TEXT, INK, "lm")
        left += _long(pen, [line])


def _grid(pen: _Pen, panel: Panel, frame: Box) -> None:
    for place, text in panel.across.ticks():
        x = frame.left + place * (frame.right - frame.left)
        pen.line(np.array([[x, frame.top], [x, frame.bottom]]), GRID, 1)
        pen.text(x, frame.bottom + 6, text, TEXT, DIM, "mt")
    pen.text(frame.left - 8, frame.bottom + 6, "step", TEXT, DIM, "rt")
    for place, text in panel.up.ticks():
        y = frame.bottom - place * (frame.bottom - frame.top)
        pen.line(np.array([[frame.left, y], [frame.right, y]]), GRID, 1)
        pen.text(frame.left - 8, y, text, TEXT, DIM, "rm")
    corners = [[frame.left, frame.top], [frame.left, frame.bottom], [frame.right, frame.bottom]]
    pen.line(np.array(corners), FRAME, 1)


def _line(pen: _Pen, panel: Panel, line: Line, frame: Box) -> None:
    series = outline(line.series, round(frame.right - frame.left))
    x = frame.left + panel.across.place(series.steps.astype(np.float64)) * (frame.right - frame.left)
    y = frame.bottom - panel.up.place(series.values) * (frame.bottom - frame.top)
    points, colour = np.stack([x, y], 1), _colour(line)
    pen.line(points, colour, THIN if line.is_raw else THICK)
    if line.has_dots or len(points) == 1:
        pen.dots(points, colour)


def _colour(line: Line) -> tuple[int, ...]:
    ink = tuple(int(line.colour[i : i + 2], 16) for i in (1, 3, 5))
    if not line.is_raw:
        return ink
    return tuple(round((1 - PALE) * own + PALE * paper) for own, paper in zip(ink, PAPER, strict=True))
