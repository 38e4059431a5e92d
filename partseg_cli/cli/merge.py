"""The command that puts the shards of an evaluation together."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from partseg_cli.cli import evaluate


def merge(
    shards: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Folders of all shards, in any order.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder for results. [default: runs/merge/DATASET-N]", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")] = False,
) -> None:
    """Put the shards of an evaluation together, as if one machine had counted all photos.

    Each machine of a cluster runs **partseg evaluate --shard I/N --out DIR**. Merging writes the same files as a run
    without shards, and needs neither data nor model.

    Example: **partseg merge shards/1 shards/2 shards/3 --out results**
    """
    from partseg_cli.pipeline import merge as story

    evaluate.show_result(story.merge(shards, out), None, as_json)
