"""The small records as which data, models, losses and inference meet."""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Bool, Float, Int
from torch import Tensor


class Labels(NamedTuple):
    """What the pixels of a batch are, in the numbering of the training vocabulary.

    Attributes:
        pairs: object-specific part, -1 = none.
        objects: object, -1 = none of the vocabulary.
        outside: trained as background.
    """

    pairs: Int[Tensor, "B H W"]
    objects: Int[Tensor, "B H W"]
    outside: Bool[Tensor, "B H W"]

    def image(self, index: int) -> Labels:
        """Give the labels of one image, as a batch of one."""
        return Labels(*(value[index : index + 1] for value in self))


class Batch(NamedTuple):
    """Training images and their labels.

    Attributes:
        images: resized and normalised.
        labels: at the same size.
        image_ids: which images these are.
    """

    images: Float[Tensor, "B 3 H W"]
    labels: Labels
    image_ids: tuple[str, ...]


class Logits(NamedTuple):
    """What a model gives for a vocabulary of K pairs, P parts and O objects.

    Attributes:
        pairs: K object-specific parts, then the background.
        objects: O objects, then the background; None means that the model has no object gate.
        parts: the P generalised parts.
        attention: of the decoder's last layer, averaged over heads, among the n = h*w patch tokens, for the T = P+O+1
            prompts (parts, objects, background); None unless asked for.
    """

    pairs: Float[Tensor, "B K1 H W"]
    objects: Float[Tensor, "B O1 H W"] | None = None
    parts: Float[Tensor, "B P H W"] | None = None
    attention: Float[Tensor, "B T n n"] | None = None

    def image(self, index: int) -> Logits:
        """Give the logits of one image, as a batch of one."""
        return Logits(*(None if value is None else value[index : index + 1] for value in self))  # type: ignore[arg-type]
