"""Versions: of Python and the packages that results depend on, and of our file formats."""

from __future__ import annotations

import platform
from importlib.metadata import version
from pathlib import Path

from partseg_cli.errors import CheckpointError

PACKAGES = ("partseg-cli", "torch", "open_clip_torch", "numpy", "pillow")


def package_versions() -> dict[str, str]:
    """Return the versions that results depend on, by package."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


def refuse_newer_format(path: Path, got: object, known: str) -> None:
    """Refuse a format such as "partseg-state-2" whose number is above the one that this version writes.

    Raises:
        CheckpointError: The format is newer.
    """
    kind, _, number = known.rpartition("-")
    name, _, newer = str(got).rpartition("-")
    if name == kind and newer.isdigit() and int(newer) > int(number):
        raise CheckpointError(
            f"{path}: must be of format {known} or older, got {got}, written by a newer version; update partseg-cli"
        )
