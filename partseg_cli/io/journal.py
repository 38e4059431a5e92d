"""The journal of an unfinished conversion: what is done is not done again after a stop, however sudden."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from partseg_cli.data.converters.conversion import Converted, Outcome, Skipped, SourceImage
from partseg_cli.data.record import Record
from partseg_cli.io.atomic import disk_error, remove_leftovers

PREFIX = ".unfinished-"


class Journal:
    """The outcomes of items by their number, one line each, in a hidden file of the store's folder.

    The file's name holds a digest of all that decides the outcomes besides the files of an item, so that another
    conversion into the same folder has its own. A line that was not written to its end does not count; neither does
    one of an item whose files have changed since, or of a defect, which the user may have mended.
    """

    def __init__(self, folder: Path, about: Any) -> None:  # noqa: ANN401 - whatever JSON can hold
        self.path = folder / f"{journal_name(about)}.jsonl"
        self._places: dict[int, int] = {}
        self._is_worth = False
        self._file: BinaryIO | None = None

    def __enter__(self) -> Journal:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("a+b")
        except OSError as error:
            raise disk_error(self.path.parent, error) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):  # every line was flushed, or has told why not
            self.file.close()
        if not self._is_worth:
            self.path.unlink(missing_ok=True)

    @property
    def file(self) -> BinaryIO:
        """The open file."""
        if self._file is None:
            raise ValueError("a journal must be entered before it is used")
        return self._file

    def resume(self, items: Sequence[SourceImage]) -> int:
        """Read what a former run left, forget what does not hold any more, and give the number of items done."""
        self._places.clear()
        self.file.seek(0)
        end = 0
        for line in self.file:
            entry = _parse(line)
            if entry is None:
                break
            number = entry["number"]
            if number < len(items) and entry["stamp"] == _stamp(items[number]):
                self._places[number] = end
            end += len(line)
        self.file.truncate(end)
        self._is_worth = bool(self._places)
        return len(self._places)

    def __contains__(self, number: int) -> bool:
        return number in self._places

    def add(self, number: int, item: SourceImage, outcomes: Sequence[Outcome]) -> None:
        """Append the outcomes of an item.

        Raises:
            PartsegError: the disk refuses.
        """
        has_defect = any(isinstance(outcome, Skipped) and outcome.is_defect for outcome in outcomes)
        stamp = None if has_defect else _stamp(item)
        self._is_worth |= not has_defect
        line = json.dumps({"number": number, "stamp": stamp, "outcomes": [_plain(outcome) for outcome in outcomes]})
        try:
            self._places[number] = self.file.seek(0, 2)
            self.file.write(line.encode() + b"\n")
            self.file.flush()
        except OSError as error:
            raise disk_error(self.path, error) from error

    def outcomes(self, items: Sequence[SourceImage]) -> Iterator[tuple[SourceImage, Outcome]]:
        """Give the outcomes of all items, in their order."""
        for number, item in enumerate(items):
            self.file.seek(self._places[number])
            for value in json.loads(self.file.readline())["outcomes"]:
                yield item, _outcome(value)

    def clear(self) -> None:
        """Remove what unfinished conversions have left in the folder: journals, and files that a kill cut off."""
        clear_journals(self.path.parent)


def journal_name(about: Any) -> str:  # noqa: ANN401 - whatever JSON can hold
    """Give the beginning of a journal's name, with a digest of all that decides what it holds."""
    return f"{PREFIX}{hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]}"


def clear_journals(folder: Path) -> None:
    """Remove the journals of all unfinished work in the folder, and files that a kill cut off."""
    for path in folder.glob(f"{PREFIX}*.jsonl"):
        path.unlink(missing_ok=True)
    remove_leftovers(folder)


def _stamp(item: SourceImage) -> str:
    """Give what changes when an item does: its name, and size and time of its files."""
    stats = (path.stat() if path.exists() else None for path in item.files)
    return " ".join([item.name, *(f"{stat.st_size}/{stat.st_mtime_ns}" if stat else "none" for stat in stats)])


def _parse(line: bytes) -> dict[str, Any] | None:
    """Give a line's content, or None if it is not whole."""
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if line.endswith(b"\n") and isinstance(entry, dict) else None


def _plain(outcome: Outcome) -> dict[str, Any]:
    if isinstance(outcome, Converted):
        return {"split": outcome.split, "record": outcome.record.to_json()}
    return vars(outcome)


def _outcome(value: dict[str, Any]) -> Outcome:
    if "record" in value:
        return Converted(value["split"], Record.from_json(value["record"]))
    return Skipped(**value)
