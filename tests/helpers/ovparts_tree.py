"""Writes small trees as the repacks of OV-PARTS are laid out, and converts them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as coco

from partseg_cli.data.converters.conversion import Conversion, Converted, Skipped
from partseg_cli.data.converters.ovparts.ade20k import convert_ade
from partseg_cli.data.converters.ovparts.pascal import convert_pascal
from partseg_cli.data.manifest import load_manifest
from partseg_cli.data.record import Record

HEIGHT, WIDTH = 4, 6
PASCAL, ADE = load_manifest("pascal-part-116"), load_manifest("ade20k-part-234")
VOC = ["aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog"]
VOC += ["horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"]
"""In the order of VOC's class ids, as the published code lists them."""
FOLDERS = {"pascal": {"train": "train", "val": "val"}, "ade": {"train": "training", "val": "validation"}}
PARTS, OBJECTS = "annotations_detectron2_part", "annotations_detectron2_obj"
TRAIN, VAL = "2008_000652", "2008_000700"


def pair_id(manifest: Any, name: str) -> int:
    return [pair.name for pair in manifest.vocabulary.pairs].index(name)


HEAD, EAR, DOG_EAR = (pair_id(PASCAL, name) for name in ("cat's head", "cat's ear", "dog's ear"))
CAT, DOG = VOC.index("cat"), VOC.index("dog")


def painted(
    none: int, *boxes: tuple[int, tuple[int, int, int, int]], height: int = HEIGHT, width: int = WIDTH
) -> np.ndarray:
    """A label map of (value, (top, left, bottom, right)), 8 bits where nothing is 255, else 16."""
    labels = np.full((height, width), none, np.uint8 if none == 255 else np.uint16)
    for value, (top, left, bottom, right) in boxes:
        labels[top:bottom, left:right] = value
    return labels


CAT_PARTS = painted(255, (HEAD, (0, 0, 2, 3)), (EAR, (0, 0, 1, 1)))
CAT_OBJECTS = painted(255, (CAT, (0, 0, 4, 5)))


