"""Loss of PartCLIPSeg: mask losses plus weighted attention losses."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from partseg_cli.models.losses.attention import attention_losses
from partseg_cli.models.losses.masks import mean_terms, object_loss, object_part_loss, part_loss
from partseg_cli.structures import Labels, Logits


class PartCLIPSegLoss:
    """Objective of PartCLIPSeg for one training vocabulary.

    Args:
        part_of: For each pair its generalised part.
        object_of: For each pair its object.
        lambda_obj: Weight of the object term (published 1, as lambda_part).
        lambda_part: Weight of the part term.
        lambda_sep: Weight of the separation term (published 0.1).
        lambda_enh: Weight of the enhancement term (published 0.01).
        gamma: Activity threshold of the separation term (published 0.3).
        tau: Width of the sigmoid that softens the threshold.
        background_weight: Weight of the background channel (published 0.05).
        mask_mean: "paper" or "published", see `part_attention`.
        separation: "soft" trains with the softened term; "hard" adds the published one, which has no gradient.
        parts_per_object: "own" or "image", see `attention_losses`.
        loss_mean: "image" or "batch", see `mean_terms`.
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
        """Compute each term, unweighted, and their weighted sum `total`."""
        terms = mean_terms(self._terms, logits, labels, loss_mean=self.loss_mean)
        return {**terms, "total": torch.stack([self.weights[name] * term for name, term in terms.items()]).sum()}

    def _terms(self, logits: Logits, labels: Labels) -> dict[str, Float[Tensor, ""]]:
        pairs, objects, background = labels
        weight = self.background_weight
        terms = {"object_part": object_part_loss(logits.pairs.float(), pairs, background, background_weight=weight)}
        if logits.objects is not None:
            terms["object"] = object_loss(logits.objects.float(), objects, background, background_weight=weight)
        if logits.parts is not None:
            parts = torch.where(pairs >= 0, self.part_of[pairs.clamp(min=0)], -1)
            terms["part"] = part_loss(logits.parts.float(), parts)
        if logits.attention is not None and logits.parts is not None:
            side = math.isqrt(logits.attention.queries.shape[-2])
            attention = attention_losses(
                logits.attention,
                pairs,
                objects,
                grid=(side, side),
                part_of=self.part_of,
                object_of=self.object_of,
                parts=logits.parts.shape[1],
                gamma=self.gamma,
                tau=self.tau,
                mask_mean=self.mask_mean,
                parts_per_object=self.parts_per_object,
            )
            terms["separation"] = attention.separation_soft
            terms["separation_hard"] = attention.separation_hard
            terms["enhancement"] = attention.enhancement
        return terms
