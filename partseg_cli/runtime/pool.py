"""Work spread over processes: results in order, and a bounded number of items in flight."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.context import ForkServerContext, SpawnContext
from typing import Protocol, TypeVar, runtime_checkable

from partseg_cli.errors import PartsegError

Item = TypeVar("Item")
Result = TypeVar("Result")

CHUNK = 4
"""Items sent at once: enough to hide the cost of sending, few enough that a kill loses little."""
TRIAL = 0.5
"""Seconds of work in this process that measure how long an item takes."""
WORTHWHILE = 4.0
"""Seconds that the remaining items must take to be spread: a process needs about one to start."""


@runtime_checkable
class Track(Protocol):
    """Progress display: passes items through and shows how many of `total` are done."""

    def __call__(self, items: Iterable[Item], what: str, total: int) -> Iterator[Item]: ...  # noqa: D102


def silent(items: Iterable[Item], what: str, total: int) -> Iterator[Item]:
    """Pass items through without a display."""
    yield from items


def usable_cores() -> int:
    """Return the number of CPU cores available to this process."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def process_context() -> ForkServerContext | SpawnContext:
    """Return the way in which processes are started: forked from a server that has this package in memory.

    This process itself has many threads, a fork of it could lock up. Linux alone has forks that are safe after the
    imports; elsewhere each process imports for itself.
    """
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([name for name in sys.modules if name.split(".")[0] == "partseg_cli"])
    return context


def in_order(function: Callable[[Item], Result], items: Sequence[Item], workers: int) -> Iterator[Result]:
    """Yield the result of each item, in order; work of a few seconds stays in this process.

    Args:
        function: Picklable, and a pure function of its item.
        items: Picklable items.
        workers: Maximum number of processes.

    Raises:
        PartsegError: A process was killed.
    """
    start = time.monotonic()
    for done, item in enumerate(items):
        spent = time.monotonic() - start
        if workers > 1 and done and spent >= TRIAL and spent / done * (len(items) - done) >= WORTHWHILE:
            yield from _spread(function, items[done:], min(workers, len(items) - done))
            return
        yield function(item)


def _spread(function: Callable[[Item], Result], items: Sequence[Item], workers: int) -> Iterator[Result]:
    """Yield the result of each item, in order, from processes that work ahead by three chunks each."""
    with ProcessPoolExecutor(workers, process_context(), initializer=die_with_parent) as pool:
        try:
            flying: deque[Future[list[Result]]] = deque()
            for start in range(0, len(items), CHUNK):
                flying.append(pool.submit(_apply, function, items[start : start + CHUNK]))
                if len(flying) >= 3 * workers:
                    yield from flying.popleft().result()
            while flying:
                yield from flying.popleft().result()
        except BrokenProcessPool as error:
            raise PartsegError(
                f"a worker of {workers} must live to the end, got one that was killed, as when memory runs out; "
                "run again with fewer --workers: what is done is kept"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def _apply(function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    return [function(item) for item in items]


def die_with_parent() -> None:
    """End this process with its parent, even where that is killed, and leave interrupts to the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_await_parent, daemon=True).start()


def _await_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        signal.raise_signal(getattr(signal, "SIGKILL", signal.SIGTERM))
