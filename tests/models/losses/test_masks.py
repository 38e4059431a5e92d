"""Mask losses (Eq. 5) against plain loops over pixels and channels."""

import math
from collections.abc import Callable
from itertools import product

import pytest
import torch
from torch import Tensor

from partseg_cli.models.losses.masks import object_loss, object_part_loss, part_loss

NONE = -1
BACKGROUND_WEIGHT = 0.05  # the published weight of the background channel

# Two images of 4 x 5 pixels, 6 pairs of 3 parts and 2 objects: pairs 0-2 are object 0, pairs 3-5 object 1.
PARTS, PAIRS, OBJECTS = 3, 6, 2
PAIR_LABELS = torch.tensor(
    [
        [[0, 0, -1, -1, -1], [2, 0, -1, -1, 5], [1, -1, -1, 4, 5], [-1, -1, -1, 4, 4]],
        [[-1, -1, -1, -1, -1], [-1, 3, 3, -1, -1], [-1, 3, -1, -1, -1], [-1, -1, -1, -1, -1]],
    ]
)
OBJECT_LABELS = torch.tensor(
    [
        [[0, 0, 0, -1, -1], [0, 0, -1, -1, 1], [0, -1, -1, 1, 1], [-1, -1, -1, 1, 1]],
        [[-1, -1, -1, -1, -1], [1, 1, 1, 1, -1], [1, 1, 1, -1, -1], [-1, -1, -1, -1, -1]],
    ]
)
PART_LABELS = torch.where(PAIR_LABELS >= 0, PAIR_LABELS % PARTS, NONE)
OUTSIDE = OBJECT_LABELS == NONE
IGNORED = torch.zeros_like(OUTSIDE)
IGNORED[:, 0, 3:] = True  # no object, and not trained as background either
SIZE = (2, 4, 5)
NOWHERE, EVERYWHERE = torch.zeros(SIZE, dtype=torch.bool), torch.ones(SIZE, dtype=torch.bool)
UNLABELLED = torch.full(SIZE, NONE)


