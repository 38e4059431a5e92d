"""Statistics of a store, accumulated image by image: counts by class and split, sizes and overlaps of parts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Int

from partseg_cli.data.record import Record
from partseg_cli.data.rle import Mask, run_lengths
from partseg_cli.data.store import DatasetInfo

COUNTED = ("images", "instances", "parts", "pixels")
MEDIUM, LARGE = 32**2, 96**2
"""Areas in pixels at which COCO's evaluation calls an object medium and large."""
PIXELS = tuple(4**power for power in range(14))
"""Lower bounds of bins; no image is larger than the upper bound of the last one."""
PERCENTS = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0)
"""Lower bounds of bins; the last one ends at 100."""

OVERLAPS = {
    "object_part_pixels": ("object pixels in a part of that object", None),
    "shared_pixels": ("of these, in two or more parts of that object", "object_part_pixels"),
    "outside_pixels": ("of these, outside the object's own mask", "object_part_pixels"),
    "photo_part_pixels": ("image pixels in a part", None),
    "photo_shared_pixels": ("of these, in two or more parts of any objects", "photo_part_pixels"),
    "objects_shared_pixels": ("image pixels in two or more object masks", None),
    "parts_across_objects": ("pixels that two parts of different objects share, pair by pair", None),
}
"""Sum of `overlap` -> description, and the sum of which it is a fraction."""
TOTALS = (
    *("images", "images_without_parts", "images_of_unseen_objects", "images_not_exhaustive"),
    *("instances", "instances_synthetic", "parts", "parts_small", "parts_medium", "parts_large"),
    *("pixels", "pixels_ignored", *OVERLAPS),
)
"""Sums over all classes of a split."""


class SplitFigures:
    """Sums over the images of one split.

    Attributes:
        pairs: Images, instances, part masks and pixels of the part masks, by pair.
        objects: Images, instances, part masks and pixels of the object masks, by object.
        totals: Sums over all classes, by the names in `TOTALS`.
        pixels: Number of parts in each bin of `PIXELS`.
        percents: Number of parts in each bin of `PERCENTS`, by their share of the image.
    """

    def __init__(self, pairs: int, objects: int) -> None:
        self.pairs = np.zeros((pairs, len(COUNTED)), np.int64)
        self.objects = np.zeros((objects, len(COUNTED)), np.int64)
        self.totals = Counter(dict.fromkeys(TOTALS, 0))
        self.pixels = np.zeros(len(PIXELS), np.int64)
        self.percents = np.zeros(len(PERCENTS), np.int64)

    def add(self, record: Record, unseen: frozenset[int]) -> None:
        """Add one image; `unseen` are the categories of the unseen objects."""
        category = {instance.id: instance.category for instance in record.objects}
        self._count_pairs(record)
        self._count_objects(record, category)
        self._count_sizes(record)
        self.totals.update(overlap(record))
        self.totals.update(
            images=1,
            images_without_parts=int(not record.parts),
            images_of_unseen_objects=int(not unseen.isdisjoint(category.values())),
            images_not_exhaustive=int(bool(record.not_exhaustive)),
            instances=len(record.objects),
            instances_synthetic=sum(instance.synthetic for instance in record.objects),
            parts=len(record.parts),
            pixels=record.width * record.height,
            pixels_ignored=record.ignore.area if record.ignore else 0,
        )

    def _count_pairs(self, record: Record) -> None:
        for part in record.parts:
            self.pairs[part.pair] += (0, 0, 1, part.mask.area)
        for pair, _ in {(part.pair, part.object) for part in record.parts}:
            self.pairs[pair] += (0, 1, 0, 0)
        for pair in {part.pair for part in record.parts}:
            self.pairs[pair] += (1, 0, 0, 0)

    def _count_objects(self, record: Record, category: dict[int, int]) -> None:
        for instance in record.objects:
            self.objects[instance.category] += (0, 1, 0, instance.mask.area)
        for part in record.parts:
            if part.object in category:
                self.objects[category[part.object]] += (0, 0, 1, 0)
        for index in set(category.values()):
            self.objects[index] += (1, 0, 0, 0)

    def _count_sizes(self, record: Record) -> None:
        """Count the non-empty parts by size."""
        areas = np.array([part.mask.area for part in record.parts if part.mask.area], np.int64)
        percents = 100 * areas / (record.width * record.height)
        for bins, ends, values in ((self.pixels, PIXELS, areas), (self.percents, PERCENTS, percents)):
            bins += np.bincount(np.searchsorted(ends, values, side="right") - 1, minlength=len(ends))
        small, large = int((areas < MEDIUM).sum()), int((areas >= LARGE).sum())
        self.totals.update(parts_small=small, parts_medium=len(areas) - small - large, parts_large=large)


