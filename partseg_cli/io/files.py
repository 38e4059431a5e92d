"""Source folders of users: their contents, and checks that no link leads out of them."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from partseg_cli.errors import DataError, format_list, one_line


def is_ignored_file(name: str) -> bool:
    """Return True for hidden files and for those that macOS adds to archives: `._X`, `.DS_Store`, `__MACOSX`."""
    return name.startswith((".", "__MACOSX"))


def folders_at(source: Path, places: Iterable[str]) -> Iterator[Path]:
    """Yield the folders that match the glob patterns `places` below `source`, sorted, without ignored ones."""
    for place in places:
        for path in [source] if place == "." else sorted(source.glob(place)):
            if path.is_dir() and not any(is_ignored_file(name) for name in path.relative_to(source).parts):
                yield path


def describe_folder(folder: Path) -> str:
    """Return a few words on the contents of an unexpected folder."""
    if not folder.is_dir():
        return "a file" if folder.exists() else "no such folder"
    return format_list(sorted(path.name for path in folder.iterdir())) or "an empty folder"


def describe_file(path: Path) -> str:
    """Return a few words on the apparent contents of an unexpected file."""
    with path.open("rb") as file:
        head = file.read(512).lstrip()
    if not head:
        return "an empty file"
    if head.startswith(b"version https://git-lfs"):
        return "a git-lfs pointer"
    if head[:15].lower().startswith((b"<!doctype html", b"<html")):
        return "an HTML page"
    return f"a file that starts with {head[:16]!r}"


def is_inside(source: Path, path: Path) -> bool:
    """Return True if `path` exists; check that no link on the way leads out of `source`.

    Raises:
        DataError: A link leads out of `source` or into a loop.
    """
    try:
        path.stat()
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise DataError(f"{path}: must lead to a file, got a loop of links; fix them") from error
        return False
    except ValueError:  # a null character, which JSON can hold
        return False
    real = path.resolve()
    # a path without links that begins as `source` does proves that this has none: it need not be resolved each time
    if not real.is_relative_to(source) and not real.is_relative_to(source.resolve()):
        raise DataError(f"{path}: must be inside {source}, got a link to {real}; copy the files there")
    return True


def check_links(source: Path, folders: Iterable[Path], files: Iterable[Path]) -> None:
    """Check that none of the folders and files, which need not exist, leads out of `source`.

    Raises:
        DataError: A link leads out of `source` or into a loop.
    """
    for folder in folders:
        is_inside(source, folder)
    for file in files:
        if file.is_symlink():
            is_inside(source, file)


def list_files(source: Path, folder: Path) -> list[str]:
    """List the names in a folder, sorted, without ignored files; none if there is no folder.

    Raises:
        DataError: The folder cannot be read, or a link leads out of `source` or into a loop.
    """
    is_inside(source, folder)
    try:
        with os.scandir(folder) as entries:
            found = [(entry.name, entry.is_symlink()) for entry in entries if not is_ignored_file(entry.name)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise DataError(f"{folder}: must be readable, got {error.strerror}; check its permissions") from error
    for name, is_link in found:
        if is_link:
            is_inside(source, folder / name)
    return sorted(name for name, _ in found)


def absolute(path: Path) -> Path:
    """Return the absolute path without "..", without following links."""
    return Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow links


def read_json(path: Path, advice: str, object_hook: Callable[[dict[str, Any]], Any] | None = None) -> Any:  # noqa: ANN401
    """Read a JSON file.

    Args:
        path: Path of the file.
        advice: Remedy at the end of the error message.
        object_hook: As in `json.loads`.

    Raises:
        DataError: The file cannot be read or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"), object_hook=object_hook)
    except OSError as error:
        raise DataError(f"{path}: must be a readable file, got {error.strerror}; {advice}") from error
    except (ValueError, RecursionError) as error:
        why = one_line(error)
        raise DataError(f"{path}: must be JSON, got {describe_file(path)} ({why}); {advice}") from error
