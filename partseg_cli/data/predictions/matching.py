"""The photos that are to be evaluated, and which of them the names of predictions mean."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from jaxtyping import Int
from torch import Tensor

from partseg_cli.data.record import Record, RecordKey
from partseg_cli.data.store import Store
from partseg_cli.errors import DataError, format_list
from partseg_cli.io.files import is_ignored_file, is_inside

NAMED = "name each by the path of its photo without suffix, or by its stem"


@dataclass(frozen=True)
class Wanted:
    """A photo that a prediction is wanted for.

    Attributes:
        image_id: of its record.
        split: of the store, that the record is in.
        number: of the record in it.
        file_name: path of the photo below the store's image root.
        width: in pixels.
        height: in pixels.
    """

    image_id: str
    split: str
    number: int
    file_name: str
    width: int
    height: int


@dataclass(frozen=True)
class Predictions:
    """Label maps of photos, one prediction each; cheap to hand to other processes.

    Attributes:
        kind: the form that was recognised, in words.
        read: number of photos that have a prediction, all those wanted.
        extra: files, or photos that a JSON names, that belong to none of the photos wanted.
        reader: gives the map of a record.
    """

    kind: str
    read: int
    extra: tuple[str, ...]
    reader: Callable[[Record], Int[Tensor, "H W"]] = field(repr=False)

    def maps(self, record: Record) -> Int[Tensor, "H W"]:
        """Read the map of a record, of its size: pairs or objects by index, -1 = none.

        Raises:
            DataError: the prediction is broken, or breaks a rule that is costly to check before.
        """
        return self.reader(record)


def wanted(store: Store, keys: Sequence[RecordKey]) -> list[Wanted]:
    """Return the images of these records, each once."""
    images = []
    for key in dict.fromkeys(keys):
        record = store[key]
        images.append(Wanted(record.image_id, key.split, key.index, record.file_name, record.width, record.height))
    return images


def _paths(image: Wanted) -> set[str]:
    """Give the path of a photo with and without suffix."""
    path = PurePosixPath(image.file_name)
    return {path.as_posix(), path.with_suffix("").as_posix()}


def _stems(image: Wanted) -> set[str]:
    return {path.rpartition("/")[2] for path in _paths(image)}


def _split_paths(image: Wanted) -> set[str]:
    return {f"{image.split}/{path}" for path in _paths(image)}


def _split_stems(image: Wanted) -> set[str]:
    return {f"{image.split}/{stem}" for stem in _stems(image)}


NAMES = (_split_paths, _paths, _split_stems, _stems)
"""What gives the names of a photo; where a name comes first for one photo, it does not mean another."""


class Photos:
    """Finds the photo that a name means: by its path or its stem, with or without split and suffix."""

    def __init__(self, images: Sequence[Wanted], names: Mapping[str, str] | None = None) -> None:
        """Learn the names of `images`; `names` are further ones by image id, which count before all others."""
        self.ids = {image.image_id: image for image in images}
        self.numbers: dict[int, list[Wanted]] = {}
        own = {names[image.image_id]: [image] for image in images} if names else {}
        self.owners: dict[str, list[Wanted]] = {}
        for name_of in NAMES[::-1]:  # the last to write counts
            found: dict[str, list[Wanted]] = {}
            for image in images:
                for name in name_of(image):
                    found.setdefault(name, []).append(image)
            self.owners |= found
        self.owners |= own
        for image in images:
            stem = PurePosixPath(image.file_name).stem
            if stem.isascii() and stem.isdecimal():
                self.numbers.setdefault(int(stem), []).append(image)

    def named(self, name: str) -> Wanted | None:
        """Give the photo of a name, None if it means none of them.

        Raises:
            DataError: it means several.
        """
        return _only(name, self.owners.get(name, []))

    def at(self, path: str) -> Wanted | None:
        """Give the photo at a path, which may begin anywhere: the longest end of it that means a photo counts."""
        parts = [part for part in path.replace("\\", "/").split("/") if part not in {"", ".", ".."}]
        for start in range(len(parts)):
            end = PurePosixPath(*parts[start:])
            owner = self.named(end.as_posix()) or self.named(end.with_suffix("").as_posix())
            if owner is not None:
                return owner
        return None

    def numbered(self, number: int | str) -> Wanted | None:
        """Give the photo of an image id: the store's own, or of COCO, which numbers by the stem."""
        if str(number) in self.ids:
            return self.ids[str(number)]
        return _only(str(number), self.numbers.get(number, [])) if isinstance(number, int) else self.at(number)


def _only(name: str, owners: Sequence[Wanted]) -> Wanted | None:
    if len(owners) > 1:
        raise DataError(
            f"{name}: a name must mean one photo, got {format_list([image.file_name for image in owners])}; "
            "name it by the path of the photo"
        )
    return owners[0] if owners else None


def walk(source: Path) -> list[str]:
    """Give the paths of all files below a folder, with forward slashes, sorted, without litter.

    Raises:
        DataError: a folder cannot be read, or a link leads out of `source`, in a circle, or to a folder.
    """
    return sorted(_walk(source, ""))


def _walk(source: Path, below: str) -> Iterator[str]:
    try:
        with os.scandir(source / below) as entries:
            found = [entry for entry in entries if not is_ignored_file(entry.name)]
    except OSError as error:
        raise DataError(f"{source / below}: must be a readable folder, got {error.strerror}; check it") from error
    for entry in found:
        name = f"{below}{entry.name}"
        if entry.is_symlink() and is_inside(source, source / name) and (source / name).is_dir():
            raise DataError(f"{source / name}: must be a folder, got a link to one; put the files themselves there")
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(source, f"{name}/")
        else:
            yield name


def assign(
    source: Path, named: Iterable[tuple[str, Wanted | None]], images: Collection[Wanted]
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Give the one file of each photo by image id, and the files of no photo.

    Args:
        source: the folder.
        named: files in it, and the photos that they belong to.
        images: the photos wanted.

    Raises:
        DataError: a photo has none, or two.
    """
    files, extra = match(source, named)
    check_complete(source, images, files, extra)
    return files, extra


def match(source: Path, named: Iterable[tuple[str, Wanted | None]]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Give the file of each photo that has one, and the files of no photo.

    Raises:
        DataError: a photo has two.
    """
    files: dict[str, str] = {}
    extra = []
    for name, image in named:
        if image is None:
            extra.append(name)
        elif files.setdefault(image.image_id, name) != name:
            raise DataError(
                f"{source}: a photo must have one prediction, got {files[image.image_id]} and {name} for "
                f"{image.file_name}; drop one"
            )
    return files, tuple(extra)


def check_complete(
    source: Path, images: Collection[Wanted], found: Collection[str], extra: Sequence[str], advice: str = NAMED
) -> None:
    """Raise a `DataError` unless all photos are found, given by image id."""
    missing = [image.file_name for image in images if image.image_id not in found]
    if missing:
        others = f", and {len(extra)} of no photo ({format_list(extra)})" if extra else ""
        raise DataError(
            f"{source}: each of {len(images)} photos must have a prediction, got none of {len(missing)} "
            f"({format_list(missing)}){others}; {advice}"
        )


def check_size(item: object, image: Wanted | Record, got: tuple[int, int]) -> None:
    """Raise a `DataError` unless a prediction has the size of its photo, (width, height)."""
    size = (image.width, image.height)
    if got != size:
        swapped = ", swapped" if got == size[::-1] else ""
        raise DataError(
            f"{item}: must be {size[0]}x{size[1]} pixels as {image.file_name} is, got {got[0]}x{got[1]}{swapped}; "
            "predict at the photo's own size"
        )
