"""Writes small sources in the published format of PACO-LVIS, and converts them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as coco

from partseg_cli.data.converters.conversion import Converted, Skipped
from partseg_cli.data.converters.paco import convert
from partseg_cli.data.manifest import load_manifest
from partseg_cli.data.record import Record

MANIFEST = load_manifest("paco")
WIDTH, HEIGHT = 12, 8
CAR, DOG, BALL, WHEEL, WINDOW, EAR = 207, 377, 40, 2440, 2447, 2086
TUBE, CAT_OF_LVIS = 2100, 225
CATEGORIES = [
    {"supercategory": "OBJECT", "id": CAR, "name": "car_(automobile)", "synset": "car.n.01", "frequency": "f"},
    {"supercategory": "OBJECT", "id": DOG, "name": "dog", "synset": "dog.n.01", "frequency": "f"},
    {"supercategory": "OBJECT", "id": BALL, "name": "ball", "synset": "ball.n.06", "frequency": "f"},
    {"supercategory": "PART", "id": WHEEL, "name": "car_(automobile):wheel"},
    {"supercategory": "PART", "id": WINDOW, "name": "car_(automobile):window"},
    {"supercategory": "PART", "id": EAR, "name": "dog:ear"},
    {"supercategory": "PART", "id": TUBE, "name": "pipe:colied_tube"},
]
"""Ids of their own: the published ones may change."""


def box(left: int, top: int, right: int, bottom: int) -> np.ndarray:
    pixels = np.zeros((HEIGHT, WIDTH), bool)
    pixels[top:bottom, left:right] = True
    return pixels


WHOLE, CORNER, BAR = box(1, 1, 7, 6), box(1, 4, 3, 6), box(8, 2, 11, 5)


def rle(pixels: np.ndarray) -> dict[str, Any]:
    code = coco.encode(np.asfortranarray(pixels, np.uint8))
    return {"size": list(pixels.shape), "counts": code["counts"].decode()}


def photo(number: int = 1, folder: str = "train2017", **more: object) -> dict[str, Any]:
    return {
        "id": number,
        "file_name": f"{folder}/{number:012}.jpg",
        "width": WIDTH,
        "height": HEIGHT,
        "neg_category_ids": [],
        "not_exhaustive_category_ids": [],
        "neg_category_ids_attrs": [],
        "not_exhaustive_category_ids_attrs": [],
        "license": 1,
        **more,
    }


def shown(
    number: Any, category: Any, owner: Any, pixels: Any = WHOLE, image: Any = 1, **more: object
) -> dict[str, Any]:
    return {
        "id": number,
        "bbox": [0, 0, 1, 1],
        "area": 1.0,
        "category_id": category,
        "image_id": image,
        "segmentation": rle(pixels) if isinstance(pixels, np.ndarray) else pixels,
        "attribute_ids": [3],
        "dom_color_ids": [],
        "obj_ann_id": owner,
        "unknown_color": 0,
        "unknown_pattern_marking": 0,
        "unknown_material": 1,
        "unknown_transparency": 0,
        **more,
    }


WHEELED = [shown(1, CAR, 1), shown(2, WHEEL, 1, CORNER)]
"""A car with a wheel."""


def write(
    source: Path,
    annotations: Any = WHEELED,
    images: Any = None,
    *,
    split: str = "train",
    folder: str = "annotations",
    photos: str = ".",
    categories: Any = CATEGORIES,
) -> Path:
    """Write one file of annotations, and grey photos of the published size; give the file."""
    images = [photo()] if images is None else images
    path = source / folder / f"paco_lvis_v1_{split}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    value = {
        "images": images,
        "annotations": annotations,
        "categories": categories,
        "part_categories": [{"supercategory": "PART", "id": 0, "name": "antenna"}],
        "attributes": [{"supercategory": "ATTR", "id": 0, "name": "black"}],
        "attr_type_to_attr_idxs": {"color": [0]},
    }
    path.write_text(json.dumps(value))
    for name in (image["file_name"] for image in images if isinstance(image, dict) and image.get("file_name")):
        place = source / photos / name
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (WIDTH, HEIGHT), "grey").save(place)
    return path


def outcomes(source: Path) -> list[Converted | Skipped]:
    return list(convert(source, MANIFEST).outcomes)


def records(source: Path) -> list[Record]:
    return [outcome.record for outcome in outcomes(source) if isinstance(outcome, Converted)]


def only_record(source: Path) -> Record:
    (record,) = records(source)
    return record


def skips(source: Path) -> list[tuple[str, str, bool, str]]:
    return [(o.item, o.reason, o.is_defect, o.detail) for o in outcomes(source) if isinstance(o, Skipped)]
