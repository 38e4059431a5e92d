"""Predictions as run lengths in one JSON file: COCO results, or a COCO set.

    results   [{"image_id": 7, "category": "cat's ear", "segmentation": {"size": [h, w], "counts": ...}, "score": 0.9}]
              or "file_name" of the photo; "category" is a name, "cat's ear" or "cat:ear", or the place of the pair from
              0, and "category_id" such a place
    COCO set  {"images": [...], "categories": [...], "annotations": [...]}: categories count by their names

Of what overlaps, the higher score is on top, and of equal scores the smaller mask. A photo without any mask must be
listed among "images": a list of results says nothing of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from partseg_cli.data.converters.coco.masks import NO_PIXEL, mask_of
from partseg_cli.data.converters.conversion import InvalidAnnotationError
from partseg_cli.data.predictions.labels import Classes
from partseg_cli.data.predictions.matching import Photos, Predictions, Wanted, check_complete
from partseg_cli.data.predictions.rows import Row, Table, read_list, read_set
from partseg_cli.data.record import Record
from partseg_cli.data.rle import NONE, paint
from partseg_cli.errors import DataError
from partseg_cli.io.files import read_json

LIST_THEM = 'write a COCO set, and list photos without a mask among its "images"'
WRITE_SO = "write a list of COCO results, or a COCO set with the lists images, categories and annotations"


@dataclass(frozen=True)
class RunLengths:
    """Paints the masks of each photo.

    Attributes:
        path: of the JSON.
        rows: masks by image id.
        indices: what each class counts as.
    """

    path: Path
    rows: Mapping[str, Sequence[Row]]
    indices: tuple[int, ...]

    def __call__(self, record: Record) -> Int[Tensor, "H W"]:
        """Give the labels of a record."""
        rows = self.rows[record.image_id]
        ranks = {score: rank for rank, score in enumerate(sorted({row.score for row in rows}))}
        layers = []
        for row in rows:
            try:
                mask = mask_of(row.segmentation, record.width, record.height)
            except InvalidAnnotationError as defect:
                if defect.reason == NO_PIXEL:
                    continue
                raise DataError(
                    f"{self.path}: {row.item} of {record.file_name}: {defect.reason} ({defect.detail}); write it again"
                ) from defect
            layers.append((row.place, ranks[row.score], mask))
        labels = torch.from_numpy(paint(layers, record.height, record.width).astype(np.int64))
        table = torch.tensor([*self.indices, -1])
        return table[labels.masked_fill(labels == NONE, -1)]


def open_masks(path: Path, photos: Photos, images: Sequence[Wanted], classes: Classes) -> Predictions:
    """Open a JSON file of run lengths; all but their counts is checked.

    Raises:
        DataError: it is something else, or a row of it breaks a rule.
    """
    value: Any = read_json(path, WRITE_SO)
    table = Table(path, photos, classes)
    if isinstance(value, list):
        read_list(table, value)
    elif isinstance(value, dict) and all(
        isinstance(value.get(key), list) for key in ("images", "categories", "annotations")
    ):
        read_set(table, value)
    else:
        got = (
            f"a set of {', '.join(map(repr, list(value)[:5])) or 'nothing'}" if isinstance(value, dict) else repr(value)
        )
        raise DataError(f"{path}: must be a list or a COCO set, got {got:.80}; {WRITE_SO}")
    table.finish()
    extra = tuple(table.extra)
    check_complete(path, images, table.rows, extra, LIST_THEM)
    return Predictions("run lengths (COCO JSON)", len(table.rows), extra, RunLengths(path, table.rows, classes.indices))
