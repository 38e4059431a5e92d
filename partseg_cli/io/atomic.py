"""Atomic writing of files: a file has its final name only once it is complete."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from partseg_cli.errors import PartsegError, one_line

UNFINISHED = ".part"
"""End of temporary names."""


@contextmanager
def atomic_write(path: Path, *, is_durable: bool = True) -> Iterator[Path]:
    """Yield a temporary path in the same folder, and rename it to `path` when the block ends without an error.

    If the block is interrupted, `path` keeps its former content and the temporary file is removed.

    Args:
        path: Final path.
        is_durable: Whether the content is flushed to the disk before it gets that name, so that it survives a crash of
            the machine; not needed for what can be computed again.

    Raises:
        PartsegError: The file cannot be written, such as on a full or read-only disk.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}{UNFINISHED}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch()  # an error of the folder is raised here, in the system's own words
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
    """Flush a new name to the disk, on systems that can flush a folder."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove_leftovers(folder: Path) -> None:
    """Remove temporary files of killed processes below `folder`, to which no process may be writing."""
    for path in folder.rglob(f".*{UNFINISHED}"):
        path.unlink(missing_ok=True)


def disk_error(path: Path, error: OSError) -> PartsegError:
    """Return the error of a failed write, with a remedy."""
    advice = {
        errno.ENOSPC: "free some space or choose another --out",
        errno.EDQUOT: "free some of your quota or choose another --out",
        errno.EFBIG: "lift the file size limit or choose another --out",
        errno.EACCES: "choose an --out that you may write to",
        errno.EROFS: "choose an --out that you may write to",
    }.get(error.errno or 0, "choose another --out")
    return PartsegError(f"{path}: cannot be written ({error.strerror or error}); {advice}")


def write_error(path: Path, error: Exception) -> PartsegError:
    """Return the error of a library that could not write a file."""
    return PartsegError(f"{path}: cannot be written ({one_line(error)[:200]}); free some space or choose another --out")


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:  # noqa: ANN401 - whatever JSON can hold
    """Write `value` as indented JSON, atomically."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")
