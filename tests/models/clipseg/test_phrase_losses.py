"""The loss of phrases and their masks against plain loops over pixels."""

import math

import pytest
import torch
from torch import Tensor

from partseg_cli.models.clipseg.objective import phrase_losses

# Three phrases on 4 x 5 pixels: one large, one of a single pixel, one of nothing.
MASKS = torch.zeros(3, 4, 5, dtype=torch.bool)
MASKS[0, 1:, :3] = True
MASKS[1, 0, 4] = True
NOTHING = torch.zeros_like(MASKS)


def draw_logits(seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(3, 4, 5, generator=generator, dtype=torch.float64)


def sure_logits(masks: Tensor) -> Tensor:
    return torch.where(masks, 200.0, -200.0).double()


def loop_terms(logits: Tensor, masks: Tensor) -> tuple[float, float]:
    """Give the mean cross-entropy over all pixels, and 1 - Dice over the phrases that have any."""
    entropy, apart = [], []
    for plane, mask in zip(logits.flatten(1).tolist(), masks.flatten(1).tolist(), strict=True):
        scores = [1 / (1 + math.exp(-x)) for x in plane]
        entropy += [-math.log(s if there else 1 - s) for s, there in zip(scores, mask, strict=True)]
        if any(mask):
            both = sum(s for s, there in zip(scores, mask, strict=True) if there)
            apart.append(1 - 2 * both / (sum(scores) + sum(mask)))
    return sum(entropy) / len(entropy), sum(apart) / len(apart) if apart else 0.0


@pytest.mark.parametrize("overlap", [0.0, 0.5, 2.0])
def test_terms_are_those_of_loops_over_pixels_and_the_total_is_weighted(overlap):
    terms = phrase_losses(draw_logits(), MASKS, overlap=overlap)
    entropy, apart = loop_terms(draw_logits(), MASKS)
    assert list(terms) == ["cross_entropy", "overlap", "total"]
    assert terms["cross_entropy"].item() == pytest.approx(entropy)
    assert terms["overlap"].item() == pytest.approx(apart)
    assert terms["total"].item() == pytest.approx(entropy + overlap * apart)


def test_undecided_logits_by_hand():
    terms = phrase_losses(torch.zeros(3, 4, 5), MASKS, overlap=0.5)
    assert terms["cross_entropy"].item() == pytest.approx(math.log(2))
    large, small = 1 - 2 * 4.5 / (10 + 9), 1 - 2 * 0.5 / (10 + 1)
    assert terms["overlap"].item() == pytest.approx((large + small) / 2)


def test_a_perfect_prediction_costs_nothing():
    terms = phrase_losses(sure_logits(MASKS), MASKS, overlap=0.5)
    assert {name: value.item() for name, value in terms.items()} == pytest.approx(
        {"cross_entropy": 0, "overlap": 0, "total": 0}, abs=1e-12
    )


def test_the_opposite_of_the_truth_has_no_overlap():
    terms = phrase_losses(sure_logits(~MASKS), MASKS, overlap=0.5)
    assert terms["overlap"].item() == pytest.approx(1)
    assert terms["cross_entropy"].item() == pytest.approx(200)


def test_without_any_pixel_the_overlap_term_is_0_and_the_cross_entropy_still_trains():
    logits = draw_logits().requires_grad_()
    terms = phrase_losses(logits, NOTHING, overlap=0.5)
    assert terms["overlap"].item() == 0
    terms["total"].backward()
    assert logits.grad.min() > 0  # every pixel goes down


def test_phrases_without_pixels_do_not_change_the_overlap_term():
    whole, present = (phrase_losses(draw_logits()[:n], MASKS[:n], overlap=1)["overlap"] for n in (3, 2))
    torch.testing.assert_close(whole, present)


def test_a_small_mask_weighs_as_much_as_a_large_one_in_the_overlap_term():
    one, other = (phrase_losses(draw_logits()[n : n + 1], MASKS[n : n + 1], overlap=1)["overlap"] for n in (0, 1))
    torch.testing.assert_close(phrase_losses(draw_logits(), MASKS, overlap=1)["overlap"], (one + other) / 2)


def test_the_order_of_phrases_and_of_pixels_does_not_matter():
    def function(logits: Tensor, masks: Tensor) -> Tensor:
        return phrase_losses(logits, masks, overlap=0.5)["total"]

    logits, order = draw_logits(), torch.tensor([2, 0, 1])
    expected = function(logits, MASKS)
    torch.testing.assert_close(function(logits[order], MASKS[order]), expected)
    torch.testing.assert_close(function(logits.flip(1, 2), MASKS.flip(1, 2)), expected)
    torch.testing.assert_close(function(logits.mT, MASKS.mT), expected)


@pytest.mark.parametrize("masks", [MASKS, NOTHING], ids=["some", "nothing"])
def test_gradients_of_the_overlap_term_are_those_of_the_formula(masks):
    logits = draw_logits().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: phrase_losses(x, masks, overlap=0.5)["overlap"], [logits])


@pytest.mark.parametrize("masks", [MASKS, NOTHING], ids=["some", "nothing"])
def test_gradients_of_the_total_are_the_errors_of_the_scores_and_the_weighted_overlap_terms(masks):
    logits = draw_logits().requires_grad_()
    terms = phrase_losses(logits, masks, overlap=0.5)
    total, apart = (torch.autograd.grad(terms[n], logits, retain_graph=True)[0] for n in ("total", "overlap"))
    error = (logits.detach().sigmoid() - masks.double()) / masks.numel()
    torch.testing.assert_close(total, error + 0.5 * apart)


@pytest.mark.parametrize(("term", "phrases"), [("cross_entropy", {0, 1, 2}), ("overlap", {0, 1})])
def test_each_term_has_a_gradient_at_every_pixel_of_the_phrases_that_it_reads(term, phrases):
    logits = draw_logits().requires_grad_()
    phrase_losses(logits, MASKS, overlap=0.5)[term].backward()
    assert {n for n in range(3) if (logits.grad[n] != 0).all()} == phrases
    assert {n for n in range(3) if (logits.grad[n] != 0).any()} == phrases
