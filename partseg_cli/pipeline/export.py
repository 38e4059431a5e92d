"""`partseg export`: a store in a format that other tools read."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from partseg_cli.data.exporters import coco, labelme, ovparts, parquet, png
from partseg_cli.data.record import Record
from partseg_cli.data.resolver import find_store
from partseg_cli.data.store import Records, Store
from partseg_cli.errors import DataError, PartsegError, UsageError, did_you_mean
from partseg_cli.io.atomic import atomic_write, write_json
from partseg_cli.io.hashing import digest, file_digest
from partseg_cli.io.paths import data_dir, holds_files
from partseg_cli.runtime.pool import Track, silent

ALL = "all"
LINKED, COPIED, LEFT, INCLUDED = "linked", "copied", "left where they are", "among the files"
MARK = ".partseg-export.json"
"""File that identifies an export, so that only the same export is overwritten."""


@dataclass(frozen=True)
class ExportFormat:
    """Format of an export.

    Attributes:
        write: Function that writes files below a folder, each atomically, and yields their paths.
        image_files: Default for the image files: LEFT, LINKED, or INCLUDED, where the format writes them itself.
        image_folder: Folder of linked or copied images, may contain {split}.
        reserved: Words that no path of an export may contain for its readers.
    """

    write: Callable[[Store, Path, Sequence[str]], Iterator[Path]]
    image_files: str = LEFT
    image_folder: str = "images"
    reserved: tuple[str, ...] = ()


FORMATS = {
    "coco": ExportFormat(coco.export),
    # part-clipseg's loaders call `.replace` on whole paths
    "ovparts": ExportFormat(ovparts.export, INCLUDED, reserved=("part", "images", "jpg")),
    "parquet": ExportFormat(parquet.export),
    "labelme": ExportFormat(labelme.export, LINKED, image_folder="{split}"),
    "png": ExportFormat(png.export),
}


@dataclass(frozen=True)
class ExportResult:
    """Export that was written.

    Attributes:
        folder: Folder of the files.
        name: Name of the dataset.
        to: Name of the format.
        images: Number of images of each split.
        files: Number of files, without image files unless the format includes them.
        size: Size of these files in bytes.
        image_files: LINKED, COPIED, LEFT or INCLUDED.
        notes: Warnings for the user.
    """

    folder: Path
    name: str
    to: str
    images: dict[str, int]
    files: int
    size: int
    image_files: str
    notes: tuple[str, ...] = ()


def export(
    dataset: str,
    to: str,
    *,
    out: Path | None = None,
    splits: Sequence[str] = (),
    copy: bool | None = None,
    track: Track = silent,
) -> ExportResult:
    """Write a dataset in another format; a rerun gives the same bytes.

    Args:
        dataset: Folder that prepare made, or its name below `$PARTSEG_DATA`.
        to: Name of the format, see `FORMATS`.
        out: Folder for the files; default `$PARTSEG_DATA/export/<name>-<to>`.
        splits: Splits to export; none = all.
        copy: True copies the image files into the export, False links them; None = linked where the format needs them
            in the same folder, else left where they are.
        track: Progress display.

    Raises:
        UsageError: Format or split is unknown, the folder is inside of the store, or a library is missing.
        DataError: The store, or a record or image of it is missing or broken, or the folder holds something else.
    """
    _check_known("--to", to, FORMATS)
    way = _image_files(to, copy)
    store = find_store(dataset)
    for split in splits:
        _check_known("--split", split, (*store.splits, ALL))
    chosen = [split for split in store.splits if not splits or split in splits or ALL in splits]
    folder = out or data_dir() / "export" / f"{store.info.name}-{to}"
    mark = {"name": store.info.name, "to": to, "state": _store_digest(store)}
    _check_folder(folder, store, mark)
    written = FORMATS[to].write(TrackedStore(store.folder, store.info, track, f"{to}:"), folder, chosen)
    checked = TrackedStore(store.folder, store.info, track, "check")
    images = {split: _check_records(checked, split, need_images=way != LEFT) for split in chosen}
    paths: list[Path] = []
    for path in written:
        if not paths:
            write_json(folder / MARK, mark)
        paths.append(path)
    if way in (LINKED, COPIED):
        tracked = TrackedStore(store.folder, store.info, track, "images:")
        for split in chosen:
            home = folder / FORMATS[to].image_folder.format(split=split)
            for record in tracked.records(split):
                _place_image(store.image_path(record), home / record.file_name, copy=way == COPIED)
    size = sum(path.stat().st_size for path in paths)
    return ExportResult(folder, store.info.name, to, images, len(paths), size, way, tuple(_warn(to, folder)))


def _warn(to: str, folder: Path) -> Iterator[str]:
    words = [word for word in FORMATS[to].reserved if word in str(folder.resolve())]
    if words:
        yield (
            f"the published code replaces {', '.join(words)} in whole paths: before you run it, move this folder to a "
            "path without"
        )


@dataclass(frozen=True)
class TrackedStore(Store):
    """Store that shows the progress of reading its records under the name `stage`."""

    track: Track = silent
    stage: str = "read"

    def records(self, split: str) -> Records:
        """Return the records of `split`, as `Store.records`."""
        return _TrackedRecords(super().records(split).path, self.track, f"{self.stage} {split}")


class _TrackedRecords(Records):
    def __init__(self, path: Path, track: Track, stage: str) -> None:
        super().__init__(path)
        self.track, self.stage = track, stage

    def __iter__(self) -> Iterator[Record]:
        return self.track(super().__iter__(), self.stage, len(self))


def _check_known(option: str, value: str, known: Collection[str]) -> None:
    if value not in known:
        raise UsageError(f"{option} must be one of {', '.join(known)}, got {value!r}; {did_you_mean(value, known)}")


def _image_files(to: str, copy: bool | None) -> str:
    default = FORMATS[to].image_files
    if copy is None:
        return default
    if default == INCLUDED:
        option = "--copy" if copy else "--link"
        raise UsageError(f"{option} does not go with {to}, which includes the images itself; leave it out")
    return COPIED if copy else LINKED


def _store_digest(store: Store) -> str:
    """Return a digest of all files of the store but the images."""
    records = (bytes.fromhex(file_digest(store.records(split).path)) for split in store.splits)
    return digest([(store.folder / "dataset.json").read_bytes(), *records])


def _check_folder(folder: Path, store: Store, mark: dict[str, str]) -> None:
    """Check that nothing but the same export is overwritten."""
    if folder.resolve().is_relative_to(store.folder.resolve()):
        raise UsageError(f"--out must be outside of the dataset {store.folder}, got {folder}; choose another")
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--out must be a folder, got a file: {folder}; choose another")
    try:
        former = json.loads((folder / MARK).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        former = None
    if former == mark or not holds_files(folder):
        return
    got = "other files"
    if isinstance(former, dict) and {"name", "to"} <= set(former):
        state = "a former state of " if (former["name"], former["to"]) == (mark["name"], mark["to"]) else ""
        got = f"{state}{former['name']} as {former['to']}"
    raise DataError(f"{folder}: must be empty or hold this export, got {got}; delete it or choose another --out")


def _check_records(store: Store, split: str, *, need_images: bool) -> int:
    """Check that all records can be exported, before anything is written, and count them.

    Raises:
        DataError: A record is broken, or its image is missing where `need_images`.
    """
    count = 0
    for count, record in enumerate(store.records(split), start=1):
        for problem in record.find_problems(len(store.info.objects), len(store.info.vocabulary.pairs)):
            raise DataError(f"{store.folder / split}.jsonl: line {count}: {problem}; prepare again")
        if need_images and not store.image_path(record).is_file():
            raise DataError(
                f"{store.image_path(record)}: the image of {record.image_id} must exist to be linked or copied, "
                "got nothing; restore the images or prepare again"
            )
    return count


def _place_image(source: Path, path: Path, *, copy: bool) -> None:
    """Copy an image file, or make a hard link, which may be moved and sent anywhere, else a symbolic one."""
    if not copy and path.exists() and path.samefile(source):
        return
    with atomic_write(path) as temporary:
        if copy:
            shutil.copyfile(source, temporary)
            return
        temporary.unlink()
        try:
            os.link(source.resolve(), temporary)
        except OSError:
            try:
                temporary.symlink_to(source.resolve())
            except OSError as error:
                raise PartsegError(f"{path}: cannot be a link here ({error.strerror}); use --copy") from error
