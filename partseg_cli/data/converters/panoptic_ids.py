"""The ids of Panoptic-Parts: a number for each pixel, whose digits are its class, its instance and its part.

The class has 1 or 2 digits, the instance 3, the part 2, and the later ones may be missing: with the classes of
Cityscapes 26 is a car, 26003 car 3, 2600302 a wheel of car 3. Numbers of 3 digits, or of more than 7, do not exist.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int
from pycocotools import mask as coco

from partseg_cli.data.converters.conversion import read_pixels
from partseg_cli.data.rle import Mask

CLASSES = 34
"""Classes of Cityscapes, 0 = unlabelled to 33 = bicycle."""
PARTS = 100
"""Parts that two digits can tell apart, 0 = none."""

BROKEN_IDS = "ids cannot be read"


def read_ids(path: Path) -> Int[np.ndarray, "H W"]:
    """Read a TIFF of 32-bit integers.

    Raises:
        DefectError: it is something else, or not whole.
    """
    return read_pixels(path, ["I"], "32-bit integers (mode I)", BROKEN_IDS, "TIFF")


@dataclass(frozen=True)
class Runs:
    """A map of ids, column by column, as runs of equal ones: a mask of some is then made without its pixels.

    Attributes:
        ids: of each run.
        starts: place of each run's first pixel, and the number of all pixels at the end.
        size: height and width in pixels.
    """

    ids: Int[np.ndarray, "runs"]
    starts: Int[np.ndarray, "runs+1"]
    size: tuple[int, int]

    @classmethod
    def of(cls, ids: Int[np.ndarray, "H W"]) -> Runs:
        """Give the runs of a map."""
        columns = ids.T.ravel()
        starts = np.flatnonzero(np.concatenate([[True], columns[1:] != columns[:-1]]))
        return cls(columns[starts].astype(np.int64), np.append(starts, columns.size), (ids.shape[0], ids.shape[1]))

    def mask(self, chosen: Bool[np.ndarray, "runs"]) -> Mask:
        """Give the pixels of the chosen runs."""
        changes = np.flatnonzero(np.diff(chosen, prepend=False))
        bounds = np.concatenate([[0], self.starts[changes], self.starts[-1:]])
        code = {"size": list(self.size), "counts": np.diff(bounds).tolist()}
        return Mask.of_code(coco.frPyObjects(code, *self.size))

    def pixels(self, chosen: Bool[np.ndarray, "runs"]) -> int:
        """Count the pixels of the chosen runs."""
        return int(np.diff(self.starts)[chosen].sum())


@dataclass(frozen=True)
class Digits:
    """Ids taken apart.

    Attributes:
        exists: whether the number is an id of the format.
        classes: 0 where it is none.
        objects: class and instance: the id without its part; the class alone where there is no instance.
        parts: 0 = none.
    """

    exists: Bool[np.ndarray, "ids"]
    classes: Int[np.ndarray, "ids"]
    objects: Int[np.ndarray, "ids"]
    parts: Int[np.ndarray, "ids"]

    @classmethod
    def of(cls, ids: Int[np.ndarray, "ids"]) -> Digits:
        """Take ids apart, with integers alone."""
        objects = np.where(ids >= 10**5, ids // 100, ids)
        classes = np.where(objects >= 10**3, objects // 10**3, objects)
        exists = (classes >= 0) & (classes < CLASSES)
        return cls(exists, np.where(exists, classes, 0), objects, np.where(exists & (ids >= 10**5), ids % 100, 0))
