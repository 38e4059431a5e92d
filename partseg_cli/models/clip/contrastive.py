"""CLIP as it is trained: both towers, compared."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from partseg_cli.models.backbones import Backbone
from partseg_cli.models.clip.model import Clip


class ContrastiveClip(nn.Module):
    """A CLIP whose weights have the names that they have in CLIPSeg.

    Args:
        backbone: whose CLIP it is.
        drop_tokens: share of the patches that training leaves out.
        scale: inverse of the temperature at the start.
        max_scale: its limit.
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
        """The inverse of the temperature."""
        scale: Float[Tensor, ""] = self.clip.clip.logit_scale.exp().clamp(max=self.max_scale)
        return scale

    def forward(
        self, images: Float[Tensor, "B 3 H W"], captions: tuple[str, ...]
    ) -> tuple[Float[Tensor, "B E"], Float[Tensor, "C E"]]:
        """Give unit vectors of images and captions."""
        return self.clip.image_embeddings(images).float(), self.text_embeddings(captions)

    def text_embeddings(self, captions: tuple[str, ...]) -> Float[Tensor, "C E"]:
        """Give unit vectors of captions."""
        return F.normalize(self.clip.text_embeddings(captions).float(), dim=-1)
