"""`partseg train`: a recipe -> a run folder with checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from partseg_cli.data.loader import TrainSet, Views
from partseg_cli.data.splits import Split
from partseg_cli.data.store import Store
from partseg_cli.devices import Compute, choose_device, keep_freed_memory, memory_watch
from partseg_cli.errors import RecipeError
from partseg_cli.evaluators.summary import Result
from partseg_cli.pipeline.evaluate import score
from partseg_cli.pipeline.models import Opened, build_model
from partseg_cli.pipeline.objective import objective
from partseg_cli.pipeline.pretrain import train_captions, train_phrases
from partseg_cli.pipeline.run import Run, Trained, check_free
from partseg_cli.pipeline.trial import open_data
from partseg_cli.places import new_run
from partseg_cli.recipe import CaptionRecipe, PhraseRecipe, Recipe
from partseg_cli.records import Batch
from partseg_cli.training.loop import Loop, Step, choose_precision
from partseg_cli.training.optimizer import build_optimizer, poly_schedule
from partseg_cli.vocabulary import Vocabulary

BEST_BY = "oracle-obj"
"""Protocol by which `train.select: best` and best.safetensors are chosen."""


def train_any(
    recipe: Recipe | CaptionRecipe | PhraseRecipe,
    *,
    on_score: Callable[[int, Result], None] = lambda step, result: None,
    **options: Any,  # noqa: ANN401 - handed on as they are
) -> Trained:
    """Train by a recipe of any task; for the options see `train`."""
    keep_freed_memory()
    match recipe:
        case CaptionRecipe():
            return train_captions(recipe, **options)
        case PhraseRecipe():
            return train_phrases(recipe, **options)
        case Recipe():
            return train(recipe, on_score=on_score, **options)


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
    check_free(out)
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


def _build(recipe: Recipe, training: Vocabulary, device: torch.device) -> Loop[Batch]:
    """Build model, loss, optimizer and schedule, and hand them to the loop."""
    torch.manual_seed(recipe.train.seed)
    try:
        model = build_model(recipe.model).to(device)
    except RecipeError as error:
        raise RecipeError(f"{recipe.name}: {error}") from error
    optimizer = build_optimizer(model, lr=recipe.train.lr, weight_decay=recipe.train.weight_decay)
    precision = choose_precision(recipe.train.precision, device)
    return Loop(
        model=model,
        terms=objective(model, recipe, training, device, precision),
        optimizer=optimizer,
        schedule=poly_schedule(optimizer, iterations=recipe.train.iterations, power=recipe.train.power),
        accumulate=recipe.train.batch_size // recipe.train.micro_batch,
        clip_norm=recipe.train.clip_norm,
        device=device,
        precision=precision,
    )


def _is_due(step: int, recipe: Recipe) -> bool:
    every = recipe.train.evaluate_every
    return every > 0 and (step % every == 0 or step == recipe.train.iterations)


def _score(model: nn.Module, store: Store, division: Split, recipe: Recipe, device: torch.device) -> Result:
    return score(Opened(model.eval(), recipe.model, Compute(device)), store, division, BEST_BY)
