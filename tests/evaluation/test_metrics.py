"""From counts to a result: what its numbers run over, and what is None."""

import json
from dataclasses import asdict

import numpy as np
import pytest
from label_maps import CLASSES, draw_pair, table_of
from test_bootstrap import CLASSES as TABLE_CLASSES
from test_bootstrap import IS_SEEN, random_table

from partseg_cli.evaluation import metrics
from partseg_cli.evaluation.counts import FIELDS, ConfusionCounts, ConfusionTable
from partseg_cli.evaluation.metrics import EvalResult, compute_metrics, image_means
from partseg_cli.evaluation.rules import GROUPS, METRICS, RULES, score
from partseg_cli.vocabulary import Pair, Vocabulary

PARTS = ("cat ear", "cat head", "dog head", "dog tail", "fox ear", "fox tail")
WORDS = Vocabulary(tuple(Pair(*name.split(), not name.startswith("fox")) for name in PARTS))
TARGET = np.array([[0, 0, 0, -1, -1], [0, 4, 4, -1, -1], [4, 4, 4, 5, -1], [4, 5, 5, 5, -1]])
PREDICTION = np.array([[0, 0, 1, 0, -1], [4, 4, 4, 1, 4], [4, 0, -1, -1, 5], [4, 0, -1, 1, -1]])


@pytest.fixture(scope="module")
def table() -> ConfusionTable:
    return table_of(draw_pair(seed) for seed in range(6))


def of_hand(rule: str = "ref-v2", protocol: str = "pred-all") -> EvalResult:
    return compute_metrics(table_of([(PREDICTION, TARGET)]), WORDS, protocol, rule)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("protocol", ["pred-all", "oracle-obj"])
def test_the_means_are_those_of_the_rule(table, rule, protocol):
    result = compute_metrics(table, WORDS, protocol, rule)
    scores = score(table.totals(), rule, protocol, WORDS.is_seen)
    for metric in METRICS:
        assert result.means[metric] == {group: float(scores.means[metric][group]) for group in GROUPS}
    assert result.miou == result.means["mIoU"]
    assert [row["iou"] for row in result.per_class] == scores.iou.tolist()
    assert (result.rule, result.protocol, result.samples) == (rule, protocol, 6)


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_stands_beside_the_one_that_was_asked_for(table, rule):
    result = compute_metrics(table, WORDS, "pred-all", rule)
    assert list(result.rules) == list(RULES)
    own = result.rules[rule]
    assert (own.means, own.classes_counted, own.classes_at_zero) == (
        result.means,
        result.classes_counted,
        result.classes_at_zero,
    )
    assert result.rules == compute_metrics(table, WORDS, "pred-all").rules


@pytest.mark.parametrize(
    ("rule", "counted", "at_zero"),
    # labelled: 0, 4, 5, of which 5 is never hit; 1 is predicted but not labelled
    [("ref-v2", 3, 1), ("full", 3, 1), ("partclipseg", 3, 1), ("ovparts", 4, 2), ("partcatseg", 2, 0)],
)
def test_each_rule_says_its_denominator_and_how_many_classes_are_at_0(rule, counted, at_zero):
    result = of_hand(rule)
    assert (result.classes_counted, result.classes_at_zero) == (counted, at_zero)


def test_the_pixels_are_the_labelled_ones():
    assert of_hand().pixels == 14


@pytest.mark.parametrize(
    ("rule", "protocol", "pixels"),
    # 3 of 14 are predicted as nothing; 4 others are predicted as a part where none is labelled
    [
        ("ref-v2", "oracle-obj", 14),
        ("full", "pred-all", 18),
        ("partclipseg", "pred-all", 14),
        ("partclipseg", "oracle-obj", 11),
        ("ovparts", "pred-all", 11),
        ("partcatseg", "pred-all", 14),
    ],
)
def test_each_rule_says_how_many_pixels_count(rule, protocol, pixels):
    result = of_hand(rule, protocol)
    assert (result.rules[rule].pixels, result.pixels) == (pixels, 14)


def test_a_line_for_each_pair_worked_out_by_hand():
    rows = {row["name"]: row for row in of_hand().per_class}
    assert list(rows) == ["cat's ear", "cat's head", "dog's head", "dog's tail", "fox's ear", "fox's tail"]
    assert rows["fox's ear"] == {
        "name": "fox's ear",
        "seen": False,
        "iou": pytest.approx(100 * 4 / 7),
        "recall": pytest.approx(100 * 4 / 6),
        "precision": pytest.approx(100 * 4 / 5),
        "boundary_iou": pytest.approx(100 * 4 / 7),  # 4 rows are all boundary
        "over": pytest.approx(100 * 1 / 6),  # of six predicted pixels one lies where no part is labelled
        "under": pytest.approx(100 * 1 / 6),  # of six labelled ones one is predicted as nothing
        "target_pixels": 6,
        "predicted_pixels": 5,
    }
    assert (rows["fox's tail"]["over"], rows["fox's tail"]["under"]) == (100, 50)


def test_what_cannot_be_scored_is_none():
    rows = {row["name"]: row for row in of_hand().per_class}
    only_predicted, nowhere = rows["cat's head"], rows["dog's tail"]
    assert [only_predicted[name] for name in ("iou", "recall", "under", "boundary_iou")] == [None] * 4
    assert only_predicted["precision"] == 0
    assert only_predicted["over"] == pytest.approx(100 / 3)
    assert [nowhere[name] for name in ("iou", "recall", "precision", "boundary_iou", "over", "under")] == [None] * 6


