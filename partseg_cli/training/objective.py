"""From a training batch to the terms of its loss, for the whole training vocabulary or for a part of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import partial

import torch
from torch import nn

from partseg_cli.config.recipe import Recipe
from partseg_cli.config.sections import CLIPSegLossSection, LossSection, PartCLIPSegSection
from partseg_cli.data.loading.labels import NegativeSampling
from partseg_cli.data.loading.transforms import normalise
from partseg_cli.models.clipseg.objective import CLIPSegLoss
from partseg_cli.models.partclipseg.objective import PartCLIPSegLoss
from partseg_cli.structures import Batch, Labels, Logits
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
    ask = partial(network, vocabulary=vocabulary, recompute=recipe.train.activation_checkpointing)
    if isinstance(recipe.model, PartCLIPSegSection):
        ask = partial(ask, for_loss=True)

    def forward(batch: Batch) -> Logits:
        images = normalise(batch.images.to(device, non_blocking=True))
        logits: Logits = ask(images, taps=taps and taps(batch.image_ids, images))
        return logits

    return supervised(forward, _loss(recipe.loss, vocabulary, device), device, precision)


def _loss(
    section: LossSection | CLIPSegLossSection, vocabulary: Vocabulary, device: torch.device
) -> Callable[[Logits, Labels], Terms]:
    """Build the loss of a recipe's `loss` section for a vocabulary."""
    match section:
        case CLIPSegLossSection():
            return CLIPSegLoss(**asdict(section))
        case LossSection():
            index = (torch.tensor(rows, device=device) for rows in (vocabulary.part_of, vocabulary.object_of))
            return PartCLIPSegLoss(*index, **asdict(section))
