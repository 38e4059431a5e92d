"""Common form of all converters: source images, and for each the record or the reason why it has none."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from partseg_cli.data.record import Record
from partseg_cli.data.rle import Mask
from partseg_cli.errors import DataError
from partseg_cli.io.images import open_image, verify_image
from partseg_cli.io.label_maps import read_label_image

NO_IMAGE = "image is missing"
BROKEN_IMAGE = "image cannot be used"
MASKS_DIFFER = "masks of one image differ in size"
SIZES_DIFFER = "mask and image differ in size"


class InvalidAnnotationError(Exception):
    """Reason why one image cannot be converted, and what was found exactly."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason)
        self.reason, self.detail = reason, detail


@dataclass(frozen=True)
class Converted:
    """Image that belongs into the store.

    Attributes:
        split: Name of the split.
        record: Objects and parts.
    """

    split: str
    record: Record


@dataclass(frozen=True)
class Skipped:
    """Image or annotation that does not go into the store.

    Attributes:
        item: Its name below the source folder, with a number if one file holds many.
        reason: Reason in words; equal reasons are counted together.
        is_defect: Whether the source is broken there (`--strict` refuses it); otherwise there is nothing to convert.
        detail: What was found exactly.
    """

    item: str
    reason: str
    is_defect: bool
    detail: str = ""

    @classmethod
    def defect(cls, item: str, error: InvalidAnnotationError) -> Skipped:
        """Return what an error says of an image or annotation."""
        return cls(item, error.reason, is_defect=True, detail=error.detail)


Outcome = Converted | Skipped


def outcome_to_json(outcome: Outcome) -> dict[str, Any]:
    """Return an outcome as a plain record."""
    if isinstance(outcome, Converted):
        return {"split": outcome.split, "record": outcome.record.to_json()}
    return vars(outcome)


def outcome_from_json(value: dict[str, Any]) -> Outcome:
    """Parse what `outcome_to_json` returned."""
    if "record" in value:
        return Converted(value["split"], Record.from_json(value["record"]))
    return Skipped(**value)


@dataclass(frozen=True)
class SourceImage:
    """Annotated image with everything that its conversion reads, so that any process can convert it.

    Attributes:
        name: Name of the annotation below the source folder.
        content: Input of the converter, small and picklable.
        files: Files of the annotation, with or without the image file: outcomes of a former run hold while their sizes
            and times stay the same.
    """

    name: str
    content: Any
    files: tuple[Path, ...] = ()

    @property
    def stamp(self) -> str:
        """Name, and sizes and times of the files: former outcomes hold while it stays the same."""
        stats = (path.stat() if path.exists() else None for path in self.files)
        return " ".join([self.name, *(f"{stat.st_size}/{stat.st_mtime_ns}" if stat else "none" for stat in stats)])


@dataclass(frozen=True)
class Conversion:
    """Conversion that is ready to run.

    Attributes:
        image_folder: Folder of the images; `Record.file_name` starts there.
        items: Annotated images in the order of the store.
        convert: Function from `SourceImage.content` to outcomes in the size of the masks: one of the image, and one of
            each annotation that is left out. It is picklable and may raise `InvalidAnnotationError`.
        image_root: Name of the image folder in the store.
        splits: Splits of the store.
        left_out: What is left out beside images, such as whole categories.
        lists: Published lists of image ids by name, such as "train_16shot".
        notes: Sentences for the report.
        expected_total: Number of annotated images of a complete source of this form; None for the manifest's.
    """

    image_folder: Path
    items: Sequence[SourceImage]
    convert: Callable[[Any], Sequence[Outcome]]
    image_root: str
    splits: tuple[str, ...] = ("train", "val")
    left_out: tuple[Skipped, ...] = ()
    lists: tuple[tuple[str, tuple[str, ...]], ...] = ()
    notes: tuple[str, ...] = ()
    expected_total: int | None = None

    @property
    def found(self) -> int:
        """The number of annotated images."""
        return len(self.items)

    @property
    def outcomes(self) -> Iterator[Outcome]:
        """All outcomes, lazily, in the order of the store."""
        yield from self.left_out
        for item in self.items:
            yield from self.outcomes_of(item)

    def outcomes_of(self, item: SourceImage, *, allow_resize: bool = False) -> list[Outcome]:
        """Convert one item, and fit its record to the image file.

        Args:
            item: One of `items`.
            allow_resize: Whether masks of another size than the image are scaled to it; otherwise it is skipped.
        """

        def fit(outcome: Outcome) -> Outcome:
            if isinstance(outcome, Skipped):
                return outcome
            path = self.image_folder / outcome.record.file_name
            try:
                return replace(outcome, record=fit_to_image(outcome.record, path, allow_resize=allow_resize))
            except InvalidAnnotationError as error:
                return Skipped.defect(item.name, error)

        try:
            return [fit(outcome) for outcome in self.convert(item.content)]
        except InvalidAnnotationError as error:
            return [Skipped.defect(item.name, error)]


