"""What a user asks for -> the vocabulary that a model decides with, and which word each pixel gets.

Parts that were not asked for compete silently: "cat's ear" alone must not fill the cat. Their pixels become nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from partseg_cli.errors import VocabularyError
from partseg_cli.inference.protocols import PredAll
from partseg_cli.vocabulary import Pair, QueryTerm, Vocabulary

Key = TypeVar("Key")


@dataclass(frozen=True)
class Query:
    """A resolved question.

    Attributes:
        words: as asked, in order; labels are positions in this list.
        vocabulary: all pairs that compete, asked or silent.
        word_of_pair: for each pair the position of the word that it answers, -1 = silent.
        word_of_object: for each object the position of the bare object word that it answers, -1 = none.
        notes: what the user should know of how the words were read.
    """

    words: tuple[QueryTerm, ...]
    vocabulary: Vocabulary
    word_of_pair: tuple[int, ...]
    word_of_object: tuple[int, ...]
    notes: tuple[str, ...] = ()

    def paint(self, decision: PredAll) -> tuple[Int[Tensor, "H W"], Float[Tensor, "H W"]]:
        """Give each pixel's word, -1 = nothing, and its score in [0, 1].

        A part's score is its pair's; a bare object's is the gate's. A bare object gets the pixels of its gate that no
        asked part of it takes.
        """
        words = _lookup(self.word_of_pair, decision.pairs.labels)
        scores = decision.pairs.scores
        if decision.objects is not None:
            whole = _lookup(self.word_of_object, decision.objects.labels)
            bare = (words < 0) & (whole >= 0)
            words = torch.where(bare, whole, words)
            scores = torch.where(bare, decision.objects.scores, scores)
        return words, scores.masked_fill(words < 0, 0)


def resolve(
    words: Sequence[QueryTerm], known: Vocabulary, others: Sequence[Vocabulary], context: str | Vocabulary
) -> Query:
    """Turn words into a query.

    Args:
        words: what the user asks for.
        known: the vocabulary that the checkpoint was trained with.
        others: further vocabularies (of data sets) that may know the objects asked for.
        context: which parts compete silently. "auto": for each object with an asked part, its other parts in `known`,
            else in the first of `others` that holds all asked pairs, else all generalised parts of `known`. "none": no
            others. A vocabulary: its parts of the object.

    A pair asked for by its full name goes to that word, even where a bare part asks for it too.

    Raises:
        VocabularyError: two words mean the same.
    """
    told = [_tell_apart(word, known) for word in words]
    notes = [f"{w.text!r} is no known object or part: taken as an object" for w in told if _is_guess(w, known)]
    asked: dict[tuple[str, str], int] = {}
    whole: dict[str, int] = {}
    bare: dict[str, int] = {}
    for position, word in enumerate(told):
        if word.object is not None and word.part is not None:
            _claim(asked, (word.object, word.part), position, told)
        elif word.object is not None:
            _claim(whole, word.object, position, told)
    for position, word in enumerate(told):
        if word.object is None and word.part is not None:
            _claim(bare, word.part, position, told)
            asked |= {pair: position for pair in _pairs_of_part(word.part, known) if pair not in asked}
    silent = _silent(asked, known, others, context)
    pairs = tuple(Pair(*names) for names in [*asked, *silent])
    vocabulary = Vocabulary(pairs, tuple(whole))
    return Query(
        tuple(told),
        vocabulary,
        tuple(asked.get((pair.object, pair.part), -1) for pair in pairs),
        tuple(whole.get(name, -1) for name in vocabulary.objects),
        tuple(notes),
    )


def _tell_apart(word: QueryTerm, known: Vocabulary) -> QueryTerm:
    """Decide whether a bare word is an object or a part, and take over the known spelling."""
    if not word.is_undecided:
        return replace(word, object=_spelling(word.object, known.objects), part=_spelling(word.part, known.parts))
    if (name := _spelling(word.text, known.objects)) in known.objects:
        return replace(word, object=name)
    if (name := _spelling(word.text, known.parts)) in known.parts:
        return replace(word, part=name)
    return replace(word, object=word.text)


def _spelling(name: str | None, names: Sequence[str]) -> str | None:
    """Give the known spelling that differs only in case, else the name itself."""
    if name is None or name in names:
        return name
    return next((other for other in names if other.lower() == name.lower()), name)


def _is_guess(word: QueryTerm, known: Vocabulary) -> bool:
    return word.part is None and word.object == word.text and word.object not in known.objects


def _pairs_of_part(part: str, known: Vocabulary) -> list[tuple[str, str]]:
    """List the pairs of a bare part: of every known object that has it, else of every known object."""
    owners = [name for name in known.objects if part in known.parts_of(name)] or list(known.objects)
    return [(name, part) for name in owners]


def _claim(claims: dict[Key, int], key: Key, position: int, words: Sequence[QueryTerm]) -> None:
    if key in claims:
        first, second = words[claims[key]].text, words[position].text
        raise VocabularyError(
            f"vocabulary: each entry must ask for something else, got {first!r} and {second!r}; drop one"
        )
    claims[key] = position


def _silent(
    asked: dict[tuple[str, str], int], known: Vocabulary, others: Sequence[Vocabulary], context: str | Vocabulary
) -> list[tuple[str, str]]:
    """List the pairs that compete without being asked for."""
    if context == "none":
        return []
    wider = next((other for other in others if _holds(other, asked)), None)
    silent = []
    for name in dict.fromkeys(owner for owner, _ in asked):
        if isinstance(context, Vocabulary):
            spelled = _spelling(name, context.objects) or name
            parts = tuple(_spelling(part, known.parts) or part for part in context.parts_of(spelled))
        else:
            parts = known.parts_of(name) or (wider.parts_of(name) if wider else known.parts)
        silent += [(name, part) for part in parts if (name, part) not in asked]
    return silent


def _holds(vocabulary: Vocabulary, asked: dict[tuple[str, str], int]) -> bool:
    return asked.keys() <= {(pair.object, pair.part) for pair in vocabulary.pairs}


def _lookup(table: Sequence[int], labels: Int[Tensor, "H W"]) -> Int[Tensor, "H W"]:
    """Look labels up in a table; -1 stays -1."""
    return torch.tensor([*table, -1], device=labels.device)[labels]