class Statistics:
    """Statistics of a store, kept as sums."""

    def __init__(self, info: DatasetInfo, splits: Sequence[str]) -> None:
        self.objects, self.vocabulary = info.objects, info.vocabulary
        unseen = set(info.vocabulary.unseen_objects)
        self.unseen = frozenset(index for index, name in enumerate(info.objects) if name in unseen)
        self.splits = {split: SplitFigures(len(info.vocabulary.pairs), len(info.objects)) for split in splits}

    def add(self, split: str, record: Record) -> None:
        """Add one image."""
        self.splits[split].add(record, self.unseen)

    def document(self) -> dict[str, Any]:
        """Return all statistics as plain values."""
        return {
            "splits": {split: dict(figures.totals) for split, figures in self.splits.items()},
            "objects": self._object_rows(),
            "pairs": self._pair_rows(),
            "absent": {split: self._absent(figures) for split, figures in self.splits.items()},
            "unseen_objects": {
                split: {self.objects[index]: int(figures.objects[index, 0]) for index in sorted(self.unseen)}
                for split, figures in self.splits.items()
            },
            "sizes": self._sizes(),
            "overlap": self._overlap(),
        }

    def _object_rows(self) -> list[dict[str, Any]]:
        with_parts = set(self.vocabulary.objects)
        return [
            {
                "object": name,
                "seen": index not in self.unseen,
                "has_parts": name in with_parts,
                "splits": {split: _counts(figures.objects[index]) for split, figures in self.splits.items()},
            }
            for index, name in enumerate(self.objects)
        ]

    def _pair_rows(self) -> list[dict[str, Any]]:
        return [
            {
                "name": pair.name,
                "object": pair.object,
                "part": pair.part,
                "seen": pair.is_seen,
                "splits": {split: _counts(figures.pairs[index]) for split, figures in self.splits.items()},
            }
            for index, pair in enumerate(self.vocabulary.pairs)
        ]

    def _absent(self, figures: SplitFigures) -> dict[str, list[str]]:
        """Return the objects without an instance and the pairs without a part mask."""
        return {
            "objects": [name for name, row in zip(self.objects, figures.objects, strict=True) if not row[1]],
            "pairs": [pair.name for pair, row in zip(self.vocabulary.pairs, figures.pairs, strict=True) if not row[2]],
        }

    def _sizes(self) -> dict[str, Any]:
        totals = self._totals()
        pixels = np.sum([figures.pixels for figures in self.splits.values()], axis=0)
        percents = np.sum([figures.percents for figures in self.splits.values()], axis=0)
        return {
            "coco": [
                {"label": f"small, below {MEDIUM:,} px", "below": MEDIUM, "parts": totals["parts_small"]},
                {
                    "label": f"medium, {MEDIUM:,} to {LARGE - 1:,} px",
                    "from": MEDIUM,
                    "below": LARGE,
                    "parts": totals["parts_medium"],
                },
                {"label": f"large, {LARGE:,} px and more", "from": LARGE, "parts": totals["parts_large"]},
            ],
            "pixels": _bins([(low, 4 * low, f"{low:,} to {4 * low - 1:,} px") for low in PIXELS], pixels),
            "percent_of_photo": _bins(
                [(low, high, f"{low:g} to {high:g} %") for low, high in pairwise((*PERCENTS, 100.0))], percents
            ),
        }

    def _overlap(self) -> dict[str, Any]:
        """Return the sums of `overlap` with descriptions and, for fractions, percentages."""
        totals = self._totals()
        return {
            name: {
                "what": what,
                "pixels": totals[name],
                **(
                    {"percent": round(100 * totals[name] / totals[whole], 4) if totals[whole] else None}
                    if whole
                    else {}
                ),
            }
            for name, (what, whole) in OVERLAPS.items()
        }

    def _totals(self) -> Counter[str]:
        totals = Counter[str]()
        for figures in self.splits.values():
            totals.update(figures.totals)
        return totals


