"""Resolver of a prepared dataset: a folder, or a name below `$PARTSEG_DATA`."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from partseg_cli.data.splits.split import Split, load_split
from partseg_cli.data.store import Store
from partseg_cli.errors import DataError, closest_name
from partseg_cli.io.paths import data_dir

MARK = "dataset.json"
"""File in every prepared dataset."""


def open_data(dataset: str, *, root: str | None = None, split: str = "published") -> tuple[Store, Split]:
    """Open a prepared dataset and a split of it.

    Args:
        dataset: Name of the folder in `$PARTSEG_DATA`.
        root: Path of the folder itself, which takes precedence.
        split: File of `partseg split`, or "published".

    Raises:
        DataError: One of them is missing or broken.
    """
    store = Store.open(Path(root) if root else data_dir() / dataset)
    return store, load_split(store, split)


def find_store(text: str) -> Store:
    """Open a dataset: a folder that `partseg prepare` made, or its name below `$PARTSEG_DATA`.

    Raises:
        DataError: The dataset is missing or broken.
    """
    for folder in (Path(text), data_dir() / text):
        if text and (folder / MARK).is_file():
            return Store.open(folder)
    path, got = Path(text), "nothing there"
    if path.is_file():
        got = "a file"
    elif path.name and path.is_dir():
        got = f"a folder without {MARK}"
    raise DataError(
        f"{text or repr(text)}: must be a folder that partseg prepare made, or the name of one in {data_dir()}, "
        f"got {got}; {_advice(text)}"
    )


def _advice(text: str) -> str:
    """Return the closest of the existing datasets, or all of them."""
    found = [folder.name for folder in _stores(data_dir())]
    found += [str(folder) for home in (Path(text).parent, Path(text)) for folder in _stores(home)]
    near = closest_name(Path(text).name, [Path(name).name for name in found])
    if near is not None:
        return f"did you mean {next(name for name in found if Path(name).name == near)}?"
    return f"prepared are {', '.join(dict.fromkeys(found))}" if found else "run partseg prepare first"


def _stores(home: Path) -> list[Path]:
    """Return the folders of the stores right in `home`."""
    with suppress(OSError):
        return [path.parent for path in sorted(home.glob(f"*/{MARK}"))]
    return []
