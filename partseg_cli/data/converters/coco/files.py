"""Files of a COCO set in a user's folder: which are read, and where their images are stored."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

from partseg_cli.data.converters.conversion import NO_IMAGE, InvalidAnnotationError
from partseg_cli.errors import DataError, UsageError, format_list, one_line
from partseg_cli.io.files import absolute, is_ignored_file, is_inside, read_json

SPLITS = ("train", "val")
LISTS = ("images", "annotations", "categories")
"""Lists in the JSON of a COCO set."""
IMAGE_FOLDERS = ("", "images", "JPEGImages")
"""Folders of the images in those of the JSON file and of the set, each also with the name of the split."""
SURROGATE = re.compile(r"[\ud800-\udfff]")

EXPORT_AGAIN = "export it again as COCO"

NO_NAME = "image record names no file"


@dataclass(frozen=True)
class Category:
    """Category of a COCO file.

    Attributes:
        name: Name in one line.
        kind: Supercategory in capitals, OBJECT or PART in PACO.
    """

    name: str
    kind: str

    @property
    def is_background(self) -> bool:
        """True for the background, such as `_background_`."""
        return self.name.strip("_").lower() == "background"


@dataclass(frozen=True)
class CocoFile:
    """COCO file whose lists are not checked yet.

    Attributes:
        path: Path of the file.
        name: Path below the source folder.
        split: Split of all of its images.
        images: Image records.
        annotations: Annotations.
        categories: Categories by id.
        info: Description, None without one.
    """

    path: Path
    name: str
    split: str
    images: list[Any]
    annotations: list[Any]
    categories: dict[int | str, Category]
    info: Any = field(default=None, repr=False)


def choose_files(source: Path, annotations: Sequence[Path], splits: Sequence[str]) -> list[tuple[Path, str]]:
    """Pair the files that the user names, or else the only COCO file below `source`, with their splits.

    Raises:
        UsageError: Files and splits do not pair up.
        DataError: `source` does not hold them.
    """
    for split in splits:
        if split not in SPLITS:
            raise UsageError(f"--as must be train or val, got {split!r}; the files of a test set can be val")
    wanted = max(1, len(annotations))
    chosen = list(splits) or ["train"] * (wanted == 1)
    if len(chosen) != wanted:
        raise UsageError(
            f"--annotations and --as must pair up, got {len(annotations)} and {len(splits)}; "
            "write --annotations A.json --as train --annotations B.json --as val"
        )
    if not source.is_dir():
        raise DataError(f"{source}: must be the folder of a COCO set, got {_instead(source)}; check the path")
    paths = [_below(source, path) for path in annotations] or [find_annotations(source)]
    return list(zip(paths, chosen, strict=True))


def find_annotations(source: Path) -> Path:
    """Find the only COCO file below `source`, among any other JSON files.

    Raises:
        DataError: There is none, or more than one.
    """
    paths = list(_json_files(source))
    if len(paths) > 1:
        paths = [path for path in paths if _is_coco(path)]
    if len(paths) != 1:
        got = format_list([path.relative_to(source).as_posix() for path in paths]) or "none"
        raise DataError(
            f"{source}: must hold one COCO file (.json), got {got}; name each: --annotations FILE --as train"
        )
    return _below(source, paths[0])


def read_coco(source: Path, path: Path, split: str) -> CocoFile:
    """Read one COCO file.

    Raises:
        DataError: It is something else, or its categories are broken.
    """
    value = read_json(path, EXPORT_AGAIN)
    missing = [key for key in LISTS if not isinstance(value, dict) or not isinstance(value.get(key), list)]
    if missing:
        raise DataError(
            f"{path}: a COCO file must hold the lists {', '.join(LISTS)}, got none called {', '.join(missing)}; "
            "name another with --annotations"
        )
    name = Path(os.path.relpath(path, source)).as_posix()
    categories = _categories(path, value["categories"])
    return CocoFile(path, name, split, value["images"], value["annotations"], categories, value.get("info"))


def find_image(source: Path, file: CocoFile, image: dict[str, Any]) -> str:
    """Find the image file that `path` or `file_name` of an image record names, and return its path below `source`.

    Raises:
        InvalidAnnotationError: No file is named, or it is missing.
        DataError: The name, or a link, leads out of `source`, or links lead to each other.
    """
    texts = [image.get(key) for key in ("path", "file_name")]
    names = [text for text in texts if _is_name(text)]
    names = list(dict.fromkeys(spelling for name in names for spelling in (name, name.replace("\\", "/"))))
    if not names:
        raise InvalidAnnotationError(NO_NAME, f"file_name is {image.get('file_name')!r}")
    root, home = absolute(source), absolute(file.path.parent)
    for name in names:
        for place in _places(root, home, file.split, name):
            if place.is_relative_to(root) and is_inside(root, place) and place.is_file():
                return place.relative_to(root).as_posix()
    if not any(absolute(home / name).is_relative_to(root) for name in names):
        raise DataError(
            f"{file.path}: an image must be inside {source}, got {names[-1]!r}; name a folder that holds all"
        )
    raise InvalidAnnotationError(NO_IMAGE, names[-1])


def _places(root: Path, home: Path, split: str, name: str) -> Iterator[Path]:
    """Yield possible paths of an image; a name that leads upwards only starts at the JSON file's folder."""
    yield absolute(home / name)
    if not os.path.normpath(name).startswith(("..", "/")):
        for base in (home, root):
            for folder in (base / sub for sub in IMAGE_FOLDERS):
                yield from (absolute(folder / name), absolute(folder / split / name))


