"""`partseg compare`: compare two evaluations."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from partseg_cli.cli import console as show

SHOWN = 10
"""Pairs, each way, and images on the terminal; --out writes all."""


def compare(
    a: Annotated[Path, typer.Argument(metavar="A", help="Folder of an evaluation by partseg evaluate.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="Another one of the same data and protocol.")],
    rule: Annotated[
        str | None,
        typer.Option(
            help="Counting rule: ref-v2, full, partclipseg, ovparts or partcatseg. [default: that of both]",
            show_default=False,
        ),
    ] = None,
    bootstrap_samples: Annotated[int, typer.Option(min=1, help="Number of bootstrap resamples.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the resampling.")] = 0,
    dataset: Annotated[
        str | None,
        typer.Option(
            metavar="DATASET",
            help="Folder or name of the prepared dataset, for the figures. [default: the name in the results]",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for compare.json, compare.csv and figures.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")] = False,
) -> None:
    """Compare two evaluations of the same images, with confidence intervals.

    Differences are A - B, with 95 % intervals of a paired bootstrap, which resamples the same images for both. Tables
    show the images and the pairs that differ most, and the means. The figures need predictions that
    **partseg evaluate --save-predictions** has saved.

    Example: **partseg compare runs/evaluate/tiny-1 runs/evaluate/tiny-2 --out difference**
    """
    from partseg_cli.pipeline import compare as story
    from partseg_cli.reports.tables import comparison_tables

    done = story.compare(a, b, rule=rule, bootstrap_samples=bootstrap_samples, seed=seed, dataset=dataset, out=out)
    if as_json:
        show.document(done.document)
    else:
        for table in comparison_tables(done.document, SHOWN):
            show.table(table)
    if done.note:
        show.note(done.note)
    if done.folder:
        show.note(f"{done.folder}: {', '.join(done.files)}")
