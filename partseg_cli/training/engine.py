"""What the training of every task shares: who takes part, where a run begins or goes on, and its way to the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar, runtime_checkable

import torch

from partseg_cli.config.recipe import AnyRecipe, Recipe
from partseg_cli.data.resolver import open_data
from partseg_cli.data.splits.split import Split
from partseg_cli.data.store import Store
from partseg_cli.errors import PartsegError
from partseg_cli.evaluation.metrics import EvalResult
from partseg_cli.io.paths import create_run_dir
from partseg_cli.runtime.devices import keep_freed_memory, memory_watch, plan_devices
from partseg_cli.runtime.pool import usable_cores
from partseg_cli.runtime.process_group import Layout, ProcessGroup, limit_threads
from partseg_cli.runtime.signals import Stop
from partseg_cli.training.batch_share import share_batch
from partseg_cli.training.loggers import check_loggers, open_loggers
from partseg_cli.training.loop import AnyBatch, Loop, NotFiniteError, Step
from partseg_cli.training.resume import check_state, find_run
from partseg_cli.training.run_dir import ReadOnlyRunDir, RunDir, RunSignature, TrainResult

ItsBatch = TypeVar("ItsBatch", covariant=True)
Assess = Callable[[int], EvalResult | None]
"""Scores the model after a step where that is due; of several processes only the first one gets the result."""


@dataclass(frozen=True)
class TrainOptions:
    """What the command line says of a run, and whom it asks to be told.

    Attributes:
        out: run folder, new or empty; None: `runs/train/<recipe>-N`.
        resume: "auto" or the folder of the run that goes on; None: a new one begins.
        device: auto, cpu, cuda, cuda:N or mps.
        command: that is noted in the run folder.
        loggers: other places that are told, "tensorboard" and "wandb".
        stop: tells whether to stop after the step.
        on_start: told the run folder, the number of training images, and the step it goes on after.
        on_step: told of every step.
        on_score: told step, protocol and mIoU of every evaluation on val.
        log: Callback for one-line status messages.
    """

    out: Path | None = None
    resume: str | None = None
    device: str = "auto"
    command: str = ""
    loggers: tuple[str, ...] = ()
    stop: Stop = field(default_factory=Stop)
    on_start: Callable[[Path, int, int], None] = lambda folder, images, step: None
    on_step: Callable[[Step], None] = lambda step: None
    on_score: Callable[[int, str, dict[str, float | None]], None] = lambda step, protocol, miou: None
    log: Callable[[str], None] = lambda line: None


class TrainContext(NamedTuple):
    """What a run works with, whatever its task.

    Attributes:
        store: the labelled photos.
        split: which of them train.
        device: of this process.
        run: its folder.
    """

    store: Store
    split: Split
    device: torch.device
    run: RunDir


@runtime_checkable
class Samples(Protocol[ItsBatch]):
    """What is trained on, by the numbers of its samples."""

    def __len__(self) -> int: ...

    def batches(self, *, images: int, sample_ids: Sequence[int], workers: int) -> Iterator[ItsBatch]: ...  # noqa: D102


@contextmanager
def training_context(recipe: AnyRecipe, options: TrainOptions) -> Iterator[TrainContext]:
    """Join the team that torchrun, if any, has put this process in, and find data and folder of the run.

    Nothing is written yet.

    Raises:
        UsageError: a logger is unknown or not installed, the device is not there, or the folder holds something else or
            a run of another recipe.
        DataError: the data are not there, or have changed since the run began.
        CheckpointError: what the run has saved is broken.
        OutOfMemoryError: the block runs out of memory.
    """
    check_loggers(options.loggers)
    plan = plan_devices(options.device)
    team, device = plan.process_group, plan.devices[0]
    limit_threads(team, usable_cores())
    keep_freed_memory()
    with team.connected(device), memory_watch(memory_advice(recipe)), options.stop.listening():
        store, split = open_data(recipe.data.dataset, root=recipe.data.root, split=recipe.data.split)
        layout = layout_of(recipe, team)
        yield TrainContext(store, split, device, _find(recipe, store, split, layout, device, options))


def memory_advice(recipe: AnyRecipe) -> str:
    """Say which sizes to lower where memory runs out."""
    size = f"model.image_size ({recipe.model.image_size})"
    if not isinstance(recipe, Recipe):
        return f"lower train.batch_size ({recipe.train.batch_size}) or {size}"
    recompute = "" if recipe.train.activation_checkpointing else "set train.activation_checkpointing=true, "
    return f"{recompute}lower train.micro_batch_size ({recipe.train.micro_batch_size}) or {size}"


def layout_of(recipe: AnyRecipe, team: ProcessGroup) -> Layout:
    """Give how a recipe's steps are spread over a team.

    Raises:
        RecipeError: they cannot be.
    """
    return Layout(recipe.train.batch_size, share_batch(recipe, team.size, recipe.name).micro_batch, team)


def _find(
    recipe: AnyRecipe, store: Store, split: Split, layout: Layout, device: torch.device, options: TrainOptions
) -> RunDir:
    """Find the folder of a run and what it has done there."""
    vocabulary, images, team = split.vocabulary(store), split.images("train"), layout.group
    setting = RunSignature(vocabulary, store.info.name, store.fingerprint(images, vocabulary), layout, device.type)
    found = team.broadcast(find_run(recipe, options.out, options.resume) if team.is_main else None)
    kind = RunDir if team.is_main else ReadOnlyRunDir
    run = kind(found or options.out, recipe, setting)
    if found is not None:
        run.restore()
        check_state(run, options.log)
        if run.step == recipe.train.iterations:
            options.log(f"{found}: all {run.step} steps are done already")
    return run


def fit(
    run: RunDir,
    loop: Loop[AnyBatch],
    samples: Samples[AnyBatch],
    options: TrainOptions,
    *,
    assess: Assess = lambda step: None,
    paint: Callable[[], object] = lambda: None,
) -> TrainResult:
    """Do all steps that are left, log and save them; end early where a process is asked to stop.

    Args:
        run: its folder, made here where it has no name yet.
        loop: its steps; the model is where the run goes on.
        samples: what is trained on.
        options: whom to tell.
        assess: scores the model after a step where that is due, before the step is saved.
        paint: brings the pictures of the run up to date.

    Raises:
        PartsegError: a loss or a gradient is not finite; the state before it is saved.
    """
    train, layout, done = run.recipe.train, run.setting.layout, run.step
    _begin(run, len(samples), options)
    batches = samples.batches(
        images=layout.micro,
        sample_ids=layout.sample_ids(first=done + 1, last=train.iterations),
        workers=run.recipe.data.workers,
    )
    names = options.loggers if layout.group.is_main else ()
    with open_loggers(names, run.folder, run.recipe.to_dict(), resumed_at=done) as loggers:
        try:
            for step in loop.run(batches, first=done + 1, last=train.iterations):
                done = step.number
                is_end = step.is_stop or done == train.iterations
                options.on_step(step)
                run.log(step)
                loggers.step(step)
                if result := assess(done):
                    options.on_score(done, result.protocol, result.miou)
                    loggers.score(done, result.protocol, result.miou)
                if result and not is_end:
                    paint()
                if is_end or done % train.save_interval == 0:
                    run.save(loop, done)
                if is_end:
                    break
        except NotFiniteError as error:
            path = run.save(loop, done)
            raise PartsegError(f"{error}; the weights before it are in {path}") from error
    is_done = done == train.iterations
    checkpoint = run.select() if is_done else run.checkpoints / "last.safetensors"
    paint()
    return TrainResult(run.folder, checkpoint, done, len(samples), is_done)


def _begin(run: RunDir, images: int, options: TrainOptions) -> None:
    """Make the folder, note there what is run, and tell; what was read of it is in the loop by now."""
    run.place(partial(create_run_dir, "train", run.recipe.name))
    run.open(options.command)
    run.forget()
    options.on_start(run.folder, images, run.step)
