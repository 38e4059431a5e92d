"""PASCAL-Part in its original release: VOC2010 photos, and for each a `.mat` of object and part masks that overlap.

The file holds a struct `anno` with `objects`, each with `class`, `mask` and `parts`, each with `part_name` and `mask`.
Codes such as "lwing" and "wheel_2" are merged into the pairs of the manifest; the raw masks stay apart in the store.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool
from scipy.io import loadmat

from partseg_cli.data.converters.conversion import (
    MASKS_DIFFER,
    Conversion,
    Converted,
    InvalidAnnotationError,
    Outcome,
    Skipped,
    SourceImage,
)
from partseg_cli.data.manifest import Manifest
from partseg_cli.data.record import Instance, Part, Record
from partseg_cli.data.rle import Mask
from partseg_cli.data.store import image_root
from partseg_cli.errors import DataError, one_line
from partseg_cli.io.files import check_links, describe_file, describe_folder, folders_at, is_ignored_file

ANNOTATION_FOLDERS = (
    "Annotations_Part",
    "pascal_part/Annotations_Part",
    "*/Annotations_Part",
    "*/*/Annotations_Part",
)
PHOTO_FOLDERS = (
    "JPEGImages",
    "VOC2010/JPEGImages",
    "VOCdevkit/VOC2010/JPEGImages",
    "*/VOC2010/JPEGImages",
    "*/*/VOC2010/JPEGImages",
    "*/JPEGImages",
    "*/*/JPEGImages",
)
REPACK_FOLDER = "annotations_detectron2_part"
"""Marks the repack of OV-PARTS: flat label maps, which are not the original release."""

NO_PART = "no part of the 116"
NOT_MAT = "annotation is no .mat file"
BROKEN_MAT = "annotation cannot be read"
UNKNOWN_OBJECT = "annotation names an unknown object"
UNKNOWN_CODE = "annotation has an unknown part code"

MAT_SIGNATURE = b"MATLAB"
COUNTER = re.compile(r"_\d+$")


@dataclass(frozen=True)
class RawPart:
    """A part as annotated, with its original code."""

    code: str
    pixels: Bool[np.ndarray, "H W"]


@dataclass(frozen=True)
class RawObject:
    """An object as annotated, with its original name."""

    name: str
    pixels: Bool[np.ndarray, "H W"]
    parts: tuple[RawPart, ...]


@dataclass(frozen=True)
class Translation:
    """Leads from the words of the annotation to the indices of the store.

    Attributes:
        categories: name of an object as annotated -> index into the manifest's objects.
        pairs: index of an object, pattern of a code (`wheel_N`) -> index into the manifest's pairs.
    """

    categories: dict[str, int]
    pairs: dict[tuple[int, str], int]

    @classmethod
    def of(cls, manifest: Manifest) -> Translation:
        """Give the translation that the manifest describes."""
        categories = {name: index for index, name in enumerate(manifest.objects)}
        pairs = {
            (categories[pair.object], pattern): index
            for index, pair in enumerate(manifest.vocabulary.pairs)
            for pattern in manifest.raw_codes[pair.object][pair.part]
        }
        return cls(categories | {name: categories[ours] for name, ours in manifest.aliases.items()}, pairs)

    def category(self, name: str) -> int:
        """Give the index of the object called `name`.

        Raises:
            DefectError: there is no such object.
        """
        if name not in self.categories:
            raise InvalidAnnotationError(UNKNOWN_OBJECT, name)
        return self.categories[name]

    def pair(self, name: str, code: str) -> int:
        """Give the index of the pair that part `code` of object `name` belongs to.

        Raises:
            DefectError: there is no such object, or it has no such part.
        """
        key = (self.category(name), COUNTER.sub("_N", code))
        if key not in self.pairs:
            raise InvalidAnnotationError(UNKNOWN_CODE, f"{name}: {code}")
        return self.pairs[key]


@dataclass(frozen=True)
class Release:
    """An original release on disk.

    Attributes:
        source: the folder that holds all of it.
        annotations: the folder of the `.mat` files.
        photos: the folder of the photos.
    """

    source: Path
    annotations: Path
    photos: Path

    @classmethod
    def find(cls, source: Path) -> Release:
        """Find the folders of a release below `source`.

        Raises:
            DataError: one of them is not there, or a link in them leads out of `source` or to itself.
        """
        annotations = _find_folder(source, ANNOTATION_FOLDERS, "trainval.tar.gz of PASCAL-Part")
        photos = _find_folder(source, PHOTO_FOLDERS, "VOCtrainval_03-May-2010.tar of PASCAL VOC2010")
        check_links(source, (annotations, photos), (*annotations.glob("*.mat"), *photos.glob("*.jpg")))
        return cls(source, annotations, photos)

    def photo(self, stem: str) -> Path:
        """Give the path of the photo called `stem`."""
        return self.photos / f"{stem}.jpg"

    def stems(self) -> list[str]:
        """Give the names of the annotations, sorted, without what macOS leaves in archives.

        Raises:
            DataError: there is no annotation, or none of them has its photo.
        """
        stems = sorted(path.stem for path in self.annotations.glob("*.mat") if not is_ignored_file(path.name))
        if not stems:
            raise DataError(f"{self.annotations}: must hold .mat files, got none; unpack trainval.tar.gz again")
        if not any(self.photo(stem).is_file() for stem in stems):
            raise DataError(
                f"{self.photos}: must hold the photos of {self.annotations}, got none of them, such as {stems[0]}.jpg; "
                "unpack VOCtrainval_03-May-2010.tar"
            )
        return stems

    def item(self, stem: str) -> str:
        """Give the name of an annotation below the source folder."""
        return (self.annotations / f"{stem}.mat").relative_to(self.source).as_posix()


def is_release(source: Path) -> bool:
    """Tell whether annotations of the original release lie below `source`."""
    return any(folders_at(source, ANNOTATION_FOLDERS))


def convert(source: Path, manifest: Manifest) -> Conversion:
    """Convert the original release below `source`, lazily, one outcome for each annotation.

    An image belongs to val if the manifest lists it, else to train.

    Raises:
        DataError: `source` is no original release.
    """
    release = Release.find(source)
    val = manifest.val_stems()
    items = [
        SourceImage(
            release.item(stem), (stem, "val" if stem in val else "train"), (release.annotations / f"{stem}.mat",)
        )
        for stem in release.stems()
    ]
    translate = partial(convert_image, release, Translation.of(manifest))
    return Conversion(release.photos, items, translate, image_root(release.photos))


def convert_image(release: Release, translation: Translation, content: tuple[str, str]) -> list[Outcome]:
    """Give the outcome of one image, (stem, split).

    Raises:
        DefectError: the annotation is broken.
    """
    stem, split = content
    things = read_annotation(release.annotations / f"{stem}.mat")
    objects = tuple(
        Instance(index, translation.category(thing.name), Mask.encode(thing.pixels))
        for index, thing in enumerate(things)
    )
    parts = tuple(
        Part(index, translation.pair(thing.name, part.code), part.code, 1, Mask.encode(part.pixels))
        for index, thing in enumerate(things)
        for part in thing.parts
    )
    parts = tuple(part for part in parts if part.mask.area > 0)
    if not parts:
        return [Skipped(release.item(stem), NO_PART, is_defect=False)]
    height, width = common_size(things)
    return [Converted(split, Record(stem, f"{stem}.jpg", width, height, release.item(stem), objects, parts))]


def read_annotation(path: Path) -> tuple[RawObject, ...]:
    """Read the objects of one `.mat` file, in its order.

    Raises:
        DefectError: it is something else, broken, or of another structure.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InvalidAnnotationError(BROKEN_MAT, error.strerror or str(error)) from error
    if not content.startswith(MAT_SIGNATURE):
        raise InvalidAnnotationError(NOT_MAT, describe_file(path))
    try:
        (anno,) = _structs(loadmat(io.BytesIO(content), variable_names=["anno"])["anno"])
        return tuple(_raw_object(thing) for thing in _structs(anno["objects"]))
    except Exception as error:  # the reader raises whatever broken bytes lead it to
        raise InvalidAnnotationError(BROKEN_MAT, f"{type(error).__name__}: {one_line(error)}") from error


