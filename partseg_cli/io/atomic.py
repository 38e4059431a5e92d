"""Files that appear under their final name only when they are whole."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from partseg_cli.errors import PartsegError

UNFINISHED = ".part"
"""Ends the temporary names."""


@contextmanager
def atomic_write(path: Path, *, is_durable: bool = True) -> Iterator[Path]:
    """Hand out a temporary name beside `path`, and rename it to `path` when the block ends well.

    Whatever interrupts the block, `path` keeps its former content and the temporary file is gone.

    Args:
        path: the final name.
        is_durable: whether the content is on the disk before it has that name, so that it outlives a fall of the whole
            machine, too; what can be made again need not wait for the disk.

    Raises:
        PartsegError: the disk is full, read-only or otherwise refuses.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}{UNFINISHED}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch()  # a folder that refuses says so here, in the system's own words
        yield temporary
        if is_durable:
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
        temporary.replace(path)
        if is_durable:
            _flush_folder(path.parent)
    except OSError as error:
        raise disk_error(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _flush_folder(folder: Path) -> None:
    """Bring a new name to the disk, where the system lets a folder be flushed."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files below `folder` that killed processes have left; nothing may be writing there."""
    for path in folder.rglob(f".*{UNFINISHED}"):
        path.unlink(missing_ok=True)


def disk_error(path: Path, error: OSError) -> PartsegError:
    """Say what the disk refused, and what to do."""
    advice = {
        errno.ENOSPC: "free some space or choose another --out",
        errno.EDQUOT: "free some of your quota or choose another --out",
        errno.EFBIG: "lift the file size limit or choose another --out",
        errno.EACCES: "choose an --out that you may write to",
        errno.EROFS: "choose an --out that you may write to",
    }.get(error.errno or 0, "choose another --out")
    return PartsegError(f"{path}: cannot be written ({error.strerror or error}); {advice}")


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:  # noqa: ANN401 - whatever JSON can hold
    """Write `value` as readable JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")
