"""The loss of phrases and their masks, for the start of a decoder."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor


def phrase_losses(
    logits: Float[Tensor, "S H W"], masks: Bool[Tensor, "S H W"], *, overlap: float
) -> dict[str, Float[Tensor, ""]]:
    """Give binary cross-entropy as CLIPSeg has it, an overlap term, and their sum.

    The overlap term is 1 - Dice (Milletari et al., 2016) with scores for pixels, a mean over the phrases that have any
    pixel; to a small part it gives the weight of a large one. It is 0 where no phrase has.

    Args:
        logits: of S phrases.
        masks: their pixels.
        overlap: weight of the overlap term.
    """
    target = masks.to(logits.dtype)
    entropy = F.binary_cross_entropy_with_logits(logits, target)
    present = masks.flatten(1).any(1)
    scores, there = logits[present].sigmoid().flatten(1), target[present].flatten(1)
    dice = 2 * (scores * there).sum(1) / (scores.sum(1) + there.sum(1))
    apart = (1 - dice).sum() / present.sum().clamp(min=1)
    return {"cross_entropy": entropy, "overlap": apart, "total": entropy + overlap * apart}


def mean_overlap(logits: Float[Tensor, "S H W"], masks: Bool[Tensor, "S H W"]) -> Float[Tensor, ""]:
    """Give the mean IoU, in [0, 1], of the phrases that have pixels, at the score 1/2; NaN where none has."""
    found, present = logits > 0, masks.flatten(1).any(1)
    both = (found & masks).flatten(1).sum(1)[present]
    either = (found | masks).flatten(1).sum(1)[present]
    return (both / either).mean()
