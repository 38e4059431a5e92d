"""What must hold of every counting rule, on random maps of odd sizes."""

import numpy as np
import pytest
from label_maps import CLASSES, draw, draw_pair, eroded_away, table_of, totals

from partseg_cli.evaluation.boundary import band_width
from partseg_cli.evaluation.rules import GROUPS, METRICS, RULES, Scores, class_pixels, score

NAN = float("nan")
PROTOCOLS = ("oracle-obj", "pred-all", "pred-obj")
EVERY = [(rule, protocol) for rule in RULES for protocol in PROTOCOLS]
IS_SEEN = [True, False, True, True, False, False]


def means(scores: Scores, metric: str) -> list[float]:
    return [float(scores.means[metric][group]) for group in GROUPS]


@pytest.mark.parametrize(("rule", "protocol"), EVERY)
def test_a_perfect_prediction_scores_100(rule, protocol):
    for seed in range(25):
        rng = np.random.default_rng(seed)
        target = draw(rng, 2 * int(rng.integers(30)) + 1, int(rng.integers(1, 71)))
        scores = score(totals((target, target)), rule, protocol, IS_SEEN)
        labelled = np.isin(np.arange(CLASSES), target)
        expected = np.where(labelled, 100, np.nan)
        for values in (scores.iou, scores.recall, scores.precision):
            np.testing.assert_array_equal(values, expected)
        boundary = scores.boundary_iou
        np.testing.assert_array_equal(boundary[~np.isnan(boundary)], 100)
        if rule != "partclipseg":  # whose boundary is of label differences
            np.testing.assert_array_equal(boundary, expected)
        given = np.array([means(scores, metric) for metric in METRICS])
        assert given[~np.isnan(given)] == pytest.approx(100)
        assert scores.counted.tolist() == labelled.tolist()


@pytest.mark.parametrize(("rule", "protocol"), EVERY)
def test_permuting_classes_permutes_results(rule, protocol):
    for seed in range(10):
        prediction, target = draw_pair(seed)
        order = np.random.default_rng(seed).permutation(CLASSES)
        renamed = np.append(np.argsort(order), -1)  # class order[k] becomes k, none stays
        before = score(totals((prediction, target)), rule, protocol, IS_SEEN)
        after = score(totals((renamed[prediction], renamed[target])), rule, protocol, [IS_SEEN[k] for k in order])
        has_true_boundary = rule != "partclipseg"
        for name in ("iou", "recall", "precision", "counted", *["boundary_iou"] * has_true_boundary):
            np.testing.assert_array_equal(getattr(after, name), getattr(before, name)[order], err_msg=name)
        for metric in METRICS:
            if has_true_boundary or metric != "boundary_iou":
                assert means(after, metric) == pytest.approx(means(before, metric), nan_ok=True)


@pytest.mark.parametrize(("rule", "protocol"), EVERY)
def test_a_group_without_a_class_has_no_mean_of_any_metric(rule, protocol):
    for seed in range(5):
        scores = score(totals(draw_pair(seed)), rule, protocol, [True] * CLASSES)
        for metric in METRICS:
            assert np.isnan(means(scores, metric)[1:]).all(), metric


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("rule", [rule for rule in RULES if rule != "full"])
def test_predictions_where_no_part_is_labelled_change_nothing(rule, protocol):
    for seed in range(10):
        prediction, target = draw_pair(seed)
        other = np.where(target < 0, draw(np.random.default_rng(seed + 100), *target.shape), prediction)
        before, after = (score(totals((guess, target)), rule, protocol, IS_SEEN) for guess in (prediction, other))
        for name in ("iou", "recall", "precision", "boundary_iou", "counted"):
            np.testing.assert_array_equal(getattr(after, name), getattr(before, name), err_msg=name)
        for metric in METRICS:
            np.testing.assert_array_equal(means(after, metric), means(before, metric), err_msg=metric)


