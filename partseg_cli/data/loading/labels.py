"""Training labels: from the labels of a store to those of the training vocabulary, or of a few of its objects."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Bool, Int, Int16, UInt16
from torch import Tensor

from partseg_cli.data.loading.transforms import nearest_indices, shortest_edge_size
from partseg_cli.data.record import Record
from partseg_cli.data.rle import NONE, paint
from partseg_cli.data.store import Store
from partseg_cli.errors import VocabularyError
from partseg_cli.structures import Batch, Labels
from partseg_cli.vocabulary import Vocabulary

MAX_PAIRS = 2**15 - 1
"""Limit of int16, in which labels are sent between processes."""
NOT_TRAINED = -2
"""Label of an object whose pixels are not trained as background either."""


class LabelMapper:
    """Look-up tables from the labels of a store to those of the training vocabulary, which is the seen pairs.

    Args:
        store: Labelled images.
        vocabulary: Pairs of the store, with seen flags.
        unlabelled_objects: "background" trains unseen objects as background, "ignore" leaves their pixels out.
    """

    def __init__(self, store: Store, vocabulary: Vocabulary, unlabelled_objects: str) -> None:
        self.vocabulary = vocabulary.seen()
        if len(self.vocabulary.pairs) > MAX_PAIRS:
            raise VocabularyError(
                f"training takes at most {MAX_PAIRS:,} seen pairs, got {len(self.vocabulary.pairs):,}; split otherwise"
            )
        seen = {(pair.object, pair.part): index for index, pair in enumerate(self.vocabulary.pairs)}
        self._pairs = np.full(NONE + 1, -1, np.int64)
        for index, pair in enumerate(vocabulary.pairs):
            self._pairs[index] = seen.get((pair.object, pair.part), -1)
        self._objects = np.full(NONE + 1, -1, np.int64)
        self._background = np.ones(NONE + 1, np.bool_)
        for index, name in enumerate(store.info.objects):
            if name in self.vocabulary.objects:
                self._objects[index] = self.vocabulary.objects.index(name)
                self._background[index] = False
            elif name in vocabulary.objects and unlabelled_objects == "ignore":
                self._background[index] = False

    def pairs(self, labels: UInt16[np.ndarray, "*size"]) -> Int[np.ndarray, "*size"]:
        """Return indices of the training vocabulary's pairs; -1: none or unseen."""
        return np.take(self._pairs, labels)

    def objects(self, labels: UInt16[np.ndarray, "*size"]) -> Int[np.ndarray, "*size"]:
        """Return indices of the training vocabulary's objects; -1: none, unseen or without parts."""
        return np.take(self._objects, labels)

    def is_background(self, labels: UInt16[np.ndarray, "*size"]) -> Bool[np.ndarray, "*size"]:
        """Return whether the target of an object's pixels is the background."""
        return np.take(self._background, labels)

    def label_maps(self, record: Record) -> tuple[Int16[np.ndarray, "H W"], Int16[np.ndarray, "H W"]]:
        """Return the label maps of a record's pairs and objects: -1: none; -2: an object that is not trained."""
        pairs = self.pairs(np.array([part.pair for part in record.parts], np.uint16))
        categories = np.array([instance.category for instance in record.objects], np.uint16)
        objects = np.where(self.is_background(categories), -1, self.objects(categories))
        objects[(objects < 0) & ~self.is_background(categories)] = NOT_TRAINED
        parts = zip(pairs.astype(np.uint16), record.parts, strict=True)
        instances = zip(objects.astype(np.uint16), record.objects, strict=True)
        size = record.height, record.width
        return (
            paint(((label, part.level, part.mask) for label, part in parts), *size).view(np.int16),
            paint(((label, 0, instance.mask) for label, instance in instances), *size).view(np.int16),
        )


@lru_cache(maxsize=64)
def source_pixels(
    height: int, width: int, size: int, shortest: int | None, longest: int, is_flipped: bool
) -> Int[np.ndarray, "{size} {size}"]:
    """Return the source pixel of each pixel of a resized label map, counted column by column as in masks.

    Labels pass the two resizes of their image, each by the floor rule of "nearest".
    """
    first = (height, width) if shortest is None else shortest_edge_size(height, width, shortest, longest)
    rows, columns = (
        nearest_indices(before, after)[nearest_indices(after, size)]
        for before, after in zip((height, width), first, strict=True)
    )
    if is_flipped:
        columns = nearest_indices(width, first[1])[::-1][nearest_indices(first[1], size)]
    pixels: Int[np.ndarray, "{size} {size}"] = rows[:, None] + columns * height
    return pixels


@dataclass(frozen=True)
class NegativeSampling:
    """Vocabulary of a batch: the objects that it shows, and a few negative ones that it does not.

    Most of the training vocabulary is absent from any image, and the loss over it takes most of the time. The pairs and
    parts of all other objects are left out of the step, and so are their channels in the means.

    Attributes:
        vocabulary: Whole training vocabulary.
        negatives: Number of objects that the batch does not show.
        seed: Together with the image ids it decides which objects are drawn, so a resumed run draws the same.
    """

    vocabulary: Vocabulary
    negatives: int
    seed: int

    def __call__(self, batch: Batch) -> tuple[Vocabulary, Labels]:
        """Return the vocabulary of a batch, and its labels in the indices of that vocabulary."""
        chosen = self.choose(batch)
        return chosen, self.reindex(batch.labels, chosen)

    def choose(self, batch: Batch) -> Vocabulary:
        """Return the pairs of the objects that the batch shows and of those drawn."""
        shown = set(batch.labels.objects.unique().tolist()) - {-1}
        shown |= {self.vocabulary.object_of[pair] for pair in batch.labels.pairs.unique().tolist() if pair >= 0}
        others = [index for index in range(len(self.vocabulary.objects)) if index not in shown]
        rng = np.random.default_rng([self.seed, zlib.crc32(" ".join(batch.image_ids).encode())])
        drawn = rng.permutation(others)[: self.negatives].tolist() if others else []
        names = {self.vocabulary.objects[index] for index in (*shown, *drawn)}
        return Vocabulary(tuple(pair for pair in self.vocabulary.pairs if pair.object in names))

    def reindex(self, labels: Labels, chosen: Vocabulary) -> Labels:
        """Return the labels in the indices of the chosen vocabulary."""
        return Labels(
            _reindex(labels.pairs, self.vocabulary.pairs, chosen.pairs),
            _reindex(labels.objects, self.vocabulary.objects, chosen.objects),
            labels.background,
        )


def _reindex(labels: Int[Tensor, "B H W"], before: Sequence[object], after: Sequence[object]) -> Int[Tensor, "B H W"]:
    indices = {name: index for index, name in enumerate(after)}
    table = torch.tensor([*(indices.get(name, -1) for name in before), -1], device=labels.device)
    return table[labels.long()]
