"""Boundary IoU (Cheng et al., CVPR 2021) of label maps: which pixels lie near the edge of their own class."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Integer
from torch import Tensor

RATIO = 0.02
"""Width of the band, as a share of the image's diagonal (bowenc0221/boundary-iou-api)."""


def band_width(height: int, width: int, ratio: float = RATIO) -> int:
    """Give the width of the band in pixels, at least 1.

    >>> band_width(375, 500), band_width(1650, 2200)
    (12, 55)
    """
    return max(1, round(ratio * math.hypot(height, width)))


def boundary_band(labels: Integer[Tensor, "*B H W"], width: int) -> Bool[Tensor, "*B H W"]:
    """Tell which pixels belong to the inner boundary of their own class.

    These are the pixels of a class's mask that `width` erosions by a 3x3 square take away, with zeros around the image:
    the square of 2 `width` + 1 around them holds another label, or leaves the image. One pass serves all classes.

    Args:
        labels: class of each pixel; any numbers, "none" among them.
        width: of the band, in pixels (chessboard distance).
    """
    band = torch.ones_like(labels, dtype=torch.bool)
    inner_height, inner_width = (size - 2 * width for size in labels.shape[-2:])
    if inner_height <= 0 or inner_width <= 0:
        return band
    # A square is of one label if all its columns are, and its middle row.
    columns = _along(torch.logical_or, labels[..., 1:, :] != labels[..., :-1, :], 2 * width, -2)
    middle = labels[..., width : width + inner_height, :]
    rows = middle[..., 1:] != middle[..., :-1]
    changes = _along(torch.logical_or, columns[..., :-1] | rows, 2 * width, -1) | columns[..., 2 * width :]
    band[..., width : width + inner_height, width : width + inner_width] = changes
    return band


def label_map_border(labels: Integer[Tensor, "*B H W"], width: int) -> Integer[Tensor, "*B H W"]:
    """Give what the published evaluator takes for boundaries: each label minus the smallest label around it.

    It erodes the map of class numbers as if it were a mask (detectron2 and part-clipseg, `_mask_to_boundary`), so the
    result is no class, depends on the order of the classes, and interiors become class 0. For comparison alone.

    Args:
        labels: class of each pixel, not negative; zeros are put around the image.
        width: half the window, in pixels.
    """
    least = labels
    for dim, padding in ((-2, (0, 0, width, width)), (-1, (width, width))):
        least = _along(torch.minimum, F.pad(least, padding), 2 * width + 1, dim)
    return labels - least


def _along(combine: Callable[[Tensor, Tensor], Tensor], values: Tensor, count: int, dim: int) -> Tensor:
    """Combine, at each place along `dim`, `count` values from there on: in log2(count) steps."""
    reach = 1
    while reach < count:
        step = min(reach, count - reach)
        length = values.shape[dim] - step
        values = combine(values.narrow(dim, 0, length), values.narrow(dim, step, length))
        reach += step
    return values
