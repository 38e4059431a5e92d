"""Photos: found by name, told by content, decoded whole to RGB."""

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
"""A decoded photo of this size takes 300 MB."""

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "JPEG2000")
"""What is decoded: formats of photos alone, so that no file makes Pillow call Ghostscript and the like."""

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif"}
    | {".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k"}
)
"""Names that count as photos in a folder; a file that is named itself is told by its content."""

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
"""What brings a photo of this EXIF orientation (EXIF 2.3, tag 274) upright."""


def open_image(path: Path, *, upright: bool) -> Image.Image:
    """Give the photo as 8-bit RGB, fully decoded; transparent pixels lie over white.

    Args:
        path: a file of one of `FORMATS`, whatever its name; of several frames the first counts.
        upright: whether to turn the photo as its EXIF orientation asks. Masks usually belong to the pixels as stored.

    Raises:
        DataError: the file is missing, no photo, not whole, too large, or of a kind without a sure way to RGB.
    """
    with _opened(path) as image:
        image.load()
        rgb = _to_rgb(path, image)
        turn = _turn(image) if upright else None
    return rgb if turn is None else rgb.transpose(turn)


def image_size(path: Path) -> tuple[int, int]:
    """Give width and height in pixels as stored, from the head of the file alone.

    Raises:
        DataError: the file is missing, no photo or too large.
    """
    with _opened(path) as image:
        return image.size


def verify_image(path: Path) -> tuple[int, int]:
    """Prove by decoding that `open_image` can read the photo, and give width and height in pixels as stored.

    Raises:
        DataError: as `open_image`.
    """
    return open_image(path, upright=False).size


def turn_of(path: Path) -> Image.Transpose | None:
    """Give the turn that a photo's EXIF orientation asks for, from the head of the file.

    A photo that is missing, broken or too large asks for nothing.
    """
    try:
        with _opened(path) as image:
            return _turn(image)
    except DataError:
        return None


def find_images(paths: Sequence[Path]) -> list[Path]:
    """Give the photos that files, folders and patterns such as `photos/*.jpg` stand for: in order, each once.

    A folder stands for the photos right in it, by suffix and sorted; hidden files are left out.

    Raises:
        DataError: one of the paths leads to no file, or none is given.
    """
    if not paths:
        raise DataError("photos: needs at least one file, folder or pattern, got none; name one")
    found: dict[str, Path] = {}
    for path in paths:
        for photo in _expand(path):
            found.setdefault(os.path.abspath(photo), photo)  # noqa: PTH100 - resolve() would follow links
    return list(found.values())


def _expand(path: Path) -> list[Path]:
    """Give the photos of one path."""
    try:
        if path.is_dir():
            return _photos_in(path)
        if path.exists():
            return [path]
        matches = [Path(name) for name in glob.glob(str(path))]  # noqa: PTH207 - Path.glob takes no absolute pattern
        photos = sorted(match for match in matches if match.is_file())
    except OSError as error:
        raise DataError(f"{path}: must be readable, got {error.strerror}; check its permissions") from error
    if photos:
        return photos
    if glob.has_magic(str(path)):
        raise DataError(f"{path}: a pattern must match at least one file, got none; check it")
    raise DataError(f"{path}: must be a photo, a folder of photos or a pattern, got nothing there; check the path")


def _photos_in(folder: Path) -> list[Path]:
    files = (path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and not path.name.startswith("."))
    photos = sorted(path for path in files if path.is_file())
    if not photos:
        suffixes = " ".join(sorted(SUFFIXES))
        raise DataError(f"{folder}: a folder must hold photos ({suffixes}), got none; name another")
    return photos


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Hand out the photo with its head read; what Pillow raises from here to the end of the block is a `DataError`."""
    try:
        # Pillow warns of doubtful tags, which do not touch the pixels, and of sizes, for which there is a rule here
        with (
            warnings.catch_warnings(action="ignore"),
            path.open("rb") as file,
            Image.open(file, formats=FORMATS) as image,
        ):
            _check_size(path, image.size)
            yield image
    except DataError:
        raise
    except Exception as error:  # its decoders raise whatever broken bytes lead them to
        raise DataError(_complaint(path, error)) from error


def _check_size(path: Path, size: tuple[int, int]) -> None:
    width, height = size
    if width * height > MAX_MEGAPIXELS * 10**6:
        raise DataError(_too_large(path, f"{width}x{height}"))


def _too_large(path: Path, got: str) -> str:
    return f"{path}: a photo must have at most {MAX_MEGAPIXELS} megapixels, got {got}; make it smaller"


def _complaint(path: Path, error: Exception) -> str:
    """Say in one line what is wrong with the file."""
    if isinstance(error, UnidentifiedImageError):
        return f"{path}: must be a photo ({', '.join(FORMATS)}), got {describe_file(path)}; get or convert it again"
    if isinstance(error, Image.DecompressionBombError):
        return _too_large(path, f"more than {2 * (Image.MAX_IMAGE_PIXELS or 0) // 10**6}")
    if isinstance(error, OSError) and error.strerror:
        return f"{path}: must be a readable photo, got {error.strerror}; check the path"
    why = one_line(error) or type(error).__name__
    return f"{path}: a photo must be whole, got one that cannot be decoded ({why}); get it again"


def _to_rgb(path: Path, image: Image.Image) -> Image.Image:
    """Give a copy in RGB."""
    if _is_16_bit_grey(image):
        high_bytes = (np.asarray(image) >> 8).astype(np.uint8)  # as Pillow reads 16-bit colours
        return Image.fromarray(high_bytes).convert("RGB")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(white, layer).convert("RGB")
    if image.mode in PLAIN_MODES:
        return image.convert("RGB")
    raise DataError(
        f"{path}: a photo must be bilevel, grey (8 or 16 bits), palette, RGB or CMYK, got mode {image.mode!r}; "
        "convert it to PNG or JPEG"
    )


def _is_16_bit_grey(image: Image.Image) -> bool:
    """Tell 16-bit grey, which some formats give as 32-bit integers, from integers of any range."""
    return image.mode.startswith("I;16") or (image.mode == "I" and image.format in {"PNG", "PPM"})


def _turn(image: Image.Image) -> Image.Transpose | None:
    """Give the turn that brings a loaded image upright, if its EXIF orientation asks for one."""
    try:
        return TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except (SyntaxError, struct.error):  # a broken EXIF block asks for nothing, and leaves the pixels whole
        return None
