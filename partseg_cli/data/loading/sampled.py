"""Photos by their number in a run, for training on what is drawn from them anew each time: captions, phrases."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar

import numpy as np
from torch.utils.data import Dataset

from partseg_cli.data.loading.dataloader import build_dataloader, photo_of
from partseg_cli.data.record import Record
from partseg_cli.data.store import Store
from partseg_cli.errors import DataError
from partseg_cli.vocabulary import Vocabulary

Item = TypeVar("Item")
Batch = TypeVar("Batch")


class SampledDataset(Dataset[Item], Generic[Item, Batch]):
    """The photos with an object in them; what is drawn from one is a pure function of the seed and the number."""

    def __init__(
        self,
        store: Store,
        image_ids: Sequence[str],
        vocabulary: Vocabulary,
        seed: int,
        join: Callable[[Sequence[Item]], Batch],
    ) -> None:
        """Choose the photos.

        Raises:
            DataError: none of them has an object.
        """
        self.store, self.vocabulary, self.seed, self._join = store, vocabulary, seed, join
        self.unseen = set(vocabulary.unseen_objects)
        self.names = store.info.objects
        chosen = [store[key] for key in store.record_keys(image_ids)]
        self.records: list[Record] = [record for record in chosen if record.objects]
        if not self.records:
            raise DataError(f"{store.folder}: training needs an image with an object, got none; split again")

    def __len__(self) -> int:
        return len(self.records)

    def draw(self, number: int) -> tuple[int, np.random.Generator]:
        """Give the index of the photo with this number, and the randomness for what is drawn from it."""
        return photo_of(number, self.seed, len(self)), np.random.default_rng([self.seed, number])

    def batches(self, *, images: int, numbers: Sequence[int], workers: int) -> Iterator[Batch]:
        """Give these numbers of the run, `images` at a time."""
        return build_dataloader(self, self._join, images=images, numbers=numbers, workers=workers)
