"""Mask losses: binary cross-entropy of object-specific parts, parts and objects (Eq. 5).

Labels are class indices, -1 where a pixel has none. All means divide by pixels x channels. The cross-entropy of a
one-hot target is softplus(x) summed over channels minus the logit of the labelled channel, so no target stack is built.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from partseg_cli.structures import Labels, Logits


def mean_terms(
    terms: Callable[[Logits, Labels], dict[str, Float[Tensor, ""]]], logits: Logits, labels: Labels, *, loss_mean: str
) -> dict[str, Float[Tensor, ""]]:
    """Compute loss terms as a mean over images, or over the pooled pixels of the batch.

    Args:
        terms: Function from logits and labels of the same size to loss terms.
        logits: Logits of the batch.
        labels: Labels of any size; they are resized by the floor rule of "nearest".
        loss_mean: "image": the mean of each image's terms, which does not depend on how a batch is split between
            devices. "batch": the pixels of the batch are pooled.
    """
    size = logits.pairs.shape[-2:]
    if labels.pairs.shape[-2:] != size:
        planes = torch.stack([value.float() for value in labels], dim=1)
        pairs, objects, background = F.interpolate(planes, size=list(size), mode="nearest").unbind(1)
        labels = Labels(pairs.long(), objects.long(), background.bool())
    if loss_mean == "batch":
        return terms(logits, labels)
    images = [terms(logits.image(index), labels.image(index)) for index in range(len(logits.pairs))]
    return {name: torch.stack([image[name] for image in images]).mean() for name in images[0]}


def object_part_loss(
    logits: Float[Tensor, "B K1 H W"],
    pairs: Int[Tensor, "B H W"],
    background: Bool[Tensor, "B H W"],
    *,
    background_weight: float,
) -> Float[Tensor, ""]:
    """Compute the loss of the K object-specific parts and the background, the last channel.

    Two means are added: over part-labelled pixels, and over the pixels trained as background. Pixels inside an object
    but without a part are left out. A mean over no pixel is 0, where the published code returns NaN for an image
    without background pixels. As published, the second mean is left out if every pixel is background.

    Example:
        >>> pairs = torch.tensor([[[0, -1]]])
        >>> loss = object_part_loss(torch.zeros(1, 2, 1, 2), pairs, pairs < 0, background_weight=0.05)
        >>> round(loss.item(), 4)  # 2 means x log(2) x (1 + 0.05) / 2 channels
        0.7278
    """
    weights = _channel_weights(logits, background_weight)
    absent = _all_absent(logits, weights)
    loss = _cross_entropy(logits, pairs, pairs >= 0, weights, absent)
    if background.all():
        return loss
    target = torch.full_like(pairs, logits.shape[1] - 1)
    return loss + _cross_entropy(logits, target, background, weights, absent)


def pair_loss(
    logits: Float[Tensor, "B K1 H W"],
    pairs: Int[Tensor, "B H W"],
    labelled: Bool[Tensor, "B H W"],
    *,
    background_weight: float,
) -> Float[Tensor, ""]:
    """Compute CLIPSeg's loss as in OV-PARTS: all labelled pixels alike, those without a pair as background.

    Unlike in `object_part_loss`, pixels inside an object but without a part are trained as background.

    Example:
        >>> pairs = torch.tensor([[[0, -1]]])
        >>> everywhere = torch.ones_like(pairs, dtype=torch.bool)
        >>> round(pair_loss(torch.zeros(1, 2, 1, 2), pairs, everywhere, background_weight=0.05).item(), 4)
        0.3639
    """
    weights = _channel_weights(logits, background_weight)
    target = torch.where(pairs >= 0, pairs, logits.shape[1] - 1)
    return _cross_entropy(logits, target, labelled, weights, _all_absent(logits, weights))


def part_loss(logits: Float[Tensor, "B P H W"], parts: Int[Tensor, "B H W"]) -> Float[Tensor, ""]:
    """Compute the loss of the generalised parts over part-labelled pixels; 0 if there are none.

    Example:
        >>> round(part_loss(torch.zeros(1, 3, 1, 2), torch.tensor([[[2, -1]]])).item(), 4)  # log(2)
        0.6931
    """
    weights = logits.new_ones(logits.shape[1])
    return _cross_entropy(logits, parts, parts >= 0, weights, _all_absent(logits, weights))


def object_loss(
    logits: Float[Tensor, "B O1 H W"],
    objects: Int[Tensor, "B H W"],
    background: Bool[Tensor, "B H W"],
    *,
    background_weight: float,
) -> Float[Tensor, ""]:
    """Compute the loss of the O objects and the background, over pixels in an object or the background.

    Example:
        >>> objects = torch.tensor([[[0, -1]]])
        >>> round(object_loss(torch.zeros(1, 2, 1, 2), objects, objects < 0, background_weight=1.0).item(), 4)
        0.6931
    """
    target = torch.where(objects >= 0, objects, logits.shape[1] - 1)
    weights = _channel_weights(logits, background_weight)
    return _cross_entropy(logits, target, (objects >= 0) | background, weights, _all_absent(logits, weights))


def _channel_weights(logits: Float[Tensor, "B C H W"], background_weight: float) -> Float[Tensor, "C"]:
    weights = logits.new_ones(logits.shape[1])
    weights[-1] = background_weight
    return weights


def _all_absent(logits: Float[Tensor, "B C H W"], weights: Float[Tensor, "C"]) -> Float[Tensor, "B H W"]:
    """Compute each pixel's cross-entropy, summed over channels, as if it had no label."""
    absent: Float[Tensor, "B H W"] = torch.einsum("bchw,c->bhw", F.softplus(logits), weights)
    return absent


def _cross_entropy(
    logits: Float[Tensor, "B C H W"],
    target: Int[Tensor, "B H W"],
    labelled: Bool[Tensor, "B H W"],
    weights: Float[Tensor, "C"],
    absent: Float[Tensor, "B H W"],
) -> Float[Tensor, ""]:
    """Compute the weighted binary cross-entropy, averaged over labelled pixels x channels; see `_all_absent`."""
    channel = target.clamp(min=0)
    present = logits.gather(1, channel[:, None])[:, 0] * weights[channel]
    total = torch.where(labelled, absent - present, 0).sum()
    return total / (labelled.sum().clamp(min=1) * logits.shape[1])
