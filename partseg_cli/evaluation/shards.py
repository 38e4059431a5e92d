"""How the photos of a trial are grouped for the forward pass, and which groups a process or a machine counts.

Groups follow the photos' numbers in the trial alone. A model may round a photo otherwise among other photos, so a group
is never cut: whoever counts it gives the same bits.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from partseg_cli.data.record import RecordKey
from partseg_cli.errors import UsageError

Item = TypeVar("Item")


@dataclass(frozen=True)
class Shard:
    """Each n-th of the groups.

    Attributes:
        index: of the first one, from 0.
        of: n, the number of shards.
    """

    index: int
    of: int

    def choose(self, items: Sequence[Item]) -> list[Item]:
        """Give each n-th, so that shards differ by one at most and every item is in one of them.

        >>> Shard(1, 3).choose("abcdefg")
        ['b', 'e']
        """
        return list(items[self.index :: self.of])

    def __str__(self) -> str:
        return f"{self.index + 1}/{self.of}"


WHOLE = Shard(0, 1)


def parse_shard(text: str) -> Shard:
    """Read "2/4", the second of four.

    Raises:
        UsageError: it is not written so, or there is no such shard.
    """
    match = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise UsageError(f"--shard must be I/N with I from 1 to N, such as 2/4, got {text!r}")
    return Shard(int(match[1]) - 1, int(match[2]))


@dataclass(frozen=True)
class Group:
    """Photos that go through the model together.

    Attributes:
        part: number of the trial's part that they belong to.
        numbers: of the photos in the trial.
        keys: Records of the photos.
    """

    part: int
    numbers: range
    keys: tuple[RecordKey, ...]


def groups(parts: Sequence[Sequence[RecordKey]], batch: int) -> list[Group]:
    """Cut the photos of each part, in their order, into groups of `batch`; the last of a part may be smaller."""
    found, first = [], 0
    for part, keys in enumerate(parts):
        for start in range(0, len(keys), batch):
            chosen = tuple(keys[start : start + batch])
            found.append(Group(part, range(first + start, first + start + len(chosen)), chosen))
        first += len(keys)
    return found
