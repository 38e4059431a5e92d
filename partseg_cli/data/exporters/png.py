"""Export to flat label maps, as `partseg predict` writes them: where parts overlap, the smaller one is on top.

    pairs/<split>/<path of the image>.png      value = index of the pair
    objects/<split>/<path of the image>.png    value = index of the object
    labels.json                                names of the indices

255 is void, as are ignored pixels. Maps of 255 classes or more have 16 bits, and 65535 is void.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from partseg_cli.data.record import unique_names
from partseg_cli.data.rle import NONE
from partseg_cli.data.store import DatasetInfo, Store
from partseg_cli.io.atomic import write_json
from partseg_cli.io.label_maps import VOID_8, VOID_16, write_label_map

LABELS = "labels.json"


def export(store: Store, folder: Path, splits: Sequence[str]) -> Iterator[Path]:
    """Write all maps, then `labels.json`, and yield each path once it is written."""
    pairs, objects = len(store.info.vocabulary.pairs), len(store.info.objects)
    for split in splits:
        records = store.records(split)
        for name, record in zip(unique_names(records), records, strict=True):
            for kind, labels, count in (("pairs", record.pair_map(), pairs), ("objects", record.object_map(), objects)):
                path = folder / kind / split / f"{name}.png"
                write_label_map(path, np.where(labels == NONE, -1, labels.astype(np.int32)), count)
                yield path
    write_json(folder / LABELS, labels_to_json(store.info))
    yield folder / LABELS


def labels_to_json(info: DatasetInfo) -> dict[str, Any]:
    """Return the names of the values of the maps."""
    pairs = info.vocabulary.pairs
    counts = {"pairs": len(pairs), "objects": len(info.objects)}
    return {
        "pairs": [
            {"index": index, "object": pair.object, "part": pair.part, "name": pair.name, "seen": pair.is_seen}
            for index, pair in enumerate(pairs)
        ],
        "objects": [{"index": index, "name": name} for index, name in enumerate(info.objects)],
        "nothing": {kind: VOID_8 if count < VOID_8 else VOID_16 for kind, count in counts.items()},
    }
