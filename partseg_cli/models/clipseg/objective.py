"""Losses of CLIPSeg: as fine-tuned on parts in OV-PARTS, and for pretraining its decoder on phrases."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from partseg_cli.models.losses.masks import mean_terms, pair_loss
from partseg_cli.structures import Labels, Logits


class CLIPSegLoss:
    """Cross-entropy of the pairs and the background.

    Args:
        background_weight: Weight of the background channel (published 0.05).
        loss_mean: "image" or "batch", see `mean_terms`.
    """

    def __init__(self, *, background_weight: float, loss_mean: str) -> None:
        self.background_weight, self.loss_mean = background_weight, loss_mean

    def __call__(self, logits: Logits, labels: Labels) -> dict[str, Float[Tensor, ""]]:
        """Compute the only term, under its name and as `total`."""
        terms = mean_terms(self._terms, logits, labels, loss_mean=self.loss_mean)
        return {**terms, "total": terms["object_part"]}

    def _terms(self, logits: Logits, labels: Labels) -> dict[str, Float[Tensor, ""]]:
        labelled = (labels.pairs >= 0) | (labels.objects >= 0) | labels.background
        loss = pair_loss(logits.pairs.float(), labels.pairs, labelled, background_weight=self.background_weight)
        return {"object_part": loss}


def phrase_losses(
    logits: Float[Tensor, "S H W"], masks: Bool[Tensor, "S H W"], *, overlap: float
) -> dict[str, Float[Tensor, ""]]:
    """Compute binary cross-entropy as in CLIPSeg, an overlap term, and their sum.

    The overlap term is 1 - Dice (Milletari et al., 2016) of the scores, averaged over the phrases that have pixels, so
    that a small part has the weight of a large one. It is 0 if no phrase has pixels.

    Args:
        logits: Logits of S phrases.
        masks: Pixels of the phrases.
        overlap: Weight of the overlap term.

    Example:
        >>> import torch
        >>> mask = torch.tensor([[[True, False]]])
        >>> terms = phrase_losses(torch.zeros(1, 1, 2), mask, overlap=0.5)
        >>> {name: round(term.item(), 4) for name, term in terms.items()}
        {'cross_entropy': 0.6931, 'overlap': 0.5, 'total': 0.9431}
    """
    target = masks.to(logits.dtype)
    cross_entropy = F.binary_cross_entropy_with_logits(logits, target)
    present = masks.flatten(1).any(1)
    scores, target = logits[present].sigmoid().flatten(1), target[present].flatten(1)
    dice = 2 * (scores * target).sum(1) / (scores.sum(1) + target.sum(1))
    term = (1 - dice).sum() / present.sum().clamp(min=1)
    return {"cross_entropy": cross_entropy, "overlap": term, "total": cross_entropy + overlap * term}
