"""What all exports share: records that are proved whole, names of files for them, the description of a whole set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any

from partseg_cli.data.converters.coco.masks import COMPRESSED
from partseg_cli.data.record import Record
from partseg_cli.data.rle import Mask, run_lengths
from partseg_cli.data.store import DatasetInfo, Store
from partseg_cli.errors import DataError
from partseg_cli.vocabulary import Vocabulary


def info_to_json(info: DatasetInfo) -> dict[str, Any]:
    """Give what is to be said of a whole set, wherever it lies: no path is in it."""
    return {
        "name": info.name,
        "homepage": info.homepage,
        "licence": info.licence,
        "splits": [name for name, _ in info.images],
        "objects": list(info.objects),
        "pairs": info.vocabulary.to_json(),
        "lists": dict(info.lists),
        "test": info.test,
        "sample": info.sample,
    }


def info_from_json(value: dict[str, Any]) -> DatasetInfo:
    """Read what `info_to_json` gave; the splits are named without a number of images, which is 0.

    Raises:
        KeyError, TypeError, AttributeError, VocabularyError: it is incomplete or broken.
    """
    return DatasetInfo(
        name=value["name"],
        image_root="",
        objects=tuple(value["objects"]),
        vocabulary=Vocabulary.from_json(value["pairs"]),
        licence=value["licence"],
        homepage=value["homepage"],
        images=tuple((name, 0) for name in value["splits"]),
        lists=tuple((name, tuple(ids)) for name, ids in value["lists"].items()),
        test=value["test"],
        sample=value["sample"],
    )


def checked(store: Store, split: str) -> Iterator[Record]:
    """Give the records of a split, each proved to be one that can be exported.

    Raises:
        DataError: one names what the store does not have, leads out of the photos' folder, or has a broken mask.
    """
    for number, record in enumerate(store.records(split), start=1):
        for wrong in _wrongs(record, store.info):
            raise DataError(f"{store.folder / split}.jsonl: line {number}: {wrong}; prepare again")
        yield record


def unique_names(records: Sequence[Record] | Iterator[Record]) -> list[str]:
    """Give for each record a path without a suffix, which no other has, on no file system.

    It is the photo's, without its suffix where that is enough, and with a number where the same photo stands twice.
    """
    photos = [record.file_name for record in records]
    stems = [PurePosixPath(photo).with_suffix("").as_posix() for photo in photos]
    shared = Counter(stem.casefold() for stem in stems)
    names, taken = [], set()
    for photo, stem in zip(photos, stems, strict=True):
        plain = name = photo if shared[stem.casefold()] > 1 else stem
        number = 1
        while name.casefold() in taken:
            number += 1
            name = f"{plain}-{number}"
        taken.add(name.casefold())
        names.append(name)
    return names


def _wrongs(record: Record, info: DatasetInfo) -> Iterator[str]:
    """Say what is wrong with a record, in the words of a rule and the value got."""
    path = PurePosixPath(record.file_name)
    if path.is_absolute() or ".." in path.parts or not path.name:
        yield f"a photo must be inside the folder of the photos, got {record.file_name!r}"
    ids = [instance.id for instance in record.objects]
    if len(set(ids)) < len(ids):
        yield f"ids of objects must differ, got {ids}"
    for part in record.parts:
        if part.object not in ids:
            yield f"a part must belong to an object of its image, got id {part.object}"
    numbers = [instance.category for instance in record.objects] + list(record.not_exhaustive)
    yield from _outside("object", numbers, len(info.objects))
    yield from _outside("pair", [part.pair for part in record.parts], len(info.vocabulary.pairs))
    for mask in masks(record):
        if not _fits(mask, record.height, record.width):
            size = f"{record.width}x{record.height}"
            yield f"a mask must be run lengths of {size} pixels with their box and area, got {mask}"


def masks(record: Record) -> Iterator[Mask]:
    """Give all masks of a record."""
    yield from (instance.mask for instance in record.objects)
    yield from (part.mask for part in record.parts)
    if record.ignore is not None:
        yield record.ignore


def _outside(what: str, numbers: Sequence[int], count: int) -> Iterator[str]:
    for number in numbers:
        if not 0 <= number < count:
            yield f"the number of its {what} must be 0 to {count - 1}, got {number}"


def _fits(mask: Mask, height: int, width: int) -> bool:
    """Tell whether runs cover an image of this size exactly, and box and area are what they say."""
    if not isinstance(mask.rle, str) or not COMPRESSED.fullmatch(mask.rle):
        return False
    runs = run_lengths(mask.rle)
    if (runs < 0).any() or runs.sum() != width * height:
        return False
    return Mask.of_code({"size": [height, width], "counts": mask.rle.encode("ascii")}) == mask
