"""Across data sets: which pairs of one vocabulary exist in another, under the same name, a synonym, or a kind of it."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from partseg_cli.errors import one_line
from partseg_cli.io.paths import packaged
from partseg_cli.vocabulary import Pair, Vocabulary

SAME, SYNONYM, KIND, WIDER, ABSENT = "same name", "synonym", "a kind of it", "wider word", "absent"
"""How a pair of the target is found in the source: the source's name is the same, a synonym, narrower or wider."""

NEAREST_FIRST = (SAME, SYNONYM, KIND, WIDER)

Relations = Mapping[tuple[str, str], str]
"""(target's name, source's name), both plain -> SYNONYM, KIND or WIDER."""


@dataclass(frozen=True)
class Match:
    """One pair of the target and where it is found in the source.

    Attributes:
        target: the pair that is looked for.
        source: its nearest counterpart, None where there is none.
        how: SAME, SYNONYM, KIND, WIDER or ABSENT; of object and part the farther one.
    """

    target: Pair
    source: Pair | None
    how: str


@lru_cache
def synonyms(what: str) -> Relations:
    """Read the packaged list of synonyms; `what` is "object" or "part".

    A line says what it says and no more: "a is b" and "b is c" do not make "a is c".
    """
    text = (packaged("data_manifests") / "synonyms.csv").read_text(encoding="utf-8")
    relations = {}
    for line in csv.DictReader(text.splitlines()):
        if line["what"] == what:
            same = line["relation"] == "same as"
            relations[line["other"], line["name"]] = SYNONYM if same else KIND
            relations[line["name"], line["other"]] = SYNONYM if same else WIDER
    return relations


def match(target: Vocabulary, source: Vocabulary) -> tuple[Match, ...]:
    """Find each pair of `target` in `source`.

    Of several counterparts the nearest is taken: by the farther of object and part, then by the other one, then by
    the order of the source. Seen flags play no part.
    """
    return tuple(_nearest(pair, source.pairs) for pair in target.pairs)


def _nearest(pair: Pair, candidates: Sequence[Pair]) -> Match:
    best, found = None, Match(pair, None, ABSENT)
    for candidate in candidates:
        hows = (relation(pair.object, candidate.object, "object"), relation(pair.part, candidate.part, "part"))
        if ABSENT in hows:
            continue
        far, near = sorted((NEAREST_FIRST.index(how) for how in hows), reverse=True)
        if best is None or (far, near) < best:
            best, found = (far, near), Match(pair, candidate, NEAREST_FIRST[far])
    return found


def relation(target: str, source: str, what: str) -> str:
    """Tell how the `source`'s name for an object or part stands to the `target`'s.

    >>> relation("aeroplane", "airliner", "object"), relation("airliner", "aeroplane", "object")
    ('a kind of it', 'wider word')
    >>> relation("tier", "Wheel", "part"), relation("cat", "dog", "object")
    ('synonym', 'absent')
    """
    names = _plain(target), _plain(source)
    return SAME if names[0] == names[1] else synonyms(what).get(names, ABSENT)


def _plain(name: str) -> str:
    """Give a name as the list of synonyms writes it.

    >>> _plain("Car_(automobile)")
    'car (automobile)'
    """
    return one_line(name.casefold().replace("_", " "))


def unmatched_pairs(matches: Sequence[Match], source: Vocabulary) -> tuple[str, ...]:
    """Give the objects of the target that stand for no object of the source, sorted."""
    names = sorted({found.target.object for found in matches})
    return tuple(name for name in names if all(relation(name, other, "object") == ABSENT for other in source.objects))
