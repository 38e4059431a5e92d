"""Mistakes that a user can mend; each ends a command in one line with its own exit code.

    PartsegError            1  the run, the disk, a loss that is not finite
    ├── UsageError          2  the command line, devices asked for that are not there
    │   ├── RecipeError        a recipe
    │   └── VocabularyError    words
    ├── DataError           3  images, annotations, stores, splits
    ├── CheckpointError     4  weights and checkpoints
    ├── OutOfMemoryError    5
    └── BoundError          6  a score below the bound that it must reach

Programmers' mistakes stay `ValueError` and `TypeError`, with their traceback.
"""

import difflib
from collections.abc import Iterable, Sequence


class PartsegError(Exception):
    """What went wrong, the rule, the value got, what to do: in one line."""

    exit_code = 1


class UsageError(PartsegError):
    """The command cannot be understood or carried out as written."""

    exit_code = 2


class RecipeError(UsageError):
    """A recipe has an unknown key, or a value outside its rule."""


class VocabularyError(UsageError):
    """The words asked for are empty, doubled or unreadable."""


class DataError(PartsegError):
    """An image, annotation, store or split is missing, broken or of another kind."""

    exit_code = 3


class CheckpointError(PartsegError):
    """Weights are missing, unreadable, or belong to another model."""

    exit_code = 4


class OutOfMemoryError(PartsegError):
    """The device has less memory than the run wants."""

    exit_code = 5


class BoundError(PartsegError):
    """A score is below the bound that the user set for it."""

    exit_code = 6


def one_line(text: object) -> str:
    """Return a text, or the message of an error, in one line with single spaces."""
    return " ".join(str(text).split())


def format_list(names: Sequence[str], shown: int = 5) -> str:
    """Join names by commas and count those beyond the first ones.

    >>> format_list(["ear", "eye", "nose"], 2)
    'ear, eye and 1 more'
    """
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


def closest_name(name: str, known: Iterable[str]) -> str | None:
    """Return the known name spelled most like `name`; None if none is close."""
    return next(iter(difflib.get_close_matches(name, list(known), n=1)), None)


def did_you_mean(name: str, known: Iterable[str], otherwise: str = "choose one of them") -> str:
    """Return the advice "did you mean NAME?" with the closest known name, else `otherwise`.

    >>> did_you_mean("cta", ["cat", "dog"])
    'did you mean cat?'
    """
    near = closest_name(name, known)
    return otherwise if near is None else f"did you mean {near}?"
