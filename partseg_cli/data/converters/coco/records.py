"""The records of a COCO file, taken one by one: images with an id and a size, annotations whose words are known."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from partseg_cli.data.converters.coco.categories import Meaning, Way
from partseg_cli.data.converters.coco.files import CocoFile
from partseg_cli.data.converters.conversion import InvalidAnnotationError, Skipped
from partseg_cli.io.images import MAX_MEGAPIXELS

BACKGROUND = "category is the background"
BROKEN_ANNOTATION = "annotation is malformed"
DOUBLE_ANNOTATION = "annotation id stands twice"
UNKNOWN_IMAGE = "annotation belongs to an unknown image"
UNKNOWN_CATEGORY = "annotation has an unknown category"
CROWD = "annotation is a crowd"
BROKEN_RECORD = "image record is malformed"
DOUBLE_IMAGE = "image id stands twice"
DOUBLE_PHOTO = "photo stands twice"


@dataclass(frozen=True)
class Shown:
    """An annotation whose words are known, and whose mask is still to be made."""

    item: str
    meaning: Meaning
    category: str
    segmentation: Any


@dataclass
class Sorted:
    """The annotations of one file by image, and what was left out."""

    by_image: dict[int | str, list[Shown]] = field(default_factory=dict)
    skipped: list[Skipped] = field(default_factory=list)


def sort_annotations(file: CocoFile, way: Way) -> Sorted:
    """Read the words of all annotations of a file; broken ones are left out."""
    images = {image["id"] for image in file.images if has_id(image)}
    numbers: set[object] = set()
    result = Sorted()
    for place, annotation in enumerate(file.annotations):
        item = item_name(file, "annotation", place, annotation)
        try:
            skip = _why_not(file, annotation, images, numbers)
            if skip is not None:
                result.skipped.append(Skipped(item, skip, is_defect=False))
                continue
            meaning = way(annotation)
        except InvalidAnnotationError as defect:
            result.skipped.append(Skipped(item, defect.reason, is_defect=True, detail=defect.detail))
            continue
        category = file.categories[annotation["category_id"]].name
        shown = Shown(item, meaning, category, annotation.get("segmentation"))
        result.by_image.setdefault(annotation["image_id"], []).append(shown)
    return result


def _why_not(file: CocoFile, annotation: Any, images: set[Any], numbers: set[object]) -> str | None:  # noqa: ANN401
    """Say why a whole annotation is not wanted, None if it is; remember its id in `numbers`.

    Raises:
        DefectError: it is broken.
    """
    keys = ("image_id", "category_id")
    if not isinstance(annotation, dict) or any(type(annotation.get(key)) not in (int, str) for key in keys):
        raise InvalidAnnotationError(BROKEN_ANNOTATION, "it must have an image_id and a category_id")
    if type(annotation.get("id")) not in (int, str, type(None)):
        raise InvalidAnnotationError(BROKEN_ANNOTATION, "its id must be a number or text")
    number, image, category = (annotation.get(key) for key in ("id", *keys))
    if number in numbers:
        raise InvalidAnnotationError(DOUBLE_ANNOTATION, repr(number))
    if number is not None:
        numbers.add(number)
    if image not in images:
        raise InvalidAnnotationError(UNKNOWN_IMAGE, f"image_id is {image!r}")
    if category not in file.categories:
        raise InvalidAnnotationError(UNKNOWN_CATEGORY, f"category_id is {category!r}")
    if file.categories[category].is_background:
        return BACKGROUND
    return CROWD if annotation.get("iscrowd") else None


def has_id(value: object) -> bool:
    """Tell whether an image or annotation has an id, a whole number or a text."""
    return isinstance(value, dict) and type(value.get("id")) in (int, str)


def item_name(file: CocoFile, what: str, place: int, value: Any) -> str:  # noqa: ANN401 - an element of a JSON list
    """Name an image or annotation by its id, else by its place in the list."""
    return f"{file.name}: {what} {value['id']!r}" if has_id(value) else f"{file.name}: {what}s[{place}]"


def doubtful_ids(images: Iterable[Any]) -> set[int | str]:
    """Give the ids of several different image records: which one an annotation means cannot be told."""
    first: dict[int | str, object] = {}
    return {image["id"] for image in images if has_id(image) and first.setdefault(image["id"], image) != image}


def check_image(image: Any, doubtful: set[int | str]) -> None:  # noqa: ANN401 - an element of a JSON list
    """Prove that annotations can name an image.

    Raises:
        DefectError: it has no id, or one of the doubtful.
    """
    if not has_id(image):
        raise InvalidAnnotationError(BROKEN_RECORD, "it must have an id")
    if image["id"] in doubtful:
        raise InvalidAnnotationError(DOUBLE_IMAGE, repr(image["id"]))


def size_of(image: dict[str, Any]) -> tuple[int, int]:
    """Give width and height in pixels that an image record says.

    Raises:
        DefectError: they are no sizes of a photo.
    """
    width, height = image.get("width"), image.get("height")
    if type(width) is not int or type(height) is not int or min(width, height) < 1:
        raise InvalidAnnotationError(
            BROKEN_RECORD, f"width and height must be numbers of pixels, got {width!r} and {height!r}"
        )
    if width * height > MAX_MEGAPIXELS * 10**6:
        raise InvalidAnnotationError(
            BROKEN_RECORD, f"it must have at most {MAX_MEGAPIXELS} megapixels, got {width}x{height}"
        )
    return width, height
