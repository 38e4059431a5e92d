"""Thresholds as a user writes them, and what is said of means that miss them."""

import dataclasses
import re

import pytest

from partseg_cli.errors import BoundError, UsageError
from partseg_cli.evaluation.metrics import EvalResult
from partseg_cli.evaluation.rules import GROUPS, METRICS
from partseg_cli.evaluation.thresholds import check_thresholds, parse_thresholds

MEANS = {metric: dict(zip(GROUPS, (40.0, 20.0, 26.6666666), strict=True)) for metric in METRICS}
RESULT = EvalResult("pred-all", "ref-v2", MEANS, 5, 1, 900, 4, ())
FORM = (
    "--fail-under: must read [METRIC.]GROUP=NUMBER, ... with a metric of mIoU, recall, precision, boundary_iou, "
    "pixel_accuracy and a group of seen, unseen, harmonic, got "
)
NUMBER = "--fail-under: a threshold must be a percentage from 0 to 100, got "


def test_a_threshold_without_a_metric_is_one_of_the_mean_iou():
    assert parse_thresholds("seen=40,harmonic=30") == {("mIoU", "seen"): 40.0, ("mIoU", "harmonic"): 30.0}


def test_metrics_are_named_before_a_point_in_any_case_and_with_any_spaces():
    text = " recall.seen = 50 , boundary_iou.unseen=20.5,MIOU.Harmonic=0,pixel_accuracy.seen=100"
    assert parse_thresholds(text) == {
        ("recall", "seen"): 50.0,
        ("boundary_iou", "unseen"): 20.5,
        ("mIoU", "harmonic"): 0.0,
        ("pixel_accuracy", "seen"): 100.0,
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", FORM + "''"),
        ("seen=40,", FORM + "''"),
        ("40", FORM + "'40'"),
        ("saen=40", FORM + "'saen=40'"),
        ("iou.seen=40", FORM + "'iou.seen=40'"),
        ("recall=40", FORM + "'recall=40'"),
        ("seen", NUMBER + "'seen'"),
        ("seen=", NUMBER + "'seen='"),
        ("seen=forty", NUMBER + "'seen=forty'"),
        ("seen=nan", NUMBER + "'seen=nan'"),
        ("seen=101", NUMBER + "'seen=101'"),
        ("seen=-1", NUMBER + "'seen=-1'"),
        ("seen=4=5", NUMBER + "'seen=4=5'"),
        ("seen=4,mIoU.seen=5", "--fail-under: duplicate entry, got mIoU.seen twice; remove one"),
    ],
)
def test_what_is_no_threshold_is_refused(text, message):
    with pytest.raises(UsageError, match=f"^{re.escape(message)}$"):
        parse_thresholds(text)


def test_a_mean_that_reaches_its_threshold_is_not_named():
    check_thresholds(RESULT, parse_thresholds("seen=40,unseen=19.9,harmonic=0"))


def test_each_mean_below_its_threshold_is_named():
    with pytest.raises(BoundError) as caught:
        check_thresholds(RESULT, parse_thresholds("seen=40.5,harmonic=30,recall.unseen=20,recall.harmonic=99"))
    assert str(caught.value) == (
        "mIoU seen must be at least 40.5, got 40; mIoU harmonic must be at least 30, got 26.6667; "
        "recall harmonic must be at least 99, got 26.6667"
    )


@pytest.mark.parametrize(
    ("seen", "unseen", "sides"), [(40.0, None, "unseen"), (None, 1.0, "seen"), (None, None, "seen and no unseen")]
)
def test_a_group_without_a_class_fails_with_its_reason(seen, unseen, sides):
    means = {**MEANS, "mIoU": {"seen": seen, "unseen": unseen, "harmonic": None}}
    result = dataclasses.replace(RESULT, means=means)
    with pytest.raises(BoundError) as caught:
        check_thresholds(result, parse_thresholds("harmonic=0"))
    assert str(caught.value) == f"mIoU harmonic must be at least 0, got none: no {sides} pair counts there"


def test_a_threshold_that_is_missed_ends_a_command_with_its_own_code():
    assert BoundError.exit_code == 6
