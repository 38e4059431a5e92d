"""Errors that a user can fix, each with its exit code, and the wording that all messages share.

    PartsegError            1  the run, the disk, a loss that is not finite
    ├── UsageError          2  the command line, missing devices
    │   ├── RecipeError        a recipe
    │   └── VocabularyError    vocabulary
    ├── DataError           3  images, annotations, stores, splits
    ├── CheckpointError     4  weights and checkpoints
    ├── OutOfMemoryError    5
    └── BoundError          6  a score below its required minimum

Errors of programmers stay `ValueError` and `TypeError`, with their traceback.
"""

import difflib
from collections.abc import Iterable, Sequence


class PartsegError(Exception):
    """Error in one line: what went wrong, the rule, the value, and the remedy."""

    exit_code = 1


class UsageError(PartsegError):
    """Invalid command line."""

    exit_code = 2


class RecipeError(UsageError):
    """Unknown key in a recipe, or value outside its range."""


class VocabularyError(UsageError):
    """Empty, duplicate or unreadable names."""


class DataError(PartsegError):
    """Image, annotation, store or split that is missing, broken or of another kind."""

    exit_code = 3


class CheckpointError(PartsegError):
    """Weights that are missing, unreadable, or of another model."""

    exit_code = 4


class OutOfMemoryError(PartsegError):
    """Device with less memory than the run needs."""

    exit_code = 5


class BoundError(PartsegError):
    """Score below the minimum that the user requires."""

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
