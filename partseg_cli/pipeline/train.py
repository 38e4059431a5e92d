"""`partseg train`: from a recipe to a run directory with checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from partseg_cli.config.recipe import AnyRecipe, Recipe, load_any_recipe, model_to_header
from partseg_cli.data.resolver import open_data
from partseg_cli.data.splits.split import Split
from partseg_cli.data.store import Store
from partseg_cli.errors import RecipeError
from partseg_cli.evaluation.evaluator import evaluate_images
from partseg_cli.evaluation.samples import SampleConfig
from partseg_cli.evaluation.spec import EvalSpec
from partseg_cli.inference.segmenter import Segmenter
from partseg_cli.models.checkpoints.checkpoint import CheckpointHeader, load_checkpoint, read_header, save_checkpoint
from partseg_cli.pipeline.evaluate import evaluate_model
from partseg_cli.pipeline.train_setup import Training, build_training
from partseg_cli.reports.training_page import write_training_page
from partseg_cli.runtime.devices import InferenceConfig, keep_freed_memory, memory_watch, plan_devices
from partseg_cli.runtime.launcher import launch
from partseg_cli.runtime.pool import usable_cores
from partseg_cli.runtime.process_group import Layout, ProcessGroup, limit_threads
from partseg_cli.runtime.signals import Stop
from partseg_cli.training.engine import Engine, fit
from partseg_cli.training.loggers import Step, Validation, check_loggers, open_loggers
from partseg_cli.training.optimizer import build_optimizer, poly_schedule
from partseg_cli.training.resume import (
    RunSignature,
    check_run_dir,
    check_same_recipe,
    check_state,
    find_run,
    read_recipe_name,
)
from partseg_cli.training.run_dir import ReadOnlyRunDir, RunDir, TrainResult, WeightsFormat
from partseg_cli.vocabulary import Vocabulary


def _ignore(*_: object) -> None:
    """Do nothing: a callback that other processes can be handed, which a lambda is not."""


@dataclass(frozen=True)
class TrainOptions:
    """Options of a training run besides its recipe, and its callbacks.

    Attributes:
        out: Run directory, new or empty; None: `runs/train/<recipe>-N`.
        resume: "auto" or the directory of the run to resume; None: new run.
        device: auto, cpu, cuda, cuda:N or mps.
        command: Command line to write into the run directory.
        loggers: Names of further loggers, "tensorboard" and "wandb".
        stop: Function that returns whether to stop after the step.
        on_start: Callback for run directory, number of training images, and step that is resumed after.
        on_step: Callback for every step.
        on_validation: Callback for every validation.
        log: Callback for one-line status messages.
    """

    out: Path | None = None
    resume: str | None = None
    device: str = "auto"
    command: str = ""
    loggers: tuple[str, ...] = ()
    stop: Stop = field(default_factory=Stop)
    on_start: Callable[[Path, int, int], None] = _ignore
    on_step: Callable[[Step], None] = _ignore
    on_validation: Callable[[Validation], None] = _ignore
    log: Callable[[str], None] = _ignore


def train_on_devices(
    recipe: AnyRecipe,
    options: TrainOptions,
    *,
    gpus: str | None,
    train_in_main: Callable[[AnyRecipe, TrainOptions], TrainResult],
) -> TrainResult | None:
    """Train in one process per device.

    Args:
        recipe: Recipe of any task.
        options: Options of the run.
        gpus: Devices as in `plan_devices`.
        train_in_main: Calls `train` in the main process, where the command line shows the progress.

    Returns:
        None in non-main processes of torchrun.
    """
    plan = plan_devices(options.device, gpus)
    work = partial(_train_in_process, recipe=recipe, options=options, train_in_main=train_in_main)
    if len(plan.devices) == 1:
        result = work(plan.process_group, plan.devices[0])
        return result if plan.is_main else None
    check_batch(recipe, len(plan.devices), recipe.name)
    with options.stop.listening():
        return launch(work, plan.devices, advice="resume with --resume auto")


def _train_in_process(
    group: ProcessGroup,
    device: torch.device,
    *,
    recipe: AnyRecipe,
    options: TrainOptions,
    train_in_main: Callable[[AnyRecipe, TrainOptions], TrainResult],
) -> TrainResult:
    options = replace(options, device=str(device))
    return train_in_main(recipe, options) if group.is_main else train(recipe, options)


def train(recipe: AnyRecipe, options: TrainOptions) -> TrainResult:
    """Train by a recipe, in each process of a group alike; the main one logs and writes."""
    with open_run(recipe, options) as (store, split, device, run):
        layout, iterations = run.signature.layout, recipe.train.iterations
        training = build_training(recipe, store, split, layout, device, run)
        engine = build_engine(recipe, training, layout, device, options.stop)
        if run.step:
            engine.load_state_dict(run.state)
        ids = layout.sample_ids(first=run.step + 1, last=iterations)
        batches = training.samples.batches(images=layout.micro, sample_ids=ids, workers=recipe.data.workers)
        run.create(options.command)
        run.release_state()
        options.on_start(run.folder, len(training.samples), run.step)
        segmenter = Segmenter(engine.model, recipe.model.image_size, InferenceConfig(device))
        shown = segmenter if isinstance(recipe, Recipe) else None
        report = partial(update_report, run.folder, shown, store, split) if layout.group.is_main else _ignore
        names = options.loggers if layout.group.is_main else ()
        with open_loggers(names, run.folder, recipe.to_dict(), resumed_at=run.step) as loggers:
            step = fit(
                engine,
                batches,
                run,
                iterations=iterations,
                save_interval=recipe.train.save_interval,
                loggers=loggers,
                on_step=options.on_step,
                validate=partial(_validate, recipe, segmenter, store, split, layout.group),
                on_validation=options.on_validation,
                update_report=report,
            )
        is_done = step == iterations
        rule = recipe.train.select if isinstance(recipe, Recipe) else "last"
        checkpoint = run.select(rule) if is_done else run.checkpoints / "last.safetensors"
        report()
        return TrainResult(run.folder, checkpoint, step, len(training.samples), is_done)


def _validate(
    recipe: AnyRecipe, segmenter: Segmenter, store: Store, split: Split, group: ProcessGroup, step: int
) -> Validation | None:
    """Score the model on val if that is due after a step; None if not, and in non-main processes."""
    if not isinstance(recipe, Recipe) or not recipe.train.eval_interval:
        return None
    if step % recipe.train.eval_interval and step != recipe.train.iterations:
        return None
    protocol, monitor = recipe.train.monitor.split()
    segmenter.model.eval()
    result = evaluate_model(segmenter, store, split, protocol, group=group)
    return None if result is None else Validation(step, result.protocol, result.miou, monitor)


def update_report(folder: Path, segmenter: Segmenter | None, store: Store, split: Split, images: int = 4) -> None:
    """Write page and loss plot of a run, with predictions by Pred-All if it trains parts; modules keep their mode."""
    if segmenter is None:
        write_training_page(folder, store=store, split=split)
        return
    spec = EvalSpec(store, split, "val", "pred-all", SampleConfig(store.info.sample))
    modes = {module: module.training for module in segmenter.model.modules()}
    segmenter.model.eval()
    try:
        predict = partial(evaluate_images, segmenter, spec, image_size=segmenter.image_size)
        write_training_page(folder, store=store, split=split, predict=predict, number=images)
    finally:
        for module, is_training in modes.items():
            module.training = is_training


@contextmanager
def open_run(recipe: AnyRecipe, options: TrainOptions) -> Iterator[tuple[Store, Split, torch.device, RunDir]]:
    """Connect the process group, and open the data and the run directory; nothing is written yet.

    Raises:
        UsageError: A logger is unknown or not installed, the device is missing, or the folder holds something else or
            a run of another recipe.
        DataError: The data are missing, or have changed since the run was started.
        CheckpointError: The saved state of the run is broken.
        OutOfMemoryError: The block runs out of memory.
    """
    check_loggers(options.loggers)
    plan = plan_devices(options.device)
    group, device = plan.process_group, plan.devices[0]
    limit_threads(group, usable_cores())
    keep_freed_memory()
    with group.connected(device), memory_watch(memory_advice(recipe)), options.stop.listening():
        store, split = open_data(recipe.data.dataset, root=recipe.data.root, split=recipe.data.split)
        vocabulary = split.vocabulary(store)
        data_hash = store.fingerprint(split.images("train"), vocabulary)
        signature = RunSignature(data_hash, batch_layout(recipe, group, recipe.name), device.type)
        folder = group.broadcast(_find_run(recipe, options) if group.is_main else None)
        run = (RunDir if group.is_main else ReadOnlyRunDir)(
            folder or options.out,
            recipe.name,
            recipe.to_dict(),
            signature,
            weights_format(recipe, vocabulary, store.info.name),
            keep_checkpoints=recipe.train.keep_checkpoints,
        )
        if folder is not None:
            run.restore()
        if run.step:
            check_state(run.folder, run.state, signature, options.log)
        if run.step == recipe.train.iterations:
            options.log(f"{folder}: all {run.step} steps are done already")
        yield store, split, device, run


def _find_run(recipe: AnyRecipe, options: TrainOptions) -> Path | None:
    """Return the directory of the run to resume, which has the same recipe."""
    folder = find_run(recipe.name, options.out, options.resume)
    if folder is not None:
        check_same_recipe(folder, load_any_recipe(str(folder / "recipe.yaml")).to_dict(), recipe.to_dict())
    return folder


def load_run_recipe(folder: Path, overrides: list[str]) -> AnyRecipe:
    """Load the recipe of a run directory, under its own name.

    Raises:
        UsageError: The folder holds no run.
    """
    path = check_run_dir(folder) / "recipe.yaml"
    return replace(load_any_recipe(str(path), overrides), name=read_recipe_name(folder))


def memory_advice(recipe: AnyRecipe) -> str:
    """Return which sizes to lower when memory runs out."""
    size = f"model.image_size ({recipe.model.image_size})"
    if not isinstance(recipe, Recipe):
        return f"lower train.batch_size ({recipe.train.batch_size}) or {size}"
    recompute = "" if recipe.train.activation_checkpointing else "set train.activation_checkpointing=true, "
    return f"{recompute}lower train.micro_batch_size ({recipe.train.micro_batch_size}) or {size}"


def batch_layout(recipe: AnyRecipe, group: ProcessGroup, where: str) -> Layout:
    """Distribute the recipe's batch over a process group.

    The micro-batch is the largest divisor of a process's share that is not above the recipe's. A recipe of another task
    than parts trains in one process, without micro-batches.

    Args:
        recipe: Recipe of any task.
        group: Processes over all machines.
        where: Subject of the error messages.

    Raises:
        RecipeError: The batch does not divide, or has to stay in one process.
    """
    batch, processes = recipe.train.batch_size, group.size
    if not isinstance(recipe, Recipe):
        if processes > 1:
            raise RecipeError(
                f"{where}: a recipe of task {recipe.task} trains in one process, got {processes}; use one"
            )
        return Layout(batch, batch, group)
    if recipe.loss.loss_mean == "batch" and processes > 1:
        raise RecipeError(
            f"{where}: loss.loss_mean batch pools the whole batch in one process, got {processes}; "
            "use loss.loss_mean=image, or one process"
        )
    if batch % processes:
        fewer = max(number for number in range(1, min(batch, processes) + 1) if batch % number == 0)
        more = -(-batch // processes) * processes  # another batch size is another training
        raise RecipeError(
            f"{where}: train.batch_size must be divisible by the number of processes, got {batch} over {processes}; "
            f"use {fewer} process{'es' if fewer > 1 else ''}, or another training with train.batch_size={more}"
        )
    share = batch // processes
    limit = min(share, recipe.train.micro_batch_size)
    return Layout(batch, max(size for size in range(1, limit + 1) if share % size == 0), group)


def check_batch(recipe: AnyRecipe, processes: int, where: str) -> Layout:
    """Return the layout of the recipe's batch over a number of processes, see `batch_layout`."""
    return batch_layout(recipe, ProcessGroup(size=processes), where)


