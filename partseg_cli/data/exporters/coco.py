"""A store as COCO files in the style of PACO: `<split>.json`, whose parts name the annotation of their object.

Categories are all objects (supercategory OBJECT), then all pairs (PART, called "object:part"). What COCO has no place
for stands under the one key "partseg", of `info` and of images and annotations, so that nothing is lost:
`partseg prepare coco` makes the same records of it again (`coco_exchange`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from partseg_cli.data.exporters.common import info_to_json
from partseg_cli.data.record import Instance, Part, Record
from partseg_cli.data.rle import Mask
from partseg_cli.data.store import DatasetInfo, Store
from partseg_cli.io.atomic import atomic_write

FORMAT = "partseg-coco-1"
KEY = "partseg"
"""Holds what COCO has no place for."""


def export(store: Store, folder: Path, splits: Sequence[str]) -> Iterator[Path]:
    """Write `<split>.json` for each split; give each path when it is there.

    `file_name` is the photo's path below the store's image root. Records are read twice, and never all at once.
    """
    for split in splits:
        path = folder / f"{split}.json"
        with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(_document(store, split))
        yield path


def categories(info: DatasetInfo) -> list[dict[str, Any]]:
    """Give the categories: numbers start at 1, objects come before pairs."""
    objects = [(name, "OBJECT") for name in info.objects]
    pairs = [(f"{pair.object}:{pair.part}", "PART") for pair in info.vocabulary.pairs]
    return [
        {"id": number, "name": name, "supercategory": kind}
        for number, (name, kind) in enumerate(objects + pairs, start=1)
    ]


def _document(store: Store, split: str) -> Iterator[str]:
    """Give the text of a file piece by piece, a line for each element of a list."""
    info = store.info
    about = {"format": FORMAT, "split": split, **info_to_json(info)}
    head = {"description": info.name, "url": info.homepage, KEY: about}
    yield f'{{"info":{_json(head)},\n"licenses":{_json([{"id": 1, "name": info.licence, "url": info.homepage}])}'
    yield from _list("categories", categories(info))
    yield from _list("images", (_image(number, r) for number, r in enumerate(store.records(split), start=1)))
    yield from _list("annotations", _annotations(store, split))
    yield "}\n"


def _list(key: str, values: Iterable[dict[str, Any]]) -> Iterator[str]:
    yield f',\n"{key}":['
    for number, value in enumerate(values):
        yield (",\n" if number else "\n") + _json(value)
    yield "\n]"


def _image(number: int, record: Record) -> dict[str, Any]:
    extra: dict[str, Any] = {"image_id": record.image_id, "source": record.source}
    if record.upright:
        extra["upright"] = True
    if record.ignore is not None:
        extra["ignore"] = _rle(record.ignore, record)
    if record.not_exhaustive:
        extra["not_exhaustive"] = list(record.not_exhaustive)
    return {
        "id": number,
        "file_name": record.file_name,
        "width": record.width,
        "height": record.height,
        "license": 1,
        KEY: extra,
    }


def _annotations(store: Store, split: str) -> Iterator[dict[str, Any]]:
    """Give those of each image in turn: its objects, then its parts; numbers start at 1."""
    objects, pairs = len(store.info.objects), store.info.vocabulary.pairs
    number = 0
    for image, record in enumerate(store.records(split), start=1):
        numbers = {instance.id: number + place for place, instance in enumerate(record.objects, start=1)}
        for place, instance in enumerate(record.objects):
            number += 1
            head = {"id": number, "image_id": image, "category_id": instance.category + 1, "obj_ann_id": number}
            yield {**head, **_shape(instance.mask, record), **_of_object(place, instance)}
        for part in record.parts:
            number += 1
            category, link = objects + part.pair + 1, numbers[part.object]
            head = {"id": number, "image_id": image, "category_id": category, "obj_ann_id": link}
            yield {**head, **_shape(part.mask, record), **_of_part(part, pairs[part.pair].part)}


def _shape(mask: Mask, record: Record) -> dict[str, Any]:
    return {"bbox": list(mask.bbox), "area": mask.area, "iscrowd": 0, "segmentation": _rle(mask, record)}


def _of_object(place: int, instance: Instance) -> dict[str, Any]:
    """Give what is unusual of an object; usually its id is its place in the record, and it stands for itself."""
    return _extra(
        {
            **({"id": instance.id} if instance.id != place else {}),
            **({"synthetic": True} if instance.synthetic else {}),
        }
    )


def _of_part(part: Part, name: str) -> dict[str, Any]:
    """Give what is unusual of a part; usually its raw code is its name, and its level 1."""
    return _extra(
        {
            **({"raw": part.raw} if part.raw != name else {}),
            **({"level": part.level} if part.level != 1 else {}),
        }
    )


def _extra(value: dict[str, Any]) -> dict[str, Any]:
    return {KEY: value} if value else {}


def _rle(mask: Mask, record: Record) -> dict[str, Any]:
    return {"size": [record.height, record.width], "counts": mask.rle}


def _json(value: Any) -> str:  # noqa: ANN401 - whatever JSON can hold
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
