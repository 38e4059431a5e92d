"""`partseg demo`: the whole chain on pictures that we draw ourselves, offline, on a CPU, in minutes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image

from partseg_cli.config.recipe import Recipe, load_recipe
from partseg_cli.data.converters.plan import CartoonOptions
from partseg_cli.data.store import Store
from partseg_cli.errors import PartsegError
from partseg_cli.evaluation.spec import build_eval_spec
from partseg_cli.io.atomic import write_text
from partseg_cli.io.label_maps import write_png
from partseg_cli.io.paths import create_run_dir, packaged_weights
from partseg_cli.pipeline.evaluate import EvaluateResult, evaluate
from partseg_cli.pipeline.predict import open_predictor, predict
from partseg_cli.pipeline.prepare import prepare
from partseg_cli.pipeline.split import split
from partseg_cli.pipeline.train import train
from partseg_cli.reports.demo_page import demo_page
from partseg_cli.reports.overlay import contact_sheet
from partseg_cli.runtime.devices import InferenceConfig
from partseg_cli.runtime.pool import Track, silent
from partseg_cli.training.engine import TrainOptions
from partseg_cli.training.loop import Step
from partseg_cli.training.resume import check_free

WORDS = (
    "dog's ear",
    "dog's tail",
    "dog's leg",
    "bird's wing",
    "bird's head",
    "car's wheel",
    "car's window",
    "cat's ear",
    "bus's wheel",
    "bottle's cap",
)
SIZE = 192
"""Pixels of a scene's edge."""
SHOWN = 8
"""Scenes on the pictures."""
PROTOCOLS = ("oracle-obj", "pred-all")
CPU = InferenceConfig(torch.device("cpu"))


@dataclass(frozen=True)
class Demonstrated:
    """What the demo made.

    Attributes:
        folder: with everything.
        evaluations: of the model that was trained just now, under Oracle-Obj and Pred-All.
        bundled: of the model that comes with the package.
        page: HTML that shows it all.
    """

    folder: Path
    evaluations: tuple[EvaluateResult, ...]
    bundled: tuple[EvaluateResult, ...]
    page: Path


def demo(
    *,
    out: Path | None = None,
    images: int = 240,
    iterations: int = 200,
    seed: int = 0,
    on_stage: Callable[[str], None] = lambda text: None,
    on_step: Callable[[Step], None] = lambda step: None,
    track: Track = silent,
) -> Demonstrated:
    """Draw, prepare, split, train, evaluate and predict."""
    check_free(out)
    folder = out or create_run_dir("demo", "cartoon")
    data = folder / "data"
    on_stage(f"prepare: draw {images} cartoon scenes with exact part masks")
    drawing = CartoonOptions(images=images, seed=seed, size=SIZE)
    prepare("cartoon-part", out=data, preview=SHOWN, drawing=drawing, track=track)
    on_stage("split: bird, car, dog, motorbike and sheep stay unseen")
    divided = split(data)
    overrides = (f"data.root={data}", f"data.split={divided.path}", f"train.iterations={iterations}")
    recipe = load_recipe("cartoon", [*overrides, f"train.seed={seed}"])
    command = f"{iterations} steps of recipes/cartoon.yaml"
    on_stage(f"train: {command} on the seen objects, from the bundled start")
    options = TrainOptions(out=folder / "train", device="cpu", command="partseg demo", on_step=on_step)
    trained = train(recipe, options)
    on_stage("evaluate: val scenes, told the object (oracle-obj) and told nothing (pred-all)")
    own = _evaluate(recipe, trained.checkpoint, folder / "evaluate", track)
    bundled = _evaluate(recipe, packaged_weights("nano"), folder / "evaluate-nano", track)
    on_stage(f"predict {SHOWN} new scenes: {', '.join(WORDS)}")
    picture = _predict(folder, trained.checkpoint, Store.open(data), divided.split.val)
    page = folder / "demo.html"
    results = {"trained just now": own, "bundled nano": bundled}
    text = demo_page(
        command=command,
        results={name: [one.result for one in each] for name, each in results.items()},
        words=WORDS,
        preview=data / "preview.png",
        predictions=picture,
    )
    write_text(page, text)
    return Demonstrated(folder, own, bundled, page)


def _evaluate(recipe: Recipe, checkpoint: Path, folder: Path, track: Track) -> tuple[EvaluateResult, ...]:
    return tuple(
        evaluate(
            build_eval_spec(recipe, protocol=protocol),
            checkpoint=checkpoint,
            name=recipe.name,
            out=folder / protocol,
            compute=CPU,
            track=track,
        )
        for protocol in PROTOCOLS
    )


def _predict(folder: Path, checkpoint: Path, store: Store, image_ids: Sequence[str]) -> Path:
    """Predict scenes with something to find, and put the overlays on one sheet."""
    asked = {word.partition("'")[0] for word in WORDS}
    records = [store[key] for key in store.record_keys(image_ids)]
    telling = [
        r for r in records if {store.info.objects[instance.category] for instance in r.objects} <= asked
    ] or records
    tiles = []
    predictor = open_predictor(WORDS, checkpoint=checkpoint, device="cpu")
    for prediction in predict(predictor, [store.image_path(record) for record in telling[:SHOWN]], folder / "predict"):
        if prediction.error is not None:
            raise PartsegError(f"{prediction.path}: must be predictable, got {prediction.error}")
        tiles.append(Image.open(prediction.files[0]).convert("RGB"))
    path = folder / "predictions.png"
    write_png(path, contact_sheet(tiles, columns=SHOWN // 2, edge=480))
    return path
