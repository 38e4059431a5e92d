"""The files of an OV-PARTS repack: folders without litter and links that lead away, label maps, JSON."""

from __future__ import annotations

import errno
import json
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped, UInt16
from PIL import Image

from partseg_cli.data.conversion import DefectError
from partseg_cli.data.images import looks_like, photo_size
from partseg_cli.data.rle import NONE
from partseg_cli.errors import DataError

MODES = {8: ("L", "P"), 16: ("I;16", "I")}
"""Bits of a label map -> modes that Pillow gives it; of a palette the indices count, as in the published code."""
NAMES_SHOWN = 5

NO_LABELS = "label map is missing"
BROKEN_LABELS = "label map cannot be used"
UNKNOWN_LABEL = "label map has a value outside of the list"


def read_labels(path: Path, bits: int, count: int) -> UInt16[np.ndarray, "H W"]:
    """Read a label map: ids below `count`, `rle.NONE` where the map has its largest value, which is none.

    Raises:
        DefectError: it is missing, broken, no grey PNG of this many bits, or has another value.
    """
    mode, values = read_png(path)
    if mode not in MODES[bits]:
        raise DefectError(BROKEN_LABELS, f"{path.name}: must be grey of {bits} bits, got mode {mode}")
    ignore = 2**bits - 1
    wrong = np.unique(values[(values >= count) & (values != ignore)]).tolist()
    if wrong:
        shown = ", ".join(str(value) for value in wrong[:NAMES_SHOWN])
        raise DefectError(UNKNOWN_LABEL, f"{path.name}: must be 0 to {count - 1} or {ignore}, got {shown}")
    labels = values.astype(np.uint16)
    labels[values == ignore] = NONE
    return labels


def read_png(path: Path) -> tuple[str, Shaped[np.ndarray, "..."]]:
    """Give mode and values of a PNG.

    Raises:
        DefectError: it is missing, something else, or broken.
    """
    if not path.is_file():
        raise DefectError(NO_LABELS, path.name)
    try:
        photo_size(path)
        with warnings.catch_warnings(action="ignore"), Image.open(path, formats=("PNG",)) as image:
            return image.mode, np.asarray(image)
    except DataError as error:
        raise DefectError(BROKEN_LABELS, str(error).replace(str(path), path.name)) from error
    except Exception as error:  # Pillow raises whatever broken bytes lead it to
        why = " ".join(str(error).replace(str(path), path.name).split()) or type(error).__name__
        raise DefectError(BROKEN_LABELS, f"{path.name}: {why}") from error


def read_json(path: Path, advice: str) -> Any:  # noqa: ANN401 - whatever JSON can hold
    """Read a JSON file that must be there.

    Args:
        path: of the file.
        advice: what the user is told to do without it.

    Raises:
        DataError: it is missing, or something else.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise DataError(f"{path}: must be a readable file, got {error.strerror}; {advice}") from error
    except (ValueError, RecursionError) as error:
        why = " ".join(str(error).split())
        raise DataError(f"{path}: must be JSON, got {looks_like(path)} ({why}); {advice}") from error


def list_names(source: Path, folder: Path) -> list[str]:
    """Give the names in a folder, sorted, without litter; none if it is not there.

    Raises:
        DataError: it cannot be read, or a link leads out of `source` or in a circle.
    """
    check_link(source, folder)
    try:
        with os.scandir(folder) as entries:
            found = [(entry.name, entry.is_symlink()) for entry in entries if not is_litter(entry.name)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise DataError(f"{folder}: must be readable, got {error.strerror}; check its permissions") from error
    for name, is_link in found:
        if is_link:
            check_link(source, folder / name)
    return sorted(name for name, _ in found)


def check_link(source: Path, path: Path) -> None:
    """Raise a `DataError` if `path`, or a folder on the way from `source`, leads out of `source` or in a circle."""
    try:
        path.stat()
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise DataError(f"{path}: must lead to a file, got links that lead to each other; mend them") from error
        return
    real = path.resolve()
    if not real.is_relative_to(source.resolve()):
        raise DataError(f"{path}: must lie below {source}, got a link to {real}; put the files themselves there")


def is_litter(name: str) -> bool:
    """Tell hidden files and what macOS leaves in archives: `._X`, `.DS_Store`, `__MACOSX`."""
    return name.startswith((".", "__MACOSX"))


def content_of(folder: Path) -> str:
    """Say what a folder holds, in a few words."""
    if not folder.is_dir():
        return "a file" if folder.exists() else "no such folder"
    names = sorted(path.name for path in folder.iterdir())
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return (", ".join(names[:NAMES_SHOWN]) or "an empty folder") + more
