"""Intervals against a plain loop over the same draws, and what must hold for any table."""

import itertools
import re

import numpy as np
import pytest

from partseg_cli.errors import DataError
from partseg_cli.evaluation import bootstrap
from partseg_cli.evaluation.bootstrap import confidence_intervals, paired_differences, resampled_means
from partseg_cli.evaluation.counts import FIELDS, ConfusionCounts, ConfusionTable
from partseg_cli.evaluation.rules import GROUPS, METRICS, RULES, score

CLASSES = 7
IS_SEEN = [True, False, True, True, False, False, True]
NOTHING = np.zeros(0, np.int64)


def sample(rng: np.random.Generator, skill: float = 0.6) -> ConfusionCounts:
    """Counts of some classes that fit each other, none among them."""
    shown = np.append(np.sort(rng.permutation(CLASSES)[: rng.integers(1, 4)]), CLASSES)
    values = np.zeros((len(shown), len(FIELDS)), np.int64)
    for first in (0, 5, 10):
        target = rng.integers(1, 500, len(shown))
        hit = rng.binomial(target, skill)
        missed = rng.binomial(target - hit, 0.5)
        wrong, outside = rng.integers(0, 200, (2, len(shown)))
        values[:, first : first + 5] = np.stack([hit, target, missed, hit + wrong, hit + wrong + outside], 1)
    values[:, 5:10] = values[:, [5, 6, 8, 5, 9]]  # band: hit, target, predicted, hit and predicted of the whole map
    return ConfusionCounts(shown, values, NOTHING, NOTHING)


def random_table(seed: int, images: int = 23, skill: float = 0.6, ids: list[str] | None = None) -> ConfusionTable:
    """A table in which some photos have two samples."""
    rng = np.random.default_rng(seed)
    table = ConfusionTable(CLASSES)
    for name in ids or [f"photo {number:03}" for number in range(images)]:
        for _ in range(rng.integers(1, 3)):
            table.add(name, sample(rng, skill))
    return table


def one_class(hits: list[int], target: int = 100) -> ConfusionTable:
    """A photo for each entry, all of a single seen class and a single unseen one."""
    table = ConfusionTable(2)
    for number, hit in enumerate(hits):
        values = np.zeros((2, len(FIELDS)), np.int64)
        values[:, :5] = (hit, target, target - hit, hit, hit)
        values[:, 5:10] = (hit, target, hit, hit, hit)
        values[:, 10:] = values[:, :5]
        table.add(f"{number:04}", ConfusionCounts(np.arange(2), values, NOTHING, NOTHING))
    return table


def plain_draws(table: ConfusionTable, bootstrap_samples: int, seed: int) -> list[np.ndarray]:
    """Sum up, photo by photo, what each draw takes."""
    names = sorted(set(table.images))
    dense = {name: np.zeros((table.classes + 1, len(FIELDS)), np.int64) for name in names}
    for name, counts in zip(table.images, table.samples, strict=True):
        dense[name][counts.classes] += counts.values
    rng = np.random.default_rng(seed)
    return [
        sum(dense[names[place]] for place in rng.integers(len(names), size=len(names)))
        for _ in range(bootstrap_samples)
    ]


def everywhere(found: dict) -> list[tuple[str, str, object]]:
    return [(metric, group, found[metric][group]) for metric, group in itertools.product(METRICS, GROUPS)]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("protocol", ["pred-all", "oracle-obj"])
def test_intervals_are_those_of_a_plain_loop_over_the_same_draws(rule, protocol):
    table = random_table(1)
    drawn = [score(counts, rule, protocol, IS_SEEN).means for counts in plain_draws(table, 150, seed=5)]
    found = confidence_intervals(table, rule, protocol, IS_SEEN, bootstrap_samples=150, seed=5, level=0.9)
    for metric, group, interval in everywhere(found):
        values = [means[metric][group] for means in drawn]
        expected = np.nanpercentile(values, [5, 95])
        assert interval == pytest.approx(tuple(expected), rel=1e-12), (metric, group)
        assert interval[0] < interval[1]