def weights_format(recipe: AnyRecipe, vocabulary: Vocabulary, dataset: str) -> WeightsFormat:
    """Return the functions that save and load the weights of a run as checkpoints."""

    def save(path: Path, model: nn.Module, step: int) -> str:
        save_checkpoint(
            path, model, CheckpointHeader(model_to_header(recipe.model), vocabulary, dataset, recipe.name, step)
        )
        return read_header(path).digest

    def load(path: Path) -> tuple[str, dict[str, Tensor]]:
        header, weights = load_checkpoint(path)
        return header.digest, weights

    return WeightsFormat(save, load)


def build_engine(
    recipe: AnyRecipe, training: Training, layout: Layout, device: torch.device, stop: Stop
) -> Engine[Any]:
    """Build optimizer and schedule, and the engine of a run that starts."""
    options = recipe.train
    optimizer = build_optimizer(training.network, lr=options.lr, weight_decay=options.weight_decay)
    warmup = 0 if isinstance(recipe, Recipe) else recipe.train.warmup
    return Engine(
        network=training.network,
        objective=training.objective,
        optimizer=optimizer,
        schedule=poly_schedule(optimizer, iterations=options.iterations, power=options.poly_power, warmup=warmup),
        accumulate=layout.accumulate,
        clip_grad_norm=options.clip_grad_norm,
        device=device,
        precision=training.objective.precision,
        seed=options.seed,
        group=layout.group,
        is_stop_requested=stop,
    )
