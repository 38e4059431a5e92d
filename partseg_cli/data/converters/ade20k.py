"""ADE20K in its full release of 2021: photos, a JSON of objects for each of them, and a PNG for each object.

A folder of images/ADE/{training,validation}/ holds X.jpg, X.json, X_seg.png, X_parts_1.png, ..., and the folder X with
the PNGs that `instance_mask` names: 0 = elsewhere, 128 = the object, but covered by another, 255 = the object, seen.
`X_seg.png` and `X_parts_N.png` say the same without the overlaps (class = R // 10 * 256 + G = `name_ndx`): only their
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
"""What is found below a source, or below a folder in it -> what it is."""

NO_JSON = "annotation is missing"
NOT_JSON = "annotation is no JSON file"
BROKEN_JSON = "annotation cannot be read"
NO_MASK = "instance mask is missing"
BROKEN_MASK = "instance mask cannot be used"

VISIBLE = 255


@dataclass(frozen=True)
class Thing:
    """An object, or a part of one, as annotated.

    Attributes:
        id: its number in the image; numbers may be missing in between.
        code: its class, `name_ndx`, as text.
        whole: the `id` of what it is a part of.
        level: 0 for an object, 1 for a part, 2 for a part of a part.
        mask: path of its PNG, from the folder of the annotation.
    """

    id: int
    code: str
    whole: int | None
    level: int
    mask: str


@dataclass(frozen=True)
class Release:
    """The release on disk.

    Attributes:
        source: the folder that the user named.
        root: the folder ADE20K_2021_17_01 in it, whatever its name.
    """

    source: Path
    root: Path

    @classmethod
    def find(cls, source: Path) -> Release:
        """Find the release below `source`.

        Raises:
            DataError: there is none.
        """
        for folder in folders_at(source, FOLDERS):
            if any((folder / name).is_dir() for name in SPLITS):
                return cls(source, folder.parent.parent)
        raise _wrong(source, _content(source))

    def images(self) -> list[Path]:
        """Give the paths of all images, sorted, without suffix: where a photo or an annotation lies.

        Raises:
            DataError: they are not of this release, or a link leads out of the source or to itself.
        """
        images = sorted(image for name in SPLITS for image in _images(self.source, self.root / "images/ADE" / name))
        check_links(self.source, (), (path for image in images for path in (self.photo(image), self.annotation(image))))
        if not any(self.annotation(image).is_file() for image in images):
            is_old = any(_beside(image, "_atr.txt").is_file() for image in images)
            raise _wrong(self.source, "the release of 2016 (_atr.txt in place of .json)" if is_old else "no .json file")
        _check_kind(self.source, images)
        return images

    def split(self, image: Path) -> str:
        """Give the split of an image."""
        return SPLITS[image.relative_to(self.root / "images/ADE").parts[0]]

    def photo(self, image: Path) -> Path:
        """Give the path of the photo of an image."""
        return _beside(image, ".jpg")

    def annotation(self, image: Path) -> Path:
        """Give the path of the annotation of an image."""
        return _beside(image, ".json")

    def mask_folder(self, image: Path) -> Path:
        """Give the folder of the masks of an image, as the release has it."""
        return image

    def item(self, image: Path) -> str:
        """Give the name of the annotation of an image, below the source folder."""
        return self.annotation(image).relative_to(self.source).as_posix()

    def things(self, image: Path) -> dict[int, Thing]:
        """Read objects and parts of an image by their `id`, in the order of the file.

        Raises:
            DefectError: the annotation is missing, something else, broken, or of another structure.
        """
        path = self.annotation(image)
        if not path.is_file():
            raise InvalidAnnotationError(NO_JSON, path.name)
        try:
            content = path.read_bytes()
            if not content.lstrip().startswith(b"{"):
                raise InvalidAnnotationError(NOT_JSON, describe_file(path))
            return _things(content)
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise InvalidAnnotationError(BROKEN_JSON, f"{type(error).__name__}: {one_line(error)}") from error

    def mask_path(self, image: Path, thing: Thing) -> Path:
        """Give the path of the mask of a thing.

        Raises:
            DefectError: it leads nowhere.
            DataError: it leads out of the source folder, or is a link to itself.
        """
        path = absolute(image.parent / thing.mask)
        if not path.is_relative_to(absolute(self.source)):
            raise DataError(
                f"{self.annotation(image)}: an instance mask must be inside {self.source}, got {thing.mask!r}; mend it"
            )
        if os.path.lexists(path):
            check_links(self.source, (), (path,))
        if not os.path.isfile(path):  # noqa: PTH113 - takes a name that no system allows as missing
            raise InvalidAnnotationError(NO_MASK, thing.mask)
        return path


def is_release(source: Path) -> bool:
    """Tell whether the full release lies below `source`."""
    return any(folders_at(source, FOLDERS))


def visible_pixels(path: Path) -> Bool[np.ndarray, "H W"]:
    """Give the pixels where the thing of an instance mask is seen.

    Raises:
        DefectError: it is not whole, or no 8-bit grey PNG.
    """
    return np.asarray(read_pixels(path, ["L"], "grey of 8 bits (mode L)", BROKEN_MASK) == VISIBLE)


def _things(content: bytes) -> dict[int, Thing]:
    """Read an annotation; what is no UTF-8 in it can only stand in words, which do not count here."""
    rows = _listed(json.loads(content.decode(errors="replace"))["annotation"]["object"])
    things = [_thing(row) for row in rows]
    by_id = {thing.id: thing for thing in things}
    if len(by_id) != len(things):
        raise ValueError(f"ids of objects must differ, got {len(things)} objects with {len(by_id)} ids")
    return by_id


def _thing(row: Any) -> Thing:  # noqa: ANN401 - a JSON value
    parts = row["parts"]
    wholes = [_whole_number(value) for value in _listed(parts["ispartof"])]
    if len(wholes) > 1:
        raise ValueError(f"ispartof must name at most one object, got {wholes}")
    code, level = str(_whole_number(row["name_ndx"])), _whole_number(parts["part_level"])
    mask = str(row["instance_mask"]).encode(errors="replace").decode()  # JSON can spell what is no text
    return Thing(_whole_number(row["id"]), code, wholes[0] if wholes else None, level, mask)


def _listed(value: Any) -> list[Any]:  # noqa: ANN401 - a JSON value
    """Give a list: MATLAB, which wrote the files, leaves the brackets out around a single element."""
    return value if isinstance(value, list) else [value]


def _whole_number(value: Any) -> int:  # noqa: ANN401 - a JSON value
    if not isinstance(value, int):
        raise TypeError(f"id, name_ndx, ispartof and part_level must be whole numbers, got {value!r}")
    return value


def _images(source: Path, folder: Path) -> Iterator[Path]:
    """Walk through the images below `folder`, past their folders of masks and what macOS leaves in archives."""
    for place, folders, files in os.walk(folder, onerror=_refuse):
        seen = (name for name in files if not is_ignored_file(name))
        stems = {Path(name).stem for name in seen if name.endswith((".jpg", ".json"))}
        check_links(source, (Path(place),), (Path(place, name) for name in folders))
        folders[:] = [name for name in folders if name not in stems and not is_ignored_file(name)]
        yield from (Path(place, stem) for stem in stems)


def _refuse(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):  # a release may lie there without its validation part
        raise DataError(f"{error.filename}: must be readable, got {error.strerror}; check its permissions") from error


def _check_kind(source: Path, images: list[Path]) -> None:
    """Look at the first label picture: in the full release it is RGB, in SceneParsing150 grey or a palette."""
    for path in (_beside(image, "_seg.png") for image in images):
        mode = _mode(path)
        if mode is not None:
            if mode != "RGB":
                raise _wrong(source, f"label pictures of mode {mode}, as in SceneParsing150 ({path.name})")
            return


def _mode(path: Path) -> str | None:
    """Give the mode of a PNG, or None if it is missing or broken, which does no harm where it is not read."""
    try:
        with Image.open(path, formats=("PNG",)) as picture:
            return picture.mode
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None


def _wrong(source: Path, got: str) -> DataError:
    return DataError(
        f"{source}: must hold ADE20K_2021_17_01/images/ADE/training or validation, the full ADE20K of 2021 with .json "
        f"and instance masks (looked for {', '.join(FOLDERS)}), got {got}; unpack ADE20K_2021_17_01.zip there"
    )


def _content(folder: Path) -> str:
    """Say what `folder` holds instead."""
    if not folder.is_dir():
        return "a file" if folder.exists() else "no such folder"
    for pattern, name in OTHER_RELEASES.items():
        if any(folder.glob(pattern)) or any(folder.glob(f"*/{pattern}")):
            return name
    return describe_folder(folder)


def _beside(image: Path, ending: str) -> Path:
    """Give the file of an image with this ending; a stem may hold a dot."""
    return image.with_name(image.name + ending)
