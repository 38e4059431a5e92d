"""The confusion matrix against counting pixel by pixel."""

import pytest
import torch
from torch import Tensor

from partseg_cli.evaluators.confusion import confusion

CLASSES = 3  # class 3 of the matrix is "none"
TARGET = torch.tensor([[0, 0, 1, 1, -1], [0, 2, 2, 1, -1], [2, 2, 2, -1, -1], [0, -1, 2, 1, 0]])
PREDICTION = torch.tensor([[0, 1, 1, 1, 2], [0, 2, -1, 1, -1], [2, 0, 2, 1, -1], [-1, -1, 2, 0, 0]])


def loop_confusion(prediction: Tensor, target: Tensor, classes: int) -> list[list[int]]:
    counts = [[0] * (classes + 1) for _ in range(classes + 1)]
    for predicted_row, target_row in zip(prediction.tolist(), target.tolist(), strict=True):
        for predicted, wanted in zip(predicted_row, target_row, strict=True):
            counts[classes if predicted == -1 else predicted][classes if wanted == -1 else wanted] += 1
    return counts


def test_rows_are_predictions_and_columns_are_targets():
    prediction, target = torch.tensor([[2, 2, -1]]), torch.tensor([[0, 0, 1]])
    counts = confusion(prediction, target, CLASSES)
    assert counts.tolist() == [[0, 0, 0, 0], [0, 0, 0, 0], [2, 0, 0, 0], [0, 1, 0, 0]]


def test_every_pixel_is_counted_once():
    counts = confusion(PREDICTION, TARGET, CLASSES)
    assert counts.tolist() == loop_confusion(PREDICTION, TARGET, CLASSES)
    assert counts.sum() == TARGET.numel()


def test_counts_are_int64():
    assert confusion(PREDICTION, TARGET, CLASSES).dtype == torch.int64


@pytest.mark.parametrize("stray", [-2, CLASSES + 1, 255])
def test_a_label_out_of_range_is_refused_not_wrapped(stray: int):
    wrong = PREDICTION.clone()
    wrong[0, 0] = stray
    with pytest.raises(ValueError, match=f"prediction must lie in -1 ... {CLASSES}, got .*{stray}"):
        confusion(wrong, TARGET, CLASSES)


def test_the_index_after_the_last_class_is_none_as_minus_one_is():
    prediction = torch.where(PREDICTION == -1, CLASSES, PREDICTION)
    target = torch.where(TARGET == -1, CLASSES, TARGET)
    assert torch.equal(confusion(prediction, target, CLASSES), confusion(PREDICTION, TARGET, CLASSES))


def test_exchanging_prediction_and_target_transposes_the_counts():
    assert torch.equal(confusion(TARGET, PREDICTION, CLASSES), confusion(PREDICTION, TARGET, CLASSES).T)


def test_a_perfect_prediction_fills_the_diagonal_alone():
    counts = confusion(TARGET, TARGET, CLASSES)
    assert torch.equal(counts, torch.diag(torch.tensor([5, 4, 6, 5])))


def test_permuting_classes_permutes_rows_and_columns():
    order = torch.tensor([2, 0, 1, -1])  # the last entry serves index -1
    counts = confusion(order[PREDICTION], order[TARGET], CLASSES)
    index = [2, 0, 1, 3]
    assert torch.equal(counts[index][:, index], confusion(PREDICTION, TARGET, CLASSES))


def test_images_of_any_size_add_up():
    top = confusion(PREDICTION[:1], TARGET[:1], CLASSES)
    rest = confusion(PREDICTION[1:], TARGET[1:], CLASSES)
    assert torch.equal(top + rest, confusion(PREDICTION, TARGET, CLASSES))


def test_classes_that_never_occur_keep_their_rows_and_columns():
    counts = confusion(PREDICTION, TARGET, 7)
    assert counts.shape == (8, 8)
    assert counts.tolist() == loop_confusion(PREDICTION, TARGET, 7)


def test_maps_without_any_label_count_as_none_on_none():
    empty = torch.full((4, 5), -1)
    counts = confusion(empty, empty, CLASSES)
    assert counts[CLASSES, CLASSES] == 20
    assert counts.sum() == 20


def test_the_maps_given_stay_as_they_were():
    prediction, target = PREDICTION.clone(), TARGET.clone()
    confusion(prediction, target, CLASSES)
    assert torch.equal(prediction, PREDICTION)
    assert torch.equal(target, TARGET)
