"""Label maps for the tests of counts and rules; -1 is none."""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from scipy.ndimage import binary_erosion

from partseg_cli.data.record import Record, RecordKey
from partseg_cli.data.rle import NONE
from partseg_cli.data.splits.split import published_split
from partseg_cli.data.store import Store
from partseg_cli.evaluation.counts import ConfusionCounts, ConfusionTable, count_pixels
from partseg_cli.evaluation.evaluator import ImageCounts, evaluate_label_maps
from partseg_cli.evaluation.samples import SampleConfig
from partseg_cli.evaluation.spec import EvalSpec, EvalSubset, LabelMaps

CLASSES = 6


def draw(rng: np.random.Generator, height: int, width: int, classes: int = CLASSES) -> np.ndarray:
    """Draw random rectangles over each other, none among them, and some dust."""
    labels = np.full((height, width), -1)
    for _ in range(rng.integers(0, 12)):
        top, left = rng.integers(height), rng.integers(width)
        rows, columns = slice(top, top + rng.integers(1, height + 1)), slice(left, left + rng.integers(1, width + 1))
        labels[rows, columns] = rng.integers(-1, classes)
    dust = rng.random((height, width)) < rng.choice([0, 0.001, 0.05])
    labels[dust] = rng.integers(-1, classes)
    return labels


def draw_pair(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw a prediction and a target of one size, mostly odd, that agree in part."""
    rng = np.random.default_rng(seed)
    height, width = (int(size) for size in rng.integers(17, 70, 2))
    target, prediction = draw(rng, height, width), draw(rng, height, width)
    agree = rng.random((height, width)) < rng.choice([0.0, 0.5, 1.0])
    prediction[agree] = target[agree]
    return prediction, target


def counted(prediction: np.ndarray, target: np.ndarray, classes: int = CLASSES) -> ConfusionCounts:
    return count_pixels(torch.from_numpy(prediction), torch.from_numpy(target), classes)


def table_of(pairs: Iterable[tuple[np.ndarray, np.ndarray]], classes: int = CLASSES) -> ConfusionTable:
    """Count pairs of a prediction and a target, each an image of its own."""
    table = ConfusionTable(classes)
    for number, (prediction, target) in enumerate(pairs):
        table.add(f"image {number}", counted(prediction, target, classes))
    return table


def totals(*pairs: tuple[np.ndarray, np.ndarray], classes: int = CLASSES) -> np.ndarray:
    return table_of(pairs, classes).totals()


def eroded_away(mask: np.ndarray, width: int) -> np.ndarray:
    """Give the boundary of one mask by its definition: pad with zeros, erode, take the difference."""
    padded = np.pad(mask, 1)
    return (padded & ~binary_erosion(padded, np.ones((3, 3)), iterations=width))[1:-1, 1:-1]


def flat(record: Record) -> torch.Tensor:
    """Give the labelled map of a record."""
    labels = torch.from_numpy(record.pair_map().astype("int64"))
    return labels.masked_fill(labels == NONE, -1)


def spec_of(store: Store, protocol: str = "pred-all", config: SampleConfig | None = None) -> EvalSpec:
    """Specify an evaluation of a store under its published split."""
    return EvalSpec(store, published_split(store), "val", protocol, config or SampleConfig())


def count_maps(
    maps: LabelMaps, store: Store, config: SampleConfig | None = None, keys: Sequence[RecordKey] | None = None
) -> list[ImageCounts]:
    """Count label maps of all images of a store, or of the keys."""
    subset = EvalSubset(store.record_keys() if keys is None else keys)
    return list(evaluate_label_maps(maps, spec_of(store, config=config), subset))
