"""`partseg demo`: the whole chain on cartoon scenes that are drawn here, offline, on a CPU, in minutes."""

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
from partseg_cli.evaluation.rules import GROUPS
from partseg_cli.io.atomic import write_text
from partseg_cli.io.label_maps import write_png
from partseg_cli.io.paths import check_new_folder, create_run_dir, packaged_weights
from partseg_cli.pipeline.evaluate import EvaluateResult, build_eval_spec, evaluate
from partseg_cli.pipeline.predict import open_predictor, predict
from partseg_cli.pipeline.prepare import prepare
from partseg_cli.pipeline.split import split
from partseg_cli.pipeline.train import TrainOptions, train
from partseg_cli.reports.figures import data_uri
from partseg_cli.reports.overlay import contact_sheet
from partseg_cli.reports.pages import render_page
from partseg_cli.reports.results import percent
from partseg_cli.runtime.devices import InferenceConfig
from partseg_cli.runtime.pool import Track, silent
from partseg_cli.training.loggers import Step

ABOUT = (
    "Cartoon scenes with exact part masks. The model was trained on the parts of eleven objects; it has never been "
    "shown a part of a bird, a car, a dog, a motorbike or a sheep. Its CLIP and the start of its decoder come with the "
    "package: both know all sixteen objects by name, and parts of the eleven alone."
)
QUERY = (
    *("dog's ear", "dog's tail", "dog's leg", "bird's wing", "bird's head", "car's wheel", "car's window"),
    *("cat's ear", "bus's wheel", "bottle's cap"),
)
SIZE = 192
"""Edge of a scene in pixels."""
SHOWN = 8
"""Number of scenes in the figures."""
PROTOCOLS = ("oracle-obj", "pred-all")
CPU = InferenceConfig(torch.device("cpu"))


@dataclass(frozen=True)
class DemoResult:
    """Result of the demo.

    Attributes:
        folder: Folder of all files.
        evaluations: Evaluations of the trained model, by Oracle-Obj and Pred-All.
        bundled: Evaluations of the model that is packaged.
        page: HTML page that shows everything.
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
) -> DemoResult:
    """Draw, prepare, split, train, evaluate and predict.

    Args:
        out: Folder of all files; None = `runs/demo/cartoon-N`.
        images: Number of scenes to draw.
        iterations: Number of training steps.
        seed: Seed of scenes and training.
        on_stage: Callback for a line that describes the next stage.
        on_step: Callback for each training step.
        track: Progress display.
    """
    if out is not None:
        check_new_folder(out)
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
    on_stage("evaluate: val scenes, with the object given (oracle-obj) and without (pred-all)")
    own = _evaluate(recipe, trained.checkpoint, folder / "evaluate", track)
    bundled = _evaluate(recipe, packaged_weights("nano"), folder / "evaluate-nano", track)
    on_stage(f"predict {SHOWN} new scenes: {', '.join(QUERY)}")
    overlays = _predict(folder, trained.checkpoint, Store.open(data), divided.split.val)
    page = folder / "demo.html"
    write_text(page, _page(command, own, bundled, data / "preview.png", overlays))
    return DemoResult(folder, own, bundled, page)


def _evaluate(recipe: Recipe, checkpoint: Path, folder: Path, track: Track) -> tuple[EvaluateResult, ...]:
    results = (
        evaluate(
            build_eval_spec(recipe, protocol=protocol),
            checkpoint=checkpoint,
            name=recipe.name,
            out=folder / protocol,
            device="cpu",
            track=track,
        )
        for protocol in PROTOCOLS
    )
    return tuple(result for result in results if isinstance(result, EvaluateResult))


def _predict(folder: Path, checkpoint: Path, store: Store, image_ids: Sequence[str]) -> Path:
    """Predict scenes that hold objects of the query alone, if there are any, and write their overlays on one sheet."""
    objects = {term.partition("'")[0] for term in QUERY}
    records = [store[key] for key in store.record_keys(image_ids)]
    chosen = [r for r in records if {store.info.objects[obj.category] for obj in r.objects} <= objects] or records
    tiles = []
    predictor = open_predictor(QUERY, checkpoint=checkpoint, device="cpu")
    for prediction in predict(predictor, [store.image_path(record) for record in chosen[:SHOWN]], folder / "predict"):
        if prediction.error is not None:
            raise PartsegError(f"{prediction.path}: must be predictable, got {prediction.error}")
        tiles.append(Image.open(prediction.files[0]).convert("RGB"))
    path = folder / "predictions.png"
    write_png(path, contact_sheet(tiles, columns=SHOWN // 2, edge=480))
    return path


def _page(
    command: str, own: Sequence[EvaluateResult], bundled: Sequence[EvaluateResult], preview: Path, overlays: Path
) -> str:
    results = [
        (name, each.result) for name, both in (("trained just now", own), ("bundled nano", bundled)) for each in both
    ]
    first = results[0][1]
    return render_page(
        "demo_page",
        title="partseg demo",
        about=ABOUT,
        command=command,
        query=QUERY,
        preview=data_uri(Image.open(preview), "PNG"),
        predictions=data_uri(Image.open(overlays), "PNG"),
        groups=GROUPS,
        scores=[(name, r.protocol, *(percent(r.miou[group]) for group in GROUPS)) for name, r in results],
        protocol=first.protocol,
        classes=[(row["name"], "seen" if row["seen"] else "unseen", percent(row["iou"])) for row in first.per_class],
    )
