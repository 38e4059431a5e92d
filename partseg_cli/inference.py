"""Logits -> label maps under a protocol; `evaluate` and `predict` share it.

Scores are float32 sigmoids of logits enlarged to the photo's size (bilinear, align_corners False), as in the published
code: where several saturate at 1 the first one wins, so comparing logits instead would move labels. Planes are enlarged
one at a time, so memory does not grow with the vocabulary.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from partseg_cli.records import Logits
from partseg_cli.vocabulary import Vocabulary

PROTOCOLS = ("pred-all", "oracle-obj")


class Choice(NamedTuple):
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

    pairs: Choice
    objects: Choice | None


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
        return PredAll(_but_last(strongest(logits.pairs[0], size), logits.pairs.shape[1]), None)
    gate = _but_last(strongest(logits.objects[0], size), logits.objects.shape[1])
    admitted = [gate.labels == owner for owner in vocabulary.object_of]
    return PredAll(strongest(logits.pairs[0, :-1], size, admitted), gate)


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
    rows = [index for index, owner in enumerate(vocabulary.object_of) if owner in objects]
    winner = strongest(logits.pairs[0, rows], size).labels
    return torch.tensor([*rows, -1], device=winner.device)[winner]


def strongest(
    planes: Float[Tensor, "C h w"], size: tuple[int, int], admitted: Sequence[Bool[Tensor, "H W"]] | None = None
) -> Choice:
    """Give the channel with the largest score at each pixel; the first of equals, as argmax does.

    Args:
        planes: logits of each channel.
        size: height and width to enlarge to.
        admitted: for each channel the pixels where it may win; None = everywhere.
    """
    labels = torch.full(size, -1, dtype=torch.long, device=planes.device)
    best = torch.full(size, -1.0, device=planes.device)
    for channel, plane in enumerate(planes):
        if admitted is not None and not admitted[channel].any():
            continue
        enlarged = F.interpolate(plane[None, None].float(), size=size, mode="bilinear", align_corners=False)
        score = enlarged[0, 0].sigmoid()
        wins = score > best
        if admitted is not None:
            wins &= admitted[channel]
        best = torch.where(wins, score, best)
        labels = labels.masked_fill(wins, channel)
    return Choice(labels, best.clamp(min=0))


def _but_last(choice: Choice, channels: int) -> Choice:
    """Make the last channel, the background, none."""
    is_background = choice.labels == channels - 1
    return Choice(choice.labels.masked_fill(is_background, -1), choice.scores.masked_fill(is_background, 0))
