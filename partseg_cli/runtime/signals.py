"""Stop requests from outside: SIGTERM and SIGUSR1, which schedulers send before they take a machine away."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.sharedctypes import RawValue
from types import FrameType

SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGUSR1") if hasattr(signal, name))


class Stop:
    """Stop request, in memory that this process shares with those it starts and hands this object to."""

    def __init__(self) -> None:
        self._signal = RawValue("i", 0)

    def __call__(self) -> bool:
        """Return whether one of the processes was asked to stop."""
        return bool(self._signal.value)

    @property
    def reason(self) -> str:
        """Name of the signal; empty without a request."""
        return signal.Signals(self._signal.value).name if self() else ""

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._signal.value = number

    @contextmanager
    def listening(self) -> Iterator[Stop]:
        """Note signals instead of dying from them; only the main thread of a process can."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        before = {number: signal.signal(number, self._note) for number in SIGNALS}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
