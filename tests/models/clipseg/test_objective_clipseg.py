"""The objective of CLIPSeg against plain loops over pixels and channels."""

import math
from itertools import product

import pytest
import torch
from torch import Tensor

from partseg_cli.models.clipseg.objective import CLIPSegLoss
from partseg_cli.models.losses.masks import object_part_loss, pair_loss
from partseg_cli.structures import Labels, Logits

WEIGHT = 0.05  # the published weight of the background channel
NONE, PAIRS = -1, 3
PAIR_LABELS = torch.tensor(
    [
        [[0, 0, -1, -1, -1], [2, 0, -1, -1, -1], [1, -1, -1, -1, -1], [-1, -1, -1, -1, -1]],
        [[-1, -1, -1, -1, -1], [-1, 2, 2, -1, -1], [-1, 2, 1, 1, -1], [-1, -1, -1, -1, -1]],
    ]
)
OBJECT_LABELS = torch.tensor(
    [
        [[0, 0, 0, -1, -1], [0, 0, 0, -1, -1], [0, 0, -1, -1, -1], [-1, -1, -1, -1, -1]],
        [[1, 1, 1, 1, -1], [1, 1, 1, 1, -1], [-1, 1, 1, 1, -1], [-1, -1, -1, -1, -1]],
    ]
)
IGNORED = torch.zeros(2, 4, 5, dtype=torch.bool)
IGNORED[0, 3] = IGNORED[1, 3, 2:] = True  # no object, and not trained as background either
OUTSIDE = (OBJECT_LABELS == NONE) & ~IGNORED
LABELS = Labels(PAIR_LABELS, OBJECT_LABELS, OUTSIDE)
COUNTED = ~IGNORED


def draw_logits(seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(2, PAIRS + 1, 4, 5, generator=generator, dtype=torch.float64)


def sure_logits() -> Tensor:
    """Logits of a predictor that is right, and certain."""
    target = torch.where(PAIR_LABELS >= 0, PAIR_LABELS, PAIRS)
    return torch.where(target[:, None] == torch.arange(PAIRS + 1).view(1, -1, 1, 1), 200.0, -200.0).double()


def loop_loss(logits: Tensor, pairs: Tensor, counted: Tensor, weight: float) -> float:
    total, pixels = 0.0, 0
    for image, row, column in product(*map(range, pairs.shape)):
        if not counted[image, row, column]:
            continue
        pixels += 1
        label = int(pairs[image, row, column])
        for channel in range(logits.shape[1]):
            score = 1 / (1 + math.exp(-float(logits[image, channel, row, column])))
            is_right = channel == (label if label >= 0 else logits.shape[1] - 1)
            share = weight if channel == logits.shape[1] - 1 else 1.0
            total -= share * math.log(score if is_right else 1 - score)
    return total / (max(pixels, 1) * logits.shape[1])


def objective(loss_mean: str, logits: Tensor, labels: Labels = LABELS) -> Tensor:
    terms = CLIPSegLoss(background_weight=WEIGHT, loss_mean=loss_mean)(Logits(logits), labels)
    assert list(terms) == ["object_part", "total"]
    assert torch.equal(terms["object_part"], terms["total"])
    return terms["total"]


# ---- the mask loss


@pytest.mark.parametrize("weight", [WEIGHT, 0.0, 1.0, 2.5])
@pytest.mark.parametrize("counted", [COUNTED, torch.ones_like(COUNTED), PAIR_LABELS >= 0], ids=["some", "all", "pairs"])
def test_pair_loss_is_the_mean_over_counted_pixels_and_channels(counted, weight):
    loss = pair_loss(draw_logits(), PAIR_LABELS, counted, background_weight=weight)
    assert loss.item() == pytest.approx(loop_loss(draw_logits(), PAIR_LABELS, counted, weight))


def test_pair_loss_of_undecided_logits_by_hand():
    loss = pair_loss(torch.zeros(2, PAIRS + 1, 4, 5), PAIR_LABELS, COUNTED, background_weight=WEIGHT)
    assert loss.item() == pytest.approx(math.log(2) * (PAIRS + WEIGHT) / (PAIRS + 1))


def test_a_perfect_prediction_costs_nothing():
    assert pair_loss(sure_logits(), PAIR_LABELS, COUNTED, background_weight=WEIGHT).item() == pytest.approx(0, abs=1e-9)


def test_no_counted_pixel_costs_nothing():
    assert pair_loss(draw_logits(), PAIR_LABELS, torch.zeros_like(COUNTED), background_weight=WEIGHT).item() == 0


def test_a_pixel_of_an_object_without_a_part_is_background_where_part_segmentation_leaves_it_out():
    between = (PAIR_LABELS == NONE) & (OBJECT_LABELS >= 0)
    assert between.any()
    gradients = []
    for loss, mask in ((pair_loss, COUNTED), (object_part_loss, OUTSIDE)):
        logits = draw_logits().requires_grad_()
        loss(logits, PAIR_LABELS, mask, background_weight=WEIGHT).backward()
        gradients.append(logits.grad.permute(0, 2, 3, 1)[between])
    ours, parts = gradients
    assert (ours[:, -1] < 0).all()
    assert (ours[:, :-1] > 0).all()
    assert (parts == 0).all()


def test_pair_loss_has_a_gradient_at_every_counted_pixel_and_no_other():
    logits = draw_logits().requires_grad_()
    pair_loss(logits, PAIR_LABELS, COUNTED, background_weight=WEIGHT).backward()
    assert torch.equal((logits.grad != 0).all(1), COUNTED)
    assert torch.equal((logits.grad != 0).any(1), COUNTED)


def test_gradients_of_pair_loss_are_those_of_the_formula():
    logits = draw_logits().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: pair_loss(x, PAIR_LABELS, COUNTED, background_weight=WEIGHT), [logits], atol=1e-6
    )


