"""A store as flat label maps, as `partseg predict` writes them: of what overlaps, the smaller part is on top.

    pairs/<split>/<path of the photo>.png      value = index of the pair
    objects/<split>/<path of the photo>.png    value = index of the object
    labels.json                                what the indices mean

255 is nothing, and ignored pixels are nothing too. Where there are 255 entries or more a map has 16 bits, and 65535 is
nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, UInt16

from partseg_cli.data.exporters.common import unique_names
from partseg_cli.data.record import Record
from partseg_cli.data.rle import NONE
from partseg_cli.data.store import DatasetInfo, Store
from partseg_cli.io.atomic import write_json

LABELS = "labels.json"
Save = Callable[[Path, Int[np.ndarray, "H W"], int], None]
"""Writes labels, -1 = nothing, of so many classes as a PNG."""


def export(store: Store, folder: Path, splits: Sequence[str], *, save: Save) -> Iterator[Path]:
    """Write all maps, then `labels.json`; give each path when it is there."""
    for split in splits:
        records = store.records(split)
        for name, record in zip(unique_names(records), records, strict=True):
            for kind, labels, count in _maps(record, store.info):
                path = folder / kind / split / f"{name}.png"
                save(path, np.where(labels == NONE, -1, labels.astype(np.int32)), count)
                yield path
    write_json(folder / LABELS, labels_to_json(store.info))
    yield folder / LABELS


def labels_to_json(info: DatasetInfo) -> dict[str, Any]:
    """Give what the values of the maps mean."""
    words = info.vocabulary.pairs
    return {
        "pairs": [
            {"index": index, "object": pair.object, "part": pair.part, "name": pair.name, "seen": pair.is_seen}
            for index, pair in enumerate(words)
        ],
        "objects": [{"index": index, "name": name} for index, name in enumerate(info.objects)],
        "nothing": {"pairs": _nothing(len(words)), "objects": _nothing(len(info.objects))},
    }


def _maps(record: Record, info: DatasetInfo) -> Iterator[tuple[str, UInt16[np.ndarray, "H W"], int]]:
    yield "pairs", record.pair_map(), len(info.vocabulary.pairs)
    yield "objects", record.object_map(), len(info.objects)


def _nothing(count: int) -> int:
    return 255 if count < 255 else NONE
