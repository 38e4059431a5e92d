"""Pascal-Part-116 from its OV-PARTS repack: for each image a label map of pairs and one of object classes.

The maps do not distinguish instances: an image has one synthetic instance per class, and a part is all pixels of a
pair. Both maps of the record equal the PNGs to the pixel: a pair whose object is not in the other map belongs to an
instance without a pixel, which covers nothing of that map.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Int, UInt16

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
    FEW_SHOT,
    IMAGES,
    NO_PART,
    OBJECTS,
    PASCAL,
    Repack,
    RepackImage,
    object_order,
    read_labels,
)
from partseg_cli.data.manifest import Manifest
from partseg_cli.data.record import Instance, Part, Record
from partseg_cli.data.rle import NONE, Mask, masks_by_label
from partseg_cli.data.store import image_root
from partseg_cli.errors import format_list

NAMES_SHOWN = 3


def convert_pascal(source: Path, manifest: Manifest) -> Conversion:
    """Convert the repack below `source`, lazily, with one outcome per label map; its folders are the splits.

    Raises:
        DataError: `source` is something else, or an incomplete repack.
    """
    repack = Repack.find(source, PASCAL)
    images = repack.images()
    few_shot, strange = repack.few_shot(images)
    items = [SourceImage(image.name, image, (image.labels, objects_of(image))) for image in images]
    folder = repack.root / IMAGES
    return Conversion(
        folder,
        items,
        partial(convert_image, manifest),
        image_root(folder),
        left_out=(*repack.unlabelled(), *strange),
        lists=((FEW_SHOT, few_shot),) if few_shot else (),
        notes=compare_val(repack, manifest),
        expected_total=sum(manifest.expected.values()) or None,
    )


def convert_image(manifest: Manifest, image: RepackImage) -> list[Outcome]:
    """Return the outcome of one image.

    Raises:
        InvalidAnnotationError: A label map is missing, broken, or of another size than the other.
    """
    pairs = read_labels(image.labels, PASCAL.bits, len(manifest.pair_objects))
    objects = read_labels(objects_of(image), PASCAL.bits, len(manifest.objects))
    if pairs.shape != objects.shape:
        sizes = "parts {1}x{0}, objects {3}x{2}".format(*pairs.shape, *objects.shape)
        raise InvalidAnnotationError(MASKS_DIFFER, sizes)
    found = masks_by_label(_signed(pairs))
    if not found:
        return [Skipped(image.name, NO_PART, is_defect=False)]
    by_id = [manifest.object_indices[name] for name in object_order(manifest.objects)]
    shown = {by_id[value]: mask for value, mask in masks_by_label(_signed(objects)).items()}
    nowhere = Mask.encode(np.zeros(pairs.shape, np.bool_))
    categories = [*shown, *sorted({manifest.pair_objects[pair] for pair in found} - set(shown))]
    instances = tuple(
        Instance(number, category, shown.get(category, nowhere), synthetic=True)
        for number, category in enumerate(categories)
    )
    parts = tuple(
        Part(categories.index(manifest.pair_objects[pair]), pair, str(pair), 1, mask) for pair, mask in found.items()
    )
    height, width = pairs.shape
    record = Record(image.id, image.file, width, height, image.name, instances, parts)
    return [Converted(image.split, record)]


def objects_of(image: RepackImage) -> Path:
    """Return the path of the label map of objects."""
    folder = image.labels.parent
    return folder.parent.parent / OBJECTS / folder.name / image.labels.name


def compare_val(repack: Repack, manifest: Manifest) -> tuple[str, ...]:
    """Describe how the images of the folder val differ from the list of the manifest."""
    listed = manifest.val_stems()
    if not listed:
        return ()
    found = {image.labels.stem for image in repack.images() if image.split == "val"}
    if found == listed:
        return (f"The folder val holds exactly the images of {manifest.val_list} ({len(listed)}).",)
    sides = {"holds others than": found - listed, "lacks some of": listed - found}
    said = [
        f"{verb} {manifest.val_list}: {format_list(sorted(stems), NAMES_SHOWN)}"
        for verb, stems in sides.items()
        if stems
    ]
    return (f"The folder val {', and it '.join(said)}.",)


def _signed(labels: UInt16[np.ndarray, "H W"]) -> Int[np.ndarray, "H W"]:
    """Return a label map with -1 for no label."""
    return np.where(labels == NONE, -1, labels.astype(np.int64))
