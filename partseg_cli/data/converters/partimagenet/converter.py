"""PartImageNet with 40 objects: images of single objects whose parts are polygons of a COCO JSON, or pixels of a map.

Both are in the Seg archive. Polygons are read where there are some, because they keep what overlaps and a part that is
split in two; the map (0..39 = super-part, 40 = background) is read for images that the JSON does not annotate. The
synset in an image's name identifies its object, and the super-part, such as "Quadruped Head", one of its pairs. The
object itself is the union of its parts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations, islice
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from partseg_cli.data.converters.coco.annotations import LabelledAnnotation
from partseg_cli.data.converters.coco.converter import NO_PART, assemble
from partseg_cli.data.converters.coco.masks import FEW_POINTS, build_mask
from partseg_cli.data.converters.conversion import (
    Conversion,
    Converted,
    InvalidAnnotationError,
    Outcome,
    Skipped,
    SourceImage,
    read_pixels,
)
from partseg_cli.data.converters.partimagenet.annotations import (
    OTHER_CLASS,
    SUPER_PARTS,
    PolygonImage,
    SplitImages,
    read_meaning,
    read_split,
)
from partseg_cli.data.converters.partimagenet.files import (
    ARCHIVE,
    IMAGE_PLACES,
    SPLITS,
    PartImageNetFiles,
    SplitFiles,
    synset_of,
)
from partseg_cli.data.manifest import Manifest
from partseg_cli.data.record import Record
from partseg_cli.data.rle import Mask
from partseg_cli.data.store import image_root
from partseg_cli.errors import DataError

BACKGROUND = len(SUPER_PARTS)
"""In a part map; maps of whole objects have 158 there (TACJu/PartImageNet, issue 12)."""
MAPS_PROBED = 16

BROKEN_MAP = "part map cannot be used"
DOUBLE_PART = "annotation repeats another"


@dataclass(frozen=True)
class MapImage:
    """An image of one of the 40 objects with a part map.

    Attributes:
        item: Name in the report.
        split: its split.
        image: its name without suffix.
        file: Path of the image file below the root.
        object: its object.
        map: path of its part map.
    """

    item: str
    split: str
    image: str
    file: str
    object: str
    map: Path


Content = PolygonImage | MapImage | Skipped
Shapes = list[tuple[LabelledAnnotation, Mask]]


def convert(source: Path, manifest: Manifest) -> Conversion:
    """Convert the Seg archive below `source`, lazily, with one outcome per image and broken annotation.

    Train, val and test stay as they are, with all 40 objects in each of them; images of other classes are left out.

    Raises:
        DataError: `source` is something else, such as the OOD archive.
    """
    release = PartImageNetFiles.find(source)
    listed = {split: _list_split(release, split, manifest) for split in SPLITS}
    items = [item for one in listed.values() for _, item in one.items]
    _check_classes(
        source, {split: {synset_of(image) for image, _ in one.items if image} for split, one in listed.items()}
    )
    _check_images(release, items)
    return Conversion(
        release.root,
        items,
        partial(convert_image, manifest),
        image_root(release.root),
        SPLITS,
        left_out=tuple(item for one in listed.values() for item in one.left_out),
        notes=tuple(note for one in listed.values() for note in one.notes),
    )


def convert_image(manifest: Manifest, content: Content) -> list[Outcome]:
    """Return an outcome for each part that is broken, then that of the image.

    Raises:
        InvalidAnnotationError: The part map is broken.
    """
    if isinstance(content, Skipped):
        return [content]
    if isinstance(content, PolygonImage):
        size = content.size
        shapes, skipped = build_masks(content)
    else:
        values = read_map(content.map)
        size = (values.shape[1], values.shape[0])
        shapes, skipped = split_map(content, values, manifest)
    objects, parts = assemble(shapes, size, manifest.object_indices, manifest.pair_indices)
    if not parts:
        return [*skipped, Skipped(content.item, NO_PART, is_defect=False)]
    record = Record(content.image, content.file, *size, content.item, objects, parts)
    return [*skipped, Converted(content.split, record)]


def close_polygons(segmentation: object) -> tuple[object, int]:
    """Repeat the first point of polygons of two points, and leave out those of fewer; also return their number.

    VLPart's reader of this archive handles both. A closed line has no pixel, and does no harm to the other polygons of
    its part; pycocotools would read the four numbers as a box.

    >>> close_polygons([[1, 1, 5, 1, 5, 5], [2, 2, 3, 3], [4, 4]])
    ([[1, 1, 5, 1, 5, 5], [2, 2, 3, 3, 2, 2]], 1)
    """
    if not isinstance(segmentation, list):
        return segmentation, 0
    whole = [points for points in segmentation if not isinstance(points, list) or len(points) >= 4]
    closed = [p + p[:2] if isinstance(p, list) and len(p) == 4 else p for p in whole]
    return closed, len(segmentation) - len(whole)


def read_map(path: Path) -> UInt8[np.ndarray, "H W"]:
    """Read a part map.

    Raises:
        InvalidAnnotationError: it is not whole, or no 8-bit PNG of one channel.
    """
    return read_pixels(path, ["L", "P"], "grey or palette of 8 bits (mode L or P)", BROKEN_MAP)


def build_masks(image: PolygonImage) -> tuple[Shapes, list[Outcome]]:
    """Build the masks of an image's polygons, and return the defects of others."""
    shapes: Shapes = []
    skipped: list[Outcome] = []
    drawn: set[tuple[str, str]] = set()
    for shown in image.annotations:
        segmentation, lost = close_polygons(shown.segmentation)
        if lost:
            skipped.append(Skipped(shown.item, FEW_POINTS, is_defect=True, detail=f"{lost} left out"))
        if lost and not segmentation:
            continue
        try:
            mask = build_mask(segmentation, *image.size)
        except InvalidAnnotationError as error:
            skipped.append(Skipped.defect(shown.item, error))
            continue
        if (shown.category, mask.rle) in drawn:
            skipped.append(Skipped(shown.item, DOUBLE_PART, is_defect=True, detail=shown.category))
            continue
        drawn.add((shown.category, mask.rle))
        shapes.append((shown, mask))
    return shapes, skipped


