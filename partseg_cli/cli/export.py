"""Command `export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from partseg_cli.cli import console as show


def export(
    dataset: Annotated[
        str,
        typer.Argument(
            metavar="DATASET", help="A folder that `partseg prepare` made, or the name of one in $PARTSEG_DATA."
        ),
    ],
    to: Annotated[str, typer.Option(metavar="FORMAT", help="Format: coco, ovparts, parquet, labelme or png.")],
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
            help="Copy or link the image files into the export. [default: labelme links them, ovparts includes them, "
            "the others leave them where they are]",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Write a prepared dataset in a format that other tools read.

    - **coco**: a COCO JSON for each split in the style of PACO; parts refer to their object. Nothing is lost:
      `partseg prepare coco` restores the same set (it needs the images in the export: `--copy` or `--link`).
    - **ovparts**: label PNGs in folders for the published code of OV-PARTS and PartCLIPSeg.
    - **parquet**: a row of about 1 kB for each image (needs `pip install "partseg-cli[parquet]"`).
    - **labelme**: a JSON with masks in the folder of each image, to view and correct by hand.
    - **png**: flat label maps of pairs and objects, as `partseg predict` writes them.

    Example: **partseg export pascal-part-116 --to coco --split val --out pascal-coco**
    """
    from rich.table import Table

    from partseg_cli.pipeline import export as pipeline

    names = [name.strip() for text in splits or () for name in text.split(",") if name.strip()]
    result = pipeline.export(dataset, to, out=out, splits=names, copy=copy, track=show.track)
    title = f"{result.name} as {result.to}"
    table = Table(title=title, min_width=len(title), show_header=False)
    for split, count in result.images.items():
        table.add_row(split, f"{count:,} images")
    table.add_row("image files", result.image_files)
    table.add_row("files", f"{result.files:,}")
    table.add_row("size", f"{result.size / 10**6:,.1f} MB")
    show.table(table)
    for line in (*result.notes, str(result.folder)):
        show.note(line)
