"""PACO-LVIS: COCO photos, and a JSON of COCO masks for each split, objects and parts in one list of annotations.

A part names the annotation of its object (`obj_ann_id`), and its category both words ("car_(automobile):wheel"). Parts
of one name within one object were merged by the authors: all wheels of a car are one mask. A part whose object has no
annotation is kept, with the union of such parts as a synthetic instance: its category alone says what it is, and
without it labelled pixels would turn into background.

Annotations are federated, as in LVIS: in an image an object is complete if it is annotated there and not listed in
`not_exhaustive_category_ids`, and surely absent if listed in `neg_category_ids`. Of all others the image may show more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from partseg_cli.data.converters.coco import converter as coco
from partseg_cli.data.converters.coco.categories import LINK, NO_OBJECT, OTHER_OBJECT, Meaning
from partseg_cli.data.converters.coco.converter import Index, Picture
from partseg_cli.data.converters.coco.files import CocoFile, find_image
from partseg_cli.data.converters.coco.records import (
    BROKEN_RECORD,
    DOUBLE_PHOTO,
    Shown,
    check_image,
    doubtful_ids,
    item_name,
    size_of,
    sort_annotations,
)
from partseg_cli.data.converters.conversion import (
    NO_IMAGE,
    Conversion,
    Converted,
    InvalidAnnotationError,
    Outcome,
    Skipped,
    SourceImage,
)
from partseg_cli.data.converters.paco.files import (
    SPLITS,
    Words,
    category_of,
    find_annotations,
    missing_files,
    read_file,
)
from partseg_cli.data.manifest import Manifest
from partseg_cli.data.store import image_root
from partseg_cli.errors import DataError

PHOTO_FOLDERS = ("", "coco/")
"""Places of train2017/ and val2017/, below those in which the photos of any COCO set are looked for."""

LONE_PART = "part's object has no annotation: the part is kept, with a synthetic object"


@dataclass(frozen=True)
class Content:
    """One image that can be converted.

    Attributes:
        picture: itself, with its annotations.
        image_id: the name of its photo as annotated, wherever that lies.
        not_exhaustive: indices of the objects of which it may show more.
    """

    picture: Picture
    image_id: str
    not_exhaustive: tuple[int, ...]


@dataclass(frozen=True)
class Owner:
    """What an annotation of an object says to its parts: the object's name, and the image."""

    name: str
    image: object


def convert(source: Path, manifest: Manifest) -> Conversion:
    """Convert the files of PACO-LVIS below `source`, those that are there; images are converted lazily.

    Raises:
        DataError: `source` holds none of them, something else, or no photo; or a path leads out of it.
    """
    paths = find_annotations(source)
    words = Words.of(manifest)
    items: list[SourceImage] = []
    left_out: list[Skipped] = []
    photos: set[str] = set()
    for path in paths:
        file = read_file(source, path, words)
        known = sort_annotations(file, partial(read_meaning, file, words, find_owners(file)))
        left_out += [*known.skipped, *_lone_parts(known.by_image.values())]
        items += _items(source, file, known.by_image, words, photos)
    _check_photos(source, items)
    return Conversion(
        image_folder=source,
        items=items,
        convert=partial(convert_image, words.index),
        image_root=image_root(source),
        splits=tuple(SPLITS[path.name] for path in paths),
        left_out=tuple(left_out),
        notes=tuple(missing_files(source, paths)),
    )


def find_owners(file: CocoFile) -> dict[int, Owner]:
    """Give the objects that parts can belong to, by the id of their annotation."""
    owners: dict[int, Owner] = {}
    for annotation in file.annotations:
        category = category_of(file.categories, annotation)
        if category is not None and category.kind == "OBJECT" and type(annotation.get("id")) is int:
            owners.setdefault(annotation["id"], Owner(category.name, annotation.get("image_id")))
    return owners


def read_meaning(file: CocoFile, words: Words, owners: Mapping[int, Owner], annotation: Mapping[str, Any]) -> Meaning:
    """Read an object, or a part with the id of its object's annotation, whether that is there or not.

    Raises:
        DefectError: that annotation is in another image, or shows another object.
    """
    category = file.categories[annotation["category_id"]]
    if category.kind == "OBJECT":
        return Meaning(category.name, None, annotation.get("id"))
    name, part = words.pairs[category.name]
    link = annotation.get(LINK) if type(annotation.get(LINK)) is int else None
    owner = owners.get(link) if link is not None else None
    if owner is not None and owner.image != annotation["image_id"]:
        raise InvalidAnnotationError(NO_OBJECT, f"{LINK} is {link!r}, in image {owner.image!r}")
    if owner is not None and owner.name != name:
        raise InvalidAnnotationError(OTHER_OBJECT, f"{category.name!r} of {owner.name!r}")
    return Meaning(name, part, link)