def draw_logits(channels: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(2, channels, 4, 5, generator=generator, dtype=torch.float64)


def sure_logits(targets: Tensor, channels: int, size: float = 200.0) -> Tensor:
    """Logits of a predictor that is right, and certain, about `targets` (channel of each pixel, -1 for none)."""
    channel = torch.arange(channels).view(1, -1, 1, 1)
    return torch.where(targets.unsqueeze(1) == channel, size, -size).double()


def pixels() -> list[tuple[int, int, int]]:
    return list(product(*map(range, SIZE)))


def cross_entropy(logit: float, target: float) -> float:
    score = 1 / (1 + math.exp(-logit))
    return -(target * math.log(score) + (1 - target) * math.log(1 - score))


def loop_mean(logits: Tensor, targets: dict[tuple[int, int, int], int], weights: list[float]) -> float:
    """Mean over the pixels of `targets` (pixel -> channel that is 1 there) and over all channels."""
    if not targets:
        return 0.0
    total = 0.0
    for (b, y, x), target in targets.items():
        for channel, weight in enumerate(weights):
            total += weight * cross_entropy(logits[b, channel, y, x].item(), float(channel == target))
    return total / (len(targets) * len(weights))


def loop_object_part_loss(logits: Tensor, pairs: Tensor, outside: Tensor, background_weight: float) -> float:
    weights = [1.0] * (logits.shape[1] - 1) + [background_weight]
    labelled = {p: int(pairs[p]) for p in pixels() if pairs[p] >= 0}
    background = {p: len(weights) - 1 for p in pixels() if outside[p]}
    if len(background) == len(pixels()):
        background = {}
    return loop_mean(logits, labelled, weights) + loop_mean(logits, background, weights)


def loop_part_loss(logits: Tensor, parts: Tensor) -> float:
    return loop_mean(logits, {p: int(parts[p]) for p in pixels() if parts[p] >= 0}, [1.0] * logits.shape[1])


def loop_object_loss(logits: Tensor, objects: Tensor, outside: Tensor, background_weight: float) -> float:
    weights = [1.0] * (logits.shape[1] - 1) + [background_weight]
    targets = {}
    for pixel in pixels():
        if objects[pixel] >= 0:
            targets[pixel] = int(objects[pixel])
        elif outside[pixel]:
            targets[pixel] = len(weights) - 1
    return loop_mean(logits, targets, weights)


def published_object_part_loss(logits: Tensor) -> Tensor:
    return object_part_loss(logits, PAIR_LABELS, OUTSIDE, background_weight=BACKGROUND_WEIGHT)


def published_part_loss(logits: Tensor) -> Tensor:
    return part_loss(logits, PART_LABELS)


def published_object_loss(logits: Tensor) -> Tensor:
    return object_loss(logits, OBJECT_LABELS, OUTSIDE, background_weight=BACKGROUND_WEIGHT)


EVERY_LOSS = pytest.mark.parametrize(
    ("loss", "channels"),
    [
        pytest.param(published_object_part_loss, PAIRS + 1, id="object_part"),
        pytest.param(published_part_loss, PARTS, id="part"),
        pytest.param(published_object_loss, OBJECTS + 1, id="object"),
    ],
)


# ---- object-specific parts


@pytest.mark.parametrize("background_weight", [BACKGROUND_WEIGHT, 0.0, 1.0, 2.5])
@pytest.mark.parametrize("outside", [OUTSIDE, OUTSIDE & ~IGNORED, NOWHERE], ids=["published", "ignored", "nowhere"])
def test_object_part_loss_is_the_mean_over_labelled_pixels_plus_the_mean_over_outside_pixels(
    outside: Tensor, background_weight: float
):
    logits = draw_logits(PAIRS + 1)
    loss = object_part_loss(logits, PAIR_LABELS, outside, background_weight=background_weight)
    assert loss.item() == pytest.approx(loop_object_part_loss(logits, PAIR_LABELS, outside, background_weight))


def test_object_part_loss_of_undecided_logits_is_log_2_per_channel_in_both_terms():
    loss = published_object_part_loss(torch.zeros(2, PAIRS + 1, 4, 5))
    assert loss.item() == pytest.approx(2 * math.log(2) * (PAIRS + BACKGROUND_WEIGHT) / (PAIRS + 1))


def test_outside_term_asks_for_the_last_channel():
    logits = sure_logits(UNLABELLED, PAIRS + 1)
    logits[:, PAIRS] = 200.0
    loss = object_part_loss(logits, UNLABELLED, OUTSIDE, background_weight=BACKGROUND_WEIGHT)
    assert loss.item() == pytest.approx(0, abs=1e-12)


def test_object_part_loss_without_part_labels_is_the_outside_term_alone():
    logits = draw_logits(PAIRS + 1)
    loss = object_part_loss(logits, UNLABELLED, OUTSIDE, background_weight=BACKGROUND_WEIGHT)
    background = {p: PAIRS for p in pixels() if OUTSIDE[p]}
    assert loss.item() == pytest.approx(loop_mean(logits, background, [1.0] * PAIRS + [BACKGROUND_WEIGHT]))


def test_object_part_loss_without_outside_pixels_is_the_labelled_term_alone():
    logits = draw_logits(PAIRS + 1)
    loss = object_part_loss(logits, PAIR_LABELS, NOWHERE, background_weight=BACKGROUND_WEIGHT)
    labelled = {p: int(PAIR_LABELS[p]) for p in pixels() if PAIR_LABELS[p] >= 0}
    assert loss.item() == pytest.approx(loop_mean(logits, labelled, [1.0] * PAIRS + [BACKGROUND_WEIGHT]))


def test_outside_term_is_skipped_where_no_pixel_of_the_batch_lies_in_an_object():
    loss = object_part_loss(draw_logits(PAIRS + 1), UNLABELLED, EVERYWHERE, background_weight=BACKGROUND_WEIGHT)
    assert loss.item() == 0


def test_outside_term_counts_an_image_without_objects_beside_an_image_with_one():
    logits, outside = draw_logits(PAIRS + 1), OUTSIDE.clone()
    outside[0] = True
    loss = object_part_loss(logits, UNLABELLED, outside, background_weight=BACKGROUND_WEIGHT)
    assert loss.item() == pytest.approx(loop_object_part_loss(logits, UNLABELLED, outside, BACKGROUND_WEIGHT))


def test_object_part_loss_leaves_pixels_of_an_object_without_a_part_out():
    logits = draw_logits(PAIRS + 1).requires_grad_()
    left_out = (PAIR_LABELS == NONE) & ~OUTSIDE
    assert left_out.any()
    (gradient,) = torch.autograd.grad(published_object_part_loss(logits), logits)
    pixel_gradient = gradient.abs().sum(dim=1)
    assert pixel_gradient[left_out].max() == 0
    assert pixel_gradient[~left_out].min() > 0


# ---- parts


def test_part_loss_is_the_mean_over_part_labelled_pixels_and_channels():
    logits = draw_logits(PARTS)
    assert published_part_loss(logits).item() == pytest.approx(loop_part_loss(logits, PART_LABELS))


def test_part_loss_of_undecided_logits_is_log_2():
    assert published_part_loss(torch.zeros(2, PARTS, 4, 5)).item() == pytest.approx(math.log(2))


def test_part_loss_leaves_pixels_without_a_part_out():
    logits = draw_logits(PARTS).requires_grad_()
    (gradient,) = torch.autograd.grad(published_part_loss(logits), logits)
    pixel_gradient = gradient.abs().sum(dim=1)
    assert pixel_gradient[PART_LABELS == NONE].max() == 0
    assert pixel_gradient[PART_LABELS >= 0].min() > 0


# ---- objects


@pytest.mark.parametrize("background_weight", [BACKGROUND_WEIGHT, 0.0, 1.0, 2.5])
@pytest.mark.parametrize("outside", [OUTSIDE, OUTSIDE & ~IGNORED, NOWHERE], ids=["published", "ignored", "nowhere"])
def test_object_loss_is_the_mean_over_labelled_pixels_and_channels(outside: Tensor, background_weight: float):
    logits = draw_logits(OBJECTS + 1)
    loss = object_loss(logits, OBJECT_LABELS, outside, background_weight=background_weight)
    assert loss.item() == pytest.approx(loop_object_loss(logits, OBJECT_LABELS, outside, background_weight))


def test_object_loss_of_undecided_logits_is_log_2_per_channel():
    loss = published_object_loss(torch.zeros(2, OBJECTS + 1, 4, 5))
    assert loss.item() == pytest.approx(math.log(2) * (OBJECTS + BACKGROUND_WEIGHT) / (OBJECTS + 1))


def test_object_loss_is_one_mean_over_inside_and_outside_pixels_together():
    """A mean for each, added up, would be twice this: every pixel costs the same."""
    logits = sure_logits(OBJECT_LABELS, OBJECTS + 1, size=2.0)
    logits[:, OBJECTS] = 0.0
    loss = object_loss(logits, OBJECT_LABELS, OUTSIDE, background_weight=1.0)
    per_pixel = OBJECTS * math.log1p(math.exp(-2.0)) + math.log(2)
    assert loss.item() == pytest.approx(per_pixel / (OBJECTS + 1))


def test_object_loss_keeps_the_background_of_a_batch_without_objects():
    logits = draw_logits(OBJECTS + 1)
    loss = object_loss(logits, UNLABELLED, EVERYWHERE, background_weight=BACKGROUND_WEIGHT)
    assert loss.item() == pytest.approx(loop_object_loss(logits, UNLABELLED, EVERYWHERE, BACKGROUND_WEIGHT))
    assert loss.item() > 0


def test_object_loss_leaves_pixels_out_that_are_neither_in_an_object_nor_outside():
    logits = draw_logits(OBJECTS + 1).requires_grad_()
    loss = object_loss(logits, OBJECT_LABELS, OUTSIDE & ~IGNORED, background_weight=BACKGROUND_WEIGHT)
    (gradient,) = torch.autograd.grad(loss, logits)
    pixel_gradient = gradient.abs().sum(dim=1)
    assert pixel_gradient[IGNORED & OUTSIDE].max() == 0
    assert pixel_gradient[~IGNORED].min() > 0


# ---- what holds for all three


def test_a_perfect_prediction_costs_nothing():
    pair_target = torch.where(OUTSIDE, PAIRS, PAIR_LABELS)
    object_target = torch.where(OUTSIDE, OBJECTS, OBJECT_LABELS)
    assert published_object_part_loss(sure_logits(pair_target, PAIRS + 1)).item() == pytest.approx(0, abs=1e-12)
    assert published_part_loss(sure_logits(PART_LABELS, PARTS)).item() == pytest.approx(0, abs=1e-12)
    assert published_object_loss(sure_logits(object_target, OBJECTS + 1)).item() == pytest.approx(0, abs=1e-12)


@EVERY_LOSS
def test_a_certain_mistake_costs_its_logit_not_infinity(loss: Callable[[Tensor], Tensor], channels: int):
    """The logarithm of a score that rounds to 0 would be infinite: every channel says yes, so all but one are wrong."""
    value = loss(torch.full((2, channels, 4, 5), 1000.0))
    assert torch.isfinite(value)
    assert value > 100


@EVERY_LOSS
def test_every_channel_has_a_gradient(loss: Callable[[Tensor], Tensor], channels: int):
    logits = draw_logits(channels).requires_grad_()
    (gradient,) = torch.autograd.grad(loss(logits), logits)
    assert gradient.abs().sum(dim=(0, 2, 3)).min() > 0


@EVERY_LOSS
def test_gradient_agrees_with_finite_differences(loss: Callable[[Tensor], Tensor], channels: int):
    assert torch.autograd.gradcheck(loss, (draw_logits(channels).requires_grad_(),))


@EVERY_LOSS
def test_loss_keeps_the_dtype_of_the_logits(loss: Callable[[Tensor], Tensor], channels: int):
    logits = draw_logits(channels)
    assert loss(logits).dtype == torch.float64
    assert loss(logits.float()).dtype == torch.float32
    assert loss(logits.float()).item() == pytest.approx(loss(logits).item(), rel=1e-5)


@EVERY_LOSS
def test_loss_leaves_its_logits_as_they_were(loss: Callable[[Tensor], Tensor], channels: int):
    logits = draw_logits(channels)
    before = logits.clone()
    loss(logits)
    assert torch.equal(logits, before)


def test_permuting_classes_changes_no_loss():
    order = torch.tensor([4, 0, 5, 2, 1, 3])
    logits = draw_logits(PAIRS + 1)
    moved = torch.cat([logits[:, order], logits[:, -1:]], dim=1)
    labels = torch.where(PAIR_LABELS >= 0, order.argsort()[PAIR_LABELS.clamp(min=0)], NONE)
    loss = object_part_loss(moved, labels, OUTSIDE, background_weight=BACKGROUND_WEIGHT)
    assert loss.item() == pytest.approx(published_object_part_loss(logits).item())

    order = torch.tensor([2, 0, 1])
    logits = draw_logits(PARTS)
    labels = torch.where(PART_LABELS >= 0, order.argsort()[PART_LABELS.clamp(min=0)], NONE)
    assert part_loss(logits[:, order], labels).item() == pytest.approx(published_part_loss(logits).item())

    logits = draw_logits(OBJECTS + 1)
    labels = torch.where(OBJECT_LABELS >= 0, 1 - OBJECT_LABELS, NONE)
    loss = object_loss(logits[:, [1, 0, 2]], labels, OUTSIDE, background_weight=BACKGROUND_WEIGHT)
    assert loss.item() == pytest.approx(published_object_loss(logits).item())


def test_means_pool_the_pixels_of_the_batch_rather_than_averaging_images():
    logits = draw_logits(PARTS)
    alone = [part_loss(logits[b : b + 1], PART_LABELS[b : b + 1]).item() for b in range(2)]
    counts = [int((PART_LABELS[b] >= 0).sum()) for b in range(2)]
    assert counts[0] != counts[1]
    pooled = sum(a * c for a, c in zip(alone, counts, strict=True)) / sum(counts)
    assert published_part_loss(logits).item() == pytest.approx(pooled)


@pytest.mark.parametrize(
    ("loss", "channels"),
    [
        pytest.param(
            lambda logits: object_part_loss(logits, UNLABELLED, NOWHERE, background_weight=BACKGROUND_WEIGHT),
            PAIRS + 1,
            id="object_part-nowhere",
        ),
        pytest.param(
            lambda logits: object_part_loss(logits, UNLABELLED, EVERYWHERE, background_weight=BACKGROUND_WEIGHT),
            PAIRS + 1,
            id="object_part-everywhere",
        ),
        pytest.param(lambda logits: part_loss(logits, UNLABELLED), PARTS, id="part"),
        pytest.param(
            lambda logits: object_loss(logits, UNLABELLED, NOWHERE, background_weight=BACKGROUND_WEIGHT),
            OBJECTS + 1,
            id="object",
        ),
    ],
)
def test_a_batch_without_a_labelled_pixel_costs_nothing_and_can_be_added_to_other_terms(
    loss: Callable[[Tensor], Tensor], channels: int
):
    logits = draw_logits(channels).requires_grad_()
    value = loss(logits)
    assert value.shape == ()
    assert value.item() == 0
    (value + 2 * logits.sum()).backward()
    assert torch.equal(logits.grad, torch.full_like(logits, 2))
