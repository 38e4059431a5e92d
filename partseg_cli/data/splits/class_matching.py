"""Classes across datasets: the pairs of one vocabulary found in another by name, by synonym, or as a kind of it."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from partseg_cli.errors import one_line
from partseg_cli.io.paths import packaged
from partseg_cli.vocabulary import Pair, Vocabulary

SAME, SYNONYM, KIND, WIDER, ABSENT = "same name", "synonym", "a kind of it", "wider word", "absent"
"""Relation of the source's name to the target's: the same, a synonym, narrower, wider, or none."""

NEAREST_FIRST = (SAME, SYNONYM, KIND, WIDER)


@dataclass(frozen=True)
class ClassMapping:
    """Pair of the target and its counterpart in the source.

    Attributes:
        target: Pair that is looked up.
        source: Nearest counterpart; None if there is none.
        relation: SAME, SYNONYM, KIND, WIDER or ABSENT; of object and part the more distant one.
    """

    target: Pair
    source: Pair | None
    relation: str


def match_classes(target: Vocabulary, source: Vocabulary) -> tuple[ClassMapping, ...]:
    """Look up each pair of `target` in `source`, whatever is seen.

    Of several counterparts the nearest is taken: by the more distant of object and part, then by the other one, then by
    the order of the source.
    """
    return tuple(_find_nearest(pair, source.pairs) for pair in target.pairs)


def _find_nearest(pair: Pair, candidates: Sequence[Pair]) -> ClassMapping:
    best, nearest = None, ClassMapping(pair, None, ABSENT)
    for candidate in candidates:
        relations = (
            find_relation(pair.object, candidate.object, "object"),
            find_relation(pair.part, candidate.part, "part"),
        )
        if ABSENT in relations:
            continue
        far, near = sorted((NEAREST_FIRST.index(relation) for relation in relations), reverse=True)
        if best is None or (far, near) < best:
            best, nearest = (far, near), ClassMapping(pair, candidate, NEAREST_FIRST[far])
    return nearest


def unmatched_objects(mappings: Sequence[ClassMapping], source: Vocabulary) -> tuple[str, ...]:
    """Return the objects of the target without a counterpart among the objects of the source, sorted."""
    names = sorted({mapping.target.object for mapping in mappings})
    return tuple(
        name for name in names if all(find_relation(name, other, "object") == ABSENT for other in source.objects)
    )


def find_relation(target: str, source: str, kind: str) -> str:
    """Return the relation of the source's name to the target's; `kind` is "object" or "part".

    >>> find_relation("aeroplane", "airliner", "object"), find_relation("airliner", "aeroplane", "object")
    ('a kind of it', 'wider word')
    >>> find_relation("tier", "Wheel", "part"), find_relation("cat", "dog", "object")
    ('synonym', 'absent')
    """
    plain_target, plain_source = (one_line(name.casefold().replace("_", " ")) for name in (target, source))
    return SAME if plain_target == plain_source else load_synonyms(kind).get((plain_target, plain_source), ABSENT)


@lru_cache
def load_synonyms(kind: str) -> Mapping[tuple[str, str], str]:
    """Load the packaged list: plain (target's name, source's name) -> SYNONYM, KIND or WIDER.

    Relations are not chained: "a is b" and "b is c" do not make "a is c".
    """
    text = (packaged("data_manifests") / "synonyms.csv").read_text(encoding="utf-8")
    relations = {}
    for line in csv.DictReader(text.splitlines()):
        if line["what"] == kind:
            is_same = line["relation"] == "same as"
            relations[line["other"], line["name"]] = SYNONYM if is_same else KIND
            relations[line["name"], line["other"]] = SYNONYM if is_same else WIDER
    return relations
