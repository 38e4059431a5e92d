"""Queries: read the terms that a user asks for, build the vocabulary to decide with, and map decisions to terms.

Parts that were not asked for compete silently, so that "cat's ear" alone does not fill the cat; their pixels get -1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import torch
import yaml
from jaxtyping import Float, Int
from torch import Tensor

from partseg_cli.errors import VocabularyError, one_line
from partseg_cli.inference.protocols import PredAll
from partseg_cli.vocabulary import Pair, QueryTerm, Vocabulary, parse_term

Key = TypeVar("Key")


@dataclass(frozen=True)
class Query:
    """A resolved query.

    Attributes:
        terms: Query terms in the order of the user; labels are indices into this list.
        vocabulary: All competing pairs, asked or silent.
        pair_to_term: For each pair the index of its term, -1 = silent.
        object_to_term: For each object the index of the term that asks for the whole object, -1 = none.
        notes: Notes for the user on how terms were understood.
    """

    terms: tuple[QueryTerm, ...]
    vocabulary: Vocabulary
    pair_to_term: tuple[int, ...]
    object_to_term: tuple[int, ...]
    notes: tuple[str, ...] = ()

    def to_label_map(self, decision: PredAll) -> tuple[Int[Tensor, "H W"], Float[Tensor, "H W"]]:
        """Return each pixel's term, -1 = none, and its score in [0, 1].

        A part has the score of its pair, a whole object that of the gate. A whole object gets the pixels of its gate
        that no asked part of it takes.
        """
        labels = _lookup(self.pair_to_term, decision.pairs.labels)
        scores = decision.pairs.scores
        if decision.objects is not None:
            whole = _lookup(self.object_to_term, decision.objects.labels)
            is_whole = (labels < 0) & (whole >= 0)
            labels = torch.where(is_whole, whole, labels)
            scores = torch.where(is_whole, decision.objects.scores, scores)
        return labels, scores.masked_fill(labels < 0, 0)


def resolve_query(
    terms: Sequence[QueryTerm], known: Vocabulary, others: Iterable[Vocabulary], context: str | Vocabulary
) -> Query:
    """Build the query of some terms.

    A pair asked for by its full name belongs to that term, even if a bare part asks for it, too.

    Args:
        terms: Query terms of the user.
        known: Vocabulary that the checkpoint was trained with.
        others: Vocabularies of further datasets, read only if `known` lacks an object.
        context: Parts that compete silently. "auto": for each object with an asked part its other parts in `known`,
            else in the first of `others` that holds all asked pairs, else all generalised parts of `known`. "none":
            no others. A vocabulary: its parts of the object.

    Raises:
        VocabularyError: Two terms mean the same.

    Example:
        >>> known = Vocabulary((Pair("cat", "ear"), Pair("cat", "tail"), Pair("dog", "ear")))
        >>> query = resolve_query(read_query_terms(["cat's ear"]), known, (), "auto")
        >>> [pair.name for pair in query.vocabulary.pairs], query.pair_to_term
        (["cat's ear", "cat's tail"], (0, -1))
    """
    terms = tuple(_understand(term, known) for term in terms)
    asked: dict[tuple[str, str], int] = {}
    whole: dict[str, int] = {}
    bare: dict[str, int] = {}
    for index, term in enumerate(terms):
        if term.object is not None and term.part is not None:
            _claim(asked, (term.object, term.part), index, terms)
        elif term.object is not None:
            _claim(whole, term.object, index, terms)
    for index, term in enumerate(terms):
        if term.object is None and term.part is not None:
            _claim(bare, term.part, index, terms)
            # A bare part means that part of every known object that has it, else of every known object.
            owners = [name for name in known.objects if term.part in known.parts_of(name)] or list(known.objects)
            asked |= {(name, term.part): index for name in owners if (name, term.part) not in asked}
    silent = [] if context == "none" else _silent_pairs(asked, known, others, context)
    vocabulary = Vocabulary(tuple(Pair(*names) for names in [*asked, *silent]), tuple(whole))
    guesses = [t.text for t in terms if t.part is None and t.object == t.text and t.object not in known.objects]
    return Query(
        terms,
        vocabulary,
        tuple(asked.get((pair.object, pair.part), -1) for pair in vocabulary.pairs),
        tuple(whole.get(name, -1) for name in vocabulary.objects),
        tuple(f"{text!r} is no known object or part: taken as an object" for text in guesses),
    )


def _understand(term: QueryTerm, known: Vocabulary) -> QueryTerm:
    """Decide whether a bare word is an object or a part, and adopt the known spelling."""
    if not term.is_ambiguous:
        return replace(term, object=_spelling(term.object, known.objects), part=_spelling(term.part, known.parts))
    if (name := _spelling(term.text, known.objects)) in known.objects:
        return replace(term, object=name)
    if (name := _spelling(term.text, known.parts)) in known.parts:
        return replace(term, part=name)
    return replace(term, object=term.text)


def _spelling(name: str | None, names: Sequence[str]) -> str | None:
    """Return the known name that differs only in case, else the name itself."""
    if name is None or name in names:
        return name
    return next((other for other in names if other.lower() == name.lower()), name)


def _claim(claims: dict[Key, int], key: Key, index: int, terms: Sequence[QueryTerm]) -> None:
    if key in claims:
        first, second = terms[claims[key]].text, terms[index].text
        raise VocabularyError(
            f"vocabulary: each entry must ask for something else, got {first!r} and {second!r}; remove one"
        )
    claims[key] = index


def _silent_pairs(
    asked: Mapping[tuple[str, str], int], known: Vocabulary, others: Iterable[Vocabulary], context: str | Vocabulary
) -> list[tuple[str, str]]:
    """List the pairs that compete without being asked for."""
    owners = list(dict.fromkeys(owner for owner, _ in asked))
    silent: list[tuple[str, str]] = []
    if isinstance(context, Vocabulary):
        for name in owners:
            parts = context.parts_of(_spelling(name, context.objects) or name)
            silent += [(name, _spelling(part, known.parts) or part) for part in parts]
    else:
        is_known = all(known.parts_of(name) for name in owners)
        holds_all = (v for v in others if asked.keys() <= {(pair.object, pair.part) for pair in v.pairs})
        wider = None if is_known else next(holds_all, None)
        for name in owners:
            parts = known.parts_of(name) or (wider.parts_of(name) if wider else known.parts)
            silent += [(name, part) for part in parts]
    return [pair for pair in silent if pair not in asked]


def _lookup(table: Sequence[int], labels: Int[Tensor, "H W"]) -> Int[Tensor, "H W"]:
    """Look labels up in a table; -1 stays -1."""
    return torch.tensor([*table, -1], device=labels.device)[labels]


def read_query_terms(entries: Iterable[str]) -> list[QueryTerm]:
    """Read `--vocab` values: entries, comma-separated entries, or names of .yaml, .yml and .txt files of them.

    Raises:
        VocabularyError: There is no entry, an entry is repeated, or a file cannot be read.

    Example:
        >>> [(term.object, term.part, term.text) for term in read_query_terms(["cat's ear, tail", "dog"])]
        [('cat', 'ear', "cat's ear"), (None, None, 'tail'), (None, None, 'dog')]
    """
    terms: list[QueryTerm] = []
    for entry in entries:
        path = Path(entry.strip())
        if path.suffix.lower() in {".yaml", ".yml", ".txt"}:
            terms += _read_file(path)
        else:
            terms += [parse_term(piece) for piece in entry.split(",") if piece.strip()]
    if not terms:
        raise VocabularyError('vocabulary: needs at least one entry, got none; pass --vocab "cat\'s ear"')
    keys = [(term.object, term.part, term.is_ambiguous and term.text) for term in terms]
    for key, term in zip(keys, terms, strict=True):
        if keys.count(key) > 1:
            raise VocabularyError(f"vocabulary: duplicate entry, got {term.text!r} twice; remove one")
    return terms


def _read_file(path: Path) -> list[QueryTerm]:
    """Read a text file of entries, or a YAML list of entries and {object, part}, or a YAML map of objects to parts."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix.lower() == ".txt":
            lines = (line.split("#")[0].strip() for line in text.splitlines())
            return [parse_term(piece) for line in lines for piece in line.split(",") if piece.strip()]
        value = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError) as error:
        raise VocabularyError(
            f"{path}: cannot be read as a vocabulary file ({error}); name a UTF-8 text or YAML file"
        ) from error
    except yaml.YAMLError as error:
        raise VocabularyError(f"{path}: invalid YAML ({one_line(error)}); fix the file") from error
    if isinstance(value, dict):
        return [term for name, parts in value.items() for term in _terms_of_object(path, name, parts)]
    if isinstance(value, list):
        return [_term_of_entry(path, entry) for entry in value]
    raise _misread(path, value)


