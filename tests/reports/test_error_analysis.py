"""The worst and best images, and which part is taken for which, against plain loops over maps."""

import numpy as np
import pytest
import torch
from small_result import LABELLED, PREDICTED, small_result

from partseg_cli.evaluation.counts import ConfusionTable, count_pixels
from partseg_cli.evaluation.metrics import CHUNK
from partseg_cli.reports.error_analysis import (
    OUTCOMES,
    Confusion,
    confusion_breakdown,
    image_scores,
    largest_confusions,
    most_confused,
    part_gaps,
    worst_and_best,
)
from partseg_cli.vocabulary import Pair, Vocabulary


def plain_ious(labelled, predicted) -> dict[int, float]:
    """Give the IoU of each labelled class on labelled pixels, by loops."""
    pairs = [(t, p) for rows in zip(labelled, predicted, strict=True) for t, p in zip(*rows, strict=True) if t >= 0]
    return {
        k: 100 * sum(t == p == k for t, p in pairs) / sum(k in pair for pair in pairs)
        for k in sorted({t for t, _ in pairs})
    }


def test_an_image_scores_the_mean_of_the_parts_labelled_in_it():
    small = small_result()
    found = {image.image_id: image for image in image_scores(small.table, small.vocabulary)}
    for name, labelled, predicted in zip(("one", "two"), LABELLED, PREDICTED, strict=True):
        expected = plain_ious(labelled, predicted)
        assert found[name].classes == pytest.approx(expected)
        assert found[name].mean == pytest.approx(np.mean(list(expected.values())))
        assert found[name].pixels == 8


def shifted(number: int) -> ConfusionTable:
    """Give images that are hit on 0, 1, 2, 3 or 4 of 4 pixels in turn."""
    table = ConfusionTable(1)
    for index in range(number):
        hit = torch.full((1, 4), -1)
        hit[0, : index % 5] = 0
        table.add(f"photo_{index:04d}", count_pixels(hit, torch.zeros(1, 4, dtype=torch.long), 1))
    return table


WORDS = Vocabulary((Pair("cat", "ear"),))


def test_more_images_than_are_scored_at_once_keep_their_names():
    table = shifted(2 * CHUNK + 3)
    found = list(image_scores(table, WORDS))
    assert [image.image_id for image in found] == table.images
    assert [image.mean for image in found] == [25.0 * (index % 5) for index in range(len(table))]


def test_worst_come_worst_first_best_come_best_first_and_equals_by_name():
    worst, best = worst_and_best(shifted(10), WORDS, 3)
    assert [(image.image_id, image.mean) for image in worst] == [
        ("photo_0000", 0),
        ("photo_0005", 0),
        ("photo_0001", 25),
    ]
    assert [image.image_id for image in best] == ["photo_0004", "photo_0009", "photo_0003"]


@pytest.mark.parametrize(("images", "low", "high"), [(0, 0, 0), (1, 1, 0), (2, 1, 1), (3, 2, 1), (9, 4, 4)])
def test_few_images_are_shown_once(images, low, high):
    worst, best = worst_and_best(shifted(images), WORDS, 4)
    assert (len(worst), len(best)) == (low, high)
    assert not {image.image_id for image in worst} & {image.image_id for image in best}


def test_of_equal_images_the_one_with_more_labelled_pixels_comes_first():
    table = ConfusionTable(1)
    for name, width in (("a", 2), ("b", 5)):
        table.add(name, count_pixels(torch.full((1, width), -1), torch.zeros(1, width, dtype=torch.long), 1))
    assert worst_and_best(table, WORDS, 1)[0][0].image_id == "b"


def test_samples_of_one_image_are_scored_together():
    table = ConfusionTable(1)
    for guess in (0, -1):
        table.add("a", count_pixels(torch.full((1, 4), guess), torch.zeros(1, 4, dtype=torch.long), 1))
    assert [image.mean for image in image_scores(table, WORDS)] == [50.0]


def test_confusions_name_what_was_labelled_and_what_was_predicted_there():
    assert largest_confusions(small_result().table.confusion(), 9) == [
        Confusion(labelled=0, predicted=2, pixels=1, share=12.5),
        Confusion(labelled=1, predicted=0, pixels=1, share=25.0),
        Confusion(labelled=2, predicted=3, pixels=1, share=25.0),
    ]


def test_the_largest_by_pixels_and_by_share_are_both_listed():
    matrix = np.zeros((4, 4), np.int64)
    matrix[:, 0] = (900, 90, 10, 0)  # predicted, labelled as 0
    matrix[:, 1] = (4, 1, 0, 0)
    found = largest_confusions(matrix, 1)
    assert [(one.labelled, one.predicted, one.pixels, one.share) for one in found] == [(0, 1, 90, 9.0), (1, 0, 4, 80.0)]


def test_nothing_is_no_part_that_is_confused():
    matrix = np.diag([3, 4, 5])
    matrix[2, 0] = matrix[0, 2] = 9
    assert largest_confusions(matrix, 5) == []


def test_the_most_confused_classes_are_those_named_first():
    confusions = [Confusion(5, 2, 9, 1.0), Confusion(2, 7, 8, 1.0), Confusion(0, 1, 7, 1.0)]
    assert most_confused(confusions, 3) == [2, 5, 7]
    assert most_confused(confusions, 9) == [0, 1, 2, 5, 7]


def test_every_labelled_pixel_has_one_outcome():
    small = small_result()
    found = confusion_breakdown(small.table.confusion(), small.vocabulary)
    assert len(OUTCOMES) == found.shape[1]
    # cat's ear, cat's head, dog's ear, cat's tail: itself, same object, same part, neither, nothing
    assert found.tolist() == [[7, 0, 1, 0, 0], [2, 1, 0, 0, 1], [2, 0, 0, 1, 1], [0, 0, 0, 0, 0]]
    assert found.sum(1).tolist() == small.table.totals()[:-1, 1].tolist()


def test_a_gap_is_the_mean_of_a_part_over_seen_objects_minus_that_over_unseen_ones():
    names = ("cat", True), ("cow", True), ("dog", False), ("fox", False), ("owl", True)
    pairs = [Pair(name, "ear", seen) for name, seen in names] + [Pair("cat", "head"), Pair("dog", "beak", False)]
    ious = (60.0, 20.0, 10.0, 30.0, None, 50.0, 5.0)
    assert part_gaps(ious, Vocabulary(tuple(pairs))) == [20.0] * 5 + [None, None]
