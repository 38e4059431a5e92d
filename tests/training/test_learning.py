"""That training learns: shortly on drawn scenes, and longer on real photos."""

from pathlib import Path

import pytest
import torch

from partseg_cli.config.recipe import load_recipe
from partseg_cli.data.converters.plan import CartoonOptions
from partseg_cli.data.splits.split import published_split
from partseg_cli.data.store import Store
from partseg_cli.inference.segmenter import load_segmenter
from partseg_cli.pipeline.evaluate import evaluate_model
from partseg_cli.pipeline.prepare import prepare
from partseg_cli.pipeline.train import TrainOptions, train
from partseg_cli.runtime.devices import InferenceConfig

pytestmark = pytest.mark.training

CPU = InferenceConfig(torch.device("cpu"))


def overfit(data: Path, out: Path, overrides: list[str]) -> tuple[float, float]:
    """Give the seen Oracle-Obj mIoU on the training photos, before and after."""
    store = Store.open(data)
    scores = []
    for name, more in (("before", ["train.iterations=1", "train.lr=1e-9"]), ("after", [])):
        recipe = load_recipe("tiny", [f"data.root={data}", "data.flip=0", *overrides, *more])
        trained = train(recipe, TrainOptions(out=out / name, device="cpu"))
        model, _ = load_segmenter(trained.checkpoint, CPU)
        result = evaluate_model(model, store, published_split(store), "oracle-obj", split_name="train")
        scores.append(result.miou["seen"])
    return scores[0], scores[1]


def test_a_short_training_learns_the_scenes_that_it_is_shown(tmp_path):
    prepare("cartoon-part", out=tmp_path / "data", drawing=CartoonOptions(images=2, seed=3, size=96))
    overrides = ["model.image_size=48", "train.iterations=120", "train.batch_size=1", "train.micro_batch_size=1"]
    before, after = overfit(tmp_path / "data", tmp_path, overrides)
    assert before < 10
    assert after > 25


def test_parts_of_unseen_objects_are_found_after_a_short_training_on_seen_ones(tmp_path):
    """From the bundled start against the same model before it learned anything."""
    prepare("cartoon-part", out=tmp_path / "data", drawing=CartoonOptions(images=160, seed=11, size=96))
    store, scores = Store.open(tmp_path / "data"), {}
    for name, overrides in (("before", ["model.init=random", "train.iterations=1", "train.lr=1e-9"]), ("after", [])):
        few = ["train.iterations=60", "train.batch_size=2"]
        recipe = load_recipe("cartoon", [f"data.root={store.folder}", *few, *overrides])
        trained = train(recipe, TrainOptions(out=tmp_path / name, device="cpu"))
        model, _ = load_segmenter(trained.checkpoint, CPU)
        scores[name] = evaluate_model(model, store, published_split(store), "oracle-obj").miou
    print(f"Oracle-Obj mIoU on val: {scores['before']} before, {scores['after']} after")
    assert scores["before"]["unseen"] < 6
    assert scores["after"]["unseen"] > 13


@pytest.mark.slow
def test_the_tiny_model_learns_the_real_photos_by_heart(samples, tmp_path):
    prepare("pascal-part-116", source=samples / "pascal_part", out=tmp_path / "data")
    before, after = overfit(tmp_path / "data", tmp_path, ["train.iterations=800"])
    print(f"seen Oracle-Obj mIoU on the training photos: {before:.2f} before, {after:.2f} after")
    assert before < 10
    assert after > 60
