"""Samples by their ids in a run: the image of each sample, and batches from worker processes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from jaxtyping import Int
from torch.utils.data import DataLoader, Dataset

from partseg_cli.data.record import Record
from partseg_cli.data.store import Store
from partseg_cli.errors import DataError, PartsegError
from partseg_cli.vocabulary import Vocabulary

Sample = TypeVar("Sample")
Batch = TypeVar("Batch")

PREFETCH = 4
"""Batches that each worker loads ahead."""


def image_index(sample_id: int, seed: int, length: int, offset: int = 0) -> int:
    """Return the index of the image that a sample shows; each epoch shows every image once, in an order of its own.

    Args:
        sample_id: Number of the sample in its run, from 0.
        seed: Seed of the run.
        length: Number of images.
        offset: Number of places to move on in the order of the epoch, for an image that cannot be shown.
    """
    epoch, position = divmod(sample_id, length)
    return int(_epoch_order(seed, epoch, length)[(position + offset) % length])


@lru_cache(maxsize=2)
def _epoch_order(seed: int, epoch: int, length: int) -> Int[np.ndarray, "N"]:
    return np.random.default_rng([seed, epoch, length]).permutation(length)


class SampledDataset(Dataset[Sample], Generic[Sample, Batch]):
    """Images with an object; what is drawn from one is a pure function of the seed and the sample id."""

    def __init__(
        self,
        store: Store,
        image_ids: Sequence[str],
        vocabulary: Vocabulary,
        seed: int,
        collate: Callable[[Sequence[Sample]], Batch],
    ) -> None:
        """Choose the images.

        Raises:
            DataError: None of them has an object.
        """
        self.store, self.vocabulary, self.seed, self._collate = store, vocabulary, seed, collate
        self.names = store.info.objects
        chosen = [store[key] for key in store.record_keys(image_ids)]
        self.records: list[Record] = [record for record in chosen if record.objects]
        if not self.records:
            raise DataError(f"{store.folder}: training needs an image with an object, got none; split again")

    def __len__(self) -> int:
        return len(self.records)

    def draw(self, sample_id: int) -> tuple[int, np.random.Generator]:
        """Return the index of the sample's image, and the random generator of the sample."""
        return image_index(sample_id, self.seed, len(self)), np.random.default_rng([self.seed, sample_id])

    def objects_in(self, record: Record) -> set[str]:
        """Return the names of the objects in an image."""
        return {self.names[instance.category] for instance in record.objects}

    def shows_unseen(self, record: Record) -> bool:
        """Check whether an image shows an unseen object; no part of such an image is named."""
        return not self.objects_in(record).isdisjoint(self.vocabulary.unseen_objects)

    def batches(self, *, images: int, sample_ids: Sequence[int], workers: int) -> Iterator[Batch]:
        """Load batches of `images` samples each, see `build_dataloader`."""
        return build_dataloader(self, self._collate, images=images, sample_ids=sample_ids, workers=workers)


def build_dataloader(
    samples: Dataset[Sample],
    collate: Callable[[Sequence[Sample]], Batch],
    *,
    images: int,
    sample_ids: Sequence[int],
    workers: int,
) -> Iterator[Batch]:
    """Load batches of samples in order, page-locked where there is a CUDA device.

    Args:
        samples: Dataset indexed by sample id.
        collate: Function from the samples of a batch to the batch.
        images: Samples of a batch; the last batch may be smaller.
        sample_ids: Ids of the samples to load.
        workers: Number of worker processes, at most one per CPU; 0 loads in the main process.

    Raises:
        PartsegError: A sample raised it, in whichever process.
    """
    workers = min(workers, os.cpu_count() or 1)
    loader: DataLoader[Any] = DataLoader(
        ErrorAsValue(samples),
        batch_size=images,
        sampler=sample_ids,
        num_workers=workers,
        prefetch_factor=PREFETCH if workers else None,
        pin_memory=torch.cuda.is_available(),
        collate_fn=partial(_collate_or_error, collate),
    )
    for batch in loader:
        if isinstance(batch, PartsegError):
            raise batch
        yield batch


class ErrorAsValue(Dataset[Any], Generic[Sample]):
    """Dataset that returns a user's error as a value: raised in a worker, its message would hold a traceback."""

    def __init__(self, samples: Dataset[Sample]) -> None:
        self.samples = samples

    def __getitem__(self, sample_id: int) -> Sample | PartsegError:
        try:
            return self.samples[sample_id]
        except PartsegError as error:
            return error


def _collate_or_error(
    collate: Callable[[Sequence[Sample]], Batch], items: Sequence[Sample | PartsegError]
) -> Batch | PartsegError:
    """Collate samples, unless one of them is an error: then return the first error."""
    samples: list[Sample] = []
    for item in items:
        if isinstance(item, PartsegError):
            return item
        samples.append(item)
    return collate(samples)
