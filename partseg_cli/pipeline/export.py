"""`partseg export`: a store -> files that other tools read."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from partseg_cli.data.exporters import coco as export_coco
from partseg_cli.data.exporters import labelme as export_labelme
from partseg_cli.data.exporters import ovparts as export_ovparts
from partseg_cli.data.exporters import parquet as export_parquet
from partseg_cli.data.exporters import png as export_png
from partseg_cli.data.exporters.common import checked
from partseg_cli.data.record import Record
from partseg_cli.data.resolver import find_store
from partseg_cli.data.store import Records, Store
from partseg_cli.errors import DataError, PartsegError, UsageError, did_you_mean
from partseg_cli.io.atomic import UNFINISHED, atomic_write, write_json
from partseg_cli.io.hashing import digest, file_digest
from partseg_cli.io.label_maps import write_label_map
from partseg_cli.io.paths import data_dir
from partseg_cli.runtime.pool import Track, silent

Export = Callable[[Store, Path, Sequence[str]], Iterator[Path]]

FORMATS: dict[str, Export] = {
    "coco": export_coco.export,
    "ovparts": export_ovparts.export,
    "parquet": export_parquet.export,
    "labelme": export_labelme.export,
    "png": partial(export_png.export, save=write_label_map),
}
"""What writes each format: files below a folder, each whole or not at all."""

PLACES: dict[str, Callable[[str, Record], str]] = {"labelme": export_labelme.photo_place}
"""Formats that need each photo at a place of its own, given by split and record; others take them in `images`."""

WITH_PHOTOS = ("ovparts",)
"""Formats that bring their photos themselves."""

UNREADABLE = {"ovparts": ("part", "images", "jpg")}
"""What no path of an export may hold where it is to be read: part-clipseg's loaders call `.replace` on whole paths."""

ALL = "all"
PHOTOS = "images"
MARK = ".partseg-export.json"
"""Tells in a folder of what it is the export, so that only the same is written over it."""

LINKED, COPIED, LEFT, AMONG = "linked", "copied", "left where they are", "among the files"


@dataclass(frozen=True)
class ExportResult:
    """What an export wrote.

    Attributes:
        folder: where it lies.
        name: of the data set.
        to: the format.
        images: number of each split.
        files: number of files, without photos unless the format brings them itself.
        size: of these files in bytes.
        photos: what became of them, in words.
        notes: what the user should know besides.
    """

    folder: Path
    name: str
    to: str
    images: dict[str, int]
    files: int
    size: int
    photos: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Watched(Store):
    """A store that tells how far reading it is; `track` shows progress, `what` says what for."""

    track: Track = silent
    what: str = "read"

    def records(self, split: str) -> Records:
        """Give the records of `split`, as `Store.records`."""
        return _WatchedRecords(super().records(split).path, self.track, f"{self.what} {split}")


class _WatchedRecords(Records):
    def __init__(self, path: Path, track: Track, what: str) -> None:
        super().__init__(path)
        self.track, self.what = track, what

    def __iter__(self) -> Iterator[Record]:
        return self.track(super().__iter__(), self.what, len(self))


def export(
    dataset: str,
    to: str,
    *,
    out: Path | None = None,
    splits: Sequence[str] = (),
    copy: bool | None = None,
    track: Track = silent,
) -> ExportResult:
    """Write a data set in another format; a rerun gives the same bytes.

    Args:
        dataset: a folder that prepare made, or its name below `$PARTSEG_DATA`.
        to: the format.
        out: folder for the files; default `$PARTSEG_DATA/export/<name>-<to>`.
        splits: those wanted; none = all.
        copy: whether photos are copied (True) or linked (False) into the export; None = linked where the format needs
            them beside its files, else left where they are.
        track: shows progress.

    Raises:
        UsageError: format or split is unknown, the folder is inside of the store, or a library is missing.
        DataError: the store, or a record or photo of it is missing or broken, or the folder holds something else.
    """
    _check_known("--to", to, FORMATS)
    way = _photo_way(to, copy)
    store = find_store(dataset)
    chosen = _choose(store, splits)
    folder = out or data_dir() / "export" / f"{store.info.name}-{to}"
    mark = {"name": store.info.name, "to": to, "state": _state(store)}
    _check_target(folder, store, mark)
    written = FORMATS[to](Watched(store.folder, store.info, track, f"{to}:"), folder, chosen)
    watched = Watched(store.folder, store.info, track, "check")
    images = {split: _check(watched, split, photos=way != LEFT) for split in chosen}
    paths: list[Path] = []
    for path in written:
        if not paths:
            write_json(folder / MARK, mark)
        paths.append(path)
    if way in (LINKED, COPIED):
        watched = Watched(store.folder, store.info, track, "photos:")
        _bring_photos(watched, chosen, folder, PLACES.get(to, _photo_place), copy=way == COPIED)
    size = sum(path.stat().st_size for path in paths)
    return ExportResult(folder, store.info.name, to, images, len(paths), size, way, tuple(_notes(to, folder)))


