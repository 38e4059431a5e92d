"""Process group: processes that train or evaluate together, and the share of a step that each of them takes."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributed import Store  # type: ignore[attr-defined]  # public, but not listed
from torch.nn.parallel import DistributedDataParallel

Value = TypeVar("Value")

PATIENCE = timedelta(days=7)
"""Timeout for the slowest process, which may be writing or evaluating."""


@dataclass(frozen=True)
class ProcessGroup:
    """Position of this process among all; a group of one needs no connection.

    Attributes:
        index: Rank of this process, from 0.
        size: Number of processes.
    """

    index: int = 0
    size: int = 1

    @property
    def is_main(self) -> bool:
        """True in the process that logs and writes."""
        return self.index == 0

    @property
    def is_connected(self) -> bool:
        """True once the processes can communicate."""
        return self.size == 1 or dist.is_initialized()

    @contextmanager
    def connected(self, device: torch.device, store: Store | None = None) -> Iterator[None]:
        """Connect the processes, unless they are: values in memory go through gloo, those on a GPU through nccl.

        Args:
            device: Device of this process.
            store: Meeting point; None reads MASTER_ADDR and MASTER_PORT.
        """
        if self.is_connected:
            yield
            return
        if device.type == "cuda":
            torch.cuda.set_device(device)
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, store=store, rank=self.index, world_size=self.size, timeout=PATIENCE)
        try:
            with warnings.catch_warnings():
                # a kernel of 4x4 over one channel may be strided in two ways that are the same
                warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides", UserWarning)
                yield
        finally:
            dist.destroy_process_group()

    def wrap_ddp(self, model: nn.Module, device: torch.device, *, is_all_used: bool) -> nn.Module:
        """Wrap a model in DistributedDataParallel, which averages gradients over the group; one process needs none.

        Args:
            model: Model on its device.
            device: Device of this process.
            is_all_used: Whether every trainable parameter takes part in every step.
        """
        if self.size == 1:
            return model
        places = [device] if device.type == "cuda" else None
        return DistributedDataParallel(
            model, places, gradient_as_bucket_view=True, find_unused_parameters=not is_all_used
        )

    def mean(self, values: Float[Tensor, "V"]) -> Float[Tensor, "V"]:
        """Return the mean over the group."""
        if self.size > 1:
            dist.all_reduce(values)
            values = values / self.size
        return values

    def broadcast(self, value: Value) -> Value:
        """Return the main process's value in every process."""
        if self.size == 1:
            return value
        box: list[Any] = [value if self.is_main else None]
        dist.broadcast_object_list(box)
        received: Value = box[0]
        return received

    def gather(self, value: Value) -> list[Value]:
        """Return the values of all processes, in their order."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values


SINGLE_PROCESS = ProcessGroup()


def without_sync(network: nn.Module) -> AbstractContextManager[None]:
    """Return a context in which gradients are summed, but not yet averaged over the group."""
    if isinstance(network, DistributedDataParallel):
        context: AbstractContextManager[None] = network.no_sync()
        return context
    return nullcontext()


@dataclass(frozen=True)
class Layout:
    """Distribution of a step's images over processes, and in each over forward passes.

    Step s, from 0, reads samples s * batch to (s + 1) * batch - 1 in every layout; a process takes a block of them.

    Attributes:
        batch: Images of a step, over all processes.
        micro: Images of a forward pass.
        group: Processes that share the step.
    """

    batch: int
    micro: int
    group: ProcessGroup

    @property
    def share(self) -> int:
        """Images of a step in one process."""
        return self.batch // self.group.size

    @property
    def accumulate(self) -> int:
        """Forward passes of a step in one process."""
        return self.share // self.micro

    def sample_ids(self, *, first: int, last: int) -> Sequence[int]:
        """Return the samples that this process reads in steps `first` to `last`, counted from 1.

        >>> list(Layout(4, 1, ProcessGroup(1, 2)).sample_ids(first=2, last=3))
        [6, 7, 10, 11]
        """
        starts = range((first - 1) * self.batch + self.group.index * self.share, last * self.batch, self.batch)
        return [number for start in starts for number in range(start, start + self.share)]


def limit_threads(group: ProcessGroup, cores: int) -> None:
    """Share this machine's cores among the group's processes, unless OMP_NUM_THREADS sets a number for each."""
    if group.size > 1 and "OMP_NUM_THREADS" not in os.environ:
        local = int(os.environ.get("LOCAL_WORLD_SIZE", group.size))
        torch.set_num_threads(max(1, cores // local))
