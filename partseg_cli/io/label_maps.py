"""Label maps as image files: values are read as stored, never converted to colours."""

from __future__ import annotations

import colorsys
import warnings
from pathlib import Path

import numpy as np
from jaxtyping import Int, Shaped, UInt8
from PIL import Image

from partseg_cli.errors import DataError, one_line
from partseg_cli.io.atomic import atomic_write
from partseg_cli.io.images import image_size

VOID_8, VOID_16 = 255, 65535
"""Value of a pixel without a label in a PNG of 8 and of 16 bits."""
GOLDEN_RATIO = 0.618034
"""Hue step of the palette: it keeps neighbouring colours apart for any number of them."""


def read_label_image(path: Path, kind: str = "PNG") -> tuple[str, Shaped[np.ndarray, "..."]]:
    """Read the Pillow mode and the values of an image file, the indices of one with a palette.

    Args:
        path: Path of the file.
        kind: Pillow's name of the format.

    Raises:
        DataError: the file is missing, of another format, larger than an image may be, or not whole.
    """
    image_size(path)
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(path, formats=(kind,)) as image:
            return image.mode, np.array(image)
    except Exception as error:  # Pillow raises whatever broken bytes lead it to
        why = one_line(error).replace(str(path), path.name) or type(error).__name__
        raise DataError(f"{path}: {why}") from error


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
