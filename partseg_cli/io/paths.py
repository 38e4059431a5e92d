"""Locations of packaged recipes and manifests, prepared datasets, runs and weights."""

from __future__ import annotations

import os
from pathlib import Path

from partseg_cli.errors import PartsegError, UsageError
from partseg_cli.io.atomic import UNFINISHED, disk_error

PACKAGE = Path(__file__).parents[1]
RESULTS_FILE, COUNTS_FILE = "results.json", "counts.npz"
"""Files in the folder of an evaluation: scores, and the counts of every sample."""


def packaged(folder: str) -> Path:
    """Return the folder `recipes` or `data_manifests` of the checkout or of the installed package.

    >>> (packaged("recipes") / "tiny.yaml").is_file()
    True
    """
    for parent in (PACKAGE, PACKAGE.parent):
        if any((parent / folder).glob("*.yaml")):
            return parent / folder
    raise PartsegError(f"{folder}: not found next to {PACKAGE}; the installation is broken, install partseg-cli again")


def packaged_weights(name: str) -> Path:
    """Return the path of bundled weights, such as "nano"."""
    return PACKAGE / "assets" / "weights" / f"{name}.safetensors"


def data_dir() -> Path:
    """Return the folder of datasets: `$PARTSEG_DATA`, else `./data`."""
    return Path(os.environ.get("PARTSEG_DATA") or "data")


def cache_dir() -> Path:
    """Return the user's cache folder: `$XDG_CACHE_HOME/partseg`, else `~/.cache/partseg`."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "partseg"


def weights_folders() -> list[Path]:
    """Return the folders that are searched for weights: `$PARTSEG_WEIGHTS`, if set, then the user's cache."""
    home = os.environ.get("PARTSEG_WEIGHTS")
    return [*([Path(home).expanduser()] if home else []), cache_dir()]


def create_run_dir(verb: str, name: str) -> Path:
    """Create and return the first free folder `runs/<verb>/<name>-N`."""
    number = 1
    while True:
        folder = Path("runs") / verb / f"{name}-{number}"
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            number += 1
        except OSError as error:
            raise disk_error(folder, error) from error
        else:
            return folder


def holds_files(folder: Path) -> bool:
    """Return whether a file is below `folder`, temporary ones of interrupted processes aside."""
    return any(path.is_file() and not path.name.endswith(UNFINISHED) for path in folder.rglob("*"))


def check_new_folder(folder: Path) -> None:
    """Check that an output folder is new or empty.

    Raises:
        UsageError: The folder is a file, or holds files.
    """
    if folder.exists() and (not folder.is_dir() or holds_files(folder)):
        raise UsageError(f"--out must be a new or empty folder, got {folder}; name another or remove it")