def test_paired_differences_are_those_of_a_plain_loop_over_the_same_draws():
    a, b = random_table(1, skill=0.7), random_table(2)
    loops = [
        [score(counts, "full", "pred-all", IS_SEEN).means for counts in plain_draws(table, 100, 3)] for table in (a, b)
    ]
    for metric, group, difference in everywhere(
        paired_differences(a, b, "full", "pred-all", IS_SEEN, bootstrap_samples=100, seed=3)
    ):
        values = np.array([x[metric][group] - y[metric][group] for x, y in zip(*loops, strict=True)])
        points = [float(score(table.totals(), "full", "pred-all", IS_SEEN).means[metric][group]) for table in (a, b)]
        assert (difference.a, difference.b) == tuple(points)
        assert difference.difference == points[0] - points[1]
        assert difference.interval == pytest.approx(tuple(np.percentile(values, [2.5, 97.5])), rel=1e-9)
        assert difference.share == (values > 0).mean()
        assert difference.left_out == 0


@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_draws_held_at_once_change_no_bit(chunk, monkeypatch):
    table = random_table(3)
    expected = confidence_intervals(table, "ref-v2", "pred-all", IS_SEEN, bootstrap_samples=90)
    monkeypatch.setattr(bootstrap, "CHUNK", chunk)
    assert confidence_intervals(table, "ref-v2", "pred-all", IS_SEEN, bootstrap_samples=90) == expected


