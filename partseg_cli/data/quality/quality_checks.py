"""Data quality checks: empty or duplicate masks, parts of unusual size, missing or duplicate images."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from partseg_cli.data.record import Part, Record
from partseg_cli.data.store import Store
from partseg_cli.io.hashing import file_digest

EXAMPLES = 10
"""Issues of one kind that are listed; all are counted."""
ENOUGH = 20
"""Fewest parts of a pair for which unusual sizes are reported."""
STEPS = 4
"""Bins per doubling of the share of the object."""
LOWEST, BINS = -24 * STEPS, 27 * STEPS
"""First bin and number of bins: shares from 2^-24 to 2^3, above 1 for parts that extend beyond their object."""
FENCE = 3
"""Tukey's outer fence: multiples of the interquartile range above the upper quartile (1977)."""
NARROWEST = STEPS // 2
"""Smallest interquartile range in bins, for pairs whose parts have nearly the same size."""

KINDS = {
    "empty_split": "split without an image",
    "missing_photo": "missing image",
    "same_photo": "images with the same content",
    "empty_object": "object mask without a pixel",
    "empty_part": "part mask without a pixel",
    "lost_part": "part of an object that the image does not have",
    "same_mask": "one mask under two pairs",
    "mask_twice": "one mask twice under one pair",
    "large_part": "part with a much larger share of its object than usual",
}
"""Kind -> description, in the order of the report."""


class Issue(NamedTuple):
    """Image with an unusual property, described by `text`."""

    split: str
    image_id: str
    text: str


@dataclass
class IssueGroup:
    """Issues of one kind: their number and the first few."""

    count: int = 0
    examples: list[Issue] = field(default_factory=list)

    def add(self, issue: Issue) -> None:
        """Count one issue."""
        self.count += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(issue)


class QualityChecks:
    """Checks of a store, image by image; only the name and file size of each image are kept in memory."""

    def __init__(self, store: Store, splits: Sequence[str]) -> None:
        self.store, self.splits, self.pairs = store, splits, store.info.vocabulary.pairs
        self.groups = {kind: IssueGroup() for kind in KINDS}
        self.shares = PartShares(len(self.pairs))
        self._images: dict[int, list[tuple[str, str, Path]]] = defaultdict(list)

    def add(self, split: str, record: Record) -> None:
        """Check one image."""
        for kind, text in self._check_masks(record):
            self.groups[kind].add(Issue(split, record.image_id, text))
        path = self.store.image_path(record)
        try:
            self._images[path.stat().st_size].append((split, record.image_id, path))
        except OSError as error:
            self._missing(split, record.image_id, error)
        areas = {instance.id: instance.mask.area for instance in record.objects}
        for part in record.parts:
            if part.mask.area and areas.get(part.object):
                self.shares.add(part.pair, part.mask.area / areas[part.object], split, record.image_id)

    def document(self) -> list[dict[str, Any]]:
        """Return the issues as plain values: kind, what, count, examples."""
        for images in self._images.values():
            if len(images) > 1:
                self._find_duplicates(images)
        self._images.clear()
        for split in self.splits:
            if not len(self.store.records(split)):
                self.groups["empty_split"].add(Issue(split, "", "prepare found nothing for it"))
        self.groups["large_part"] = self.shares.unusual([pair.name for pair in self.pairs])
        return [
            {
                "kind": kind,
                "what": KINDS[kind],
                "count": group.count,
                "examples": [issue._asdict() for issue in group.examples],
            }
            for kind, group in self.groups.items()
            if group.count
        ]

    def _check_masks(self, record: Record) -> Iterator[tuple[str, str]]:
        """Yield kind and description of each mask with an issue."""
        for instance in record.objects:
            if not instance.mask.area:
                yield "empty_object", f"{self.store.info.objects[instance.category]}, object {instance.id}"
        known = {instance.id for instance in record.objects}
        for part in record.parts:
            if not part.mask.area:
                yield "empty_part", self._name(part)
            if part.object not in known:
                yield "lost_part", self._name(part)
        yield from self._same_masks(record)

    def _same_masks(self, record: Record) -> Iterator[tuple[str, str]]:
        """Yield kind and description of masks with equal pixels."""
        same: dict[str, list[Part]] = defaultdict(list)
        for part in record.parts:
            if part.mask.area:
                same[part.mask.rle].append(part)
        for parts in (parts for parts in same.values() if len(parts) > 1):
            names = list(dict.fromkeys(self._name(part) for part in parts))
            if len({part.pair for part in parts}) > 1:
                yield "same_mask", " = ".join(names)
            else:
                yield "mask_twice", " = ".join(names if len(names) > 1 else names * 2)

    def _name(self, part: Part) -> str:
        """Return the name of the pair, with the raw code where it differs."""
        pair = self.pairs[part.pair]
        return f"{pair.name}, object {part.object}" + (f" ({part.raw})" if part.raw != pair.part else "")

    def _missing(self, split: str, image_id: str, error: OSError) -> None:
        self.groups["missing_photo"].add(Issue(split, image_id, error.strerror or type(error).__name__))

    def _find_duplicates(self, images: list[tuple[str, str, Path]]) -> None:
        """Compare the contents of images of equal file size."""
        same: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for split, image_id, path in images:
            try:
                same[file_digest(path)].append((split, image_id))
            except OSError as error:
                self._missing(split, image_id, error)
        for (split, image_id), *others in same.values():
            for other, name in others:
                where = f"{name} of {other}: two splits share it" if other != split else name
                self.groups["same_photo"].add(Issue(split, image_id, f"the same as {where}"))


class PartShares:
    """Distribution of the parts' shares of their objects by pair, and the largest parts.

    Shares are counted in logarithmic bins, `STEPS` per doubling.
    """

    def __init__(self, pairs: int) -> None:
        self.counts = np.zeros((pairs, BINS), np.int64)
        self.largest: list[list[tuple[float, str, str]]] = [[] for _ in range(pairs)]

    def add(self, pair: int, share: float, split: str, image_id: str) -> None:
        """Add one part that covers the fraction `share` of its object."""
        self.counts[pair, _bin(share)] += 1
        largest = self.largest[pair]
        if len(largest) < EXAMPLES or share > largest[-1][0]:
            largest.append((share, split, image_id))
            largest.sort(key=lambda item: -item[0])
            del largest[EXAMPLES:]

    def unusual(self, names: list[str]) -> IssueGroup:
        """Return the parts beyond the outer fence of their pair, listing those furthest from the median."""
        found = IssueGroup()
        outliers = []
        for pair, counts in enumerate(self.counts):
            if counts.sum() < ENOUGH:
                continue
            low, median, high = (int(np.searchsorted(np.cumsum(counts), q * counts.sum())) for q in (0.25, 0.5, 0.75))
            fence = high + FENCE * max(high - low, NARROWEST)
            found.count += int(counts[fence + 1 :].sum())
            usual = 2 ** ((median + LOWEST + 0.5) / STEPS)
            for share, split, image_id in self.largest[pair]:
                if _bin(share) > fence:
                    text = f"{names[pair]}: {100 * share:.3g} % of its object, half of them have < {100 * usual:.2g} %"
                    outliers.append((share / usual, Issue(split, image_id, text)))
        found.examples = [issue for _, issue in sorted(outliers, key=lambda item: -item[0])[:EXAMPLES]]
        return found


def _bin(share: float) -> int:
    return min(max(math.floor(STEPS * math.log2(share)) - LOWEST, 0), BINS - 1)
