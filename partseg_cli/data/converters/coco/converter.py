"""A user's own part set in COCO format: images, and JSON files whose categories are parts, or parts and objects.

If the set does not distinguish object instances, an image has one synthetic instance per object: the union of its parts
and of the object's own masks, if any. Files that `partseg export` wrote hold more, see `exported`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from partseg_cli.data.converters.coco.annotations import (
    BACKGROUND,
    DOUBLE_FILE,
    LabelledAnnotation,
    Meaning,
    SortedAnnotations,
    ambiguous_ids,
    check_image,
    choose_readers,
    item_name,
    size_of,
    sort_annotations,
    used_categories,
)
from partseg_cli.data.converters.coco.exported import CocoSet, exported_files, read_exported
from partseg_cli.data.converters.coco.files import CocoFile, choose_files, find_image, read_coco
from partseg_cli.data.converters.coco.masks import build_mask, union
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

PairIndices = Mapping[tuple[str, str], int]
"""Index of each pair by the names of its object and part."""


@dataclass(frozen=True)
class CocoImage:
    """Image that can be converted.

    Attributes:
        item: Name in the report.
        split: "train" or "val".
        file: Path of the image file below the source folder.
        size: Width and height in pixels of all masks.
        annotations: Annotations of known meaning.
    """

    item: str
    split: str
    file: str
    size: tuple[int, int]
    annotations: tuple[LabelledAnnotation, ...]


def convert(
    source: Path, *, annotations: Sequence[Path] = (), splits: Sequence[str] = (), object_name: str | None = None
) -> CocoSet:
    """Prepare the conversion of the set below `source`; images are converted lazily.

    Args:
        source: Folder that holds everything.
        annotations: COCO files, below `source` or the current folder; none for the only one there.
        splits: "train" or "val" of each file; none for train.
        object_name: Object that all categories are parts of; None if annotations or categories name it.

    Raises:
        UsageError: Files and splits do not pair up.
        DataError: The files are missing, something else, or do not name the objects of their parts.
    """
    chosen = exported_files(source, annotations, splits) or choose_files(source, annotations, splits)
    files = [read_coco(source, path, split) for path, split in chosen]
    if object_name is None and (exported := read_exported(source, files, splits)):
        return exported
    readers = choose_readers(files, object_name)
    known = [sort_annotations(file, read) for file, read in zip(files, readers, strict=True)]
    meanings = {one.meaning for result in known for labelled in result.by_image.values() for one in labelled}
    objects = sorted({meaning.object for meaning in meanings})
    pairs = sorted({(meaning.object, meaning.part) for meaning in meanings if meaning.part is not None})
    if not pairs:
        reasons = ", ".join(sorted({item.reason for one in known for item in one.skipped})) or "no annotation of one"
        raise DataError(f"{source}: must hold an annotated part, got none ({reasons})")
    object_indices = {name: index for index, name in enumerate(objects)}
    pair_indices = {pair: index for index, pair in enumerate(pairs)}
    conversion = Conversion(
        source,
        list(_items(source, files, known)),
        partial(convert_image, object_indices, pair_indices),
        image_root(source),
        left_out=(*_left_out_categories(files), *(item for one in known for item in one.skipped)),
    )
    return CocoSet(tuple(objects), Vocabulary(tuple(Pair(*pair) for pair in pairs)), conversion)


def _left_out_categories(files: Sequence[CocoFile]) -> Iterator[Skipped]:
    """Yield the categories that no file uses, and the background, each once."""
    seen = {name for file in files for name in used_categories(file)}
    for file in files:
        for category in file.categories.values():
            if category.name not in seen:
                seen.add(category.name)
                reason = BACKGROUND if category.is_background else UNUSED
                yield Skipped(file.name, reason, is_defect=False, detail=category.name)


def _items(source: Path, files: Sequence[CocoFile], annotations: Sequence[SortedAnnotations]) -> Iterator[SourceImage]:
    """Yield each image with its annotations, or with its defect."""
    paths: set[Path] = set()
    for file, known in zip(files, annotations, strict=True):
        ambiguous = ambiguous_ids(file.images)
        for place, image in enumerate(file.images):
            name = item_name(file, "image", place, image)
            content: CocoImage | Skipped
            try:
                check_image(image, ambiguous)
                image_file = find_image(source, file, image)
                path = (source / image_file).resolve()
                if path in paths:
                    raise InvalidAnnotationError(DOUBLE_FILE, image_file)
                paths.add(path)
                has_size = image.get("width") is not None or image.get("height") is not None
                size = size_of(image) if has_size else measure_image(source / image_file, image_file)
                content = CocoImage(name, file.split, image_file, size, tuple(known.by_image.get(image["id"], ())))
            except InvalidAnnotationError as error:
                content = Skipped.defect(name, error)
            yield SourceImage(name, content, (file.path,))


def convert_image(
    object_indices: Mapping[str, int], pair_indices: PairIndices, image: CocoImage | Skipped
) -> list[Outcome]:
    """Return an outcome for each annotation whose mask is broken, then that of the image."""
    if isinstance(image, Skipped):
        return [image]
    outcomes: list[Outcome] = []
    masks: list[tuple[LabelledAnnotation, Mask]] = []
    for labelled in image.annotations:
        try:
            masks.append((labelled, build_mask(labelled.segmentation, *image.size)))
        except InvalidAnnotationError as error:
            outcomes.append(Skipped.defect(labelled.item, error))
    objects, parts = assemble(masks, image.size, object_indices, pair_indices)
    if not parts:
        return [*outcomes, Skipped(image.item, NO_PART, is_defect=False)]
    record = Record(image.file, image.file, *image.size, image.item, objects, parts)
    return [*outcomes, Converted(image.split, record)]


def assemble(
    masks: Sequence[tuple[LabelledAnnotation, Mask]],
    size: tuple[int, int],
    object_indices: Mapping[str, int],
    pair_indices: PairIndices,
) -> tuple[tuple[Instance, ...], tuple[Part, ...]]:
    """Build the object instances and the parts of an image of this size (width, height).

    An object without a mask of its own, and every object of a set without instances, is synthetic: a union of masks.
    """
    groups: dict[tuple[str, int | str | None], list[tuple[Meaning, str, Mask]]] = {}
    for labelled, mask in masks:
        meaning = labelled.meaning
        groups.setdefault((meaning.object, meaning.instance), []).append((meaning, labelled.category, mask))
    objects, parts = [], []
    for number, ((name, instance), members) in enumerate(groups.items()):
        own = [mask for meaning, _, mask in members if meaning.part is None and instance is not None]
        whole = own[0] if own else union([mask for _, _, mask in members], *size)
        objects.append(Instance(number, object_indices[name], whole, synthetic=not own))
        for meaning, category, mask in members:
            if meaning.part is not None:
                parts.append(Part(number, pair_indices[name, meaning.part], category, 1, mask))
    return tuple(objects), tuple(parts)
