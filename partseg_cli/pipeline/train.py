"""`partseg train`: a recipe -> a run folder with checkpoints."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from partseg_cli.data.loader import TrainSet, Views
from partseg_cli.data.splits import Split
from partseg_cli.data.store import Store
from partseg_cli.devices import Compute, choose_device, memory_watch
from partseg_cli.errors import RecipeError, UsageError
from partseg_cli.evaluators.summary import Result
from partseg_cli.files import disk_error, write_json, write_text
from partseg_cli.losses.total import PartSegLoss
from partseg_cli.pipeline.evaluate import score
from partseg_cli.pipeline.models import Opened, build_model
from partseg_cli.pipeline.trial import open_data
from partseg_cli.places import new_run
from partseg_cli.recipe import Recipe
from partseg_cli.report import versions
from partseg_cli.training.checkpoint import Header, save_checkpoint, save_state
from partseg_cli.training.loop import Loop, Step, choose_precision, loop_state
from partseg_cli.training.optimizer import build_optimizer, poly_schedule
from partseg_cli.vocabulary import Vocabulary

BEST_BY = "oracle-obj"
"""Protocol by which `train.select: best` and best.safetensors are chosen."""


@dataclass(frozen=True)
class Trained:
    """A run that is done.

    Attributes:
        folder: of the run.
        checkpoint: the selected one.
        last: the last step.
        images: number of photos that it was trained on.
    """

    folder: Path
    checkpoint: Path
    last: Step
    images: int


def train(
    recipe: Recipe,
    *,
    out: Path | None = None,
    device: str = "auto",
    gpus: str | None = None,
    command: str = "",
    on_start: Callable[[Path, int], None] = lambda folder, images: None,
    on_step: Callable[[Step], None] = lambda step: None,
    on_score: Callable[[int, Result], None] = lambda step, result: None,
) -> Trained:
    """Train by a recipe.

    Args:
        recipe: what to do.
        out: run folder, new or empty; default `runs/train/<recipe>-N`.
        device: auto, cpu, cuda, cuda:N or mps.
        gpus: as given on the command line.
        command: that is noted in the run folder.
        on_start: told the run folder and the number of training images.
        on_step: told of every step.
        on_score: told of every evaluation on val.
    """
    where = choose_device(device, gpus)
    if recipe.model.name != "partclipseg":
        raise RecipeError(f"{recipe.name}: model.name must be partclipseg to be trained, got {recipe.model.name}")
    _check_free(out)
    store, division = open_data(recipe.data)
    vocabulary = division.vocabulary(store)
    samples = TrainSet(store, division.images("train"), vocabulary, _views(recipe), recipe.train.seed)
    with memory_watch("lower train.micro_batch or model.image_size"):
        loop = _build(recipe, vocabulary.seen(), where)
        folder = out or new_run("train", recipe.name)
        run = Run(folder, recipe, vocabulary, store.info.name)
        run.open(command)
        on_start(folder, len(samples))
        batches = samples.batches(
            images=recipe.train.micro_batch,
            start=0,
            stop=recipe.train.iterations * recipe.train.batch_size,
            workers=recipe.data.workers,
        )
        for step in loop.run(batches, first=1, last=recipe.train.iterations):
            on_step(step)
            run.log(step)
            is_last = step.number == recipe.train.iterations
            if is_last or step.number % recipe.train.save_every == 0:
                run.save("last", loop, step.number)
            if _is_due(step.number, recipe):
                result = _score(loop.model, store, division, recipe, where)
                on_score(step.number, result)
                run.consider(loop, step.number, result)
    return Trained(folder, run.select(), step, len(samples))


def _check_free(out: Path | None) -> None:
    if out is not None and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"--out must be a new or empty folder, got {out}; name another or remove it")


def _views(recipe: Recipe) -> Views:
    data = recipe.data
    return Views(
        image_size=recipe.model.image_size,
        shortest_edge=data.shortest_edge,
        longest_edge=data.longest_edge,
        flip=data.flip,
        train_channel_order=data.train_channel_order,
        unlabelled_objects=data.unlabelled_objects,
    )


def _build(recipe: Recipe, training: Vocabulary, device: torch.device) -> Loop:
    """Build model, loss, optimizer and schedule, and hand them to the loop."""
    torch.manual_seed(recipe.train.seed)
    try:
        model = build_model(recipe.model).to(device)
    except RecipeError as error:
        raise RecipeError(f"{recipe.name}: {error}") from error
    index = (torch.tensor(rows, device=device) for rows in (training.part_of, training.object_of))
    optimizer = build_optimizer(model, lr=recipe.train.lr, weight_decay=recipe.train.weight_decay)
    return Loop(
        forward=partial(model, vocabulary=training, for_loss=True, recompute=recipe.train.recompute_decoder),
        model=model,
        loss=PartSegLoss(*index, **asdict(recipe.loss)),
        optimizer=optimizer,
        schedule=poly_schedule(optimizer, iterations=recipe.train.iterations, power=recipe.train.power),
        accumulate=recipe.train.batch_size // recipe.train.micro_batch,
        clip_norm=recipe.train.clip_norm,
        device=device,
        precision=choose_precision(recipe.train.precision, device),
    )


def _is_due(step: int, recipe: Recipe) -> bool:
    every = recipe.train.evaluate_every
    return every > 0 and (step % every == 0 or step == recipe.train.iterations)


def _score(model: nn.Module, store: Store, division: Split, recipe: Recipe, device: torch.device) -> Result:
    return score(Opened(model.eval(), recipe.model, Compute(device)), store, division, BEST_BY)


class Run:
    """The folder of one run: recipe, environment, metrics, checkpoints."""

    def __init__(self, folder: Path, recipe: Recipe, vocabulary: Vocabulary, dataset: str) -> None:
        self.folder, self.recipe = folder, recipe
        self.vocabulary, self.dataset = vocabulary, dataset
        self.checkpoints = folder / "checkpoints"
        self._best = -1.0
        self._started = time.monotonic()

    def open(self, command: str) -> None:
        """Note what is run, with what, where."""
        write_text(self.folder / "recipe.yaml", self.recipe.to_yaml())
        write_text(self.folder / "command.txt", command + "\n")
        devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        about: dict[str, Any] = {"versions": versions(), "platform": platform.platform(), "cuda_devices": devices}
        write_json(self.folder / "env.json", about)

    def log(self, step: Step) -> None:
        """Add a line to `metrics.jsonl`: step, lr, every loss by name, gradient norm, seconds since the start."""
        line = {"step": step.number, "lr": step.lr, **step.losses, "grad_norm": step.grad_norm}
        line["seconds"] = round(time.monotonic() - self._started, 3)
        path = self.folder / "metrics.jsonl"
        try:
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as error:
            raise disk_error(path, error) from error

    def save(self, name: str, loop: Loop, step: int) -> None:
        """Write `<name>.safetensors`, and for "last" the state beside it."""
        header = Header(asdict(self.recipe.model), self.vocabulary, self.dataset, self.recipe.name, step)
        save_checkpoint(self.checkpoints / f"{name}.safetensors", loop.model, header)
        if name == "last":
            save_state(self.checkpoints / "last.state", loop_state(loop, step))

    def consider(self, loop: Loop, step: int, result: Result) -> None:
        """Keep the weights as `best` if they score better on val than any before (harmonic, else seen mIoU)."""
        write_json(self.folder / "val.json", {"step": step, "protocol": result.protocol, "mIoU": result.miou})
        harmonic, seen = result.miou["harmonic"], result.miou["seen"]
        value = harmonic if harmonic is not None else seen or 0.0
        if value > self._best:
            self._best = value
            self.save("best", loop, step)

    def select(self) -> Path:
        """Note which checkpoint `train.select` chose, and give it."""
        name = f"{self.recipe.train.select}.safetensors"
        write_json(self.checkpoints / "selected.json", {"file": name, "rule": self.recipe.train.select})
        return self.checkpoints / name
