"""Training samples from a store: each one a pure function of the seed and its number in the run."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Bool, Int, UInt16
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from partseg_cli.data.record import Record
from partseg_cli.data.rle import NONE
from partseg_cli.data.splits import select
from partseg_cli.data.store import Store
from partseg_cli.data.transforms import nearest_rows, photo_tensor, shortest_edge_size
from partseg_cli.errors import DataError
from partseg_cli.records import Batch, Labels
from partseg_cli.vocabulary import Vocabulary


@dataclass(frozen=True)
class Views:
    """How photos are turned into training samples.

    Attributes:
        image_size: pixels, the square that the model reads.
        shortest_edge: pixels, of a first resize; None: none.
        longest_edge: pixels, its limit.
        flip: probability of a left-right flip.
        train_channel_order: "rgb", or "bgr" as in published training.
        unlabelled_objects: unseen objects are trained as "background", or their pixels are left out ("ignore").
    """

    image_size: int
    shortest_edge: int | None
    longest_edge: int
    flip: float
    train_channel_order: str
    unlabelled_objects: str


class LabelTables:
    """Store labels -> labels of the training vocabulary (the seen pairs), by table look-up."""

    def __init__(self, store: Store, vocabulary: Vocabulary, unlabelled_objects: str) -> None:
        self.training = vocabulary.seen()
        seen = {(pair.object, pair.part): index for index, pair in enumerate(self.training.pairs)}
        self._pairs = np.full(NONE + 1, -1, np.int64)
        for index, pair in enumerate(vocabulary.pairs):
            self._pairs[index] = seen.get((pair.object, pair.part), -1)
        self._objects = np.full(NONE + 1, -1, np.int64)
        self._outside = np.ones(NONE + 1, np.bool_)
        for index, name in enumerate(store.info.objects):
            if name in self.training.objects:
                self._objects[index] = self.training.objects.index(name)
                self._outside[index] = False
            elif name in vocabulary.objects and unlabelled_objects == "ignore":
                self._outside[index] = False

    def pairs(self, labels: UInt16[np.ndarray, "*size"]) -> Int[np.ndarray, "*size"]:
        """Give indices of the training vocabulary's pairs, -1 = none or unseen."""
        return np.take(self._pairs, labels)

    def objects(self, labels: UInt16[np.ndarray, "*size"]) -> Int[np.ndarray, "*size"]:
        """Give indices of the training vocabulary's objects, -1 = none, unseen or without parts."""
        return np.take(self._objects, labels)

    def outside(self, labels: UInt16[np.ndarray, "*size"]) -> Bool[np.ndarray, "*size"]:
        """Give the pixels whose target is the background."""
        return np.take(self._outside, labels)


class TrainSet(Dataset[Batch]):
    """Training samples by their number in the run, images without a seen part left out.

    Sample g of a run shows image `order[g]` (a new permutation every epoch) in a view drawn from [seed, g], so that
    samples do not depend on how a run is spread over processes, interrupted and resumed.
    """

    def __init__(self, store: Store, image_ids: Sequence[str], vocabulary: Vocabulary, views: Views, seed: int) -> None:
        self.store, self.views, self.seed = store, views, seed
        self.tables = LabelTables(store, vocabulary, views.unlabelled_objects)
        self._records = {split: store.records(split) for split in store.splits}
        listed = select(store, image_ids)
        self.places = [place for place in listed if self._has_seen_part(self.record(place))]
        self.left_out = len(listed) - len(self.places)
        if not self.places:
            raise DataError(
                f"{store.folder}: training needs an image with a seen part, got none among {len(listed)} images; "
                "split again"
            )

    def __len__(self) -> int:
        return len(self.places)

    def record(self, place: tuple[str, int]) -> Record:
        """Give the record at (store split, index)."""
        record: Record = self._records[place[0]][place[1]]
        return record

    def _has_seen_part(self, record: Record) -> bool:
        pairs = np.array([part.pair for part in record.parts], np.uint16)
        return bool((self.tables.pairs(pairs) >= 0).any())

    def __getitem__(self, number: int) -> Batch:
        """Give sample `number` of the run, as a batch of one; an image whose labels vanish gives way to the next."""
        epoch, position = divmod(number, len(self))
        order = permutation(self.seed, epoch, len(self))
        for step in range(len(self)):
            batch = self._view(self.record(self.places[order[(position + step) % len(self)]]), number)
            if (batch.labels.pairs >= 0).any():
                return batch
        raise DataError(
            f"{self.store.folder}: no seen part is left at {self.views.image_size} px; raise model.image_size"
        )

    def _view(self, record: Record, number: int) -> Batch:
        views = self.views
        photo = self.store.read_photo(record)
        height, width = record.height, record.width
        if views.shortest_edge is not None:
            height, width = shortest_edge_size(height, width, views.shortest_edge, views.longest_edge)
            photo = photo.resize((width, height), Image.Resampling.BILINEAR)
        rows, columns = nearest_rows(record.height, height), nearest_rows(record.width, width)
        if np.random.default_rng([self.seed, number]).random() < views.flip:
            photo = photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            columns = columns[::-1]
        size = views.image_size
        labels = self._labels(record, rows[nearest_rows(height, size)], columns[nearest_rows(width, size)])
        return Batch(photo_tensor(photo, size, views.train_channel_order)[None], labels, (record.image_id,))

    def _labels(self, record: Record, rows: Int[np.ndarray, "S"], columns: Int[np.ndarray, "S"]) -> Labels:
        pairs, objects = (plane[np.ix_(rows, columns)] for plane in (record.flat_pairs(), record.flat_objects()))
        outside = self.tables.outside(objects) & ~record.unsure()[np.ix_(rows, columns)]
        planes = (self.tables.pairs(pairs), self.tables.objects(objects), outside)
        return Labels(*(torch.from_numpy(plane)[None] for plane in planes))

    def batches(self, *, images: int, numbers: Sequence[int], workers: int) -> Iterator[Batch]:
        """Give these samples of the run, `images` at a time; a processor has at most one worker."""
        workers = min(workers, os.cpu_count() or 1)
        return iter(DataLoader(self, batch_size=images, sampler=numbers, num_workers=workers, collate_fn=_joined))


def _joined(samples: Sequence[Batch]) -> Batch:
    images = torch.cat([sample.images for sample in samples])
    labels = Labels(*(torch.cat(planes) for planes in zip(*(sample.labels for sample in samples), strict=True)))
    return Batch(images, labels, tuple(name for sample in samples for name in sample.image_ids))


@lru_cache(maxsize=2)
def permutation(seed: int, epoch: int, length: int) -> Int[np.ndarray, "N"]:
    """Give the order of an epoch's images."""
    return np.random.default_rng([seed, epoch, length]).permutation(length)
