"""A request from outside to stop: SIGTERM and SIGUSR1, as schedulers send them before they take a machine away."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGUSR1") if hasattr(signal, name))


class Stop:
    """Whether, and by what, this process was asked to stop.

    Attributes:
        reason: name of the signal; empty: none came.
        file: whose presence is a request, too: a process that has started others passes its own signals on that way.
    """

    def __init__(self, file: Path | None = None) -> None:
        self.reason, self.file = "", file

    def __call__(self) -> bool:
        """Tell whether a request has come."""
        if not self.reason and self.file is not None and self.file.exists():
            self.reason = self.file.read_text(encoding="utf-8") or "a request"
        return bool(self.reason)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.reason = signal.Signals(number).name

    @contextmanager
    def listening(self) -> Iterator[Stop]:
        """Note signals in place of dying from them; only the main thread of a process can."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        before = {number: signal.signal(number, self._note) for number in SIGNALS}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