def _notes(to: str, folder: Path) -> Iterator[str]:
    """Warn of a folder that the format's readers will stumble over."""
    words = [word for word in UNREADABLE.get(to, ()) if word in str(folder.resolve())]
    if words:
        yield (
            f"the published code replaces {', '.join(words)} in whole paths: before you run it, move this folder to a "
            "path without"
        )


def _photo_way(to: str, copy: bool | None) -> str:
    """Say what becomes of the photos."""
    if to in WITH_PHOTOS:
        if copy is not None:
            option = "--copy" if copy else "--link"
            raise UsageError(f"{option} does not go with {to}, which brings the photos itself; leave it out")
        return AMONG
    if copy is None:
        return LINKED if to in PLACES else LEFT
    return COPIED if copy else LINKED


def _check_known(option: str, value: str, known: Collection[str]) -> None:
    """Raise a `UsageError` with the nearest known value unless it is one."""
    if value not in known:
        raise UsageError(f"{option} must be one of {', '.join(known)}, got {value!r}; {did_you_mean(value, known)}")


def _choose(store: Store, splits: Sequence[str]) -> list[str]:
    """Give the splits wanted, in the store's order."""
    for split in splits:
        _check_known("--split", split, (*store.splits, ALL))
    return [split for split in store.splits if not splits or split in splits or ALL in splits]


def _state(store: Store) -> str:
    """Give a checksum of all that the store says."""
    files = (bytes.fromhex(file_digest(store.records(split).path)) for split in store.splits)
    return digest([(store.folder / "dataset.json").read_bytes(), *files])


def _check_target(folder: Path, store: Store, mark: dict[str, str]) -> None:
    """Prove that nothing else is written over."""
    if folder.resolve().is_relative_to(store.folder.resolve()):
        raise UsageError(f"--out must lie outside of the data set {store.folder}, got {folder}; choose another")
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--out must be a folder, got a file: {folder}; choose another")
    former = _read_mark(folder / MARK)
    if former == mark or not _holds_files(folder):
        return
    got = "other files"
    if former is not None:
        state = "a former state of " if (former["name"], former["to"]) == (mark["name"], mark["to"]) else ""
        got = f"{state}{former['name']} as {former['to']}"
    raise DataError(f"{folder}: must be empty or hold this export, got {got}; delete it or choose another --out")


def _holds_files(folder: Path) -> bool:
    """Tell whether a file lies below `folder`, besides unfinished ones."""
    return any(path.is_file() and not path.name.endswith(UNFINISHED) for path in folder.rglob("*"))


def _read_mark(path: Path) -> dict[str, str] | None:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) and {"name", "to"} <= set(value) else None


def _check(store: Store, split: str, *, photos: bool) -> int:
    """Prove that all records can be exported, before anything is written, and count them.

    Raises:
        DataError: one is broken, or its photo is missing where `photos` are wanted.
    """
    count = 0
    for record in checked(store, split):
        count += 1
        if photos and not store.image_path(record).is_file():
            raise DataError(
                f"{store.image_path(record)}: the photo of {record.image_id} must be there to be linked or copied, "
                "got nothing; bring the photos back or prepare again"
            )
    return count


def _photo_place(split: str, record: Record) -> str:
    return f"{PHOTOS}/{record.file_name}"


def _bring_photos(
    store: Store, splits: Sequence[str], folder: Path, place: Callable[[str, Record], str], *, copy: bool
) -> None:
    """Link or copy the photos into the export."""
    for split in splits:
        for record in store.records(split):
            photo, path = store.image_path(record), folder / place(split, record)
            if not copy and path.exists() and path.samefile(photo):
                continue
            with atomic_write(path) as temporary:
                if copy:
                    shutil.copyfile(photo, temporary)
                else:
                    _link(photo.resolve(), temporary, path)


def _link(photo: Path, temporary: Path, path: Path) -> None:
    """Make a hard link, which may be moved and sent anywhere, else a symbolic one."""
    temporary.unlink()
    try:
        os.link(photo, temporary)
    except OSError:
        try:
            temporary.symlink_to(photo)
        except OSError as error:
            raise PartsegError(f"{path}: cannot be a link here ({error.strerror}); use --copy") from error
