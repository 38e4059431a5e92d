"""Which part of which object an annotation of a COCO set shows: there are three ways to say it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from partseg_cli.data.converters.coco.files import CocoFile
from partseg_cli.data.converters.conversion import InvalidAnnotationError
from partseg_cli.errors import DataError, UsageError, VocabularyError, format_list, one_line
from partseg_cli.vocabulary import QueryTerm, parse_category

LINK = "obj_ann_id"
"""PACO's key: a part's annotation names the annotation of its object there, an object's its own."""
THREE_WAYS = (
    'the object must be named in one of three ways: --object NAME for all parts, categories such as "cat:ear" or '
    f'"cat\'s ear", or {LINK} in every annotation of a part'
)

NO_OBJECT = "part belongs to no annotated object"
OTHER_OBJECT = "part's category and its object differ"


@dataclass(frozen=True)
class Meaning:
    """What an annotation shows.

    Attributes:
        object: the object's name.
        part: the part's name; None for the object itself.
        instance: id of the object's annotation; None where an image does not tell its instances apart.
    """

    object: str
    part: str | None
    instance: int | str | None = None


Way = Callable[[Mapping[str, Any]], Meaning]
"""Gives the meaning of an annotation of one file; raises a `InvalidAnnotationError` if it has none."""


def choose_ways(files: Sequence[CocoFile], object_name: str | None) -> list[Way]:
    """Find the way in which all files name their objects; give it for each file.

    Raises:
        UsageError: `object_name` is empty.
        DataError: there is no such way, or two of them contradict each other.
    """
    names = " and ".join(file.name for file in files)
    is_linked = any(_link(annotation) is not None for file in files for annotation in file.annotations)
    if object_name is not None:
        one = one_line(object_name)
        if not one:
            raise UsageError("--object must be a name, got nothing; write --object car")
        if is_linked:
            raise DataError(f"{names}: --object is for parts alone, got {LINK} in annotations; leave --object out")
        return [partial(_of_one_object, file, one) for file in files]
    if is_linked:
        return [_links(file) for file in files]
    used = sorted({category for file in files for category in used_categories(file)})
    words = {name: _word(name) for name in used}
    objects = {word.object for word in words.values()}
    bare = [name for name, word in words.items() if word.is_ambiguous and name not in objects]
    if bare or not used:
        got = format_list([repr(name) for name in bare]) or "no category in use"
        raise DataError(f"{names}: {THREE_WAYS}; got {got}")
    return [partial(_of_category, file) for file in files]


def used_categories(file: CocoFile) -> set[str]:
    """Give the names of the categories that annotations have, without the background."""
    numbers = {
        annotation.get("category_id")
        for annotation in file.annotations
        if isinstance(annotation, dict) and type(annotation.get("category_id")) in (int, str)
    }
    return {c.name for number, c in file.categories.items() if number in numbers and not c.is_background}


def _of_one_object(file: CocoFile, name: str, annotation: Mapping[str, Any]) -> Meaning:
    """Read a part of the one object, or the object where the category has its name."""
    category = file.categories[annotation["category_id"]].name
    if category == name:
        return Meaning(name, None)
    word = _word(category)
    return Meaning(name, word.part if word.object == name else category)


def _of_category(file: CocoFile, annotation: Mapping[str, Any]) -> Meaning:
    """Read a pair, or a bare object."""
    word = _word(file.categories[annotation["category_id"]].name)
    return Meaning(word.object or word.text, word.part)


def _links(file: CocoFile) -> Way:
    """Give the way of a file in which parts name the annotation of their object."""
    by_id: dict[object, Mapping[str, Any]] = {}
    for annotation in file.annotations:
        if not isinstance(annotation, dict) or type(annotation.get("id")) not in (int, str):
            continue
        if type(annotation.get("category_id")) in (int, str) and annotation["category_id"] in file.categories:
            by_id.setdefault(annotation["id"], annotation)
    return partial(_of_link, file, by_id)


def _of_link(file: CocoFile, by_id: Mapping[object, Mapping[str, Any]], annotation: Mapping[str, Any]) -> Meaning:
    """Read an object, or a part with the object that it names."""
    category = file.categories[annotation["category_id"]].name
    if _is_object(file, annotation):
        return Meaning(category, None, annotation.get("id"))
    link = _link(annotation)
    thing = by_id.get(link) if type(link) in (int, str) else None
    if thing is None or not _is_object(file, thing):
        raise InvalidAnnotationError(NO_OBJECT, f"{LINK} is {link!r}, no object's annotation")
    if thing.get("image_id") != annotation.get("image_id"):
        raise InvalidAnnotationError(NO_OBJECT, f"{LINK} is {link!r}, in image {thing.get('image_id')!r}")
    name = file.categories[thing["category_id"]].name
    word = _word(category)
    if word.object not in {None, name} and word.object in {c.name for c in file.categories.values()}:
        raise InvalidAnnotationError(OTHER_OBJECT, f"{category!r} of {name!r}")
    return Meaning(name, word.part if word.object == name else category, thing["id"])


def _is_object(file: CocoFile, annotation: Mapping[str, Any]) -> bool:
    """Tell by PACO's supercategory, else by the link: objects name themselves or nothing."""
    kind = file.categories[annotation["category_id"]].kind
    if kind in {"OBJECT", "PART"}:
        return kind == "OBJECT"
    return _link(annotation) in [None, annotation.get("id")]


def _link(annotation: object) -> Any:  # noqa: ANN401 - whatever stands there
    return annotation.get(LINK) if isinstance(annotation, dict) else None


def _word(category: str) -> QueryTerm:
    """Take a category's name apart; a name such as "boss'" that cannot be is a bare word."""
    try:
        return parse_category(category)
    except VocabularyError:
        return QueryTerm(category)
