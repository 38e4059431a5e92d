"""One image of a store: its object instances and their parts, which may overlap."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import UInt16

from partseg_cli.data.rle import Mask, paint


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
        width: in pixels, as stored in the file (no EXIF turn).
        height: in pixels.
        source: where the annotation came from, below the source folder.
        objects: the object instances.
        parts: their parts, in the order of the annotation.
    """

    image_id: str
    file_name: str
    width: int
    height: int
    source: str
    objects: tuple[Instance, ...]
    parts: tuple[Part, ...]

    def flat_pairs(self) -> UInt16[np.ndarray, "H W"]:
        """Paint the parts: pair indices, `rle.NONE` elsewhere."""
        return paint(((part.pair, part.level, part.mask) for part in self.parts), self.height, self.width)

    def flat_objects(self) -> UInt16[np.ndarray, "H W"]:
        """Paint the object instances: indices into the store's object names, `rle.NONE` elsewhere."""
        return paint(((thing.category, 0, thing.mask) for thing in self.objects), self.height, self.width)

    def to_json(self) -> str:
        """Give one line of a `.jsonl` file, without its end."""
        value = {
            **vars(self),
            "objects": [_flat(o) for o in self.objects],
            "parts": [_flat(p) for p in self.parts],
        }
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, line: str | bytes) -> Record:
        """Read what `to_json` gave."""
        value = json.loads(line)
        objects = tuple(Instance(**_nested(o)) for o in value.pop("objects"))
        parts = tuple(Part(**_nested(p)) for p in value.pop("parts"))
        return cls(**value, objects=objects, parts=parts)


def _flat(item: Instance | Part) -> dict[str, Any]:
    """Put the fields of the item's mask beside its own."""
    value = {**vars(item), **vars(item.mask)}
    del value["mask"]
    return value


def _nested(value: dict[str, Any]) -> dict[str, Any]:
    mask = Mask(value.pop("rle"), tuple(value.pop("bbox")), value.pop("area"))
    return {**value, "mask": mask}