def test_the_same_seed_gives_the_same_bits_and_another_one_does_not():
    table = random_table(4)
    first, again, other = (confidence_intervals(table, "ref-v2", "pred-all", IS_SEEN, 80, seed) for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_the_order_of_samples_changes_nothing():
    table = random_table(5)
    order = np.random.default_rng(0).permutation(len(table))
    turned = ConfusionTable(CLASSES, [table.images[i] for i in order], [table.samples[i] for i in order])
    arguments = ("ovparts", "oracle-obj", IS_SEEN, 60)
    assert confidence_intervals(turned, *arguments) == confidence_intervals(table, *arguments)


def test_other_names_of_the_photos_give_other_draws_of_the_same_spread():
    ids = [f"photo {number:03}" for number in range(40)]
    table, renamed = random_table(6, ids=ids), random_table(6, ids=ids[::-1])
    np.testing.assert_array_equal(table.totals(), renamed.totals())
    first, second = (confidence_intervals(each, "ref-v2", "pred-all", IS_SEEN, 2000) for each in (table, renamed))
    for metric, group, interval in everywhere(first):
        width = interval[1] - interval[0]
        assert second[metric][group] == pytest.approx(interval, abs=0.15 * width), (metric, group)


def test_a_wider_level_holds_a_narrower_one():
    table = random_table(7)
    wide, narrow = (
        confidence_intervals(table, "ref-v2", "pred-all", IS_SEEN, 300, level=level) for level in (0.99, 0.5)
    )
    for metric, group, (low, high) in everywhere(wide):
        assert low < narrow[metric][group][0] < narrow[metric][group][1] < high


@pytest.mark.parametrize("rule", RULES)
def test_a_perfect_prediction_has_an_interval_of_one_hundred_alone(rule):
    table = one_class([100] * 9)
    for metric, group, interval in everywhere(
        confidence_intervals(table, rule, "pred-all", [True, False], bootstrap_samples=70)
    ):
        if (rule, metric) != ("partclipseg", "boundary_iou"):  # none counts there as a class too, and is 0
            assert interval == (100.0, 100.0), (metric, group)


def test_the_interval_covers_the_truth_as_often_as_it_says():
    # All targets are of one size, so the mean recall of a table is the mean of its photos' shares, which is 50.
    rng = np.random.default_rng(11)
    covered = 0
    for seed in range(200):
        table = one_class(rng.integers(0, 101, 40).tolist())
        low, high = confidence_intervals(table, "ref-v2", "pred-all", [True, False], 200, seed, 0.9)["recall"]["seen"]
        covered += low <= 50 <= high
    assert 165 <= covered <= 193  # 180 of 200 are expected, give or take three standard deviations


def test_the_width_is_that_of_the_theory_of_means():
    shares = np.random.default_rng(12).integers(0, 101, 400)
    low, high = confidence_intervals(one_class(shares.tolist()), "ref-v2", "pred-all", [True, False], 4000)["recall"][
        "seen"
    ]
    assert high - low == pytest.approx(2 * 1.96 * shares.std() / np.sqrt(400), rel=0.06)


@pytest.mark.parametrize("images", [0, 1])
def test_fewer_than_two_photos_have_no_interval(images):
    table = one_class([30] * images)
    assert {value for *_, value in everywhere(confidence_intervals(table, "ref-v2", "pred-all", [True, False]))} == {
        None
    }
    difference = paired_differences(table, table, "ref-v2", "pred-all", [True, False])["recall"]["seen"]
    point = 30.0 if images else None
    gap = 0.0 if images else None
    assert difference == bootstrap.Difference(point, point, gap, None, None, 0)


def test_a_group_without_a_class_has_no_interval():
    found = confidence_intervals(one_class([10, 70, 40]), "ref-v2", "pred-all", [True, True])
    assert found["mIoU"]["unseen"] is found["mIoU"]["harmonic"] is None
    assert found["mIoU"]["seen"] is not None
    difference = paired_differences(*[one_class([10, 70, 40])] * 2, "ref-v2", "pred-all", [True, True])["mIoU"][
        "unseen"
    ]
    assert difference == bootstrap.Difference(None, None, None, None, None, 1000)


def test_a_draw_without_the_group_is_left_out_and_counted():
    # The unseen class is in one of three photos: (2/3)^3 of the draws miss it.
    table = one_class([10, 70, 40])
    table.samples[:2] = [
        ConfusionCounts(each.classes[:1], each.values[:1], NOTHING, NOTHING) for each in table.samples[:2]
    ]
    arguments = ("ref-v2", "pred-all", [True, False], 1000)
    missing = int(np.isnan(resampled_means(table, *arguments)["recall"]["unseen"]).sum())
    assert missing == pytest.approx(1000 * 8 / 27, abs=50)
    assert confidence_intervals(table, *arguments)["recall"]["unseen"] == (40.0, 40.0)
    found = paired_differences(table, table, *arguments)["recall"]
    assert (found["unseen"].left_out, found["seen"].left_out) == (missing, 0)


@pytest.mark.parametrize("rule", RULES)
def test_a_table_against_itself_differs_by_exactly_nothing(rule):
    table = random_table(8)
    for *_, difference in everywhere(paired_differences(table, table, rule, "pred-all", IS_SEEN, bootstrap_samples=50)):
        assert (difference.difference, difference.interval, difference.share) == (0.0, (0.0, 0.0), 0.5)


def test_swapping_two_tables_turns_the_differences_around():
    a, b = random_table(9, skill=0.62), random_table(10)
    there, back = (
        paired_differences(*pair, "ref-v2", "pred-all", IS_SEEN, bootstrap_samples=80) for pair in ((a, b), (b, a))
    )
    for metric, group, difference in everywhere(there):
        other = back[metric][group]
        assert other.difference == -difference.difference
        assert other.interval == pytest.approx((-difference.interval[1], -difference.interval[0]))
        assert other.share == pytest.approx(1 - difference.share)


def test_pairing_finds_a_small_gain_that_separate_intervals_cannot_tell():
    hits = np.random.default_rng(13).integers(0, 98, 60)
    worse, better = one_class(hits.tolist()), one_class((hits + 2).tolist())
    alone = [
        confidence_intervals(each, "ref-v2", "pred-all", [True, False])["recall"]["seen"] for each in (worse, better)
    ]
    assert alone[0][1] > alone[1][0]
    found = paired_differences(better, worse, "ref-v2", "pred-all", [True, False])["recall"]["seen"]
    assert found.interval == pytest.approx((2.0, 2.0))
    assert found.share == 1


def test_other_photos_are_refused_with_numbers_and_the_first_name():
    a, b = random_table(1, ids=["b", "c", "d"]), random_table(1, ids=["a", "c"])
    message = (
        "images: both evaluations must be of the same images, got 3 and 2, of which 1 are in both "
        "('a' is in the second alone); evaluate both on the same data"
    )
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        paired_differences(a, b, "ref-v2", "pred-all", IS_SEEN)


@pytest.mark.parametrize(("bootstrap_samples", "level"), [(0, 0.9), (10, 0.0), (10, 1.0)])
def test_impossible_settings_are_refused(bootstrap_samples, level):
    message = f"bootstrap_samples must be >= 1 and level above 0 and below 1, got {bootstrap_samples} and {level}"
    for call in (confidence_intervals, lambda table, *rest: paired_differences(table, table, *rest)):
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            call(random_table(1), "ref-v2", "pred-all", IS_SEEN, bootstrap_samples, 0, level)
