"""PartImageNet's COCO JSON: images of single objects, and polygons whose categories are parts of super-classes.

An object is known by the synset in its image's name, a part by the category's name. PartCLIPSeg's preprocessing puts a
list of pairs of object and part in place of the categories, which fits no annotation: these keep the published numbers
of the super-parts, by which they are read then.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from partseg_cli.data.converters.coco.annotations import (
    DOUBLE_FILE,
    LabelledAnnotation,
    Meaning,
    ambiguous_ids,
    check_image,
    has_id,
    item_name,
    size_of,
    sort_annotations,
)
from partseg_cli.data.converters.coco.files import LISTS, Category, CocoFile
from partseg_cli.data.converters.conversion import InvalidAnnotationError, Skipped, SourceImage
from partseg_cli.data.converters.partimagenet.files import ARCHIVE, PartImageNetFiles, SplitFiles, synset_of
from partseg_cli.data.manifest import Manifest
from partseg_cli.errors import DataError, one_line
from partseg_cli.io.files import read_json

SUPER_PARTS = (
    *("Quadruped Head", "Quadruped Body", "Quadruped Foot", "Quadruped Tail"),
    *("Biped Head", "Biped Body", "Biped Hand", "Biped Foot", "Biped Tail"),
    *("Fish Head", "Fish Body", "Fish Fin", "Fish Tail"),
    *("Bird Head", "Bird Body", "Bird Wing", "Bird Foot", "Bird Tail"),
    *("Snake Head", "Snake Body"),
    *("Reptile Head", "Reptile Body", "Reptile Foot", "Reptile Tail"),
    *("Car Body", "Car Tier", "Car Side Mirror"),
    *("Bicycle Body", "Bicycle Head", "Bicycle Seat", "Bicycle Tier"),
    *("Boat Body", "Boat Sail"),
    *("Aeroplane Head", "Aeroplane Body", "Aeroplane Engine", "Aeroplane Wing", "Aeroplane Tail"),
    *("Bottle Mouth", "Bottle Body"),
)
"""The published numbers of the categories, which part maps use too (40 there is the background)."""

NAMES_SHOWN = 5

NO_NAME = "image's name does not begin with a synset"
OTHER_CLASS = "image shows none of the 40 objects"
OTHER_PART = "part belongs to another super-class"
UNKNOWN_PART = "category is none of PartImageNet's"


@dataclass(frozen=True)
class PolygonImage:
    """An image of one of the 40 objects with polygons.

    Attributes:
        item: its name in the report.
        split: its split.
        image: its name without suffix.
        file: Path of the image file below the root.
        size: width and height in pixels, which the polygons have.
        annotations: those of known manifest.
    """

    item: str
    split: str
    image: str
    file: str
    size: tuple[int, int]
    annotations: tuple[LabelledAnnotation, ...]


@dataclass(frozen=True)
class ImageRecord:
    """An image record of a JSON file.

    Attributes:
        item: its name in the report.
        image: its name without suffix; empty if it has none.
        id: in the file.
        size: width and height in pixels.
        skipped: why it is not wanted, if so.
    """

    item: str
    image: str
    id: Any = None
    size: tuple[int, int] = (0, 0)
    skipped: Skipped | None = None


@dataclass(frozen=True)
class SplitImages:
    """Content of the JSON file of a split.

    Attributes:
        items: (image, item) of each image record: the content is a `PolygonImage`, or what is `Skipped`.
        left_out: annotations.
        notes: what is to be said of the file.
    """

    items: list[tuple[str, SourceImage]]
    left_out: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()


def read_meaning(manifest: Manifest, name: str, super_part: str) -> Meaning:
    """Return the meaning of a super-part of the object called `name`.

    Raises:
        InvalidAnnotationError: It is unknown, or the object has no such part.
    """
    pair = manifest.code_pairs.get((manifest.object_indices[name], super_part))
    if pair is not None:
        return Meaning(name, manifest.vocabulary.pairs[pair].part)
    if super_part in SUPER_PARTS:
        raise InvalidAnnotationError(OTHER_PART, f"{super_part} on {name}")
    raise InvalidAnnotationError(UNKNOWN_PART, repr(super_part))


def read_split(release: PartImageNetFiles, files: SplitFiles, manifest: Manifest) -> SplitImages:
    """Read the JSON file of a split, if it has one.

    Raises:
        DataError: It is something else, and there are no part maps; or an image's name leads out of the source.
    """
    if files.json is None:
        return SplitImages([])
    name, value = release.item(files.json), read_json(files.json, f"unpack {ARCHIVE} again")
    missing = [key for key in LISTS if not isinstance(value, dict) or not isinstance(value.get(key), list)]
    if files.maps and (missing or not value["annotations"]):
        return SplitImages([], notes=(f"{name} holds no annotations: part maps are read",))
    if missing:
        raise DataError(
            f"{files.json}: must be the COCO JSON of PartImageNet with the lists {', '.join(LISTS)}, got none called "
            f"{', '.join(missing)}; unpack {ARCHIVE} again"
        )
    categories, notes = _categories(files.json, name, value["categories"], manifest)
    file = CocoFile(files.json, name, files.split, value["images"], value["annotations"], categories)
    entries = list(_entries(release, file, manifest))
    names = {entry.id: manifest.aliases[synset_of(entry.image)] for entry in entries if entry.skipped is None}
    known = sort_annotations(_wanted(file, names), partial(_meaning, file, manifest, names))
    items = []
    for entry in entries:
        shown, path = tuple(known.by_image.get(entry.id, ())), release.image_path(files, entry.image)
        polygons = PolygonImage(entry.item, file.split, entry.image, path, entry.size, shown)
        items.append((entry.image, SourceImage(entry.item, entry.skipped or polygons, (file.path,))))
    return SplitImages(items, tuple(known.skipped), notes)


def _entries(release: PartImageNetFiles, file: CocoFile, manifest: Manifest) -> Iterator[ImageRecord]:
    """Read the image records of a file; broken ones, and those of other classes, are skipped."""
    ambiguous = ambiguous_ids(file.images)
    listed: set[str] = set()
    for place, value in enumerate(file.images):
        item = item_name(file, "image", place, value)
        image = ""
        try:
            image = _image(release, file, value)
            if synset_of(image) not in manifest.aliases:
                yield ImageRecord(item, image, skipped=Skipped(item, OTHER_CLASS, is_defect=False, detail=image))
                continue
            check_image(value, ambiguous)
            if image in listed:
                raise InvalidAnnotationError(DOUBLE_FILE, image)
            size = size_of(value)
            listed.add(image)
            yield ImageRecord(item, image, value["id"], size)
        except InvalidAnnotationError as error:
            yield ImageRecord(item, image, skipped=Skipped.defect(item, error))


def _image(release: PartImageNetFiles, file: CocoFile, value: Any) -> str:  # noqa: ANN401 - an element of a JSON list
    """Return the name of an image without folder and suffix.

    Raises:
        InvalidAnnotationError: it has none that begins with a synset.
        DataError: it leads out of the source folder.
    """
    name = value.get("file_name") if isinstance(value, dict) else None
    if not isinstance(name, str) or not name.strip():
        raise InvalidAnnotationError(NO_NAME, f"file_name is {name!r}")
    release.check_inside(file.path, file.split, name)
    stem = PurePosixPath(name.replace("\\", "/")).stem
    if not synset_of(stem):
        raise InvalidAnnotationError(NO_NAME, f"file_name is {name!r}")
    return stem


def _wanted(file: CocoFile, names: Mapping[Any, str]) -> CocoFile:
    """Leave out the annotations of known images that are not converted: of other classes, or broken."""
    others = {value["id"] for value in file.images if has_id(value)} - names.keys()

    def is_other(annotation: object) -> bool:
        image = annotation.get("image_id") if isinstance(annotation, dict) else None
        return type(image) in (int, str) and image in others

    return replace(file, annotations=[annotation for annotation in file.annotations if not is_other(annotation)])


def _meaning(file: CocoFile, manifest: Manifest, names: Mapping[Any, str], annotation: Mapping[str, Any]) -> Meaning:
    """Return the meaning of an annotation.

    Raises:
        InvalidAnnotationError: its category is unknown, or none of the image's object.
    """
    return read_meaning(manifest, names[annotation["image_id"]], file.categories[annotation["category_id"]].name)


def _categories(
    path: Path, name: str, values: list[Any], manifest: Manifest
) -> tuple[dict[int | str, Category], tuple[str, ...]]:
    """Return the categories by number, and notes on them.

    Raises:
        DataError: none is PartImageNet's, or two have one number.
    """
    known = dict(category for value in values if (category := _category(value)) is not None)
    if known and {pair.name for pair in manifest.vocabulary.pairs}.issuperset(known.values()):
        note = f"the categories of {name} are {len(known)} pairs, as PartCLIPSeg's preprocessing leaves them"
        published = enumerate(SUPER_PARTS)
        return _named(published), (f"{note}: numbers of categories are read as published",)
    if len(known) != len(values) or not set(SUPER_PARTS) & set(known.values()):
        got = ", ".join(list(known.values())[:NAMES_SHOWN]) or repr(values)[:40]
        raise DataError(
            f"{path}: categories must be PartImageNet's, such as {SUPER_PARTS[0]!r}, each with a number of its own, "
            f"got {len(values)} of them: {got}; unpack {ARCHIVE} again"
        )
    return _named(known.items()), ()


def _category(value: Any) -> tuple[int | str, str] | None:  # noqa: ANN401 - an element of a JSON list
    """Return number and name of a category, None if it lacks one."""
    number, name = (value.get("id"), value.get("name")) if isinstance(value, dict) else (None, None)
    if isinstance(number, bool) or not isinstance(number, int | str) or not isinstance(name, str):
        return None
    return number, one_line(name)


def _named(names: Iterable[tuple[int | str, str]]) -> dict[int | str, Category]:
    return {number: Category(name, "") for number, name in names}
