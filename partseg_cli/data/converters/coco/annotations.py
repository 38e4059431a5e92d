"""Annotations of a COCO file: which image each belongs to, and which part of which object it shows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from partseg_cli.data.converters.coco.files import CocoFile
from partseg_cli.data.converters.conversion import InvalidAnnotationError, Skipped
from partseg_cli.errors import DataError, UsageError, VocabularyError, format_list, one_line
from partseg_cli.io.images import MAX_MEGAPIXELS
from partseg_cli.vocabulary import QueryTerm, parse_category

LINK = "obj_ann_id"
"""PACO's key: in a part's annotation the id of the annotation of its object, in an object's its own id."""
THREE_WAYS = (
    'the object must be named in one of three ways: --object NAME for all parts, categories such as "cat:ear" or '
    f'"cat\'s ear", or {LINK} in every annotation of a part'
)

BACKGROUND = "category is the background"
BROKEN_ANNOTATION = "annotation is malformed"
DOUBLE_ANNOTATION = "annotation id stands twice"
UNKNOWN_IMAGE = "annotation belongs to an unknown image"
UNKNOWN_CATEGORY = "annotation has an unknown category"
CROWD = "annotation is a crowd"
NO_OBJECT = "part belongs to no annotated object"
OTHER_OBJECT = "part's category and its object differ"
BROKEN_RECORD = "image record is malformed"
DOUBLE_IMAGE = "image id stands twice"
DOUBLE_FILE = "image file stands twice"


@dataclass(frozen=True)
class Meaning:
    """Object or part that an annotation shows.

    Attributes:
        object: Name of the object.
        part: Name of the part; None for the object itself.
        instance: Id of the object's annotation; None if an image does not distinguish instances.
    """

    object: str
    part: str | None
    instance: int | str | None = None


MeaningReader = Callable[[Mapping[str, Any]], Meaning]
"""Reads the meaning of an annotation of one file; raises an `InvalidAnnotationError` if it has none."""


@dataclass(frozen=True)
class LabelledAnnotation:
    """Annotation whose meaning is known, and whose mask is not built yet."""

    item: str
    meaning: Meaning
    category: str
    segmentation: Any


@dataclass
class SortedAnnotations:
    """Annotations of one file by image, and what was left out."""

    by_image: dict[int | str, list[LabelledAnnotation]] = field(default_factory=dict)
    skipped: list[Skipped] = field(default_factory=list)


def choose_readers(files: Sequence[CocoFile], object_name: str | None) -> list[MeaningReader]:
    """Choose the way in which all files name their objects, and return a reader for each file.

    Raises:
        UsageError: `object_name` is empty.
        DataError: There is no such way, or two of them contradict each other.
    """
    names = " and ".join(file.name for file in files)
    is_linked = any(_link(annotation) is not None for file in files for annotation in file.annotations)
    if object_name is not None:
        name = one_line(object_name)
        if not name:
            raise UsageError("--object must be a name, got nothing; write --object car")
        if is_linked:
            raise DataError(f"{names}: --object is for parts alone, got {LINK} in annotations; leave --object out")
        return [partial(_read_part_of, file, name) for file in files]
    if is_linked:
        return [partial(_read_linked, file, _known_annotations(file)) for file in files]
    used = sorted({category for file in files for category in used_categories(file)})
    terms = {name: _parse(name) for name in used}
    objects = {term.object for term in terms.values()}
    bare = [name for name, term in terms.items() if term.is_ambiguous and name not in objects]
    if bare or not used:
        got = format_list([repr(name) for name in bare]) or "no category in use"
        raise DataError(f"{names}: {THREE_WAYS}; got {got}")
    return [partial(_read_pair, file) for file in files]


def used_categories(file: CocoFile) -> set[str]:
    """Return the names of the categories that annotations have, without the background."""
    numbers = {
        annotation.get("category_id")
        for annotation in file.annotations
        if isinstance(annotation, dict) and type(annotation.get("category_id")) in (int, str)
    }
    return {c.name for number, c in file.categories.items() if number in numbers and not c.is_background}


def sort_annotations(file: CocoFile, read: MeaningReader) -> SortedAnnotations:
    """Read the meaning of all annotations of a file; broken ones are left out."""
    images = {image["id"] for image in file.images if has_id(image)}
    ids: set[object] = set()
    result = SortedAnnotations()
    for place, annotation in enumerate(file.annotations):
        item = item_name(file, "annotation", place, annotation)
        try:
            unwanted = _check_annotation(file, annotation, images, ids)
            if unwanted is not None:
                result.skipped.append(Skipped(item, unwanted, is_defect=False))
                continue
            meaning = read(annotation)
        except InvalidAnnotationError as error:
            result.skipped.append(Skipped.defect(item, error))
            continue
        category = file.categories[annotation["category_id"]].name
        labelled = LabelledAnnotation(item, meaning, category, annotation.get("segmentation"))
        result.by_image.setdefault(annotation["image_id"], []).append(labelled)
    return result


def has_id(value: object) -> bool:
    """Return whether an image or annotation has an id, a whole number or a text."""
    return isinstance(value, dict) and type(value.get("id")) in (int, str)