def split_map(image: MapImage, values: UInt8[np.ndarray, "H W"], manifest: Manifest) -> tuple[Shapes, list[Outcome]]:
    """Build the masks of the parts of a map, and return the defects of others.

    Raises:
        InvalidAnnotationError: A value is no super-part.
    """
    numbers = [int(value) for value in np.unique(values) if value != BACKGROUND]
    if numbers and numbers[-1] > BACKGROUND:
        raise InvalidAnnotationError(
            BROKEN_MAP, f"{image.map.name}: values must be 0 to {BACKGROUND}, got {numbers[-1]}"
        )
    shapes: Shapes = []
    skipped: list[Outcome] = []
    for number in numbers:
        name = SUPER_PARTS[number]
        try:
            shown = LabelledAnnotation(image.item, read_meaning(manifest, image.object, name), name, None)
        except InvalidAnnotationError as error:
            skipped.append(Skipped.defect(image.item, error))
            continue
        shapes.append((shown, Mask.encode(values == number)))
    return shapes, skipped


def _list_split(release: PartImageNetFiles, split: str, manifest: Manifest) -> SplitImages:
    """List the images of a split, sorted: maps take the place of images that the JSON does not annotate."""
    files = release.files(split)
    if files is None:
        return SplitImages([], notes=(f"the source has no annotations of {split}: that split of the store is empty",))
    listed = read_split(release, files, manifest)
    bare = {
        image for image, item in listed.items if isinstance(item.content, PolygonImage) and not item.content.annotations
    }
    annotated = {image for image, _ in listed.items} - bare
    chosen = {image: path for image, path in files.maps.items() if image not in annotated}
    _check_background(release.source, [path for image, path in chosen.items() if synset_of(image) in manifest.aliases])
    items = [(image, item) for image, item in listed.items if image not in chosen]
    items += [(image, _map_item(release, files, image, manifest)) for image in chosen]
    return replace(listed, items=sorted(items, key=lambda pair: pair[0]))


def _map_item(release: PartImageNetFiles, files: SplitFiles, image: str, manifest: Manifest) -> SourceImage:
    path = files.maps[image]
    name, obj = release.item(path), manifest.aliases.get(synset_of(image))
    if obj is None:
        return SourceImage(name, Skipped(name, OTHER_CLASS, is_defect=False, detail=image), (path,))
    return SourceImage(name, MapImage(name, files.split, image, release.image_path(files, image), obj, path), (path,))


def _check_background(source: Path, maps: Sequence[Path]) -> None:
    """Check that the first maps are maps of parts: their highest value is the background.

    Broken maps are ignored here, and become a defect each.

    Raises:
        DataError: They are none.
    """
    highest = list(islice(_highest_values(maps), MAPS_PROBED))
    if highest and BACKGROUND not in highest:
        raise DataError(
            f"{source}: part maps must have the background {BACKGROUND} above the parts, got {max(highest)} as the "
            f"highest value of {maps[0].name} and others; maps of whole objects have 158: unpack {ARCHIVE} again"
        )


def _highest_values(maps: Sequence[Path]) -> Iterator[int]:
    for path in maps:
        try:
            yield int(read_map(path).max())
        except InvalidAnnotationError:
            continue


def _check_classes(source: Path, classes: dict[str, set[str]]) -> None:
    """Raise a `DataError` if no two splits share a class, as in the OOD archive."""
    found = {split: names for split, names in classes.items() if names}
    if len(found) > 1 and all(first.isdisjoint(second) for first, second in combinations(found.values(), 2)):
        counts = ", ".join(f"{split} {len(names)}" for split, names in found.items())
        raise DataError(
            f"{source}: splits must share their classes, got splits that share none ({counts}), as in "
            f"PartImageNet_OOD.zip, where no seen object can be tested; unpack {ARCHIVE} in a folder of its own"
        )


def _check_images(release: PartImageNetFiles, items: Sequence[SourceImage]) -> None:
    """Raise a `DataError` if all images are missing."""
    images: list[Any] = [item.content.file for item in items if not isinstance(item.content, Skipped)]
    if images and not any((release.root / image).is_file() for image in images):
        raise DataError(
            f"{release.source}: images must be in {IMAGE_PLACES[0].format('<split>')} or folders of a synset there, "
            f"got none of {len(images)}, such as {images[0]}; unpack {ARCHIVE} again"
        )
