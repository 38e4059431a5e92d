"""What the commands show: tables on stdout, progress and notes on stderr."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import typer

if TYPE_CHECKING:
    from rich.table import Table
    from tqdm import tqdm

    from partseg_cli.training.loop import Step

Item = TypeVar("Item")

SHORT = {
    "total": "total",
    "object_part": "obj-part",
    "object": "object",
    "part": "part",
    "separation": "sep",
    "separation_hard": "sep-hard",
    "enhancement": "enh",
}


def table(value: Table) -> None:
    """Print a table, its texts as they are; colours only on a terminal, and not where NO_COLOR is set."""
    from rich.console import Console

    # Names are the user's: markup would swallow "le[g]" and fail at "[/g]", and ":cat:" would become a picture.
    console = Console(markup=False, emoji=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = 100
    console.print(value)


def note(text: str) -> None:
    """Print a line about what is going on."""
    typer.echo(text, err=True)


def document(value: dict[str, Any]) -> None:
    """Print exactly one JSON document."""
    typer.echo(json.dumps(value, indent=1, ensure_ascii=False))


def track(items: Iterable[Item], what: str, total: int) -> Iterator[Item]:
    """Show a bar on a terminal, nothing elsewhere."""
    from tqdm import tqdm

    yield from tqdm(items, desc=what, total=total, file=sys.stderr, disable=None, unit="image")


class Steps:
    """Shows training: a bar with the losses on a terminal, a line now and then elsewhere."""

    LINES = 20

    def __init__(self, iterations: int) -> None:
        self.iterations = iterations
        self.every = max(1, iterations // self.LINES)
        self.bar: tqdm[Any] | None = None

    def __call__(self, step: Step) -> None:
        """Show one step."""
        from tqdm import tqdm

        if self.bar is None:
            self.bar = tqdm(total=self.iterations, desc="train", file=sys.stderr, disable=None, unit="step")
        losses = " ".join(f"{SHORT[name]} {step.losses[name]:.4f}" for name in SHORT if name in step.losses)
        if self.bar.disable:
            if step.number % self.every == 0 or step.number == self.iterations:
                note(f"step {step.number}/{self.iterations} lr {step.lr:.2e} {losses} grad {step.grad_norm:.3g}")
            return
        self.bar.set_postfix_str(losses, refresh=False)
        self.bar.update()

    def __enter__(self) -> Steps:
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.close()