def test_predictions_where_no_part_is_labelled_are_wrong_under_full():
    target = np.full((9, 13), -1)
    target[:, :6] = 0
    spilt = np.zeros((9, 13), int)
    perfect, worse = (score(totals((guess, target)), "full", "pred-all", IS_SEEN) for guess in (target, spilt))
    assert perfect.iou[0] == perfect.precision[0] == perfect.boundary_iou[0] == 100
    assert worse.iou[0] == worse.precision[0] == pytest.approx(100 * 6 / 13)
    assert worse.boundary_iou[0] < 100
    assert worse.recall[0] == 100


@pytest.mark.parametrize(
    ("rule", "whole"), [("ref-v2", False), ("full", True), ("ovparts", False), ("partcatseg", False)]
)
def test_boundary_iou_is_that_of_erosion_class_by_class_summed_over_images(rule, whole):
    pairs = [draw_pair(seed) for seed in range(12)]
    scores = score(totals(*pairs), rule, "pred-all", IS_SEEN)
    for number in range(CLASSES):
        both = either = labelled = 0
        for prediction, target in pairs:
            guess = prediction if whole else np.where(target < 0, -1, prediction)
            bands = [eroded_away(labels == number, band_width(*target.shape)) for labels in (target, guess)]
            both += int((bands[0] & bands[1]).sum())
            either += int((bands[0] | bands[1]).sum())
            labelled += int((target == number).sum())
        expected = 100 * both / either if labelled else NAN
        np.testing.assert_array_equal(scores.boundary_iou[number], expected)


def test_a_class_without_labels_has_no_true_boundary_iou_even_where_it_is_predicted():
    counts = totals((np.ones((7, 9), int), np.zeros((7, 9), int)))
    for rule in ("ref-v2", "full", "ovparts", "partcatseg"):
        assert score(counts, rule, "pred-all", IS_SEEN).boundary_iou.tolist() == pytest.approx(
            [0, *[NAN] * 5], nan_ok=True
        )


@pytest.mark.parametrize(("rule", "protocol"), EVERY)
def test_scores_of_stacked_counts_are_those_of_each(rule, protocol):
    stack = np.stack([totals(draw_pair(seed), draw_pair(seed + 50)) for seed in range(6)]).reshape(
        2, 3, CLASSES + 1, -1
    )
    together = score(stack, rule, protocol, IS_SEEN)
    for place in np.ndindex(2, 3):
        alone = score(stack[place], rule, protocol, IS_SEEN)
        for name in ("iou", "recall", "precision", "boundary_iou", "counted"):
            np.testing.assert_array_equal(getattr(together, name)[place], getattr(alone, name), err_msg=name)
        for metric in METRICS:
            for group in GROUPS:
                np.testing.assert_array_equal(together.means[metric][group][place], alone.means[metric][group])


def test_the_order_of_images_does_not_matter():
    pairs = [draw_pair(seed) for seed in range(8)]
    forth, back = table_of(pairs), table_of(pairs[::-1])
    np.testing.assert_array_equal(forth.totals(), back.totals())
    np.testing.assert_array_equal(forth.confusion(), back.confusion())


def test_every_labelled_pixel_is_a_hit_or_a_miss_of_the_confusion():
    table = table_of(draw_pair(seed) for seed in range(8))
    counts, confusion = table.totals(), table.confusion()
    np.testing.assert_array_equal(class_pixels(counts, "tp"), confusion.diagonal()[:-1])
    np.testing.assert_array_equal(class_pixels(counts, "target"), confusion.sum(0)[:-1])
    np.testing.assert_array_equal(class_pixels(counts, "missed"), confusion[-1, :-1])
    np.testing.assert_array_equal(class_pixels(counts, "pred"), confusion[:-1, :-1].sum(1))
    np.testing.assert_array_equal(class_pixels(counts, "pred_anywhere"), confusion.sum(1)[:-1])
