"""Counting rules worked out by hand; what holds for any maps is in test_rule_properties.py."""

import numpy as np
import pytest
from label_maps import CLASSES, draw_pair, totals

from partseg_cli.evaluation.counts import FIELDS
from partseg_cli.evaluation.rules import GROUPS, METRICS, RULES, Scores, harmonic_mean, score

NAN = float("nan")
PROTOCOLS = ("oracle-obj", "pred-all", "pred-obj")
EVERY = [(rule, protocol) for rule in RULES for protocol in PROTOCOLS]
IS_SEEN = [True, False, True, True, False, False]


def filled(classes: int, **fields: list[int]) -> np.ndarray:
    """Counts of classes by field; the rest, and none, are 0."""
    counts = np.zeros((classes + 1, len(FIELDS)), np.int64)
    for name, values in fields.items():
        counts[:classes, FIELDS.index(name)] = values
    return counts


def means(scores: Scores, metric: str) -> list[float]:
    return [float(scores.means[metric][group]) for group in GROUPS]


# ---- by hand: 4 classes; 1 is predicted but not labelled, of 3 nothing is found. 0 and 1 are seen.

_ = -1
TARGET = np.array([[0, 0, 0, _, _], [0, 2, 2, _, _], [2, 2, 2, 3, _], [2, 3, 3, 3, _]])
PREDICTION = np.array([[0, 0, 1, 0, _], [2, 2, 2, 1, 2], [2, 0, _, _, 3], [2, 0, _, 1, _]])
SEEN = [True, True, False, False]
# class      labelled  of these nothing  hit  predicted on labelled pixels  anywhere
# 0              4            0           2              4                      5
# 1              0            0           0              2                      3
# 2              6            1           4              5                      6
# 3              4            2           0              0                      1
HAND = {
    # IoU = hit / (labelled + predicted - hit); means over 0 | 2, 3: 1/3 and (4/7 + 0) / 2
    ("ref-v2", "pred-all"): ([2 / 6, NAN, 4 / 7, 0 / 4], [1 / 3, 2 / 7, 4 / 13]),
    # predicted anywhere: 2 / (4 + 5 - 2), 4 / (6 + 6 - 4), 0 / (4 + 1)
    ("full", "pred-all"): ([2 / 7, NAN, 4 / 8, 0 / 5], [2 / 7, 1 / 4, 4 / 15]),
    ("partclipseg", "pred-all"): ([2 / 6, NAN, 4 / 7, 0 / 4], [1 / 3, 2 / 7, 4 / 13]),
    # labelled without those predicted as nothing: 2 / (4 + 4 - 2), 4 / (5 + 5 - 4), 0 / 2
    ("partclipseg", "oracle-obj"): ([2 / 6, NAN, 4 / 6, 0 / 2], [1 / 3, 1 / 3, 1 / 3]),
    # the same classes, but class 1 is a 0 in the seen mean: (1/3 + 0) / 2
    ("ovparts", "pred-all"): ([2 / 6, NAN, 4 / 6, 0 / 2], [1 / 6, 1 / 3, 2 / 9]),
    # as ref-v2, but class 3 is not in the unseen mean
    ("partcatseg", "pred-all"): ([2 / 6, NAN, 4 / 7, 0 / 4], [1 / 3, 4 / 7, 8 / 19]),
}


@pytest.mark.parametrize(("rule", "protocol"), HAND)
def test_ious_of_a_case_worked_out_by_hand(rule, protocol):
    scores = score(totals((PREDICTION, TARGET), classes=4), rule, protocol, SEEN)
    of_classes, of_groups = HAND[rule, protocol]
    assert scores.iou.tolist() == pytest.approx([100 * value for value in of_classes], nan_ok=True)
    assert means(scores, "mIoU") == pytest.approx([100 * value for value in of_groups])


def test_the_rules_give_different_harmonic_means_of_the_same_case():
    counts = totals((PREDICTION, TARGET), classes=4)
    found = {
        (rule, protocol): float(score(counts, rule, protocol, SEEN).means["mIoU"]["harmonic"])
        for rule, protocol in HAND
    }
    del found["partclipseg", "pred-all"]  # in Pred-All it differs from ref-v2 by its boundary alone
    assert sorted(round(value, 2) for value in found.values()) == [22.22, 26.67, 30.77, 33.33, 42.11]


def test_the_protocol_matters_to_the_rule_partclipseg_alone():
    counts = totals(*(draw_pair(seed) for seed in range(9)))
    for rule in RULES:
        one, other = (score(counts, rule, protocol, IS_SEEN) for protocol in ("oracle-obj", "pred-all"))
        assert np.array_equal(one.iou, other.iou, equal_nan=True) is (rule != "partclipseg")


