"""ADE20K-Part-234 from its OV-PARTS repack: a label map of pairs for each photo, and a JSON of object instances.

The map tells no instances apart. A pixel of a pair goes to the smallest instance of the pair's object that covers it;
where there is none, to a synthetic instance without a pixel. So the parts of a record never overlap, its flat map
equals the PNG, and its objects are those of the JSON alone. The JSON says which images the data set has; that its
`category_id` is the place in the sorted list of names is what the published code reads, whatever its categories say.
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

from partseg_cli.data.converters.coco.categories import Meaning
from partseg_cli.data.converters.coco.files import Category, CocoFile
from partseg_cli.data.converters.coco.masks import mask_of
from partseg_cli.data.converters.coco.records import (
    BROKEN_RECORD,
    DOUBLE_IMAGE,
    DOUBLE_PHOTO,
    Shown,
    has_id,
    item_name,
    sort_annotations,
)
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
    NO_LABELS,
    NO_PART,
    PHOTOS,
    Picture,
    Repack,
    object_order,
    read_labels,
)
from partseg_cli.data.manifest import Manifest
from partseg_cli.data.record import Instance, Part, Record
from partseg_cli.data.rle import NONE, Mask, masks_of, paint
from partseg_cli.data.store import image_root
from partseg_cli.errors import DataError
from partseg_cli.io.files import read_json

UNLISTED = "image is not in the JSON of instances"


@dataclass(frozen=True)
class Scene:
    """One image with its instances, whose masks are still to be made.

    Attributes:
        picture: its files.
        size: width and height in pixels that the JSON says; two None if it says nothing.
        instances: of the 44 objects.
    """

    picture: Picture
    size: tuple[Any, Any]
    instances: tuple[Shown, ...]


@dataclass(frozen=True)
class Classes:
    """Indices of the store.

    Attributes:
        categories: name of an object -> index into the manifest's objects.
        owners: index of a pair, which is its id in label maps too -> index of its object.
    """

    categories: dict[str, int]
    owners: tuple[int, ...]

    @classmethod
    def of(cls, manifest: Manifest) -> Classes:
        """Give the classes of a data set."""
        categories = {name: index for index, name in enumerate(manifest.objects)}
        return cls(categories, tuple(categories[pair.object] for pair in manifest.vocabulary.pairs))


def convert_ade(source: Path, manifest: Manifest) -> Conversion:
    """Convert the repack below `source`, lazily, one outcome for each image of the JSON; its folders are the splits.

    Raises:
        DataError: `source` is something else, or an incomplete repack.
    """
    repack = Repack.find(source, ADE)
    pictures = repack.pictures()
    few_shot, strange = repack.few_shot(pictures)
    names = object_order(manifest.objects)
    items: list[SourceImage] = []
    left_out: list[Skipped] = []
    notes: list[str] = []
    for split in ADE.folders.values():
        path = repack.root / str(ADE.instances).format(split=split)
        value = read_json(path, ADE.advice)
        file = read_instances(path, repack.name(path), split, value, names)
        scenes, skipped = find_scenes(file, [picture for picture in pictures if picture.split == split])
        items += [SourceImage(scene.picture.name, scene, (scene.picture.labels, path)) for scene in scenes]
        left_out += skipped
        notes += compare_categories(file.name, value.get("categories"), names)
    photos = repack.root / PHOTOS
    return Conversion(
        photos,
        items,
        partial(convert_image, Classes.of(manifest)),
        image_root(photos),
        left_out=(*repack.unlabelled(), *strange, *left_out),
        lists=((FEW_SHOT, few_shot),) if few_shot else (),
        notes=tuple(notes),
        expected_total=sum(manifest.expected.values()) or None,
    )


def read_instances(path: Path, name: str, split: str, value: Any, names: Sequence[str]) -> CocoFile:  # noqa: ANN401
    """Give the images and annotations of a JSON of instances; its `category_id` is a place in `names`.

    Raises:
        DataError: it has no such lists.
    """
    for key in ("images", "annotations"):
        if not isinstance(value, dict) or not isinstance(value.get(key), list):
            raise DataError(f"{path}: must hold the lists images and annotations, got none called {key}; {ADE.advice}")
    categories: dict[int | str, Category] = {number: Category(one, "OBJECT") for number, one in enumerate(names)}
    return CocoFile(path, name, split, value["images"], value["annotations"], categories)


def compare_categories(name: str, categories: object, names: Sequence[str]) -> list[str]:
    """Say whether the categories of a JSON of instances contradict the published ids."""
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


def find_scenes(file: CocoFile, pictures: Sequence[Picture]) -> tuple[list[Scene], list[Skipped]]:
    """Give the images of a JSON of instances by stem, and what is wrong with the others."""
    known = sort_annotations(file, lambda annotation: _meaning(file, annotation))
    by_stem = {picture.labels.stem: picture for picture in pictures}
    ids = Counter(image["id"] for image in file.images if has_id(image))
    scenes: dict[str, Scene] = {}
    skipped = known.skipped
    for place, image in enumerate(file.images):
        try:
            stem = _stem(image, has_id(image) and ids[image["id"]] > 1)
            if stem in scenes:
                raise InvalidAnnotationError(DOUBLE_PHOTO, stem)
            if stem not in by_stem:
                raise InvalidAnnotationError(NO_LABELS, f"{stem}.png")
        except InvalidAnnotationError as defect:
            item = item_name(file, "image", place, image)
            skipped.append(Skipped(item, defect.reason, is_defect=True, detail=defect.detail))
        else:
            scenes[stem] = Scene(
                by_stem[stem], (image.get("width"), image.get("height")), tuple(known.by_image.get(image["id"], ()))
            )
    named = {_stem(image, False) for image in file.images if _is_whole(image)}
    skipped += [Skipped(by_stem[stem].name, UNLISTED, is_defect=False) for stem in by_stem if stem not in named]
    return [scenes[stem] for stem in sorted(scenes)], skipped


def convert_image(classes: Classes, scene: Scene) -> list[Outcome]:
    """Give an outcome for each instance whose mask is broken, then that of the image.

    Raises:
        DefectError: the label map is missing, broken, or of another size than the JSON says.
    """
    picture = scene.picture
    pairs = read_labels(picture.labels, ADE.bits, len(classes.owners))
    height, width = pairs.shape
    if scene.size not in ((width, height), (None, None)):
        swapped = ", swapped" if scene.size == (height, width) else ""
        raise InvalidAnnotationError(
            MASKS_DIFFER, "label map {}x{}, JSON {}x{}{}".format(width, height, *scene.size, swapped)
        )
    outcomes: list[Outcome] = []
    instances: list[Instance] = []
    for shown in scene.instances:
        try:
            mask = mask_of(shown.segmentation, width, height)
        except InvalidAnnotationError as defect:
            outcomes.append(Skipped(shown.item, defect.reason, is_defect=True, detail=defect.detail))
        else:
            instances.append(Instance(len(instances), classes.categories[shown.meaning.object], mask))
    if not (pairs != NONE).any():
        return [*outcomes, Skipped(picture.name, NO_PART, is_defect=False)]
    rest, parts = share_out(pairs, instances, classes.owners)
    record = Record(picture.id, picture.photo, width, height, picture.name, (*instances, *rest), parts)
    return [*outcomes, Converted(picture.split, record)]


def share_out(
    pairs: UInt16[np.ndarray, "H W"], instances: Sequence[Instance], owners: Sequence[int]
) -> tuple[list[Instance], tuple[Part, ...]]:
    """Give each pixel of a pair to the smallest instance of its object that covers it, of equal ones to the last.

    Args:
        pairs: ids of pairs, `rle.NONE` elsewhere.
        instances: with ids from 0 on.
        owners: id of a pair -> index of its object.

    Returns:
        One synthetic instance without a pixel for each object of which a part lies in none, and all parts, by pair.
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
    return rest, tuple(Part(key % NONE, key // NONE, str(key // NONE), 1, mask) for key, mask in masks_of(both).items())


def _meaning(file: CocoFile, annotation: Mapping[str, Any]) -> Meaning:
    return Meaning(file.categories[annotation["category_id"]].name, None, annotation.get("id"))


def _is_whole(image: Any) -> bool:  # noqa: ANN401 - an element of a JSON list
    return has_id(image) and isinstance(image.get("file_name"), str)


def _stem(image: Any, is_doubtful: bool) -> str:  # noqa: ANN401 - an element of a JSON list
    """Give the stem of an image record's photo, whatever folder it names.

    Raises:
        DefectError: the record is malformed, or another one has its id.
    """
    if not _is_whole(image):
        raise InvalidAnnotationError(BROKEN_RECORD, "it must have an id and a file_name")
    if is_doubtful:
        raise InvalidAnnotationError(DOUBLE_IMAGE, repr(image["id"]))
    return PurePosixPath(image["file_name"].replace("\\", "/")).stem