def write_photo(path: Path, shape: tuple[int, ...]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.effect_noise((shape[1], shape[0]), 60).convert("RGB").save(path, quality=90)


def write_labels(path: Path, labels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(labels).save(path)


def write_pascal(
    root: Path, stem: str = TRAIN, parts: np.ndarray = CAT_PARTS, objects: np.ndarray = CAT_OBJECTS, split="train"
) -> None:
    write_photo(root / "images" / split / f"{stem}.jpg", parts.shape)
    write_labels(root / PARTS / split / f"{stem}.png", parts)
    write_labels(root / OBJECTS / split / f"{stem}.png", objects)


def pascal_tree(root: Path) -> Path:
    """One image of a cat in each folder."""
    write_pascal(root)
    write_pascal(root, VAL, split="val")
    return root


ADE_NAMES = sorted(ADE.objects)
BUS, CAR = ADE_NAMES.index("bus"), ADE_NAMES.index("car")
BUS_WHEEL, BUS_DOOR, CAR_WHEEL = (pair_id(ADE, name) for name in ("bus's wheel", "bus's door", "car's wheel"))
ADE_TRAIN, ADE_VAL = "ADE_train_00000001", "ADE_frame_00000002"


def box(top: int, left: int, bottom: int, right: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    pixels = np.zeros((height, width), bool)
    pixels[top:bottom, left:right] = True
    return pixels


def rle(pixels: np.ndarray) -> dict[str, Any]:
    code = coco.encode(np.asfortranarray(pixels, dtype=np.uint8))
    return {"size": list(pixels.shape), "counts": code["counts"].decode()}


BUS_PARTS = painted(65535, (BUS_WHEEL, (2, 0, 4, 2)), (BUS_DOOR, (0, 3, 2, 5)))
BUS_OBJECTS = [(BUS, rle(box(0, 0, 4, 5)))]


class AdeTree:
    """Collects the JSON of each split, and writes it with the files."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.files: dict[str, dict[str, list[Any]]] = {}
        for split in ("train", "val"):
            self.files[split] = {"images": [], "annotations": [], "categories": categories()}

    def add(
        self, stem: str = ADE_TRAIN, parts: np.ndarray = BUS_PARTS, objects: Any = BUS_OBJECTS, split: str = "train"
    ) -> None:
        """Add an image with instances (category_id, segmentation)."""
        folder, file = FOLDERS["ade"][split], self.files[split]
        write_photo(self.root / "images" / folder / f"{stem}.jpg", parts.shape)
        write_labels(self.root / PARTS / folder / f"{stem}.png", parts)
        number = len(file["images"])
        height, width = parts.shape
        file["images"].append({"id": number, "file_name": f"{stem}.jpg", "width": width, "height": height})
        for category, segmentation in objects:
            row = {"id": len(file["annotations"]), "image_id": number, "category_id": category, "iscrowd": 0}
            file["annotations"].append(row | {"bbox": [0, 0, 1, 1], "area": 1, "segmentation": segmentation})

    def write(self) -> Path:
        for split, file in self.files.items():
            (self.root / f"ade20k_instance_{split}.json").write_text(json.dumps(file), encoding="utf-8")
        return self.root


def categories() -> list[dict[str, Any]]:
    return [{"id": number, "name": name} for number, name in enumerate(ADE_NAMES)]


def ade_tree(root: Path, change: Callable[[AdeTree], None] = lambda tree: None) -> Path:
    """One image of a bus in each folder; `change` has a last look at them."""
    tree = AdeTree(root)
    tree.add()
    tree.add(ADE_VAL, split="val")
    change(tree)
    return tree.write()


def write_few_shot(root: Path, names: list[str]) -> None:
    rows = [{"file_name": name, "height": HEIGHT, "width": WIDTH} for name in names]
    (root / "train_16shot.json").write_text(json.dumps(rows), encoding="utf-8")


def convert(source: Path, kind: str) -> Conversion:
    return convert_pascal(source, PASCAL) if kind == "pascal" else convert_ade(source, ADE)


def outcomes(source: Path, kind: str = "pascal") -> list[Converted | Skipped]:
    return list(convert(source, kind).outcomes)


def skipped(source: Path, kind: str = "pascal") -> list[Skipped]:
    return [outcome for outcome in outcomes(source, kind) if isinstance(outcome, Skipped)]


def records(source: Path, kind: str = "pascal") -> dict[str, Record]:
    """The records by image id; there must be nothing else."""
    found = outcomes(source, kind)
    assert all(isinstance(outcome, Converted) for outcome in found), found
    return {outcome.record.image_id: outcome.record for outcome in found}


def random_labels(rng: np.random.Generator, count: int, none: int, height: int, width: int) -> np.ndarray:
    """A label map of a few values at random, with at least one of them in it."""
    values = np.append(rng.choice(count, 4), none)
    labels = rng.choice(values, (height, width)).astype(np.uint8 if none == 255 else np.uint16)
    labels[rng.integers(height), rng.integers(width)] = values[0]
    return labels


def random_tree(root: Path, kind: str, seed: int) -> Path:
    """A repack of six images in random sizes; in ADE's, instances overlap and do not cover all parts."""
    rng = np.random.default_rng(seed)
    tree = AdeTree(root)
    for number in range(6):
        split = "val" if number % 3 == 2 else "train"
        size = [int(side) for side in rng.integers(3, 19, 2)]
        if kind == "pascal":
            parts, objects = (random_labels(rng, count, 255, *size) for count in (116, 20))
            write_pascal(root, f"image_{number}", parts, objects, split)
        else:
            parts = random_labels(rng, 234, 65535, *size)
            owners = [ADE_NAMES.index(ADE.vocabulary.pairs[pair].object) for pair in np.unique(parts) if pair != 65535]
            shown = rng.choice(owners, rng.integers(0, 7)).tolist()
            tree.add(f"image_{number}", parts, [(one, rle(random_box(rng, *size))) for one in shown], split)
    return tree.write() if kind == "ade" else root


def random_box(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    top, left = int(rng.integers(height)), int(rng.integers(width))
    bottom, right = top + 1 + int(rng.integers(height)), left + 1 + int(rng.integers(width))
    return box(top, left, bottom, right, height, width)
