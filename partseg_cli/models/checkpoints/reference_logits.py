"""Golden logits: a few numbers that a model gives for a picture and words that never change."""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from partseg_cli.structures import Logits
from partseg_cli.vocabulary import Pair, Vocabulary

WORDS = Vocabulary((Pair("cat", "ear"), Pair("cat", "tail"), Pair("dog", "ear")))
NUMBERS = 16
STRIDE = 7919
"""Prime, about as long as 22 rows: the numbers lie apart, on many rows, columns and channels."""

TOLERANCE = 1e-3
"""Of the largest magnitude: another machine or torch version stays far below, another model far above."""


def golden_image(size: int) -> Float[Tensor, "1 3 size size"]:
    """Give a smooth picture of waves, as a model takes it: three colours, values in [-2, 2]."""
    along = torch.arange(size, dtype=torch.float64) / size
    rows, columns = torch.meshgrid(along, along, indexing="ij")
    waves = [
        torch.sin(2 * math.pi * (turns * rows + columns)) + torch.cos(2 * math.pi * (turns * columns - rows))
        for turns in (1, 2, 3)
    ]
    return torch.stack(waves)[None].float()


def golden_record(model: nn.Module, size: int) -> dict[str, Any]:
    """Give what a header keeps of the golden logits."""
    return {"image_size": size, "words": [pair.name for pair in WORDS.pairs], "logits": golden_logits(model, size)}


def golden_logits(model: nn.Module, size: int) -> list[float]:
    """Give some logits of the golden picture and words, of pairs and objects."""
    training = model.training
    model.eval()
    with torch.inference_mode():
        logits: Logits = model(golden_image(size), WORDS)
    model.train(training)
    planes = [logits.pairs] if logits.objects is None else [logits.pairs, logits.objects]
    values = torch.cat([plane.flatten() for plane in planes])
    channels = sum(plane.shape[1] for plane in planes)
    steps = torch.arange(NUMBERS)
    places = steps % channels * size * size + steps * STRIDE % (size * size)
    return [float(value) for value in values[places]]


def drift(golden: list[float], now: list[float]) -> float:
    """Give the largest difference as a share of the largest magnitude."""
    largest = max(abs(value) for value in golden)
    return max(abs(a - b) for a, b in zip(golden, now, strict=True)) / max(largest, 1e-12)
