"""Confusion counts of label maps, in pixels: every count that a counting rule needs, gathered in one pass.

Which pixels and classes a rule counts is decided later, by `rules.py`, from these counts alone. Void, a pixel without
label or prediction, is one more class, the last.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool, Int, Integer
from scipy.sparse import csr_array
from torch import Tensor

from partseg_cli.evaluation.boundary import RATIO, band_width, boundary_band, label_map_border

FIELDS = (
    "tp",  # labelled and predicted as the class
    "target",  # labelled as the class
    "missed",  # of these, predicted as void
    "pred",  # predicted as the class where a part is labelled
    "pred_anywhere",  # predicted as the class, on any pixel
    "band_tp",  # in the boundary band of the class in both maps, where a part is labelled
    "band_target",
    "band_pred",
    "whole_band_tp",  # the same, but the band of the prediction is that of the whole map
    "whole_band_pred",
    "map_tp",  # as the first five, of the published "boundary": the label map minus its local minimum
    "map_target",
    "map_missed",
    "map_pred",
    "map_pred_anywhere",
)
"""Counts of each class, in pixels."""
STORED_FIELDS = (
    *("hit", "target", "missed", "predicted", "anywhere"),
    *("band_hit", "band_target", "band_predicted", "whole_band_hit", "whole_band_predicted"),
    *("map_hit", "map_target", "map_missed", "map_predicted", "map_anywhere"),
)
"""The same fields by the names of the first version, which `counts.npz` keeps."""

MAP_CLASSES = 255
"""Number of classes from which on the published boundary is undefined: its label maps have 8 bits."""


@dataclass(frozen=True)
class ConfusionCounts:
    """Confusion counts of one sample, without zeros.

    Attributes:
        classes: Classes with any count, ascending; the number of classes is void.
        values: Counts of each, in the order of `FIELDS`.
        cells: Flat indices (predicted, labelled) into a confusion matrix with void as its last class.
        pixels: Pixels of each cell.
    """

    classes: Int[np.ndarray, "C"]
    values: Int[np.ndarray, "C F"]
    cells: Int[np.ndarray, "E"]
    pixels: Int[np.ndarray, "E"]


def count_pixels(
    prediction: Integer[Tensor, "H W"],
    target: Integer[Tensor, "H W"],
    classes: int,
    ratio: float = RATIO,
    object_areas: Sequence[Bool[Tensor, "H W"]] = (),
) -> ConfusionCounts:
    """Compare a predicted label map with its target, on their device.

    Args:
        prediction: Class of each pixel, -1 = void.
        target: Labelled class of each pixel, -1 = void.
        classes: Number of classes.
        ratio: Width of the boundary band as a fraction of the image diagonal.
        object_areas: Disjoint areas whose published boundaries are taken one by one, as published code has a sample for
            each object; none takes the boundary of the whole map. No other count depends on them.

    Raises:
        ValueError: A label is outside -1 ... classes - 1.

    Example:
        One of two labelled pixels is found, and one pixel without a label is predicted.

        >>> prediction, target = torch.tensor([[0, 1, 0]]), torch.tensor([[0, 0, -1]])
        >>> counts = count_pixels(prediction, target, classes=2)
        >>> dict(zip(FIELDS[:5], counts.values[0].tolist()))
        {'tp': 1, 'target': 2, 'missed': 0, 'pred': 1, 'pred_anywhere': 2}
    """
    for name, labels in (("prediction", prediction), ("target", target)):
        if labels.numel():
            low, high = (int(value) for value in labels.aminmax())
            if low < -1 or high >= classes:
                raise ValueError(f"{name} must lie in -1 ... {classes - 1}, got {low} ... {high}")
    width = band_width(prediction.shape[0], prediction.shape[1], ratio)
    labelled, predicted = _compact(target, classes), _compact(prediction, classes)
    is_void = (labelled == classes).to(labelled.dtype)
    clipped = torch.maximum(predicted, is_void * classes)  # the prediction where a part is labelled, void elsewhere
    bands = boundary_band(torch.stack([labelled, clipped, predicted]), width).view(torch.uint8)
    joint = _count_pairs(labelled, predicted, classes, bands[0] | bands[1] << 1 | bands[2] << 2)
    confusion = joint.sum(2)
    borders = torch.zeros_like(confusion)
    if classes < MAP_CLASSES:
        maps = torch.stack([labelled, clipped])
        for area_maps in [torch.where(area, maps, classes) for area in object_areas] or [maps]:
            border, predicted_border = label_map_border(area_maps, width)
            borders += _count_pairs(border, predicted_border, classes)[..., 0]
    fields = torch.stack([*_class_counts(confusion), *_band_counts(joint), *_class_counts(borders)], 1)
    values, cells = fields.cpu().numpy(), confusion.T.flatten().cpu().numpy()
    present, filled = np.flatnonzero(values.any(1)), np.flatnonzero(cells)
    return ConfusionCounts(present, values[present], filled, cells[filled])


def _compact(labels: Integer[Tensor, "H W"], classes: int) -> Integer[Tensor, "H W"]:
    """Make void the last class, in the smallest integer type that holds it."""
    if classes < MAP_CLASSES:
        return labels.to(torch.uint8).clamp_(max=classes)  # -1 becomes 255
    return labels.int().masked_fill_(labels < 0, classes)


def _count_pairs(
    labelled: Integer[Tensor, "H W"],
    predicted: Integer[Tensor, "H W"],
    classes: int,
    flags: Integer[Tensor, "H W"] | None = None,
) -> Integer[Tensor, "K1 K1 _"]:
    """Count pixels by (labelled, predicted, flags); flags have 3 bits."""
    size = classes + 1
    cell = labelled.int().mul_(size).add_(predicted.int())
    if flags is not None:
        cell = cell.mul_(8).add_(flags.int())
    kinds = 1 if flags is None else 8
    return torch.bincount(cell.flatten(), minlength=size * size * kinds).view(size, size, kinds)


def _class_counts(confusion: Integer[Tensor, "K1 K1"]) -> list[Integer[Tensor, "K1"]]:
    """Return tp, target, missed, pred and pred_anywhere from a matrix (labelled, predicted)."""
    pred = confusion[:-1].sum(0)
    return [confusion.diagonal().clone(), confusion.sum(1), confusion[:, -1].clone(), pred, pred + confusion[-1]]


def _band_counts(joint: Integer[Tensor, "K1 K1 8"]) -> list[Integer[Tensor, "K1"]]:
    """Return the counts of the true boundary."""
    flags = torch.arange(8, device=joint.device)
    in_target, in_clipped, in_whole = ((flags & bit > 0).long() for bit in (1, 2, 4))
    both = joint.diagonal(dim1=0, dim2=1).T
    by_target, by_pred, unlabelled = joint.sum(1), joint[:-1].sum(0), joint[-1]
    return [
        (both * in_target * in_clipped).sum(1),
        (by_target * in_target).sum(1),
        (by_pred * in_clipped).sum(1),
        (both * in_target * in_whole).sum(1),
        ((by_pred + unlabelled) * in_whole).sum(1),
    ]


@dataclass
class ConfusionTable:
    """Confusion counts of many samples, by image: they can be summed, resampled, compared and merged.

    Attributes:
        classes: Number of classes, void excluded.
        images: Image id of each sample, in the order added; an image may have several samples.
        samples: Counts of each sample.
    """

    classes: int
    images: list[str] = field(default_factory=list)
    samples: list[ConfusionCounts] = field(default_factory=list)

    def add(self, image: str, counts: ConfusionCounts) -> None:
        """Append a sample."""
        self.images.append(image)
        self.samples.append(counts)

    def __len__(self) -> int:
        return len(self.samples)

    def totals(self) -> Int[np.ndarray, "K1 F"]:
        """Return the sums over all samples by class, void last, and field.

        Example:
            >>> table = ConfusionTable(classes=2)
            >>> for image, label in (("a", 0), ("b", 1)):
            ...     table.add(image, count_pixels(torch.tensor([[0, 0]]), torch.tensor([[label, label]]), 2))
            >>> table.totals()[:2, :5].tolist()
            [[2, 2, 0, 4, 4], [0, 2, 0, 0, 0]]
        """
        total = np.zeros((self.classes + 1, len(FIELDS)), np.int64)
        for sample in self.samples:
            total[sample.classes] += sample.values
        return total

    def confusion(self) -> Int[np.ndarray, "K1 K1"]:
        """Return pixels by (predicted, labelled) class, void last.

        Example:
            >>> table = ConfusionTable(classes=2)
            >>> table.add("a", count_pixels(torch.tensor([[0, 1, -1]]), torch.tensor([[0, 0, 1]]), 2))
            >>> table.confusion().tolist()
            [[1, 0, 0], [1, 0, 0], [0, 1, 0]]
        """
        total = np.zeros((self.classes + 1) ** 2, np.int64)
        for sample in self.samples:
            total[sample.cells] += sample.pixels
        return total.reshape(self.classes + 1, self.classes + 1)

    def by_image(self) -> tuple[list[str], csr_array]:
        """Return the sorted image ids and the sums of each image: a matrix, images x (classes and void, fields)."""
        names = sorted(set(self.images))
        row_of = {name: row for row, name in enumerate(names)}
        width = len(FIELDS)
        rows = [
            np.full(sample.values.size, row_of[name], np.int32)
            for name, sample in zip(self.images, self.samples, strict=True)
        ]
        fields = np.arange(width, dtype=np.int32)
        columns = [(sample.classes.astype(np.int32)[:, None] * width + fields).ravel() for sample in self.samples]
        values = [sample.values.ravel() for sample in self.samples]
        shape = (len(names), (self.classes + 1) * width)
        if not self.samples:
            return names, csr_array(shape, dtype=np.int64)
        joined = (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))
        return names, csr_array(joined, shape=shape, dtype=np.int64)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return plain arrays, as `counts.npz` holds them."""
        return {
            "fields": np.array(STORED_FIELDS),
            "classes": np.array(self.classes),
            "images": np.array(self.images, dtype=np.str_),
            "class_counts": np.array([len(sample.classes) for sample in self.samples], np.int64),
            "class_numbers": _concatenate([sample.classes for sample in self.samples]),
            "values": _concatenate([sample.values for sample in self.samples], len(FIELDS)),
            "cell_counts": np.array([len(sample.cells) for sample in self.samples], np.int64),
            "cells": _concatenate([sample.cells for sample in self.samples]),
            "pixels": _concatenate([sample.pixels for sample in self.samples]),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> ConfusionTable:
        """Build the table from what `to_arrays` returned.

        Raises:
            KeyError: An array is missing.
            ValueError: The arrays do not fit, or belong to another version.
        """
        if tuple(arrays["fields"].tolist()) != STORED_FIELDS:
            raise ValueError(f"fields must be {', '.join(STORED_FIELDS)}, got {', '.join(arrays['fields'].tolist())}")
        images = arrays["images"].tolist()
        by_class = np.cumsum(arrays["class_counts"])[:-1]
        by_cell = np.cumsum(arrays["cell_counts"])[:-1]
        columns = (
            np.split(arrays["class_numbers"], by_class),
            np.split(arrays["values"], by_class),
            np.split(arrays["cells"], by_cell),
            np.split(arrays["pixels"], by_cell),
        )
        samples = [ConfusionCounts(*sample) for sample in zip(*columns, strict=True)] if images else []
        if len(samples) != len(images):
            raise ValueError(f"each sample must have an image, got {len(samples)} and {len(images)}")
        return cls(int(arrays["classes"]), images, samples)


def _concatenate(arrays: Sequence[Int[np.ndarray, "..."]], width: int | None = None) -> Int[np.ndarray, "..."]:
    empty = np.zeros((0,) if width is None else (0, width), np.int64)
    return np.concatenate([empty, *arrays])
