"""Writes small trees in the published format of Cityscapes-Panoptic-Parts, and converts them."""

from pathlib import Path

import numpy as np
from PIL import Image

from partseg_cli.data.converters.cityscapes_parts import convert
from partseg_cli.data.converters.conversion import Converted, Skipped
from partseg_cli.data.manifest import load_manifest
from partseg_cli.data.record import Record

MANIFEST = load_manifest("cityscapes-panoptic-parts")
HEIGHT, WIDTH = 4, 7
FIRST, SECOND = "aachen_000000_000019", "aachen_000001_000019"
ROAD, STATIC, CARAVAN = 7, 4, 29
PERSON, RIDER, CAR = 24, 25, 26

STREET = np.array(
    [
        [0, ROAD, ROAD, CAR, 2400000, 2400002, ROAD],
        [STATIC, 26001, 2600101, 2600102, 24000, 2400001, ROAD],
        [ROAD, 2600100, 2600105, 2600102, CAR, 2400001, CARAVAN],
        [ROAD, 2600202, 2600202, 26002, CAR, 24000, 29001],
    ]
)
"""Cars 1 and 2 with a wheel each, a region of cars, and person 0."""


def write_image(
    source: Path,
    ids: np.ndarray = STREET,
    stem: str = FIRST,
    split: str = "train",
    labels: str = "gtFinePanopticParts",
    photos: str = "leftImg8bit",
) -> Path:
    """Write the ids as 32-bit TIFF, compressed as the published ones, and a photo of their size; give the TIFF."""
    city = stem.split("_")[0]
    path = source / labels / split / city / f"{stem}_gtFinePanopticParts.tif"
    photo = source / photos / split / city / f"{stem}_leftImg8bit.png"
    for file in (path, photo):
        file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(ids.astype(np.int32)).save(path, compression="tiff_lzw")
    Image.new("RGB", ids.shape[::-1], "grey").save(photo)
    return path


def outcomes(source: Path) -> list[Converted | Skipped]:
    return list(convert(source, MANIFEST).outcomes)


def only_record(source: Path) -> Record:
    (outcome,) = outcomes(source)
    assert isinstance(outcome, Converted), outcome
    return outcome.record


def converted(source: Path) -> Record:
    """Give the record that stands beside what is told of its ids."""
    (outcome,) = (outcome for outcome in outcomes(source) if isinstance(outcome, Converted))
    return outcome.record


def skips(source: Path) -> list[tuple[str, bool, str]]:
    return [(o.reason, o.is_defect, o.detail) for o in outcomes(source) if isinstance(o, Skipped)]
