"""Pictures whose pixels are numbers that mean something: read as they are, never turned into colours."""

from __future__ import annotations

import colorsys
import warnings
from pathlib import Path

import numpy as np
from jaxtyping import Int, Shaped, UInt8
from PIL import Image

from partseg_cli.data.converters.conversion import InvalidAnnotationError
from partseg_cli.errors import DataError, one_line
from partseg_cli.io.atomic import atomic_write
from partseg_cli.io.images import photo_size

VOID_8, VOID_16 = 255, 65535
"""Value of a pixel without a label in a PNG of 8 and of 16 bits."""
GOLDEN_RATIO = 0.618034
"""Hue step of the palette: it keeps neighbouring colours apart for any number of them."""


def read_numbers(path: Path, kind: str, reason: str) -> tuple[str, Shaped[np.ndarray, "..."]]:
    """Give mode and values of a picture; of a palette the indices count.

    Args:
        path: of the file.
        kind: its format, as Pillow calls it, such as "PNG".
        reason: of the defect that it is otherwise.

    Raises:
        DefectError: it is missing, something else, larger than a photo may be, or not whole.
    """
    try:
        photo_size(path)
        with warnings.catch_warnings(action="ignore"), Image.open(path, formats=(kind,)) as image:
            return image.mode, np.array(image)
    except DataError as error:
        raise InvalidAnnotationError(reason, str(error).replace(str(path), path.name)) from error
    except Exception as error:  # Pillow raises whatever broken bytes lead it to
        why = one_line(str(error).replace(str(path), path.name)) or type(error).__name__
        raise InvalidAnnotationError(reason, f"{path.name}: {why}") from error


def palette(count: int) -> UInt8[np.ndarray, "{count} 3"]:
    """Return `count` different colours, always the same ones."""
    colours = [
        colorsys.hsv_to_rgb((index * GOLDEN_RATIO) % 1, (0.85, 0.6)[index % 2], (1.0, 0.8, 0.95)[index % 3])
        for index in range(count)
    ]
    return (np.array(colours).reshape(count, 3) * 255).astype(np.uint8)


def write_png(path: Path, image: Image.Image) -> None:
    """Write a PNG atomically."""
    with atomic_write(path) as temporary:
        image.save(temporary, "PNG")


def write_label_map(path: Path, labels: Int[np.ndarray, "H W"], count: int) -> None:
    """Write a label map (-1 = void) of `count` classes as a PNG.

    Fewer than 255 classes: 8 bits with a palette, void is 255. Otherwise: 16 bits without a palette, void is 65535.
    """
    if count >= VOID_8:
        write_png(path, Image.fromarray(np.where(labels < 0, VOID_16, labels).astype(np.uint16)))
        return
    image = Image.fromarray(np.where(labels < 0, VOID_8, labels).astype(np.uint8))
    colours = np.zeros((VOID_8 + 1, 3), np.uint8)
    colours[:count] = palette(count)
    image.putpalette(colours.tobytes())
    write_png(path, image)
