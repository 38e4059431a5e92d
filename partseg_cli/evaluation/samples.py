"""What one test sample is: which pixels of a photo count, what is labelled there, and which objects are told."""

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

KINDS = ("object", "image", "instance")
PUBLISHED_EDGES = (800, 1333)
"""Shortest and longest edge of detectron2's first resize, which the published evaluation applies to its targets."""


@dataclass(frozen=True)
class SampleConfig:
    """How photos are cut into samples, and samples counted.

    Attributes:
        kind: a published sample is an "object" class of a photo (Pascal-Part-116), a whole "image" (PartImageNet), or
            an "instance" of an object (ADE20K-Part-234). The object classes of a photo share no labelled pixel, so
            they are counted together, as one sample; each labelled pixel is told its own object.
        ratio: width of the boundary band, as a share of the photo's diagonal.
        round_trip: whether the target is scaled to detectron2's size and back, as published, which moves it by a pixel.
    """

    kind: str = "object"
    ratio: float = RATIO
    round_trip: bool = False


@dataclass(frozen=True)
class Sample:
    """One test sample.

    Attributes:
        target: index of the labelled pair at each pixel, -1 = none.
        inside: the pixels that count; a prediction elsewhere is none of it.
        told: index of the object that Oracle-Obj is told at each pixel, -1 = none; None: all of `objects` at once.
        objects: indices of the objects that are there.
    """

    target: Int[Tensor, "H W"]
    inside: Bool[Tensor, "H W"]
    oracle_object: Int[Tensor, "H W"] | None
    objects: tuple[int, ...]

    def areas(self) -> list[Bool[Tensor, "H W"]]:
        """Give the pixels of each object, where several are counted together that published code counts one by one."""
        if self.oracle_object is None or len(self.objects) < 2:
            return []
        return [self.oracle_object == index for index in self.objects]


def samples(
    record: Record, names: Sequence[str], vocabulary: Vocabulary, counting: SampleConfig, scored: Sequence[bool] | None
) -> Iterator[Sample]:
    """Give the samples of a photo; those without a labelled pixel are left out.

    Args:
        record: of the photo.
        names: the store's objects.
        vocabulary: the store's pairs, in the store's order.
        counting: what a sample is.
        scored: for each pair whether its labelled pixels count; None: all do.
    """
    labels = torch.from_numpy(record.pair_map().astype("int64"))
    labels = labels.masked_fill(labels == NONE, -1)
    if counting.round_trip:
        labels = round_trip(labels)
    target = labels if scored is None else torch.where(torch.tensor([*scored, False])[labels], labels, -1)
    # What nobody labelled for sure, and what is not scored, is no place for a wrong prediction.
    inside = (labels < 0) & ~torch.from_numpy(record.unlabelled_mask()) | (target >= 0)
    if counting.kind == "instance":
        asked = {pair.object for index, pair in enumerate(vocabulary.pairs) if scored is None or scored[index]}
        oracle_object = {names.index(name): vocabulary.objects.index(name) for name in asked}
        yield from _instances(record, oracle_object, counting, target, inside)
        return
    owners = torch.tensor([*vocabulary.object_of, -1])[target]
    present = tuple(int(index) for index in owners.unique() if index >= 0)
    if present:
        yield Sample(target, inside, owners if counting.kind == "object" else None, present)


def _instances(
    record: Record,
    oracle_object: Mapping[int, int],
    counting: SampleConfig,
    target: Int[Tensor, "H W"],
    inside: Bool[Tensor, "H W"],
) -> Iterator[Sample]:
    """Give a sample of each instance: the photo's labels inside its mask, also those of others that lie there.

    `oracle_object` maps each scored category to the object given under Oracle-Obj; other instances yield none.
    """
    for instance in record.objects:
        if instance.category not in oracle_object:
            continue
        mask = torch.from_numpy(instance.mask.decode(record.height, record.width).copy())
        if counting.round_trip:
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