def _terms_of_object(path: Path, name: object, parts: object) -> list[QueryTerm]:
    """Return the parts of an object, or the whole object if there are none."""
    if parts is None or parts == []:
        return [_term(path, name, None)]
    if not isinstance(parts, list):
        raise _misread(path, {name: parts})
    return [_term(path, name, part) for part in parts]


def _term_of_entry(path: Path, entry: object) -> QueryTerm:
    if isinstance(entry, str):
        return parse_term(entry)
    if isinstance(entry, dict) and entry and set(entry) <= {"object", "part"} and all(entry.values()):
        return _term(path, entry.get("object"), entry.get("part"))
    raise _misread(path, entry)


def _term(path: Path, name: object, part: object) -> QueryTerm:
    names = [one_line(text) for text in (name, part) if isinstance(text, str)]
    if len(names) != sum(text is not None for text in (name, part)) or not names or not all(names):
        raise _misread(path, {"object": name, "part": part})
    known = iter(names)
    return QueryTerm("'s ".join(names), *(None if text is None else next(known) for text in (name, part)))


def _misread(path: Path, got: object) -> VocabularyError:
    return VocabularyError(
        f"{path}: must be a list of entries or {{object: ..., part: ...}}, or map objects to lists of "
        f"parts, got {got!r}; put names that YAML reads as something else in quotes"
    )
