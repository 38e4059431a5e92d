"""Curves of a run folder: what is read, what is left out, and how it is smoothed."""

import json
import math

import numpy as np
import pytest

from partseg_cli.reports.curves import Series, read_curves, running_mean, window


def line(step: int, total: float, **terms: float) -> str:
    return json.dumps({"step": step, "lr": 0.1, "total": total, **terms, "grad_norm": 2.0, "seconds": 3.0 * step})


def write(folder, *lines: str, scores: tuple[str, ...] = ()):
    (folder / "metrics.jsonl").write_text("\n".join(lines), encoding="utf-8")
    if scores:
        (folder / "val.jsonl").write_text("\n".join(scores), encoding="utf-8")
    return read_curves(folder)


def test_every_value_becomes_a_series_and_the_total_comes_first(tmp_path):
    curves = write(tmp_path, line(1, 5, part=1), line(2, 4, part=2, other=9))
    assert list(curves.terms) == ["total", "part", "other"]
    assert curves.terms["total"].values.tolist() == [5, 4]
    assert curves.terms["other"].steps.tolist() == [2]
    assert curves.lr.values.tolist() == [0.1, 0.1]
    assert curves.grad_norm.values.tolist() == [2, 2]
    assert (curves.last, curves.elapsed, curves.pace) == (2, 6, 3)


@pytest.mark.parametrize("cut", [1, 10, 30, len(line(3, 3)) - 1])
def test_a_last_line_that_is_cut_off_is_left_out(tmp_path, cut):
    curves = write(tmp_path, line(1, 5), line(2, 4), line(3, 3)[:cut])
    assert curves.terms["total"].values.tolist() == [5, 4]
    assert curves.last == 2


def test_a_line_that_was_cut_off_and_written_on_costs_no_other_line(tmp_path):
    curves = write(tmp_path, line(1, 5), line(2, 4)[:20] + line(2, 4), line(3, 3), "[]", '{"step": "x"}', "")
    assert curves.terms["total"].steps.tolist() == [1, 3]


def test_where_a_run_went_on_from_an_earlier_step_the_newer_lines_count(tmp_path):
    curves = write(tmp_path, line(1, 5), line(2, 4), line(3, 3), line(2, 40), line(3, 30))
    assert curves.terms["total"].values.tolist() == [5, 40, 30]


def test_values_that_are_not_finite_are_no_part_of_a_curve(tmp_path):
    curves = write(tmp_path, line(1, math.nan, part=1), line(2, math.inf, part=math.nan), line(3, 3, part=3))
    assert curves.terms["total"].steps.tolist() == [3]
    assert curves.terms["part"].values.tolist() == [1, 3]
    assert curves.last == 3


@pytest.mark.parametrize("lines", [(), ("",), ("{",)])
def test_a_folder_without_a_step_gives_empty_curves(tmp_path, lines):
    for curves in (read_curves(tmp_path), write(tmp_path, *lines)):
        assert (curves.terms, curves.last, curves.elapsed, curves.pace, curves.miou()) == ({}, 0, 0.0, None, {})


def test_one_step_is_a_curve_of_one_point_and_its_own_mean(tmp_path):
    curves = write(tmp_path, line(1, 5))
    assert curves.terms["total"].smoothed().values.tolist() == [5]
    assert (curves.pace, curves.elapsed) == (None, 3)


def test_the_time_of_a_run_that_was_started_again_is_that_of_all_its_parts(tmp_path):
    rows = [{"step": n, "seconds": seconds} for n, seconds in enumerate([2, 4, 6, 1, 3, 5], 1)]
    curves = write(tmp_path, *map(json.dumps, rows))
    assert (curves.elapsed, curves.pace) == (11, 2)


def score(step: int, protocol: str, **miou: float | None) -> str:
    return json.dumps({"step": step, "protocol": protocol, "mIoU": miou})


def test_scores_are_series_by_group_and_by_protocol_where_there_are_several(tmp_path):
    one = (score(2, "oracle-obj", seen=40, unseen=None), score(4, "oracle-obj", seen=50, unseen=20))
    found = {name: (s.steps.tolist(), s.values.tolist()) for name, s in write(tmp_path, scores=one).miou().items()}
    assert found == {"seen": ([2, 4], [40, 50]), "unseen": ([4], [20])}
    both = write(tmp_path, scores=(*one, score(4, "pred-all", seen=30), '{"step": 6, "protocol": "pred-a'))
    assert list(both.miou()) == ["oracle-obj seen", "oracle-obj unseen", "pred-all seen"]
    assert both.scores[0].miou == {"seen": 40, "unseen": None}
    assert write(tmp_path, scores=(score(2, "pred-all", seen=math.nan),)).scores[0].miou == {"seen": None}


def test_an_evaluation_that_was_done_again_counts_once(tmp_path):
    scores = (score(2, "oracle-obj", seen=40), score(4, "oracle-obj", seen=1), score(2, "oracle-obj", seen=45))
    assert write(tmp_path, scores=scores).miou()["seen"].values.tolist() == [45, 1]


def test_a_running_mean_stays_between_the_values_and_forgets_the_first_ones_soon():
    values = np.array([1000.0] + [1.0] * 60)
    mean = running_mean(values, 50)
    assert mean[0] == 1000
    assert np.all(np.diff(mean) < 0)
    assert 1 <= mean[20] < 1.2
    level = running_mean(np.full(30, 7.0), 5)
    np.testing.assert_allclose(level, 7)


def test_a_running_mean_falls_to_1_over_e_within_its_window():
    steps = 40
    values = np.concatenate([np.ones(2000), np.zeros(steps)])
    assert running_mean(values, steps)[-1] == pytest.approx(math.exp(-1))


def test_the_window_grows_with_the_run():
    assert [window(count) for count in (1, 100, 250, 1000, 100_000)] == [5, 5, 5, 20, 500]
    assert len(Series(np.arange(0), np.zeros(0)).smoothed()) == 0
