"""IoU, recall and their means: against loops over pixels, and against the figures of the published evaluator."""

import functools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from partseg_cli.data.manifest import load_manifest
from partseg_cli.evaluators.confusion import confusion
from partseg_cli.evaluators.metrics import class_scores, group_mean, harmonic_mean

# Four classes and none (-1). Class 1 is predicted but has no target pixel, class 3 is a target that nobody predicts.
CLASSES = 4
TARGET = torch.tensor([[0, 0, 0, -1, -1], [0, 2, 2, -1, -1], [2, 2, 2, 3, -1], [2, 3, 3, 3, -1]])
PREDICTION = torch.tensor([[0, 0, 1, 0, -1], [2, 2, 2, 1, 2], [2, 0, -1, -1, 3], [2, 0, -1, 1, -1]])
NAN = math.nan


def published_counts() -> Tensor:
    return confusion(PREDICTION, TARGET, CLASSES)


def loop_scores(prediction: Tensor, target: Tensor, classes: int) -> dict[str, list[float]]:
    """Percent, pixel by pixel; a prediction on a pixel without a target is not even looked at."""
    pairs = list(zip(prediction.flatten().tolist(), target.flatten().tolist(), strict=True))
    counted = [(predicted, wanted) for predicted, wanted in pairs if wanted != -1]
    scores: dict[str, list[float]] = {"iou": [], "recall": [], "target_pixels": [], "predicted_pixels": []}
    for c in range(classes):
        hits = sum(predicted == c and wanted == c for predicted, wanted in counted)
        targets = sum(wanted == c for _, wanted in counted)
        predictions = sum(predicted == c for predicted, _ in counted)
        either = sum(c in (predicted, wanted) for predicted, wanted in counted)
        scores["iou"].append(100 * hits / either if targets else NAN)
        scores["recall"].append(100 * hits / targets if targets else NAN)
        scores["target_pixels"].append(targets)
        scores["predicted_pixels"].append(predictions)
    return scores


# ---- per class


@pytest.mark.parametrize("name", ["iou", "recall", "target_pixels", "predicted_pixels"])
def test_scores_agree_with_counting_pixel_by_pixel(name: str):
    value = getattr(class_scores(published_counts()), name)
    assert value.tolist() == pytest.approx(loop_scores(PREDICTION, TARGET, CLASSES)[name], nan_ok=True)


def test_scores_of_a_case_worked_out_by_hand():
    scores = class_scores(published_counts())
    # Class 0: 4 target pixels, 2 of them hit, predicted on 2 target pixels of other classes: 2 / (4 + 2).
    # Class 2: 6 target pixels, 4 of them hit, predicted on 1 pixel of class 0: 4 / (6 + 1).
    assert scores.iou.tolist() == pytest.approx([100 * 2 / 6, NAN, 100 * 4 / 7, 0], nan_ok=True)
    assert scores.recall.tolist() == pytest.approx([100 * 2 / 4, NAN, 100 * 4 / 6, 0], nan_ok=True)
    assert scores.target_pixels.tolist() == [4, 0, 6, 4]
    assert scores.predicted_pixels.tolist() == [4, 2, 5, 0]


def test_scores_are_float64_and_pixel_counts_are_int64():
    scores = class_scores(published_counts())
    assert scores.iou.dtype == scores.recall.dtype == torch.float64
    assert scores.target_pixels.dtype == scores.predicted_pixels.dtype == torch.int64
    assert scores.iou.shape == scores.recall.shape == (CLASSES,)
    assert scores.target_pixels.shape == scores.predicted_pixels.shape == (CLASSES,)


def test_a_perfect_prediction_scores_100_in_every_class_that_has_a_target():
    scores = class_scores(confusion(TARGET, TARGET, CLASSES))
    assert scores.iou.tolist() == pytest.approx([100, NAN, 100, 100], nan_ok=True)
    assert scores.recall.tolist() == pytest.approx([100, NAN, 100, 100], nan_ok=True)


def test_permuting_classes_permutes_the_scores():
    order = torch.tensor([2, 0, 3, 1])
    counts = published_counts()
    index = torch.cat([order, torch.tensor([CLASSES])])
    moved, scores = class_scores(counts[index][:, index]), class_scores(counts)
    for name in ("iou", "recall", "target_pixels", "predicted_pixels"):
        assert torch.allclose(getattr(moved, name), getattr(scores, name)[order], equal_nan=True)


