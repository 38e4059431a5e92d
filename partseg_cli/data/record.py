"""One image of a store: its object instances and their parts, which may overlap."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt16

from partseg_cli.data.rle import Mask, paint


@dataclass(frozen=True)
class RecordKey:
    """Key of a record in a store: the split, and the index of the record in it."""

    split: str
    index: int


@dataclass(frozen=True)
class Instance:
    """One object in an image.

    Attributes:
        id: Number in the image, which its parts refer to.
        category: Index into the store's object names.
        mask: Pixels of the object.
        synthetic: Whether the mask is of a whole class, or the union of parts, rather than of one object.
    """

    id: int
    category: int
    mask: Mask
    synthetic: bool = False


@dataclass(frozen=True)
class Part:
    """One part of one object instance.

    Attributes:
        object: `id` of its instance.
        pair: Index into the store's vocabulary.
        raw: Code in the original annotation, such as "lwing".
        level: 1 for a part, 2 for a part of a part, and so on.
        mask: Pixels of the part.
    """

    object: int
    pair: int
    raw: str
    level: int
    mask: Mask


@dataclass(frozen=True)
class Record:
    """One image with its annotation.

    Attributes:
        image_id: Id, unique in the store.
        file_name: Path of the image below the store's image root, with forward slashes.
        width: Width in pixels, as stored in the file, unless `upright`.
        height: Height in pixels.
        source: Origin of the annotation, below the source folder.
        objects: Object instances.
        parts: Parts of the objects, in the order of the annotation.
        upright: Whether masks and size belong to the image rotated by its EXIF orientation, not as stored.
        ignore: Pixels that the annotation leaves out; None: none.
        not_exhaustive: Indices of object names of which the image may show more than is annotated.
    """

    image_id: str
    file_name: str
    width: int
    height: int
    source: str
    objects: tuple[Instance, ...]
    parts: tuple[Part, ...]
    upright: bool = False
    ignore: Mask | None = None
    not_exhaustive: tuple[int, ...] = ()

    def pair_map(self) -> UInt16[np.ndarray, "H W"]:
        """Return the label map of the parts: pair indices, `rle.NONE` elsewhere."""
        return paint(((part.pair, part.level, part.mask) for part in self.parts), self.height, self.width)

    def object_map(self) -> UInt16[np.ndarray, "H W"]:
        """Return the label map of the objects: indices into the store's object names, `rle.NONE` elsewhere."""
        return paint(((instance.category, 0, instance.mask) for instance in self.objects), self.height, self.width)

    def unlabelled_mask(self) -> Bool[np.ndarray, "H W"]:
        """Return the pixels where a missing label does not mean background.

        These are the ignored pixels, and all pixels of an image that may show more objects than are annotated.
        """
        if self.not_exhaustive:
            return np.ones((self.height, self.width), np.bool_)
        if self.ignore is None:
            return np.zeros((self.height, self.width), np.bool_)
        return self.ignore.decode(self.height, self.width)

    def to_json(self) -> str:
        """Return a line of a `.jsonl` file, without its end; optional fields are written only where they are set."""
        value = {
            **vars(self),
            "objects": [_flat(o) for o in self.objects],
            "parts": [_flat(p) for p in self.parts],
            "ignore": self.ignore and vars(self.ignore),
        }
        for optional in ("upright", "ignore", "not_exhaustive"):
            if not value[optional]:
                del value[optional]
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, line: str | bytes) -> Record:
        """Parse the result of `to_json`."""
        value = json.loads(line)
        objects = tuple(Instance(**_nested(o)) for o in value.pop("objects"))
        parts = tuple(Part(**_nested(p)) for p in value.pop("parts"))
        if "ignore" in value:
            value["ignore"] = _mask(value["ignore"])
        value["not_exhaustive"] = tuple(value.get("not_exhaustive", ()))
        return cls(**value, objects=objects, parts=parts)

    def find_problems(self, objects: int, pairs: int) -> Iterator[str]:
        """Yield each broken rule with the value, in a store of this many object names and pairs."""
        path = PurePosixPath(self.file_name)
        if path.is_absolute() or ".." in path.parts or not path.name:
            yield f"an image must be inside the folder of the images, got {self.file_name!r}"
        ids = [instance.id for instance in self.objects]
        if len(set(ids)) < len(ids):
            yield f"ids of objects must differ, got {ids}"
        for part in self.parts:
            if part.object not in ids:
                yield f"a part must belong to an object of its image, got id {part.object}"
        categories = [instance.category for instance in self.objects] + list(self.not_exhaustive)
        yield from _out_of_range("object", categories, objects)
        yield from _out_of_range("pair", [part.pair for part in self.parts], pairs)
        masks = [*(instance.mask for instance in self.objects), *(part.mask for part in self.parts)]
        for mask in masks if self.ignore is None else [*masks, self.ignore]:
            if not mask.fits(self.height, self.width):
                size = f"{self.width}x{self.height}"
                yield f"a mask must be run lengths of {size} pixels with their box and area, got {mask}"


def _out_of_range(kind: str, indices: Sequence[int], count: int) -> Iterator[str]:
    for index in indices:
        if not 0 <= index < count:
            yield f"the index of its {kind} must be 0 to {count - 1}, got {index}"


def unique_names(records: Iterable[Record]) -> list[str]:
    """Return a path without suffix for each record, unique even where a file system ignores case.

    The path is the image's own, without its suffix where that is enough, and with a number where an image is repeated.
    """
    images = [record.file_name for record in records]
    stems = [PurePosixPath(image).with_suffix("").as_posix() for image in images]
    shared = Counter(stem.casefold() for stem in stems)
    names, taken = [], set()
    for image, stem in zip(images, stems, strict=True):
        plain = name = image if shared[stem.casefold()] > 1 else stem
        number = 1
        while name.casefold() in taken:
            number += 1
            name = f"{plain}-{number}"
        taken.add(name.casefold())
        names.append(name)
    return names


def _flat(item: Instance | Part) -> dict[str, Any]:
    """Return the fields of an item and of its mask in one object."""
    value = {**vars(item), **vars(item.mask)}
    del value["mask"]
    return value


def _nested(value: dict[str, Any]) -> dict[str, Any]:
    mask = _mask({key: value.pop(key) for key in ("rle", "bbox", "area")})
    return {**value, "mask": mask}


def _mask(value: dict[str, Any]) -> Mask:
    return Mask(value["rle"], tuple(value["bbox"]), value["area"])
