"""Predictions as run lengths in one JSON file: COCO results, or a COCO set.

    results   [{"image_id": 7, "category": "cat's ear", "segmentation": {"size": [h, w], "counts": ...}, "score": 0.9}]
              or "file_name" of the image; "category" is a name, "cat's ear" or "cat:ear", or the index of the pair from
              0, and "category_id" such an index
    COCO set  {"images": [...], "categories": [...], "annotations": [...]}: categories are matched by name

Where masks overlap, the higher score is on top, and of equal scores the smaller mask. An image without any mask must be
listed among "images": a list of results does not mention it. All but the run lengths is checked when it is opened.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from partseg_cli.data.converters.coco.masks import NO_PIXEL, build_mask
from partseg_cli.data.converters.conversion import InvalidAnnotationError
from partseg_cli.data.predictions.matching import (
    ImageFinder,
    PredictionClasses,
    Predictions,
    WantedImage,
    check_complete,
    check_size,
)
from partseg_cli.data.record import Record
from partseg_cli.data.rle import NONE, paint
from partseg_cli.errors import DataError, format_list
from partseg_cli.io.files import read_json

LIST_THEM = 'write a COCO set, and list images without a mask among its "images"'
WRITE_AS = "write a list of COCO results, or a COCO set with the lists images, categories and annotations"
COCO_LISTS = ("images", "categories", "annotations")

Value = Any
"""Whatever JSON can hold."""


@dataclass(frozen=True)
class MaskRow:
    """Mask of an image.

    Attributes:
        item: Where the row is in the file, for messages.
        index: Position of its class.
        score: Confidence; 0 where no row has one.
        segmentation: Run lengths as stored, of the size of the image.
    """

    item: str
    index: int
    score: float
    segmentation: Value


def open_run_lengths(
    path: Path, finder: ImageFinder, images: Sequence[WantedImage], classes: PredictionClasses
) -> Predictions:
    """Open a JSON file of run lengths; everything but their counts is checked.

    Raises:
        DataError: The file is something else, or a row of it breaks a rule.
    """
    value: Value = read_json(path, WRITE_AS)
    reader = _RowReader(path, finder, classes)
    if isinstance(value, list):
        reader.read_results(value)
    elif isinstance(value, dict) and all(isinstance(value.get(key), list) for key in COCO_LISTS):
        reader.read_coco(value)
    else:
        keys = ", ".join(map(repr, list(value)[:5])) if isinstance(value, dict) else ""
        got = f"a set of {keys or 'nothing'}" if isinstance(value, dict) else repr(value)
        raise DataError(f"{path}: must be a list or a COCO set, got {got:.80}; {WRITE_AS}")
    reader.check_categories()
    extra = tuple(reader.extra)
    check_complete(path, images, reader.rows, extra, LIST_THEM)
    maps = partial(_paint_rows, path, reader.rows, classes.indices)
    return Predictions("run lengths (COCO JSON)", len(reader.rows), extra, maps)


def _paint_rows(
    path: Path, rows: Mapping[str, Sequence[MaskRow]], indices: tuple[int, ...], record: Record
) -> Int[Tensor, "H W"]:
    """Paint the masks of a record, given by image id."""
    ranks = {score: rank for rank, score in enumerate(sorted({row.score for row in rows[record.image_id]}))}
    layers = []
    for row in rows[record.image_id]:
        try:
            mask = build_mask(row.segmentation, record.width, record.height)
        except InvalidAnnotationError as defect:
            if defect.reason == NO_PIXEL:
                continue
            raise DataError(
                f"{path}: {row.item} of {record.file_name}: {defect.reason} ({defect.detail}); write it again"
            ) from defect
        layers.append((row.index, ranks[row.score], mask))
    labels = torch.from_numpy(paint(layers, record.height, record.width).astype(np.int64))
    return torch.tensor([*indices, -1])[labels.masked_fill(labels == NONE, -1)]


class _RowReader:
    """Reader of the rows of a JSON, which checks the image, the class and the size of each.

    Attributes:
        rows: Masks of each image that the JSON names, by image id; an image may have none.
        extra: Other images that it names.
    """

    def __init__(self, path: Path, finder: ImageFinder, classes: PredictionClasses) -> None:
        self.path, self.finder, self.classes = path, finder, classes
        self.rows: dict[str, list[MaskRow]] = {}
        self.extra: dict[str, None] = {}
        self._spelled: dict[tuple[str, str], object] = {}
        self._ids: set[int | str] = set()
        self._unknown: Counter[str] = Counter()
        self._is_scored: bool | None = None

    def read_results(self, rows: list[Value]) -> None:
        """Read COCO results."""
        for number, row in enumerate(rows):
            item = f"[{number}]"
            if not isinstance(row, dict):
                raise self._fault(item, "must be a mask {image_id, category, segmentation}", row)
            index = self._find_class(item, row.get("category", row.get("category_id")))
            self._add(item, row, self._find_image(item, row, "image_id"), index)

    def read_coco(self, value: dict[str, Value]) -> None:
        """Read a COCO set."""
        images = self._read_images(value["images"])
        categories = self._by_id("categories", value["categories"])
        for number, row in enumerate(value["annotations"]):
            item = f"annotations[{number}]"
            if not isinstance(row, dict):
                raise self._fault(item, "must be a mask {image_id, category_id, segmentation}", row)
            image, category = row.get("image_id"), row.get("category_id")
            if not _is_id(image) or image not in images:
                raise self._fault(item, "image_id must be the id of an image in the file", image)
            if not _is_id(category) or category not in categories:
                raise self._fault(item, "category_id must be the id of a category in the file", category)
            self._add(item, row, images[image], self._find_class(item, categories[category].get("name")))

    def check_categories(self) -> None:
        """Raise a `DataError` if a class was unknown."""
        if self._unknown:
            got = format_list([f"{name} ({count} masks)" for name, count in self._unknown.most_common()])
            kind = self.classes.kind
            raise DataError(
                f"{self.path}: categories must be {kind} of {self.classes.dataset}, by name or by index from 0 to "
                f"{len(self.classes.names) - 1}, got {got}; write names of its {kind}"
            )

    def _fault(self, item: str, rule: str, got: object, advice: str = "write it again") -> DataError:
        return DataError(f"{self.path}: {item}: {rule}, got {got!r:.80}; {advice}")

    def _read_images(self, rows: list[Value]) -> dict[int | str, WantedImage | None]:
        """Return the image of each id; each must be listed once, and have the stated size."""
        found: dict[int | str, WantedImage | None] = {}
        for number, (key, row) in enumerate(self._by_id("images", rows).items()):
            item, known = f"images[{number}]", len(self.rows)
            image = found[key] = self._find_image(item, row, "id")
            if image is not None:
                if len(self.rows) == known:
                    raise self._fault(item, "an image must be listed once", image.file_name)
                width, height = row.get("width"), row.get("height")
                if isinstance(width, int) and isinstance(height, int):
                    check_size(f"{self.path}: {item}", image, (width, height))
        return found

    def _by_id(self, key: str, rows: list[Value]) -> dict[int | str, dict[str, Value]]:
        found: dict[int | str, dict[str, Value]] = {}
        for number, row in enumerate(rows):
            item = f"{key}[{number}]"
            if not isinstance(row, dict) or not _is_id(row.get("id")):
                raise self._fault(item, "must have an id", row)
            if row["id"] in found:
                raise self._fault(item, "id must be unique", row["id"])
            found[row["id"]] = row
        return found

    def _find_image(self, item: str, value: Value, key: str) -> WantedImage | None:
        """Return the image that `file_name`, or else `key`, of an element names; None if it is not wanted."""
        by = "file_name" if "file_name" in value else key
        name = value.get(by)
        if not _is_id(name) or (by == "file_name" and not isinstance(name, str)):
            raise self._fault(item, f"must name an image by {key} or file_name", name)
        image = self.finder.find_path(name) if by == "file_name" else self.finder.find_id(name)
        if image is None:
            self.extra[str(name)] = None
            return None
        former = self._spelled.setdefault((image.image_id, by), name)
        if former != name:  # such as train/1.jpg and val/1.jpg: not both can be this image
            rule = f"must name {image.file_name} by {former!r}, as before"
            raise self._fault(item, rule, name, "name it in one way")
        self.rows.setdefault(image.image_id, [])
        return image

    def _find_class(self, item: str, value: Value) -> int | None:
        """Return the position of a class; None if it is skipped, or unknown, which `check_categories` reports."""
        if not _is_id(value):
            raise self._fault(item, "category must be a name or a number", value)
        if isinstance(value, str):
            index = self.classes.find(value)
            if index is None and value not in self.classes.ignored:
                self._unknown[repr(value)] += 1
            return index
        if 0 <= value < len(self.classes.names):
            return int(value)
        self._unknown[str(value)] += 1
        return None

    def _add(self, item: str, value: Value, image: WantedImage | None, index: int | None) -> None:
        """Check id, score and size of a mask, and keep it if its image and class are wanted."""
        number, score, segmentation = value.get("id"), value.get("score"), value.get("segmentation")
        if number is not None:
            if not _is_id(number) or number in self._ids:
                raise self._fault(item, "id must be a unique number or text", number)
            self._ids.add(number)
        self._check_score(item, score)
        if image is None or index is None:
            return
        if isinstance(segmentation, dict):
            size = segmentation.get("size")
            if not isinstance(size, list) or [type(edge) for edge in size] != [int, int]:
                raise self._fault(item, "size must be height and width", size)
            check_size(f"{self.path}: {item}", image, (size[1], size[0]))
        self.rows[image.image_id].append(MaskRow(item, index, float(score or 0), segmentation))

    def _check_score(self, item: str, score: Value) -> None:
        if score is not None and (type(score) not in (int, float) or not math.isfinite(score)):
            raise self._fault(item, "score must be a finite number", score)
        if self._is_scored is None:
            self._is_scored = score is not None
        if self._is_scored != (score is not None):
            raise self._fault(item, "all masks must have a score, or none", score)


def _is_id(value: object) -> bool:
    return type(value) in (int, str)
