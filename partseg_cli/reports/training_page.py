"""HTML page and loss plot of a training run, from its run directory and predictions of its model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
import yaml

from partseg_cli.data.record import RecordKey
from partseg_cli.data.splits.split import Split
from partseg_cli.data.store import Store
from partseg_cli.errors import DataError
from partseg_cli.evaluation.counts import ConfusionTable
from partseg_cli.evaluation.evaluator import Evaluator
from partseg_cli.evaluation.spec import EvalSubset
from partseg_cli.io.atomic import write_text
from partseg_cli.io.label_maps import write_png
from partseg_cli.reports.curve_plots import SVG_SIZE, build_plots, hover_columns, plot_losses, plot_svg
from partseg_cli.reports.curves import Curves, read_curves
from partseg_cli.reports.error_analysis import ImageScore, image_scores
from partseg_cli.reports.figures import PredictionCard, draw_prediction, evenly_spaced
from partseg_cli.reports.pages import render_page
from partseg_cli.reports.results import percent
from partseg_cli.vocabulary import Vocabulary

PAGE, LOSS_PLOT = "run.html", "loss.png"


@dataclass(frozen=True)
class TrainingInfo:
    """Description of a run in addition to its curves.

    Attributes:
        title: Name of the run.
        iterations: Total number of steps, 0 = unknown.
        batch_size: Images per step, 0 = unknown.
        recipe: YAML of the recipe.
        command: Command that started the run.
        facts: Machine, data, versions and time, by name.
    """

    title: str
    iterations: int = 0
    batch_size: int = 0
    recipe: str = ""
    command: str = ""
    facts: Mapping[str, object] = field(default_factory=dict)


def write_training_page(
    folder: Path, *, store: Store, split: Split, predict: Evaluator | None = None, number: int = 4
) -> tuple[Path, Path]:
    """Write `run.html` and `loss.png` into a run directory; nothing random is drawn.

    Args:
        folder: Run directory with its logs so far.
        store: Training dataset.
        split: Images of train and val.
        predict: Function that predicts and counts images of val by Pred-All; None leaves the predictions out.
        number: Maximum number of images to predict.

    Returns:
        Paths of both files.
    """
    curves, info = read_curves(folder), _read_info(folder, store, split)
    images = []
    if predict is not None:
        keys, vocabulary = [key for key in store.record_keys(split.val) if store[key].parts], split.vocabulary(store)
        chosen = [keys[i] for i in evenly_spaced(len(keys), min(number, len(keys)))]
        images = [_predict(predict, store, key, vocabulary) for key in chosen]
    page, plot = folder / PAGE, folder / LOSS_PLOT
    write_png(plot, plot_losses(curves, f"{info.title}, step {curves.last:,}"))
    write_text(page, training_page(info, curves, images))
    return page, plot


def training_page(info: TrainingInfo, curves: Curves, images: Sequence[PredictionCard] = ()) -> str:
    """Render the page.

    Args:
        info: Description of the run.
        curves: Logged values so far.
        images: Predictions to show.
    """
    done = min(1.0, curves.last / info.iterations) if info.iterations else 0.0
    groups = list(dict.fromkeys(group for score in curves.scores for group in score.miou))
    return render_page(
        "training_page",
        title=info.title,
        about=_progress(info, curves, done),
        percent_done=f"{100 * done:.1f}",
        cards=_headline(curves),
        plots=[(plot, plot_svg(plot, name), hover_columns(plot)) for name, plot in build_plots(curves).items()],
        plot_size=SVG_SIZE,
        score_columns=["step", "protocol", *(f"mIoU {group}" for group in groups)],
        scores=[
            (score.step, score.protocol, *(percent(score.miou.get(group)) for group in groups))
            for score in curves.scores
        ],
        images=images,
        command=info.command,
        recipe=info.recipe,
        facts=info.facts,
    )


def _progress(info: TrainingInfo, curves: Curves, done: float) -> str:
    """Return the number of steps done, the time taken and the speed."""
    text = f"step {curves.last:,}"
    if info.iterations:
        text += f" of {info.iterations:,} ({100 * done:.0f} %)"
    if len(curves.seconds):
        text += f"; {format_time(curves.elapsed)} of training and evaluation"
    if curves.pace and info.batch_size:
        text += f"; {info.batch_size / curves.pace:.3g} images per second"
    return text


def format_time(seconds: float) -> str:
    """Format hours, minutes and seconds.

    >>> format_time(3671.5)
    '1:01:11'
    """
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def _headline(curves: Curves) -> list[tuple[str, str]]:
    """Return the running mean of the loss and the scores of the last validation, by name."""
    cards = []
    if total := curves.terms.get("total"):
        cards.append(("total loss, running mean", f"{total.smoothed().values[-1]:.4g}"))
    if curves.scores:
        last = curves.scores[-1]
        cards += [(f"mIoU {group}, {last.protocol}, step {last.step:,}", percent(v)) for group, v in last.miou.items()]
    return cards


def _read_info(folder: Path, store: Store, split: Split) -> TrainingInfo:
    """Read the files of a run directory; those that are missing leave fields empty."""

    def read(name: str) -> str:
        path = folder / name
        return path.read_text(encoding="utf-8") if path.is_file() else ""

    recipe = read("recipe.yaml")
    train = (yaml.safe_load(recipe) or {}).get("train", {}) if recipe else {}
    environment: dict[str, Any] = json.loads(read("env.json") or "{}")
    versions = environment.pop("versions", {})
    facts = {
        "folder": str(folder),
        "written": datetime.now().astimezone().isoformat(sep=" ", timespec="seconds"),
        "dataset": store.info.name,
        "training images": len(split.train),
        "val images": len(split.val),
        **{name.replace("_", " "): _plain(value) for name, value in environment.items()},
        **versions,
    }
    batch_size, iterations = train.get("batch_size", 0), train.get("iterations", 0)
    return TrainingInfo(str(folder), iterations, batch_size, recipe, read("command.txt").strip(), facts)


def _plain(value: object) -> object:
    """Convert a JSON value to a number or a text."""
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return value if isinstance(value, int | str) else json.dumps(value)


def _predict(predict: Evaluator, store: Store, key: RecordKey, vocabulary: Vocabulary) -> PredictionCard:
    """Predict and draw one image; one that cannot be read is drawn as such."""
    record = store[key]
    score = ImageScore(record.image_id, 0.0, {}, 0)
    try:
        (counted,) = predict(EvalSubset([key]))
    except DataError:  # the card names the reason
        prediction = torch.full((record.height, record.width), -1)
    else:
        prediction, table = counted.prediction, ConfusionTable(len(vocabulary.pairs))
        for sample in counted.samples:
            table.add(counted.image_id, sample)
        score = next(image_scores(table, vocabulary), score) if counted.samples else score
    return draw_prediction(store, key.split, record, prediction.numpy(), vocabulary, score)
