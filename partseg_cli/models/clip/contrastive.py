"""Contrastive training of CLIP: both encoders, and the loss that compares images with captions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from partseg_cli.models.backbones import Backbone
from partseg_cli.models.clip.model import Clip


class ContrastiveClip(nn.Module):
    """CLIP whose weights have the names that they have in CLIPSeg.

    Args:
        backbone: Sizes of CLIP.
        drop_tokens: Share of the patches that training leaves out.
        scale: Initial inverse temperature.
        max_scale: Upper limit of the inverse temperature.
    """

    def __init__(self, backbone: Backbone, *, drop_tokens: float, scale: float, max_scale: float) -> None:
        super().__init__()
        self.clip = Clip(backbone)
        self.clip.drop_tokens(drop_tokens)
        self.max_scale = max_scale
        with torch.no_grad():
            self.clip.clip.logit_scale.fill_(scale).log_()

    @property
    def scale(self) -> Float[Tensor, ""]:
        """Inverse temperature."""
        scale: Float[Tensor, ""] = self.clip.clip.logit_scale.exp().clamp(max=self.max_scale)
        return scale

    def forward(
        self, images: Float[Tensor, "B 3 H W"], captions: tuple[str, ...]
    ) -> tuple[Float[Tensor, "B E"], Float[Tensor, "C E"]]:
        """Compute unit vectors of images and captions."""
        return self.clip.image_embeddings(images).float(), self.text_embeddings(captions)

    def text_embeddings(self, captions: tuple[str, ...]) -> Float[Tensor, "C E"]:
        """Compute unit vectors of captions."""
        return F.normalize(self.clip.text_embeddings(captions).float(), dim=-1)


def contrastive_loss(
    images: Float[Tensor, "B E"], texts: Float[Tensor, "C E"], truth: Bool[Tensor, "B C"], scale: Float[Tensor, ""]
) -> Float[Tensor, ""]:
    """Compute the contrastive loss of CLIP (Radford et al., 2021) with captions that may be true of several images.

    The loss is the mean of two cross-entropies: images choose among captions, and captions among images. Several right
    answers count alike, by the mean of their log-likelihoods (Khosla et al., 2020, "out").

    Args:
        images: Unit vectors.
        texts: Unit vectors of the distinct captions.
        truth: Whether a caption is true of an image; each image and each caption has at least one.
        scale: Inverse temperature.

    Example:
        >>> images = texts = torch.eye(2)
        >>> truth = torch.eye(2, dtype=torch.bool)
        >>> round(contrastive_loss(images, texts, truth, torch.tensor(2.0)).item(), 4)  # log(1 + exp(-2))
        0.1269
    """
    logits = scale * images @ texts.T
    right = truth.float()
    by_image = (logits.log_softmax(1) * right).sum(1) / right.sum(1)
    by_text = (logits.log_softmax(0) * right).sum(0) / right.sum(0)
    return -(by_image.mean() + by_text.mean()) / 2