def read_pixels(path: Path, modes: Sequence[str], wanted: str, reason: str, kind: str = "PNG") -> np.ndarray:
    """Read the values of an annotation's image file.

    Args:
        path: Path of the file.
        modes: Pillow's names of the modes that it may have.
        wanted: These modes in words.
        reason: Reason of the `InvalidAnnotationError`.
        kind: Pillow's name of the format.

    Raises:
        InvalidAnnotationError: The file is missing, of another kind or mode, or not whole.
    """
    try:
        mode, values = read_label_image(path, kind)
    except DataError as error:
        raise InvalidAnnotationError(reason, str(error).replace(str(path), path.name)) from error
    if mode not in modes:
        raise InvalidAnnotationError(reason, f"{path.name}: must be {wanted}, got mode {mode}")
    return values


def fit_to_image(record: Record, path: Path, *, allow_resize: bool = False) -> Record:
    """Return a record in the size of its image file, which must be whole.

    The image is read as stored, and rotated by its EXIF orientation only if just that gives the size of the masks.
    Masks of another size are scaled to the nearest pixel with `allow_resize`.

    Raises:
        InvalidAnnotationError: The image is missing or cannot be decoded, or the sizes differ.
    """
    stored = measure_image(path)
    size = (record.width, record.height)
    if size == stored:
        return record
    if size == open_image(path, upright=True).size:
        return replace(record, upright=True)
    if not allow_resize:
        swapped = ", swapped" if size == stored[::-1] else ""
        raise InvalidAnnotationError(SIZES_DIFFER, "mask {}x{}, image {}x{}{}".format(*size, *stored, swapped))
    return resize_record(record, *stored)


def measure_image(path: Path, name: str | None = None) -> tuple[int, int]:
    """Return width and height of a whole image as stored.

    Args:
        path: Path of the image.
        name: Name in the report; default the file's name.

    Raises:
        InvalidAnnotationError: The image is missing or cannot be decoded.
    """
    name = name or path.name
    if not path.is_file():
        raise InvalidAnnotationError(NO_IMAGE, name)
    try:
        return verify_image(path)
    except DataError as error:
        raise InvalidAnnotationError(BROKEN_IMAGE, str(error).replace(str(path), name)) from error


def resize_record(record: Record, width: int, height: int) -> Record:
    """Scale all masks to the nearest pixel; a part without a pixel is left out."""

    def fit(mask: Mask) -> Mask:
        return mask.resized((record.height, record.width), (height, width))

    parts = tuple(replace(part, mask=fit(part.mask)) for part in record.parts)
    return replace(
        record,
        width=width,
        height=height,
        objects=tuple(replace(instance, mask=fit(instance.mask)) for instance in record.objects),
        parts=tuple(part for part in parts if part.mask.area),
        ignore=record.ignore and fit(record.ignore),
    )
