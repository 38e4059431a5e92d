"""The recipes of ADE20K-Part-234 and PartImageNet, zero-shot and few-shot, trained a few steps with a tiny model."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from partseg_cli.config.recipe import load_recipe
from partseg_cli.data.manifest import load_manifest
from partseg_cli.data.record import Instance, Part, Record
from partseg_cli.data.rle import Mask
from partseg_cli.data.store import DatasetInfo, Store, StoreWriter
from partseg_cli.models.checkpoints.checkpoint import read_header
from partseg_cli.pipeline.prepare import prepare
from partseg_cli.pipeline.split import split
from partseg_cli.pipeline.train import TrainOptions, TrainResult, train

TINY = [
    *("model.backbone=tiny", "model.init=random", "model.image_size=48", "train.precision=fp32"),
    *("train.iterations=3", "train.batch_size=2", "train.micro_batch_size=1", "data.workers=0"),
]


def trained(name: str, data: Path, out: Path, *overrides: str) -> tuple[TrainResult, list[dict[str, float]]]:
    done = train(load_recipe(name, [f"data.root={data}", *TINY, *overrides]), TrainOptions(out=out, device="cpu"))
    return done, [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def is_sound(steps: list[dict[str, float]]) -> bool:
    return len(steps) == 3 and all(math.isfinite(value) for step in steps for value in step.values())


@pytest.mark.training
def test_the_ade_recipe_trains_on_real_photos(samples, tmp_path):
    prepare("ade20k-part-234", source=samples / "ade20k", out=tmp_path / "data", preview=0)
    done, steps = trained("ade_zeroshot", tmp_path / "data", tmp_path / "run", "train.eval_interval=0")
    assert is_sound(steps)
    assert done.images == 2  # the third photo shows no part
    header = read_header(done.checkpoint)
    assert (header.dataset, header.recipe, header.step) == ("ade20k-part-234", "ade_zeroshot", 3)
    assert sum(header.vocabulary.is_seen) == 176


# PartImageNet: a photo shows one object, whose mask is the union of its parts

SHOWN = {
    "train": ["tiger", "goose", "jeep", "warplane", "water bottle"],
    "val": ["tiger", "airliner", "jeep", "mountain bike"],
}


@pytest.fixture
def partimagenet(tmp_path) -> Store:
    manifest = load_manifest("partimagenet")
    info = DatasetInfo("partimagenet", "images", manifest.objects, manifest.vocabulary)
    rng = np.random.default_rng(3)
    (tmp_path / "data" / "images").mkdir(parents=True)
    with StoreWriter(tmp_path / "data", info, list(SHOWN)) as writer:
        for split, names in SHOWN.items():
            for number, name in enumerate(names):
                record = drawn(info, f"{split}_{number}", name, 40 + 3 * number, 67 - 5 * number)
                pixels = rng.integers(0, 256, (record.height, record.width, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / "data" / "images" / record.file_name)
                writer.add(split, record)
    return Store.open(tmp_path / "data")


def drawn(info: DatasetInfo, image_id: str, name: str, height: int, width: int) -> Record:
    """Cut the middle of the image into as many columns as the object has parts."""
    words = info.vocabulary.parts_of(name)
    edges = np.linspace(4, width - 6, len(words) + 1).astype(int)
    whole = np.zeros((height, width), bool)
    whole[5:-8, edges[0] : edges[-1]] = True
    parts = []
    for word, left, right in zip(words, edges, edges[1:], strict=False):
        mask = np.zeros_like(whole)
        mask[5:-8, left:right] = True
        pair = [(p.object, p.part) for p in info.vocabulary.pairs].index((name, word))
        parts.append(Part(1, pair, word, 1, Mask.encode(mask)))
    instance = Instance(1, info.objects.index(name), Mask.encode(whole), synthetic=True)
    return Record(image_id, f"{image_id}.JPEG", width, height, image_id, (instance,), tuple(parts))


@pytest.mark.training
def test_the_partimagenet_recipe_trains_on_seen_objects_and_is_tested_on_all(partimagenet, tmp_path):
    run = tmp_path / "run"
    done, steps = trained("partimagenet_zeroshot", partimagenet.folder, run, "train.eval_interval=3")
    assert is_sound(steps)
    assert done.images == 4  # a jeep is unseen: nothing to train on
    header = read_header(done.checkpoint)
    assert (header.dataset, header.recipe, header.step) == ("partimagenet", "partimagenet_zeroshot", 3)
    assert (sum(header.vocabulary.is_seen), len(header.vocabulary.seen().objects)) == (92, 25)
    scores = json.loads((run / "val.jsonl").read_text())["mIoU"]
    assert scores.keys() == {"seen", "unseen", "harmonic"}
    assert None not in scores.values()


@pytest.mark.training
def test_the_few_shot_recipe_trains_on_all_objects(partimagenet, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # as its head says; here with one shot
    made = split(partimagenet.folder, shots=1, unseen=[], out=Path("partimagenet_16shot.yaml"))
    run = tmp_path / "run"
    done, steps = trained(
        "partimagenet_fewshot", partimagenet.folder, run, "train.eval_interval=3", "train.select=best"
    )
    assert is_sound(steps)
    assert done.images == len(made.split.train) == 5  # the jeep too
    header = read_header(done.checkpoint)
    assert (sum(header.vocabulary.is_seen), len(header.vocabulary.pairs)) == (147, 147)
    scores = json.loads((run / "val.jsonl").read_text())["mIoU"]
    assert scores["seen"] is not None
    assert scores["unseen"] is None
