"""COCO files that `partseg export --to coco` wrote, read back to exactly the same records.

They have the key "partseg" in `info`. Without it a file is read as any COCO file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from partseg_cli.data.converters.coco.files import CocoFile, find_image
from partseg_cli.data.converters.coco.masks import NO_PIXEL, build_mask
from partseg_cli.data.converters.conversion import (
    NO_IMAGE,
    Conversion,
    Converted,
    InvalidAnnotationError,
    Outcome,
    Skipped,
    SourceImage,
)
from partseg_cli.data.exporters.coco import FORMAT, KEY, categories
from partseg_cli.data.record import Instance, Part, Record
from partseg_cli.data.rle import Mask
from partseg_cli.data.store import DatasetInfo, image_root
from partseg_cli.errors import DataError, VocabularyError, one_line
from partseg_cli.vocabulary import Vocabulary

BROKEN = "image of an export is malformed"
INFO_FIRST = re.compile(r'\s*\{\s*"info"\s*:\s*')
"""Start of a file whose description comes before all lists, as in our own."""
SHOWN = 60
"""Characters of a broken annotation in an error."""


@dataclass(frozen=True)
class CocoSet:
    """Set that is ready to convert, with what manifests hold of other sets.

    Attributes:
        objects: Names of all objects, sorted, or in the order of an export.
        vocabulary: Pairs of all annotations, sorted, all seen; or those of an export.
        conversion: Conversion of the set.
        info: Description in an export, such as name and licence; None for all others.
    """

    objects: tuple[str, ...]
    vocabulary: Vocabulary
    conversion: Conversion
    info: DatasetInfo | None = None


@dataclass(frozen=True)
class ExportHeader:
    """Description in an exported file: its split, and the set that it belongs to."""

    split: str
    info: DatasetInfo


@dataclass(frozen=True)
class ExportedImage:
    """Image record of the file, with its annotations."""

    item: str
    split: str
    image: dict[str, Any]
    annotations: tuple[Any, ...]


def exported_files(source: Path, annotations: Sequence[Path], splits: Sequence[str]) -> list[tuple[Path, str]]:
    """Return the files of an export and their splits, if none is named and `source` has no other JSON files."""
    if annotations or splits:
        return []
    found = {path: read_header(path) for path in sorted(source.glob("*.json")) if not path.name.startswith(".")}
    headers = [(path, header.split) for path, header in found.items() if header is not None]
    return headers if len(headers) == len(found) else []


def read_exported(source: Path, files: Sequence[CocoFile], splits: Sequence[str]) -> CocoSet | None:
    """Prepare the conversion of exported files; None if they are no export.

    Args:
        source: Folder of files and images.
        files: The files as read.
        splits: Splits that the user names; none for those in the files.

    Raises:
        DataError: They do not belong together, have been changed, or no image is below `source`.
    """
    headers = [_header(file.path, file.info) for file in files]
    known = [header for header in headers if header is not None]
    if not known:
        return None
    info = known[0].info
    for file, header in zip(files, headers, strict=True):
        if header is None or header.info != info:
            got = "another file" if header is None else f"one of another state or set ({header.info.name})"
            raise DataError(
                f"{file.path}: all files must be exports of {info.name} as it was once, got {got}; convert it by itself"
            )
        check_lists(file, info)
    named = splits or [header.split for header in known]
    return _plan(source, [replace(file, split=split) for file, split in zip(files, named, strict=True)], info)


def read_header(path: Path) -> ExportHeader | None:
    """Read the description of an exported file; None if it is no export.

    Raises:
        DataError: It is of another version, or broken.
    """
    try:
        head = _info(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return None  # reading the file itself reports the error
    return _header(path, head)


def _header(path: Path, head: Any) -> ExportHeader | None:  # noqa: ANN401 - whatever JSON can hold
    """Parse `info` of a file.

    Raises:
        DataError: It is of another version, or broken.
    """
    about = head.get(KEY) if isinstance(head, dict) else None
    if about is None:
        return None
    got = about.get("format") if isinstance(about, dict) else about
    if got != FORMAT:
        raise DataError(f"{path}: the format of an export must be {FORMAT!r}, got {got!r}; export it again")
    try:
        return ExportHeader(str(about["split"]), DatasetInfo.from_json(about))
    except (KeyError, TypeError, AttributeError, VocabularyError) as error:
        raise DataError(f"{path}: info.{KEY} is incomplete or broken ({error!r}); export it again") from error


def _info(text: str) -> Any:  # noqa: ANN401 - whatever JSON can hold
    """Parse `info` of a JSON text; the rest is parsed only if needed."""
    if f'"{KEY}"' not in text:
        return None
    if first := INFO_FIRST.match(text):
        return json.JSONDecoder().raw_decode(text, first.end())[0]
    value = json.loads(text)
    return value.get("info") if isinstance(value, dict) else None


def check_lists(file: CocoFile, info: DatasetInfo) -> None:
    """Check that an exported file still holds what its description says, and that each annotation has its image.

    Raises:
        DataError: It has been changed.
    """
    expected = [(c["id"], one_line(c["name"]), c["supercategory"]) for c in categories(info)]
    if [(number, c.name, c.kind) for number, c in file.categories.items()] != expected:
        raise _changed(file, "categories must be those of info.partseg, got others")
    wanted = {"id": int, "file_name": str, KEY: dict}
    images = [
        image["id"]
        for image in file.images
        if isinstance(image, dict) and all(type(image.get(key)) is kind for key, kind in wanted.items())
    ]
    if len(set(images)) < len(file.images):
        raise _changed(file, "images must have an own id, a file_name and partseg, got one without")
    known, numbers = set(images), set()
    for value in file.annotations:
        if not isinstance(value, dict) or type(value.get("id")) is not int or value["id"] in numbers:
            raise _changed(file, f"annotations must have their own id, got {_short(value)}")
        numbers.add(value["id"])
        if any(type(value.get(key)) is not int for key in ("image_id", "category_id")) or (
            value["image_id"] not in known or value["category_id"] not in file.categories
        ):
            raise _changed(file, f"annotations must have a known image and category, got {_short(value)}")


def _changed(file: CocoFile, what: str) -> DataError:
    return DataError(
        f"{file.path}: {what}; export it again, or delete partseg from its info to have it read as a set of your own"
    )


def _short(value: Any) -> str:  # noqa: ANN401 - an element of a JSON list
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def convert_exported(info: DatasetInfo, shown: ExportedImage | Skipped) -> list[Outcome]:
    """Return the complete record of one image.

    Raises:
        InvalidAnnotationError: It is malformed.
    """
    if isinstance(shown, Skipped):
        return [shown]
    try:
        return [Converted(shown.split, _record(shown, info))]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise InvalidAnnotationError(BROKEN, f"{type(error).__name__}: {error}") from error


def _record(shown: ExportedImage, info: DatasetInfo) -> Record:
    image, extra = shown.image, shown.image[KEY]
    size = (image["width"], image["height"])
    annotations = [value for value in shown.annotations if value["category_id"] <= len(info.objects)]
    ids = {value["id"]: value.get(KEY, {}).get("id", place) for place, value in enumerate(annotations)}
    objects = [
        Instance(
            id=ids[value["id"]],
            category=value["category_id"] - 1,
            mask=_mask(value["segmentation"], size),
            synthetic=value.get(KEY, {}).get("synthetic", False),
        )
        for value in annotations
    ]
    parts = []
    for value in shown.annotations:
        pair, more = value["category_id"] - len(info.objects) - 1, value.get(KEY, {})
        if pair >= 0:
            raw, level = more.get("raw", info.vocabulary.pairs[pair].part), more.get("level", 1)
            parts.append(Part(ids[value["obj_ann_id"]], pair, raw, level, _mask(value["segmentation"], size)))
    return Record(
        image_id=extra["image_id"],
        file_name=image["file_name"],
        width=size[0],
        height=size[1],
        source=extra["source"],
        objects=tuple(objects),
        parts=tuple(parts),
        upright=extra.get("upright", False),
        ignore=_mask(extra["ignore"], size) if "ignore" in extra else None,
        not_exhaustive=tuple(extra.get("not_exhaustive", ())),
    )


def _mask(segmentation: Any, size: tuple[int, int]) -> Mask:  # noqa: ANN401 - any JSON value
    """Build a mask, which may be empty here."""
    try:
        return build_mask(segmentation, *size)
    except InvalidAnnotationError as defect:
        if defect.reason == NO_PIXEL and isinstance(segmentation, dict):
            return Mask(segmentation["counts"], (0, 0, 0, 0), 0)
        raise


def _plan(source: Path, files: Sequence[CocoFile], info: DatasetInfo) -> CocoSet:
    """Find the folder of the images, and join images with their annotations."""
    folder = _find_folder(source, files)
    items = [item for file in files for item in _items(source, folder, file)]
    splits = tuple(dict.fromkeys([*(name for name, _ in info.images), *(file.split for file in files)]))
    conversion = Conversion(
        source / folder,
        items,
        partial(convert_exported, info),
        image_root(source / folder),
        splits=splits,
        lists=info.lists,
    )
    return CocoSet(info.objects, info.vocabulary, conversion, info)


def _items(source: Path, folder: str, file: CocoFile) -> Iterator[SourceImage]:
    """Yield each image with its annotations, or with its defect."""
    annotations: dict[Any, list[Any]] = {image["id"]: [] for image in file.images}
    for value in file.annotations:
        annotations[value["image_id"]].append(value)
    for image in file.images:
        item = f"{file.name}: image {image['id']!r}"
        content: ExportedImage | Skipped = ExportedImage(item, file.split, image, tuple(annotations[image["id"]]))
        try:
            path = find_image(source, file, image)
            if path != folder + image["file_name"]:
                raise InvalidAnnotationError(NO_IMAGE, f"{folder}{image['file_name']}, but {path} is there")
        except InvalidAnnotationError as error:
            content = Skipped.defect(item, error)
        yield SourceImage(item, content, (file.path,))


def _find_folder(source: Path, files: Sequence[CocoFile]) -> str:
    """Return the folder below `source`, ending in a slash unless it is `source`, that holds the images of all files.

    Raises:
        DataError: No image is there.
    """
    images = [(file, image) for file in files for image in file.images]
    for file, image in images:
        try:
            place = find_image(source, file, image)
        except InvalidAnnotationError:
            continue
        return place.removesuffix(image["file_name"])
    if not images:
        return ""
    raise DataError(
        f"{source}: must hold the images of the export, got none of {len(images)} (first {images[0][1]['file_name']}); "
        "export with --copy or --link, or put them into the folder images beside the JSON files"
    )
