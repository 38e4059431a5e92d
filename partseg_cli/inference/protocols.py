"""Protocols: from logits to label maps, for `evaluate` and `predict`.

Scores are float32 sigmoids of logits upsampled to the image's size (bilinear, align_corners False), as in the published
code: where several saturate at 1 the first one wins, so that comparing logits would change labels. Few planes are
upsampled at a time, so that memory does not grow with the vocabulary and they stay in the processor's cache.
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
"""Most scores that are upsampled together: 4 MB, which a processor's cache holds. For a small map that is the whole
stack, as it must be: up to 128 pixels of height plus width PyTorch rounds a stack differently from one plane."""


class LabelMap(NamedTuple):
    """Label map with scores.

    Attributes:
        labels: Index of the best channel at each pixel, -1 = none.
        scores: Score of that channel in [0, 1]; 0 where there is none.
    """

    labels: Int[Tensor, "H W"]
    scores: Float[Tensor, "H W"]


class PredAll(NamedTuple):
    """Label maps of Pred-All.

    Attributes:
        pairs: Object-specific parts, -1 = background.
        objects: Objects of the gate, -1 = background; None if the model has no gate.
    """

    pairs: LabelMap
    objects: LabelMap | None


def pred_all(logits: Logits, vocabulary: Vocabulary, size: tuple[int, int]) -> PredAll:
    """Predict objects as a hard gate, then the best part of each pixel's object, without any oracle.

    Pairs of other objects lose their scores, and the background of the pairs counts only where the gate is background,
    so that a gated pixel always gets a part of its object. Without a gate all pairs and the background compete.

    Args:
        logits: Logits of one image.
        vocabulary: Vocabulary of the logits.
        size: Height and width of the label map in pixels.

    Example:
        >>> from partseg_cli.vocabulary import Pair
        >>> words = Vocabulary((Pair("cat", "ear"), Pair("dog", "ear")))
        >>> pairs = torch.tensor([[3.0, 3.0], [1.0, 1.0], [-9.0, -9.0]])[None, :, None]
        >>> objects = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-9.0, -9.0]])[None, :, None]
        >>> pred_all(Logits(pairs, objects), words, (1, 2)).pairs.labels.tolist()
        [[0, 1]]
    """
    if logits.objects is None:
        return PredAll(drop_background(upsampled_argmax(logits.pairs[0], size), logits.pairs.shape[1]), None)
    gate = drop_background(upsampled_argmax(logits.objects[0], size), logits.objects.shape[1])
    return PredAll(_best_parts(logits.pairs[0], vocabulary, gate.labels), gate)


def segment_parts(logits: Logits, vocabulary: Vocabulary, objects: Int[Tensor, "H W"]) -> Int[Tensor, "H W"]:
    """Predict the best part of a given object at each pixel; -1 where there is no object.

    That is Pred-Obj with the objects of another model (our reading of OV-PARTS, which released no code for it), and
    Oracle-Obj with the labelled ones.

    Args:
        logits: Logits of one image.
        vocabulary: Vocabulary of the logits.
        objects: Index of the object at each pixel of the image, -1 = none.

    Example:
        >>> from partseg_cli.vocabulary import Pair
        >>> words = Vocabulary((Pair("cat", "ear"), Pair("dog", "ear")))
        >>> logits = Logits(torch.tensor([[3.0, 3.0, 3.0], [1.0, 1.0, 1.0], [9.0, 9.0, 9.0]])[None, :, None])
        >>> segment_parts(logits, words, torch.tensor([[0, 1, -1]])).tolist()
        [[0, 1, -1]]
    """
    return _best_parts(logits.pairs[0], vocabulary, objects).labels


def oracle_obj(
    logits: Logits, vocabulary: Vocabulary, size: tuple[int, int], objects: Collection[int]
) -> Int[Tensor, "H W"]:
    """Predict the best pair of given objects, without the background.

    Args:
        logits: Logits of one image.
        vocabulary: Vocabulary of the logits.
        size: Height and width of the label map in pixels.
        objects: Indices of the objects in the image.

    Example:
        >>> from partseg_cli.vocabulary import Pair
        >>> words = Vocabulary((Pair("cat", "ear"), Pair("dog", "ear")))
        >>> logits = Logits(torch.tensor([[3.0, 3.0], [1.0, 1.0], [9.0, 9.0]])[None, :, None])
        >>> oracle_obj(logits, words, (1, 2), [1]).tolist()
        [[1, 1]]
    """
    rows = _pairs_of(objects, vocabulary)
    winner = upsampled_argmax(logits.pairs[0, rows], size).labels
    return torch.tensor([*rows, -1], device=winner.device)[winner]


def upsampled_argmax(planes: Float[Tensor, "C h w"], size: tuple[int, int]) -> LabelMap:
    """Return the argmax channel and its score at each pixel; ties go to the lowest index.

    Args:
        planes: Logits of each channel.
        size: Height and width to upsample to.

    Example:
        >>> upsampled_argmax(torch.tensor([[[0.0]], [[2.0]]]), (1, 2)).labels.tolist()
        [[1, 1]]
    """
    labels, scores = _compete(planes, size)
    return LabelMap(labels.view(size), scores.view(size))


def _best_parts(planes: Float[Tensor, "K1 h w"], vocabulary: Vocabulary, gate: Int[Tensor, "H W"]) -> LabelMap:
    """Return the best pair of each pixel's own object; a pair is scored only at the pixels of its object."""
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
    """Return the best channel, -1 = none, and its score at some pixels of the upsampled map.

    `wins` is a float32 plane of 0 and 1, and the winner a running maximum: bool planes and writes through them run
    pixel by pixel in PyTorch on a CPU, and cost as much as upsampling.

    Args:
        planes: Logits of each channel.
        size: Height and width to upsample to.
        pixels: Indices of the pixels, counted row by row; None = all.
    """
    best = torch.full((size[0] * size[1] if pixels is None else len(pixels),), -1.0, device=planes.device)
    winner = torch.zeros_like(best)  # its index + 1; 0 = none
    wins = torch.empty_like(best)
    at_once = max(1, SCORES_AT_ONCE // (size[0] * size[1]))
    for first in range(0, len(planes), at_once):
        group = planes[None, first : first + at_once].detach().float()
        upsampled = F.interpolate(group, size=size, mode="bilinear", align_corners=False)[0].flatten(1)
        scores = (upsampled if pixels is None else upsampled.index_select(1, pixels)).sigmoid_()
        for number, score in enumerate(scores, first + 1):
            torch.gt(score, best, out=wins)
            torch.maximum(best, score, out=best)
            torch.maximum(winner, wins.mul_(number), out=winner)  # numbers rise: the last winner counts
    return winner.long() - 1, best.clamp_(min=0)


def drop_background(label_map: LabelMap, channels: int) -> LabelMap:
    """Replace the last channel, the background, by none.

    Example:
        >>> drop_background(LabelMap(torch.tensor([[0, 2]]), torch.tensor([[0.5, 0.9]])), 3).labels.tolist()
        [[0, -1]]
    """
    is_background = label_map.labels == channels - 1
    return LabelMap(label_map.labels.masked_fill(is_background, -1), label_map.scores.masked_fill(is_background, 0))
