"""ADE20K in its full release of 2021: images, a JSON of objects for each, and a PNG for each object.

A folder of images/ADE/{training,validation}/ holds X.jpg, X.json, X_seg.png, X_parts_1.png, ..., and the folder X with
the PNGs that `instance_mask` names: 0 = elsewhere, 128 = the object, but covered by another, 255 = the object, visible.
`X_seg.png` and `X_parts_N.png` hold the same without the overlaps (class = R // 10 * 256 + G = `name_ndx`): only their
kind is looked at here, to tell the release from SceneParsing150.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool
from PIL import Image

from partseg_cli.data.converters.conversion import InvalidAnnotationError, read_pixels
from partseg_cli.errors import DataError, one_line
from partseg_cli.io.files import absolute, check_links, describe_file, describe_folder, folders_at, is_ignored_file

FOLDERS = ("images/ADE", "ADE20K_2021_17_01/images/ADE", "*/ADE20K_2021_17_01/images/ADE")
SPLITS = {"training": "train", "validation": "val"}
"""Folder of the release -> split."""

OTHER_RELEASES = {
    "annotations_detectron2_part": "the OV-PARTS repack (16-bit label maps)",
    "annotations/training": "SceneParsing150 (ADEChallengeData2016, 150 classes without parts)",
    "annotations/validation": "SceneParsing150 (ADEChallengeData2016, 150 classes without parts)",
    "images/training/*/*/*_atr.txt": "the release of 2016 (_atr.txt in place of .json)",
    "images/validation/*/*/*_atr.txt": "the release of 2016 (_atr.txt in place of .json)",
}
"""Pattern below a source, or below a folder in it -> what it is."""

NO_JSON = "annotation is missing"
NOT_JSON = "annotation is no JSON file"
BROKEN_JSON = "annotation cannot be read"
NO_MASK = "instance mask is missing"
BROKEN_MASK = "instance mask cannot be used"

VISIBLE = 255


@dataclass(frozen=True)
class AnnotatedObject:
    """Object, or part of one, as annotated.

    Attributes:
        id: Number in the image; numbers may be missing in between.
        code: Class, `name_ndx`, as text.
        whole: `id` of the object that this is a part of, if any.
        level: 0 for an object, 1 for a part, 2 for a part of a part.
        mask: Path of its PNG from the folder of the annotation.
    """

    id: int
    code: str
    whole: int | None
    level: int
    mask: str


@dataclass(frozen=True)
class FullRelease:
    """Full release on disk. An image is given by its path without suffix; a stem may hold a dot.

    Attributes:
        source: Folder that the user named.
        root: Folder ADE20K_2021_17_01 in it, whatever its name.
    """

    source: Path
    root: Path

    @classmethod
    def find(cls, source: Path) -> FullRelease:
        """Find the release below `source`.

        Raises:
            DataError: There is none.
        """
        for folder in folders_at(source, FOLDERS):
            if any((folder / name).is_dir() for name in SPLITS):
                return cls(source, folder.parent.parent)
        for pattern, name in OTHER_RELEASES.items():
            if any(source.glob(pattern)) or any(source.glob(f"*/{pattern}")):
                raise _wrong(source, name)
        raise _wrong(source, describe_folder(source))

    def images(self) -> list[Path]:
        """Return the paths of all images, sorted, without suffix: those of an image or annotation file.

        Raises:
            DataError: They are not of this release, or a link leads out of the source or to itself.
        """
        images = sorted(image for name in SPLITS for image in _walk(self.source, self.root / "images/ADE" / name))
        files = (path for image in images for path in (self.image_file(image), self.annotation(image)))
        check_links(self.source, (), files)
        if not any(self.annotation(image).is_file() for image in images):
            is_old = any(image.with_name(f"{image.name}_atr.txt").is_file() for image in images)
            raise _wrong(self.source, "the release of 2016 (_atr.txt in place of .json)" if is_old else "no .json file")
        _check_kind(self.source, images)
        return images

    def split(self, image: Path) -> str:
        """Return the split of an image."""
        return SPLITS[image.relative_to(self.root / "images/ADE").parts[0]]

    def image_file(self, image: Path) -> Path:
        """Return the path of the image file."""
        return image.with_name(f"{image.name}.jpg")

    def annotation(self, image: Path) -> Path:
        """Return the path of the annotation of an image."""
        return image.with_name(f"{image.name}.json")

    def item(self, image: Path) -> str:
        """Return the name of the annotation of an image, below the source folder."""
        return self.annotation(image).relative_to(self.source).as_posix()

    def read_annotation(self, image: Path) -> dict[int, AnnotatedObject]:
        """Read objects and parts of an image by their `id`, in the order of the file.

        Text that is no UTF-8 only occurs in names, which are not read.

        Raises:
            InvalidAnnotationError: The annotation is missing, something else, broken, or of another structure.
        """
        path = self.annotation(image)
        if not path.is_file():
            raise InvalidAnnotationError(NO_JSON, path.name)
        try:
            content = path.read_bytes()
            if not content.lstrip().startswith(b"{"):
                raise InvalidAnnotationError(NOT_JSON, describe_file(path))
            rows = _listed(json.loads(content.decode(errors="replace"))["annotation"]["object"])
            objects = [_parse_object(row) for row in rows]
            by_id = {obj.id: obj for obj in objects}
            if len(by_id) != len(objects):
                raise ValueError(f"ids of objects must differ, got {len(objects)} objects with {len(by_id)} ids")
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise InvalidAnnotationError(BROKEN_JSON, f"{type(error).__name__}: {one_line(error)}") from error
        return by_id

    def read_mask(self, image: Path, obj: AnnotatedObject) -> Bool[np.ndarray, "H W"]:
        """Read the pixels where an object is visible.

        Raises:
            InvalidAnnotationError: Its mask is missing, not whole, or no 8-bit grey PNG.
            DataError: The path leads out of the source folder, or is a link to itself.
        """
        path = absolute(image.parent / obj.mask)
        if not path.is_relative_to(absolute(self.source)):
            raise DataError(
                f"{self.annotation(image)}: an instance mask must be inside {self.source}, got {obj.mask!r}; fix it"
            )
        if os.path.lexists(path):
            check_links(self.source, (), (path,))
        if not os.path.isfile(path):  # noqa: PTH113 - takes a name that no system allows as missing
            raise InvalidAnnotationError(NO_MASK, obj.mask)
        return np.asarray(read_pixels(path, ["L"], "grey of 8 bits (mode L)", BROKEN_MASK) == VISIBLE)


def is_release(source: Path) -> bool:
    """Return whether the full release is below `source`."""
    return any(folders_at(source, FOLDERS))


def _walk(source: Path, folder: Path) -> Iterator[Path]:
    """Yield the images below `folder`, without their folders of masks and ignored files."""

    def refuse(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):  # a release may come without its validation part
            raise DataError(
                f"{error.filename}: must be readable, got {error.strerror}; check its permissions"
            ) from error

    for place, folders, files in os.walk(folder, onerror=refuse):
        names = (name for name in files if not is_ignored_file(name))
        stems = {Path(name).stem for name in names if name.endswith((".jpg", ".json"))}
        check_links(source, (Path(place),), (Path(place, name) for name in folders))
        folders[:] = [name for name in folders if name not in stems and not is_ignored_file(name)]
        yield from (Path(place, stem) for stem in stems)


def _parse_object(row: Any) -> AnnotatedObject:  # noqa: ANN401 - a JSON value
    parts = row["parts"]
    wholes = [_integer(value) for value in _listed(parts["ispartof"])]
    if len(wholes) > 1:
        raise ValueError(f"ispartof must name at most one object, got {wholes}")
    code, level = str(_integer(row["name_ndx"])), _integer(parts["part_level"])
    mask = str(row["instance_mask"]).encode(errors="replace").decode()  # JSON can spell what is no text
    return AnnotatedObject(_integer(row["id"]), code, wholes[0] if wholes else None, level, mask)


def _listed(value: Any) -> list[Any]:  # noqa: ANN401 - a JSON value
    """Return a list: MATLAB, which wrote the files, leaves out the brackets around a single element."""
    return value if isinstance(value, list) else [value]


def _integer(value: Any) -> int:  # noqa: ANN401 - a JSON value
    if not isinstance(value, int):
        raise TypeError(f"id, name_ndx, ispartof and part_level must be whole numbers, got {value!r}")
    return value


def _check_kind(source: Path, images: list[Path]) -> None:
    """Check that the first readable label image is RGB; in SceneParsing150 it is grey or has a palette.

    Raises:
        DataError: It is not.
    """
    for path in (image.with_name(f"{image.name}_seg.png") for image in images):
        try:
            with Image.open(path, formats=("PNG",)) as label_image:
                mode = label_image.mode
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            continue  # a missing or broken file does no harm, it is not read
        if mode != "RGB":
            raise _wrong(source, f"label images of mode {mode}, as in SceneParsing150 ({path.name})")
        return


def _wrong(source: Path, got: str) -> DataError:
    return DataError(
        f"{source}: must hold ADE20K_2021_17_01/images/ADE/training or validation, the full ADE20K of 2021 with .json "
        f"and instance masks (looked for {', '.join(FOLDERS)}), got {got}; unpack ADE20K_2021_17_01.zip there"
    )