@pytest.mark.parametrize(
    ("rule", "protocol", "recall", "precision", "accuracy"),
    [
        # recall hit / labelled, precision hit / predicted (class 3: never), accuracy 2/4 and (4 + 0) / (6 + 4)
        ("ref-v2", "pred-all", [2 / 4, NAN, 4 / 6, 0], [2 / 4, 0, 4 / 5, NAN], [1 / 2, 4 / 10]),
        ("full", "pred-all", [2 / 4, NAN, 4 / 6, 0], [2 / 5, 0, 4 / 6, 0 / 1], [1 / 2, 4 / 10]),
        ("partclipseg", "oracle-obj", [2 / 4, NAN, 4 / 5, 0], [2 / 4, 0, 4 / 5, NAN], [1 / 2, 4 / 7]),
        ("ovparts", "pred-all", [2 / 4, NAN, 4 / 5, 0], [2 / 4, 0, 4 / 5, NAN], [1 / 2, 4 / 7]),
        ("partcatseg", "pred-all", [2 / 4, NAN, 4 / 6, 0], [2 / 4, 0, 4 / 5, NAN], [1 / 2, 4 / 10]),
    ],
)
def test_recall_precision_and_pixel_accuracy_of_the_same_case(rule, protocol, recall, precision, accuracy):
    scores = score(totals((PREDICTION, TARGET), classes=4), rule, protocol, SEEN)
    assert scores.recall.tolist() == pytest.approx([100 * value for value in recall], nan_ok=True)
    assert scores.precision.tolist() == pytest.approx([100 * value for value in precision], nan_ok=True)
    assert means(scores, "pixel_accuracy")[:2] == pytest.approx([100 * value for value in accuracy])
    # class 1 has no recall, and its precision is in no mean: nothing of it is labelled
    assert means(scores, "precision")[0] == pytest.approx(100 * precision[0])
    assert means(scores, "recall")[:2] == pytest.approx([100 * recall[0], 50 * (recall[2] + recall[3])])


@pytest.mark.parametrize(
    ("rule", "counted"),
    [
        ("ref-v2", [True, False, True, True]),
        ("full", [True, False, True, True]),
        ("partclipseg", [True, False, True, True]),
        ("ovparts", [True, True, True, True]),
        ("partcatseg", [True, False, True, False]),
    ],
)
def test_each_rule_tells_the_classes_of_its_mean(rule, counted):
    assert score(totals((PREDICTION, TARGET), classes=4), rule, "oracle-obj", SEEN).counted.tolist() == counted


def test_published_rules_make_three_figures_of_one_model():
    """42 labelled unseen classes, 6 of them never hit, and 4 more that are predicted but not labelled.

    36 classes have 676 / (1000 + 1176 - 676) = 45.07 %. Their sum, 1622.4, over 46, 42 and 36 classes.
    """
    counts = filled(
        46,
        tp=[676] * 36 + [0] * 10,
        target=[1000] * 36 + [90] * 6 + [0] * 4,
        pred=[1176] * 36 + [0] * 6 + [25] * 4,
    )
    found = {
        rule: round(float(score(counts, rule, "oracle-obj", [False] * 46).means["mIoU"]["unseen"]), 1) for rule in RULES
    }
    assert found["ovparts"] == 35.3
    assert found["partclipseg"] == found["ref-v2"] == 38.6
    assert found["partcatseg"] == 45.1


# ---- boundaries by hand: 5 x 6 pixels, a band of 1 pixel


def test_a_prediction_beyond_the_labelled_pixels_moves_the_boundary_of_the_rule_full_alone():
    target = np.array([[0, 0, 0, 0, _, _]] * 5)
    counts = totals((np.zeros((5, 6), int), target), classes=1)
    for rule in ("ref-v2", "ovparts", "partcatseg"):
        assert score(counts, rule, "pred-all", [True]).boundary_iou.tolist() == [100]
    # The band of 5 x 4 pixels has 20 - 3 * 2 = 14, that of 5 x 6 has 30 - 3 * 4 = 18; they share 4 + 4 + 3 = 11.
    full = score(counts, "full", "pred-all", [True])
    assert full.boundary_iou.tolist() == pytest.approx([100 * 11 / (14 + 18 - 11)])


def test_the_published_boundary_rewards_what_is_wrong_and_scores_what_is_not_there():
    counts = totals((np.full((5, 5), 1), np.full((5, 5), 2)), classes=3)
    assert score(counts, "ref-v2", "oracle-obj", [True] * 3).boundary_iou.tolist() == pytest.approx(
        [NAN, NAN, 0], nan_ok=True
    )
    # 16 pixels at the edge keep their class, of which none agrees; 9 inside become class 0 in both maps.
    published = score(counts, "partclipseg", "oracle-obj", [True] * 3)
    assert published.boundary_iou.tolist() == [100, 0, 0]


def test_the_published_boundary_takes_none_for_an_unseen_class_in_pred_all_alone():
    # Class 0 on the left half, none on the right: none is class 2 of the label map, and wrong nowhere.
    target = np.array([[0, 0, 0, _, _, _]] * 5)
    counts = totals((target, target), classes=2)
    in_all, in_oracle = (
        score(counts, "partclipseg", protocol, [True, False]) for protocol in ("pred-all", "oracle-obj")
    )
    assert means(in_all, "boundary_iou") == pytest.approx([100, 100, 100])
    assert means(in_oracle, "boundary_iou") == pytest.approx([100, NAN, NAN], nan_ok=True)
    assert in_all.boundary_iou.shape == in_oracle.boundary_iou.shape == (2,)


