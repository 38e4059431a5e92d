"""The objective of CLIPSeg as it is fine-tuned on parts in OV-PARTS."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from partseg_cli.models.losses.masks import pair_loss
from partseg_cli.models.partclipseg.objective import resized
from partseg_cli.structures import Labels, Logits


class CLIPSegLoss:
    """Cross-entropy of the pairs and the background.

    Args:
        background_weight: of the background channel (published 0.05).
        loss_mean: "image": the mean is taken per image and averaged; "batch": the pixels of the batch are pooled.
    """

    def __init__(self, *, background_weight: float, loss_mean: str) -> None:
        self.background_weight, self.loss_mean = background_weight, loss_mean

    def __call__(self, logits: Logits, labels: Labels) -> dict[str, Float[Tensor, ""]]:
        """Give the one term, under its name and as `total`."""
        labels = resized(labels, logits.pairs.shape[-2:])
        if self.loss_mean == "batch":
            term = self._term(logits, labels)
        else:
            images = range(len(logits.pairs))
            term = torch.stack([self._term(logits.image(i), labels.image(i)) for i in images]).mean()
        return {"object_part": term, "total": term}

    def _term(self, logits: Logits, labels: Labels) -> Float[Tensor, ""]:
        counted = (labels.pairs >= 0) | (labels.objects >= 0) | labels.background
        return pair_loss(logits.pairs.float(), labels.pairs, counted, background_weight=self.background_weight)
