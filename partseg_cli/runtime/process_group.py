"""The processes that train together: each works on its share of every step, and their gradients are averaged."""

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
"""How long a process waits for the slowest one, which may be writing or evaluating."""


@dataclass(frozen=True)
class ProcessGroup:
    """Which of the processes this is; a team of one needs no connection.

    Attributes:
        index: of this process, from 0.
        size: number of processes.
    """

    index: int = 0
    size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process tells and writes."""
        return self.index == 0

    @contextmanager
    def connected(self, device: torch.device, store: Store | None = None) -> Iterator[None]:
        """Connect the processes: values in memory travel by gloo, those on a GPU by nccl.

        Args:
            device: of this process.
            store: where they meet; None: where MASTER_ADDR and MASTER_PORT say.
        """
        if self.size == 1:
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

    def share(self, model: nn.Module, device: torch.device, *, is_all_used: bool) -> nn.Module:
        """Give the model with gradients averaged over the team (DistributedDataParallel); the weights are the same.

        Args:
            model: on its device.
            device: of this process.
            is_all_used: whether every trained parameter takes part in every step.
        """
        if self.size == 1:
            return model
        places = [device] if device.type == "cuda" else None
        return DistributedDataParallel(
            model, places, gradient_as_bucket_view=True, find_unused_parameters=not is_all_used
        )

    def mean(self, values: Float[Tensor, "V"]) -> Float[Tensor, "V"]:
        """Give the mean over the team."""
        if self.size > 1:
            dist.all_reduce(values)
            values = values / self.size
        return values

    def first(self, value: Value) -> Value:
        """Give the first process's value to all."""
        if self.size == 1:
            return value
        box: list[Any] = [value if self.is_main else None]
        dist.broadcast_object_list(box)
        first: Value = box[0]
        return first

    def gather(self, value: Value) -> list[Value]:
        """Give the values of all to all, in the order of the processes."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values


SINGLE_PROCESS = ProcessGroup()


def without_sync(network: nn.Module) -> AbstractContextManager[None]:
    """Give a context in which gradients are added up, but not yet averaged over the team."""
    if isinstance(network, DistributedDataParallel):
        context: AbstractContextManager[None] = network.no_sync()
        return context
    return nullcontext()


@dataclass(frozen=True)
class Layout:
    """How the images of a step are spread: over processes, and in each over forward passes.

    Step s of a run reads samples s * batch to (s + 1) * batch - 1, whatever the layout; a process takes a run of them.

    Attributes:
        batch: images of a step, over all processes.
        micro: images of a forward pass.
        team: the processes.
    """

    batch: int
    micro: int
    team: ProcessGroup

    @property
    def share(self) -> int:
        """Images of a step in one process."""
        return self.batch // self.team.size

    @property
    def accumulate(self) -> int:
        """Forward passes of a step in one process."""
        return self.share // self.micro

    def sample_ids(self, *, first: int, last: int) -> Sequence[int]:
        """Give the samples that this process reads in steps `first` to `last`, counted from 1.

        >>> list(Layout(4, 1, ProcessGroup(1, 2)).sample_ids(first=2, last=3))
        [6, 7, 10, 11]
        """
        starts = range((first - 1) * self.batch + self.team.index * self.share, last * self.batch, self.batch)
        return [number for start in starts for number in range(start, start + self.share)]


def limit_threads(team: ProcessGroup, cores: int) -> None:
    """Let the team's processes share this machine's cores, unless OMP_NUM_THREADS says how many each may take."""
    if team.size > 1 and "OMP_NUM_THREADS" not in os.environ:
        local = int(os.environ.get("LOCAL_WORLD_SIZE", team.size))
        torch.set_num_threads(max(1, cores // local))
