"""Export to COCO in the style of PACO: `<split>.json`, whose parts refer to the annotation of their object.

Categories are all objects (supercategory OBJECT), then all pairs (PART, called "object:part"). Fields that COCO lacks
are under the key "partseg" of `info`, images and annotations, so that nothing is lost: `partseg prepare coco` restores
the same records.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from partseg_cli.data.record import Record
from partseg_cli.data.rle import Mask
from partseg_cli.data.store import DatasetInfo, Store
from partseg_cli.io.atomic import atomic_write

FORMAT = "partseg-coco-1"
KEY = "partseg"
"""Key of the fields that COCO lacks."""


def export(store: Store, folder: Path, splits: Sequence[str]) -> Iterator[Path]:
    """Write `<split>.json` for each split, and yield each path once it is written.

    `file_name` is the image's path below the store's image root. Records are read twice, and never all at once.
    """
    for split in splits:
        path = folder / f"{split}.json"
        with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(_document(store, split))
        yield path


def categories(info: DatasetInfo) -> list[dict[str, Any]]:
    """Return the categories: ids start at 1, objects come before pairs."""
    objects = [(name, "OBJECT") for name in info.objects]
    pairs = [(f"{pair.object}:{pair.part}", "PART") for pair in info.vocabulary.pairs]
    return [
        {"id": number, "name": name, "supercategory": kind}
        for number, (name, kind) in enumerate(objects + pairs, start=1)
    ]


def _document(store: Store, split: str) -> Iterator[str]:
    """Yield the text of a file piece by piece, a line for each element of a list."""
    info = store.info
    about = {"format": FORMAT, "split": split, **info.to_portable_json()}
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
    """Yield the annotations of each image in turn, its objects before its parts; ids start at 1.

    An object or part has the key "partseg" only for unusual values: an id that is not its position in the record, a
    synthetic mask, a raw code that is not its name, or a level above 1.
    """
    objects, pairs = len(store.info.objects), store.info.vocabulary.pairs
    number = 0
    for image, record in enumerate(store.records(split), start=1):
        numbers = {instance.id: number + index for index, instance in enumerate(record.objects, start=1)}
        for index, instance in enumerate(record.objects):
            number += 1
            extra: dict[str, Any] = {"id": instance.id} if instance.id != index else {}
            if instance.synthetic:
                extra["synthetic"] = True
            head = {"id": number, "image_id": image, "category_id": instance.category + 1, "obj_ann_id": number}
            yield {**head, **_segmentation(instance.mask, record), **({KEY: extra} if extra else {})}
        for part in record.parts:
            number += 1
            extra = {"raw": part.raw} if part.raw != pairs[part.pair].part else {}
            if part.level != 1:
                extra["level"] = part.level
            category, owner = objects + part.pair + 1, numbers[part.object]
            head = {"id": number, "image_id": image, "category_id": category, "obj_ann_id": owner}
            yield {**head, **_segmentation(part.mask, record), **({KEY: extra} if extra else {})}


def _segmentation(mask: Mask, record: Record) -> dict[str, Any]:
    return {"bbox": list(mask.bbox), "area": mask.area, "iscrowd": 0, "segmentation": _rle(mask, record)}


def _rle(mask: Mask, record: Record) -> dict[str, Any]:
    return {"size": [record.height, record.width], "counts": mask.rle}


def _json(value: Any) -> str:  # noqa: ANN401 - whatever JSON can hold
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
