"""One image of a store: its object instances and their parts, which may overlap."""

from __future__ import annotations

import json
from dataclasses import dataclass
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
        id: its number in the image, which its parts name.
        category: index into the store's list of object names.
        mask: its pixels.
        synthetic: whether it stands for a whole class, or for the union of its parts, rather than for one object.
    """

    id: int
    category: int
    mask: Mask
    synthetic: bool = False


@dataclass(frozen=True)
class Part:
    """One part of one object instance.

    Attributes:
        object: the `id` of its instance.
        pair: index into the store's vocabulary.
        raw: the code of the original annotation, such as "lwing".
        level: 1 for a part, 2 for a part of a part, and so on.
        mask: its pixels.
    """

    object: int
    pair: int
    raw: str
    level: int
    mask: Mask


@dataclass(frozen=True)
class Record:
    """One image and all that is known of it.

    Attributes:
        image_id: unique in the store.
        file_name: path of the photo below the store's image root, with forward slashes.
        width: in pixels, as stored in the file, unless `upright`.
        height: in pixels.
        source: where the annotation came from, below the source folder.
        objects: the object instances.
        parts: their parts, in the order of the annotation.
        upright: whether masks and size belong to the photo as its EXIF orientation turns it, not as it is stored.
        ignore: pixels that were left out of the annotation, and say nothing; None where there are none.
        not_exhaustive: indices of object names of which the image may show more than is annotated.
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
        """Paint the parts: pair indices, `rle.NONE` elsewhere."""
        return paint(((part.pair, part.level, part.mask) for part in self.parts), self.height, self.width)

    def object_map(self) -> UInt16[np.ndarray, "H W"]:
        """Paint the object instances: indices into the store's object names, `rle.NONE` elsewhere."""
        return paint(((instance.category, 0, instance.mask) for instance in self.objects), self.height, self.width)

    def unlabelled_mask(self) -> Bool[np.ndarray, "H W"]:
        """Give the pixels where no label does not mean that nothing is there.

        These are the ignored ones, and all of an image that may show more objects than are annotated.
        """
        if self.not_exhaustive:
            return np.ones((self.height, self.width), np.bool_)
        if self.ignore is None:
            return np.zeros((self.height, self.width), np.bool_)
        return self.ignore.decode(self.height, self.width)

    def to_json(self) -> str:
        """Give one line of a `.jsonl` file, without its end; what an image rarely has is there only where it has it."""
        value = {
            **vars(self),
            "objects": [_flat(o) for o in self.objects],
            "parts": [_flat(p) for p in self.parts],
            "ignore": self.ignore and vars(self.ignore),
        }
        for rare in ("upright", "ignore", "not_exhaustive"):
            if not value[rare]:
                del value[rare]
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, line: str | bytes) -> Record:
        """Read what `to_json` gave."""
        value = json.loads(line)
        objects = tuple(Instance(**_nested(o)) for o in value.pop("objects"))
        parts = tuple(Part(**_nested(p)) for p in value.pop("parts"))
        if "ignore" in value:
            value["ignore"] = _mask(value["ignore"])
        value["not_exhaustive"] = tuple(value.get("not_exhaustive", ()))
        return cls(**value, objects=objects, parts=parts)


def _flat(item: Instance | Part) -> dict[str, Any]:
    """Put the fields of the item's mask beside its own."""
    value = {**vars(item), **vars(item.mask)}
    del value["mask"]
    return value


def _nested(value: dict[str, Any]) -> dict[str, Any]:
    mask = _mask({key: value.pop(key) for key in ("rle", "bbox", "area")})
    return {**value, "mask": mask}


def _mask(value: dict[str, Any]) -> Mask:
    return Mask(value["rle"], tuple(value["bbox"]), value["area"])
