"""Samples, model and objective of each training task: parts, captions (for CLIP), phrases (for a decoder)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import nn

from partseg_cli.config.recipe import AnyRecipe, CaptionRecipe, PhraseRecipe, Recipe
from partseg_cli.data.loading.captions import CaptionBatch, CaptionDataset, CaptionViews
from partseg_cli.data.loading.dataloader import SampledDataset
from partseg_cli.data.loading.dataset import ImageTransform, PartDataset
from partseg_cli.data.loading.labels import NegativeSampling
from partseg_cli.data.loading.phrases import PhraseBatch, PhraseDataset, PhraseViews
from partseg_cli.data.loading.transforms import normalise
from partseg_cli.data.splits.split import Split
from partseg_cli.data.store import Store
from partseg_cli.errors import RecipeError
from partseg_cli.io.paths import cache_dir
from partseg_cli.models.backbones import BACKBONES
from partseg_cli.models.builder import build_loss, build_model, init_model
from partseg_cli.models.checkpoints.checkpoint import load_state_strict, weights_digest
from partseg_cli.models.clip.contrastive import ContrastiveClip, contrastive_loss
from partseg_cli.models.clip.model import Clip
from partseg_cli.models.clipseg.model import CLIPSeg
from partseg_cli.models.clipseg.objective import phrase_losses
from partseg_cli.runtime.devices import choose_precision
from partseg_cli.runtime.process_group import Layout
from partseg_cli.structures import Batch, Labels, Logits
from partseg_cli.training.feature_cache import FeatureCache
from partseg_cli.training.objective import Losses, Objective
from partseg_cli.training.run_dir import RunDir
from partseg_cli.vocabulary import Vocabulary


class Training(NamedTuple):
    """Parts of a training that depend on its task.

    Attributes:
        samples: Training samples.
        network: Model on its device, in DistributedDataParallel where there are several processes.
        objective: Objective of the task.
    """

    samples: PartDataset | SampledDataset[Any, Any]
    network: nn.Module
    objective: Objective[Any, Any]


def build_training(
    recipe: AnyRecipe, store: Store, split: Split, layout: Layout, device: torch.device, run: RunDir | None = None
) -> Training:
    """Build samples, model and objective of a recipe; the weights are those of `run` if it is resumed.

    Raises:
        DataError: No image can be trained on.
        RecipeError: The model cannot be built.
        CheckpointError: The weights that training starts from are missing, or belong to another model.
    """
    match recipe:
        case Recipe():
            return _build_part_training(recipe, store, split, layout, device, run)
        case CaptionRecipe():
            return _build_caption_training(recipe, store, split, device, run)
        case PhraseRecipe():
            return _build_phrase_training(recipe, store, split, device, run)


def _build_part_training(
    recipe: Recipe, store: Store, split: Split, layout: Layout, device: torch.device, run: RunDir | None
) -> Training:
    samples = build_part_dataset(recipe, store, split)
    torch.manual_seed(recipe.train.seed)
    model = _build_model(recipe, run).to(device)
    if recipe.train.compile:
        model.compile_blocks()
    precision = choose_precision(recipe.train.precision, device)
    cache = open_feature_cache(model.clip, samples, precision) if recipe.data.cache == "features" else None
    network = layout.group.wrap_ddp(model, device, is_all_used=recipe.model.trainable != "all")
    vocabulary = samples.label_mapper.vocabulary
    return Training(samples, network, build_part_objective(recipe, network, vocabulary, device, precision, cache))


def build_part_dataset(recipe: Recipe, store: Store, split: Split) -> PartDataset:
    """Build the training samples of a recipe.

    Raises:
        DataError: No image has a seen part.
        PartsegError: The disk refuses to keep images, where `data.cache` asks for it.
    """
    data = recipe.data
    transform = ImageTransform(
        image_size=recipe.model.image_size,
        shortest_edge=data.shortest_edge,
        longest_edge=data.longest_edge,
        flip=data.flip,
        train_channel_order=data.train_channel_order,
        unlabelled_objects=data.unlabelled_objects,
    )
    cache = cache_dir() / "images" if data.cache == "images" else None
    return PartDataset(store, split.images("train"), split.vocabulary(store), transform, recipe.train.seed, cache)


def _build_model(recipe: Recipe | PhraseRecipe, run: RunDir | None) -> CLIPSeg:
    """Build a model with the weights that training starts from, or those of a resumed run."""
    settings = asdict(recipe.model)
    try:
        if run is None or run.weights is None:
            return init_model(**settings)
        del settings["init"]
        model = build_model(**settings)
    except RecipeError as error:
        raise RecipeError(f"{recipe.name}: {error}") from error
    load_state_strict(model, run.weights, run.folder)
    return model


def open_feature_cache(clip: Clip, samples: PartDataset, precision: str) -> FeatureCache:
    """Open the cache of the layer features that a frozen image encoder computes for the training images."""
    return FeatureCache(
        lambda images: clip.image_tokens(images),
        samples,
        cache_dir() / "features",
        shape=(len(clip.layers), (samples.transform.image_size // clip.patch_size) ** 2 + 1, clip.width),
        weights=weights_digest(clip.clip.visual.state_dict()),
        precision=precision,
        device=next(clip.parameters()).device,
    )


def build_part_objective(
    recipe: Recipe,
    network: nn.Module,
    vocabulary: Vocabulary,
    device: torch.device,
    precision: str,
    cache: FeatureCache | None = None,
) -> Objective[Batch, tuple[Logits, Vocabulary, Labels]]:
    """Build the objective over the whole training vocabulary, or over the objects of each batch and a few negatives."""
    negatives = recipe.train.negative_objects
    sampling = None if negatives is None else NegativeSampling(vocabulary, negatives, recipe.train.seed)
    switches = {"for_loss": True, "activation_checkpointing": recipe.train.activation_checkpointing}

    @lru_cache(maxsize=1)
    def loss_over(words: Vocabulary) -> Callable[[Logits, Labels], Losses]:
        return build_loss(recipe.model.name, words, device, **asdict(recipe.loss))

    def forward(batch: Batch) -> tuple[Logits, Vocabulary, Labels]:
        words, labels = sampling(batch) if sampling else (vocabulary, batch.labels)
        images = normalise(batch.images.to(device, non_blocking=True))
        features = cache(batch.image_ids, images) if cache else None
        return network(images, vocabulary=words, layer_features=features, **switches), words, labels

    def loss(outputs: tuple[Logits, Vocabulary, Labels], batch: Batch) -> Losses:
        logits, words, labels = outputs
        return loss_over(words)(logits, labels.on(device))

    return Objective(forward, loss, device, precision)


def _build_caption_training(
    recipe: CaptionRecipe, store: Store, split: Split, device: torch.device, run: RunDir | None
) -> Training:
    data = recipe.data
    views = CaptionViews(recipe.model.image_size, data.flip, data.objects, data.parts)
    samples = CaptionDataset(store, split.images("train"), split.vocabulary(store), views, recipe.train.seed)
    torch.manual_seed(recipe.train.seed)
    model = ContrastiveClip(
        BACKBONES[recipe.model.backbone], drop_tokens=recipe.model.drop_tokens, **asdict(recipe.loss)
    )
    if recipe.model.image_size != model.clip.image_size:
        raise RecipeError(
            f"{recipe.name}: model.image_size must be that of {recipe.model.backbone}, {model.clip.image_size}, got "
            f"{recipe.model.image_size}"
        )
    if run is not None and run.weights is not None:
        load_state_strict(model, run.weights, run.folder)
    model.to(device)

    def forward(batch: CaptionBatch) -> Any:  # noqa: ANN401 - image and text embeddings
        return model(batch.images.to(device), batch.captions)

    def loss(outputs: Any, batch: CaptionBatch) -> Losses:  # noqa: ANN401
        images, texts = outputs
        return {"total": contrastive_loss(images, texts, batch.truth.to(device), model.scale)}

    return Training(samples, model, Objective(forward, loss, device, choose_precision(recipe.train.precision, device)))


def _build_phrase_training(
    recipe: PhraseRecipe, store: Store, split: Split, device: torch.device, run: RunDir | None
) -> Training:
    data = recipe.data
    views = PhraseViews(recipe.model.image_size, data.flip, data.phrases, data.parts, data.absent)
    samples = PhraseDataset(store, split.images("train"), split.vocabulary(store), views, recipe.train.seed)
    torch.manual_seed(recipe.train.seed)
    model = _build_model(recipe, run).to(device)

    def forward(batch: PhraseBatch) -> torch.Tensor:
        return model.phrase_logits(batch.images.to(device), batch.phrases, batch.owner.to(device))

    def loss(logits: torch.Tensor, batch: PhraseBatch) -> Losses:
        return phrase_losses(logits.float(), batch.masks.to(device), **asdict(recipe.loss))

    return Training(samples, model, Objective(forward, loss, device, choose_precision(recipe.train.precision, device)))
