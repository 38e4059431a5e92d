"""JSON Lines files: the journal of an unfinished job, which survives any interruption, and logs of training runs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from partseg_cli.io.atomic import disk_error, remove_leftovers
from partseg_cli.io.hashing import digest

PREFIX = ".unfinished-"


class Journal(Mapping[int, Any]):
    """Results of finished items by number, one JSON line each, in hidden files of the output folder.

    The file names hold a digest of `key`, so that a job with other inputs has a journal of its own. Each process writes
    a new file and reads those of former runs, so a job may resume with another number of processes. A line that was cut
    off does not count; of several entries of one number the newest does.

    Args:
        folder: Output folder of the job, created with the first entry.
        key: Everything that decides the results, as JSON can hold it.
    """

    def __init__(self, folder: Path, key: Any) -> None:  # noqa: ANN401 - whatever JSON can hold
        self.folder, self._name = folder, f"{PREFIX}{digest([json.dumps(key, sort_keys=True)])[:16]}"
        self._file: BinaryIO | None = None
        self._is_worth_keeping = False
        self._lines: dict[int, tuple[Path, int]] = {}  # file and byte offset of each entry: values stay on disk
        for path in sorted(folder.glob(f"{self._name}-*.jsonl"), key=lambda path: (len(path.name), path.name)):
            offset = 0
            with path.open("rb") as file:
                for line in file:
                    if (entry := _parse(line)) is not None:
                        self._lines[entry[0]] = path, offset
                    offset += len(line)

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            with suppress(OSError):  # every line was flushed, or the failure reported
                self._file.close()
            if not self._is_worth_keeping:
                Path(self._file.name).unlink(missing_ok=True)

    def __getitem__(self, number: int) -> Any:  # noqa: ANN401 - whatever JSON can hold
        path, offset = self._lines[number]
        with path.open("rb") as file:
            file.seek(offset)
            return json.loads(file.readline())[1]

    def __iter__(self) -> Iterator[int]:
        return iter(self._lines)

    def __len__(self) -> int:
        return len(self._lines)

    def add(self, number: int, value: Any, *, is_final: bool = True) -> None:  # noqa: ANN401 - whatever JSON can hold
        """Append the result of an item.

        Args:
            number: Number of the item in the job.
            value: Result, as JSON can hold it.
            is_final: Whether a later run can use it; a file without such an entry is removed at the end.

        Raises:
            PartsegError: The disk refuses.
        """
        try:
            self._file = self._file or self._new_file()
            self._lines[number] = Path(self._file.name), self._file.tell()
            self._file.write(json.dumps([number, value], separators=(",", ":")).encode() + b"\n")
            self._file.flush()
        except OSError as error:
            raise disk_error(self.folder, error) from error
        self._is_worth_keeping |= is_final

    def _new_file(self) -> BinaryIO:
        """Create the file with the first free number."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for number in count(1):
            with suppress(FileExistsError):
                return (self.folder / f"{self._name}-{number}.jsonl").open("xb")
        raise AssertionError("the count has no end")


def clear_journals(folder: Path) -> None:
    """Remove the journals of all unfinished jobs in the folder, and files that a kill cut off."""
    for path in folder.glob(f"{PREFIX}*.jsonl"):
        path.unlink(missing_ok=True)
    remove_leftovers(folder)


def _parse(line: bytes) -> tuple[int, Any] | None:
    """Return number and value of a line, None if it is cut off or no entry."""
    with suppress(ValueError):
        entry = json.loads(line)
        if line.endswith(b"\n") and isinstance(entry, list) and len(entry) == 2 and isinstance(entry[0], int):
            return entry[0], entry[1]
    return None


METRICS_FILE, SCORES_FILE = "metrics.jsonl", "val.jsonl"
"""Training logs in the run directory: one line per step, one line per validation."""


def read_log(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the complete lines that have a step; a missing file has none.

    A line that was cut off, such as by a kill, is skipped.
    """
    if not path.is_file():
        return
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                value = json.loads(line)
            except ValueError:
                continue
            if isinstance(value, dict) and type(value.get("step")) is int:
                yield value