def test_the_order_of_pairs_images_and_pixels_does_not_matter():
    logits, order = draw_logits(), torch.tensor([2, 0, 1])  # channel n now holds the former `order[n]`
    expected = pair_loss(logits, PAIR_LABELS, COUNTED, background_weight=WEIGHT)
    renamed = torch.where(PAIR_LABELS >= 0, order.argsort()[PAIR_LABELS.clamp(min=0)], NONE)
    moved = logits[:, [*order.tolist(), PAIRS]]
    torch.testing.assert_close(pair_loss(moved, renamed, COUNTED, background_weight=WEIGHT), expected)
    turned = [value.flip(0).mT for value in (logits, PAIR_LABELS, COUNTED)]
    torch.testing.assert_close(pair_loss(*turned, background_weight=WEIGHT), expected)


# ---- the objective


@pytest.mark.parametrize("label", ["pair", "object", "outside"])
def test_what_is_labelled_in_any_way_counts(label):
    nothing = torch.full((1, 4, 5), NONE)
    labels = Labels(nothing.clone(), nothing.clone(), torch.zeros(1, 4, 5, dtype=torch.bool))
    value = {"pair": labels.pairs, "object": labels.objects, "outside": labels.background}[label]
    value[0, 2, 3] = 1
    logits = draw_logits()[:1].float().requires_grad_()
    objective("image", logits, labels).backward()
    assert (logits.grad != 0).any(1).nonzero().tolist() == [[0, 2, 3]]
    (channels,) = (logits.grad[0, :, 2, 3] < 0).nonzero(as_tuple=True)  # what is asked for
    assert channels.tolist() == [1 if label == "pair" else PAIRS]


def test_the_mean_is_over_images_or_over_the_pixels_of_the_batch():
    logits = draw_logits()
    images = [loop_loss(logits[n : n + 1], PAIR_LABELS[n : n + 1], COUNTED[n : n + 1], WEIGHT) for n in (0, 1)]
    pixels = COUNTED.sum((1, 2)).tolist()
    assert pixels[0] != pixels[1]
    assert objective("image", logits).item() == pytest.approx(sum(images) / 2, rel=1e-5)
    pooled = sum(n * loss for n, loss in zip(pixels, images, strict=True)) / sum(pixels)
    assert objective("batch", logits).item() == pytest.approx(pooled, rel=1e-5)


def test_an_image_without_any_label_counts_in_the_mean_over_images_alone():
    empty = Labels(*(value.clone() for value in LABELS))
    empty.pairs[1] = empty.objects[1] = NONE
    empty.background[1] = False
    one = loop_loss(draw_logits()[:1], PAIR_LABELS[:1], COUNTED[:1], WEIGHT)
    assert objective("image", draw_logits(), empty).item() == pytest.approx(one / 2, rel=1e-5)
    assert objective("batch", draw_logits(), empty).item() == pytest.approx(one, rel=1e-5)


@pytest.mark.parametrize("loss_mean", ["image", "batch"])
def test_labels_of_another_size_are_brought_to_that_of_the_logits(loss_mean):
    larger = Labels(*(value.repeat_interleave(3, 1).repeat_interleave(2, 2) for value in LABELS))
    assert larger.pairs.shape == (2, 12, 10)
    torch.testing.assert_close(objective(loss_mean, draw_logits(), larger), objective(loss_mean, draw_logits()))


def test_logits_of_half_precision_are_summed_in_full():
    halves = draw_logits().bfloat16()
    assert objective("image", halves).dtype == torch.float32
    torch.testing.assert_close(objective("image", halves), objective("image", halves.float()))


@pytest.mark.parametrize("loss_mean", ["image", "batch"])
def test_every_counted_pixel_has_a_gradient(loss_mean):
    logits = draw_logits().requires_grad_()
    objective(loss_mean, logits).backward()
    assert torch.equal((logits.grad != 0).all(1), COUNTED)
