"""Commands about a prepared data set: export."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from partseg_cli.cli import console as show

if TYPE_CHECKING:
    from partseg_cli.pipeline.export import ExportResult


def export(
    dataset: Annotated[
        str,
        typer.Argument(
            metavar="DATASET", help="A folder that `partseg prepare` made, or the name of one in $PARTSEG_DATA."
        ),
    ],
    to: Annotated[str, typer.Option(metavar="FORMAT", help="coco, ovparts, parquet, labelme or png; see above.")],
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the files, empty or a former export of the same. "
            "[default: $PARTSEG_DATA/export/NAME-FORMAT]",
            show_default=False,
        ),
    ] = None,
    splits: Annotated[
        list[str] | None,
        typer.Option(
            "--split",
            metavar="train|val|all",
            help="Splits to export; repeat it or separate them by commas. [default: all]",
            show_default=False,
        ),
    ] = None,
    copy: Annotated[
        bool | None,
        typer.Option(
            "--copy/--link",
            help="Copy or link the photos into the export. [default: labelme links them, ovparts brings them itself, "
            "the others leave them where they are]",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Write a prepared data set in a format that other tools read.

    - **coco**: a COCO JSON for each split in the style of PACO; parts name their object. Nothing is lost:
      `partseg prepare coco` makes the same set of it again (its photos must lie there too: `--copy` or `--link`).
    - **ovparts**: label PNGs in folders as OV-PARTS and PartCLIPSeg's own code read them.
    - **parquet**: a row for each image, about 1 kB (needs `pip install "partseg-cli[parquet]"`).
    - **labelme**: a JSON with masks beside each photo, to look at and correct by hand.
    - **png**: flat label maps of pairs and objects, as `partseg predict` writes them.

    Example: **partseg export pascal-part-116 --to coco --split val --out pascal-coco**
    """
    from partseg_cli.pipeline import export as story

    names = [name.strip() for text in splits or () for name in text.split(",") if name.strip()]
    exported = story.export(dataset, to, out=out, splits=names, copy=copy, track=show.track)
    _show_exported(exported)


def _show_exported(exported: ExportResult) -> None:
    from rich.table import Table

    title = f"{exported.name} as {exported.to}"
    table = Table(title=title, min_width=len(title), show_header=False)
    for split, count in exported.images.items():
        table.add_row(split, f"{count:,} images")
    table.add_row("photos", exported.photos)
    table.add_row("files", f"{exported.files:,}")
    table.add_row("size", f"{exported.size / 10**6:,.1f} MB")
    show.table(table)
    for line in (*exported.notes, str(exported.folder)):
        show.note(line)
