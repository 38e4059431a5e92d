"""What every converter gives: images to convert one by one, and for each a record, or the reason why there is none."""

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

NO_PHOTO = "photo is missing"
BROKEN_PHOTO = "photo cannot be used"
MASKS_DIFFER = "masks of one photo differ in size"
SIZES_DIFFER = "mask and photo differ in size"


class InvalidAnnotationError(Exception):
    """One image cannot be converted: the reason, and what exactly was found."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason)
        self.reason, self.detail = reason, detail


@dataclass(frozen=True)
class Converted:
    """One image that belongs into the store.

    Attributes:
        split: "train" or "val", or another that the conversion names.
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
    """One annotated image, with all that its conversion reads, so that any process can do it.

    Attributes:
        name: of the annotation, below the source folder.
        content: what the converter makes a record of; small, and picklable.
        files: paths of its annotation; while their sizes and times stay, a former outcome holds. The photo's need not
            be among them.
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
    """A conversion about to run.

    Attributes:
        photos: folder of the photos; records name theirs below it.
        items: the annotated images, in the order of the store.
        convert: gives the outcomes of one item, in the size of the masks: one for the image, and one for each of its
            annotations that is left out. It may raise `InvalidAnnotationError` and must be picklable.
        image_root: how the store is to name the folder of the photos.
        splits: that the store is to have.
        left_out: what is no image and does not come into the store, such as whole categories.
        lists: published lists of image ids by name, such as "train_16shot".
        notes: sentences for the report.
        whole: number of annotated images of a whole source of this form; None: the manifest tells.
    """

    photos: Path
    items: Sequence[SourceImage]
    convert: Callable[[Any], Sequence[Outcome]]
    image_root: str
    splits: tuple[str, ...] = ("train", "val")
    left_out: tuple[Skipped, ...] = ()
    lists: tuple[tuple[str, tuple[str, ...]], ...] = ()
    notes: tuple[str, ...] = ()
    whole: int | None = None

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
        """Convert one item, and check and measure its photo.

        Args:
            item: one of `items`.
            allow_resize: whether masks of another size than the photo are scaled to it, not refused.
        """
        try:
            outcomes = list(self.convert(item.content))
        except InvalidAnnotationError as defect:
            return [Skipped(item.name, defect.reason, is_defect=True, detail=defect.detail)]
        return [self._on_photo(item, outcome, allow_resize) for outcome in outcomes]

    def _on_photo(self, item: SourceImage, outcome: Outcome, allow_resize: bool) -> Outcome:
        if isinstance(outcome, Skipped):
            return outcome
        try:
            record = fit_photo(outcome.record, self.photos / outcome.record.file_name, allow_resize=allow_resize)
        except InvalidAnnotationError as defect:
            return Skipped(item.name, defect.reason, is_defect=True, detail=defect.detail)
        return replace(outcome, record=record)


def read_pixels(path: Path, modes: Sequence[str], wanted: str, reason: str, kind: str = "PNG") -> np.ndarray:
    """Read the values of an annotation's image file.

    Args:
        path: Path of the file.
        modes: Pillow's names of the modes that it may have.
        wanted: These modes in words.
        reason: Reason of the `InvalidAnnotationError`.
        kind: Pillow's name of the format.

    Raises:
        InvalidAnnotationError: the file is missing, of another kind or mode, or not whole.
    """
    try:
        mode, values = read_label_image(path, kind)
    except DataError as error:
        raise InvalidAnnotationError(reason, str(error).replace(str(path), path.name)) from error
    if mode not in modes:
        raise InvalidAnnotationError(reason, f"{path.name}: must be {wanted}, got mode {mode}")
    return values


def fit_photo(record: Record, path: Path, *, allow_resize: bool = False) -> Record:
    """Give the record in the size of its photo, which must be whole.

    A photo is read as stored; turned as its EXIF orientation asks only where just that gives the size of the masks.
    Masks of another size are scaled to the nearest pixel if `allow_resize`.

    Raises:
        DefectError: the photo is missing or cannot be decoded, or the sizes differ.
    """
    stored = measure_photo(path)
    size = (record.width, record.height)
    if size == stored:
        return record
    turned = open_image(path, upright=True).size
    if size == turned:
        return replace(record, upright=True)
    if not allow_resize:
        swapped = ", swapped" if size == stored[::-1] else ""
        raise InvalidAnnotationError(SIZES_DIFFER, "mask {}x{}, photo {}x{}{}".format(*size, *stored, swapped))
    return _resized(record, *stored)


def measure_photo(path: Path, name: str | None = None) -> tuple[int, int]:
    """Give width and height of a photo that is whole, as stored.

    Args:
        path: of the photo.
        name: what it is called in the report; default its file's name.

    Raises:
        DefectError: it is missing or cannot be decoded.
    """
    name = name or path.name
    if not path.is_file():
        raise InvalidAnnotationError(NO_PHOTO, name)
    try:
        return verify_image(path)
    except DataError as error:
        raise InvalidAnnotationError(BROKEN_PHOTO, str(error).replace(str(path), name)) from error


def _resized(record: Record, width: int, height: int) -> Record:
    """Scale all masks to the nearest pixel; a part that vanishes is left out."""

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
