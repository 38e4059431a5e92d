"""Command `inspect`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from partseg_cli.cli import console as show
from partseg_cli.errors import format_list

if TYPE_CHECKING:
    from rich.table import Table

BAR = 30
"""Length of the longest bar in characters."""
NAMES_SHOWN = 12
"""Number of absent classes listed on the terminal; the files list all."""


def inspect(
    dataset: Annotated[
        str, typer.Argument(metavar="DATASET", help="A folder that `partseg prepare` made, or the name of a dataset.")
    ],
    split: Annotated[
        str | None, typer.Option(metavar="NAME", help="Split to inspect. [default: all]", show_default=False)
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the files. [default: runs/inspect/DATASET-N]", show_default=False)
    ] = None,
    samples: Annotated[int, typer.Option(min=0, help="Images on the page and the contact sheet; 0: none.")] = 60,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")] = False,
) -> None:
    """Inspect a prepared dataset: counts, sizes, overlaps, quality issues, and sample images.

    Writes index.html, a self-contained page with filters, contact_sheet.png and figures.json.

    Example: **partseg inspect data/pascal-part-116**
    """
    from partseg_cli.pipeline import inspect as pipeline

    result = pipeline.inspect(dataset, split=split, out=out, samples=samples, track=show.track)
    if as_json:
        show.document(result.document)
    else:
        _show_figures(result.document)
    show.note(f"{result.folder}: {', '.join(result.files)}")


def _show_figures(document: dict[str, Any]) -> None:
    """Show the long tables first, so that the sums and the issues stay in sight."""
    show.table(_classes("object-specific parts", document["pairs"], "name", "parts"))
    show.table(_classes("objects", document["objects"], "object", "instances"))
    show.table(_bars("sizes of parts, in pixels", document["sizes"]["pixels"]))
    show.table(_bars("sizes of parts, share of the image", document["sizes"]["percent_of_photo"]))
    show.table(_bars("sizes of parts, by COCO's bounds", document["sizes"]["coco"]))
    show.table(_overlap(document["overlap"]))
    show.table(_summary(document))
    for line in _absent(document):
        show.note(line)
    for issue in document["suspicious"]:
        first = issue["examples"][0]
        where = " ".join((first["split"], first["image_id"])).strip()
        show.note(f"worth a look: {issue['count']:,} x {issue['what']}, such as {where}: {first['text']}")


def _table(title: str, columns: Sequence[str]) -> Table:
    """Return an empty table with names on the left and numbers on the right."""
    from rich.table import Table

    table = Table(title=title)
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index else "left", overflow="fold")
    return table


def _classes(title: str, rows: Sequence[dict[str, Any]], name: str, field: str) -> Table:
    """Return images and `field` of each split, and all pixels, of each class that is shown (others: `_absent`)."""
    splits = list(rows[0]["splits"]) if rows else []
    table = _table(
        title, ["", "seen", *(f"{split} {what}" for split in splits for what in ("images", field)), "pixels"]
    )
    table.columns[0].no_wrap = True
    for row in rows:
        counts = [row["splits"][split] for split in splits]
        if any(count["images"] for count in counts):
            texts = [f"{count[what]:,}" for count in counts for what in ("images", field)]
            pixels = _format_count(sum(count["pixels"] for count in counts))
            table.add_row(row[name], "yes" if row["seen"] else "no", *texts, pixels)
    return table


def _bars(title: str, bins: Sequence[dict[str, Any]]) -> Table:
    """Return a histogram in characters that the terminal can show."""
    from rich.console import Console

    block = "█" if Console().encoding.startswith("utf") else "#"
    table = _table(title, ["", "parts", ""])
    table.columns[2].justify = "left"
    most = max((row["parts"] for row in bins), default=0)
    for row in bins:
        table.add_row(row["label"], f"{row['parts']:,}", block * -(-BAR * row["parts"] // max(1, most)))
    return table


def _overlap(overlap: dict[str, Any]) -> Table:
    table = _table("overlap", ["", "pixels", "percent"])
    table.columns[1].no_wrap = table.columns[2].no_wrap = True
    for row in overlap.values():
        percent = row.get("percent")
        table.add_row(row["what"], f"{row['pixels']:,}", "" if percent is None else f"{percent:.2f}")
    return table


def _summary(document: dict[str, Any]) -> Table:
    splits = document["splits"]
    table = _table(document["dataset"], ["", *splits])
    for name in next(iter(splits.values()), {}):
        if name not in document["overlap"]:
            table.add_row(name.replace("_", " "), *(f"{totals[name]:,}" for totals in splits.values()))
    return table


def _absent(document: dict[str, Any]) -> list[str]:
    """Return a line for each kind of class that a split lacks, unless it has no image."""
    lines = []
    for split, absent in document["absent"].items():
        for what, names in absent.items():
            if names and document["splits"][split]["images"]:
                see = ", see figures.json" if len(names) > NAMES_SHOWN else ""
                lines.append(f"{split}: {len(names)} {what} absent: {format_list(names, NAMES_SHOWN)}{see}")
    return lines


def _format_count(number: int) -> str:
    """Format a number, a large one with three digits.

    >>> _format_count(9999), _format_count(1234567), _format_count(25600000)
    ('9,999', '1.23 M', '25.6 M')
    """
    if number < 10**6:
        return f"{number:,}"
    return f"{number / 10**6:.3g} M" if number < 10**9 else f"{number / 10**9:.3g} G"