def item_name(file: CocoFile, what: str, place: int, value: Any) -> str:  # noqa: ANN401 - an element of a JSON list
    """Name an image or annotation by its id, else by its place in the list."""
    return f"{file.name}: {what} {value['id']!r}" if has_id(value) else f"{file.name}: {what}s[{place}]"


def ambiguous_ids(images: Iterable[Any]) -> set[int | str]:
    """Return the ids that several different image records have."""
    first: dict[int | str, object] = {}
    return {image["id"] for image in images if has_id(image) and first.setdefault(image["id"], image) != image}


def check_image(image: Any, ambiguous: set[int | str]) -> None:  # noqa: ANN401 - an element of a JSON list
    """Check that annotations can name an image.

    Raises:
        InvalidAnnotationError: It has no id, or an ambiguous one.
    """
    if not has_id(image):
        raise InvalidAnnotationError(BROKEN_RECORD, "it must have an id")
    if image["id"] in ambiguous:
        raise InvalidAnnotationError(DOUBLE_IMAGE, repr(image["id"]))


def size_of(image: dict[str, Any]) -> tuple[int, int]:
    """Return width and height in pixels of an image record.

    Raises:
        InvalidAnnotationError: They are no sizes of an image.
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


def _check_annotation(file: CocoFile, annotation: Any, images: set[Any], ids: set[object]) -> str | None:  # noqa: ANN401
    """Return why a valid annotation is not wanted, None if it is; its id is added to `ids`.

    Raises:
        InvalidAnnotationError: It is broken.
    """
    keys = ("image_id", "category_id")
    if not isinstance(annotation, dict) or any(type(annotation.get(key)) not in (int, str) for key in keys):
        raise InvalidAnnotationError(BROKEN_ANNOTATION, "it must have an image_id and a category_id")
    if type(annotation.get("id")) not in (int, str, type(None)):
        raise InvalidAnnotationError(BROKEN_ANNOTATION, "its id must be a number or text")
    number, image, category = (annotation.get(key) for key in ("id", *keys))
    if number in ids:
        raise InvalidAnnotationError(DOUBLE_ANNOTATION, repr(number))
    if number is not None:
        ids.add(number)
    if image not in images:
        raise InvalidAnnotationError(UNKNOWN_IMAGE, f"image_id is {image!r}")
    if category not in file.categories:
        raise InvalidAnnotationError(UNKNOWN_CATEGORY, f"category_id is {category!r}")
    if file.categories[category].is_background:
        return BACKGROUND
    return CROWD if annotation.get("iscrowd") else None


def _read_part_of(file: CocoFile, name: str, annotation: Mapping[str, Any]) -> Meaning:
    """Read a part of the object called `name`, or that object."""
    category = file.categories[annotation["category_id"]].name
    if category == name:
        return Meaning(name, None)
    term = _parse(category)
    return Meaning(name, term.part if term.object == name else category)


def _read_pair(file: CocoFile, annotation: Mapping[str, Any]) -> Meaning:
    """Read a pair, or an object, from the category's name."""
    term = _parse(file.categories[annotation["category_id"]].name)
    return Meaning(term.object or term.text, term.part)


def _read_linked(file: CocoFile, by_id: Mapping[object, Mapping[str, Any]], annotation: Mapping[str, Any]) -> Meaning:
    """Read an object, or a part with the object that it links to."""
    category = file.categories[annotation["category_id"]].name
    if _is_object(file, annotation):
        return Meaning(category, None, annotation.get("id"))
    link = _link(annotation)
    owner = by_id.get(link) if type(link) in (int, str) else None
    if owner is None or not _is_object(file, owner):
        raise InvalidAnnotationError(NO_OBJECT, f"{LINK} is {link!r}, no object's annotation")
    if owner.get("image_id") != annotation.get("image_id"):
        raise InvalidAnnotationError(NO_OBJECT, f"{LINK} is {link!r}, in image {owner.get('image_id')!r}")
    name = file.categories[owner["category_id"]].name
    term = _parse(category)
    if term.object not in {None, name} and term.object in {c.name for c in file.categories.values()}:
        raise InvalidAnnotationError(OTHER_OBJECT, f"{category!r} of {name!r}")
    return Meaning(name, term.part if term.object == name else category, owner["id"])


def _known_annotations(file: CocoFile) -> dict[object, Mapping[str, Any]]:
    """Return the annotations of known categories by their id."""
    by_id: dict[object, Mapping[str, Any]] = {}
    for annotation in file.annotations:
        if not has_id(annotation) or type(annotation.get("category_id")) not in (int, str):
            continue
        if annotation["category_id"] in file.categories:
            by_id.setdefault(annotation["id"], annotation)
    return by_id


def _is_object(file: CocoFile, annotation: Mapping[str, Any]) -> bool:
    """Decide by PACO's supercategory, else by the link: objects name themselves or nothing."""
    kind = file.categories[annotation["category_id"]].kind
    if kind in {"OBJECT", "PART"}:
        return kind == "OBJECT"
    return _link(annotation) in [None, annotation.get("id")]


def _link(annotation: object) -> Any:  # noqa: ANN401 - any JSON value
    return annotation.get(LINK) if isinstance(annotation, dict) else None


def _parse(category: str) -> QueryTerm:
    """Parse a category's name; a name such as "boss'" that is none of a pair is a bare word."""
    try:
        return parse_category(category)
    except VocabularyError:
        return QueryTerm(category)
