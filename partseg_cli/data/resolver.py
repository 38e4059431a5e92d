"""Which prepared data set a command means: a folder, or a name below `$PARTSEG_DATA`."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from partseg_cli.data.store import Store
from partseg_cli.errors import DataError
from partseg_cli.io.paths import data_dir

MARK = "dataset.json"
"""Is in every prepared data set."""


def find_store(text: str) -> Store:
    """Open the data set that a user names: a folder that `partseg prepare` made, or its name below `$PARTSEG_DATA`.

    Raises:
        DataError: there is none, or it is broken.
    """
    for folder in (Path(text), data_dir() / text):
        if text and (folder / MARK).is_file():
            return Store.open(folder)
    raise DataError(
        f"{text or repr(text)}: must be a folder that partseg prepare made, or the name of one in {data_dir()}, "
        f"got {_instead(Path(text))}; {_advice(text)}"
    )


def _instead(path: Path) -> str:
    if path.is_file():
        return "a file"
    return f"a folder without {MARK}" if path.name and path.is_dir() else "nothing there"


def _advice(text: str) -> str:
    """Name the nearest of the sets that are there, or all of them."""
    places = {**dict(_stores(data_dir(), named=True)), **dict(_stores(Path(text).parent, named=False))}
    places |= dict(_stores(Path(text), named=False))
    near = difflib.get_close_matches(Path(text).name, [Path(place).name for place in places], n=1)
    if near:
        return f"did you mean {next(place for place in places if Path(place).name == near[0])}?"
    return f"prepared are {', '.join(places)}" if places else "run partseg prepare first"


def _stores(home: Path, *, named: bool) -> Iterator[tuple[str, Path]]:
    """Give what a user may write for each prepared set right in `home`: its name, or its path."""
    with suppress(OSError):
        for path in sorted(home.glob(f"*/{MARK}")):
            yield (path.parent.name if named else str(path.parent)), path.parent
