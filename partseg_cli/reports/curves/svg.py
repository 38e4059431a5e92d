"""A panel of curves as SVG that stands in an HTML page; what a step was is told where the mouse rests, without script.

The page's style says how the classes rule, frame, curve, raw and at look, and `--c` is the colour of a line.
"""

from __future__ import annotations

from html import escape

import numpy as np
from jaxtyping import Float

from partseg_cli.reports.curves.history import Series
from partseg_cli.reports.curves.panels import Line, Panel, outline

WIDTH, HEIGHT = 620, 300
"""Of the drawing, in its own units."""
LEFT, RIGHT, TOP, BOTTOM = 58, 24, 12, 26
"""Room around its frame, in the same."""
COLUMNS = 280
"""Of the frame: a line has up to two points in each, which keeps the page small."""
TOLD = 120
"""Places across the frame at which the values are told, or less where there are fewer steps."""
ACROSS, UP = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM


def figure(panel: Panel) -> str:
    """Give the panel with its title and its legend."""
    words = "".join(
        f'<li><i class="{"raw " if line.is_raw else ""}line" style="--c:{line.colour}"></i>{escape(line.name)}</li>'
        for line in panel.legend
    )
    legend = f'<ul class="words">{words}</ul>' if words else ""
    return (
        f'<figure class="curves"><figcaption>{escape(panel.title)}</figcaption>{legend}'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(_told(panel))}">'
        f"{_grid(panel)}{''.join(_line(panel, line) for line in panel.lines)}{_hover(panel)}</svg></figure>"
    )


def _told(panel: Panel) -> str:
    """Say in words where each line begins and ends."""
    ends = [
        f"{line.name or panel.title} {line.series.values[0]:.4g} at step {line.series.steps[0]:,}, "
        f"{line.series.values[-1]:.4g} at step {line.series.steps[-1]:,}"
        for line in panel.lines
        if not line.is_raw
    ]
    return f"{panel.title}: {'; '.join(ends)}"


def _grid(panel: Panel) -> str:
    upright = "".join(
        f'<path class="rule" d="M{_x(place):.1f} {TOP}v{UP}"/>'
        f'<text x="{_x(place):.1f}" y="{HEIGHT - 8}" text-anchor="middle">{text}</text>'
        for place, text in panel.across.ticks()
    )
    level = "".join(
        f'<path class="rule" d="M{LEFT} {_y(place):.1f}h{ACROSS}"/>'
        f'<text x="{LEFT - 7}" y="{_y(place) + 4:.1f}" text-anchor="end">{text}</text>'
        for place, text in panel.up.ticks()
    )
    corner = f'<text x="{LEFT - 7}" y="{HEIGHT - 8}" text-anchor="end">step</text>'
    return f'{upright}{level}{corner}<path class="frame" d="M{LEFT} {TOP}v{UP}h{ACROSS}"/>'


def _line(panel: Panel, line: Line) -> str:
    points = _points(panel, outline(line.series, COLUMNS))
    kind, paint = "raw curve" if line.is_raw else "curve", f'style="--c:{line.colour}"'
    path = "L".join(f"{x:.1f} {y:.1f}" for x, y in points.tolist())
    drawn = f'<path class="{kind}" {paint} d="M{path}"/>'
    if line.has_dots or len(points) == 1:
        drawn += "".join(f'<circle class="dot" {paint} cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>' for x, y in points.tolist())
    return drawn


def _hover(panel: Panel) -> str:
    """Give columns that show a line and the values of the nearest step while the mouse is over them."""
    steps = np.unique(np.concatenate([line.series.steps for line in panel.lines]))
    steps = steps[np.unique(np.linspace(0, len(steps) - 1, min(TOLD, len(steps))).round().astype(int))]
    x = LEFT + ACROSS * panel.across.place(steps.astype(np.float64))
    edges = np.concatenate([[LEFT], (x[1:] + x[:-1]) / 2, [WIDTH - RIGHT]])
    columns = zip(steps.tolist(), x.tolist(), edges[:-1].tolist(), edges[1:].tolist(), strict=True)
    return "".join(
        f'<g class="at"><title>{escape(_values(panel, step))}</title><path d="M{middle:.1f} {TOP}v{UP}"/>'
        f'<rect x="{left:.1f}" y="{TOP}" width="{right - left:.1f}" height="{UP}"/></g>'
        for step, middle, left, right in columns
    )


def _values(panel: Panel, step: int) -> str:
    """Say what the lines were at a step; one that has none there is left out."""
    said = [f"step {step:,}"]
    for line in panel.lines:
        place = int(np.searchsorted(line.series.steps, step))
        if place < len(line.series) and line.series.steps[place] == step:
            said.append(f"{line.name or panel.title}: {line.series.values[place]:.4g}")
    return "\n".join(said)


def _points(panel: Panel, series: Series) -> Float[np.ndarray, "N 2"]:
    across = panel.across.place(series.steps.astype(np.float64))
    return np.stack([LEFT + ACROSS * across, TOP + UP * (1 - panel.up.place(series.values))], 1)


def _x(place: float) -> float:
    return LEFT + ACROSS * place


def _y(place: float) -> float:
    return TOP + UP * (1 - place)
