"""Axes and panels: where values lie, what an axis is marked with, which panels there are."""

import numpy as np
import pytest

from partseg_cli.reports.curves.history import Curves, Score, Series
from partseg_cli.reports.curves.panels import COLOURS, Axis, outline, panels


def series(values, first: int = 1) -> Series:
    values = np.array(values, np.float64)
    return Series(np.arange(first, first + len(values)), values)


def curves(total, scores: tuple[Score, ...] = (), **terms) -> Curves:
    terms = {"total": series(total), **{name: series(values) for name, values in terms.items()}}
    level = series(np.full(len(total), 0.5))
    return Curves(terms, level, level, level, scores, last=len(total))


def test_a_narrow_range_is_even_from_0_and_a_wide_one_logarithmic():
    even, wide = Axis.over(np.array([1.0, 4.0, 9.0])), Axis.over(np.array([0.01, 1.0, 9.0]))
    assert (even.low, even.high, even.is_log) == (0.0, pytest.approx(9.45), False)
    assert wide.is_log
    assert 0 < wide.low < 0.01
    assert wide.high > 9
    assert Axis.over(np.array([95.0, 99.0])).low > 90
    assert not Axis.over(np.array([-1.0, 100.0, 0.01])).is_log
    assert not Axis.over(np.array([0.001, 100.0]), is_log=False).is_log


@pytest.mark.parametrize("values", [[3.0], [0.0], [-2.0, -2.0], [0.0, 50.0, 0.001], [1e-9, 1e9], [5e-324, 1.0]])
@pytest.mark.parametrize("is_log", [None, True, False])
def test_all_values_lie_on_the_axis_in_their_order_whatever_they_are(values, is_log):
    axis = Axis.over(np.array(values), is_log=is_log)
    places = axis.place(np.sort(values))
    assert axis.low < axis.high
    assert np.isfinite(places).all()
    assert (places >= 0).all()
    assert (places <= 1).all()
    assert (np.diff(places) >= 0).all()
    ticks = axis.ticks()
    assert 2 <= len(ticks) <= 12
    assert all(0 <= place <= 1 for place, _ in ticks)
    assert len({text for _, text in ticks}) == len(ticks)


def test_axes_are_marked_with_round_values():
    assert [text for _, text in Axis(1, 1200).ticks()] == ["200", "400", "600", "800", "1,000", "1,200"]
    assert [text for _, text in Axis(1, 3, is_whole=True).ticks()] == ["1", "2", "3"]
    assert [text for _, text in Axis(0, 0.0007).ticks()] == ["0", "0.0002", "0.0004", "0.0006"]
    assert [text for _, text in Axis(0.08, 30, True).ticks()] == ["0.1", "0.2", "0.5", "1", "2", "5", "10", "20"]
    assert [text for _, text in Axis(3e-4, 200, True).ticks()] == ["0.001", "0.01", "0.1", "1", "10", "100"]


def test_there_is_a_panel_for_what_there_is():
    scored = (Score(2, "oracle-obj", {"seen": 40.0, "unseen": None}),)
    assert list(panels(curves([3, 2]))) == ["total", "grad_norm", "lr"]
    assert list(panels(curves([3, 2], scored, part=[1, 2]))) == ["total", "terms", "grad_norm", "lr", "miou"]
    assert panels(curves([])) == {}


def test_the_total_is_thin_behind_its_mean_and_terms_have_colours_of_their_own():
    found = panels(curves([3, 2], part=[1, 2], object_part=[2, 3]))
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
    long = series(values)
    short = outline(long, 50)
    assert len(short) <= 102
    assert (short.steps[0], short.steps[-1]) == (1, 5000)
    assert {90, -90} <= set(short.values.tolist())
    assert (np.diff(short.steps) > 0).all()
    assert outline(series([1, 2, 3]), 50).values.tolist() == [1, 2, 3]
