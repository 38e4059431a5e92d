"""How a story tells how far it is, without printing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar, runtime_checkable

Item = TypeVar("Item")


@runtime_checkable
class Track(Protocol):
    """Passes items through and shows how many of `total` have gone by."""

    def __call__(self, items: Iterable[Item], what: str, total: int) -> Iterator[Item]: ...  # noqa: D102


def silent(items: Iterable[Item], what: str, total: int) -> Iterator[Item]:
    """Show nothing."""
    yield from items
