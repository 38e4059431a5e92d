"""Export to labelme: a JSON file for each image, whose shapes are masks, so that no pixel is lost.

Layout: `<split>/<path of the image>.json`; the caller puts the image into the same folder. `labels.txt` is for
labelme's `--labels`. The label of a shape is the name of the object or pair, `group_id` the object's number in the
image, `description` the raw code of a part. labelme rotates images by their EXIF orientation, so masks of an image as
stored are rotated with it.
"""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from partseg_cli.data.record import Record, unique_names
from partseg_cli.data.rle import Mask
from partseg_cli.data.store import DatasetInfo, Store
from partseg_cli.io.atomic import write_json, write_text
from partseg_cli.io.images import turn_of

VERSION = "5.5.0"
"""Version of labelme in the files; shapes of type mask exist since 5.4 (wkentaro/labelme, pull request 1358)."""
IGNORE, BACKGROUND = "__ignore__", "_background_"
"""labelme's names of void and of background (labels.txt of its examples)."""
LABELS = "labels.txt"


def export(store: Store, folder: Path, splits: Sequence[str]) -> Iterator[Path]:
    """Write the JSON of each image, then `labels.txt`, and yield each path once it is written."""
    for split in splits:
        records = store.records(split)
        for name, record in zip(unique_names(records), records, strict=True):
            path = folder / split / f"{name}.json"
            write_json(path, _document(_rotate(record, store.image_path(record)), store.info))
            yield path
    pairs = [pair.name for pair in store.info.vocabulary.pairs]
    write_text(folder / LABELS, "\n".join([IGNORE, BACKGROUND, *store.info.objects, *pairs]) + "\n")
    yield folder / LABELS


def _document(record: Record, info: DatasetInfo) -> dict[str, Any]:
    return {
        "version": VERSION,
        "flags": {},
        "shapes": list(_shapes(record, info)),
        "imagePath": os.path.basename(record.file_name),  # noqa: PTH119 - a name with slashes, on every system
        "imageData": None,
        "imageHeight": record.height,
        "imageWidth": record.width,
    }


def _shapes(record: Record, info: DatasetInfo) -> Iterator[dict[str, Any]]:
    """Yield the shapes of objects, then of parts, so that parts are on top; an empty mask has none."""
    for instance in record.objects:
        flags = {"synthetic": True} if instance.synthetic else {}
        yield from _shape(info.objects[instance.category], instance.mask, record, group_id=instance.id, flags=flags)
    for part in record.parts:
        name = info.vocabulary.pairs[part.pair].name
        yield from _shape(name, part.mask, record, group_id=part.object, description=part.raw)
    if record.ignore is not None:
        yield from _shape(IGNORE, record.ignore, record)


def _shape(
    label: str,
    mask: Mask,
    record: Record,
    *,
    group_id: int | None = None,
    description: str = "",
    flags: dict[str, bool] | None = None,
) -> Iterator[dict[str, Any]]:
    if not mask.area:
        return
    x, y, width, height = mask.bbox
    yield {
        "label": label,
        "points": [[x, y], [x + width - 1, y + height - 1]],  # both corners are inside
        "group_id": group_id,
        "description": description,
        "shape_type": "mask",
        "flags": flags or {},
        "mask": _encode_png(_crop(mask, record.height)),
    }


def _crop(mask: Mask, height: int) -> UInt8[np.ndarray, "h w"]:
    """Return the pixels of the mask's box, in an image of this height: 1 = inside."""
    x, y, width, rows = mask.bbox
    column, row = np.divmod(mask.positions(), height)
    pixels = np.zeros((rows, width), np.uint8)
    pixels[row - y, column - x] = 1
    return pixels


def _encode_png(pixels: UInt8[np.ndarray, "h w"]) -> str:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode("ascii")


def _rotate(record: Record, path: Path) -> Record:
    """Return the record in the orientation in which labelme shows its image."""
    turn = None if record.upright else turn_of(path)
    if turn is None:
        return record

    def rotate(mask: Mask) -> Mask:
        pixels = Image.fromarray(mask.decode(record.height, record.width).astype(np.uint8))
        return Mask.encode(np.asarray(pixels.transpose(turn)).astype(np.bool_))

    width, height = Image.new("1", (record.width, record.height)).transpose(turn).size
    return replace(
        record,
        width=width,
        height=height,
        upright=True,
        objects=tuple(replace(instance, mask=rotate(instance.mask)) for instance in record.objects),
        parts=tuple(replace(part, mask=rotate(part.mask)) for part in record.parts),
        ignore=record.ignore and rotate(record.ignore),
    )
