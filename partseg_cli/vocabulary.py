"""Objects, parts and their pairs; the only module that parses class names.

A *pair* is an object-specific part, such as "cat's head": the part "head" of the object "cat".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from partseg_cli.errors import VocabularyError, did_you_mean, one_line

POSSESSIVE = re.compile(r"(?:['’]s|(?<=s)['’])\s+")
"""End of the object in "cat's ear", "cat’s ear" and "bus' wheel"."""


@dataclass(frozen=True, order=True)
class Pair:
    """Object-specific part; `is_seen`: training may use its labels."""

    object: str
    part: str
    is_seen: bool = True

    @property
    def name(self) -> str:
        """Published spelling.

        >>> Pair("bus", "license plate").name
        "bus's license plate"
        """
        return f"{self.object}'s {self.part}"


@dataclass(frozen=True)
class Vocabulary:
    """Pairs that a model predicts, with lists and indices derived from them.

    Lists are sorted in Python's order (capitals first), as in the published code: its index slip depends on it.

    Attributes:
        pairs: The K object-specific parts, in the order of the logits' channels.
        bare_objects: Further objects that compete at the object gate without any of their parts.

    >>> words = Vocabulary((Pair("dog", "head"), Pair("cat", "head"), Pair("cat", "ear")))
    >>> words.parts, words.objects
    (('ear', 'head'), ('cat', 'dog'))
    >>> words.part_of, words.object_of
    ((1, 1, 0), (1, 0, 0))
    """

    pairs: tuple[Pair, ...]
    bare_objects: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        if not self.pairs and not self.bare_objects:
            raise VocabularyError('vocabulary: needs at least one entry, got none; name a part such as "cat\'s ear"')
        names = [(pair.object, pair.part) for pair in self.pairs]
        for name in names:
            if names.count(name) > 1:
                raise VocabularyError(f"vocabulary: duplicate pair, got {Pair(*name).name!r} twice; remove one")

    @cached_property
    def parts(self) -> tuple[str, ...]:
        """The P generalised parts."""
        return tuple(sorted({pair.part for pair in self.pairs}))

    @cached_property
    def objects(self) -> tuple[str, ...]:
        """The O objects."""
        return tuple(sorted({pair.object for pair in self.pairs} | set(self.bare_objects)))

    @cached_property
    def part_of(self) -> tuple[int, ...]:
        """Index of the generalised part of each pair."""
        return tuple(self.parts.index(pair.part) for pair in self.pairs)

    @cached_property
    def object_of(self) -> tuple[int, ...]:
        """Index of the object of each pair."""
        return tuple(self.objects.index(pair.object) for pair in self.pairs)

    @cached_property
    def prompts(self) -> tuple[str, ...]:
        """The P + O prompts of the text encoder: bare names, parts first, no template."""
        return self.parts + self.objects

    @cached_property
    def pair_prompts(self) -> tuple[str, ...]:
        """Prompt of each pair for CLIPSeg: its name without the 's (OV-PARTS).

        >>> Vocabulary((Pair("chest of drawers", "drawer"),)).pair_prompts
        ('chest of drawers drawer',)
        """
        return tuple(f"{pair.object} {pair.part}" for pair in self.pairs)

    @cached_property
    def is_seen(self) -> tuple[bool, ...]:
        """Seen flag of each pair."""
        return tuple(pair.is_seen for pair in self.pairs)

    @cached_property
    def unseen_objects(self) -> tuple[str, ...]:
        """Objects with pairs, none of which is seen; sorted.

        >>> Vocabulary((Pair("cat", "ear", False), Pair("cat", "head"), Pair("dog", "ear", False))).unseen_objects
        ('dog',)
        """
        seen = {pair.object for pair in self.pairs if pair.is_seen}
        return tuple(sorted({pair.object for pair in self.pairs} - seen))

    def seen(self) -> Vocabulary:
        """Return the seen pairs alone, the vocabulary of training.

        Raises:
            VocabularyError: No pair is seen.
        """
        return Vocabulary(tuple(pair for pair in self.pairs if pair.is_seen))

    def with_unseen(
        self, objects: Iterable[str], parts: Iterable[str] = (), pairs: Iterable[tuple[str, str]] = ()
    ) -> Vocabulary:
        """Return the same pairs, unseen where the object, the part or the (object, part) is named.

        Raises:
            VocabularyError: A name is not in this vocabulary.
        """
        unseen, unseen_parts, unseen_pairs = set(objects), set(parts), set(pairs)
        for name in sorted(unseen):
            check_known(name, self.objects, "unseen objects")
        for name in sorted(unseen_parts):
            check_known(name, self.parts, "unseen parts")
        for pair in sorted(unseen_pairs):
            check_known(Pair(*pair).name, [known.name for known in self.pairs], "unseen pairs")
        return Vocabulary(
            tuple(
                Pair(
                    pair.object,
                    pair.part,
                    not (
                        pair.object in unseen or pair.part in unseen_parts or (pair.object, pair.part) in unseen_pairs
                    ),
                )
                for pair in self.pairs
            )
        )

    def parts_of(self, name: str) -> tuple[str, ...]:
        """Return the parts of the object called `name`, in the order of the pairs."""
        return tuple(pair.part for pair in self.pairs if pair.object == name)

    def to_json(self) -> list[dict[str, Any]]:
        """Return a plain record {object, part, seen} of each pair."""
        return [{"object": pair.object, "part": pair.part, "seen": pair.is_seen} for pair in self.pairs]

    @classmethod
    def from_json(cls, records: Sequence[Mapping[str, Any]]) -> Vocabulary:
        """Parse the result of `to_json`; `seen` is true by default.

        >>> Vocabulary.from_json([{"object": "cat", "part": "ear"}]).pairs[0].name
        "cat's ear"
        """
        return cls(tuple(Pair(str(r["object"]), str(r["part"]), bool(r.get("seen", True))) for r in records))


def check_known(name: str, known: Sequence[str], what: str) -> None:
    """Raise a `VocabularyError` with the closest known name unless `name` is in `known`."""
    if name not in known:
        advice = did_you_mean(name, known, f"known are {', '.join(known)}")
        raise VocabularyError(f"{what}: must be in the vocabulary, got {name!r}; {advice}")


@dataclass(frozen=True)
class QueryTerm:
    """Entry of a query: a pair, a bare object, a bare part, or a bare name that is object or part.

    Attributes:
        text: Entry as the user wrote it.
        object: Name of the object; None for a bare part and an undecided name.
        part: Name of the part; None for a bare object and an undecided name.
    """

    text: str
    object: str | None = None
    part: str | None = None

    @property
    def is_ambiguous(self) -> bool:
        """True if only a vocabulary decides between object and part."""
        return self.object is None and self.part is None


def parse_term(text: str) -> QueryTerm:
    """Parse one entry of a query.

    >>> parse_term("chest of drawers’ drawer")
    QueryTerm(text='chest of drawers’ drawer', object='chest of drawers', part='drawer')
    >>> parse_term("ear").is_ambiguous
    True

    Raises:
        VocabularyError: The object or the part is empty.
    """
    plain = one_line(text)
    pieces = POSSESSIVE.split(plain, maxsplit=1)
    if not plain or not all(pieces) or re.fullmatch(r".*['’]s?", plain):
        raise VocabularyError(
            f'vocabulary: an entry reads "object\'s part", "object" or "part", got {text!r}; complete it'
        )
    return QueryTerm(plain, *pieces) if len(pieces) == 2 else QueryTerm(plain)


def parse_category(name: str) -> QueryTerm:
    """Parse the name of a category that may hold both names: "object:part" (PACO) or "object's part".

    >>> parse_category("car_(automobile):wheel")
    QueryTerm(text='car_(automobile):wheel', object='car_(automobile)', part='wheel')
    >>> parse_category("back_bumper").is_ambiguous
    True

    Raises:
        VocabularyError: The object or the part is empty.
    """
    plain = one_line(name)
    before, colon, after = (piece.strip() for piece in plain.partition(":"))
    if not colon:
        return parse_term(plain)
    if not before or not after:
        raise VocabularyError(f'category: must read "object:part", got {name!r}; complete it')
    return QueryTerm(plain, before, after)
