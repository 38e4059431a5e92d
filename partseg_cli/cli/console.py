"""Output of the commands: tables and JSON on stdout, progress and notes on stderr."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import typer

if TYPE_CHECKING:
    from rich.table import Table

Item = TypeVar("Item")


def table(value: Table) -> None:
    """Print a table without interpreting markup; colours only on a terminal and unless NO_COLOR is set."""
    from rich.console import Console

    # Names are the user's: markup would swallow "le[g]" and fail at "[/g]", and ":cat:" would become an emoji.
    console = Console(markup=False, emoji=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = 100
    console.print(value)


def note(text: str) -> None:
    """Print a status line on stderr."""
    typer.echo(text, err=True)


def document(value: dict[str, Any]) -> None:
    """Print exactly one JSON document on stdout."""
    typer.echo(json.dumps(value, indent=1, ensure_ascii=False))


def track(items: Iterable[Item], what: str, total: int, unit: str = "image") -> Iterator[Item]:
    """Yield `items` with a progress bar on a terminal, silently elsewhere."""
    from tqdm import tqdm

    yield from tqdm(items, desc=what, total=total, file=sys.stderr, disable=None, unit=unit)
