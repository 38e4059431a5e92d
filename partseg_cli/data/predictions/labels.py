"""What the labels of a prediction mean: pairs or objects of a data set, by place or by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Int64, Shaped

from partseg_cli.data.store import DatasetInfo
from partseg_cli.errors import DataError, VocabularyError, format_list, one_line
from partseg_cli.vocabulary import Pair, Vocabulary, parse_category

NOTHING = {8: 255, 16: 65535}
"""Bits of a label map -> value of no label."""
WRONG = -2

Words = tuple[str, str | None]
"""Object and part; None for the object itself, an empty object for a part of any."""


@dataclass(frozen=True)
class Legend:
    """What the values of a label map mean.

    Attributes:
        what: "pairs" or "objects".
        indices: what each value counts as, -1 = none.
        has_background: whether the number of entries is a value too, which stands for none.
    """

    what: str
    indices: tuple[int, ...]
    has_background: bool

    def read(self, path: Path, values: Shaped[np.ndarray, "H W"], bits: int) -> Int64[np.ndarray, "H W"]:
        """Turn values of a map of 8 or 16 bits into indices, -1 = none.

        Raises:
            DataError: a value means nothing.
        """
        table = np.full(2**bits, WRONG, np.int64)
        table[list(self.nothing(bits))] = -1
        table[: len(self.indices)] = self.indices
        labels: Int64[np.ndarray, "H W"] = table[values]
        wrong = labels == WRONG
        if wrong.any():
            numbers, counts = np.unique(values[wrong], return_counts=True)
            got = format_list([f"{number} ({count} pixels)" for number, count in zip(numbers, counts, strict=True)])
            raise DataError(
                f"{path}: values must be 0 to {len(self.indices) - 1}, places of {self.what}, or "
                f"{' or '.join(map(str, self.nothing(bits)))} for none, got {got}; write them so"
            )
        return labels

    def nothing(self, bits: int) -> tuple[int, ...]:
        """Give the values of a map of so many bits that stand for none, ascending."""
        values = {NOTHING[bits]} | ({NOTHING[8]} if len(self.indices) <= NOTHING[8] else set())
        if self.has_background and len(self.indices) < 2**bits:
            values.add(len(self.indices))
        return tuple(sorted(values))


@dataclass(frozen=True)
class Classes:
    """What a prediction may name.

    Attributes:
        what: "pairs" or "objects".
        dataset: that they belong to.
        words: object and part of each, in the order of the store.
        indices: what each counts as, -1 = none.
        beside: names that the data set knows too, and that are left out: of objects where pairs are wanted, and pairs
            where objects are.
    """

    what: str
    dataset: str
    words: tuple[Words, ...]
    indices: tuple[int, ...]
    beside: frozenset[str]

    @cached_property
    def places(self) -> dict[Words, int]:
        """The place of each."""
        return {words: place for place, words in enumerate(self.words)}

    @cached_property
    def spellings(self) -> dict[str, int]:
        """The place of each, by all usual spellings."""
        return {text: place for place, words in enumerate(self.words) for text in spellings(*words)}

    def find(self, text: str) -> int | None:
        """Give the place of "cat's ear", "cat:ear" or "cat"; None if there is none."""
        plain = one_line(text)
        if plain in self.spellings:
            return self.spellings[plain]
        try:
            word = parse_category(plain)
        except VocabularyError:
            return None
        return None if word.object is None else self.places.get((word.object, word.part))

    def legend(self) -> Legend:
        """Give the meaning of values that are places in the store, with its background as published."""
        return Legend(self.what, self.indices, has_background=True)

    def legend_of(self, path: Path, words: Sequence[Words]) -> Legend:
        """Give the meaning of values that are places in a list of words.

        Raises:
            DataError: the list has other words than the data set; `path` says where it stands.
        """
        unknown = [_name(entry) for entry in words if entry not in self.places]
        needed = [entry for entry, index in zip(self.words, self.indices, strict=True) if index >= 0]
        lacking = [_name(entry) for entry in needed if entry not in words]
        doubled = [_name(entry) for entry in dict.fromkeys(words) if words.count(entry) > 1]
        faults = [
            f"{fault} {len(names)} ({format_list(names)})"
            for fault, names in (("unknown", unknown), ("missing", lacking), ("doubled", doubled))
            if names
        ]
        if faults:
            raise DataError(
                f"{path}: its {self.what} must be those of {self.dataset}, got {', '.join(faults)}; "
                "predict with the words of the data set"
            )
        return Legend(self.what, tuple(self.indices[self.places[entry]] for entry in words), has_background=False)


def pair_classes(info: DatasetInfo) -> Classes:
    """Give the pairs of a store; each counts as its index."""
    words = tuple((pair.object, pair.part) for pair in info.vocabulary.pairs)
    return Classes("pairs", info.name, words, tuple(range(len(words))), frozenset(info.objects))


def object_classes(info: DatasetInfo, vocabulary: Vocabulary) -> Classes:
    """Give the objects of a store; each counts as its index in a vocabulary, and as none if it is not there."""
    known = {name: index for index, name in enumerate(vocabulary.objects)}
    words = tuple((name, None) for name in info.objects)
    pairs = frozenset(text for pair in info.vocabulary.pairs for text in spellings(pair.object, pair.part))
    return Classes("objects", info.name, words, tuple(known.get(name, -1) for name in info.objects), pairs)


def spellings(name: str, part: str | None) -> tuple[str, ...]:
    """Give the usual spellings of a pair or an object.

    >>> spellings("cat", "ear"), spellings("cat", None)
    (("cat's ear", 'cat:ear'), ('cat',))
    """
    return (name,) if part is None else (Pair(name, part).name, f"{name}:{part}")


def _name(words: Words) -> str:
    return repr(spellings(*words)[0] if words[0] else words[1])
