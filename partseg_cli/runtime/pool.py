"""Work spread over processes, with results in order and no more of them in flight than the processes need."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from partseg_cli.errors import PartsegError

Item = TypeVar("Item")
Result = TypeVar("Result")

CHUNK = 4
"""Items handed over at once: enough that the handing over does not count, few enough that little is lost by a kill."""
TRIAL = 0.5
"""Seconds of work that are done right here, to see how long the items take."""
WORTHWHILE = 4.0
"""Seconds that the rest must take to be spread: processes need about one to start."""


def usable_cores() -> int:
    """Give the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_order(function: Callable[[Item], Result], items: Sequence[Item], workers: int) -> Iterator[Result]:
    """Give the result of each item, in order; what takes a few seconds is worked off right here.

    Args:
        function: picklable, and a pure function of its item.
        items: each picklable.
        workers: number of processes, at most.

    Raises:
        PartsegError: a process died.
    """
    start = time.monotonic()
    for done, item in enumerate(items):
        spent = time.monotonic() - start
        if workers > 1 and done and spent >= TRIAL and spent / done * (len(items) - done) >= WORTHWHILE:
            yield from _spread(function, items[done:], min(workers, len(items) - done))
            return
        yield function(item)


def _spread(function: Callable[[Item], Result], items: Sequence[Item], workers: int) -> Iterator[Result]:
    """Give the result of each item, in order, from processes."""
    context = multiprocessing.get_context("spawn")  # forking a process of many threads can lock up
    with ProcessPoolExecutor(workers, context, initializer=join_parent) as pool:
        try:
            yield from _through(pool, function, items, 3 * workers)
        except BrokenProcessPool as error:
            raise PartsegError(
                f"a worker of {workers} must live to the end, got one that was killed, as when memory runs out; "
                "run again with fewer --workers: what is done is kept"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def _through(
    pool: ProcessPoolExecutor, function: Callable[[Item], Result], items: Sequence[Item], window: int
) -> Iterator[Result]:
    """Keep `window` chunks in flight."""
    flying: deque[Future[list[Result]]] = deque()
    for start in range(0, len(items), CHUNK):
        flying.append(pool.submit(_do, function, items[start : start + CHUNK]))
        if len(flying) >= window:
            yield from flying.popleft().result()
    while flying:
        yield from flying.popleft().result()


def _do(function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    return [function(item) for item in items]


def join_parent() -> None:
    """Leave an interrupt to the parent, and end with it, even if it is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_after_parent, daemon=True).start()


def _leave_after_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        signal.raise_signal(signal.SIGTERM)
