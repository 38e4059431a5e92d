"""Where things lie: packaged recipes and manifests, prepared data, runs, weights."""

from __future__ import annotations

import os
from pathlib import Path

from partseg_cli.errors import PartsegError
from partseg_cli.io.atomic import disk_error

PACKAGE = Path(__file__).parents[1]
RESULTS_FILE, COUNTS_FILE = "results.json", "counts.npz"
"""Names in the folder of an evaluation: scores, and the counts of every sample."""


def packaged(folder: str) -> Path:
    """Give the folder `recipes` or `data_manifests`, of the checkout or of the installed package.

    >>> (packaged("recipes") / "tiny.yaml").is_file()
    True
    """
    for parent in (PACKAGE, PACKAGE.parent):
        if any((parent / folder).glob("*.yaml")):
            return parent / folder
    raise PartsegError(f"{folder}: not found beside {PACKAGE}; the installation is broken, install partseg-cli again")


def packaged_weights(name: str) -> Path:
    """Give the file of weights that come with the package, such as "nano"."""
    return PACKAGE / "assets" / "weights" / f"{name}.safetensors"


def data_dir() -> Path:
    """Give the home of data sets: `$PARTSEG_DATA`, else `./data`."""
    return Path(os.environ.get("PARTSEG_DATA") or "data")


def cache_dir() -> Path:
    """Give the user's cache: `$XDG_CACHE_HOME/partseg`, else `~/.cache/partseg`."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "partseg"


def weights_folders() -> list[Path]:
    """Return the folders that are searched for weights: `$PARTSEG_WEIGHTS`, if set, then the user's cache."""
    home = os.environ.get("PARTSEG_WEIGHTS")
    return [*([Path(home).expanduser()] if home else []), cache_dir()]


def create_run_dir(verb: str, name: str) -> Path:
    """Make and give the first free folder `runs/<verb>/<name>-N`."""
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
