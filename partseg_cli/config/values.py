"""Validation of recipe sections against the types and bounds of their dataclasses."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from types import NoneType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from partseg_cli.config.sections import RENAMED
from partseg_cli.errors import RecipeError, closest_name

Section = TypeVar("Section")


def read_section(
    kind: type[Section],
    raw: Any,  # noqa: ANN401 - whatever YAML holds
    name: str,
    where: str,
    sections: Mapping[str, type],
) -> Section:
    """Read one section of a recipe.

    Args:
        kind: Dataclass of the section.
        raw: Value of the section as YAML gives it.
        name: Name of the section, such as "train".
        where: Start of every error message, usually the path of the recipe.
        sections: Dataclasses of all sections, searched for the intended key where one is misspelt.

    Raises:
        RecipeError: An unknown, renamed or missing key, or a value outside its bounds.
    """
    if not isinstance(raw, dict):
        raise RecipeError(f"{where}: {name} must be a section of keys, got {raw!r}")
    keys = fields(kind)  # type: ignore[arg-type]
    check_keys(raw, [key.name for key in keys], f"{name}.", where, sections)
    hints = get_type_hints(kind)
    for key in keys:
        _check_renamed(f"{name}.{key.name} {raw[key.name]}", where)
    values = {
        key.name: _value(raw[key.name], hints[key.name], key.metadata, f"{where}: {name}.{key.name}") for key in keys
    }
    return kind(**values)


def check_keys(
    raw: Mapping[str, Any], known: Iterable[str], prefix: str, where: str, sections: Mapping[str, type]
) -> None:
    """Check that a section holds all its keys and no others.

    Args:
        raw: Section as YAML gives it.
        known: Keys that the section must hold.
        prefix: Prefix of keys in messages, such as "train."; empty for the sections themselves.
        where: Start of every error message, usually the path of the recipe.
        sections: Dataclasses of all sections, searched for the intended key where one is misspelt.

    Raises:
        RecipeError: An unknown, renamed or missing key.
    """
    known = list(known)
    for key in raw:
        if key not in known:
            _check_renamed(f"{prefix}{key}", where)
            guess = _guess(str(key), known, prefix, sections)
            advice = f"did you mean {guess}?" if guess else f"known are {', '.join(known)}"
            raise RecipeError(f"{where}: unknown key {prefix}{key}; {advice}")
    for key in known:
        if key not in raw:
            raise RecipeError(f"{where}: needs the key {prefix}{key}; add it (recipes are complete)")


def _check_renamed(old: str, where: str) -> None:
    """Raise an error that names the new key if `old` is a key of before."""
    if new := RENAMED.get(old):
        raise RecipeError(f"{where}: {old} has been renamed, use {new}")


def _guess(key: str, known: list[str], prefix: str, sections: Mapping[str, type]) -> str | None:
    """Return the key most likely meant: the same key of another section, else the nearest of this one, else of any."""
    others = {name: kind for name, kind in sections.items() if f"{name}." != prefix}
    every = {name.name: section for section, kind in others.items() for name in fields(kind)}
    if key in every:
        return f"{every[key]}.{key}"
    for names in (known, list(every)):
        if near := closest_name(key, names):
            return prefix + near if names is known else f"{every[near]}.{near}"
    return None


def _value(value: Any, hint: Any, bounds: Mapping[str, Any], where: str) -> Any:  # noqa: ANN401
    """Return one value checked against its type and bounds."""
    if get_origin(hint) is Literal:
        if value not in get_args(hint):
            raise RecipeError(f"{where} must be one of {', '.join(get_args(hint))}, got {value!r}")
        return value
    kinds = get_args(hint) or (hint,)
    if value is None and NoneType in kinds:
        return None
    if "choices" in bounds:
        return _choice(value, bounds["choices"], where)
    value = _number(value) if float in kinds else value
    if type(value) not in kinds:
        names = " or ".join("null" if kind is NoneType else kind.__name__ for kind in kinds)
        raise RecipeError(f"{where} must be of type {names}, got {value!r}")
    _check_bounds(value, bounds, where)
    return value


def _choice(value: Any, choices: Sequence[str], where: str) -> str:  # noqa: ANN401
    """Return a value that is one of `choices` or a path."""
    if isinstance(value, str) and (value in choices or "/" in value or value.endswith(".safetensors")):
        return value
    raise RecipeError(f"{where} must be one of {', '.join(choices)}, or the path of a checkpoint, got {value!r}")


def _number(value: Any) -> Any:  # noqa: ANN401
    """Return a number as float; PyYAML reads 1e-4 as text."""
    if isinstance(value, bool):
        return value
    try:
        return float(value)
    except (TypeError, ValueError):
        return value


def _check_bounds(value: Any, bounds: Mapping[str, Any], where: str) -> None:  # noqa: ANN401
    if isinstance(value, float) and not math.isfinite(value):
        raise RecipeError(f"{where} must be finite, got {value:g}")
    holds = {">=": lambda a, b: a >= b, ">": lambda a, b: a > b, "<=": lambda a, b: a <= b}
    for sign, bound in bounds.items():
        if bound is not None and not holds[sign](value, bound):
            raise RecipeError(f"{where} must be {sign} {bound:g}, got {value:g}")
