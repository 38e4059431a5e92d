"""PACO-LVIS: COCO images, and a JSON of COCO masks for each split, objects and parts in one list of annotations.

A part names the annotation of its object (`obj_ann_id`), and its category both words ("car_(automobile):wheel"). Parts
of one name within one object were merged by the authors: all wheels of a car are one mask. A part whose object has no
annotation is kept, with the union of such parts as a synthetic instance: its category is enough to know the pair, and
without it labelled pixels would become background.

Annotations are federated, as in LVIS: in an image an object is complete if it is annotated there and not listed in
`not_exhaustive_category_ids`, and surely absent if listed in `neg_category_ids`. Of all others the image may show more.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from partseg_cli.data.converters.coco import converter as coco
from partseg_cli.data.converters.coco.annotations import (
    BROKEN_RECORD,
    DOUBLE_FILE,
    LINK,
    NO_OBJECT,
    OTHER_OBJECT,
    LabelledAnnotation,
    Meaning,
    ambiguous_ids,
    check_image,
    item_name,
    size_of,
    sort_annotations,
)
from partseg_cli.data.converters.coco.converter import CocoImage
from partseg_cli.data.converters.coco.files import LISTS, Category, CocoFile, choose_files, find_image
from partseg_cli.data.converters.conversion import (
    NO_IMAGE,
    Conversion,
    Converted,
    InvalidAnnotationError,
    Outcome,
    Skipped,
    SourceImage,
)
from partseg_cli.data.manifest import Manifest
from partseg_cli.data.store import image_root
from partseg_cli.errors import DataError, format_list
from partseg_cli.io.files import describe_folder, read_json

ARCHIVE = "paco_lvis_v1.zip"
SPLITS = {f"paco_lvis_v1_{split}.json": split for split in ("train", "val", "test")}
"""File of annotations -> split."""
EGO4D = "paco_ego4d_v1_*.json"
FOLDERS = ("", "annotations", "paco", "paco/annotations", "paco_lvis_v1", "annotations/paco_lvis_v1")
"""Folders of the annotations below the source folder."""
IMAGE_FOLDERS = ("", "coco/")
"""Folders of train2017/ and val2017/, below those in which the images of any COCO set are looked for."""
KEYS = frozenset(
    {*LISTS, "id", "name", "supercategory", "file_name", "width", "height", "image_id", "category_id", LINK, "iscrowd"}
    | {"neg_category_ids", "not_exhaustive_category_ids", "segmentation", "size", "counts"}
)
"""Keys that are read; the rest (boxes, attributes, colours, queries) is dropped while a file is parsed."""

LONE_PART = "part's object has no annotation: the part is kept, with a synthetic object"

PairNames = Mapping[str, tuple[str, str]]
"""Object and part of each pair by the name of its category."""


@dataclass(frozen=True)
class PacoImage:
    """Image that can be converted.

    Attributes:
        image: Image with its annotations.
        image_id: Name of its file as annotated, wherever that is stored.
        not_exhaustive: Indices of the objects of which it may show more.
    """

    image: CocoImage
    image_id: str
    not_exhaustive: tuple[int, ...]


def convert(source: Path, manifest: Manifest) -> Conversion:
    """Convert the files of PACO-LVIS that are below `source`; images are converted lazily.

    Raises:
        DataError: `source` holds none of them, something else, or no image; or a path leads out of it.
    """
    paths = find_annotations(source)
    pairs: PairNames = {f"{name}:{part}": (name, part) for name, part in manifest.pair_indices}
    items: list[SourceImage] = []
    left_out: list[Skipped] = []
    seen: set[str] = set()
    for path in paths:
        file = read_file(source, path, manifest, pairs)
        known = sort_annotations(file, partial(read_meaning, file, pairs, find_owners(file)))
        left_out += [*known.skipped, *_lone_parts(known.by_image.values())]
        items += _items(source, file, known.by_image, manifest, pairs, seen)
    _check_images(source, items)
    return Conversion(
        image_folder=source,
        items=items,
        convert=partial(convert_image, manifest.object_indices, manifest.pair_indices),
        image_root=image_root(source),
        splits=tuple(SPLITS[path.name] for path in paths),
        left_out=tuple(left_out),
        notes=tuple(missing_files(source, paths)),
    )


def find_annotations(source: Path) -> list[Path]:
    """Return the paths of the files of annotations below `source`, train first.

    Raises:
        DataError: There is none, or a link leads out of `source`, or nowhere.
    """
    places = ([source / folder / name for folder in FOLDERS] for name in SPLITS)
    first = (next(filter(os.path.lexists, place), None) for place in places)
    paths = [path for path in first if path is not None]
    if paths:
        choose_files(source, [path.absolute() for path in paths], ["train"] * len(paths))  # checks the links
        return paths
    looked = f"{source}: must hold {', '.join(SPLITS)} or one of them (looked there and in {', '.join(FOLDERS[1:])})"
    ego4d = find_ego4d(source)
    if ego4d:
        name = ego4d[0].relative_to(source).as_posix()
        raise DataError(
            f"{looked}, got {name}, which is PACO-EGO4D; partseg prepare coco {source} --annotations {name} reads it "
            "beside its frames"
        )
    raise DataError(f"{looked}, got {describe_folder(source)}; unpack {ARCHIVE} there")


def find_ego4d(source: Path) -> list[Path]:
    """Return the files of PACO-EGO4D, which is a set of its own."""
    return sorted(path for folder in FOLDERS for path in (source / folder).glob(EGO4D))


def missing_files(source: Path, paths: Collection[Path]) -> Iterator[str]:
    """Yield a sentence on each file that is missing, or not read."""
    present = {path.name for path in paths}
    for name, split in SPLITS.items():
        if name not in present:
            why = f"the first {ARCHIVE} lacked it, download it again" if split == "test" else f"{ARCHIVE} holds it"
            yield f"{name} is not there: {why}"
    for path in find_ego4d(source):
        yield f"{path.name} is left aside: it is PACO-EGO4D, a set of its own, which partseg prepare coco reads"


def read_file(source: Path, path: Path, manifest: Manifest, pairs: PairNames) -> CocoFile:
    """Read one file of annotations.

    Raises:
        DataError: It is something else, has categories of other names, or objects alone.
    """

    def drop_unread(value: dict[str, Any]) -> dict[str, Any]:
        return {key: content for key, content in value.items() if key in KEYS}

    value = read_json(path, f"download {ARCHIVE} again", drop_unread)
    if not isinstance(value, dict) or not all(isinstance(value.get(key), list) for key in LISTS):
        raise DataError(f"{path}: must hold the lists {', '.join(LISTS)}, got other JSON; download {ARCHIVE} again")
    categories = read_categories(path, value["categories"], manifest, pairs)
    annotations = value["annotations"]
    kinds = (category_of(categories, annotation) for annotation in annotations)
    if not any(category is not None and category.kind == "PART" for category in kinds):
        raise DataError(
            f"{path}: must hold annotations of parts (supercategory PART), got {len(annotations):,} of objects alone, "
            f"as in a first release; download {ARCHIVE} again"
        )
    return CocoFile(
        path, path.relative_to(source).as_posix(), SPLITS[path.name], value["images"], annotations, categories
    )


def read_categories(path: Path, values: list[Any], manifest: Manifest, pairs: PairNames) -> dict[int | str, Category]:
    """Read the categories by their id in this file, which may differ from the published one.

    Raises:
        DataError: One has no id and name, an id has two categories, or a name is none of the manifest's.
    """
    found: dict[int | str, Category] = {}
    for value in values:
        number, name = (value.get("id"), value.get("name")) if isinstance(value, dict) else (None, None)
        if type(number) is not int or not isinstance(name, str):
            raise DataError(f"{path}: a category must have an id and a name, got {value!r}; download {ARCHIVE} again")
        category = Category(name, str(value.get("supercategory")).upper())
        if found.setdefault(number, category) != category:
            raise DataError(
                f"{path}: a category's id must be its own, got {number} for {found[number].name!r} and {name!r}; "
                f"download {ARCHIVE} again"
            )
    names: dict[str, Collection[str]] = {"OBJECT": manifest.object_indices, "PART": pairs}
    unknown = [repr(category.name) for category in found.values() if category.name not in names.get(category.kind, ())]
    if unknown:
        raise DataError(
            f"{path}: categories must be the {len(manifest.objects)} objects and {len(pairs)} parts of PACO, "
            f"of supercategory OBJECT and PART, got {format_list(unknown)}; "
            "a set of your own is for partseg prepare coco"
        )
    return found


def category_of(categories: dict[int | str, Category], annotation: object) -> Category | None:
    """Return the category of an annotation, which may be broken."""
    number = annotation.get("category_id") if isinstance(annotation, dict) else None
    return categories.get(number) if type(number) is int else None


def find_owners(file: CocoFile) -> dict[int, tuple[str, object]]:
    """Return name and image of the objects that parts can belong to, by the id of their annotation."""
    owners: dict[int, tuple[str, object]] = {}
    for annotation in file.annotations:
        category = category_of(file.categories, annotation)
        if category is not None and category.kind == "OBJECT" and type(annotation.get("id")) is int:
            owners.setdefault(annotation["id"], (category.name, annotation.get("image_id")))
    return owners


def read_meaning(
    file: CocoFile, pairs: PairNames, owners: Mapping[int, tuple[str, object]], annotation: Mapping[str, Any]
) -> Meaning:
    """Read an object, or a part with the id of its object's annotation, which may be missing.

    Raises:
        InvalidAnnotationError: That annotation is in another image, or shows another object.
    """
    category = file.categories[annotation["category_id"]]
    if category.kind == "OBJECT":
        return Meaning(category.name, None, annotation.get("id"))
    name, part = pairs[category.name]
    link = annotation.get(LINK) if type(annotation.get(LINK)) is int else None
    if link is not None and link in owners:
        owner, image = owners[link]
        if image != annotation["image_id"]:
            raise InvalidAnnotationError(NO_OBJECT, f"{LINK} is {link!r}, in image {image!r}")
        if owner != name:
            raise InvalidAnnotationError(OTHER_OBJECT, f"{category.name!r} of {owner!r}")
    return Meaning(name, part, link)


def read_not_exhaustive(
    image: Mapping[str, Any], file: CocoFile, annotated: Iterable[str], manifest: Manifest, pairs: PairNames
) -> tuple[int, ...]:
    """Return the indices of the objects of which an image may show more than the annotated ones.

    Numbers that are no category of the file are other objects of LVIS.

    Raises:
        InvalidAnnotationError: A list of categories is no list of numbers.
    """
    lists = [image.get(key, []) for key in ("neg_category_ids", "not_exhaustive_category_ids")]
    if not all(isinstance(numbers, list) and all(type(number) is int for number in numbers) for numbers in lists):
        raise InvalidAnnotationError(
            BROKEN_RECORD, f"category ids must be lists of numbers, got {lists[0]!r} and {lists[1]!r}"
        )
    absent, open_ended = ([file.categories[n] for n in numbers if n in file.categories] for numbers in lists)
    sure = {*annotated, *(category.name for category in absent if category.kind == "OBJECT")}
    sure -= {c.name if c.kind == "OBJECT" else pairs[c.name][0] for c in open_ended}
    return tuple(index for name, index in manifest.object_indices.items() if name not in sure)


def convert_image(
    object_indices: Mapping[str, int], pair_indices: coco.PairIndices, content: PacoImage | Skipped
) -> list[Outcome]:
    """Return an outcome for each annotation whose mask is broken, then that of the image."""
    if isinstance(content, Skipped):
        return [content]
    outcomes = coco.convert_image(object_indices, pair_indices, content.image)
    last = outcomes[-1]
    if isinstance(last, Converted):
        record = replace(last.record, image_id=content.image_id, not_exhaustive=content.not_exhaustive)
        outcomes[-1] = Converted(last.split, record)
    return outcomes


def _items(
    source: Path,
    file: CocoFile,
    annotations: Mapping[int | str, list[LabelledAnnotation]],
    manifest: Manifest,
    pairs: PairNames,
    seen: set[str],
) -> Iterator[SourceImage]:
    """Yield each image with its annotations, or with its defect; `seen` holds the files of former images."""
    ambiguous = ambiguous_ids(file.images)
    for place, image in enumerate(file.images):
        name = item_name(file, "image", place, image)
        content: PacoImage | Skipped
        try:
            check_image(image, ambiguous)
            path = _find_image(source, file, image.get("file_name"))
            keys = {str(image["file_name"]), str((source / path).resolve())}
            if keys & seen:
                raise InvalidAnnotationError(DOUBLE_FILE, image["file_name"])
            seen |= keys
            labelled = tuple(annotations.get(image["id"], ()))
            annotated = (one.meaning.object for one in labelled if one.meaning.part is None)
            coco_image = CocoImage(name, file.split, path, size_of(image), labelled)
            open_ended = read_not_exhaustive(image, file, annotated, manifest, pairs)
            content = PacoImage(coco_image, image["file_name"], open_ended)
        except InvalidAnnotationError as error:
            content = Skipped.defect(name, error)
        yield SourceImage(name, content, (file.path,))


def _find_image(source: Path, file: CocoFile, name: object) -> str:
    """Return the path of an image below `source`.

    Raises:
        InvalidAnnotationError: It is missing.
        DataError: Its name, or a link, leads out of `source`, or links lead to each other.
    """
    for folder in IMAGE_FOLDERS:
        try:
            return find_image(source, file, {"file_name": f"{folder}{name}" if folder else name})
        except InvalidAnnotationError as defect:
            if defect.reason != NO_IMAGE:
                raise
    raise InvalidAnnotationError(NO_IMAGE, str(name))


def _lone_parts(images: Iterable[Sequence[LabelledAnnotation]]) -> Iterator[Skipped]:
    """Yield the parts whose object has no annotation."""
    for labelled in images:
        own = {one.meaning.instance for one in labelled if one.meaning.part is None}
        for one in labelled:
            if one.meaning.part is not None and one.meaning.instance not in own:
                yield Skipped(one.item, LONE_PART, is_defect=False, detail=f"{LINK} is {one.meaning.instance!r}")


def _check_images(source: Path, items: Sequence[SourceImage]) -> None:
    """Refuse a source without a single image: that is one mistake, not one of each image."""
    contents = [item.content for item in items]
    missing = [content.detail for content in contents if isinstance(content, Skipped) and content.reason == NO_IMAGE]
    if missing and not any(isinstance(content, PacoImage) for content in contents):
        raise DataError(
            f"{source}: must hold the images of COCO, train2017/ and val2017/, there or in images/ or coco/, got none, "
            f"such as {missing[0]}; unpack train2017.zip and val2017.zip there"
        )