def test_predictions_on_pixels_without_a_target_change_nothing():
    for value in range(-1, CLASSES):
        prediction = torch.where(TARGET == -1, value, PREDICTION)
        moved, scores = class_scores(confusion(prediction, TARGET, CLASSES)), class_scores(published_counts())
        for name in ("iou", "recall", "target_pixels", "predicted_pixels"):
            assert torch.equal(getattr(moved, name).nan_to_num(-1), getattr(scores, name).nan_to_num(-1))


def test_a_part_pixel_predicted_as_none_is_a_miss_but_nobody_elses_false_positive():
    target, prediction = torch.tensor([[0, 0, 0, 1]]), torch.tensor([[0, 0, -1, 1]])
    scores = class_scores(confusion(prediction, target, 2))
    assert scores.iou.tolist() == pytest.approx([100 * 2 / 3, 100])
    assert scores.recall.tolist() == pytest.approx([100 * 2 / 3, 100])


def test_a_wrong_class_costs_both_classes_iou_but_only_the_target_recall():
    target, prediction = torch.tensor([[0, 0, 0, 1]]), torch.tensor([[0, 0, 1, 1]])
    scores = class_scores(confusion(prediction, target, 2))
    assert scores.iou.tolist() == pytest.approx([100 * 2 / 3, 50])
    assert scores.recall.tolist() == pytest.approx([100 * 2 / 3, 100])


def test_nothing_counted_gives_nan_and_no_error():
    scores = class_scores(torch.zeros(CLASSES + 1, CLASSES + 1, dtype=torch.int64))
    assert scores.iou.isnan().all()
    assert scores.recall.isnan().all()
    assert scores.target_pixels.sum() == scores.predicted_pixels.sum() == 0


def test_counts_beyond_the_exact_integers_of_float32_stay_exact():
    hits = 2**40
    counts = torch.tensor([[hits, 0, 5], [0, 7, 0], [1, 0, 0]])
    scores = class_scores(counts)
    assert scores.target_pixels.tolist() == [hits + 1, 7]
    assert scores.iou[0].item() == pytest.approx(100 * hits / (hits + 1), rel=1e-15, abs=0)
    assert scores.iou[0].item() < 100


def test_the_counts_given_stay_as_they_were():
    counts = published_counts()
    class_scores(counts)
    assert torch.equal(counts, published_counts())


# ---- means


def test_group_mean_is_the_mean_over_members():
    values = torch.tensor([10.0, 20.0, 60.0], dtype=torch.float64)
    assert group_mean(values, [True, False, True]) == pytest.approx(35)
    assert isinstance(group_mean(values, [True, False, True]), float)


def test_absent_class_is_left_out_of_the_mean():
    values = torch.tensor([10.0, NAN, 60.0, 5.0], dtype=torch.float64)
    assert group_mean(values, [True, True, True, False]) == pytest.approx(35)


def test_a_class_that_scores_0_stays_in_the_mean():
    """The published CAT-Seg evaluator drops such classes."""
    values = torch.tensor([0.0, 50.0], dtype=torch.float64)
    assert group_mean(values, [True, True]) == pytest.approx(25)


def test_group_whose_members_are_all_absent_has_no_mean():
    values = torch.tensor([NAN, 20.0, NAN], dtype=torch.float64)
    assert group_mean(values, [True, False, True]) is None


def test_group_without_members_has_no_mean():
    assert group_mean(torch.tensor([1.0, 2.0], dtype=torch.float64), [False, False]) is None


def test_harmonic_mean_of_a_case_worked_out_by_hand():
    assert harmonic_mean(60.0, 30.0) == pytest.approx(40)
    assert harmonic_mean(43.91, 23.56) == pytest.approx(30.67, abs=0.005)  # PartCLIPSeg, Pascal, Pred-All


def test_harmonic_mean_does_not_care_which_side_is_which():
    assert harmonic_mean(30.0, 60.0) == harmonic_mean(60.0, 30.0)


def test_harmonic_mean_of_equal_sides_is_that_side():
    assert harmonic_mean(12.5, 12.5) == pytest.approx(12.5)


@pytest.mark.parametrize(("seen", "unseen"), [(0.0, 50.0), (50.0, 0.0), (0.0, 0.0)])
def test_harmonic_mean_is_0_where_a_side_is_0(seen: float, unseen: float):
    assert harmonic_mean(seen, unseen) == 0


@pytest.mark.parametrize(("seen", "unseen"), [(None, 50.0), (50.0, None), (None, None), (0.0, None), (None, 0.0)])
def test_harmonic_mean_is_none_where_a_side_has_no_class(seen: float | None, unseen: float | None):
    assert harmonic_mean(seen, unseen) is None