# ---- zeros, absent classes, large counts


def test_a_part_pixel_predicted_as_none_is_a_miss_but_nobody_elses_false_positive():
    counts = totals((np.array([[0, 0, _, 1]]), np.array([[0, 0, 0, 1]])), classes=2)
    scores = score(counts, "ref-v2", "pred-all", [True, True])
    assert scores.iou.tolist() == pytest.approx([100 * 2 / 3, 100])
    assert scores.recall.tolist() == pytest.approx([100 * 2 / 3, 100])


def test_a_wrong_class_costs_both_classes_iou_but_only_the_labelled_one_recall():
    counts = totals((np.array([[0, 0, 1, 1]]), np.array([[0, 0, 0, 1]])), classes=2)
    scores = score(counts, "ref-v2", "pred-all", [True, True])
    assert scores.iou.tolist() == pytest.approx([100 * 2 / 3, 50])
    assert scores.recall.tolist() == pytest.approx([100 * 2 / 3, 100])
    assert scores.precision.tolist() == pytest.approx([100, 50])


def test_an_absent_class_is_left_out_of_the_mean_and_one_at_0_is_not():
    counts = filled(4, tp=[50, 0, 0, 30], target=[100, 0, 10, 30], pred=[50, 0, 0, 30])
    scores = score(counts, "ref-v2", "pred-all", [True, True, True, False])
    assert scores.iou.tolist() == pytest.approx([50, NAN, 0, 100], nan_ok=True)
    assert means(scores, "mIoU")[:2] == [25, 100]


@pytest.mark.parametrize(("rule", "protocol"), EVERY)
def test_a_group_without_a_labelled_class_has_no_mean_and_no_harmonic_one(rule, protocol):
    counts = filled(2, tp=[3, 0], target=[4, 0], pred=[4, 0], pred_anywhere=[4, 0], band_target=[4, 0])
    scores = score(counts, rule, protocol, [True, False])
    for metric in ("mIoU", "recall", "precision", "pixel_accuracy"):
        assert np.isnan(means(scores, metric)).tolist() == [False, True, True], metric


@pytest.mark.parametrize(("rule", "protocol"), EVERY)
def test_nothing_counted_gives_nan_and_no_error(rule, protocol):
    scores = score(filled(CLASSES), rule, protocol, IS_SEEN)
    for values in (scores.iou, scores.recall, scores.precision, scores.boundary_iou):
        assert np.isnan(values).all()
        assert values.shape == (CLASSES,)
    assert np.isnan([means(scores, metric) for metric in METRICS]).all()
    assert not scores.counted.any()


def test_a_group_of_no_class_at_all_has_no_mean():
    scores = score(totals(draw_pair(1)), "ref-v2", "pred-all", [True] * CLASSES)
    assert np.isnan(means(scores, "mIoU")).tolist() == [False, True, True]


@pytest.mark.parametrize("rule", RULES)
def test_counts_beyond_the_exact_integers_of_float32_stay_exact(rule):
    hits = 2**40
    counts = filled(2, tp=[hits, 7], target=[hits + 1, 7], pred=[hits, 7], pred_anywhere=[hits, 7])
    iou = score(counts, rule, "pred-all", [True, False]).iou
    assert iou[0] == pytest.approx(100 * hits / (hits + 1), rel=1e-15, abs=0)
    assert iou[0] < 100


def test_the_counts_given_stay_as_they_were():
    counts = totals(*(draw_pair(seed) for seed in range(3)))
    before = counts.copy()
    for rule, protocol in EVERY:
        score(counts, rule, protocol, IS_SEEN)
    np.testing.assert_array_equal(counts, before)


# ---- harmonic means


def harmonic(seen: float, unseen: float) -> float:
    return float(harmonic_mean(np.array(seen), np.array(unseen)))


def test_harmonic_mean_of_a_case_worked_out_by_hand():
    assert harmonic(60.0, 30.0) == harmonic(30.0, 60.0) == pytest.approx(40)
    assert harmonic(12.5, 12.5) == pytest.approx(12.5)
    assert harmonic(43.91, 23.56) == pytest.approx(30.67, abs=0.005)  # PartCLIPSeg, Pascal, Pred-All


@pytest.mark.parametrize(("seen", "unseen"), [(0.0, 50.0), (50.0, 0.0), (0.0, 0.0)])
def test_harmonic_mean_is_0_where_a_side_is_0(seen, unseen):
    assert harmonic(seen, unseen) == 0


@pytest.mark.parametrize(("seen", "unseen"), [(NAN, 50.0), (50.0, NAN), (NAN, NAN), (0.0, NAN), (NAN, 0.0)])
def test_harmonic_mean_is_nan_where_a_side_has_no_class(seen, unseen):
    assert np.isnan(harmonic(seen, unseen))
