"""Cityscapes-Panoptic-Parts: Cityscapes' photos, and a TIFF of 32-bit ids for each, which are flat: nothing overlaps.

What the numbers mean is told in `panoptic_ids`.

- An instance becomes an object under its number (26003), with a part for each known part id.
- Pixels of one of the five classes without an instance are regions whose objects nobody told apart, such as a row of
  parked cars. Their class is sure, so they become one synthetic object of each class.
- What such pixels and those without a known part say of parts is nothing: they are ignored, as in the published
  evaluation of the 23 parts; so are the classes that it ignores, and numbers that do not exist.
- Part 5 of a person or rider, in about ten files, is a left-over of the making, and no part (README of version 2).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int

from partseg_cli.data.converters.conversion import Conversion, Converted, Outcome, Skipped, SourceImage
from partseg_cli.data.converters.panoptic_ids import CLASSES, PARTS, Digits, Runs, read_ids
from partseg_cli.data.manifest import Manifest
from partseg_cli.data.record import Instance, Part, Record
from partseg_cli.data.store import image_root
from partseg_cli.errors import DataError, format_list
from partseg_cli.io.files import check_links, describe_folder, folders_at, is_ignored_file

SPLITS = ("train", "val")
LABELS = "gtFinePanopticParts"
PHOTOS = "leftImg8bit"
LABEL_ENDING, PHOTO_ENDING = f"_{LABELS}.tif", f"_{PHOTOS}.png"
LABEL_FOLDERS = (LABELS, f"{LABELS}_trainval/{LABELS}", f"{LABELS}_trainval", f"*/{LABELS}")
PHOTO_FOLDERS = (PHOTOS, f"{PHOTOS}_trainvaltest/{PHOTOS}", f"{PHOTOS}_trainvaltest", f"*/{PHOTOS}")
"""Places below the source folder, glob patterns."""

IGNORED = (*range(7), 9, 10, 14, 15, 16, 18, 29, 30)
"""Classes that the published evaluation leaves out: void ones, and rare ones such as caravan (cpp_parts_23.yaml)."""
ARTEFACTS = ((24, 5), (25, 5))
"""Class and part id of what is no part, although it stands in files."""

NO_PART = "no part of the 23"
ARTEFACT = "part 5 of person or rider is no part: its pixels are ignored"
UNKNOWN_PART = "unknown part: its pixels are ignored"
UNKNOWN_ID = "number is no id: its pixels are ignored"


@dataclass(frozen=True)
class Table:
    """Leads from ids to the indices of the store; -1 = none.

    Attributes:
        categories: class -> index into the manifest's objects.
        pairs: class, part -> index into the manifest's pairs.
    """

    categories: Int[np.ndarray, "classes"]
    pairs: Int[np.ndarray, "classes parts"]

    @classmethod
    def of(cls, manifest: Manifest) -> Table:
        """Give the table that the manifest holds."""
        categories, pairs = np.full(CLASSES, -1), np.full((CLASSES, PARTS), -1)
        for number, name in manifest.aliases.items():
            categories[int(number)] = manifest.objects.index(name)
            for index, pair in enumerate(manifest.vocabulary.pairs):
                if pair.object == name:
                    pairs[int(number), [int(code) for code in manifest.raw_codes[name][pair.part]]] = index
        return cls(categories, pairs)


@dataclass(frozen=True)
class Labelled:
    """One annotated image.

    Attributes:
        item: name of its ids, below the source folder.
        path: of its ids.
        photo: path of its photo below the folder of the photos.
        split: "train" or "val".
        image_id: its name without the ending.
    """

    item: str
    path: Path
    photo: str
    split: str
    image_id: str


def convert(source: Path, manifest: Manifest) -> Conversion:
    """Convert the ids and photos below `source`; images are converted lazily.

    Raises:
        DataError: one of the two is not there, an image stands twice, or a link leads out of `source`.
    """
    labels = _find_folder(source, LABEL_FOLDERS, f"{LABELS}_trainval.zip")
    photos = _find_folder(source, PHOTO_FOLDERS, f"{PHOTOS}_trainvaltest.zip")
    images = list(_images(source, labels))
    _check_images(source, labels, photos, images)
    items = [SourceImage(image.item, image, (image.path,)) for image in images]
    return Conversion(photos, items, partial(convert_image, Table.of(manifest)), image_root(photos), SPLITS)


def convert_image(table: Table, image: Labelled) -> list[Outcome]:
    """Give an outcome for what is ignored although it should not be there, then that of the image.

    Raises:
        DefectError: the ids cannot be read.
    """
    runs = Runs.of(read_ids(image.path))
    digits = Digits.of(runs.ids)
    outcomes: list[Outcome] = list(_strange(image.item, runs, digits, table))
    parts = read_parts(runs, digits, table)
    if not parts:
        return [*outcomes, Skipped(image.item, NO_PART, is_defect=False)]
    ignore = runs.mask(_is_ignored(digits, table))
    record = Record(
        image_id=image.image_id,
        file_name=image.photo,
        width=runs.size[1],
        height=runs.size[0],
        source=image.item,
        objects=read_objects(runs, digits, table),
        parts=parts,
        ignore=ignore if ignore.area else None,
    )
    return [*outcomes, Converted(image.split, record)]


def read_objects(runs: Runs, digits: Digits, table: Table) -> tuple[Instance, ...]:
    """Give the objects in the order of their numbers, regions without instances first."""
    categories = table.categories[digits.classes]
    found = []
    for number in np.unique(digits.objects[categories >= 0]).tolist():
        chosen = digits.objects == number
        category = int(categories[chosen][0])
        found.append(Instance(number, category, runs.mask(chosen), synthetic=number < CLASSES))
    return tuple(found)


def read_parts(runs: Runs, digits: Digits, table: Table) -> tuple[Part, ...]:
    """Give the known parts in the order of their ids."""
    pairs = table.pairs[digits.classes, digits.parts]
    found = []
    for number in np.unique(runs.ids[pairs >= 0]).tolist():
        chosen = runs.ids == number
        pair = int(pairs[chosen][0])
        found.append(Part(number // 100, pair, str(number % 100), 1, runs.mask(chosen)))
    return tuple(found)


def _is_ignored(digits: Digits, table: Table) -> Bool[np.ndarray, "ids"]:
    """Tell which ids say nothing of parts: the published ignored ones, and objects that show none of their parts."""
    lacks_part = (table.categories[digits.classes] >= 0) & (table.pairs[digits.classes, digits.parts] < 0)
    ignored: Bool[np.ndarray, "ids"] = np.isin(digits.classes, IGNORED) | lacks_part
    return ignored


def _strange(item: str, runs: Runs, digits: Digits, table: Table) -> Iterator[Skipped]:
    """Tell of ids that should not be there."""
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


def _images(source: Path, labels: Path) -> Iterator[Labelled]:
    """Walk through the annotated images, in order, without what macOS leaves in archives."""
    for split in SPLITS:
        for path in sorted((labels / split).glob(f"*/*{LABEL_ENDING}")):
            if not is_ignored_file(path.name):
                stem = path.name.removesuffix(LABEL_ENDING)
                photo = f"{split}/{path.parent.name}/{stem}{PHOTO_ENDING}"
                yield Labelled(path.relative_to(source).as_posix(), path, photo, split, stem)


def _check_images(source: Path, labels: Path, photos: Path, images: Sequence[Labelled]) -> None:
    """Refuse a source without ids or photos, with an image twice, or with links that lead out of it."""
    if not images:
        raise DataError(
            f"{labels}: must hold train/CITY/*{LABEL_ENDING} or val/CITY/*{LABEL_ENDING}, got none; unpack "
            f"{LABELS}_trainval.zip again"
        )
    first: dict[str, Labelled] = {}
    for image in images:
        other = first.setdefault(image.image_id, image)
        if other is not image:
            raise DataError(
                f"{source}: an image must stand once, got {other.item} and {image.item}; unpack {LABELS}_trainval.zip "
                "into an empty folder"
            )
    paths = [path for image in images for path in (image.path, photos / image.photo)]
    check_links(source, (labels, photos, *sorted({path.parent for path in paths})), paths)
    if not any((photos / image.photo).is_file() for image in images):
        raise DataError(
            f"{photos}: must hold the photos of {labels}, got none of them, such as {images[0].photo}; unpack "
            f"{PHOTOS}_trainvaltest.zip"
        )


def _find_folder(source: Path, places: Sequence[str], archive: str) -> Path:
    """Give the first of `places` that has a split."""
    for folder in folders_at(source, places):
        if any((folder / split).is_dir() for split in SPLITS):
            return folder
    raise DataError(
        f"{source}: must hold the folder {places[0]} with train/ or val/ (looked for {', '.join(places)}), "
        f"got {describe_folder(source)}; unpack {archive} there"
    )
