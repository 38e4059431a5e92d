"""Boundary bands of label maps, for the Boundary IoU (Cheng et al., CVPR 2021)."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Integer
from torch import Tensor

RATIO = 0.02
"""Width of the band as a fraction of the image diagonal (bowenc0221/boundary-iou-api)."""


def band_width(height: int, width: int, ratio: float = RATIO) -> int:
    """Return the width of the band in pixels, at least 1.

    >>> band_width(375, 500), band_width(1650, 2200)
    (12, 55)
    """
    return max(1, round(ratio * math.hypot(height, width)))


def boundary_band(labels: Integer[Tensor, "*B H W"], width: int) -> Bool[Tensor, "*B H W"]:
    """Return the inner boundary of every class, as one mask.

    It holds the pixels of a class's mask that `width` erosions by a 3x3 square remove, with zeros around the image: the
    square of 2 `width` + 1 around them holds another label, or leaves the image. One pass serves all classes.

    Args:
        labels: Class of each pixel; any numbers, void among them.
        width: Width of the band in pixels (chessboard distance).

    Example:
        >>> labels = torch.zeros(5, 7, dtype=torch.long)
        >>> boundary_band(labels, width=2).sum(1).tolist()
        [7, 7, 4, 7, 7]
    """
    band = torch.ones_like(labels, dtype=torch.bool)
    inner_height, inner_width = (size - 2 * width for size in labels.shape[-2:])
    if inner_height <= 0 or inner_width <= 0:
        return band
    # A square has one label if each of its columns and its middle row have.
    columns = _along(torch.logical_or, labels[..., 1:, :] != labels[..., :-1, :], 2 * width, -2)
    middle = labels[..., width : width + inner_height, :]
    rows = middle[..., 1:] != middle[..., :-1]
    changes = _along(torch.logical_or, columns[..., :-1] | rows, 2 * width, -1) | columns[..., 2 * width :]
    band[..., width : width + inner_height, width : width + inner_width] = changes
    return band


def label_map_border(labels: Integer[Tensor, "*B H W"], width: int) -> Integer[Tensor, "*B H W"]:
    """Return the "boundary" of the published evaluator: each label minus the smallest label around it.

    It erodes the map of class numbers as if it were a mask (detectron2 and part-clipseg, `_mask_to_boundary`), so the
    result is no class, depends on the order of the classes, and interiors become class 0. For comparison only.

    Args:
        labels: Class of each pixel, not negative; zeros are padded around the image.
        width: Half the window, in pixels.

    Example:
        >>> label_map_border(torch.tensor([[3, 3, 3, 5, 5]]), width=1).tolist()
        [[3, 3, 3, 5, 5]]
        >>> label_map_border(torch.full((3, 3), 4), width=1)[1].tolist()
        [4, 0, 4]
    """
    least = labels
    for dim, padding in ((-2, (0, 0, width, width)), (-1, (width, width))):
        least = _along(torch.minimum, F.pad(least, padding), 2 * width + 1, dim)
    return labels - least


def _along(combine: Callable[[Tensor, Tensor], Tensor], values: Tensor, count: int, dim: int) -> Tensor:
    """Combine each value along `dim` with the `count` - 1 after it, in log2(count) steps."""
    reach = 1
    while reach < count:
        step = min(reach, count - reach)
        length = values.shape[dim] - step
        values = combine(values.narrow(dim, 0, length), values.narrow(dim, step, length))
        reach += step
    return values
