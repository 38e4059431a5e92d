"""Writes small trees in the original format of ADE20K, and converts them."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from partseg_cli.data.converters.ade20k_part import convert
from partseg_cli.data.converters.conversion import Converted, Skipped
from partseg_cli.data.manifest import load_manifest
from partseg_cli.data.record import Record

MANIFEST = load_manifest("ade20k-part-234")
FIRST, SECOND = "ADE_train_00000001", "ADE_train_00000002"
STREET = "urban/street"
HEIGHT, WIDTH = 4, 6

PERSON, BUILDING, RIM = 1831, 312, 2122
CAR, DOOR, DOUBLE_DOOR, WHEEL, WINDOW, WINDSHIELD, HANDLE, KNOB = 401, 774, 783, 3035, 3050, 3057, 1180, 1380
STOVE, OVEN, BUTTON_PANEL, CABINET, SHELF, STOOL, PEDESTAL = 2598, 1708, 341, 350, 2329, 2586, 1804
NOTHING = (0, 0, 0, 0)


class Annotated(NamedTuple):
    """A row of the JSON; `whole` and `hasparts` as they stand there."""

    id: int
    code: Any
    whole: Any = []  # noqa: RUF012 - never changed
    level: Any = 0
    box: tuple[int, int, int, int] = (0, 0, 4, 5)
    covered: tuple[int, int, int, int] = NOTHING
    mask: str | None = None


def grey(thing: Annotated, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """An instance mask: 255 in the box (top, left, bottom, right), 128 where it is covered."""
    values = np.zeros((height, width), np.uint8)
    for (top, left, bottom, right), value in ((thing.box, 255), (thing.covered, 128)):
        values[top:bottom, left:right] = value
    return values


def mask_name(stem: str, thing: Annotated) -> str:
    return thing.mask or f"{stem}/instance_{thing.id:03}_{stem}.png"


def row(stem: str, thing: Annotated, things: list[Annotated]) -> dict[str, Any]:
    parts = [other.id for other in things if other.whole in (thing.id, [thing.id])]
    return {
        "id": thing.id,
        "name": "a name, with synonyms",
        "name_ndx": thing.code,
        "hypernym": [],
        "raw_name": "a name",
        "attributes": [],
        "depth_ordering_rank": thing.id + 1,
        "occluded": [],
        "crop": "0",
        "parts": {
            "hasparts": parts[0] if len(parts) == 1 else parts,
            "ispartof": thing.whole,
            "part_level": thing.level,
        },
        "instance_mask": mask_name(stem, thing),
        "polygon": {"x": [0, 1], "y": [0, 1], "click_date": []},
        "saved_date": "18-Dec-2005 06:56:48",
    }


def write_labels(folder: Path, stem: str, things: list[Annotated]) -> None:
    """Write X_seg.png and X_parts_N.png: R // 10 * 256 + G is the class, B a number in the file."""
    for level in sorted({0} | {thing.level for thing in things}):
        picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        for thing in things:
            if thing.level == level and isinstance(thing.code, int):
                picture[grey(thing) == 255] = thing.code // 256 * 10, thing.code % 256, thing.id + 1
        ending = f"parts_{level}" if level else "seg"
        Image.fromarray(picture).save(folder / f"{stem}_{ending}.png")


WHEELED = [Annotated(0, CAR), Annotated(3, WHEEL, 0, 1, (2, 1, 4, 3))]


def street(source: Path, split: str = "training") -> Path:
    return source / "ADE20K_2021_17_01/images/ADE" / split / STREET


def write_image(source: Path, stem: str, things: list[Annotated] = WHEELED, split: str = "training") -> Path:
    """Write one image in the original format; give its path without suffix."""
    folder = street(source, split)
    (folder / stem).mkdir(parents=True, exist_ok=True)
    for thing in things:
        if thing.mask is None:
            Image.fromarray(grey(thing)).save(folder / mask_name(stem, thing))
    rows = [row(stem, thing, things) for thing in things]
    write_json(folder / stem, rows)
    write_labels(folder, stem, [thing for thing in things if isinstance(thing.level, int)])
    Image.new("RGB", (WIDTH, HEIGHT), "grey").save(folder / f"{stem}.jpg")
    return folder / stem


def write_json(image: Path, objects: Any) -> None:
    annotation = {
        "filename": f"{image.name}.jpg",
        "folder": "ADE20K_2021_17_01/images/ADE/training/urban/street",
        "imsize": [HEIGHT, WIDTH, 3],
        "scene": ["outdoor", "urban", "street"],
        "object": objects,
    }
    image.with_name(f"{image.name}.json").write_text(json.dumps({"annotation": annotation}), encoding="utf-8")


def outcomes(source: Path) -> list[Converted | Skipped]:
    return list(convert(source, MANIFEST).outcomes)


def only_record(source: Path) -> Record:
    (outcome,) = outcomes(source)
    assert isinstance(outcome, Converted), outcome
    return outcome.record
