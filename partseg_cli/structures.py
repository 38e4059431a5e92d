"""The small records as which data, models, losses and inference meet."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int, Num
from torch import Tensor


class Labels(NamedTuple):
    """What the pixels of a batch are, in the numbering of the training vocabulary.

    Attributes:
        pairs: object-specific part, -1 = none.
        objects: object, -1 = none of the vocabulary.
        background: pixels trained as background.
    """

    pairs: Int[Tensor, "B H W"]
    objects: Int[Tensor, "B H W"]
    background: Bool[Tensor, "B H W"]

    def image(self, index: int) -> Labels:
        """Give the labels of one image, as a batch of one."""
        return Labels(*(value[index : index + 1] for value in self))

    def on(self, device: torch.device) -> Labels:
        """Give the labels on a device, as indices there; between processes they travel in fewer bytes."""
        pairs, objects, background = (plane.to(device, non_blocking=True) for plane in self)
        return Labels(pairs.long(), objects.long(), background)


class Batch(NamedTuple):
    """Training images and their labels.

    Attributes:
        images: resized; normalised where they are used, see `data.transforms.normalise`.
        labels: at the same size.
        image_ids: which images these are.
    """

    images: Num[Tensor, "B 3 H W"]
    labels: Labels
    image_ids: tuple[str, ...]


class Attention(NamedTuple):
    """The attention of one layer, before it is multiplied out: a loss reads few of its T n n values.

    The map of a prompt is softmax(queries keys^T d^-0.5) averaged over the G heads, without the row and column of CLS,
    which is the first of N = 1 + n tokens.

    Attributes:
        queries: of each image, prompt and head.
        keys: of the same.
    """

    queries: Float[Tensor, "*S G N d"]
    keys: Float[Tensor, "*S G N d"]

    def of_image(self, index: int) -> Attention:
        """Give the attention of one image, without the axis of images."""
        return Attention(self.queries[index], self.keys[index])


class Logits(NamedTuple):
    """What a model gives for a vocabulary of K pairs, P parts and O objects.

    Attributes:
        pairs: K object-specific parts, then the background.
        objects: O objects, then the background; None means that the model has no object gate.
        parts: the P generalised parts.
        attention: of the decoder's last layer, for the T = P+O+1 prompts (parts, objects, background).

    Parts and attention are what losses read, and None unless asked for.
    """

    pairs: Float[Tensor, "B K1 H W"]
    objects: Float[Tensor, "B O1 H W"] | None = None
    parts: Float[Tensor, "B P H W"] | None = None
    attention: Attention | None = None

    def image(self, index: int) -> Logits:
        """Give the logits of one image, as a batch of one."""
        one = slice(index, index + 1)
        return Logits(
            self.pairs[one],
            None if self.objects is None else self.objects[one],
            None if self.parts is None else self.parts[one],
            None if self.attention is None else Attention(*(value[one] for value in self.attention)),
        )
