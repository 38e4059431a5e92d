"""Counts of one map against loops over its classes, and the table that keeps those of many."""

import numpy as np
import pytest
import torch
from label_maps import CLASSES, counted, draw_pair, eroded_away, table_of, totals
from scipy.ndimage import minimum_filter

from partseg_cli.evaluation.boundary import band_width
from partseg_cli.evaluation.counts import FIELDS, STORED_FIELDS, ConfusionTable, count_pixels

TARGET = np.array([[0, 0, 1, 1, -1], [0, 2, 2, 1, -1], [2, 2, 2, -1, -1], [0, -1, 2, 1, 0]])
PREDICTION = np.array([[0, 1, 1, 1, 2], [0, 2, -1, 1, -1], [2, 0, 2, 1, -1], [-1, -1, 2, 0, 0]])


def border_of(labels: np.ndarray, width: int) -> np.ndarray:
    padded = np.pad(np.where(labels < 0, CLASSES, labels), 1)
    least = minimum_filter(padded, size=2 * width + 1, mode="constant", cval=255)
    return (padded - least)[1:-1, 1:-1]


def plain_counts(prediction: np.ndarray, target: np.ndarray, ratio: float = 0.02) -> np.ndarray:
    """Count class by class."""
    width = band_width(*target.shape, ratio)
    clipped = np.where(target < 0, -1, prediction)
    map_target, map_guess = border_of(target, width), border_of(clipped, width)
    rows = []
    for number in range(CLASSES + 1):
        value = -1 if number == CLASSES else number
        t, p, q = target == value, prediction == value, clipped == value
        some = target >= 0
        band_t, band_p, band_q = (eroded_away(mask, width) for mask in (t, p, q))
        mt, mp = map_target == number, map_guess == number
        row = [t & p, t, t & (prediction < 0), p & some, p]
        row += [band_t & band_q, band_t, band_q & some, band_t & band_p, band_p]
        row += [mt & mp, mt, mt & (map_guess == CLASSES), mp & (map_target != CLASSES), mp]
        rows.append([int(mask.sum()) for mask in row])
    return np.array(rows)


def loop_confusion(prediction: np.ndarray, target: np.ndarray, classes: int) -> list[list[int]]:
    """Count pixel by pixel: rows are predictions, columns are targets, the last of both is none."""
    cells = [[0] * (classes + 1) for _ in range(classes + 1)]
    for guess, wanted in zip(prediction.ravel().tolist(), target.ravel().tolist(), strict=True):
        cells[guess][wanted] += 1  # -1 is the last
    return cells


@pytest.mark.parametrize("seed", range(40))
def test_all_counts_agree_with_counting_class_by_class(seed):
    found, expected = totals(draw_pair(seed)), plain_counts(*draw_pair(seed))
    for place, name in enumerate(FIELDS):
        # what the bands of none are worth nobody asks
        rows = slice(CLASSES) if "band" in name else slice(None)
        np.testing.assert_array_equal(found[rows, place], expected[rows, place], err_msg=name)


def test_the_width_of_the_band_can_be_chosen():
    prediction, target = draw_pair(6)
    maps = torch.from_numpy(prediction), torch.from_numpy(target)
    found = count_pixels(*maps, CLASSES, ratio=0.1)
    table = ConfusionTable(CLASSES)
    table.add("a", found)
    np.testing.assert_array_equal(table.totals()[:CLASSES], plain_counts(prediction, target, 0.1)[:CLASSES])


@pytest.mark.parametrize("classes", [3, 7])
def test_rows_are_predictions_and_columns_are_targets(classes):
    table = table_of([(PREDICTION, TARGET)], classes)
    assert table.confusion().tolist() == loop_confusion(PREDICTION, TARGET, classes)
    assert table.confusion().sum() == TARGET.size
    assert table.confusion().shape == (classes + 1, classes + 1)


def test_exchanging_prediction_and_target_transposes_the_confusion():
    there, back = table_of([(PREDICTION, TARGET)], 3), table_of([(TARGET, PREDICTION)], 3)
    np.testing.assert_array_equal(back.confusion(), there.confusion().T)


def test_a_perfect_prediction_fills_the_diagonal_alone():
    assert table_of([(TARGET, TARGET)], 3).confusion().tolist() == np.diag([5, 4, 6, 5]).tolist()


def test_maps_without_any_label_count_as_none_on_none():
    empty = np.full((4, 5), -1)
    table = table_of([(empty, empty)], 3)
    assert table.confusion()[3, 3] == table.confusion().sum() == 20
    assert not table.totals()[:3, :10].any()  # the published boundary makes classes of none


def test_a_map_of_one_pixel_is_counted():
    found = totals((np.zeros((1, 1), int), np.zeros((1, 1), int)), classes=2)
    of_labels = [name != "missed" for name in FIELDS[:10]]
    assert found[0, :10].tolist() == of_labels


def test_only_classes_and_cells_that_occur_are_kept():
    sample = counted(PREDICTION, TARGET, 200)
    assert sample.classes.tolist() == [0, 1, 2, 200]
    assert sample.values.shape == (4, len(FIELDS))
    assert sample.pixels.sum() == TARGET.size
    assert (sample.pixels > 0).all()
    assert {values.dtype for values in vars(sample).values()} == {np.dtype(np.int64)}


