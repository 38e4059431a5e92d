"""`partseg demo`: the whole chain on pictures that we draw ourselves, offline, on a CPU, in minutes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image

from partseg_cli.data.splits import select
from partseg_cli.data.store import Store
from partseg_cli.devices import Compute
from partseg_cli.errors import PartsegError
from partseg_cli.overlay import contact_sheet, save_picture
from partseg_cli.pipeline.evaluate import Evaluated, evaluate
from partseg_cli.pipeline.predict import open_predictor, predict
from partseg_cli.pipeline.prepare import prepare
from partseg_cli.pipeline.progress import Track, silent
from partseg_cli.pipeline.sources import Drawing
from partseg_cli.pipeline.split import split
from partseg_cli.pipeline.train import train
from partseg_cli.pipeline.trial import open_trial
from partseg_cli.places import new_run
from partseg_cli.recipe import load_recipe
from partseg_cli.training.loop import Step

WORDS = (
    "cat's head",
    "cat's ear",
    "cat's leg",
    "dog's head",
    "dog's ear",
    "bus's wheel",
    "bus's window",
    "car's wheel",
)
STEPS = ("train.batch_size=1", "train.micro_batch=1", "train.lr=1.5e-3")
"""On few scenes many small steps learn more in the same time than few large ones."""
SHOWN = 4
"""Scenes of train, and of val, on the picture."""


@dataclass(frozen=True)
class Demonstrated:
    """What the demo made.

    Attributes:
        folder: with everything.
        evaluations: Oracle-Obj and Pred-All.
        pictures: to look at.
    """

    folder: Path
    evaluations: tuple[Evaluated, ...]
    pictures: tuple[Path, ...]


def demo(
    *,
    out: Path | None = None,
    images: int = 60,
    iterations: int = 1100,
    seed: int = 0,
    on_stage: Callable[[str], None] = lambda text: None,
    on_step: Callable[[Step], None] = lambda step: None,
    track: Track = silent,
) -> Demonstrated:
    """Draw, prepare, split, train, evaluate and predict."""
    folder = out or new_run("demo", "cartoon")
    data = folder / "data"
    on_stage(f"prepare: draw {images} cartoon scenes with exact part masks")
    prepare("cartoon-part", out=data, preview=2 * SHOWN, drawing=Drawing(images=images, seed=seed), track=track)
    on_stage("split: bird, car and dog stay unseen")
    divided = split(data)
    overrides = [
        "data.dataset=cartoon-part",
        f"data.root={data}",
        f"data.split={divided.path}",
        f"train.iterations={iterations}",
        *STEPS,
        f"train.seed={seed}",
    ]
    recipe = load_recipe("tiny", overrides)
    on_stage(f"train: {iterations} steps of recipes/tiny.yaml on the seen objects")
    trained = train(recipe, out=folder / "train", device="cpu", command="partseg demo", on_step=on_step)
    on_stage("evaluate: val scenes, told the object (oracle-obj) and told nothing (pred-all)")
    evaluations = tuple(
        evaluate(
            open_trial(recipe, protocol=protocol),
            checkpoint=trained.checkpoint,
            name=recipe.name,
            out=folder / "evaluate" / protocol,
            compute=Compute(torch.device("cpu")),
            track=track,
        )
        for protocol in ("oracle-obj", "pred-all")
    )
    on_stage(f"predict, on {SHOWN} scenes of train and {SHOWN} new ones: {', '.join(WORDS)}")
    shown = [*divided.split.train[:SHOWN], *divided.split.val[:SHOWN]]
    picture = _predict(folder, trained.checkpoint, Store.open(data), shown)
    return Demonstrated(folder, evaluations, (data / "preview.png", picture))


def _predict(folder: Path, checkpoint: Path, store: Store, image_ids: Sequence[str]) -> Path:
    """Predict scenes and put the overlays on one sheet: in the upper row trained ones, in the lower row new ones."""
    photos = [store.photo(store.records(name)[index]) for name, index in select(store, image_ids)]
    compute = Compute(torch.device("cpu"))
    tiles = []
    for prediction in predict(
        open_predictor(WORDS, checkpoint=checkpoint, compute=compute), photos, folder / "predict"
    ):
        if prediction.error is not None:
            raise PartsegError(f"{prediction.photo}: must be predictable, got {prediction.error}")
        tiles.append(Image.open(prediction.files[0]).convert("RGB"))
    path = folder / "predictions.png"
    save_picture(path, contact_sheet(tiles, columns=SHOWN))
    return path