@pytest.mark.parametrize("rule", [*RULES, "ref-bug"])
def test_a_table_without_a_sample_gives_none_everywhere_and_no_error(rule):
    result = compute_metrics(ConfusionTable(CLASSES), WORDS, "pred-all", rule)
    assert result.means == {metric: dict.fromkeys(GROUPS) for metric in METRICS}
    assert (result.classes_counted, result.classes_at_zero, result.pixels, result.samples) == (0, 0, 0, 0)
    assert result.sizes == {size: dict.fromkeys(GROUPS) for size in ("small", "medium", "large")}


def test_a_harmonic_mean_is_0_where_a_side_is_0_and_none_where_a_side_has_no_class():
    unseen_missed = table_of([(np.array([[0, 0]]), np.array([[0, 4]]))])
    assert compute_metrics(unseen_missed, WORDS, "pred-all").miou == {"seen": 50, "unseen": 0, "harmonic": 0}
    only_seen = table_of([(np.array([[0, 0]]), np.array([[0, 0]]))])
    assert compute_metrics(only_seen, WORDS, "pred-all").miou == {"seen": 100, "unseen": None, "harmonic": None}


def test_a_result_is_plain_enough_for_json(table):
    for rule in (*RULES, "ref-bug"):
        json.dumps(asdict(compute_metrics(table, WORDS, "oracle-obj", rule)), allow_nan=False)


def test_the_rule_ref_bug_is_partclipseg_on_the_counts_given_and_has_no_other_beside_it(table):
    found, plain = (compute_metrics(table, WORDS, "oracle-obj", rule) for rule in ("ref-bug", "partclipseg"))
    assert (found.means, found.per_class, found.sizes) == (plain.means, plain.per_class, plain.sizes)
    assert (found.rule, found.rules) == ("ref-bug", {})


# ---- sizes of parts


def strip(labels: dict[int, int], guess: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """A map of one row: so many pixels of each class; predicted as `guess`, or right."""
    target = np.concatenate([np.full(pixels, label) for label, pixels in labels.items()])[None]
    return np.full_like(target, guess) if guess is not None else target, target


@pytest.mark.parametrize(
    ("pixels", "size"), [(1, "small"), (1023, "small"), (1024, "medium"), (9215, "medium"), (9216, "large")]
)
def test_the_size_of_a_part_is_its_pixels_in_the_sample(pixels, size):
    sizes = compute_metrics(table_of([strip({0: pixels})]), WORDS, "pred-all").sizes
    assert {name: means["seen"] for name, means in sizes.items()} == {
        name: 100 if name == size else None for name in ("small", "medium", "large")
    }


def test_a_class_is_scored_at_each_size_over_the_samples_where_it_has_that_size():
    right_when_large = table_of([strip({0: 20000}), strip({0: 500, 1: 100}, 1), strip({0: 300, 1: 100})])
    sizes = compute_metrics(right_when_large, WORDS, "pred-all").sizes
    assert sizes["large"]["seen"] == 100
    # class 0: 300 hits of 500 + 300 pixels; class 1: 200 hits, predicted on 500 more; both are small in both samples
    assert sizes["small"]["seen"] == pytest.approx((100 * 300 / 800 + 100 * 200 / 700) / 2)
    assert sizes["medium"]["seen"] is None


@pytest.mark.parametrize(("rule", "has_figures"), [("partclipseg", True), ("ref-bug", True), ("ref-v2", False)])
def test_the_rules_of_the_published_evaluator_give_all_of_its_figures(rule, has_figures):
    perfect = np.array([[0, 0, 1, 1]] * 4)
    table = table_of([(perfect, perfect)], 2)
    words = Vocabulary((Pair("cat", "ear"), Pair("dog", "tail", is_seen=False)))
    published = compute_metrics(table, words, "oracle-obj", rule).published
    assert (published is not None) == has_figures
    if published is not None:
        assert (published["h-IoU"], published["Recall-dog's tail"], published["mIoU-unbase"]) == (100, 100, 100)


# each image by itself


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("chunk", [64, 5])
def test_an_image_scores_as_if_it_were_the_whole_data_set(rule, chunk, monkeypatch):
    monkeypatch.setattr(metrics, "CHUNK", chunk)
    table = random_table(1)
    names, means = image_means(table, rule, "oracle-obj", IS_SEEN)
    assert names == sorted(set(table.images))
    for name, mean in zip(names, means, strict=True):
        alone = ConfusionTable(TABLE_CLASSES)
        for image, counts in zip(table.images, table.samples, strict=True):
            if image == name:
                alone.add(image, counts)
        seen = [True] * TABLE_CLASSES
        assert mean == pytest.approx(score(alone.totals(), rule, "oracle-obj", seen).means["mIoU"]["seen"])


def test_an_image_in_which_no_class_counts_has_no_score():
    table = ConfusionTable(1)
    nothing = np.zeros(0, np.int64)
    table.add("a", ConfusionCounts(np.array([1]), np.ones((1, len(FIELDS)), np.int64), nothing, nothing))
    names, means = image_means(table, "ref-v2", "pred-all", [True])
    assert names == ["a"]
    assert np.isnan(means).all()


def test_no_image_has_no_score():
    names, means = image_means(ConfusionTable(3), "ref-v2", "pred-all", [True] * 3)
    assert (names, means.tolist()) == ([], [])