def test_the_maps_given_stay_as_they_were():
    prediction, target = torch.from_numpy(PREDICTION.copy()), torch.from_numpy(TARGET.copy())
    count_pixels(prediction, target, 3)
    assert prediction.tolist() == PREDICTION.tolist()
    assert target.tolist() == TARGET.tolist()


@pytest.mark.parametrize("kind", [torch.int8, torch.int16, torch.int32])
def test_shorter_integers_count_the_same(kind):
    maps = [torch.from_numpy(labels) for labels in draw_pair(2)]
    short, long = (count_pixels(*(labels.to(to) for labels in maps), CLASSES) for to in (kind, torch.int64))
    for name, values in vars(long).items():
        np.testing.assert_array_equal(getattr(short, name), values, err_msg=name)


@pytest.mark.parametrize("classes", [254, 255, 400])
def test_more_classes_than_a_byte_holds_lose_the_published_boundary_alone(classes):
    pair = draw_pair(4)
    small, large = totals(pair), totals(pair, classes=classes)
    np.testing.assert_array_equal(large[:CLASSES, :10], small[:CLASSES, :10])
    assert large[:, 10:].any() == (classes < 255)


@pytest.mark.parametrize("wrong", [-2, CLASSES, 255])
@pytest.mark.parametrize("place", ["prediction", "target"])
def test_a_label_outside_the_classes_is_refused_not_wrapped(wrong, place):
    maps = {name: torch.zeros(4, 5, dtype=torch.long) for name in ("prediction", "target")}
    maps[place][1, 2] = wrong
    low, high = min(wrong, 0), max(wrong, 0)
    with pytest.raises(ValueError, match=rf"^{place} must lie in -1 \.\.\. 5, got {low} \.\.\. {high}$"):
        count_pixels(maps["prediction"], maps["target"], CLASSES)


# the table


@pytest.fixture(scope="module")
def table() -> ConfusionTable:
    """Seven samples of five images."""
    made = ConfusionTable(CLASSES)
    for seed in range(7):
        made.add(f"image {seed % 5}", counted(*draw_pair(seed)))
    return made


def test_totals_are_the_sums_of_all_samples(table):
    np.testing.assert_array_equal(table.totals(), sum(totals(draw_pair(seed)) for seed in range(7)))
    cells = [loop_confusion(*draw_pair(seed), CLASSES) for seed in range(7)]
    np.testing.assert_array_equal(table.confusion(), np.sum(cells, 0))


def test_images_sum_up_to_the_totals(table):
    names, matrix = table.by_image()
    assert names == [f"image {number}" for number in range(5)]
    np.testing.assert_array_equal(matrix.sum(0).reshape(CLASSES + 1, len(FIELDS)), table.totals())
    both = totals(draw_pair(0), draw_pair(5))
    np.testing.assert_array_equal(matrix[[0]].toarray().reshape(CLASSES + 1, len(FIELDS)), both)


def test_images_are_sorted_however_they_came(table):
    back = ConfusionTable(CLASSES, table.images[::-1], table.samples[::-1])
    (names, matrix), (names_back, matrix_back) = table.by_image(), back.by_image()
    assert names == names_back
    np.testing.assert_array_equal(matrix.toarray(), matrix_back.toarray())


def test_a_table_comes_back_from_its_arrays(table):
    again = ConfusionTable.from_arrays(table.to_arrays())
    assert (again.classes, again.images, len(again)) == (CLASSES, table.images, 7)
    for before, after in zip(table.samples, again.samples, strict=True):
        for name, values in vars(before).items():
            np.testing.assert_array_equal(getattr(after, name), values, err_msg=name)


def test_an_empty_table_comes_back_from_its_arrays():
    again = ConfusionTable.from_arrays(ConfusionTable(CLASSES).to_arrays())
    assert (len(again), again.classes, again.totals().sum()) == (0, CLASSES, 0)
    assert again.by_image()[0] == []


def test_arrays_of_another_version_are_refused(table):
    arrays = {**table.to_arrays(), "fields": np.array(["hit", "target"])}
    with pytest.raises(ValueError, match=rf"^fields must be {', '.join(STORED_FIELDS)}, got hit, target$"):
        ConfusionTable.from_arrays(arrays)


def test_arrays_with_a_sample_too_many_are_refused(table):
    arrays = table.to_arrays()
    with pytest.raises(ValueError, match=r"^each sample must have an image, got 7 and 6$"):
        ConfusionTable.from_arrays({**arrays, "images": arrays["images"][:-1]})


def test_stored_counts_keep_the_field_names_of_the_first_version():
    first = (
        "hit target missed predicted anywhere band_hit band_target band_predicted whole_band_hit whole_band_predicted"
    )
    last = "map_hit map_target map_missed map_predicted map_anywhere"
    arrays = ConfusionTable(classes=2).to_arrays()
    assert arrays["fields"].tolist() == [*first.split(), *last.split()]
