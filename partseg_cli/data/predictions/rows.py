"""The rows of a JSON of run lengths: which photo and which class each means, checked before any mask is decoded."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from partseg_cli.data.predictions.labels import Classes
from partseg_cli.data.predictions.matching import Photos, Wanted, check_size
from partseg_cli.errors import DataError, format_list

Value = Any
"""Whatever JSON can hold."""


@dataclass(frozen=True)
class Row:
    """A mask of a photo.

    Attributes:
        item: where it stands, for messages.
        place: of its class.
        score: 0 where no row has one.
        segmentation: as it stands there, of the size of the photo.
    """

    item: str
    place: int
    score: float
    segmentation: Value


@dataclass
class Table:
    """The rows that were read.

    Attributes:
        path: of the JSON.
        photos: the photos wanted.
        classes: what a row may show.
        rows: of each photo that the JSON names, by image id; none where it has no mask.
        extra: other photos that it names.
    """

    path: Path
    photos: Photos
    classes: Classes
    rows: dict[str, list[Row]] = field(default_factory=dict)
    extra: dict[str, None] = field(default_factory=dict)
    _spelled: dict[tuple[str, str], object] = field(default_factory=dict)
    _ids: set[int | str] = field(default_factory=set)
    _unknown: Counter[str] = field(default_factory=Counter)
    _is_scored: bool | None = None

    def fault(self, item: str, rule: str, got: object, advice: str = "write it again") -> DataError:
        """Give the error of an element that breaks a rule."""
        return DataError(f"{self.path}: {item}: {rule}, got {got!r:.80}; {advice}")

    def photo(self, item: str, value: Value, key: str) -> Wanted | None:
        """Give the photo that `file_name`, or else `key` of an element names; None if it is none of those wanted."""
        by = "file_name" if "file_name" in value else key
        name = value.get(by)
        if not is_id(name) or (by == "file_name" and not isinstance(name, str)):
            raise self.fault(item, f"must name a photo by {key} or file_name", name)
        image = self.photos.at(name) if by == "file_name" else self.photos.numbered(name)
        if image is None:
            self.extra[str(name)] = None
            return None
        former = self._spelled.setdefault((image.image_id, by), name)
        if former != name:  # such as train/1.jpg and val/1.jpg: not both can be this photo
            raise self.fault(item, f"must name {image.file_name} by {former!r}, as before", name, "name it in one way")
        self.rows.setdefault(image.image_id, [])
        return image

    def place(self, item: str, value: Value) -> int | None:
        """Give the place of a class, by name or number; None if it is left out, or unknown and named at the end."""
        if not is_id(value):
            raise self.fault(item, "category must be a name or a number", value)
        if isinstance(value, str):
            place = self.classes.find(value)
            if place is None and value not in self.classes.beside:
                self._unknown[repr(value)] += 1
            return place
        if 0 <= value < len(self.classes.words):
            return int(value)
        self._unknown[str(value)] += 1
        return None

    def add(self, item: str, value: Value, image: Wanted | None, place: int | None) -> None:
        """Take the mask of a class in a photo."""
        number = value.get("id")
        if number is not None:
            self._check_id(item, number)
        score = self._score(item, value.get("score"))
        segmentation = value.get("segmentation")
        if image is None or place is None:
            return
        if isinstance(segmentation, dict):
            size = segmentation.get("size")
            if not isinstance(size, list) or [type(edge) for edge in size] != [int, int]:
                raise self.fault(item, "size must be height and width", size)
            check_size(f"{self.path}: {item}", image, (size[1], size[0]))
        self.rows[image.image_id].append(Row(item, place, score, segmentation))

    def finish(self) -> None:
        """Raise a `DataError` if a class was unknown."""
        if self._unknown:
            got = format_list([f"{name} ({count} masks)" for name, count in self._unknown.most_common()])
            what = self.classes.what
            raise DataError(
                f"{self.path}: categories must be {what} of {self.classes.dataset}, by name or by place from 0 to "
                f"{len(self.classes.words) - 1}, got {got}; write names of its {what}"
            )

    def _check_id(self, item: str, number: Value) -> None:
        if not is_id(number) or number in self._ids:
            raise self.fault(item, "id must be a number or text of its own", number)
        self._ids.add(number)

    def _score(self, item: str, score: Value) -> float:
        """Give a score; all rows must have one, or none."""
        if score is not None and (type(score) not in (int, float) or not math.isfinite(score)):
            raise self.fault(item, "score must be a finite number", score)
        if self._is_scored is None:
            self._is_scored = score is not None
        if self._is_scored != (score is not None):
            raise self.fault(item, "all masks must have a score, or none", score)
        return float(score or 0)


def is_id(value: object) -> bool:
    """Tell a whole number or a text."""
    return type(value) in (int, str)


def read_list(table: Table, rows: list[Value]) -> None:
    """Read COCO results.

    Raises:
        DataError: a row breaks a rule.
    """
    for number, row in enumerate(rows):
        item = f"[{number}]"
        if not isinstance(row, dict):
            raise table.fault(item, "must be a mask {image_id, category, segmentation}", row)
        place = table.place(item, row.get("category", row.get("category_id")))
        table.add(item, row, table.photo(item, row, "image_id"), place)


def read_set(table: Table, value: dict[str, Value]) -> None:
    """Read a COCO set.

    Raises:
        DataError: an image, a category or an annotation breaks a rule.
    """
    images = _images(table, value["images"])
    names = _by_id(table, "categories", value["categories"])
    for number, row in enumerate(value["annotations"]):
        item = f"annotations[{number}]"
        if not isinstance(row, dict):
            raise table.fault(item, "must be a mask {image_id, category_id, segmentation}", row)
        image, category = row.get("image_id"), row.get("category_id")
        if not is_id(image) or image not in images:
            raise table.fault(item, "image_id must be the id of an image in the file", image)
        if not is_id(category) or category not in names:
            raise table.fault(item, "category_id must be the id of a category in the file", category)
        table.add(item, row, images[image], table.place(item, names[category].get("name")))


def _images(table: Table, rows: list[Value]) -> dict[int | str, Wanted | None]:
    """Give the photo of each id; it must stand once, and have the size that is said."""
    found: dict[int | str, Wanted | None] = {}
    for number, (key, row) in enumerate(_by_id(table, "images", rows).items()):
        item, known = f"images[{number}]", len(table.rows)
        image = found[key] = table.photo(item, row, "id")
        if image is not None:
            if len(table.rows) == known:
                raise table.fault(item, "a photo must stand once", image.file_name)
            width, height = row.get("width"), row.get("height")
            if isinstance(width, int) and isinstance(height, int):
                check_size(f"{table.path}: {item}", image, (width, height))
    return found


def _by_id(table: Table, key: str, rows: list[Value]) -> dict[int | str, dict[str, Value]]:
    """Give elements by their ids, no two the same."""
    found: dict[int | str, dict[str, Value]] = {}
    for number, row in enumerate(rows):
        item = f"{key}[{number}]"
        if not isinstance(row, dict) or not is_id(row.get("id")):
            raise table.fault(item, "must have an id", row)
        if row["id"] in found:
            raise table.fault(item, "id must be its own", row["id"])
        found[row["id"]] = row
    return found
