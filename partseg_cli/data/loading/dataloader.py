"""Samples by their numbers in a run: which photo each shows, and batches from worker processes that read ahead."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from jaxtyping import Int
from torch.utils.data import DataLoader, Dataset

from partseg_cli.errors import PartsegError

Item = TypeVar("Item")
Batch = TypeVar("Batch")

AHEAD = 4
"""Batches that each worker reads ahead."""


def photo_of(number: int, seed: int, length: int, later: int = 0) -> int:
    """Give the index of the photo that a sample shows, or of the one so many places later in its epoch's order.

    Args:
        number: of the sample in its run.
        seed: of the run.
        length: number of photos; each epoch shows every one of them, in an order of its own.
        later: places.
    """
    epoch, position = divmod(number, length)
    return int(_permutation(seed, epoch, length)[(position + later) % length])


@lru_cache(maxsize=2)
def _permutation(seed: int, epoch: int, length: int) -> Int[np.ndarray, "N"]:
    return np.random.default_rng([seed, epoch, length]).permutation(length)


def build_dataloader(
    samples: Dataset[Item],
    join: Callable[[Sequence[Item]], Batch],
    *,
    images: int,
    numbers: Sequence[int],
    workers: int,
) -> Iterator[Batch]:
    """Give batches of samples, in order, page-locked where there is a CUDA device.

    Args:
        samples: by number.
        join: samples of one batch.
        images: samples of a batch; the last one may be smaller.
        numbers: of the samples.
        workers: processes that read ahead, a processor has at most one; 0: this process reads when it is asked.

    Raises:
        PartsegError: what a sample raised, in whichever process.
    """
    workers = min(workers, os.cpu_count() or 1)
    loader: DataLoader[Any] = DataLoader(
        _Told(samples),
        batch_size=images,
        sampler=numbers,
        num_workers=workers,
        prefetch_factor=AHEAD if workers else None,
        pin_memory=torch.cuda.is_available(),
        collate_fn=_Joined(join),
    )
    for batch in loader:
        if isinstance(batch, PartsegError):
            raise batch
        yield batch


class _Told(Dataset[Any], Generic[Item]):
    """Gives a user's mistake as a value: raised in a worker, it would arrive with a traceback in its message."""

    def __init__(self, samples: Dataset[Item]) -> None:
        self.samples = samples

    def __getitem__(self, number: int) -> Item | PartsegError:
        try:
            return self.samples[number]
        except PartsegError as error:
            return error


class _Joined(Generic[Item, Batch]):
    """Joins samples, unless one of them is a mistake."""

    def __init__(self, join: Callable[[Sequence[Item]], Batch]) -> None:
        self.join = join

    def __call__(self, items: Sequence[Item | PartsegError]) -> Batch | PartsegError:
        samples: list[Item] = []
        for item in items:
            if isinstance(item, PartsegError):
                return item
            samples.append(item)
        return self.join(samples)
