"""Mask losses: binary cross-entropy of object-specific parts, parts and objects (Eq. 5).

Labels are class indices, -1 where a pixel has none. All means divide by pixels x channels. The cross-entropy of a
one-hot target is softplus(x) summed over channels minus the logit of the labelled channel, so no target stack is built.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor


def object_part_loss(
    logits: Float[Tensor, "B K1 H W"],
    pairs: Int[Tensor, "B H W"],
    outside: Bool[Tensor, "B H W"],
    *,
    background_weight: float,
) -> Float[Tensor, ""]:
    """Give the loss of the K object-specific parts and the background, the last channel.

    Two means are added: over part-labelled pixels, and over the pixels trained as background (`outside`). Pixels inside
    an object but without a part are left out. A mean over no pixel is 0, where the published code gives NaN for an
    image without outside pixels. As published, the second mean is left out where every pixel is outside.
    """
    weights = _channel_weights(logits, background_weight)
    absent = _all_absent(logits, weights)
    loss = _cross_entropy(logits, pairs, pairs >= 0, weights, absent)
    if outside.all():
        return loss
    background = torch.full_like(pairs, logits.shape[1] - 1)
    return loss + _cross_entropy(logits, background, outside, weights, absent)


def pair_loss(
    logits: Float[Tensor, "B K1 H W"],
    pairs: Int[Tensor, "B H W"],
    counted: Bool[Tensor, "B H W"],
    *,
    background_weight: float,
) -> Float[Tensor, ""]:
    """Give CLIPSeg's loss as in OV-PARTS: all `counted` pixels alike, those without a pair as background.

    Other than in `object_part_loss`, pixels inside an object but without a part are trained as background.
    """
    weights = _channel_weights(logits, background_weight)
    target = torch.where(pairs >= 0, pairs, logits.shape[1] - 1)
    return _cross_entropy(logits, target, counted, weights, _all_absent(logits, weights))


def part_loss(logits: Float[Tensor, "B P H W"], parts: Int[Tensor, "B H W"]) -> Float[Tensor, ""]:
    """Give the loss of the generalised parts, over part-labelled pixels; 0 if there are none."""
    weights = logits.new_ones(logits.shape[1])
    return _cross_entropy(logits, parts, parts >= 0, weights, _all_absent(logits, weights))


def object_loss(
    logits: Float[Tensor, "B O1 H W"],
    objects: Int[Tensor, "B H W"],
    outside: Bool[Tensor, "B H W"],
    *,
    background_weight: float,
) -> Float[Tensor, ""]:
    """Give the loss of the O objects and the background, over pixels in an object or `outside`."""
    target = torch.where(objects >= 0, objects, logits.shape[1] - 1)
    weights = _channel_weights(logits, background_weight)
    return _cross_entropy(logits, target, (objects >= 0) | outside, weights, _all_absent(logits, weights))


def _channel_weights(logits: Float[Tensor, "B C H W"], background_weight: float) -> Float[Tensor, "C"]:
    weights = logits.new_ones(logits.shape[1])
    weights[-1] = background_weight
    return weights


def _all_absent(logits: Float[Tensor, "B C H W"], weights: Float[Tensor, "C"]) -> Float[Tensor, "B H W"]:
    """Give each pixel's cross-entropy, summed over channels, as if it had no label."""
    absent: Float[Tensor, "B H W"] = torch.einsum("bchw,c->bhw", F.softplus(logits), weights)
    return absent


def _cross_entropy(
    logits: Float[Tensor, "B C H W"],
    target: Int[Tensor, "B H W"],
    labelled: Bool[Tensor, "B H W"],
    weights: Float[Tensor, "C"],
    absent: Float[Tensor, "B H W"],
) -> Float[Tensor, ""]:
    """Give the weighted binary cross-entropy, mean over labelled pixels x channels; `absent` is what its name says."""
    channel = target.clamp(min=0)
    present = logits.gather(1, channel[:, None])[:, 0] * weights[channel]
    total = torch.where(labelled, absent - present, 0).sum()
    return total / (labelled.sum().clamp(min=1) * logits.shape[1])
