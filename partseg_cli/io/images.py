"""Images: listed by name, recognised by content, decoded completely to RGB."""

from __future__ import annotations

import glob
import os
import struct
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from partseg_cli.errors import DataError, one_line
from partseg_cli.io.files import describe_file

MAX_MEGAPIXELS = 100
"""Limit for one image; decoded, it takes 300 MB."""

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "JPEG2000")
"""Formats that are decoded; others might make Pillow call Ghostscript and the like."""

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif"}
    | {".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k"}
)
"""Suffixes of images in a folder; a file passed by name is recognised by its content."""

PLAIN_MODES = frozenset({"1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr"})

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation (EXIF 2.3, tag 274) -> transposition that brings the image upright."""


def open_image(path: Path, *, upright: bool) -> Image.Image:
    """Return the image as 8-bit RGB, fully decoded; transparent pixels are composed over white.

    Args:
        path: Path of a file in one of `FORMATS`, whatever its suffix; the first of several frames is used.
        upright: True to apply the EXIF orientation. Masks usually belong to the pixels as stored.

    Raises:
        DataError: The file is missing, no image, incomplete, too large, or of a mode without a defined way to RGB.
    """
    with _opened(path) as image:
        image.load()
        rgb = _to_rgb(path, image)
        turn = _turn(image) if upright else None
    return rgb if turn is None else rgb.transpose(turn)


def image_size(path: Path) -> tuple[int, int]:
    """Return width and height in pixels as stored, read from the header of the file.

    Raises:
        DataError: The file is missing, no image or too large.
    """
    with _opened(path) as image:
        return image.size


def verify_image(path: Path) -> tuple[int, int]:
    """Check by decoding that `open_image` can read the image; return width and height in pixels as stored.

    Raises:
        DataError: As `open_image`.
    """
    return open_image(path, upright=False).size


def turn_of(path: Path) -> Image.Transpose | None:
    """Return the transposition of an image's EXIF orientation, read from the header of the file.

    None also for an image that is missing, broken or too large.
    """
    try:
        with _opened(path) as image:
            return _turn(image)
    except DataError:
        return None


def find_images(paths: Sequence[Path]) -> list[Path]:
    """Return the images named by files, folders and patterns such as `images/*.jpg`, in order, without duplicates.

    A folder stands for the images directly in it, by suffix and sorted, without hidden files.

    Raises:
        DataError: A path leads to no file, or no path is given.
    """
    if not paths:
        raise DataError("images: needs at least one file, folder or pattern, got none; pass one")
    found: dict[str, Path] = {}
    for path in paths:
        for image in _expand(path):
            found.setdefault(os.path.abspath(image), image)  # noqa: PTH100 - resolve() would follow links
    return list(found.values())


def _expand(path: Path) -> list[Path]:
    """Return the images of one path."""
    try:
        if path.is_dir():
            return _images_in(path)
        if path.exists():
            return [path]
        matches = [Path(name) for name in glob.glob(str(path))]  # noqa: PTH207 - Path.glob takes no absolute pattern
        images = sorted(match for match in matches if match.is_file())
    except OSError as error:
        raise DataError(f"{path}: must be readable, got {error.strerror}; check its permissions") from error
    if images:
        return images
    if glob.has_magic(str(path)):
        raise DataError(f"{path}: a pattern must match at least one file, got none; check it")
    raise DataError(f"{path}: must be an image, a folder of images or a pattern, got nothing there; check the path")


def _images_in(folder: Path) -> list[Path]:
    files = (path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and not path.name.startswith("."))
    images = sorted(path for path in files if path.is_file())
    if not images:
        suffixes = " ".join(sorted(SUFFIXES))
        raise DataError(f"{folder}: a folder must contain images ({suffixes}), got none; name another")
    return images


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Yield the image with its header read; exceptions of Pillow within the block become a `DataError`."""
    try:
        # Pillow warns of doubtful tags, which do not touch the pixels, and of sizes, for which there is a rule here
        with (
            warnings.catch_warnings(action="ignore"),
            path.open("rb") as file,
            Image.open(file, formats=FORMATS) as image,
        ):
            width, height = image.size
            if width * height > MAX_MEGAPIXELS * 10**6:
                raise DataError(_too_large(path, f"{width}x{height}"))
            yield image
    except DataError:
        raise
    except Exception as error:  # its decoders raise exceptions of any kind for broken bytes
        raise DataError(_complaint(path, error)) from error


def _too_large(path: Path, got: str) -> str:
    return f"{path}: an image must have at most {MAX_MEGAPIXELS} megapixels, got {got}; make it smaller"


def _complaint(path: Path, error: Exception) -> str:
    """Return the error message for a file, in one line."""
    if isinstance(error, UnidentifiedImageError):
        return f"{path}: must be an image ({', '.join(FORMATS)}), got {describe_file(path)}; get or convert it again"
    if isinstance(error, Image.DecompressionBombError):
        return _too_large(path, f"more than {2 * (Image.MAX_IMAGE_PIXELS or 0) // 10**6}")
    if isinstance(error, OSError) and error.strerror:
        return f"{path}: must be a readable image, got {error.strerror}; check the path"
    why = one_line(error) or type(error).__name__
    return f"{path}: an image must be complete, got one that cannot be decoded ({why}); get it again"


def _to_rgb(path: Path, image: Image.Image) -> Image.Image:
    """Return a copy in RGB."""
    # PNG and PPM hand out 16-bit grey as 32-bit integers
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in {"PNG", "PPM"}):
        high_bytes = (np.asarray(image) >> 8).astype(np.uint8)  # as Pillow reads 16-bit colours
        return Image.fromarray(high_bytes).convert("RGB")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(white, layer).convert("RGB")
    if image.mode in PLAIN_MODES:
        return image.convert("RGB")
    raise DataError(
        f"{path}: an image must be bilevel, grey (8 or 16 bits), palette, RGB or CMYK, got mode {image.mode!r}; "
        "convert it to PNG or JPEG"
    )


def _turn(image: Image.Image) -> Image.Transpose | None:
    """Return the transposition that brings a loaded image upright, or None."""
    try:
        return TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except (SyntaxError, struct.error):  # a broken EXIF block does not affect the pixels
        return None
