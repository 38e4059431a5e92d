"""The whole objective: mask losses plus weighted attention losses."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from partseg_cli.models.losses.attention import attention_losses
from partseg_cli.models.losses.masks import object_loss, object_part_loss, part_loss
from partseg_cli.structures import Attention, Labels, Logits


class PartCLIPSegLoss:
    """The objective of PartCLIPSeg for one training vocabulary.

    Args:
        part_of: for each pair its generalised part.
        object_of: for each pair its object.
        lambda_obj: weight of the object term (published 1, as lambda_part).
        lambda_part: weight of the part term.
        lambda_sep: weight of the separation term (published 0.1).
        lambda_enh: weight of the enhancement term (published 0.01).
        gamma: activity threshold of the separation term (published 0.3).
        tau: width of the sigmoid that softens it.
        background_weight: of the background channel (published 0.05).
        mask_mean: "paper" or "published", see `attention.part_attention`.
        separation: "soft" trains with the softened term, "hard" adds the published one, which has no gradient.
        parts_per_object: "own" or "image", see `attention.attention_losses`.
        loss_mean: "image": each term is taken per image and averaged, so that the layout of devices does not change
            it; "batch": the pixels of the batch are pooled.
    """

    def __init__(
        self,
        part_of: Int[Tensor, "K"],
        object_of: Int[Tensor, "K"],
        *,
        lambda_obj: float,
        lambda_part: float,
        lambda_sep: float,
        lambda_enh: float,
        gamma: float,
        tau: float,
        background_weight: float,
        mask_mean: str,
        separation: str,
        parts_per_object: str,
        loss_mean: str,
    ) -> None:
        self.part_of, self.object_of = part_of, object_of
        self.weights = {
            "object_part": 1.0,
            "object": lambda_obj,
            "part": lambda_part,
            "separation": lambda_sep if separation == "soft" else 0.0,
            "separation_hard": lambda_sep if separation == "hard" else 0.0,
            "enhancement": lambda_enh,
        }
        self.background_weight = background_weight
        self.gamma, self.tau = gamma, tau
        self.mask_mean, self.parts_per_object = mask_mean, parts_per_object
        self.loss_mean = loss_mean

    def __call__(self, logits: Logits, labels: Labels) -> dict[str, Float[Tensor, ""]]:
        """Give each term alone, unweighted, and their weighted sum `total`."""
        labels = resized(labels, logits.pairs.shape[-2:])
        if self.loss_mean == "batch":
            terms = self._terms(logits, labels)
        else:
            images = [self._terms(logits.image(i), labels.image(i)) for i in range(len(logits.pairs))]
            terms = {name: torch.stack([image[name] for image in images]).mean() for name in images[0]}
        return {**terms, "total": torch.stack([self.weights[name] * term for name, term in terms.items()]).sum()}

    def _terms(self, logits: Logits, labels: Labels) -> dict[str, Float[Tensor, ""]]:
        pairs, objects, outside = labels
        weight = self.background_weight
        terms = {"object_part": object_part_loss(logits.pairs.float(), pairs, outside, background_weight=weight)}
        if logits.objects is not None:
            terms["object"] = object_loss(logits.objects.float(), objects, outside, background_weight=weight)
        if logits.parts is not None:
            parts = torch.where(pairs >= 0, self.part_of[pairs.clamp(min=0)], -1)
            terms["part"] = part_loss(logits.parts.float(), parts)
        if logits.attention is not None and logits.parts is not None:
            terms |= self._attention_terms(logits.attention, logits.parts.shape[1], labels)
        return terms

    def _attention_terms(self, attention: Attention, parts: int, labels: Labels) -> dict[str, Float[Tensor, ""]]:
        side = math.isqrt(attention.queries.shape[-2])
        terms = attention_losses(
            attention,
            labels.pairs,
            labels.objects,
            grid=(side, side),
            part_of=self.part_of,
            object_of=self.object_of,
            parts=parts,
            gamma=self.gamma,
            tau=self.tau,
            mask_mean=self.mask_mean,
            parts_per_object=self.parts_per_object,
        )
        return {
            "separation": terms.separation_soft,
            "separation_hard": terms.separation_hard,
            "enhancement": terms.enhancement,
        }


def resized(labels: Labels, size: torch.Size) -> Labels:
    """Bring labels to the size of the logits, by the floor rule of "nearest"."""
    if labels.pairs.shape[-2:] == size:
        return labels
    planes = torch.stack([value.float() for value in labels], dim=1)
    pairs, objects, outside = F.interpolate(planes, size=list(size), mode="nearest").unbind(1)
    return Labels(pairs.long(), objects.long(), outside.bool())
