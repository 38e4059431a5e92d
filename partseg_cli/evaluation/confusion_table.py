"""The counts of many samples, kept apart by image, so that they can be summed, drawn again, compared and merged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Int
from scipy.sparse import csr_array

from partseg_cli.evaluation.counts import FIELDS, ConfusionCounts


@dataclass
class ConfusionTable:
    """Counts of samples in the order in which they were added; an image may have several.

    Attributes:
        classes: number of classes, without none.
        images: image id of each sample.
        samples: its counts.
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
        """Give the sums over all samples, of every class and of none, in the order of `FIELDS`."""
        total = np.zeros((self.classes + 1, len(FIELDS)), np.int64)
        for sample in self.samples:
            total[sample.classes] += sample.values
        return total

    def confusion(self) -> Int[np.ndarray, "K1 K1"]:
        """Give pixels by (predicted, labelled) class; the last row and column stand for none."""
        total = np.zeros((self.classes + 1) ** 2, np.int64)
        for sample in self.samples:
            total[sample.cells] += sample.pixels
        return total.reshape(self.classes + 1, self.classes + 1)

    def by_image(self) -> tuple[list[str], csr_array]:
        """Give the image ids, sorted, and a matrix of the sums of each: images x (classes and none, fields)."""
        names = sorted(set(self.images))
        place = {name: row for row, name in enumerate(names)}
        width = len(FIELDS)
        rows = [
            np.full(sample.values.size, place[name], np.int32)
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
        """Give plain arrays for a file."""
        return {
            "fields": np.array(FIELDS),
            "classes": np.array(self.classes),
            "images": np.array(self.images, dtype=np.str_),
            "class_counts": np.array([len(sample.classes) for sample in self.samples], np.int64),
            "class_numbers": _joined([sample.classes for sample in self.samples]),
            "values": _joined([sample.values for sample in self.samples], len(FIELDS)),
            "cell_counts": np.array([len(sample.cells) for sample in self.samples], np.int64),
            "cells": _joined([sample.cells for sample in self.samples]),
            "pixels": _joined([sample.pixels for sample in self.samples]),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> ConfusionTable:
        """Read what `to_arrays` gave.

        Raises:
            KeyError: an array is missing.
            ValueError: the arrays do not fit, or are of another version.
        """
        if tuple(arrays["fields"].tolist()) != FIELDS:
            raise ValueError(f"fields must be {', '.join(FIELDS)}, got {', '.join(arrays['fields'].tolist())}")
        images = arrays["images"].tolist()
        by_class = np.cumsum(arrays["class_counts"])[:-1]
        by_cell = np.cumsum(arrays["cell_counts"])[:-1]
        parts = (
            np.split(arrays["class_numbers"], by_class),
            np.split(arrays["values"], by_class),
            np.split(arrays["cells"], by_cell),
            np.split(arrays["pixels"], by_cell),
        )
        samples = [ConfusionCounts(*sample) for sample in zip(*parts, strict=True)] if images else []
        if len(samples) != len(images):
            raise ValueError(f"each sample must have an image, got {len(samples)} and {len(images)}")
        return cls(int(arrays["classes"]), images, samples)

    @classmethod
    def joined(cls, tables: Sequence[ConfusionTable]) -> ConfusionTable:
        """Put tables of the same classes one behind the other."""
        images = [name for table in tables for name in table.images]
        return cls(tables[0].classes, images, [sample for table in tables for sample in table.samples])


def _joined(pieces: Sequence[Int[np.ndarray, "..."]], width: int | None = None) -> Int[np.ndarray, "..."]:
    empty = np.zeros((0,) if width is None else (0, width), np.int64)
    return np.concatenate([empty, *pieces])