def _below(source: Path, path: Path) -> Path:
    """Return the JSON file given from `source`, or from here; it must be inside `source`."""
    root = absolute(source)
    for folder in (root, Path.cwd()):
        place = absolute(folder / path)
        if place.is_relative_to(root) and is_inside(root, place) and place.is_file():
            return place
    if path.is_file() or (source / path).is_file():
        raise DataError(f"{path}: must be inside {source}, got a file outside of it; name a folder that holds both")
    raise DataError(f"{path}: must be a COCO file below {source}, got {_instead(source / path)}; check --annotations")


def _instead(path: Path) -> str:
    if path.is_dir():
        return "a folder"
    return "a file" if path.exists() else "nothing there"


def _json_files(source: Path) -> Iterator[Path]:
    """Walk through the JSON files below `source`, in order, without hidden ones and what macOS leaves in archives."""
    for folder, folders, names in os.walk(source):
        folders[:] = sorted(name for name in folders if not is_ignored_file(name))
        for name in sorted(names):
            if name.lower().endswith(".json") and not is_ignored_file(name):
                yield Path(folder) / name


def _is_coco(path: Path) -> bool:
    try:
        value = read_json(path, EXPORT_AGAIN)
    except DataError:
        return False
    return isinstance(value, dict) and all(isinstance(value.get(key), list) for key in LISTS)


def _is_name(value: object) -> TypeGuard[str]:
    """Return whether this is a name: not empty, and without surrogates, which JSON can hold but our files cannot."""
    return isinstance(value, str) and bool(value.strip()) and not SURROGATE.search(value)


def _categories(path: Path, values: list[Any]) -> dict[int | str, Category]:
    found: dict[int | str, Category] = {}
    for value in values:
        number, name = (value.get("id"), value.get("name")) if isinstance(value, dict) else (None, None)
        if not isinstance(number, int | str) or isinstance(number, bool) or not _is_name(name):
            raise DataError(f"{path}: a category must have an id and a name, got {value!r}; fix it")
        category = Category(one_line(name), str(value.get("supercategory") or "").upper())
        if found.setdefault(number, category).name != category.name:
            raise DataError(
                f"{path}: a category's id must be its own, got {number} for {found[number].name!r} and "
                f"{category.name!r}; fix one"
            )
    return found
