"""The page and the picture of a training run, made from what its folder holds and from its model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn

from partseg_cli.data.record import RecordKey
from partseg_cli.data.splits.split import Split
from partseg_cli.data.store import Store
from partseg_cli.errors import DataError
from partseg_cli.evaluation.confusion_table import ConfusionTable
from partseg_cli.evaluation.evaluator import by_model
from partseg_cli.evaluation.samples import SampleConfig
from partseg_cli.evaluation.spec import EvalSpec
from partseg_cli.inference.segmenter import Segmenter
from partseg_cli.io.atomic import write_text
from partseg_cli.io.label_maps import write_png
from partseg_cli.reports.curves.history import read_curves
from partseg_cli.reports.curves.picture import loss_plot
from partseg_cli.reports.error_analysis import ImageScore, image_scores
from partseg_cli.reports.prediction_cards import PredictionCard, compare
from partseg_cli.reports.training_page import RunNotes, run_page

PAGE, PICTURE = "run.html", "loss.png"


def write_run_page(
    folder: Path, *, model: Segmenter | None, store: Store, split: Split, number: int = 4
) -> tuple[Path, Path]:
    """Write `run.html` and `loss.png` into a run folder.

    The model predicts in evaluation mode and is left in the mode in which it was; nothing random is drawn.

    Args:
        folder: of the run, with what it has noted so far.
        model: that predicts photos; None: the page has none.
        store: that is trained on.
        split: which of its photos are train and val.
        number: of photos to predict, at most.

    Returns:
        The paths of both.
    """
    curves = read_curves(folder)
    notes = _notes(folder, store, split)
    images = _predicted(model, store, split, number) if model is not None else []
    page, picture = folder / PAGE, folder / PICTURE
    write_png(picture, loss_plot(curves, f"{notes.title}, step {curves.last:,}"))
    write_text(page, run_page(notes, curves, images))
    return page, picture


def _notes(folder: Path, store: Store, split: Split) -> RunNotes:
    """Read what the folder says of the run; what is missing there stays empty."""
    recipe = _read(folder / "recipe.yaml")
    train = (yaml.safe_load(recipe) or {}).get("train", {}) if recipe else {}
    about: dict[str, Any] = json.loads(_read(folder / "env.json") or "{}")
    versions = about.pop("versions", {})
    facts = {
        "folder": str(folder),
        "written": datetime.now().astimezone().isoformat(sep=" ", timespec="seconds"),
        "data set": store.info.name,
        "training images": len(split.train),
        "val images": len(split.val),
        **{name.replace("_", " "): _plain(value) for name, value in about.items()},
        **versions,
    }
    size = train.get("batch_size", 0)
    return RunNotes(str(folder), train.get("iterations", 0), size, recipe, _read(folder / "command.txt").strip(), facts)


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def _plain(value: object) -> object:
    """Give a value of a JSON document as a page shows it."""
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return value if isinstance(value, int | str) else json.dumps(value)


def _predicted(model: Segmenter, store: Store, split: Split, number: int) -> list[PredictionCard]:
    """Predict and draw some photos of val by Pred-All."""
    trial = EvalSpec(store, split, "val", "pred-all", SampleConfig(store.info.sample))
    with _evaluating(model.model):
        return [_draw(model, trial, key) for key in _chosen(store, split, number)]


def _chosen(store: Store, split: Split, number: int) -> list[RecordKey]:
    """Choose photos with parts, evenly spread over val."""
    keys = [key for key in store.record_keys(split.val) if store[key].parts]
    count = min(number, len(keys))
    return [keys[(2 * i + 1) * len(keys) // (2 * count)] for i in range(count)]


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Set evaluation mode, and at the end the mode in which each module was."""
    before = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        model.train(before[0][1])
        for module, is_training in before:
            module.training = is_training


def _draw(model: Segmenter, trial: EvalSpec, key: RecordKey) -> PredictionCard:
    """Predict and draw one photo; one that cannot be read is shown as such."""
    record = trial.store[key]
    score = ImageScore(record.image_id, 0.0, {}, 0)
    try:
        (counted,) = by_model(model, trial)([key], None)
    except DataError:  # `compare` says why, below the grey picture
        prediction = torch.full((record.height, record.width), -1)
    else:
        prediction, table = counted.prediction, ConfusionTable(len(trial.vocabulary.pairs))
        for sample in counted.samples:
            table.add(counted.image_id, sample)
        score = next(image_scores(table, trial.vocabulary), score) if counted.samples else score
    return compare(trial.store, key.split, record, prediction.numpy(), trial.vocabulary, score)
