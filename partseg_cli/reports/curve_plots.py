"""Plots of a run's curves: a PNG with matplotlib, and SVG for HTML pages with the values under the mouse."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float
from markupsafe import Markup
from PIL import Image

from partseg_cli.reports.curves import Curves, Series, window
from partseg_cli.reports.overlay import PAPER

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

COLOURS = ("#2f6db5", "#c8611f", "#2e8b57", "#a23b72", "#7656b0", "#8a7416", "#2b8f9e", "#c0443c")
"""Line colours, distinguishable on light and dark backgrounds; the first ones also by colour-blind readers."""
TEXT, DIM, GRID, FRAME = "#202024", "#62626a", "#e4e4e0", "#a8a8a4"
PAPER_COLOUR = "#{:02x}{:02x}{:02x}".format(*PAPER)
STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "svg.fonttype": "none",
    "svg.hashsalt": "partseg",
    "text.parse_math": False,
    "axes.unicode_minus": False,
}
"""The same settings, and so the same bytes, whatever matplotlibrc is in use."""
WIDE, DEEPEST = 20, 1e5
"""Ratio of the largest to the smallest value: from WIDE on an axis is logarithmic, and it shows at most DEEPEST."""
MARGIN = 0.05
"""Share of an axis above its largest value, and below its smallest one unless that is 0."""
FINE = 4
"""Decades up to which a logarithmic axis also has ticks at 2 and 5."""
TICKS = 7
"""Maximum number of intervals between ticks."""
THICK, THIN, PALE = 1.9, 0.8, 0.38
"""Widths of lines in points, and opacity of a raw line."""
DPI, TITLE_WIDTH = 100, 11
"""PNG: pixels per inch, and width in pixels that a character of the title takes on average."""
SVG_SIZE, SVG_BOX = (620, 300), (58, 26, 538, 262)
"""SVG: width and height; left, bottom, width and height of the axes, in SVG user units."""
SVG_COLUMNS, HOVERS = 280, 120
"""SVG: columns of a line, with two points each at most, and number of steps whose values the mouse shows."""
SVG_STYLES = {
    TEXT: "var(--ink)",
    DIM: "var(--dim)",
    GRID: "var(--line)",
    FRAME: "color-mix(in srgb, var(--dim) 60%, transparent)",
    "'DejaVu Sans'": "system-ui, sans-serif",
    **{colour: f"color-mix(in srgb, {colour} var(--mix), #fff)" for colour in COLOURS},
}
"""SVG: replacements by which a plot follows the light or dark style of its page."""


@dataclass(frozen=True)
class Line:
    """One line of a plot.

    Attributes:
        name: Name in the legend; an empty one is left out.
        series: At least one point.
        colour: Colour as "#rrggbb".
        is_raw: Whether it is thin and pale, behind its own running mean.
        has_dots: Whether each point is marked.
    """

    name: str
    series: Series
    colour: str
    is_raw: bool = False
    has_dots: bool = False


@dataclass(frozen=True)
class Plot:
    """Lines over the steps of a run.

    Attributes:
        title: Quantity and unit.
        lines: At least one, in the order in which they are drawn.
        last: Last step of the run.
        low: Lower end of the axis of values.
        high: Upper end of it.
        is_log: Whether it is logarithmic.
    """

    title: str
    lines: tuple[Line, ...]
    last: int
    low: float
    high: float
    is_log: bool

    @property
    def legend(self) -> tuple[Line, ...]:
        """The lines that have a name."""
        return tuple(line for line in self.lines if line.name)

    @property
    def summary(self) -> str:
        """The ends of each line in words."""
        ends = [
            f"{line.name or self.title} {line.series.values[0]:.4g} at step {line.series.steps[0]:,}, "
            f"{line.series.values[-1]:.4g} at step {line.series.steps[-1]:,}"
            for line in self.lines
            if not line.is_raw
        ]
        return f"{self.title}: {'; '.join(ends)}"

    @property
    def steps(self) -> tuple[float, float]:
        """Ends of the axis of steps."""
        return (1.0, float(self.last)) if self.last > 1 else (0.0, 1.0)


def build_plots(curves: Curves) -> dict[str, Plot]:
    """Build the plots for which a run has values: total, terms, grad_norm, lr, miou."""
    if not curves.last:
        return {}
    terms = {name: series.smoothed() for name, series in curves.terms.items() if name != "total"}
    mean = f"exponential mean of {window(curves.last):,} steps"
    total = curves.terms.get("total")
    plots = {
        "total": _plot("total loss", [] if total is None else _with_mean(total, COLOURS[0], mean), curves),
        "terms": _plot(f"loss terms, unweighted, {mean}", _coloured(terms), curves),
        "grad_norm": _plot("gradient norm", _with_mean(curves.grad_norm, COLOURS[4], mean), curves),
        "lr": _plot("learning rate", _coloured({"": curves.lr}), curves, may_be_log=False),
        "miou": _plot("mIoU on val, percent", _coloured(curves.miou(), has_dots=True), curves, may_be_log=False),
    }
    return {name: plot for name, plot in plots.items() if plot is not None}


def _plot(title: str, lines: Sequence[Line], curves: Curves, *, may_be_log: bool = True) -> Plot | None:
    lines = tuple(line for line in lines if len(line.series))
    if not lines:
        return None
    values = np.concatenate([line.series.values for line in lines])
    low, high, is_log = value_range(values, may_be_log=may_be_log)
    return Plot(f"{title}, logarithmic" if is_log else title, lines, curves.last, low, high, is_log)


def _with_mean(series: Series, colour: str, mean: str) -> list[Line]:
    return [Line("each step", series, colour, is_raw=True), Line(mean, series.smoothed(), colour)]


def _coloured(series: Mapping[str, Series], *, has_dots: bool = False) -> list[Line]:
    return [
        Line(name.replace("_", " "), values, COLOURS[number % len(COLOURS)], has_dots=has_dots)
        for number, (name, values) in enumerate(series.items())
    ]


def value_range(values: Float[np.ndarray, "N"], *, may_be_log: bool = True) -> tuple[float, float, bool]:
    """Return the ends of an axis and whether it is logarithmic: no value is below 0 and they span a wide range.

    >>> value_range(np.array([1.0, 4.0, 9.0]))
    (0.0, 9.45, False)
    """
    high, positive = float(values.max()), values[values > 0]
    if may_be_log and positive.size and values.min() >= 0 and high > WIDE * positive.min():
        low = max(float(positive.min()), high / DEEPEST)
        margin = (high / low) ** MARGIN
        return low / margin, high * margin, True
    low = float(values.min())
    low = 0.0 if 0 <= low < high / 2 else low
    margin = MARGIN * (high - low) or abs(high) / 2 or 1.0
    return low - margin if low else 0.0, high + margin, False


def plot_losses(curves: Curves, title: str, size: tuple[int, int] = (1200, 800)) -> Image.Image:
    """Draw the total loss, below it the loss terms and, where there are validations, the mIoU on val.

    Args:
        curves: Curves of the run.
        title: Title of the figure; one that is too long loses its beginning.
        size: Width and height in pixels.
    """
    plots = build_plots(curves)
    below = [name for name in ("terms", "miou") if name in plots]
    above = ["total"] * max(1, len(below)) if "total" in plots else []
    rows: list[Any] = [row for row in (above, below) if row]
    room = size[0] // TITLE_WIDTH
    with _figure(size, DPI) as (figure, canvas):
        figure.set_facecolor(PAPER_COLOUR)
        figure.set_layout_engine("constrained", w_pad=0.15, h_pad=0.12)
        text = title if len(title) <= room else f"...{title[3 - room :]}"
        figure.suptitle(text, x=0.02, ha="left", size=14, color=TEXT)
        if not rows:
            figure.text(0.5, 0.5, "no step is logged yet", size=14, color=DIM, ha="center", va="center")
        for name, axes in figure.subplot_mosaic(rows, height_ratios=(55, 45)[: len(rows)]).items() if rows else ():
            _draw(axes, plots[name], size[0], 9)
            axes.set_title(plots[name].title, loc="left", size=10, color=TEXT)
            axes.legend(fontsize=9, labelcolor=TEXT, facecolor=PAPER_COLOUR, edgecolor="none", ncols=2)
        canvas.draw()
        return Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3])


def plot_svg(plot: Plot, name: str) -> Markup:
    """Return axes, ticks and lines of a plot as SVG that fits in an `<svg>` of `SVG_SIZE`.

    It holds no title and no legend: they are text of the page. Ids start with `name`.
    """
    file = io.StringIO()
    width, height = SVG_SIZE
    with _figure(SVG_SIZE, 72) as (figure, _):
        figure.patch.set_visible(False)
        left, bottom, across, up = SVG_BOX
        axes = figure.add_axes((left / width, bottom / height, across / width, up / height))
        _draw(axes, plot, SVG_COLUMNS, 11)
        figure.savefig(file, format="svg", dpi=72, metadata={"Date": None})
    text = file.getvalue()
    text = text[text.index("<defs>") : text.rindex("</svg>")]  # without prolog and metadata
    text = re.sub(r"<!--.*?-->|<style.*?</style>", "", text, flags=re.DOTALL)
    text = re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{name}-", text)
    for old, new in SVG_STYLES.items():
        text = text.replace(old, new)
    return Markup(text)  # lines and numbers alone: no name enters it


def hover_columns(plot: Plot) -> list[dict[str, Any]]:
    """Return columns of an SVG plot with the step in their middle and the values that the mouse shows there."""
    left, bottom, across, up = SVG_BOX
    steps = np.unique(np.concatenate([line.series.steps for line in plot.lines]))
    steps = steps[np.unique(np.linspace(0, len(steps) - 1, min(HOVERS, len(steps))).round().astype(int))]
    first, last = plot.steps
    x = left + across * (steps - first) / (last - first)
    edges = np.concatenate([[left], (x[1:] + x[:-1]) / 2, [left + across]])
    return [
        {
            "text": _values(plot, step),
            "middle": f"{middle:.1f}",
            "left": f"{start:.1f}",
            "width": f"{end - start:.1f}",
            "top": SVG_SIZE[1] - bottom - up,
            "height": up,
        }
        for step, middle, start, end in zip(steps.tolist(), x.tolist(), edges[:-1], edges[1:], strict=True)
    ]


def _values(plot: Plot, step: int) -> str:
    """Return the values of the lines that have one at a step."""
    lines = [f"step {step:,}"]
    for line in plot.lines:
        index = int(np.searchsorted(line.series.steps, step))
        if index < len(line.series) and line.series.steps[index] == step:
            lines.append(f"{line.name or plot.title}: {line.series.values[index]:.4g}")
    return "\n".join(lines)


@contextmanager
def _figure(size: tuple[float, float], dpi: int) -> Iterator[tuple[Figure, FigureCanvasAgg]]:
    """Open a figure of a size in pixels with `STYLE`; settings of matplotlib outside stay as they are."""
    # Imported here because it is slow and most commands draw no curves.
    from matplotlib import style
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with style.context(["default", STYLE]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # drawn as a box
        figure = Figure((size[0] / dpi, size[1] / dpi), dpi=dpi)
        yield figure, FigureCanvasAgg(figure)


def _draw(axes: Axes, plot: Plot, columns: int, text_size: float) -> None:
    """Draw axes and lines; values outside the axes are drawn at their ends."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator

    def even(*, integer: bool = False) -> MaxNLocator:
        return MaxNLocator(TICKS, steps=[1, 2, 5, 10], integer=integer)

    axes.set_xlim(*plot.steps)
    axes.set_yscale("log" if plot.is_log else "linear")
    axes.set_ylim(plot.low, plot.high)
    axes.minorticks_off()
    axes.xaxis.set_major_locator(even(integer=True))
    is_fine = plot.is_log and plot.high / plot.low <= 10**FINE
    log = LogLocator(subs=(1, 2, 5) if is_fine else (1,), numticks=20)
    axes.yaxis.set_major_locator(log if plot.is_log else even())
    axes.set_facecolor("none")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: tick_label(value)))
    for line in plot.lines:
        series = line.series.outline(columns)
        axes.plot(
            series.steps,
            np.clip(series.values, plot.low, plot.high),
            color=line.colour,
            alpha=PALE if line.is_raw else None,
            linewidth=THIN if line.is_raw else THICK,
            marker="o" if line.has_dots or len(series) == 1 else None,
            markersize=6,
            label=line.name,
            clip_on=False,
            solid_joinstyle="round",
        )
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, pad=6, labelcolor=DIM, labelsize=text_size)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FRAME)
    corner: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points", "ha": "right", "va": "top"}
    axes.annotate("step", (0, 0), xytext=(-6, -6), size=text_size, color=DIM, **corner)


def tick_label(value: float) -> str:
    """Format a number as short as an axis needs it.

    >>> tick_label(1200.0), tick_label(0.0002), tick_label(1e7)
    ('1,200', '0.0002', '1e+07')
    """
    return f"{value:,.0f}" if abs(value) >= 1000 and value == int(value) and abs(value) < 1e7 else f"{value:g}"