def read_not_exhaustive(
    image: Mapping[str, Any], file: CocoFile, annotated: Iterable[str], words: Words
) -> tuple[int, ...]:
    """Give the indices of the objects of which an image may show more than the annotated ones.

    Numbers that are no category of the file are other objects of LVIS.

    Raises:
        DefectError: a list of categories is none.
    """
    lists = [image.get(key, []) for key in ("neg_category_ids", "not_exhaustive_category_ids")]
    if not all(isinstance(numbers, list) and all(type(number) is int for number in numbers) for numbers in lists):
        raise InvalidAnnotationError(
            BROKEN_RECORD, f"category ids must be lists of numbers, got {lists[0]!r} and {lists[1]!r}"
        )
    absent, open_ended = ([file.categories[n] for n in numbers if n in file.categories] for numbers in lists)
    sure = {*annotated, *(category.name for category in absent if category.kind == "OBJECT")}
    sure -= {words.object_of(category) for category in open_ended}
    return tuple(number for name, number in words.index.objects.items() if name not in sure)


def convert_image(index: Index, content: Content | Skipped) -> list[Outcome]:
    """Give an outcome for each annotation whose mask is broken, then that of the image."""
    if isinstance(content, Skipped):
        return [content]
    return [_completed(outcome, content) for outcome in coco.convert_image(index, content.picture)]


def _completed(outcome: Outcome, content: Content) -> Outcome:
    if isinstance(outcome, Skipped):
        return outcome
    record = replace(outcome.record, image_id=content.image_id, not_exhaustive=content.not_exhaustive)
    return Converted(outcome.split, record)


def _items(
    source: Path, file: CocoFile, annotations: Mapping[int | str, list[Shown]], words: Words, photos: set[str]
) -> Iterator[SourceImage]:
    """Give each image with its annotations, or with what is wrong with it; `photos` are those of former images."""
    doubtful = doubtful_ids(file.images)
    for place, image in enumerate(file.images):
        name = item_name(file, "image", place, image)
        content: Content | Skipped
        try:
            check_image(image, doubtful)
            photo = _find_photo(source, file, image, photos)
            shown = tuple(annotations.get(image["id"], ()))
            annotated = (one.meaning.object for one in shown if one.meaning.part is None)
            picture = Picture(name, file.split, photo, size_of(image), shown)
            content = Content(picture, image["file_name"], read_not_exhaustive(image, file, annotated, words))
        except InvalidAnnotationError as defect:
            content = Skipped(name, defect.reason, is_defect=True, detail=defect.detail)
        yield SourceImage(name, content, (file.path,))


def _find_photo(source: Path, file: CocoFile, image: Mapping[str, Any], photos: set[str]) -> str:
    """Find an image's photo, below `source`, and remember it.

    Raises:
        DefectError: it is missing, or had before.
        DataError: its name, or a link, leads out of `source`, or links lead to each other.
    """
    name = image.get("file_name")
    photo = _first_photo(source, file, name)
    keys = {str(name), str((source / photo).resolve())}
    if keys & photos:
        raise InvalidAnnotationError(DOUBLE_PHOTO, str(name))
    photos |= keys
    return photo


def _first_photo(source: Path, file: CocoFile, name: object) -> str:
    for folder in PHOTO_FOLDERS:
        try:
            return find_image(source, file, {"file_name": f"{folder}{name}" if folder else name})
        except InvalidAnnotationError as defect:
            if defect.reason != NO_IMAGE:
                raise
    raise InvalidAnnotationError(NO_IMAGE, str(name))


def _lone_parts(images: Iterable[Sequence[Shown]]) -> Iterator[Skipped]:
    """Tell of the parts whose object has no annotation."""
    for shown in images:
        own = {one.meaning.instance for one in shown if one.meaning.part is None}
        for one in shown:
            if one.meaning.part is not None and one.meaning.instance not in own:
                yield Skipped(one.item, LONE_PART, is_defect=False, detail=f"{LINK} is {one.meaning.instance!r}")


def _check_photos(source: Path, items: Sequence[SourceImage]) -> None:
    """Refuse a source without a single photo: that is a mistake of its own, not one of each image."""
    contents = [item.content for item in items]
    missing = [content.detail for content in contents if isinstance(content, Skipped) and content.reason == NO_IMAGE]
    if missing and not any(isinstance(content, Content) for content in contents):
        raise DataError(
            f"{source}: must hold the photos of COCO, train2017/ and val2017/, there or in images/ or coco/, got none, "
            f"such as {missing[0]}; unpack train2017.zip and val2017.zip there"
        )
