"""Profiling: time of named sections of unchanged code, peak memory and load of a device."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial, wraps
from typing import Any, NamedTuple, TypeVar

import torch
from torch.autograd import DeviceType  # type: ignore[attr-defined]  # public, but not listed
from torch.profiler import ProfilerActivity, profile, record_function

Item = TypeVar("Item")

MICROSECONDS = 1e6
TENTHS = 1000
"""Tenths of a percent in the whole."""


class Hook(NamedTuple):
    """Function whose time counts for a section.

    Attributes:
        owner: Object, class or module that holds it.
        name: Attribute name.
        section: Section that its time counts for.
    """

    owner: object
    name: str
    section: str


class SectionTime(NamedTuple):
    """Time of a section.

    Attributes:
        section: Its name.
        ms: Milliseconds per round, a step or an image.
        percent: Share of all sections, to a tenth.
    """

    section: str
    ms: float
    percent: float


class Memory(NamedTuple):
    """Peak memory.

    Attributes:
        peak_bytes: Bytes; None where the system does not report them.
        of: Description of what was measured.
    """

    peak_bytes: int | None
    of: str


class Stopwatch:
    """Sums of the seconds of sections while it runs; of nested sections the innermost one counts.

    Attributes:
        seconds: Seconds of each section.

    Args:
        sections: All sections; the last one counts what belongs to no other.
        wait: Waits for a device, so that its work counts for the section that started it.
    """

    def __init__(self, sections: Sequence[str], wait: Callable[[], object] = lambda: None) -> None:
        self.seconds = dict.fromkeys(sections, 0.0)
        self._rest = sections[-1]
        self._wait = wait
        self._open: list[str] = []
        self._since = 0.0

    @contextmanager
    def running(self, hooks: Iterable[Hook] = ()) -> Iterator[None]:
        """Run, and time functions meanwhile; they are restored when the block ends, however it ends."""
        with ExitStack() as stack:
            for hook in hooks:
                stack.enter_context(self._timed(hook))
            self._switch(self._rest)
            stack.callback(self._switch, None)
            yield

    @contextmanager
    def section(self, name: str) -> Iterator[None]:
        """Count the time of the block for a section while the stopwatch runs; in torch.profiler it is a range."""
        if not self._open:
            yield
            return
        self._switch(name)
        try:
            with record_function(name):
                yield
        finally:
            self._switch(None)

    def each(self, items: Iterable[Item], name: str) -> Iterator[Item]:
        """Count the time of getting each item for a section, not that of working with it."""
        iterator, end = iter(items), object()
        while True:
            with self.section(name):
                item = next(iterator, end)
            if item is end:
                return
            yield item  # type: ignore[misc]  # no item is the end

    @contextmanager
    def _timed(self, hook: Hook) -> Iterator[None]:
        """Replace a function by one that counts its time."""
        function, is_own = getattr(hook.owner, hook.name), hook.name in vars(hook.owner)
        before = vars(hook.owner).get(hook.name)

        @wraps(function)
        def timed(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401 - the function's own
            with self.section(hook.section):
                return function(*arguments, **named)

        setattr(hook.owner, hook.name, timed)
        try:
            yield
        finally:
            if is_own:
                setattr(hook.owner, hook.name, before)
            else:
                delattr(hook.owner, hook.name)

    def _switch(self, name: str | None) -> None:
        """Count the time since the last switch for the open section, then open another one, or close it (None)."""
        self._wait()
        now = time.perf_counter()
        if self._open:
            self.seconds[self._open[-1]] += now - self._since
        self._since = now
        if name is None:
            self._open.pop()
        else:
            self._open.append(name)


def section_times(seconds: Mapping[str, float], rounds: int) -> tuple[SectionTime, ...]:
    """Return the time of each section per round."""
    shares = percentages(list(seconds.values()))
    return tuple(
        SectionTime(name, value / rounds * 1000, share)
        for (name, value), share in zip(seconds.items(), shares, strict=True)
    )


def percentages(values: Sequence[float]) -> list[float]:
    """Return shares in percent, to a tenth, that add to 100: those that lose most by rounding down are rounded up.

    >>> percentages([1.0, 1.0, 1.0])
    [33.4, 33.3, 33.3]
    """
    whole = sum(values)
    exact = [value / whole * TENTHS for value in values]
    tenths = [int(value) for value in exact]
    by_loss = sorted(range(len(values)), key=lambda index: tenths[index] - exact[index])
    for index in by_loss[: TENTHS - sum(tenths)]:
        tenths[index] += 1
    return [value / 10 for value in tenths]


def waiter(device: torch.device) -> Callable[[], None]:
    """Return a function that waits until a device has finished its work."""
    match device.type:
        case "cuda":
            return partial(torch.cuda.synchronize, device)
        case "mps":
            return torch.mps.synchronize
        case _:
            return lambda: None


def peak_memory(device: torch.device) -> Memory:
    """Return the peak memory, on CUDA since `torch.cuda.reset_peak_memory_stats`, else since this process began."""
    if device.type == "cuda":
        return Memory(torch.cuda.max_memory_allocated(device), "tensors on the GPU")
    with suppress(ImportError):  # Windows has no such module
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        return Memory(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit, "this process, without its workers")
    return Memory(None, "not reported by this system")


def busy_percent(device: torch.device, work: Callable[[], object]) -> float | None:
    """Run work, and return the share of its time in which a CUDA device ran a kernel or copy; None elsewhere."""
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
    return 100 * covered_length(spans) / (MICROSECONDS * seconds)


def covered_length(spans: Iterable[tuple[float, float]]) -> float:
    """Return the length that (start, end) spans cover together.

    >>> covered_length([(5, 9), (0, 2), (6, 7), (8, 10)])
    7.0
    """
    total, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total
