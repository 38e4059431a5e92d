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