def common_size(things: Sequence[RawObject]) -> tuple[int, int]:
    """Give height and width that all masks have.

    Raises:
        DefectError: they differ.
    """
    sizes = {pixels.shape for thing in things for pixels in (thing.pixels, *(part.pixels for part in thing.parts))}
    if len(sizes) > 1:
        shown = ", ".join(f"{columns}x{rows}" for rows, columns in sorted(sizes))
        raise InvalidAnnotationError(MASKS_DIFFER, f"got {shown}")
    height, width = sizes.pop()
    return height, width


def _raw_object(thing: Any) -> RawObject:  # noqa: ANN401 - an element of a MATLAB struct array
    parts = tuple(RawPart(str(part["part_name"].item()), _pixels(part["mask"])) for part in _structs(thing["parts"]))
    return RawObject(str(thing["class"].item()), _pixels(thing["mask"]), parts)


def _structs(value: Any) -> Sequence[Any]:  # noqa: ANN401 - scipy's rendering of a MATLAB value
    """Give the elements of a struct array; an empty value of any type, as in objects without parts, has none."""
    return list(value.ravel()) if value.size else []


def _pixels(value: Any) -> Bool[np.ndarray, "H W"]:  # noqa: ANN401 - scipy's rendering of a MATLAB matrix
    pixels: Bool[np.ndarray, "H W"] = np.asarray(value) != 0
    if pixels.ndim != 2:
        raise ValueError(f"a mask must have rows and columns, got shape {pixels.shape}")
    return pixels


def _find_folder(source: Path, places: Sequence[str], archive: str) -> Path:
    """Give the first folder at `places`, glob patterns below `source`."""
    found = next(folders_at(source, places), None)
    if found is not None:
        return found
    raise DataError(
        f"{source}: must hold the folder {places[0]} (looked for {', '.join(places)}), got {_content(source)}; "
        f"unpack {archive} there"
    )


def _content(folder: Path) -> str:
    """Say what `folder` holds instead."""
    if any(folder.glob(REPACK_FOLDER)) or any(folder.glob(f"*/{REPACK_FOLDER}")):
        return f"the OV-PARTS repack ({describe_folder(folder)})"
    return describe_folder(folder)
