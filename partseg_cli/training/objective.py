"""From a training batch to the terms of its loss, for the whole training vocabulary or for a part of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import partial

import torch
from torch import nn

from partseg_cli.config.recipe import Recipe
from partseg_cli.data.loading.labels import NegativeSampling
from partseg_cli.data.loading.transforms import normalise
from partseg_cli.models.builder import build_loss
from partseg_cli.structures import Batch, Logits
from partseg_cli.training.feature_cache import FeatureCache
from partseg_cli.training.loop import Terms, supervised
from partseg_cli.vocabulary import Vocabulary


def objective(
    network: nn.Module,
    recipe: Recipe,
    training: Vocabulary,
    device: torch.device,
    precision: str,
    taps: FeatureCache | None = None,
) -> Callable[[Batch], Terms]:
    """Give what turns a batch into the terms of its loss: all words are asked for, or those of few objects.

    Args:
        network: the model, as a team shares it.
        recipe: of the run.
        training: the whole training vocabulary.
        device: where to compute.
        precision: "fp32", "bf16" or "fp16".
        taps: gives what the image tower gives, where that is kept.
    """
    ask = partial(_ask, network, recipe, device=device, precision=precision, taps=taps)
    if recipe.train.negative_objects is None:
        return ask(training)
    sampling = NegativeSampling(training, recipe.train.negative_objects, recipe.train.seed)

    def terms(batch: Batch) -> Terms:
        vocabulary, labels = sampling(batch)
        return ask(vocabulary)(batch._replace(labels=labels))

    return terms


def _ask(
    network: nn.Module,
    recipe: Recipe,
    vocabulary: Vocabulary,
    *,
    device: torch.device,
    precision: str,
    taps: FeatureCache | None,
) -> Callable[[Batch], Terms]:
    """Give the terms for one vocabulary."""
    switches = {"for_loss": True, "activation_checkpointing": recipe.train.activation_checkpointing}
    loss = build_loss(recipe.model.name, vocabulary, device, **asdict(recipe.loss))

    def forward(batch: Batch) -> Logits:
        images = normalise(batch.images.to(device, non_blocking=True))
        features = taps and taps(batch.image_ids, images)
        logits: Logits = network(images, vocabulary=vocabulary, layer_features=features, **switches)
        return logits

    return supervised(forward, loss, device, precision)
