"""The contrastive loss against plain loops and against CLIP's own."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from partseg_cli.models.clip.contrastive import contrastive_loss

# Four images, three captions: the second caption is true of two images, and the third image has two captions.
TRUTH = torch.tensor([[1, 0, 0], [0, 1, 0], [0, 1, 1], [0, 0, 1]], dtype=torch.bool)
SCALE = torch.tensor(5.0, dtype=torch.float64)


def draw(count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(count, 6, generator=generator, dtype=torch.float64), dim=1)


IMAGES, TEXTS = draw(4, seed=1), draw(3, seed=2)


def choice(likeness: list[float], right: list[bool]) -> float:
    """Minus the mean log-likelihood of the right answers among all answers."""
    total = sum(math.exp(value) for value in likeness)
    found = [math.log(math.exp(value) / total) for value, is_right in zip(likeness, right, strict=True) if is_right]
    return -sum(found) / len(found)


def loop_loss(images: Tensor, texts: Tensor, truth: Tensor, scale: float) -> float:
    table = [[scale * sum(a * b for a, b in zip(i, t, strict=True)) for t in texts.tolist()] for i in images.tolist()]
    of_images = [choice(row, right) for row, right in zip(table, truth.tolist(), strict=True)]
    columns = zip(zip(*table, strict=True), truth.T.tolist(), strict=True)
    of_texts = [choice(list(column), right) for column, right in columns]
    return (sum(of_images) / len(of_images) + sum(of_texts) / len(of_texts)) / 2


@pytest.mark.parametrize("scale", [0.5, 5.0, 30.0])
def test_the_loss_is_the_mean_over_images_and_the_mean_over_captions_halved(scale):
    loss = contrastive_loss(IMAGES, TEXTS, TRUTH, torch.tensor(scale, dtype=torch.float64))
    assert loss.item() == pytest.approx(loop_loss(IMAGES, TEXTS, TRUTH, scale))


def test_one_caption_an_image_is_the_loss_of_clip():
    texts = draw(4, seed=3)
    logits, answers = SCALE * IMAGES @ texts.T, torch.arange(4)
    expected = (F.cross_entropy(logits, answers) + F.cross_entropy(logits.T, answers)) / 2
    torch.testing.assert_close(contrastive_loss(IMAGES, texts, torch.eye(4, dtype=torch.bool), SCALE), expected)


def test_a_small_case_by_hand():
    """One image, two captions: the right one like the image, the other at a right angle to it."""
    image, texts = torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    loss = contrastive_loss(image, texts, torch.tensor([[True, True]]), torch.tensor(2.0))
    of_image = -(math.log(math.e**2 / (math.e**2 + 1)) + math.log(1 / (math.e**2 + 1))) / 2
    assert loss.item() == pytest.approx(of_image / 2)  # captions have but one image to choose


def test_a_perfect_prediction_costs_nothing():
    loss = contrastive_loss(torch.eye(5), torch.eye(5), torch.eye(5, dtype=torch.bool), torch.tensor(100.0))
    assert loss.item() == pytest.approx(0, abs=1e-6)


def test_vectors_that_are_all_alike_cost_the_logarithm_of_the_number_of_answers():
    images, texts = torch.ones(4, 6) / 6**0.5, torch.ones(3, 6) / 6**0.5
    loss = contrastive_loss(images, texts, TRUTH, torch.tensor(7.0))
    assert loss.item() == pytest.approx((math.log(3) + math.log(4)) / 2)


def test_the_order_of_images_and_of_captions_does_not_matter():
    rows, columns = torch.tensor([2, 0, 3, 1]), torch.tensor([1, 2, 0])
    loss = contrastive_loss(IMAGES[rows], TEXTS[columns], TRUTH[rows][:, columns], SCALE)
    torch.testing.assert_close(loss, contrastive_loss(IMAGES, TEXTS, TRUTH, SCALE))


def test_images_and_captions_may_change_places():
    loss = contrastive_loss(TEXTS, IMAGES, TRUTH.T, SCALE)
    torch.testing.assert_close(loss, contrastive_loss(IMAGES, TEXTS, TRUTH, SCALE))


def test_a_batch_given_twice_costs_more_only_by_its_larger_choice_of_images():
    loss, twice = (
        contrastive_loss(images, TEXTS, truth, SCALE)
        for images, truth in ((IMAGES, TRUTH), (IMAGES.repeat(2, 1), TRUTH.repeat(2, 1)))
    )
    assert twice.item() == pytest.approx(loss.item() + math.log(2) / 2)


def test_gradients_are_those_of_the_formula():
    leaves = [value.clone().requires_grad_() for value in (IMAGES, TEXTS, SCALE)]
    assert torch.autograd.gradcheck(lambda images, texts, scale: contrastive_loss(images, texts, TRUTH, scale), leaves)


def test_every_vector_and_the_temperature_have_a_gradient():
    images, texts, scale = (value.clone().requires_grad_() for value in (IMAGES, TEXTS, SCALE))
    contrastive_loss(images, texts, TRUTH, scale).backward()
    assert images.grad.abs().sum(1).min() > 0
    assert texts.grad.abs().sum(1).min() > 0
    assert scale.grad.abs() > 0
