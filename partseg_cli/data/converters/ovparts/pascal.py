"""Pascal-Part-116 from its OV-PARTS repack: a label map of pairs and one of object classes for each photo.

The maps tell no instances apart: an image has one synthetic instance of each class, and a part is all pixels of a pair.
Both maps of the record equal the PNGs to the pixel. So a pair whose object the other map does not show belongs to an
instance without a pixel, not to one that would paint over what that map says.
"""

from __future__ import annotations

from dataclasses import dataclass
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
    NO_PART,
    OBJECTS,
    PASCAL,
    PHOTOS,
    Picture,
    Repack,
    object_order,
    read_labels,
)
from partseg_cli.data.manifest import Manifest
from partseg_cli.data.record import Instance, Part, Record
from partseg_cli.data.rle import NONE, Mask, masks_of
from partseg_cli.data.store import image_root
from partseg_cli.errors import format_list

NAMES_SHOWN = 3


@dataclass(frozen=True)
class Classes:
    """Leads from the ids of the label maps to the indices of the store.

    Attributes:
        categories: id of an object -> index into the manifest's objects.
        owners: id of a pair, which is its index too -> index of its object.
    """

    categories: tuple[int, ...]
    owners: tuple[int, ...]

    @classmethod
    def of(cls, manifest: Manifest) -> Classes:
        """Give the classes of a data set."""
        index = {name: place for place, name in enumerate(manifest.objects)}
        return cls(
            tuple(index[name] for name in object_order(manifest.objects)),
            tuple(index[pair.object] for pair in manifest.vocabulary.pairs),
        )


def convert_pascal(source: Path, manifest: Manifest) -> Conversion:
    """Convert the repack below `source`, lazily, one outcome for each label map; its folders are the splits.

    Raises:
        DataError: `source` is something else, or an incomplete repack.
    """
    repack = Repack.find(source, PASCAL)
    pictures = repack.pictures()
    few_shot, strange = repack.few_shot(pictures)
    items = [SourceImage(picture.name, picture, (picture.labels, objects_of(picture))) for picture in pictures]
    photos = repack.root / PHOTOS
    return Conversion(
        photos,
        items,
        partial(convert_image, Classes.of(manifest)),
        image_root(photos),
        left_out=(*repack.unlabelled(), *strange),
        lists=((FEW_SHOT, few_shot),) if few_shot else (),
        notes=compare_val(repack, manifest),
        expected_total=sum(manifest.expected.values()) or None,
    )


def convert_image(classes: Classes, picture: Picture) -> list[Outcome]:
    """Give the outcome of one image.

    Raises:
        DefectError: a label map is missing, broken, or of another size than the other.
    """
    pairs = read_labels(picture.labels, PASCAL.bits, len(classes.owners))
    objects = read_labels(objects_of(picture), PASCAL.bits, len(classes.categories))
    if pairs.shape != objects.shape:
        sizes = "parts {1}x{0}, objects {3}x{2}".format(*pairs.shape, *objects.shape)
        raise InvalidAnnotationError(MASKS_DIFFER, sizes)
    found = masks_of(_signed(pairs))
    if not found:
        return [Skipped(picture.name, NO_PART, is_defect=False)]
    shown = {classes.categories[value]: mask for value, mask in masks_of(_signed(objects)).items()}
    nowhere = Mask.encode(np.zeros(pairs.shape, np.bool_))
    categories = [*shown, *sorted({classes.owners[pair] for pair in found} - set(shown))]
    instances = tuple(
        Instance(number, category, shown.get(category, nowhere), synthetic=True)
        for number, category in enumerate(categories)
    )
    parts = tuple(
        Part(categories.index(classes.owners[pair]), pair, str(pair), 1, mask) for pair, mask in found.items()
    )
    height, width = pairs.shape
    record = Record(picture.id, picture.photo, width, height, picture.name, instances, parts)
    return [Converted(picture.split, record)]


def objects_of(picture: Picture) -> Path:
    """Give the path of the label map of objects."""
    folder = picture.labels.parent
    return folder.parent.parent / OBJECTS / folder.name / picture.labels.name


def compare_val(repack: Repack, manifest: Manifest) -> tuple[str, ...]:
    """Say how the images of the folder val differ from the list that the manifest has."""
    listed = manifest.val_stems()
    if not listed:
        return ()
    found = {picture.labels.stem for picture in repack.pictures() if picture.split == "val"}
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
    """Give a label map with -1 where there is none."""
    return np.where(labels == NONE, -1, labels.astype(np.int64))
