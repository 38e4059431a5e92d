"""The files of an OV-PARTS repack: folders without litter and links that lead away, label maps, JSON."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from jaxtyping import Shaped, UInt16

from partseg_cli.data.converters.conversion import InvalidAnnotationError
from partseg_cli.data.rle import NONE
from partseg_cli.errors import DataError, format_list
from partseg_cli.io.files import is_ignored_file, is_inside
from partseg_cli.io.label_maps import read_numbers

MODES = {8: ("L", "P"), 16: ("I;16", "I")}
"""Bits of a label map -> modes that Pillow gives it; of a palette the indices count, as in the published code."""

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
        raise InvalidAnnotationError(BROKEN_LABELS, f"{path.name}: must be grey of {bits} bits, got mode {mode}")
    ignore = 2**bits - 1
    wrong = np.unique(values[(values >= count) & (values != ignore)]).tolist()
    if wrong:
        got = format_list([str(value) for value in wrong])
        raise InvalidAnnotationError(UNKNOWN_LABEL, f"{path.name}: must be 0 to {count - 1} or {ignore}, got {got}")
    labels = values.astype(np.uint16)
    labels[values == ignore] = NONE
    return labels


def read_png(path: Path) -> tuple[str, Shaped[np.ndarray, "..."]]:
    """Give mode and values of a PNG.

    Raises:
        DefectError: it is missing, something else, or broken.
    """
    if not path.is_file():
        raise InvalidAnnotationError(NO_LABELS, path.name)
    return read_numbers(path, "PNG", BROKEN_LABELS)


def list_names(source: Path, folder: Path) -> list[str]:
    """Give the names in a folder, sorted, without litter; none if it is not there.

    Raises:
        DataError: it cannot be read, or a link leads out of `source` or in a circle.
    """
    is_inside(source, folder)
    try:
        with os.scandir(folder) as entries:
            found = [(entry.name, entry.is_symlink()) for entry in entries if not is_ignored_file(entry.name)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise DataError(f"{folder}: must be readable, got {error.strerror}; check its permissions") from error
    for name, is_link in found:
        if is_link:
            is_inside(source, folder / name)
    return sorted(name for name, _ in found)
