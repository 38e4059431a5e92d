"""PASCAL-Part in its original release: VOC2010 images, each with a `.mat` file of overlapping object and part masks.

The file holds a struct `anno` with `objects`, each with `class`, `mask` and `parts`, each with `part_name` and `mask`.
Codes such as "lwing" and "wheel_2" are merged into the pairs of the manifest; the store keeps the raw masks apart.
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
IMAGE_FOLDERS = (
    "JPEGImages",
    "VOC2010/JPEGImages",
    "VOCdevkit/VOC2010/JPEGImages",
    "*/VOC2010/JPEGImages",
    "*/*/VOC2010/JPEGImages",
    "*/JPEGImages",
    "*/*/JPEGImages",
)
REPACK_FOLDER = "annotations_detectron2_part"
"""Folder of the OV-PARTS repack: flat label maps, which are not the original release."""

NO_PART = "no part of the 116"
NOT_MAT = "annotation is no .mat file"
BROKEN_MAT = "annotation cannot be read"
UNKNOWN_OBJECT = "annotation names an unknown object"
UNKNOWN_CODE = "annotation has an unknown part code"

MAT_SIGNATURE = b"MATLAB"
COUNTER = re.compile(r"_\d+$")


@dataclass(frozen=True)
class RawPart:
    """Part as annotated, with its original code."""

    code: str
    pixels: Bool[np.ndarray, "H W"]


@dataclass(frozen=True)
class RawObject:
    """Object as annotated, with its original name."""

    name: str
    pixels: Bool[np.ndarray, "H W"]
    parts: tuple[RawPart, ...]


@dataclass(frozen=True)
class Release:
    """Original release on disk.

    Attributes:
        source: Folder that holds all of it.
        annotations: Folder of the `.mat` files.
        images: Folder of the images.
    """

    source: Path
    annotations: Path
    images: Path

    @classmethod
    def find(cls, source: Path) -> Release:
        """Find the folders of a release below `source`.

        Raises:
            DataError: A folder is missing, or a link in one leads out of `source` or to itself.
        """
        annotations = find_folder(source, ANNOTATION_FOLDERS, "trainval.tar.gz of PASCAL-Part")
        images = find_folder(source, IMAGE_FOLDERS, "VOCtrainval_03-May-2010.tar of PASCAL VOC2010")
        check_links(source, (annotations, images), (*annotations.glob("*.mat"), *images.glob("*.jpg")))
        return cls(source, annotations, images)

    def annotation(self, stem: str) -> Path:
        """Return the path of an annotation."""
        return self.annotations / f"{stem}.mat"

    def item(self, stem: str) -> str:
        """Return the name of an annotation below the source folder."""
        return self.annotation(stem).relative_to(self.source).as_posix()

    def stems(self) -> list[str]:
        """Return the stems of the annotations, sorted, without ignored files.

        Raises:
            DataError: There is no annotation, or none of them has its image.
        """
        stems = sorted(path.stem for path in self.annotations.glob("*.mat") if not is_ignored_file(path.name))
        if not stems:
            raise DataError(f"{self.annotations}: must hold .mat files, got none; unpack trainval.tar.gz again")
        if not any((self.images / f"{stem}.jpg").is_file() for stem in stems):
            raise DataError(
                f"{self.images}: must hold the images of {self.annotations}, got none of them, such as {stems[0]}.jpg; "
                "unpack VOCtrainval_03-May-2010.tar"
            )
        return stems


def is_release(source: Path) -> bool:
    """Return whether `source` holds annotations of the original release."""
    return any(folders_at(source, ANNOTATION_FOLDERS))


def find_folder(source: Path, places: Sequence[str], archive: str) -> Path:
    """Return the first folder at glob patterns below `source`.

    Raises:
        DataError: There is none.
    """
    found = next(folders_at(source, places), None)
    if found is not None:
        return found
    is_repack = any(source.glob(REPACK_FOLDER)) or any(source.glob(f"*/{REPACK_FOLDER}"))
    got = f"the OV-PARTS repack ({describe_folder(source)})" if is_repack else describe_folder(source)
    raise DataError(
        f"{source}: must hold the folder {places[0]} (looked for {', '.join(places)}), got {got}; "
        f"unpack {archive} there"
    )


def convert(source: Path, manifest: Manifest) -> Conversion:
    """Convert the original release below `source`, lazily, with one outcome per annotation.

    An image belongs to val if the manifest lists it, else to train.

    Raises:
        DataError: `source` is no original release.
    """
    release = Release.find(source)
    val = manifest.val_stems()
    items = [
        SourceImage(release.item(stem), (stem, "val" if stem in val else "train"), (release.annotation(stem),))
        for stem in release.stems()
    ]
    return Conversion(release.images, items, partial(convert_image, release, manifest), image_root(release.images))


def convert_image(release: Release, manifest: Manifest, content: tuple[str, str]) -> list[Outcome]:
    """Return the outcome of one image, given by stem and split.

    Raises:
        InvalidAnnotationError: The annotation is broken.
    """
    stem, split = content
    raw_objects = read_annotation(release.annotation(stem))
    objects = tuple(
        Instance(number, find_object(manifest, raw.name), Mask.encode(raw.pixels))
        for number, raw in enumerate(raw_objects)
    )
    parts = tuple(
        Part(number, find_pair(manifest, raw.name, part.code), part.code, 1, Mask.encode(part.pixels))
        for number, raw in enumerate(raw_objects)
        for part in raw.parts
    )
    parts = tuple(part for part in parts if part.mask.area > 0)
    if not parts:
        return [Skipped(release.item(stem), NO_PART, is_defect=False)]
    height, width = common_size(raw_objects)
    record = Record(stem, f"{stem}.jpg", width, height, release.item(stem), objects, parts)
    return [Converted(split, record)]


def find_object(manifest: Manifest, name: str) -> int:
    """Return the index of an object by its name in the annotation.

    Raises:
        InvalidAnnotationError: There is no such object.
    """
    index = manifest.object_indices.get(name, manifest.alias_indices.get(name))
    if index is None:
        raise InvalidAnnotationError(UNKNOWN_OBJECT, name)
    return index


def find_pair(manifest: Manifest, name: str, code: str) -> int:
    """Return the index of the pair that a part with this code of an object belongs to.

    Raises:
        InvalidAnnotationError: There is no such object, or it has no such part.
    """
    key = (find_object(manifest, name), COUNTER.sub("_N", code))
    if key not in manifest.code_pairs:
        raise InvalidAnnotationError(UNKNOWN_CODE, f"{name}: {code}")
    return manifest.code_pairs[key]


def read_annotation(path: Path) -> tuple[RawObject, ...]:
    """Read the objects of one `.mat` file, in its order.

    Raises:
        InvalidAnnotationError: The file is something else, broken, or of another structure.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InvalidAnnotationError(BROKEN_MAT, error.strerror or str(error)) from error
    if not content.startswith(MAT_SIGNATURE):
        raise InvalidAnnotationError(NOT_MAT, describe_file(path))
    try:
        (anno,) = _structs(loadmat(io.BytesIO(content), variable_names=["anno"])["anno"])
        return tuple(
            RawObject(
                str(obj["class"].item()),
                _pixels(obj["mask"]),
                tuple(RawPart(str(part["part_name"].item()), _pixels(part["mask"])) for part in _structs(obj["parts"])),
            )
            for obj in _structs(anno["objects"])
        )
    except Exception as error:  # the reader raises whatever broken bytes lead it to
        raise InvalidAnnotationError(BROKEN_MAT, f"{type(error).__name__}: {one_line(error)}") from error


def common_size(objects: Sequence[RawObject]) -> tuple[int, int]:
    """Return height and width of all masks.

    Raises:
        InvalidAnnotationError: They differ.
    """
    sizes = {pixels.shape for obj in objects for pixels in (obj.pixels, *(part.pixels for part in obj.parts))}
    if len(sizes) > 1:
        shown = ", ".join(f"{columns}x{rows}" for rows, columns in sorted(sizes))
        raise InvalidAnnotationError(MASKS_DIFFER, f"got {shown}")
    height, width = sizes.pop()
    return height, width


def _structs(value: Any) -> Sequence[Any]:  # noqa: ANN401 - scipy's rendering of a MATLAB value
    """Return the elements of a struct array; an empty value of any type, as in objects without parts, has none."""
    return list(value.ravel()) if value.size else []


def _pixels(value: Any) -> Bool[np.ndarray, "H W"]:  # noqa: ANN401 - scipy's rendering of a MATLAB matrix
    pixels: Bool[np.ndarray, "H W"] = np.asarray(value) != 0
    if pixels.ndim != 2:
        raise ValueError(f"a mask must have rows and columns, got shape {pixels.shape}")
    return pixels
