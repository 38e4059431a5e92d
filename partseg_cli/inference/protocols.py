"""Logits -> label maps under a protocol; `evaluate` and `predict` share it.

Scores are float32 sigmoids of logits enlarged to the photo's size (bilinear, align_corners False), as in the published
code: where several saturate at 1 the first one wins, so comparing logits instead would move labels. Few planes are
enlarged at a time, so memory does not grow with the vocabulary and they stay in the processor's cache.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from partseg_cli.structures import Logits
from partseg_cli.vocabulary import Vocabulary

SCORES_AT_ONCE = 2**20
"""Planes are enlarged together up to so many scores, 4 MB: a processor's cache holds them. Of a small map that is the
whole stack, as it must be: up to 128 pixels of height plus width PyTorch rounds a stack otherwise than one plane."""


class LabelMap(NamedTuple):
    """The winner at each pixel.

    Attributes:
        labels: index of the winning channel, -1 = none.
        scores: of the winner, in [0, 1]; 0 where there is none.
    """

    labels: Int[Tensor, "H W"]
    scores: Float[Tensor, "H W"]


class PredAll(NamedTuple):
    """What Pred-All decides at each pixel.

    Attributes:
        pairs: object-specific part, -1 = background.
        objects: object of the gate, -1 = background; None where the model has no gate.
    """

    pairs: LabelMap
    objects: LabelMap | None


def pred_all(logits: Logits, vocabulary: Vocabulary, size: tuple[int, int]) -> PredAll:
    """Decide with no help: first the object, a hard gate, then the best of its parts.

    Pairs of other objects lose their scores, the background of the pairs counts only where the gate says background, so
    a gated pixel always gets a part of its object. Without a gate all pairs and the background compete.

    Args:
        logits: of one image.
        vocabulary: that they were computed for.
        size: height and width in pixels of the label map.
    """
    if logits.objects is None:
        return PredAll(drop_background(upsampled_argmax(logits.pairs[0], size), logits.pairs.shape[1]), None)
    gate = drop_background(upsampled_argmax(logits.objects[0], size), logits.objects.shape[1])
    return PredAll(_parts_of_the_gate(logits.pairs[0], vocabulary, gate.labels), gate)


def segment_parts(logits: Logits, vocabulary: Vocabulary, objects: Int[Tensor, "H W"]) -> Int[Tensor, "H W"]:
    """Decide among the parts of the object that is told at each pixel; -1 where none is.

    That is Pred-Obj with the objects of another model (our reading of OV-PARTS, which released no code for it), and
    Oracle-Obj with the labelled ones.

    Args:
        logits: of one image.
        vocabulary: that they were computed for.
        objects: index of the object at each pixel of the photo, -1 = none.
    """
    return _parts_of_the_gate(logits.pairs[0], vocabulary, objects).labels


def oracle_obj(
    logits: Logits, vocabulary: Vocabulary, size: tuple[int, int], objects: Collection[int]
) -> Int[Tensor, "H W"]:
    """Decide among the pairs of `objects` alone, without the background: what the sample shows is told.

    Args:
        logits: of one image.
        vocabulary: that they were computed for.
        size: height and width in pixels of the label map.
        objects: indices of the objects that are there.
    """
    rows = _pairs_of(objects, vocabulary)
    winner = upsampled_argmax(logits.pairs[0, rows], size).labels
    return torch.tensor([*rows, -1], device=winner.device)[winner]


def upsampled_argmax(planes: Float[Tensor, "C h w"], size: tuple[int, int]) -> LabelMap:
    """Give the channel with the largest score at each pixel; the first of equals, as argmax does.

    Args:
        planes: logits of each channel.
        size: height and width to enlarge to.
    """
    labels, scores = _compete(planes, size)
    return LabelMap(labels.view(size), scores.view(size))


def _parts_of_the_gate(planes: Float[Tensor, "K1 h w"], vocabulary: Vocabulary, gate: Int[Tensor, "H W"]) -> LabelMap:
    """Give the strongest pair of each pixel's own object: a pair is only scored at the pixels of its object."""
    size = (gate.shape[0], gate.shape[1])
    owners = gate.flatten()
    labels, scores = torch.full_like(owners, -1), torch.zeros(len(owners), device=owners.device)
    for owner in owners.unique().tolist():
        rows = _pairs_of({owner}, vocabulary)
        pixels = (owners == owner).nonzero()[:, 0]
        winner, scores[pixels] = _compete(planes[rows], size, pixels)
        labels[pixels] = torch.tensor([*rows, -1], device=winner.device)[winner]
    return LabelMap(labels.view(size), scores.view(size))


def _pairs_of(objects: Collection[int], vocabulary: Vocabulary) -> list[int]:
    return [pair for pair, owner in enumerate(vocabulary.object_of) if owner in objects]


def _compete(
    planes: Float[Tensor, "C h w"], size: tuple[int, int], pixels: Int[Tensor, "N"] | None = None
) -> tuple[Int[Tensor, "N"], Float[Tensor, "N"]]:
    """Give the winner, -1 = none, and its score at `pixels` of the enlarged map, counted row by row; None = at all.

    Who wins is a float32 plane of 0 and 1, and the winner a running maximum: bool planes and writes through them run
    pixel by pixel in PyTorch on a processor, and cost as much as enlarging does.
    """
    best = torch.full((size[0] * size[1] if pixels is None else len(pixels),), -1.0, device=planes.device)
    winner = torch.zeros_like(best)  # its number, counted from 1; 0 = none
    wins = torch.empty_like(best)
    at_once = max(1, SCORES_AT_ONCE // (size[0] * size[1]))
    for first in range(0, len(planes), at_once):
        group = planes[None, first : first + at_once].detach().float()
        enlarged = F.interpolate(group, size=size, mode="bilinear", align_corners=False)[0].flatten(1)
        scores = (enlarged if pixels is None else enlarged.index_select(1, pixels)).sigmoid_()
        for number, score in enumerate(scores, first + 1):
            torch.gt(score, best, out=wins)
            torch.maximum(best, score, out=best)
            torch.maximum(winner, wins.mul_(number), out=winner)  # numbers rise: the last to win counts
    return winner.long() - 1, best.clamp_(min=0)


def drop_background(choice: LabelMap, channels: int) -> LabelMap:
    """Make the last channel, the background, none."""
    is_background = choice.labels == channels - 1
    return LabelMap(choice.labels.masked_fill(is_background, -1), choice.scores.masked_fill(is_background, 0))