def _counts(row: Int[np.ndarray, "4"]) -> dict[str, int]:
    return dict(zip(COUNTED, row.tolist(), strict=True))


def _bins(bins: Sequence[tuple[float, float, str]], counts: Int[np.ndarray, "bins"]) -> list[dict[str, Any]]:
    """Return the bins from the first to the last non-empty one."""
    filled = np.flatnonzero(counts)
    first, last = (int(filled[0]), int(filled[-1]) + 1) if filled.size else (0, 0)
    return [
        {"label": label, "from": low, "below": high, "parts": int(count)}
        for (low, high, label), count in list(zip(bins, counts, strict=True))[first:last]
    ]


def overlap(record: Record) -> Counter[str]:
    """Count the overlapping pixels of an image, by runs: the cost depends on the number of runs, not on the size.

    A pixel in two objects counts once for each of them in the first three sums.

    Returns:
        object_part_pixels: Pixels in a part, by object.
        shared_pixels: Of these, pixels in two or more parts of the object.
        outside_pixels: Of these, pixels outside the mask of the object.
        photo_part_pixels: Pixels of the image in a part.
        photo_shared_pixels: Of these, pixels in two or more parts of any objects.
        objects_shared_pixels: Pixels of the image in two or more object masks.
        parts_across_objects: Pixels shared by two parts of different objects, summed over pairs of parts.
    """
    ends = [_ends(part.mask) for part in record.parts]
    found = Counter(object_part_pixels=0, shared_pixels=0, outside_pixels=0, parts_across_objects=0)
    for instance in record.objects:
        own = [runs for runs, part in zip(ends, record.parts, strict=True) if part.object == instance.id]
        lengths, (parts, inside) = depths(own, [_ends(instance.mask)])
        found["object_part_pixels"] += _pixels(lengths, parts >= 1)
        found["shared_pixels"] += _pixels(lengths, parts >= 2)
        found["outside_pixels"] += _pixels(lengths, (parts >= 1) & (inside == 0))
        found["parts_across_objects"] -= _pixels(lengths, parts * (parts - 1) // 2)
    lengths, (parts, instances) = depths(ends, [_ends(instance.mask) for instance in record.objects])
    found["photo_part_pixels"] = _pixels(lengths, parts >= 1)
    found["photo_shared_pixels"] = _pixels(lengths, parts >= 2)
    found["objects_shared_pixels"] = _pixels(lengths, instances >= 2)
    found["parts_across_objects"] += _pixels(lengths, parts * (parts - 1) // 2)
    return found


def depths(
    *layers: Sequence[Int[np.ndarray, "..."]],
) -> tuple[Int[np.ndarray, "S"], Int[np.ndarray, "L S"]]:
    """Split an image into runs of pixels covered by the same masks.

    Args:
        layers: L lists of masks, each as the alternating start and end positions of its runs.

    Returns:
        Lengths of the S runs between the first and last position, and the number of masks per layer over them.
    """
    masks = [ends for layer in layers for ends in layer]
    positions = np.concatenate([*masks, np.zeros(0, np.int64)])
    steps = np.zeros((len(layers), len(positions)), np.int64)
    start = 0
    for row, layer in enumerate(layers):
        for ends in layer:
            steps[row, start : start + len(ends)] = np.tile([1, -1], len(ends) // 2)
            start += len(ends)
    order = np.argsort(positions, kind="stable")
    return np.diff(positions[order]), np.cumsum(steps[:, order], axis=1)[:, :-1]


def _ends(mask: Mask) -> Int[np.ndarray, "ends"]:
    """Return the alternating start and end positions of a mask's runs."""
    return np.cumsum(run_lengths(mask.rle))


def _pixels(lengths: Int[np.ndarray, "S"], weights: np.ndarray) -> int:
    return int((lengths * weights).sum())
