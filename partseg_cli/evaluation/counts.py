"""Integer counts of one label map against another: all that any counting rule needs, gathered in one pass.

Which pixels and classes a rule lets count is decided later, by `rules.py`, from these counts alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Int, Integer
from torch import Tensor

from partseg_cli.evaluation.boundary import RATIO, band_width, boundary_band, label_map_border

FIELDS = (
    "hit",  # labelled and predicted as the class
    "target",  # labelled as the class
    "missed",  # of these, predicted as nothing
    "predicted",  # predicted as the class where some part is labelled
    "anywhere",  # predicted as the class, on any pixel
    "band_hit",  # in the boundary band of the class in both maps, where some part is labelled
    "band_target",
    "band_predicted",
    "whole_band_hit",  # the same, but the band of the prediction is that of the whole map
    "whole_band_predicted",
    "map_hit",  # as the first five, of the published "boundary": the label map minus its local minimum
    "map_target",
    "map_missed",
    "map_predicted",
    "map_anywhere",
)
"""What is counted of each class, in pixels; the last class stands for none."""

MAP_CLASSES = 255
"""From so many classes on the published boundary is not defined: its label maps have 8 bits."""


@dataclass(frozen=True)
class ConfusionCounts:
    """The counts of one sample.

    Attributes:
        classes: those with any count, ascending; the number of classes stands for none.
        values: of each, in the order of `FIELDS`.
        cells: indices (predicted, labelled), made one number, of a confusion matrix with none as its last class.
        pixels: of each cell.
    """

    classes: Int[np.ndarray, "C"]
    values: Int[np.ndarray, "C F"]
    cells: Int[np.ndarray, "E"]
    pixels: Int[np.ndarray, "E"]


def count(
    prediction: Integer[Tensor, "H W"],
    target: Integer[Tensor, "H W"],
    classes: int,
    ratio: float = RATIO,
    apart: Sequence[Bool[Tensor, "H W"]] = (),
) -> ConfusionCounts:
    """Count one predicted label map against the labelled one, on their device.

    Args:
        prediction: class of each pixel, -1 = none.
        target: the same, as labelled.
        classes: number of classes.
        ratio: width of the boundary band, as a share of the diagonal.
        apart: areas, disjoint, whose published boundaries are taken one by one: of objects that are samples of their
            own there. None: the boundary of the whole. All other counts are the same in either case.

    Raises:
        ValueError: a label is outside -1 ... classes - 1.
    """
    _check(prediction, target, classes)
    width = band_width(prediction.shape[0], prediction.shape[1], ratio)
    labelled, guess = _small(target, classes), _small(prediction, classes)
    is_nowhere = (labelled == classes).to(labelled.dtype)
    clipped = torch.maximum(guess, is_nowhere * classes)  # none is the largest number
    bands = boundary_band(torch.stack([labelled, clipped, guess]), width).view(torch.uint8)
    flags = bands[0] | bands[1] << 1 | bands[2] << 2
    joint = _count_pairs(labelled, guess, classes, flags)
    table = joint.sum(2)
    fields = _first_five(table) + _bands(joint)
    fields += _first_five(_map_borders(torch.stack([labelled, clipped]), classes, width, apart))
    return _sparse(torch.stack(fields, 1), table.T)


def _small(labels: Integer[Tensor, "H W"], classes: int) -> Integer[Tensor, "H W"]:
    """Make none the last class, and the numbers as short as they can be."""
    if classes < MAP_CLASSES:
        return labels.to(torch.uint8).clamp_(max=classes)  # -1 becomes 255
    return labels.int().masked_fill_(labels < 0, classes)


def _count_pairs(
    labelled: Integer[Tensor, "H W"],
    guess: Integer[Tensor, "H W"],
    classes: int,
    flags: Integer[Tensor, "H W"] | None = None,
) -> Integer[Tensor, "K1 K1 _"]:
    """Count pixels by (labelled, predicted, flags); there are 8 kinds of flags, or none."""
    size = classes + 1
    cell = labelled.int().mul_(size).add_(guess.int())
    if flags is not None:
        cell = cell.mul_(8).add_(flags.int())
    kinds = 1 if flags is None else 8
    return torch.bincount(cell.flatten(), minlength=size * size * kinds).view(size, size, kinds)


def _map_borders(
    maps: Integer[Tensor, "2 H W"], classes: int, width: int, apart: Sequence[Bool[Tensor, "H W"]]
) -> Integer[Tensor, "K1 K1"]:
    """Count the pixels of the published boundaries by (labelled, predicted); none from `MAP_CLASSES` on."""
    total = torch.zeros(classes + 1, classes + 1, dtype=torch.long, device=maps.device)
    if classes >= MAP_CLASSES:
        return total
    for each in [torch.where(area, maps, classes) for area in apart] or [maps]:
        labelled, guess = label_map_border(each, width)
        total += _count_pairs(labelled, guess, classes)[..., 0]
    return total


def _bands(joint: Integer[Tensor, "K1 K1 8"]) -> list[Integer[Tensor, "K1"]]:
    """Give the counts of the true boundary."""
    flags = torch.arange(8, device=joint.device)
    in_target, in_clipped, in_whole = ((flags & bit > 0).long() for bit in (1, 2, 4))
    both = joint.diagonal(dim1=0, dim2=1).T
    by_target, by_guess, outside = joint.sum(1), joint[:-1].sum(0), joint[-1]
    return [
        (both * in_target * in_clipped).sum(1),
        (by_target * in_target).sum(1),
        (by_guess * in_clipped).sum(1),
        (both * in_target * in_whole).sum(1),
        ((by_guess + outside) * in_whole).sum(1),
    ]


def _first_five(table: Integer[Tensor, "K1 K1"]) -> list[Integer[Tensor, "K1"]]:
    """Give hit, target, missed, predicted and anywhere of a table (labelled, predicted)."""
    predicted = table[:-1].sum(0)
    return [table.diagonal().clone(), table.sum(1), table[:, -1].clone(), predicted, predicted + table[-1]]


def _sparse(fields: Integer[Tensor, "K1 F"], confusion: Integer[Tensor, "K1 K1"]) -> ConfusionCounts:
    """Keep what is not zero: an image shows few classes."""
    values, cells = fields.cpu().numpy(), confusion.flatten().cpu().numpy()
    classes, filled = np.flatnonzero(values.any(1)), np.flatnonzero(cells)
    return ConfusionCounts(classes, values[classes], filled, cells[filled])


def _check(prediction: Integer[Tensor, "H W"], target: Integer[Tensor, "H W"], classes: int) -> None:
    for name, labels in (("prediction", prediction), ("target", target)):
        if labels.numel():
            low, high = (int(value) for value in labels.aminmax())
            if low < -1 or high >= classes:
                raise ValueError(f"{name} must lie in -1 ... {classes - 1}, got {low} ... {high}")
