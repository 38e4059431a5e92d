"""Reads the words that a user asks for: from the command line, and from text and YAML files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import yaml

from partseg_cli.errors import VocabularyError, one_line
from partseg_cli.vocabulary import QueryTerm, parse_word


def read_words(entries: Iterable[str]) -> list[QueryTerm]:
    """Read `--vocab` values: entries, comma-separated entries, or names of .yaml, .yml and .txt files of them.

    Raises:
        VocabularyError: nothing is left, an entry stands twice, a file cannot be read.
    """
    words: list[QueryTerm] = []
    for entry in entries:
        path = Path(entry.strip())
        if path.suffix.lower() in {".yaml", ".yml", ".txt"}:
            words += _read_file(path)
        else:
            words += [parse_word(piece) for piece in entry.split(",") if piece.strip()]
    if not words:
        raise VocabularyError('vocabulary: needs at least one entry, got none; pass --vocab "cat\'s ear"')
    keys = [(word.object, word.part, word.is_undecided and word.text) for word in words]
    for key, word in zip(keys, words, strict=True):
        if keys.count(key) > 1:
            raise VocabularyError(f"vocabulary: each entry must stand once, got {word.text!r} twice; drop one")
    return words


def _read_file(path: Path) -> list[QueryTerm]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise VocabularyError(
            f"{path}: cannot be read as a vocabulary file ({error}); name a UTF-8 text or YAML file"
        ) from error
    if path.suffix.lower() == ".txt":
        lines = (line.split("#")[0].strip() for line in text.splitlines())
        return [parse_word(piece) for line in lines for piece in line.split(",") if piece.strip()]
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise VocabularyError(f"{path}: is not YAML ({one_line(error)}); mend it") from error
    return _read_yaml(path, value)


def _read_yaml(path: Path, value: object) -> list[QueryTerm]:
    """Read a list of entries or {object, part} mappings, or a mapping of objects to lists of their parts."""
    if isinstance(value, dict):
        return [word for name, parts in value.items() for word in _read_parts(path, name, parts)]
    if isinstance(value, list):
        return [_read_entry(path, entry) for entry in value]
    raise _misread(path, value)


def _read_parts(path: Path, name: object, parts: object) -> list[QueryTerm]:
    """Read one object with a list of its parts, or with nothing: the object itself."""
    if parts is None or parts == []:
        return [_word(path, name, None)]
    if not isinstance(parts, list):
        raise _misread(path, {name: parts})
    return [_word(path, name, part) for part in parts]


def _read_entry(path: Path, entry: object) -> QueryTerm:
    if isinstance(entry, str):
        return parse_word(entry)
    if isinstance(entry, dict) and entry and set(entry) <= {"object", "part"}:
        names = [entry[key] for key in ("object", "part") if key in entry]
        if all(names):
            return _word(path, entry.get("object"), entry.get("part"))
    raise _misread(path, entry)


def _word(path: Path, name: object, part: object) -> QueryTerm:
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
