"""Cityscapes-Panoptic-Parts: Cityscapes' images, and for each a TIFF of 32-bit ids; the labels are flat.

An id has the digits of a class (1 or 2), an instance (3) and a part (2), of which the later ones may be missing: 26 is
a car, 26003 car 3, 2600302 a wheel of car 3. Numbers of 3 digits, or of more than 7, are no ids.

- An instance becomes an object with its number (26003), with one part per known part id.
- Pixels of one of the five classes without an instance are regions of several objects, such as a row of parked cars.
  Their class is sure, so they become one synthetic object per class.
- The parts in such regions, and of pixels without a known part, are unknown: these pixels are ignored, as in the
  published evaluation of the 23 parts; so are the classes that it ignores, and numbers that are no ids.
- Part 5 of a person or rider, in about ten files, is an artefact, and no part (README of version 2).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int
from pycocotools import mask as coco

from partseg_cli.data.converters.conversion import (
    Conversion,
    Converted,
    Outcome,
    Skipped,
    SourceImage,
    read_pixels,
)
from partseg_cli.data.manifest import Manifest
from partseg_cli.data.record import Instance, Part, Record
from partseg_cli.data.rle import Mask
from partseg_cli.data.store import image_root
from partseg_cli.errors import DataError, format_list
from partseg_cli.io.files import check_links, describe_folder, folders_at, is_ignored_file

SPLITS = ("train", "val")
LABELS = "gtFinePanopticParts"
IMAGES = "leftImg8bit"
LABEL_ENDING, IMAGE_ENDING = f"_{LABELS}.tif", f"_{IMAGES}.png"
LABEL_FOLDERS = (LABELS, f"{LABELS}_trainval/{LABELS}", f"{LABELS}_trainval", f"*/{LABELS}")
IMAGE_FOLDERS = (IMAGES, f"{IMAGES}_trainvaltest/{IMAGES}", f"{IMAGES}_trainvaltest", f"*/{IMAGES}")
"""Places below the source folder, glob patterns."""

CLASSES = 34
"""Classes of Cityscapes, 0 = unlabelled to 33 = bicycle."""
PARTS = 100
"""Number of part ids of two digits, 0 = none."""
IGNORED = (*range(7), 9, 10, 14, 15, 16, 18, 29, 30)
"""Classes that the published evaluation leaves out: void ones, and rare ones such as caravan (cpp_parts_23.yaml)."""
ARTEFACTS = ((24, 5), (25, 5))
"""Class and part id of artefacts."""

NO_PART = "no part of the 23"
BROKEN_IDS = "ids cannot be read"
ARTEFACT = "part 5 of person or rider is no part: its pixels are ignored"
UNKNOWN_PART = "unknown part: its pixels are ignored"
UNKNOWN_ID = "number is no id: its pixels are ignored"


@dataclass(frozen=True)
class IdTable:
    """Indices of the store by id; -1 = none.

    Attributes:
        categories: Class -> index of the object.
        pairs: Class, part -> index of the pair.
    """

    categories: Int[np.ndarray, "classes"]
    pairs: Int[np.ndarray, "classes parts"]

    @classmethod
    def of(cls, manifest: Manifest) -> IdTable:
        """Build the table of a manifest."""
        categories, pairs = np.full(CLASSES, -1), np.full((CLASSES, PARTS), -1)
        classes = {index: int(number) for number, index in manifest.alias_indices.items()}
        for index, number in classes.items():
            categories[number] = index
        for (index, code), pair in manifest.code_pairs.items():
            pairs[classes[index], int(code)] = pair
        return cls(categories, pairs)


@dataclass(frozen=True)
class IdRuns:
    """Map of ids, column by column, as runs of equal ones: their masks are encoded without their pixels.

    Attributes:
        ids: Id of each run.
        starts: Position of each run's first pixel, and the number of all pixels at the end.
        size: Height and width in pixels.
    """

    ids: Int[np.ndarray, "runs"]
    starts: Int[np.ndarray, "runs+1"]
    size: tuple[int, int]

    @classmethod
    def of(cls, ids: Int[np.ndarray, "H W"]) -> IdRuns:
        """Compute the runs of a map."""
        columns = ids.T.ravel()
        starts = np.flatnonzero(np.concatenate([[True], columns[1:] != columns[:-1]]))
        return cls(columns[starts].astype(np.int64), np.append(starts, columns.size), (ids.shape[0], ids.shape[1]))

    def mask(self, chosen: Bool[np.ndarray, "runs"]) -> Mask:
        """Encode the pixels of the chosen runs."""
        changes = np.flatnonzero(np.diff(chosen, prepend=False))
        bounds = np.concatenate([[0], self.starts[changes], self.starts[-1:]])
        code = {"size": list(self.size), "counts": np.diff(bounds).tolist()}
        return Mask.from_coco(coco.frPyObjects(code, *self.size))

    def pixels(self, chosen: Bool[np.ndarray, "runs"]) -> int:
        """Count the pixels of the chosen runs."""
        return int(np.diff(self.starts)[chosen].sum())


@dataclass(frozen=True)
class IdDigits:
    """Ids split into their digits.

    Attributes:
        exists: Whether the number is an id of the format.
        classes: Class, 0 if the number is no id.
        objects: Class and instance: the id without its part; the class alone without an instance.
        parts: Part, 0 = none.
    """

    exists: Bool[np.ndarray, "ids"]
    classes: Int[np.ndarray, "ids"]
    objects: Int[np.ndarray, "ids"]
    parts: Int[np.ndarray, "ids"]

    @classmethod
    def of(cls, ids: Int[np.ndarray, "ids"]) -> IdDigits:
        """Split ids, with integers alone."""
        objects = np.where(ids >= 10**5, ids // 100, ids)
        classes = np.where(objects >= 10**3, objects // 10**3, objects)
        exists = (classes >= 0) & (classes < CLASSES)
        return cls(exists, np.where(exists, classes, 0), objects, np.where(exists & (ids >= 10**5), ids % 100, 0))


@dataclass(frozen=True)
class CityscapesImage:
    """Annotated image.

    Attributes:
        item: Name of its ids below the source folder.
        path: Path of its ids.
        image: Path of the image below the folder of the images.
        split: "train" or "val".
        image_id: Name without the ending.
    """

    item: str
    path: Path
    image: str
    split: str
    image_id: str


def convert(source: Path, manifest: Manifest) -> Conversion:
    """Convert the ids and images below `source`; images are converted lazily.

    Raises:
        DataError: One of the two is missing, an image is there twice, or a link leads out of `source`.
    """
    labels = _find_folder(source, LABEL_FOLDERS, f"{LABELS}_trainval.zip")
    folder = _find_folder(source, IMAGE_FOLDERS, f"{IMAGES}_trainvaltest.zip")
    images = list(find_images(source, labels))
    check_images(source, labels, folder, images)
    items = [SourceImage(image.item, image, (image.path,)) for image in images]
    return Conversion(folder, items, partial(convert_image, IdTable.of(manifest)), image_root(folder), SPLITS)


def find_images(source: Path, labels: Path) -> Iterator[CityscapesImage]:
    """Yield the annotated images in order, without ignored files."""
    for split in SPLITS:
        for path in sorted((labels / split).glob(f"*/*{LABEL_ENDING}")):
            if not is_ignored_file(path.name):
                stem = path.name.removesuffix(LABEL_ENDING)
                image = f"{split}/{path.parent.name}/{stem}{IMAGE_ENDING}"
                yield CityscapesImage(path.relative_to(source).as_posix(), path, image, split, stem)


def check_images(source: Path, labels: Path, folder: Path, images: Sequence[CityscapesImage]) -> None:
    """Check that there are ids and images, each once, and no links out of `source`.

    Raises:
        DataError: This is not so.
    """
    if not images:
        raise DataError(
            f"{labels}: must hold train/CITY/*{LABEL_ENDING} or val/CITY/*{LABEL_ENDING}, got none; unpack "
            f"{LABELS}_trainval.zip again"
        )
    first: dict[str, CityscapesImage] = {}
    for image in images:
        other = first.setdefault(image.image_id, image)
        if other is not image:
            raise DataError(
                f"{source}: an image must be there once, got {other.item} and {image.item}; unpack "
                f"{LABELS}_trainval.zip into an empty folder"
            )
    paths = [path for image in images for path in (image.path, folder / image.image)]
    check_links(source, (labels, folder, *sorted({path.parent for path in paths})), paths)
    if not any((folder / image.image).is_file() for image in images):
        raise DataError(
            f"{folder}: must hold the images of {labels}, got none of them, such as {images[0].image}; unpack "
            f"{IMAGES}_trainvaltest.zip"
        )


def convert_image(table: IdTable, image: CityscapesImage) -> list[Outcome]:
    """Return an outcome for each kind of unexpected ids, then that of the image.

    Raises:
        InvalidAnnotationError: The ids cannot be read.
    """
    runs = IdRuns.of(read_ids(image.path))
    digits = IdDigits.of(runs.ids)
    outcomes: list[Outcome] = list(find_unexpected(image.item, runs, digits, table))
    parts = read_parts(runs, digits, table)
    if not parts:
        return [*outcomes, Skipped(image.item, NO_PART, is_defect=False)]
    lacks_part = (table.categories[digits.classes] >= 0) & (table.pairs[digits.classes, digits.parts] < 0)
    ignore = runs.mask(np.isin(digits.classes, IGNORED) | lacks_part)
    record = Record(
        image_id=image.image_id,
        file_name=image.image,
        width=runs.size[1],
        height=runs.size[0],
        source=image.item,
        objects=read_objects(runs, digits, table),
        parts=parts,
        ignore=ignore if ignore.area else None,
    )
    return [*outcomes, Converted(image.split, record)]


def read_ids(path: Path) -> Int[np.ndarray, "H W"]:
    """Read a TIFF of 32-bit integers.

    Raises:
        InvalidAnnotationError: The file is something else, or not whole.
    """
    return read_pixels(path, ["I"], "32-bit integers (mode I)", BROKEN_IDS, "TIFF")


def read_objects(runs: IdRuns, digits: IdDigits, table: IdTable) -> tuple[Instance, ...]:
    """Return the objects in the order of their numbers, regions without instances first."""
    categories = table.categories[digits.classes]
    found = []
    for number in np.unique(digits.objects[categories >= 0]).tolist():
        chosen = digits.objects == number
        found.append(Instance(number, int(categories[chosen][0]), runs.mask(chosen), synthetic=number < CLASSES))
    return tuple(found)


def read_parts(runs: IdRuns, digits: IdDigits, table: IdTable) -> tuple[Part, ...]:
    """Return the known parts in the order of their ids."""
    pairs = table.pairs[digits.classes, digits.parts]
    found = []
    for number in np.unique(runs.ids[pairs >= 0]).tolist():
        chosen = runs.ids == number
        found.append(Part(number // 100, int(pairs[chosen][0]), str(number % 100), 1, runs.mask(chosen)))
    return tuple(found)


def find_unexpected(item: str, runs: IdRuns, digits: IdDigits, table: IdTable) -> Iterator[Skipped]:
    """Yield each kind of ids that the format does not have."""
    is_part = (digits.parts > 0) & (table.pairs[digits.classes, digits.parts] < 0)
    is_artefact = np.isin(digits.classes * PARTS + digits.parts, [number * PARTS + part for number, part in ARTEFACTS])
    for reason, chosen in (
        (ARTEFACT, is_part & is_artefact),
        (UNKNOWN_PART, is_part & ~is_artefact),
        (UNKNOWN_ID, ~digits.exists),
    ):
        if chosen.any():
            numbers = [str(number) for number in np.unique(runs.ids[chosen]).tolist()]
            detail = f"{format_list(numbers)}: {runs.pixels(chosen)} pixels"
            yield Skipped(item, reason, is_defect=reason != ARTEFACT, detail=detail)


def _find_folder(source: Path, places: Sequence[str], archive: str) -> Path:
    """Return the first folder at `places` that has a split."""
    for folder in folders_at(source, places):
        if any((folder / split).is_dir() for split in SPLITS):
            return folder
    raise DataError(
        f"{source}: must hold the folder {places[0]} with train/ or val/ (looked for {', '.join(places)}), "
        f"got {describe_folder(source)}; unpack {archive} there"
    )
