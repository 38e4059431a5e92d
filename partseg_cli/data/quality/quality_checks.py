"""What in a store deserves a look: empty and doubled masks, parts of unusual size, photos that are missing or twice."""

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
"""Cases of one kind that are named; all are counted."""
ENOUGH = 20
"""Parts of a pair from which on one can tell what is usual."""
STEPS = 4
"""Bins of the share of the object, for each doubling."""
LOWEST, BINS = -24 * STEPS, 27 * STEPS
"""The first bin, and their number: shares from 2^-24 to 2^3, the latter for parts that leave their object."""
FENCE = 3
"""Tukey's outer fence: so many distances of the quartiles above the upper one (Exploratory Data Analysis, 1977)."""
NARROWEST = STEPS // 2
"""Least distance of the quartiles in bins, so that parts of nearly one size do not make the next one unusual."""

KINDS = {
    "empty_split": "split without an image",
    "missing_photo": "photo that is not there now",
    "same_photo": "photos with the same content",
    "empty_object": "object mask without a pixel",
    "empty_part": "part mask without a pixel",
    "lost_part": "part of an object that the image does not have",
    "same_mask": "one mask under two pairs",
    "mask_twice": "one mask twice under one pair",
    "large_part": "part with a much larger share of its object than usual",
}
"""Kind -> what it is, in the order of the report."""


class Issue(NamedTuple):
    """One thing to look at: where, and what is odd about it."""

    split: str
    image_id: str
    text: str


@dataclass
class IssueGroup:
    """All cases of one kind: how many, and the first ones."""

    count: int = 0
    examples: list[Issue] = field(default_factory=list)

    def add(self, case: Issue) -> None:
        """Count one case."""
        self.count += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(case)


class QualityChecks:
    """Looks through a store image by image; of an image it keeps its name and file size alone."""

    def __init__(self, store: Store, splits: Sequence[str]) -> None:
        self.store, self.splits, self.pairs = store, splits, store.info.vocabulary.pairs
        self.findings = {kind: IssueGroup() for kind in KINDS}
        self.shares = PartShares(len(self.pairs))
        self._photos: dict[int, list[tuple[str, str, Path]]] = defaultdict(list)

    def add(self, split: str, record: Record) -> None:
        """Look at one image."""
        for kind, text in self._odd_masks(record):
            self.findings[kind].add(Issue(split, record.image_id, text))
        path = self.store.image_path(record)
        try:
            self._photos[path.stat().st_size].append((split, record.image_id, path))
        except OSError as error:
            self._missing(split, record.image_id, error)
        areas = {instance.id: instance.mask.area for instance in record.objects}
        for part in record.parts:
            if part.mask.area and areas.get(part.object):
                self.shares.add(part.pair, part.mask.area / areas[part.object], split, record.image_id)

    def document(self) -> list[dict[str, Any]]:
        """Give what was found as plain values: kind, what, count, examples."""
        self._compare_photos()
        for split in self.splits:
            if not len(self.store.records(split)):
                self.findings["empty_split"].add(Issue(split, "", "prepare found nothing for it"))
        self.findings["large_part"] = self.shares.unusual([pair.name for pair in self.pairs])
        return [
            {
                "kind": kind,
                "what": KINDS[kind],
                "count": finding.count,
                "examples": [case._asdict() for case in finding.examples],
            }
            for kind, finding in self.findings.items()
            if finding.count
        ]

    def _odd_masks(self, record: Record) -> Iterator[tuple[str, str]]:
        """Give (kind, text) of each odd mask."""
        for instance in record.objects:
            if not instance.mask.area:
                yield "empty_object", f"{self.store.info.objects[instance.category]}, object {instance.id}"
        known = {instance.id for instance in record.objects}
        for part in record.parts:
            if not part.mask.area:
                yield "empty_part", self._name(part)
            if part.object not in known:
                yield "lost_part", self._name(part)
        for parts in _same_masks(record):
            names = list(dict.fromkeys(self._name(part) for part in parts))
            if len({part.pair for part in parts}) > 1:
                yield "same_mask", " = ".join(names)
            else:
                yield "mask_twice", " = ".join(names if len(names) > 1 else names * 2)

    def _name(self, part: Part) -> str:
        """Give the pair, and the raw code where that says more."""
        pair = self.pairs[part.pair]
        return f"{pair.name}, object {part.object}" + (f" ({part.raw})" if part.raw != pair.part else "")

    def _missing(self, split: str, image_id: str, error: OSError) -> None:
        self.findings["missing_photo"].add(Issue(split, image_id, error.strerror or type(error).__name__))

    def _compare_photos(self) -> None:
        """Read the photos of equal size, and note those of equal content."""
        for photos in self._photos.values():
            if len(photos) > 1:
                self._compare(photos)
        self._photos.clear()

    def _compare(self, photos: list[tuple[str, str, Path]]) -> None:
        same: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for split, image_id, path in photos:
            try:
                same[file_digest(path)].append((split, image_id))
            except OSError as error:
                self._missing(split, image_id, error)
        for (split, image_id), *others in same.values():
            for other, name in others:
                where = f"{name} of {other}: two splits share it" if other != split else name
                self.findings["same_photo"].add(Issue(split, image_id, f"the same as {where}"))


class PartShares:
    """The distribution of each pair's share of its object, and its largest parts.

    Shares are counted in bins of equal ratio, `STEPS` for each doubling.
    """

    def __init__(self, pairs: int) -> None:
        self.counts = np.zeros((pairs, BINS), np.int64)
        self.largest: list[list[tuple[float, str, str]]] = [[] for _ in range(pairs)]

    def add(self, pair: int, share: float, split: str, image_id: str) -> None:
        """Add one part that has `share` of its object's pixels."""
        self.counts[pair, _bin(share)] += 1
        largest = self.largest[pair]
        if len(largest) < EXAMPLES or share > largest[-1][0]:
            largest.append((share, split, image_id))
            largest.sort(key=lambda item: -item[0])
            del largest[EXAMPLES:]

    def unusual(self, names: list[str]) -> IssueGroup:
        """Count the parts beyond the outer fence of their pair, and name those furthest from the median."""
        found = IssueGroup()
        cases = []
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
                    cases.append((share / usual, Issue(split, image_id, text)))
        found.examples = [case for _, case in sorted(cases, key=lambda item: -item[0])[:EXAMPLES]]
        return found


def _bin(share: float) -> int:
    return min(max(math.floor(STEPS * math.log2(share)) - LOWEST, 0), BINS - 1)


def _same_masks(record: Record) -> Iterator[list[Part]]:
    """Give the parts of equal pixels, where there are several."""
    same: dict[str, list[Part]] = defaultdict(list)
    for part in record.parts:
        if part.mask.area:
            same[part.mask.rle].append(part)
    return (parts for parts in same.values() if len(parts) > 1)
