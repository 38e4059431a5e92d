"""Commands about results: compare."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from partseg_cli.cli import console as show

if TYPE_CHECKING:
    from rich.table import Table

SHOWN = 10
"""Pairs, each way, and images on the terminal; --out writes all."""


def compare(
    a: Annotated[Path, typer.Argument(metavar="A", help="Folder of results of partseg evaluate.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="Another one, of the same data and protocol.")],
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
            help="For the pictures: the prepared folder, or its name. [default: the name in the results]",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for compare.json, compare.csv and pictures.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")] = False,
) -> None:
    """Tell whether one evaluation is better than another, or only luckier with its photos.

    Differences are A - B, with 95 % intervals: the same photos are drawn again and again for both (paired bootstrap).
    Then the pairs that differ most, both ways, and the images. The pictures need predictions that were saved by
    **partseg evaluate --save-predictions**.

    Example: **partseg compare runs/evaluate/tiny-1 runs/evaluate/tiny-2 --out difference**
    """
    from partseg_cli.pipeline import compare as story

    done = story.compare(a, b, rule=rule, bootstrap_samples=bootstrap_samples, seed=seed, dataset=dataset, out=out)
    if as_json:
        show.document(done.document)
    else:
        _show(done.document)
    if done.note:
        show.note(done.note)
    if done.folder:
        show.note(f"{done.folder}: {', '.join(done.files)}")


def _show(document: dict[str, Any]) -> None:
    show.table(_images(document["images_that_differ_most"][:SHOWN]))
    rows = document["per_class"]
    better = {
        "A": [row for row in rows if row["difference"] > 0][:SHOWN],
        "B": [row for row in rows[::-1] if row["difference"] < 0][:SHOWN],
    }
    for side, chosen in better.items():
        if chosen:
            show.table(_classes(f"IoU, {side} better", chosen))
    show.table(_means(document))


def _table(title: str, columns: Sequence[str], caption: str | None = None) -> Table:
    """Give an empty table: names at the left, numbers at the right."""
    from rich.table import Table

    table = Table(title=title, caption=caption, caption_justify="left")
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index else "left", overflow="fold")
    return table


def _means(document: dict[str, Any]) -> Table:
    from partseg_cli.reports.results import NAMES

    caption = (
        f"A {document['a']['folder']}\nB {document['b']['folder']}\n{document['dataset']}, {document['split']}, "
        f"{document['protocol']}, rule {document['rule']}: {document['images']:,} images, {document['draws']:,} draws"
    )
    level = f"{document['level']:.0%} interval".replace("%", " %")
    table = _table("means, in percent", ["", "A", "B", "A - B", level, "A better in"], caption)
    for metric, groups in document["means"].items():
        for group, value in groups.items():
            interval = "-" if value["interval"] is None else "[{:+.2f}, {:+.2f}]".format(*value["interval"])
            share = "-" if value["share"] is None else f"{100 * value['share']:.1f} %"
            table.add_row(f"{NAMES[metric]} {group}", *_figures(value), interval, share)
    return table


def _classes(title: str, rows: Sequence[dict[str, Any]]) -> Table:
    table = _table(title, ["pair", "A", "B", "A - B", "seen"])
    for row in rows:
        table.add_row(row["name"], *_figures(row), "yes" if row["seen"] else "no")
    return table


def _images(rows: Sequence[dict[str, Any]]) -> Table:
    table = _table("images that differ most", ["image", "A", "B", "A - B"], "mean IoU over the pairs of an image")
    for row in rows:
        table.add_row(row["image_id"], *_figures(row))
    return table


def _figures(row: dict[str, Any]) -> list[str]:
    """Give A, B and their difference."""
    formats = (("a", "{:.2f}"), ("b", "{:.2f}"), ("difference", "{:+.2f}"))
    return ["-" if row[key] is None else form.format(row[key]) for key, form in formats]
