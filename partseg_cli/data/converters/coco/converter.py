"""A user's own part set in COCO format: photos, and JSON files whose categories are parts, or parts and objects.

Where the set does not tell object instances apart, an image has one synthetic instance of each object: the union of its
parts, and of the object's own masks if there are some. What `partseg export` wrote tells more, see `coco_exchange`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from partseg_cli.data.converters.coco.categories import Meaning, choose_ways, used_categories
from partseg_cli.data.converters.coco.exported import CocoSet, exported_files, read_exported
from partseg_cli.data.converters.coco.files import CocoFile, choose, find_image, read_coco
from partseg_cli.data.converters.coco.masks import mask_of, union
from partseg_cli.data.converters.coco.records import (
    BACKGROUND,
    DOUBLE_PHOTO,
    Shown,
    Sorted,
    check_image,
    doubtful_ids,
    item_name,
    size_of,
    sort_annotations,
)
from partseg_cli.data.converters.conversion import (
    Conversion,
    Converted,
    InvalidAnnotationError,
    Outcome,
    Skipped,
    SourceImage,
    measure_image,
)
from partseg_cli.data.record import Instance, Part, Record
from partseg_cli.data.rle import Mask
from partseg_cli.data.store import image_root
from partseg_cli.errors import DataError
from partseg_cli.vocabulary import Pair, Vocabulary

UNUSED = "category has no annotation"
NO_PART = "no part"


@dataclass(frozen=True)
class Picture:
    """An image that can be converted.

    Attributes:
        item: its name in the report.
        split: "train" or "val".
        photo: path of the photo below the source folder.
        size: width and height in pixels, which all masks have.
        annotations: those of known words.
    """

    item: str
    split: str
    photo: str
    size: tuple[int, int]
    annotations: tuple[Shown, ...]


@dataclass(frozen=True)
class Index:
    """Where the store's lists hold an object's name, and a pair of object and part."""

    objects: dict[str, int]
    pairs: dict[tuple[str, str], int]

    @classmethod
    def of(cls, objects: Sequence[str], vocabulary: Vocabulary) -> Index:
        """Give the places in these lists."""
        pairs = {(pair.object, pair.part): number for number, pair in enumerate(vocabulary.pairs)}
        return cls({name: number for number, name in enumerate(objects)}, pairs)


def convert(
    source: Path, *, annotations: Sequence[Path] = (), splits: Sequence[str] = (), object_name: str | None = None
) -> CocoSet:
    """Prepare to convert the set below `source`; images are converted lazily.

    Args:
        source: the folder that holds everything.
        annotations: its COCO files, below `source` or from here; none = the one that is there.
        splits: "train" or "val" for each; none = train.
        object_name: the object that all categories are parts of; None = annotations or categories tell.

    Raises:
        UsageError: files and splits do not pair up.
        DataError: the files are missing, something else, or do not say which object their parts belong to.
    """
    chosen = exported_files(source, annotations, splits) or choose(source, annotations, splits)
    files = [read_coco(source, path, split) for path, split in chosen]
    if object_name is None and (exported := read_exported(source, files, splits)):
        return exported
    ways = choose_ways(files, object_name)
    known = [sort_annotations(file, way) for file, way in zip(files, ways, strict=True)]
    meanings = {shown.meaning for one in known for annotations in one.by_image.values() for shown in annotations}
    objects = sorted({meaning.object for meaning in meanings})
    pairs = sorted({(meaning.object, meaning.part) for meaning in meanings if meaning.part is not None})
    if not pairs:
        reasons = ", ".join(sorted({item.reason for one in known for item in one.skipped})) or "no annotation of one"
        raise DataError(f"{source}: must hold an annotated part, got none ({reasons})")
    vocabulary = Vocabulary(tuple(Pair(*pair) for pair in pairs))
    index = Index.of(objects, vocabulary)
    left_out = (*_left_out_categories(files), *(item for one in known for item in one.skipped))
    items = list(_items(source, files, known))
    conversion = Conversion(source, items, partial(convert_image, index), image_root(source), left_out=left_out)
    return CocoSet(tuple(objects), vocabulary, conversion)


def _items(source: Path, files: Sequence[CocoFile], annotations: Sequence[Sorted]) -> Iterator[SourceImage]:
    """Give each image with its annotations, or with what is wrong with it."""
    photos: set[Path] = set()
    for file, known in zip(files, annotations, strict=True):
        doubtful = doubtful_ids(file.images)
        for place, image in enumerate(file.images):
            name = item_name(file, "image", place, image)
            content: Picture | Skipped
            try:
                check_image(image, doubtful)
                photo = _find(source, file, image, photos)
                size = _size(image, source / photo, photo)
            except InvalidAnnotationError as defect:
                content = Skipped(name, defect.reason, is_defect=True, detail=defect.detail)
            else:
                content = Picture(name, file.split, photo, size, tuple(known.by_image.get(image["id"], [])))
            yield SourceImage(name, content, (file.path,))


def convert_image(index: Index, picture: Picture | Skipped) -> list[Outcome]:
    """Give an outcome for each annotation whose mask is broken, then that of the image."""
    if isinstance(picture, Skipped):
        return [picture]
    outcomes: list[Outcome] = []
    masks: list[tuple[Shown, Mask]] = []
    for shown in picture.annotations:
        try:
            masks.append((shown, mask_of(shown.segmentation, *picture.size)))
        except InvalidAnnotationError as defect:
            outcomes.append(Skipped(shown.item, defect.reason, is_defect=True, detail=defect.detail))
    objects, parts = assemble(masks, picture.size, index)
    if parts:
        record = Record(picture.photo, picture.photo, *picture.size, picture.item, objects, parts)
        return [*outcomes, Converted(picture.split, record)]
    return [*outcomes, Skipped(picture.item, NO_PART, is_defect=False)]


def assemble(
    masks: Sequence[tuple[Shown, Mask]], size: tuple[int, int], index: Index
) -> tuple[tuple[Instance, ...], tuple[Part, ...]]:
    """Give the object instances and the parts of an image of this size (width, height).

    An object without a mask of its own, and every object of a set without instances, is synthetic: a union of masks.
    """
    groups: dict[tuple[str, int | str | None], list[tuple[Meaning, str, Mask]]] = {}
    for shown, mask in masks:
        meaning = shown.meaning
        groups.setdefault((meaning.object, meaning.instance), []).append((meaning, shown.category, mask))
    objects, parts = [], []
    for number, ((name, instance), members) in enumerate(groups.items()):
        own = [mask for meaning, _, mask in members if meaning.part is None and instance is not None]
        whole = own[0] if own else union([mask for _, _, mask in members], *size)
        objects.append(Instance(number, index.objects[name], whole, synthetic=not own))
        for meaning, category, mask in members:
            if meaning.part is not None:
                parts.append(Part(number, index.pairs[name, meaning.part], category, 1, mask))
    return tuple(objects), tuple(parts)


def _left_out_categories(files: Sequence[CocoFile]) -> Iterator[Skipped]:
    """Tell of the categories that no file uses, and of the background."""
    used = {name for file in files for name in used_categories(file)}
    told: set[str] = set()
    for file in files:
        for category in file.categories.values():
            if category.name not in used | told:
                told.add(category.name)
                reason = BACKGROUND if category.is_background else UNUSED
                yield Skipped(file.name, reason, is_defect=False, detail=category.name)


def _find(source: Path, file: CocoFile, image: dict[str, Any], photos: set[Path]) -> str:
    """Find an image's photo, and remember it in `photos`.

    Raises:
        DefectError: it is missing, or had before.
    """
    name = find_image(source, file, image)
    path = (source / name).resolve()
    if path in photos:
        raise InvalidAnnotationError(DOUBLE_PHOTO, name)
    photos.add(path)
    return name


def _size(image: dict[str, Any], path: Path, name: str) -> tuple[int, int]:
    """Give width and height in pixels that an image's record says, or else its photo's.

    Raises:
        DefectError: they are no sizes, or the photo cannot be read.
    """
    if image.get("width") is None and image.get("height") is None:
        return measure_image(path, name)
    return size_of(image)
