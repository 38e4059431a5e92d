"""The contrastive loss of CLIP (Radford et al., 2021), with captions that may be true of several images."""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor


def contrastive_loss(
    images: Float[Tensor, "B E"], texts: Float[Tensor, "C E"], truth: Bool[Tensor, "B C"], scale: Float[Tensor, ""]
) -> Float[Tensor, ""]:
    """Give the mean of both directions: images choose among captions, captions among images.

    Where several answers are right, each counts alike: the mean of their log-likelihoods (Khosla et al., 2020, "out").
    With one true caption an image and one image a caption this is CLIP's loss.

    Args:
        images: unit vectors.
        texts: unit vectors of the different captions.
        truth: whether a caption is true of an image; each image and each caption has at least one.
        scale: the inverse of the temperature.
    """
    logits = scale * images @ texts.T
    right = truth.float()
    of_images = (logits.log_softmax(1) * right).sum(1) / right.sum(1)
    of_texts = (logits.log_softmax(0) * right).sum(0) / right.sum(0)
    return -(of_images.mean() + of_texts.mean()) / 2
