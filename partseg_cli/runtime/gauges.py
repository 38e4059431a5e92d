"""What a device tells of itself: when it is done, how much memory was in use, how long it was busy."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import NamedTuple

import torch
from torch.autograd import DeviceType  # type: ignore[attr-defined]  # public, but not listed
from torch.profiler import ProfilerActivity, profile

MICROSECONDS = 1e6


class Memory(NamedTuple):
    """The most that was in use at once.

    Attributes:
        peak_bytes: None where the system does not tell.
        of: what was measured.
    """

    peak_bytes: int | None
    of: str


def waiter(device: torch.device) -> Callable[[], None]:
    """Give a function that waits until a device has done all that it was given."""
    match device.type:
        case "cuda":
            return partial(torch.cuda.synchronize, device)
        case "mps":
            return torch.mps.synchronize
        case _:
            return lambda: None


def forget_peak(device: torch.device) -> None:
    """Let the peak of a CUDA device begin at what is in use now; that of a process cannot be forgotten."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory(device: torch.device) -> Memory:
    """Give the most memory in use since `forget_peak`, or since this process began."""
    if device.type == "cuda":
        return Memory(torch.cuda.max_memory_allocated(device), "tensors on the GPU")
    with suppress(ImportError):  # Windows has no such module
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        return Memory(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit, "this process, without its workers")
    return Memory(None, "not told by this system")


def device_name(device: torch.device) -> str | None:
    """Give what a CUDA device calls itself."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else None


def busy_percent(device: torch.device, work: Callable[[], object]) -> float | None:
    """Do some work, and give the share of its time in which a CUDA device ran any kernel or copy; None elsewhere."""
    if device.type != "cuda":
        return None
    torch.cuda.synchronize(device)
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        start = time.perf_counter()
        work()
        torch.cuda.synchronize(device)
        seconds = time.perf_counter() - start
    spans = (
        (event.time_range.start, event.time_range.end)
        for event in profiler.events()
        # annotations, as of optimizer steps, last from their first kernel to their last
        if event.device_type == DeviceType.CUDA and not event.is_user_annotation
    )
    return 100 * covered(spans) / (MICROSECONDS * seconds)


def covered(spans: Iterable[tuple[float, float]]) -> float:
    """Give the length that (start, end) spans cover together.

    >>> covered([(5, 9), (0, 2), (6, 7), (8, 10)])
    7.0
    """
    total, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total
