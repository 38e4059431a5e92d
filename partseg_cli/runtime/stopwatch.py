"""Where time goes: named sections of a run that is left as it is, each moment counted once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import Any, NamedTuple, TypeVar

Item = TypeVar("Item")

TENTHS = 1000
"""Of a percent, in the whole."""


class Hook(NamedTuple):
    """A function whose time counts for a section.

    Attributes:
        owner: object, class or module that has it.
        name: under which it is called there.
        section: that its time counts for.
    """

    owner: object
    name: str
    section: str


class Part(NamedTuple):
    """What a section takes.

    Attributes:
        section: its name.
        ms: milliseconds of one round, a step or a photo.
        percent: of all sections together, to a tenth.
    """

    section: str
    ms: float
    percent: float


class Stopwatch:
    """Adds up the seconds of sections while it runs; of sections inside each other the innermost one is counted.

    Attributes:
        seconds: of each section.

    Args:
        sections: all of them; what belongs to no other counts for the last one.
        wait: until a device has done what it was given, so that its time counts for the section that gave it.
    """

    def __init__(self, sections: Sequence[str], wait: Callable[[], object] = lambda: None) -> None:
        self.seconds = dict.fromkeys(sections, 0.0)
        self._rest = sections[-1]
        self._wait = wait
        self._open: list[str] = []
        self._since = 0.0

    @contextmanager
    def running(self, hooks: Iterable[Hook] = ()) -> Iterator[None]:
        """Run, and watch functions meanwhile; they are as before when the block ends, however it ends."""
        with ExitStack() as stack:
            for hook in hooks:
                stack.enter_context(self._watched(hook))
            self._enter(self._rest)
            stack.callback(self._leave)
            yield

    @contextmanager
    def section(self, name: str) -> Iterator[None]:
        """Count the time of the block for a section, if the stopwatch runs."""
        if not self._open:
            yield
            return
        self._enter(name)
        try:
            yield
        finally:
            self._leave()

    def each(self, items: Iterable[Item], name: str) -> Iterator[Item]:
        """Count the time of getting each item for a section, not that of working with it."""
        iterator = iter(items)
        while True:
            with self.section(name):
                try:
                    item = next(iterator)
                except StopIteration:
                    return
            yield item

    @contextmanager
    def _watched(self, hook: Hook) -> Iterator[None]:
        """Put a function that counts its time in the place of another."""
        function, own = getattr(hook.owner, hook.name), vars(hook.owner)
        is_own, before = hook.name in own, own.get(hook.name)

        @wraps(function)
        def watched(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401 - the function's own
            with self.section(hook.section):
                return function(*arguments, **named)

        setattr(hook.owner, hook.name, watched)
        try:
            yield
        finally:
            if is_own:
                setattr(hook.owner, hook.name, before)
            else:
                delattr(hook.owner, hook.name)

    def _enter(self, name: str) -> None:
        self._count()
        self._open.append(name)

    def _leave(self) -> None:
        self._count()
        self._open.pop()

    def _count(self) -> None:
        """Count the time since the last change for the section that is open."""
        self._wait()
        now = time.perf_counter()
        if self._open:
            self.seconds[self._open[-1]] += now - self._since
        self._since = now


def parts(seconds: Mapping[str, float], rounds: int) -> tuple[Part, ...]:
    """Give what each section takes of a round."""
    shares = percentages(list(seconds.values()))
    return tuple(
        Part(name, value / rounds * 1000, share) for (name, value), share in zip(seconds.items(), shares, strict=True)
    )


def percentages(values: Sequence[float]) -> list[float]:
    """Give shares in percent, to a tenth, that add to 100: those that lose most by rounding down are rounded up.

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
