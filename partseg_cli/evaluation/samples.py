"""Samples of an evaluation: which pixels of an image count, their targets, and the objects that Oracle-Obj is given."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Int
from torch import Tensor

from partseg_cli.data.loading.transforms import shortest_edge_size
from partseg_cli.data.record import Record
from partseg_cli.data.rle import NONE
from partseg_cli.evaluation.boundary import RATIO
from partseg_cli.vocabulary import Vocabulary

PUBLISHED_EDGES = (800, 1333)
"""Shortest and longest edge of detectron2's first resize, which the published evaluation applies to its targets."""


@dataclass(frozen=True)
class SampleConfig:
    """Division of images into samples, and their counting.

    Attributes:
        unit: A published sample is an "object" class of an image (Pascal-Part-116), a whole "image" (PartImageNet), or
            an "instance" of an object (ADE20K-Part-234). The object classes of an image share no labelled pixel, so
            they are counted together, as one sample in which Oracle-Obj is given the object of each labelled pixel.
        ratio: Width of the boundary band as a fraction of the image diagonal.
        round_trip: Whether the target is scaled to detectron2's size and back, as published, which moves it by a pixel.
    """

    unit: str = "object"
    ratio: float = RATIO
    round_trip: bool = False


@dataclass(frozen=True)
class Sample:
    """One test sample.

    Attributes:
        target: Index of the labelled pair at each pixel, -1 = void.
        inside: Pixels that count; predictions elsewhere are void.
        oracle_object: Index of the object that Oracle-Obj is given at each pixel, -1 = none; None gives it all of
            `objects` at once.
        objects: Indices of the objects present.
    """

    target: Int[Tensor, "H W"]
    inside: Bool[Tensor, "H W"]
    oracle_object: Int[Tensor, "H W"] | None
    objects: tuple[int, ...]

    def object_areas(self) -> list[Bool[Tensor, "H W"]]:
        """Return the pixels of each object, where several are counted together that published code counts apart."""
        if self.oracle_object is None or len(self.objects) < 2:
            return []
        return [self.oracle_object == index for index in self.objects]


def samples(
    record: Record,
    object_names: Sequence[str],
    vocabulary: Vocabulary,
    config: SampleConfig,
    scored_pairs: Sequence[bool] | None,
) -> Iterator[Sample]:
    """Yield the samples of an image that have a labelled pixel.

    Args:
        record: Labels of the image.
        object_names: Objects of the store.
        vocabulary: Pairs of the store, in its order.
        config: What a sample is.
        scored_pairs: Whether the labelled pixels of each pair count; None counts all.
    """
    labels = torch.from_numpy(record.pair_map().astype("int64"))
    labels = labels.masked_fill(labels == NONE, -1)
    if config.round_trip:
        labels = round_trip(labels)
    target = labels if scored_pairs is None else torch.where(torch.tensor([*scored_pairs, False])[labels], labels, -1)
    # Pixels of unknown label, and those of pairs that are not scored, count neither for nor against a prediction.
    inside = (labels < 0) & ~torch.from_numpy(record.unlabelled_mask()) | (target >= 0)
    if config.unit == "instance":
        pairs = [pair for index, pair in enumerate(vocabulary.pairs) if scored_pairs is None or scored_pairs[index]]
        oracle_object = {object_names.index(pair.object): vocabulary.objects.index(pair.object) for pair in pairs}
        yield from _instance_samples(record, oracle_object, config, target, inside)
        return
    owners = torch.tensor([*vocabulary.object_of, -1])[target]
    present = tuple(int(index) for index in owners.unique() if index >= 0)
    if present:
        yield Sample(target, inside, owners if config.unit == "object" else None, present)


def _instance_samples(
    record: Record,
    oracle_object: Mapping[int, int],
    config: SampleConfig,
    target: Int[Tensor, "H W"],
    inside: Bool[Tensor, "H W"],
) -> Iterator[Sample]:
    """Yield a sample for each instance: the labels inside its mask, also those of other instances there.

    `oracle_object` maps each scored category to the object given under Oracle-Obj; other instances yield none.
    """
    for instance in record.objects:
        if instance.category not in oracle_object:
            continue
        mask = torch.from_numpy(instance.mask.decode(record.height, record.width).copy())
        if config.round_trip:
            mask = round_trip(mask.long()).bool()  # published code cuts at the scaled size
        within = target.masked_fill(~mask, -1)
        if (within >= 0).any():
            index = oracle_object[instance.category]
            yield Sample(within, inside & mask, torch.where(mask, index, -1), (index,))


def round_trip(target: Int[Tensor, "H W"]) -> Int[Tensor, "H W"]:
    """Scale a target to detectron2's size for evaluation and back, to the nearest pixel each time, as published.

    In 64-bit floats, by PyTorch's "nearest", which takes the upper left neighbour: labels move by a pixel, or several.
    """
    height, width = target.shape
    edges = shortest_edge_size(height, width, *PUBLISHED_EDGES)
    scaled = F.interpolate(target[None, None].double(), size=edges, mode="nearest")
    return F.interpolate(scaled, size=(height, width), mode="nearest")[0, 0].long()
