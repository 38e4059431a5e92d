"""What every converter gives: records for a split, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from partseg_cli.data.images import check_photo
from partseg_cli.data.record import Record
from partseg_cli.errors import DataError

NO_PHOTO = "photo is missing"
BROKEN_PHOTO = "photo cannot be used"
SIZES_DIFFER = "mask and photo differ in size"


class DefectError(Exception):
    """One image cannot be converted: the reason, and what exactly was found."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason)
        self.reason, self.detail = reason, detail


@dataclass(frozen=True)
class Converted:
    """One image that belongs into the store.

    Attributes:
        split: "train" or "val".
        record: its objects and parts.
    """

    split: str
    record: Record


@dataclass(frozen=True)
class Skipped:
    """One image or annotation that does not come into the store.

    Attributes:
        item: its name below the source folder, and its number where one file holds many.
        reason: why, in words; equal reasons are counted together.
        is_defect: whether the source is broken there (`--strict` refuses it), or the image has just nothing for us.
        detail: what exactly was found.
    """

    item: str
    reason: str
    is_defect: bool
    detail: str = ""


@dataclass(frozen=True)
class Conversion:
    """A conversion about to run.

    Attributes:
        image_root: folder of the photos, recorded in the store.
        found: number of annotated images.
        outcomes: the conversion itself, lazily, in a fixed order: one for each image; where single annotations of an
            image, or whole categories, are left out as well, one for each of these too.
    """

    image_root: str
    found: int
    outcomes: Iterator[Converted | Skipped]


def measure_photo(path: Path, name: str | None = None) -> tuple[int, int]:
    """Give width and height of a photo that is whole.

    Args:
        path: of the photo.
        name: what it is called in the report; default its file's name.

    Raises:
        DefectError: it is missing or cannot be decoded.
    """
    name = name or path.name
    if not path.is_file():
        raise DefectError(NO_PHOTO, name)
    try:
        return check_photo(path)
    except DataError as error:
        raise DefectError(BROKEN_PHOTO, str(error).replace(str(path), name)) from error
