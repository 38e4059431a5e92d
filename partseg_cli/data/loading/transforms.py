"""Transforms from images and label maps to the square that a model reads."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from PIL import Image
from torch import Tensor

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""RGB statistics that CLIPSeg normalises with (CLIP's own differ)."""


def image_to_tensor(image: Image.Image, size: int, channel_order: str = "rgb") -> Float[Tensor, "3 {size} {size}"]:
    """Convert an image to a normalised square: antialiased bilinear resize in uint8, aspect ratio not kept.

    `channel_order` "bgr" exchanges red and blue *before* the RGB statistics are applied, as published training did.
    """
    pixels = np.asarray(resize_to_square(image, size))
    if channel_order == "bgr":
        pixels = pixels[:, :, ::-1]
    return normalise(torch.from_numpy(pixels.copy()).permute(2, 0, 1))


def resize_to_square(image: Image.Image, size: int) -> Image.Image:
    """Resize an image to size x size pixels, bilinearly."""
    return image.resize((size, size), Image.Resampling.BILINEAR)


def normalise(pixels: UInt8[Tensor, "*B 3 H W"]) -> Float[Tensor, "*B 3 H W"]:
    """Convert 8-bit RGB to the normalised values that a model reads."""
    mean, std = (torch.tensor(values, device=pixels.device)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    return pixels.float().div_(255).sub_(mean).div_(std)


def shortest_edge_size(height: int, width: int, shortest: int, longest: int) -> tuple[int, int]:
    """Return (height, width) with the shorter edge at `shortest`, or less where the longer would exceed `longest`.

    >>> shortest_edge_size(375, 500, 800, 1333)
    (800, 1067)
    """
    scale = min(shortest / min(height, width), longest / max(height, width))
    return max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))


def nearest_indices(before: int, after: int) -> Int[np.ndarray, "{after}"]:
    """Return the source row of each row of a resize, by the floor rule of torch's "nearest".

    >>> nearest_indices(352, 22)[:3]
    array([ 0, 16, 32])
    """
    rows: Int[np.ndarray, "{after}"] = (
        np.floor(np.arange(after, dtype=np.float32) * np.float32(before / after)).astype(np.int64).clip(max=before - 1)
    )
    return rows
