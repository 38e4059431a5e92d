"""Masks as COCO run-length codes, and flat label maps painted from them.

Masks are written by pycocotools and read by runs here: a small part of a large image costs as much as its own pixels.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Int, Integer, UInt16
from pycocotools import mask as coco

NONE = 65535
"""Value of a pixel without a label in a flat label map."""
COMPRESSED = re.compile(r"(?:[P-o]{0,6}[0-O])+")
"""COCO's text of numbers below 2 ** 34: each is characters that announce more, and one that ends the number."""


@dataclass(frozen=True)
class Mask:
    """Set of pixels of an image.

    Attributes:
        rle: COCO's compressed run-length text; the image's size is in its record.
        bbox: x, y, width, height in pixels; four zeros if empty.
        area: Number of pixels.
    """

    rle: str
    bbox: tuple[int, int, int, int]
    area: int

    @classmethod
    def encode(cls, pixels: Bool[np.ndarray, "H W"]) -> Mask:
        """Encode the true pixels.

        >>> Mask.encode(np.eye(3, dtype=bool)[:2]).bbox
        (0, 0, 2, 2)
        """
        return cls.from_coco(coco.encode(np.asfortranarray(pixels, dtype=np.uint8)))

    @classmethod
    def from_coco(cls, code: Mapping[str, Any]) -> Mask:
        """Return the mask of a COCO code: a size and compressed counts, which must fit each other."""
        x, y, width, height = (int(value) for value in coco.toBbox(code))
        return cls(code["counts"].decode("ascii"), (x, y, width, height), int(coco.area(code)))

    def decode(self, height: int, width: int) -> Bool[np.ndarray, "H W"]:
        """Return the pixels in an image of this size."""
        columns = np.zeros(width * height, np.bool_)
        columns[self.positions()] = True
        return columns.reshape(width, height).T

    def resized(self, before: tuple[int, int], after: tuple[int, int]) -> Mask:
        """Return the mask in an image resized from one (height, width) to another, by the nearest pixel."""
        rows, columns = (source_rows(old, new) for old, new in zip(before, after, strict=True))
        return Mask.encode(self.decode(*before)[np.ix_(rows, columns)])

    def positions(self) -> Int[np.ndarray, "area"]:
        """Return the positions of the pixels in an image stored column by column, ascending."""
        runs = run_lengths(self.rle)
        starts, lengths = np.cumsum(runs)[:-1:2], runs[1::2]
        before = np.cumsum(lengths) - lengths
        return np.repeat(starts - before, lengths) + np.arange(lengths.sum())

    def fits(self, height: int, width: int) -> bool:
        """Return whether the runs cover an image of this size exactly, and box and area are theirs."""
        if not isinstance(self.rle, str) or not COMPRESSED.fullmatch(self.rle):
            return False
        runs = run_lengths(self.rle)
        if (runs < 0).any() or runs.sum() != width * height:
            return False
        return Mask.from_coco({"size": [height, width], "counts": self.rle.encode("ascii")}) == self


def source_rows(before: int, after: int) -> Int[np.ndarray, "{after}"]:
    """Return, for each row after a resize, the source row at its centre (training has a rule of its own).

    >>> source_rows(6, 3).tolist(), source_rows(2, 4).tolist()
    ([1, 3, 5], [0, 0, 1, 1])
    """
    rows: Int[np.ndarray, "{after}"] = ((np.arange(after) + 0.5) * before / after).astype(np.int64)
    return rows


def run_lengths(rle: str) -> Int[np.ndarray, "runs"]:
    """Parse COCO's compressed text: lengths of runs, absent and present pixels in turn, always an even number.

    Each character holds 5 bits of a signed number, low bits first, and whether more follow; from the fourth on, a
    number is the difference to the length two runs before (pycocotools, `rleFrString`).

    >>> run_lengths("52203").tolist()
    [5, 2, 2, 2, 5, 0]
    """
    codes = np.frombuffer(rle.encode("ascii"), np.uint8).astype(np.int64) - 48
    ends = np.flatnonzero(codes & 0x20 == 0)
    starts = np.concatenate([[0], ends[:-1] + 1]).astype(np.int64)
    digits = np.arange(len(codes)) - np.repeat(starts, ends - starts + 1)
    runs = np.add.reduceat((codes & 0x1F) << 5 * digits, starts)
    runs -= np.where(codes[ends] & 0x10, np.int64(1) << 5 * (ends - starts + 1), 0)
    for first in (1, 2):
        runs[first::2] = np.cumsum(runs[first::2])
    return np.append(runs, 0) if len(runs) % 2 else runs


def paint(layers: Iterable[tuple[int, int, Mask]], height: int, width: int) -> UInt16[np.ndarray, "H W"]:
    """Paint (label, level, mask) layers into one flat label map.

    The order is fixed for all stores: by level, then by area from large to small, then as given. A later layer covers
    an earlier one, so that small parts stay on top. Pixels without a layer are `NONE`.
    """
    columns = np.full(width * height, NONE, np.uint16)
    for label, _, mask in sorted(layers, key=lambda layer: (layer[1], -layer[2].area)):
        columns[mask.positions()] = label
    return columns.reshape(width, height).T


def masks_by_label(labels: Integer[np.ndarray, "H W"]) -> dict[int, Mask]:
    """Encode the mask of each label of a signed map, ascending; negative pixels have no label.

    The time does not grow with the number of labels.

    >>> {label: mask.area for label, mask in masks_by_label(np.array([[7, 7, -1], [2, 7, -1]])).items()}
    {2: 1, 7: 3}
    """
    columns = labels.T.ravel()
    positions = np.flatnonzero(columns >= 0)
    positions = positions[np.argsort(columns[positions], kind="stable")]
    values = columns[positions]
    firsts = np.flatnonzero(np.diff(values, prepend=-1))
    ends = np.append(firsts, len(positions))[1:]
    height, width = labels.shape
    return {
        int(values[first]): _mask_at(positions[first:end], height, width)
        for first, end in zip(firsts, ends, strict=True)
    }


def _mask_at(positions: Int[np.ndarray, "area"], height: int, width: int) -> Mask:
    """Encode at least one pixel, given by ascending positions in an image stored column by column."""
    breaks = np.flatnonzero(np.diff(positions) > 1)
    starts, ends = positions[np.append(0, breaks + 1)], positions[np.append(breaks, -1)] + 1
    runs = np.diff(np.stack([starts, ends], axis=1).ravel(), prepend=0, append=height * width)
    counts = runs if runs[-1] else runs[:-1]
    return Mask.from_coco(coco.frPyObjects({"size": [height, width], "counts": counts.tolist()}, height, width))
