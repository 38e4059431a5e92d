"""The journal of an unfinished evaluation: photos that are counted are not counted again after a stop."""

from __future__ import annotations

import json
from collections.abc import Collection
from contextlib import suppress
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from partseg_cli.io.atomic import disk_error
from partseg_cli.io.journal import journal_name


class CountJournal:
    """What was counted of photos, by their number in the trial, one line each, in hidden files of the results' folder.

    A file's name holds a digest of all that decides the counts, so that another evaluation into the same folder has its
    own. A process writes a new file and reads what is there already, whoever wrote it: so a run may go on with another
    number of processes. A line that was not written to its end does not count.
    """

    def __init__(self, folder: Path, about: Any) -> None:  # noqa: ANN401 - whatever JSON can hold
        self.folder, self.name = folder, journal_name(about)
        self._file: BinaryIO | None = None

    def __enter__(self) -> CountJournal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            with suppress(OSError):  # every line was flushed, or has told why not
                self._file.close()

    def read(self, numbers: Collection[int]) -> dict[int, Any]:
        """Give what former runs have counted of these photos."""
        found = {}
        for path in sorted(self.folder.glob(f"{self.name}-*.jsonl")):
            for line in path.read_bytes().splitlines(keepends=True):
                entry = _parse(line)
                if entry is not None and entry[0] in numbers:
                    found[entry[0]] = entry[1]
        return found

    def add(self, number: int, value: Any) -> None:  # noqa: ANN401 - whatever JSON can hold
        """Append what was counted of a photo.

        Raises:
            PartsegError: the disk refuses.
        """
        try:
            self._file = self._file or self._new_file()
            self._file.write(json.dumps([number, value], separators=(",", ":")).encode() + b"\n")
            self._file.flush()
        except OSError as error:
            raise disk_error(self.folder, error) from error

    def _new_file(self) -> BinaryIO:
        """Make the first file that nobody has made yet."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for number in count(1):
            with suppress(FileExistsError):
                return (self.folder / f"{self.name}-{number}.jsonl").open("xb")
        raise ValueError("numbers have no end")


def _parse(line: bytes) -> tuple[int, Any] | None:
    """Give a line's number and content, or None if it is not whole."""
    with suppress(ValueError):
        entry = json.loads(line)
        if line.endswith(b"\n") and isinstance(entry, list) and len(entry) == 2 and isinstance(entry[0], int):
            return entry[0], entry[1]
    return None
