"""Small records shared by data, models, losses and inference."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int, Num
from torch import Tensor


class Labels(NamedTuple):
    """Label maps of a batch, in indices of the training vocabulary.

    Attributes:
        pairs: Object-specific part, -1 = none.
        objects: Object, -1 = none of the vocabulary.
        background: Pixels trained as background.
    """

    pairs: Int[Tensor, "B H W"]
    objects: Int[Tensor, "B H W"]
    background: Bool[Tensor, "B H W"]

    def image(self, index: int) -> Labels:
        """Return the labels of one image, as a batch of one."""
        return Labels(*(value[index : index + 1] for value in self))

    def on(self, device: torch.device) -> Labels:
        """Return the labels on a device as int64; between processes they are sent in fewer bytes."""
        pairs, objects, background = (plane.to(device, non_blocking=True) for plane in self)
        return Labels(pairs.long(), objects.long(), background)


class Batch(NamedTuple):
    """Training images and their labels.

    Attributes:
        images: Resized images, not yet normalised, see `data.loading.transforms.normalise`.
        labels: Label maps of the same size.
        image_ids: Ids of the images.
    """

    images: Num[Tensor, "B 3 H W"]
    labels: Labels
    image_ids: tuple[str, ...]


class Attention(NamedTuple):
    """Attention of one layer in factors: a loss reads few of the T n n values of the product.

    The map of a prompt is softmax(queries keys^T d^-0.5) averaged over the G heads, without the row and column of CLS,
    which is the first of N = 1 + n tokens.

    Attributes:
        queries: Queries of each image, prompt and head.
        keys: Keys of the same.
    """

    queries: Float[Tensor, "*S G N d"]
    keys: Float[Tensor, "*S G N d"]

    def of_image(self, index: int) -> Attention:
        """Return the attention of one image, without the batch axis."""
        return Attention(self.queries[index], self.keys[index])


class Logits(NamedTuple):
    """Output of a model for a vocabulary of K pairs, P parts and O objects.

    Attributes:
        pairs: Logits of the K object-specific parts, then the background.
        objects: Logits of the O objects, then the background; None if the model has no object gate.
        parts: Logits of the P generalised parts.
        attention: Attention of the decoder's last layer for the T = P+O+1 prompts (parts, objects, background).

    Parts and attention are for losses, and None unless requested.
    """

    pairs: Float[Tensor, "B K1 H W"]
    objects: Float[Tensor, "B O1 H W"] | None = None
    parts: Float[Tensor, "B P H W"] | None = None
    attention: Attention | None = None

    def image(self, index: int) -> Logits:
        """Return the logits of one image, as a batch of one."""
        one = slice(index, index + 1)
        return Logits(
            self.pairs[one],
            None if self.objects is None else self.objects[one],
            None if self.parts is None else self.parts[one],
            None if self.attention is None else Attention(*(value[one] for value in self.attention)),
        )
