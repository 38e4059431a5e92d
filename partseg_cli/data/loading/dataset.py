"""Training samples from a store: each one a pure function of the seed and its number in the run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Int, Int16, UInt8, UInt16
from torch import Tensor
from torch.utils.data import Dataset

from partseg_cli.data.loading.dataloader import build_dataloader, photo_of
from partseg_cli.data.loading.image_cache import CachedPhotos, Photos
from partseg_cli.data.loading.transforms import nearest_rows, shortest_edge_size
from partseg_cli.data.record import Record
from partseg_cli.data.rle import NONE, paint
from partseg_cli.data.store import Store
from partseg_cli.errors import DataError, VocabularyError
from partseg_cli.structures import Batch, Labels
from partseg_cli.vocabulary import Vocabulary

MOST_PAIRS = 2**15 - 1
"""So that labels travel between processes in 16 bits."""
LEFT_OUT = -2
"""Of an object whose pixels are not trained as background either."""


@dataclass(frozen=True)
class ImageTransform:
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


class LabelMapper:
    """Store labels -> labels of the training vocabulary (the seen pairs), by table look-up."""

    def __init__(self, store: Store, vocabulary: Vocabulary, unlabelled_objects: str) -> None:
        self.training = vocabulary.seen()
        if len(self.training.pairs) > MOST_PAIRS:
            raise VocabularyError(
                f"training takes at most {MOST_PAIRS:,} seen pairs, got {len(self.training.pairs):,}; split otherwise"
            )
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

    def paint(self, record: Record) -> tuple[Int16[np.ndarray, "H W"], Int16[np.ndarray, "H W"]]:
        """Paint a record's pairs and objects as they are trained: -1 = none, and -2 = an object that is left out."""
        pairs = self.pairs(np.array([part.pair for part in record.parts], np.uint16))
        categories = np.array([instance.category for instance in record.objects], np.uint16)
        objects = np.where(self.outside(categories), -1, self.objects(categories))
        objects[(objects < 0) & ~self.outside(categories)] = LEFT_OUT
        parts = zip(pairs.astype(np.uint16), record.parts, strict=True)
        instances = zip(objects.astype(np.uint16), record.objects, strict=True)
        size = record.height, record.width
        return (
            paint(((label, part.level, part.mask) for label, part in parts), *size).view(np.int16),
            paint(((label, 0, instance.mask) for label, instance in instances), *size).view(np.int16),
        )


class PartDataset(Dataset[Batch]):
    """Training samples by their number in the run, images without a seen part left out.

    Sample g of a run shows the image `photo_of(g)` (a new order every epoch) in a view drawn from [seed, g], so that
    samples do not depend on how a run is spread over processes, interrupted and resumed.
    """

    def __init__(
        self,
        store: Store,
        image_ids: Sequence[str],
        vocabulary: Vocabulary,
        views: ImageTransform,
        seed: int,
        cache: Path | None = None,
    ) -> None:
        """Choose the images; `cache` is a folder that keeps their photos at the size of the view.

        Raises:
            DataError: none of the images has a seen part.
            PartsegError: the disk refuses to keep photos.
        """
        self.store, self.views, self.seed = store, views, seed
        self.tables = LabelMapper(store, vocabulary, views.unlabelled_objects)
        listed = store.record_keys(image_ids)
        self.keys = [key for key in listed if self._has_seen_part(store[key])]
        self.left_out = len(listed) - len(self.keys)
        if not self.keys:
            raise DataError(
                f"{store.folder}: training needs an image with a seen part, got none among {len(listed)} images; "
                "split again"
            )

        photos = Photos(store, views.image_size, views.shortest_edge, views.longest_edge)
        records = [] if cache is None else [store[key] for key in self.keys]
        self.photos = photos if cache is None else CachedPhotos(photos, records, cache)

    def __len__(self) -> int:
        return len(self.keys)

    def _has_seen_part(self, record: Record) -> bool:
        pairs = np.array([part.pair for part in record.parts], np.uint16)
        return bool((self.tables.pairs(pairs) >= 0).any())

    def __getitem__(self, number: int) -> Batch:
        """Give sample `number` of the run, as a batch of one; an image whose labels vanish gives way to the next."""
        for later in range(len(self)):
            index = photo_of(number, self.seed, len(self), later)
            batch = self._view(self.store[self.keys[index]], number)
            if (batch.labels.pairs >= 0).any():
                return batch
        raise DataError(
            f"{self.store.folder}: no seen part is left at {self.views.image_size} px; raise model.image_size"
        )

    def _view(self, record: Record, number: int) -> Batch:
        is_flipped = bool(np.random.default_rng([self.seed, number]).random() < self.views.flip)
        image, labels = self.image(record, is_flipped), self._labels(record, is_flipped)
        return Batch(image[None], labels, (record.image_id,))

    def image(self, record: Record, is_flipped: bool) -> UInt8[Tensor, "3 S S"]:
        """Give the photo of a record as the model reads it, flipped or not, before it is normalised."""
        pixels = torch.from_numpy(self.photos(record).copy())
        flips = [1] * is_flipped + [2] * (self.views.train_channel_order == "bgr")
        return torch.flip(pixels, flips).permute(2, 0, 1)  # pixels are the same, flipped before a resize or after it

    def _labels(self, record: Record, is_flipped: bool) -> Labels:
        views = self.views
        places = shown_pixels(
            record.height, record.width, views.image_size, views.shortest_edge, views.longest_edge, is_flipped
        )
        pairs, objects = (np.take(plane.T, places) for plane in self.tables.paint(record))
        outside = objects == -1
        if record.not_exhaustive or record.ignore is not None:
            outside &= ~np.take(record.unsure().T, places)
        planes = (pairs, np.maximum(objects, -1), outside)
        return Labels(*(torch.from_numpy(plane)[None] for plane in planes))

    def batches(self, *, images: int, numbers: Sequence[int], workers: int) -> Iterator[Batch]:
        """Give these samples of the run, `images` at a time; a processor has at most one worker."""
        return build_dataloader(self, _joined, images=images, numbers=numbers, workers=workers)


@lru_cache(maxsize=64)
def shown_pixels(
    height: int, width: int, size: int, shortest: int | None, longest: int, is_flipped: bool
) -> Int[np.ndarray, "{size} {size}"]:
    """Give for each pixel of a label map the one that it shows, counted column by column, as masks are, in the photo.

    Labels take the two resizes of a photo, each by the floor rule of "nearest".
    """
    first = (height, width) if shortest is None else shortest_edge_size(height, width, shortest, longest)
    rows, columns = (
        nearest_rows(before, after)[nearest_rows(after, size)]
        for before, after in zip((height, width), first, strict=True)
    )
    if is_flipped:
        columns = nearest_rows(width, first[1])[::-1][nearest_rows(first[1], size)]
    places: Int[np.ndarray, "{size} {size}"] = rows[:, None] + columns * height
    return places


def _joined(samples: Sequence[Batch]) -> Batch:
    images = torch.cat([sample.images for sample in samples])
    labels = Labels(*(torch.cat(planes) for planes in zip(*(sample.labels for sample in samples), strict=True)))
    return Batch(images, labels, tuple(name for sample in samples for name in sample.image_ids))
