"""From a training batch to the terms of its loss, for the whole training vocabulary or for a part of it."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor, nn

from partseg_cli.config.recipe import Recipe
from partseg_cli.config.sections import CLIPSegLossSection, LossSection, PartCLIPSegSection
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
    return FewObjects(ask, training, recipe.train.negative_objects, recipe.train.seed)


@dataclass(frozen=True)
class FewObjects:
    """Asks for the objects that a batch shows, and for a few that it does not.

    Most of the training vocabulary is absent from any photo, and learning that takes most of the time. Here the pairs
    and parts of all other objects are left out of the step, and so are their channels in the means.

    Attributes:
        ask: gives the terms for a vocabulary.
        training: the whole one.
        absent: number of objects that do not show.
        seed: with the names of the images it decides which these are, so that a resumed run draws the same.
    """

    ask: Callable[[Vocabulary], Callable[[Batch], Terms]]
    training: Vocabulary
    absent: int
    seed: int

    def __call__(self, batch: Batch) -> Terms:
        """Give the terms of a batch."""
        chosen = self.choose(batch)
        return self.ask(chosen)(batch._replace(labels=self.renumber(batch.labels, chosen)))

    def choose(self, batch: Batch) -> Vocabulary:
        """Give the pairs of the objects that show, and of those that are drawn."""
        shown = set(batch.labels.objects.unique().tolist()) - {-1}
        shown |= {self.training.object_of[pair] for pair in batch.labels.pairs.unique().tolist() if pair >= 0}
        others = [index for index in range(len(self.training.objects)) if index not in shown]
        rng = np.random.default_rng([self.seed, zlib.crc32(" ".join(batch.image_ids).encode())])
        drawn = rng.permutation(others)[: self.absent].tolist() if others else []
        names = {self.training.objects[index] for index in (*shown, *drawn)}
        return Vocabulary(tuple(pair for pair in self.training.pairs if pair.object in names))

    def renumber(self, labels: Labels, chosen: Vocabulary) -> Labels:
        """Give the labels in the numbering of the chosen vocabulary."""
        return Labels(
            _renumber(labels.pairs, self.training.pairs, chosen.pairs),
            _renumber(labels.objects, self.training.objects, chosen.objects),
            labels.outside,
        )


def _renumber(labels: Int[Tensor, "B H W"], before: Sequence[object], after: Sequence[object]) -> Int[Tensor, "B H W"]:
    places = {name: index for index, name in enumerate(after)}
    table = torch.tensor([*(places.get(name, -1) for name in before), -1], device=labels.device)
    return table[labels.long()]


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
