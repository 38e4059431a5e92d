"""ADE20K-Part-234 from its OV-PARTS repack: a label map of pairs for each image, and a JSON of object instances.

The map does not distinguish instances. A pixel of a pair goes to the smallest instance of the pair's object that covers
it, or to a synthetic instance without a pixel. So the parts of a record never overlap, its flat map equals the PNG, and
its objects are those of the JSON alone. The images of the JSON are those of the dataset. Its `category_id` is read as
the index in the sorted list of names, as by the published code, whatever its categories say.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from jaxtyping import UInt16

from partseg_cli.data.converters.coco.annotations import (
    BROKEN_RECORD,
    DOUBLE_FILE,
    DOUBLE_IMAGE,
    LabelledAnnotation,
    Meaning,
    has_id,
    item_name,
    sort_annotations,
)
from partseg_cli.data.converters.coco.files import Category, CocoFile
from partseg_cli.data.converters.coco.masks import build_mask
from partseg_cli.data.converters.conversion import (
    MASKS_DIFFER,
    Conversion,
    Converted,
    InvalidAnnotationError,
    Outcome,
    Skipped,
    SourceImage,
)
from partseg_cli.data.converters.ovparts.repack import (
    ADE,
    FEW_SHOT,
    IMAGES,
    NO_LABELS,
    NO_PART,
    Repack,
    RepackImage,
    object_order,
    read_labels,
)
from partseg_cli.data.manifest import Manifest
from partseg_cli.data.record import Instance, Part, Record
from partseg_cli.data.rle import NONE, Mask, masks_by_label, paint
from partseg_cli.data.store import image_root
from partseg_cli.errors import DataError
from partseg_cli.io.files import read_json

UNLISTED = "image is not in the JSON of instances"


@dataclass(frozen=True)
class InstanceImage:
    """Image with its instances, whose masks are not built yet.

    Attributes:
        image: Files of the image.
        size: Width and height in pixels in the JSON, each None if missing.
        instances: Instances of the 44 objects.
    """

    image: RepackImage
    size: tuple[Any, Any]
    instances: tuple[LabelledAnnotation, ...]


def convert_ade(source: Path, manifest: Manifest) -> Conversion:
    """Convert the repack below `source`, lazily, with one outcome per image of the JSON; its folders are the splits.

    Raises:
        DataError: `source` is something else, or an incomplete repack.
    """
    repack = Repack.find(source, ADE)
    images = repack.images()
    few_shot, strange = repack.few_shot(images)
    names = object_order(manifest.objects)
    items: list[SourceImage] = []
    left_out: list[Skipped] = []
    notes: list[str] = []
    for split in ADE.folders.values():
        path = repack.root / str(ADE.instances).format(split=split)
        value = read_json(path, ADE.advice)
        file = read_instances(path, repack.name(path), split, value, names)
        found, skipped = find_images(file, [image for image in images if image.split == split])
        items += [SourceImage(content.image.name, content, (content.image.labels, path)) for content in found]
        left_out += skipped
        notes += compare_categories(file.name, value.get("categories"), names)
    folder = repack.root / IMAGES
    return Conversion(
        folder,
        items,
        partial(convert_image, manifest),
        image_root(folder),
        left_out=(*repack.unlabelled(), *strange, *left_out),
        lists=((FEW_SHOT, few_shot),) if few_shot else (),
        notes=tuple(notes),
        expected_total=sum(manifest.expected.values()) or None,
    )


def read_instances(path: Path, name: str, split: str, value: Any, names: Sequence[str]) -> CocoFile:  # noqa: ANN401
    """Return the images and annotations of a JSON of instances; its `category_id` is an index of `names`.

    Raises:
        DataError: It has no such lists.
    """
    for key in ("images", "annotations"):
        if not isinstance(value, dict) or not isinstance(value.get(key), list):
            raise DataError(f"{path}: must hold the lists images and annotations, got none called {key}; {ADE.advice}")
    categories: dict[int | str, Category] = {number: Category(one, "OBJECT") for number, one in enumerate(names)}
    return CocoFile(path, name, split, value["images"], value["annotations"], categories)


def compare_categories(name: str, categories: object, names: Sequence[str]) -> list[str]:
    """Describe how the categories of a JSON of instances contradict the published ids."""
    rows = [row for row in categories if isinstance(row, dict)] if isinstance(categories, list) else []
    ours = {repr(number): one for number, one in enumerate(names)}
    other = [row for row in rows if ours.get(repr(row.get("id")), "") != row.get("name")]
    if not other:
        return []
    first = other[0]
    return [
        f"{name} names {len(other)} categories otherwise, such as {first.get('id')!r} as {first.get('name')!r}; "
        "its ids are read as the published code reads them, as places in the sorted list of objects."
    ]


def find_images(file: CocoFile, images: Sequence[RepackImage]) -> tuple[list[InstanceImage], list[Skipped]]:
    """Return the images of a JSON of instances by stem, and the defects of the others."""

    def read(annotation: Mapping[str, Any]) -> Meaning:
        return Meaning(file.categories[annotation["category_id"]].name, None, annotation.get("id"))

    known = sort_annotations(file, read)
    by_stem = {image.labels.stem: image for image in images}
    ids = Counter(image["id"] for image in file.images if has_id(image))
    found: dict[str, InstanceImage] = {}
    skipped = known.skipped
    for place, image in enumerate(file.images):
        try:
            stem = _stem(image, has_id(image) and ids[image["id"]] > 1)
            if stem in found:
                raise InvalidAnnotationError(DOUBLE_FILE, stem)
            if stem not in by_stem:
                raise InvalidAnnotationError(NO_LABELS, f"{stem}.png")
        except InvalidAnnotationError as error:
            skipped.append(Skipped.defect(item_name(file, "image", place, image), error))
        else:
            found[stem] = InstanceImage(
                by_stem[stem], (image.get("width"), image.get("height")), tuple(known.by_image.get(image["id"], ()))
            )
    named = {_stem(image, False) for image in file.images if _is_whole(image)}
    skipped += [Skipped(by_stem[stem].name, UNLISTED, is_defect=False) for stem in by_stem if stem not in named]
    return [found[stem] for stem in sorted(found)], skipped


def convert_image(manifest: Manifest, content: InstanceImage) -> list[Outcome]:
    """Return an outcome for each instance whose mask is broken, then that of the image.

    Raises:
        InvalidAnnotationError: The label map is missing, broken, or of another size than the JSON says.
    """
    image = content.image
    pairs = read_labels(image.labels, ADE.bits, len(manifest.pair_objects))
    height, width = pairs.shape
    if content.size not in ((width, height), (None, None)):
        swapped = ", swapped" if content.size == (height, width) else ""
        raise InvalidAnnotationError(
            MASKS_DIFFER, "label map {}x{}, JSON {}x{}{}".format(width, height, *content.size, swapped)
        )
    outcomes: list[Outcome] = []
    instances: list[Instance] = []
    for labelled in content.instances:
        try:
            mask = build_mask(labelled.segmentation, width, height)
        except InvalidAnnotationError as error:
            outcomes.append(Skipped.defect(labelled.item, error))
        else:
            instances.append(Instance(len(instances), manifest.object_indices[labelled.meaning.object], mask))
    if not (pairs != NONE).any():
        return [*outcomes, Skipped(image.name, NO_PART, is_defect=False)]
    rest, parts = share_out(pairs, instances, manifest.pair_objects)
    record = Record(image.id, image.file, width, height, image.name, (*instances, *rest), parts)
    return [*outcomes, Converted(image.split, record)]


def share_out(
    pairs: UInt16[np.ndarray, "H W"], instances: Sequence[Instance], owners: Sequence[int]
) -> tuple[list[Instance], tuple[Part, ...]]:
    """Assign each pixel of a pair to the smallest instance of its object that covers it, of equal ones to the last.

    Args:
        pairs: Ids of pairs, `rle.NONE` elsewhere.
        instances: Instances whose ids are 0, 1, ...
        owners: Id of a pair -> index of its object.

    Returns:
        One synthetic instance without a pixel for each object with a part outside of all instances; all parts, by pair.
    """
    table = np.append(np.asarray(owners, np.int64), np.full(NONE + 1 - len(owners), -1))
    objects = np.take(table, pairs)
    holders = np.full(pairs.shape, NONE, np.int64)
    rest: list[Instance] = []
    for category in np.unique(objects[objects >= 0]).tolist():
        layers = ((instance.id, 0, instance.mask) for instance in instances if instance.category == category)
        ours = objects == category
        holders[ours] = paint(layers, *pairs.shape)[ours]
        alone = ours & (holders == NONE)
        if alone.any():
            nowhere = Mask.encode(np.zeros(pairs.shape, np.bool_))
            rest.append(Instance(len(instances) + len(rest), category, nowhere, synthetic=True))
            holders[alone] = rest[-1].id
    both = np.where(pairs == NONE, -1, pairs.astype(np.int64) * NONE + holders)
    return rest, tuple(
        Part(key % NONE, key // NONE, str(key // NONE), 1, mask) for key, mask in masks_by_label(both).items()
    )


def _is_whole(image: Any) -> bool:  # noqa: ANN401 - an element of a JSON list
    return has_id(image) and isinstance(image.get("file_name"), str)


def _stem(image: Any, is_ambiguous: bool) -> str:  # noqa: ANN401 - an element of a JSON list
    """Return the stem of the file of an image record, whatever folder it names.

    Raises:
        InvalidAnnotationError: The record is malformed, or another one has its id.
    """
    if not _is_whole(image):
        raise InvalidAnnotationError(BROKEN_RECORD, "it must have an id and a file_name")
    if is_ambiguous:
        raise InvalidAnnotationError(DOUBLE_IMAGE, repr(image["id"]))
    return PurePosixPath(image["file_name"].replace("\\", "/")).stem