# ---- the published evaluator

REFERENCE_MAPS = 60
IGNORE_LABEL, BACKGROUND_LABEL = 255, 116
PROTOCOLS = pytest.mark.parametrize(
    ("protocol", "prediction_name"), [("oracle-obj", "oracle"), ("pred-all", "predall")], ids=["oracle", "pred_all"]
)


def read_labels(stored: np.ndarray) -> Tensor:
    labels = torch.from_numpy(stored).long()
    return torch.where((labels == IGNORE_LABEL) | (labels == BACKGROUND_LABEL), -1, labels)


@functools.cache
def count_published_maps(path: Path) -> dict[str, Tensor]:
    classes = len(load_manifest("pascal-part-116").vocabulary.pairs)
    counts = {}
    with np.load(path) as maps:
        for name in ("oracle", "predall"):
            each = [
                confusion(read_labels(maps[f"{name}_{i}"]), read_labels(maps[f"gt_{i}"]), classes)
                for i in range(REFERENCE_MAPS)
            ]
            counts[name] = torch.stack(each).sum(dim=0)
    return counts


@pytest.fixture
def counts_by_prediction(reference: Path) -> dict[str, Tensor]:
    return count_published_maps(reference / "evaluator_label_maps.npz")


@pytest.fixture
def published(reference: Path) -> dict[str, Any]:
    return json.loads((reference / "evaluator_expected.json").read_text(encoding="utf-8"))


def test_our_pairs_stand_in_the_order_of_the_published_classes(published: dict[str, Any]):
    vocabulary = load_manifest("pascal-part-116").vocabulary
    assert [pair.name for pair in vocabulary.pairs] == published["class_names"]
    assert [k for k, seen in enumerate(vocabulary.is_seen) if seen] == sorted(published["base_class_ids"])


@PROTOCOLS
def test_class_scores_are_those_of_the_published_evaluator(
    counts_by_prediction: dict[str, Tensor], published: dict[str, Any], protocol: str, prediction_name: str
):
    scores, figures = class_scores(counts_by_prediction[prediction_name]), published["expected"][protocol]
    compared = 0
    for k, name in enumerate(published["class_names"]):
        if scores.target_pixels[k] == 0:
            # Published: 0 in Pred-All for a class that is predicted but absent, left out of its seen and unseen means.
            assert math.isnan(scores.iou[k])
            assert math.isnan(scores.recall[k])
            assert not figures[f"IoU-{name}"]
            assert not figures[f"Recall-{name}"]
            continue
        assert scores.iou[k].item() == pytest.approx(figures[f"IoU-{name}"], rel=0, abs=1e-6)
        assert scores.recall[k].item() == pytest.approx(figures[f"Recall-{name}"], rel=0, abs=1e-6)
        compared += 1
    assert compared > 100


@PROTOCOLS
def test_seen_unseen_and_harmonic_means_are_those_of_the_published_evaluator(
    counts_by_prediction: dict[str, Tensor], published: dict[str, Any], protocol: str, prediction_name: str
):
    scores, figures = class_scores(counts_by_prediction[prediction_name]), published["expected"][protocol]
    is_seen = load_manifest("pascal-part-116").vocabulary.is_seen
    is_unseen = [not seen for seen in is_seen]
    for values, mean, harmonic in ((scores.iou, "mIoU", "h-IoU"), (scores.recall, "mRecall", "h-Recall")):
        seen, unseen = group_mean(values, is_seen), group_mean(values, is_unseen)
        assert seen == pytest.approx(figures[f"{mean}-base"], rel=0, abs=1e-6)
        assert unseen == pytest.approx(figures[f"{mean}-unbase"], rel=0, abs=1e-6)
        assert harmonic_mean(seen, unseen) == pytest.approx(figures[harmonic], rel=0, abs=1e-6)


def test_mean_over_all_pairs_is_that_of_the_published_evaluator_in_oracle_obj(
    counts_by_prediction: dict[str, Tensor], published: dict[str, Any]
):
    """Not so in Pred-All, where the published mean also holds the background and predicted but absent classes."""
    scores, figures = class_scores(counts_by_prediction["oracle"]), published["expected"]["oracle-obj"]
    everybody = [True] * len(published["class_names"])
    assert group_mean(scores.iou, everybody) == pytest.approx(figures["mIoU"], rel=0, abs=1e-6)
    assert group_mean(scores.recall, everybody) == pytest.approx(figures["mRecall"], rel=0, abs=1e-6)
