"""`partseg train` of what a model starts from: a CLIP on captions, then a decoder on phrases."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import torch
from torch import nn

from partseg_cli.config.recipe import CaptionRecipe, PhraseRecipe
from partseg_cli.data.loading.captions import CaptionBatch, CaptionDataset, CaptionViews
from partseg_cli.data.loading.dataloader import SampledDataset
from partseg_cli.data.loading.phrases import PhraseBatch, PhraseDataset, PhraseViews
from partseg_cli.errors import RecipeError
from partseg_cli.models.backbones import BACKBONES
from partseg_cli.models.builder import build_model, init_model
from partseg_cli.models.checkpoints.checkpoint import load_state_strict
from partseg_cli.models.clip.contrastive import ContrastiveClip, contrastive_loss
from partseg_cli.models.clipseg.objective import phrase_losses
from partseg_cli.reports.training_page import write_training_page
from partseg_cli.runtime.devices import autocast
from partseg_cli.training.engine import TrainContext, TrainOptions, fit, training_context
from partseg_cli.training.loop import AnyBatch, Loop, Terms, choose_precision, restore_loop
from partseg_cli.training.optimizer import build_optimizer, poly_schedule
from partseg_cli.training.run_dir import TrainResult


def train_captions(recipe: CaptionRecipe, options: TrainOptions) -> TrainResult:
    """Train a CLIP on captioned views."""
    with training_context(recipe, options) as found:
        store, split, device, _ = found
        data = recipe.data
        views = CaptionViews(recipe.model.image_size, data.flip, data.objects, data.parts)
        samples = CaptionDataset(store, split.images("train"), split.vocabulary(store), views, recipe.train.seed)
        torch.manual_seed(recipe.train.seed)
        model = _clip(recipe).to(device)
        precision = choose_precision(recipe.train.precision, device)

        def terms(batch: CaptionBatch) -> Terms:
            with autocast(device, precision):
                images, texts = model(batch.images.to(device), batch.captions)
            return {"total": contrastive_loss(images, texts, batch.truth.to(device), model.scale)}

        return _train(recipe, found, model, terms, samples, precision, options)


def _clip(recipe: CaptionRecipe) -> ContrastiveClip:
    backbone = BACKBONES[recipe.model.backbone]
    model = ContrastiveClip(backbone, drop_tokens=recipe.model.drop_tokens, **asdict(recipe.loss))
    if recipe.model.image_size != model.clip.image_size:
        raise RecipeError(
            f"{recipe.name}: model.image_size must be that of {recipe.model.backbone}, {model.clip.image_size}, got "
            f"{recipe.model.image_size}"
        )
    return model


def train_phrases(recipe: PhraseRecipe, options: TrainOptions) -> TrainResult:
    """Train a decoder on phrases and masks."""
    with training_context(recipe, options) as found:
        store, split, device, run = found
        data = recipe.data
        views = PhraseViews(recipe.model.image_size, data.flip, data.phrases, data.parts, data.absent)
        samples = PhraseDataset(store, split.images("train"), split.vocabulary(store), views, recipe.train.seed)
        torch.manual_seed(recipe.train.seed)
        settings = asdict(recipe.model)
        init = settings.pop("init")
        model = (build_model(**settings) if run.step else init_model(init=init, **settings)).to(device)
        precision = choose_precision(recipe.train.precision, device)

        def terms(batch: PhraseBatch) -> Terms:
            with autocast(device, precision):
                logits = model.phrase_logits(batch.images.to(device), batch.phrases, batch.owner.to(device))
            return phrase_losses(logits.float(), batch.masks.to(device), **asdict(recipe.loss))

        return _train(recipe, found, model, terms, samples, precision, options)


def _train(
    recipe: CaptionRecipe | PhraseRecipe,
    found: TrainContext,
    model: nn.Module,
    terms: Callable[[AnyBatch], Terms],
    samples: SampledDataset[Any, AnyBatch],
    precision: str,
    options: TrainOptions,
) -> TrainResult:
    """Bring the model to where the run goes on, and do the steps that are left."""
    train, (store, split, device, run) = recipe.train, found
    if run.weights is not None:
        load_state_strict(model, run.weights, run.folder)
    optimizer = build_optimizer(model, lr=train.lr, weight_decay=train.weight_decay)
    loop = Loop(
        model=model,
        terms=terms,
        optimizer=optimizer,
        schedule=poly_schedule(optimizer, iterations=train.iterations, power=train.poly_power, warmup=train.warmup),
        accumulate=1,
        clip_norm=train.clip_grad_norm,
        device=device,
        precision=precision,
        seed=train.seed,
        is_stop=options.stop,
    )
    if run.step:
        restore_loop(loop, run.state)
    return fit(
        run,
        loop,
        samples,
        options,
        paint=lambda: write_training_page(run.folder, store=store, split=split),
    )
