"""`partseg train`: a recipe -> a run folder with checkpoints."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch

from partseg_cli.config.recipe import AnyRecipe, CaptionRecipe, PhraseRecipe, Recipe
from partseg_cli.data.loading.dataset import ImageTransform, PartDataset
from partseg_cli.data.splits.split import Split
from partseg_cli.data.store import Store
from partseg_cli.errors import RecipeError
from partseg_cli.evaluation.evaluator import evaluate_images
from partseg_cli.evaluation.metrics import EvalResult
from partseg_cli.evaluation.samples import SampleConfig
from partseg_cli.evaluation.spec import EvalSpec
from partseg_cli.inference.segmenter import Segmenter
from partseg_cli.io.paths import cache_dir
from partseg_cli.models.builder import build_model, init_model
from partseg_cli.models.checkpoints.checkpoint import load_state_strict
from partseg_cli.pipeline.evaluate import evaluate_model
from partseg_cli.pipeline.pretrain import train_captions, train_phrases
from partseg_cli.reports.training_page import write_training_page
from partseg_cli.runtime.devices import InferenceConfig
from partseg_cli.runtime.process_group import Layout
from partseg_cli.runtime.signals import Stop
from partseg_cli.structures import Batch
from partseg_cli.training.engine import TrainOptions, fit, training_context
from partseg_cli.training.feature_cache import FeatureCache
from partseg_cli.training.loop import Loop, choose_precision, restore_loop
from partseg_cli.training.objective import objective
from partseg_cli.training.optimizer import build_optimizer, poly_schedule
from partseg_cli.training.run_dir import RunDir, TrainResult


def train_any(recipe: AnyRecipe, options: TrainOptions) -> TrainResult:
    """Train by a recipe of any task."""
    match recipe:
        case CaptionRecipe():
            return train_captions(recipe, options)
        case PhraseRecipe():
            return train_phrases(recipe, options)
        case Recipe():
            return train(recipe, options)


def train(recipe: Recipe, options: TrainOptions) -> TrainResult:
    """Train by a recipe, in each process of a team alike; the first one tells and writes."""
    with training_context(recipe, options) as (store, split, device, run):
        team = run.setting.layout.group
        samples = training_set(recipe, store, split)
        loop = build_loop(recipe, samples, run.setting.layout, device, run, options.stop)
        protocol, group = recipe.train.monitor.split()
        model = Segmenter(loop.model, recipe.model.image_size, InferenceConfig(device))

        def assess(step: int) -> EvalResult | None:
            if not _is_due(step, recipe):
                return None
            model.model.eval()
            result = evaluate_model(model, store, split, protocol, group=team)
            if result is not None:
                run.consider(loop, step, result, group)
            return result

        def paint() -> None:
            if team.is_main:
                update_report(run.folder, model, store, split)

        return fit(run, loop, samples, options, assess=assess, paint=paint)


def update_report(folder: Path, model: Segmenter, store: Store, split: Split, images: int = 4) -> None:
    """Write page and loss plot of a run, with predictions by Pred-All; every module keeps its mode."""
    spec = EvalSpec(store, split, "val", "pred-all", SampleConfig(store.info.sample))
    modes = {module: module.training for module in model.model.modules()}
    model.model.eval()
    try:
        write_training_page(
            folder,
            store=store,
            split=split,
            predict=partial(evaluate_images, model, spec, image_size=model.image_size),
            number=images,
        )
    finally:
        for module, is_training in modes.items():
            module.training = is_training


def training_set(recipe: Recipe, store: Store, split: Split) -> PartDataset:
    """Open what a recipe trains on.

    Raises:
        DataError: no image has a seen part.
        PartsegError: the disk refuses to keep photos, where `data.cache` asks for it.
    """
    data = recipe.data
    views = ImageTransform(
        image_size=recipe.model.image_size,
        shortest_edge=data.shortest_edge,
        longest_edge=data.longest_edge,
        flip=data.flip,
        train_channel_order=data.train_channel_order,
        unlabelled_objects=data.unlabelled_objects,
    )
    cache = cache_dir() / "images" if data.cache == "images" else None
    return PartDataset(store, split.images("train"), split.vocabulary(store), views, recipe.train.seed, cache)


def build_loop(
    recipe: Recipe, samples: PartDataset, layout: Layout, device: torch.device, run: RunDir | None, stop: Stop
) -> Loop[Batch]:
    """Build model, loss, optimizer and schedule, bring them to where the run goes on, and hand them to the loop."""
    torch.manual_seed(recipe.train.seed)
    settings = asdict(recipe.model)
    try:
        if run is not None and run.weights is not None:
            del settings["init"]
            model = build_model(**settings)
            load_state_strict(model, run.weights, run.folder)
        else:
            model = init_model(**settings)
    except RecipeError as error:
        raise RecipeError(f"{recipe.name}: {error}") from error
    model.to(device)
    if recipe.train.compile:
        model.compile_blocks()
    optimizer = build_optimizer(model, lr=recipe.train.lr, weight_decay=recipe.train.weight_decay)
    precision = choose_precision(recipe.train.precision, device)
    taps = FeatureCache(model.clip, samples, precision) if recipe.data.cache == "features" else None
    network = layout.group.wrap_ddp(model, device, is_all_used=recipe.model.trainable != "all")
    loop = Loop(
        model=model,
        terms=objective(network, recipe, samples.label_mapper.vocabulary, device, precision, taps),
        optimizer=optimizer,
        schedule=poly_schedule(optimizer, iterations=recipe.train.iterations, power=recipe.train.poly_power),
        accumulate=layout.accumulate,
        clip_norm=recipe.train.clip_grad_norm,
        device=device,
        precision=precision,
        seed=recipe.train.seed,
        team=layout.group,
        network=network,
        is_stop=stop,
    )
    if run is not None and run.step:
        restore_loop(loop, run.state)
    return loop


def _is_due(step: int, recipe: Recipe) -> bool:
    every = recipe.train.eval_interval
    return every > 0 and (step % every == 0 or step == recipe.train.iterations)
