"""`partseg train` of what a model starts from: a CLIP on captions, then a decoder on phrases."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from partseg_cli.data.captions import CaptionBatch, CaptionSet, CaptionViews
from partseg_cli.data.drawn import DrawnSet
from partseg_cli.data.phrases import PhraseBatch, PhraseSet, PhraseViews
from partseg_cli.data.store import Store
from partseg_cli.devices import autocast, choose_device, memory_watch
from partseg_cli.errors import RecipeError
from partseg_cli.losses.contrast import contrastive_loss
from partseg_cli.losses.phrases import phrase_losses
from partseg_cli.model.backbones import BACKBONES
from partseg_cli.model.clipseg import CLIPSeg
from partseg_cli.model.contrast import ContrastiveClip
from partseg_cli.pipeline.models import build_model
from partseg_cli.pipeline.run import Run, Trained, check_free
from partseg_cli.pipeline.trial import open_data
from partseg_cli.places import new_run
from partseg_cli.recipe import CaptionRecipe, PhraseRecipe
from partseg_cli.recipe_sections import CaptionDataSection, PhraseDataSection
from partseg_cli.training.loop import AnyBatch, Loop, Step, Terms, choose_precision
from partseg_cli.training.optimizer import build_optimizer, poly_schedule
from partseg_cli.vocabulary import Vocabulary


def train_captions(
    recipe: CaptionRecipe,
    *,
    out: Path | None = None,
    device: str = "auto",
    gpus: str | None = None,
    command: str = "",
    on_start: Callable[[Path, int], None] = lambda folder, images: None,
    on_step: Callable[[Step], None] = lambda step: None,
) -> Trained:
    """Train a CLIP on captioned views; for the arguments see `train`."""
    where = choose_device(device, gpus)
    check_free(out)
    store, image_ids, vocabulary = _open(recipe.data)
    data = recipe.data
    views = CaptionViews(recipe.model.image_size, data.flip, data.objects, data.parts)
    samples = CaptionSet(store, image_ids, vocabulary, views, recipe.train.seed)
    torch.manual_seed(recipe.train.seed)
    model = ContrastiveClip(
        BACKBONES[recipe.model.backbone], drop_tokens=recipe.model.drop_tokens, **asdict(recipe.loss)
    ).to(where)
    if recipe.model.image_size != model.clip.image_size:
        raise RecipeError(
            f"{recipe.name}: model.image_size must be that of {recipe.model.backbone}, {model.clip.image_size}, got "
            f"{recipe.model.image_size}"
        )
    precision = choose_precision(recipe.train.precision, where)

    def terms(batch: CaptionBatch) -> Terms:
        with autocast(where, precision):
            images, texts = model(batch.images.to(where), batch.captions)
        return {"total": contrastive_loss(images, texts, batch.truth.to(where), model.scale)}

    run = Run(out or new_run("train", recipe.name), recipe, vocabulary, store.info.name)
    run.open(command)
    on_start(run.folder, len(samples))
    return _follow(run, _loop(recipe, model, terms, where, precision), samples, recipe, on_step)


def train_phrases(
    recipe: PhraseRecipe,
    *,
    out: Path | None = None,
    device: str = "auto",
    gpus: str | None = None,
    command: str = "",
    on_start: Callable[[Path, int], None] = lambda folder, images: None,
    on_step: Callable[[Step], None] = lambda step: None,
) -> Trained:
    """Train a decoder on phrases and masks; for the arguments see `train`."""
    where = choose_device(device, gpus)
    check_free(out)
    store, image_ids, vocabulary = _open(recipe.data)
    data = recipe.data
    views = PhraseViews(recipe.model.image_size, data.flip, data.phrases, data.parts, data.absent)
    samples = PhraseSet(store, image_ids, vocabulary, views, recipe.train.seed)
    torch.manual_seed(recipe.train.seed)
    model: CLIPSeg = build_model(recipe.model).to(where)
    precision = choose_precision(recipe.train.precision, where)

    def terms(batch: PhraseBatch) -> Terms:
        with autocast(where, precision):
            logits = model.phrase_logits(batch.images.to(where), batch.phrases, batch.owner.to(where))
        return phrase_losses(logits.float(), batch.masks.to(where), **asdict(recipe.loss))

    run = Run(out or new_run("train", recipe.name), recipe, vocabulary, store.info.name)
    run.open(command)
    on_start(run.folder, len(samples))
    return _follow(run, _loop(recipe, model, terms, where, precision), samples, recipe, on_step)


def _open(data: CaptionDataSection | PhraseDataSection) -> tuple[Store, tuple[str, ...], Vocabulary]:
    """Give the store, its training images, and its pairs with their seen flags."""
    store, division = open_data(data)
    return store, division.images("train"), division.vocabulary(store)


def _loop(
    recipe: CaptionRecipe | PhraseRecipe,
    model: nn.Module,
    terms: Callable[[AnyBatch], Terms],
    device: torch.device,
    precision: str,
) -> Loop[AnyBatch]:
    train = recipe.train
    optimizer = build_optimizer(model, lr=train.lr, weight_decay=train.weight_decay)
    return Loop(
        model=model,
        terms=terms,
        optimizer=optimizer,
        schedule=poly_schedule(optimizer, iterations=train.iterations, power=train.power, warmup=train.warmup),
        accumulate=1,
        clip_norm=train.clip_norm,
        device=device,
        precision=precision,
    )


def _follow(
    run: Run,
    loop: Loop[AnyBatch],
    samples: DrawnSet[Any, AnyBatch],
    recipe: CaptionRecipe | PhraseRecipe,
    on_step: Callable[[Step], None],
) -> Trained:
    """Do all steps, log and save them."""
    train, workers = recipe.train, recipe.data.workers
    stop = train.iterations * train.batch_size
    batches = samples.batches(images=train.batch_size, start=0, stop=stop, workers=workers)
    with memory_watch("lower train.batch_size or model.image_size"):
        for step in loop.run(batches, first=1, last=train.iterations):
            on_step(step)
            run.log(step)
            if step.number == train.iterations or step.number % train.save_every == 0:
                run.save("last", loop, step.number)
    return Trained(run.folder, run.select(), step, len(samples))
