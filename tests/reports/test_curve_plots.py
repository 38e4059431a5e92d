"""Plots of curves: ranges, ticks and lines, the PNG, and the SVG of a page."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest

from partseg_cli.reports.curve_plots import (
    COLOURS,
    SVG_SIZE,
    _draw,
    _figure,
    build_plots,
    hover_columns,
    plot_losses,
    plot_svg,
    value_range,
)
from partseg_cli.reports.curves import Curves, Score, Series
from partseg_cli.reports.overlay import PAPER

SCORES = tuple(Score(step, "oracle-obj", {"seen": 9.0 + step, "unseen": 5.0}) for step in (1, 40))
FALLING, RISING = np.linspace(9, 1, 40), np.linspace(1, 9, 40)


def series(values, first: int = 1) -> Series:
    values = np.array(values, np.float64)
    return Series(np.arange(first, first + len(values)), values)


def curves(total, scores: tuple[Score, ...] = (), **terms) -> Curves:
    terms = {"total": series(total), **{name: series(values) for name, values in terms.items()}}
    level = series(np.full(len(total), 0.5))
    return Curves(terms, level, level, level, scores, last=len(total))


def tick_texts(total, name: str = "total") -> tuple[list[str], list[str]]:
    """Return the texts of the ticks that are visible, of steps and of values."""
    with _figure((620, 300), 100) as (figure, canvas):
        axes = figure.add_axes((0.1, 0.1, 0.8, 0.8))
        _draw(axes, build_plots(curves(total))[name], 100, 10)
        canvas.draw()
        return tuple(
            [
                tick.label1.get_text()
                for tick in axis.get_major_ticks()
                if min(ends) <= tick.get_loc() <= max(ends) and tick.label1.get_text()
            ]
            for axis, ends in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim()))
        )


# ---- ranges and ticks


def test_a_narrow_range_is_even_from_0_and_a_wide_one_logarithmic():
    assert value_range(np.array([1.0, 4.0, 9.0])) == (0.0, pytest.approx(9.45), False)
    low, high, is_log = value_range(np.array([0.01, 1.0, 9.0]))
    assert is_log
    assert 0 < low < 0.01
    assert high > 9
    assert value_range(np.array([95.0, 99.0]))[0] > 90
    assert not value_range(np.array([-1.0, 100.0, 0.01]))[2]
    assert not value_range(np.array([0.001, 100.0]), may_be_log=False)[2]


@pytest.mark.parametrize("values", [[3.0], [0.0], [-2.0, -2.0], [0.0, 50.0, 0.001], [1e-9, 1e9], [5e-324, 1.0]])
@pytest.mark.parametrize("may_be_log", [True, False])
def test_whatever_the_values_are_their_range_has_ticks_that_differ(values, may_be_log):
    low, high, is_log = value_range(np.array(values), may_be_log=may_be_log)
    assert low < high
    assert np.isfinite([low, high]).all()
    assert high >= max(values)
    assert low <= min(values) or is_log
    assert not is_log or low > 0
    texts = tick_texts(values)[1]
    assert 2 <= len(texts) <= 12
    assert len(set(texts)) == len(texts)


def test_axes_have_ticks_at_round_values():
    steps, values = tick_texts(np.linspace(0.0005, 0.0007, 1200), "total")
    assert steps == ["200", "400", "600", "800", "1,000", "1,200"]
    assert values == ["0.0005", "0.00055", "0.0006", "0.00065", "0.0007"]
    assert tick_texts([1.0, 2.0, 3.0])[0] == ["1", "2", "3"]
    assert tick_texts([0.09, 28.0])[1] == ["0.1", "0.2", "0.5", "1", "2", "5", "10", "20"]
    assert tick_texts([4e-4, 150.0])[1] == ["0.001", "0.01", "0.1", "1", "10", "100"]


# ---- plots


def test_there_is_a_plot_for_what_there_is():
    scored = (Score(2, "oracle-obj", {"seen": 40.0, "unseen": None}),)
    assert list(build_plots(curves([3, 2]))) == ["total", "grad_norm", "lr"]
    assert list(build_plots(curves([3, 2], scored, part=[1, 2]))) == ["total", "terms", "grad_norm", "lr", "miou"]
    assert build_plots(curves([])) == {}


def test_the_total_is_thin_behind_its_mean_and_terms_have_colours_of_their_own():
    found = build_plots(curves([3, 2], part=[1, 2], object_part=[2, 3]))
    assert [(line.name, line.is_raw) for line in found["total"].lines] == [
        ("each step", True),
        ("exponential mean of 5 steps", False),
    ]
    assert [(line.name, line.colour) for line in found["terms"].lines] == [
        ("part", COLOURS[0]),
        ("object part", COLOURS[1]),
    ]
    assert found["lr"].legend == ()


def test_an_outline_keeps_ends_and_extremes_in_few_points():
    values = np.sin(np.arange(5000))
    values[1234], values[4321] = 90, -90
    short = series(values).outline(50)
    assert len(short) <= 102
    assert (short.steps[0], short.steps[-1]) == (1, 5000)
    assert {90, -90} <= set(short.values.tolist())
    assert (np.diff(short.steps) > 0).all()
    assert series([1, 2, 3]).outline(50).values.tolist() == [1, 2, 3]


# ---- PNG


def pixels(total, title: str = "a run", size: tuple[int, int] = (600, 400), **more) -> np.ndarray:
    return np.asarray(plot_losses(curves(total, **more), title, size)).astype(int)


def blue(figure: np.ndarray) -> np.ndarray:
    """Return rows and columns of the pixels in the colour of the total."""
    wanted = [int(COLOURS[0][i : i + 2], 16) for i in (1, 3, 5)]
    return np.argwhere(np.abs(figure - wanted).max(2) < 25)


@pytest.fixture
def no_legend(monkeypatch):
    """Leave the legend out, whose lines have the colours of the curves."""
    monkeypatch.setattr("matplotlib.axes.Axes.legend", lambda *_, **__: None)


@pytest.mark.usefixtures("no_legend")
def test_a_falling_line_falls_and_a_rising_one_rises():
    for values, sign in ((FALLING, 1), (RISING, -1)):
        rows, columns = blue(pixels(values)).T
        assert np.corrcoef(rows, columns)[0, 1] * sign > 0.95
    assert (pixels(FALLING) != pixels(RISING)).any()


@pytest.mark.parametrize("title", ["t" * 300, "$x$ and <b>", "é 猫"])
@pytest.mark.parametrize("scores", [(), SCORES])
def test_the_figure_has_its_size_and_nothing_touches_its_edges(scores, title):
    figure = pixels(FALLING, title, (700, 500), scores=scores, part=RISING, object_part=FALLING)
    assert figure.shape == (500, 700, 3)
    edge = np.concatenate([figure[:3].reshape(-1, 3), figure[-2:].reshape(-1, 3), figure[:, :3].reshape(-1, 3)])
    assert (edge == PAPER).all()
    assert (figure[:, -2:] == PAPER).all()


def test_labels_stand_left_of_the_axes_and_below_them():
    figure = pixels(FALLING)
    inked = (figure < 150).all(2)
    assert inked[80:, :60].any()
    assert inked[-24:, 70:].any()


def test_terms_and_scores_get_plots_of_their_own():
    orange = [int(COLOURS[1][i : i + 2], 16) for i in (1, 3, 5)]

    def has_orange(figure: np.ndarray) -> list[bool]:
        near = np.abs(figure - orange).max(2) < 25
        below = near[len(near) // 2 :]
        return [bool(half.any()) for half in np.array_split(below, 2, axis=1)]

    assert has_orange(pixels(FALLING)) == [False, False]
    assert has_orange(pixels(FALLING, part=RISING, other=FALLING)) == [True, True]
    assert has_orange(pixels(FALLING, scores=SCORES)) == [True, True]
    assert has_orange(pixels(FALLING, scores=SCORES, part=RISING)) == [False, True]


@pytest.mark.usefixtures("no_legend")
def test_one_step_is_a_dot_and_none_is_told_in_words():
    assert len(blue(pixels([5.0]))) > 10
    empty = pixels([])
    assert (empty != PAPER).any()
    assert len(blue(empty)) == 0


# ---- SVG


def test_an_svg_holds_neither_prolog_nor_names_and_its_ids_are_its_own():
    plots = build_plots(curves(FALLING, SCORES, part=RISING))
    texts = {name: str(plot_svg(plot, name)) for name, plot in plots.items()}
    for name, text in texts.items():
        assert not re.search(r"<\?xml|<!DOCTYPE|<svg|</svg|<metadata|<style|<!--|https?:", text)
        assert "step</text>" in text
        assert not re.search("each step|part|percent|loss", re.sub(r' id="[^"]*"|#[^")]*', "", text))
        assert any(f"{colour} var(--mix)" in text for colour in COLOURS)
        ids = re.findall(r' id="([^"]+)"', text)
        assert len(set(ids)) == len(ids)
        assert all(identity.startswith(f"{name}-") for identity in ids)
        assert set(re.findall(r'(?:href="|url\()#([^")]+)', text)) <= set(ids)


def test_every_point_of_a_line_lies_in_the_svg_and_none_is_missing():
    values = np.geomspace(60, 0.1, 400) * np.random.default_rng(0).uniform(0.5, 1, 400)
    text = str(plot_svg(build_plots(curves(values))["total"], "total"))
    paths = re.findall(r'<path d="([^"]*)" style="fill: none; stroke: color-mix\(in srgb, #2f6db5', text)
    paths += re.findall(r'<path d="([^"]*)" clip-path="[^"]*" style="fill: none; stroke: color-mix\(in srgb, #2f', text)
    points = [tuple(map(float, point)) for path in paths for point in re.findall(r"[ML] (\S+) (\S+)", path)]
    assert len(paths) == 2
    assert len(points) > 500
    assert all(0 <= x <= SVG_SIZE[0] and 0 <= y <= SVG_SIZE[1] for x, y in points)


def test_hover_columns_cover_the_axes_and_show_the_values_of_their_step():
    plots = build_plots(curves(np.linspace(9, 1, 400), SCORES))
    columns = hover_columns(plots["total"])
    assert len(columns) == 120
    assert columns[0]["text"] == "step 1\neach step: 9\nexponential mean of 8 steps: 9"
    assert sum(float(column["width"]) for column in columns) == pytest.approx(538, abs=6)
    for column in columns:
        left, middle = float(column["left"]), float(column["middle"])
        assert left - 0.1 <= middle <= left + float(column["width"]) + 0.1
    assert [column["text"].splitlines()[0] for column in hover_columns(plots["miou"])] == ["step 1", "step 40"]


# ---- matplotlib


def test_drawing_leaves_the_settings_of_matplotlib_as_they_are_and_does_not_depend_on_them():
    import matplotlib

    before = dict(matplotlib.rcParams)
    plot = build_plots(curves(FALLING))["total"]
    usual = pixels(FALLING).tobytes(), plot_svg(plot, "a")
    assert dict(matplotlib.rcParams) == before
    with matplotlib.rc_context({"lines.linewidth": 9, "axes.grid": False, "font.size": 30, "axes.facecolor": "red"}):
        assert (pixels(FALLING).tobytes(), plot_svg(plot, "a")) == usual


def test_another_process_draws_the_same_bytes_and_imports_matplotlib_when_it_draws():
    program = (
        "import hashlib, sys, numpy as np\n"
        "from partseg_cli.reports.curve_plots import build_plots, plot_losses, plot_svg\n"
        "from partseg_cli.reports.curves import Curves, Series\n"
        "assert 'matplotlib' not in sys.modules\n"
        "line = Series(np.arange(1, 41), np.linspace(9, 1, 40))\n"
        "curves = Curves({'total': line}, line, line, line, last=40)\n"
        "svg = plot_svg(build_plots(curves)['total'], 'a')\n"
        "print(hashlib.sha256(plot_losses(curves, 'a').tobytes() + svg.encode()).hexdigest())\n"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in "12"
    }
    assert len(digests) == 1
