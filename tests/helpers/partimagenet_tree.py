"""Writes small trees in the format of PartImageNet's archives, and converts them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from partseg_cli.data.converters.conversion import Conversion, Converted, Skipped
from partseg_cli.data.converters.partimagenet.annotations import SUPER_PARTS
from partseg_cli.data.converters.partimagenet.converter import convert
from partseg_cli.data.manifest import load_manifest
from partseg_cli.data.record import Record

MANIFEST = load_manifest("partimagenet")
TIGER, JEEP, TENCH, WINE = "n02129604", "n03594945", "n01440764", "n04591713"
TABBY, GUITAR = "n02123045", "n03272010"
"""Of none of the 40 objects."""

BACKGROUND, WHOLE_BACKGROUND = 40, 158


class Box(NamedTuple):
    """A super-part that fills columns left to right and rows top to bottom, the ends not included."""

    super_part: str
    left: int
    top: int
    right: int
    bottom: int

    @property
    def polygon(self) -> list[int]:
        return [self.left, self.top, self.right, self.top, self.right, self.bottom, self.left, self.bottom]

    @property
    def category(self) -> int:
        return SUPER_PARTS.index(self.super_part)


class Photo(NamedTuple):
    name: str
    boxes: Sequence[Box]
    width: int = 13
    height: int = 9

    @property
    def file(self) -> str:
        return f"{self.name}.JPEG"

    @property
    def synset(self) -> str:
        return self.name[:9]

    def pixels(self) -> np.ndarray:
        """The part map, later boxes over earlier ones."""
        values = np.full((self.height, self.width), BACKGROUND, np.uint8)
        for box in self.boxes:
            values[box.top : box.bottom, box.left : box.right] = box.category
        return values


HEAD, BODY = Box("Quadruped Head", 1, 1, 4, 5), Box("Quadruped Body", 3, 2, 11, 8)
TIER = Box("Car Tier", 2, 6, 5, 8)
CAT = Photo(f"{TIGER}_12", [BODY, HEAD])
CAR = Photo(f"{JEEP}_3", [Box("Car Body", 1, 2, 12, 7), TIER], 14, 10)
PET = Photo(f"{TABBY}_77", [HEAD], 8, 7)


def root(source: Path) -> Path:
    return source / "PartImageNet"


def coco(photos: Sequence[Photo]) -> dict[str, Any]:
    """The COCO JSON of a split: images and annotations are numbered from 0."""
    images = [{"id": i, "file_name": p.file, "width": p.width, "height": p.height} for i, p in enumerate(photos)]
    boxes = [(i, box) for i, photo in enumerate(photos) for box in photo.boxes]
    annotations = [
        {
            "id": number,
            "image_id": image,
            "category_id": box.category,
            "segmentation": [box.polygon],
            "bbox": [box.left, box.top, box.right - box.left, box.bottom - box.top],
            "area": (box.right - box.left) * (box.bottom - box.top),
            "iscrowd": 0,
        }
        for number, (image, box) in enumerate(boxes)
    ]
    categories = [{"id": i, "name": name, "supercategory": name.split()[0]} for i, name in enumerate(SUPER_PARTS)]
    return {"images": images, "annotations": annotations, "categories": categories}


def json_path(source: Path, split: str = "train") -> Path:
    return root(source) / f"annotations/{split}/{split}.json"


def write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def map_path(source: Path, photo: Photo, split: str = "train") -> Path:
    return root(source) / f"annotations/{split}/{photo.name}.png"


def photo_path(source: Path, photo: Photo, split: str = "train") -> Path:
    return root(source) / f"images/{split}/{photo.file}"


def write_photo(path: Path, photo: Photo) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (photo.width, photo.height), "grey").save(path, "JPEG")


def write_photos(source: Path, photos: Sequence[Photo], split: str = "train") -> None:
    for photo in photos:
        write_photo(photo_path(source, photo, split), photo)


def write_maps(source: Path, photos: Sequence[Photo], split: str = "train") -> None:
    """Write part maps, maps of whole objects, and the JSON files of single photos, which hold a size alone."""
    for photo in photos:
        path = map_path(source, photo, split)
        whole = path.parent.with_name(f"{split}_whole") / path.name
        for folder in (path.parent, whole.parent):
            folder.mkdir(parents=True, exist_ok=True)
        parts = photo.pixels()
        Image.fromarray(parts).save(path)
        Image.fromarray(np.where(parts == BACKGROUND, WHOLE_BACKGROUND, 7).astype(np.uint8)).save(whole)
        write_json(path.with_suffix(".json"), {"height": photo.height, "width": photo.width})


def write_split(source: Path, photos: Sequence[Photo], split: str = "train") -> None:
    """Write photos and JSON, no maps."""
    write_photos(source, photos, split)
    write_json(json_path(source, split), coco(photos))


def change_json(source: Path, change: Any, split: str = "train") -> None:
    """Let `change` work on the content of a JSON file."""
    value = json.loads(json_path(source, split).read_text(encoding="utf-8"))
    change(value)
    write_json(json_path(source, split), value)


def conversion(source: Path) -> Conversion:
    return convert(source, MANIFEST)


def outcomes(source: Path) -> list[Converted | Skipped]:
    return list(conversion(source).outcomes)


def skips(source: Path) -> list[Skipped]:
    return [outcome for outcome in outcomes(source) if isinstance(outcome, Skipped)]


def records(source: Path) -> dict[str, Record]:
    return {outcome.record.image_id: outcome.record for outcome in outcomes(source) if isinstance(outcome, Converted)}


def only_record(source: Path) -> Record:
    (outcome,) = outcomes(source)
    assert isinstance(outcome, Converted), outcome
    return outcome.record


def part_names(record: Record) -> list[str]:
    return [MANIFEST.vocabulary.pairs[part.pair].name for part in record.parts]
