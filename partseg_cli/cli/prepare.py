"""`partseg prepare`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from partseg_cli.cli import console as show

if TYPE_CHECKING:
    from partseg_cli.pipeline.prepare import PrepareResult

DETAILS_SHOWN = 10


def prepare(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            help="Dataset: one of `partseg prepare --list`, or coco for a set of your own.",
            show_default=False,
        ),
    ] = None,
    folder: Annotated[
        Path | None, typer.Argument(metavar="DIR", help="The same as --source.", show_default=False)
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option(help="Folder of the original files. [default: $PARTSEG_DATA/raw/NAME]", show_default=False),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the store. [default: $PARTSEG_DATA/NAME; coco: the name of DIR]", show_default=False
        ),
    ] = None,
    annotations: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="coco: a COCO file below DIR, where there are several. Repeat it, each time with an --as.",
            show_default=False,
        ),
    ] = None,
    splits: Annotated[
        list[str] | None,
        typer.Option(
            "--as",
            metavar="train|val",
            help="coco: the split of each file, in the order of --annotations. [default: train, of a single file]",
            show_default=False,
        ),
    ] = None,
    object_name: Annotated[
        str | None,
        typer.Option(
            "--object",
            metavar="NAME",
            help="coco: the object that all categories are parts of. [default: categories such as cat:ear or "
            "cat's ear, or obj_ann_id in the annotations, name it]",
            show_default=False,
        ),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Fail (exit 3) at a broken file instead of skipping it.")
    ] = False,
    copy_images: Annotated[bool, typer.Option("--copy-images", help="Copy the images into the store.")] = False,
    allow_resize: Annotated[
        bool, typer.Option("--allow-resize", help="Scale masks of another size to their image instead of skipping it.")
    ] = False,
    split_list: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="pascal-part-116: names of the val images, or an OV-PARTS repack. [default: packaged]",
            show_default=False,
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(metavar="N", help="Processes. [default: all cores]", show_default=False)
    ] = None,
    preview: Annotated[int, typer.Option(min=0, help="Images on the contact sheet preview.png; 0: none.")] = 8,
    images: Annotated[int, typer.Option(help="cartoon-part: number of scenes.")] = 200,
    seed: Annotated[int, typer.Option(help="cartoon-part: random seed; the same seed draws the same scenes.")] = 0,
    size: Annotated[int, typer.Option(help="cartoon-part: edge of a scene, in pixels.")] = 128,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="cartoon-part: replace an existing dataset.")] = False,
    listed: Annotated[bool, typer.Option("--list", help="List the datasets and exit.")] = False,
    explained: Annotated[
        bool, typer.Option("--explain", help="Show source, contents and licence of the dataset and exit.")
    ] = False,
) -> None:
    """Convert a dataset from its original files to the part-mask store.

    Broken files and annotations are listed and skipped. The command resumes after any interruption, even kill -9,
    and is byte-for-byte reproducible.

    Example: **partseg prepare pascal-part-116 --source VOCdevkit/VOC2010 --out data/pascal-part-116**

    Your own: **partseg prepare coco DIR --annotations a.json --as train --annotations b.json --as val --object car**
    """
    from partseg_cli.errors import UsageError
    from partseg_cli.pipeline import prepare as story

    if listed:
        _show_catalogue()
        return
    if name is None:
        raise UsageError("a dataset must be named, got none; see partseg prepare --list")
    if explained:
        _show_explained(name)
        return
    if folder and source:
        raise UsageError(f"the source must be given once, got {folder} and --source {source}; leave one out")
    started = time.monotonic()
    prepared = story.prepare(
        name,
        source=folder or source,
        out=out,
        strict=strict,
        copy_images=copy_images,
        allow_resize=allow_resize,
        split_list=split_list,
        preview=preview,
        workers=workers,
        drawing=story.CartoonOptions(images, seed, size),
        overwrite=overwrite,
        own=story.CocoOptions(tuple(annotations or ()), tuple(splits or ()), object_name),
        track=show.track,
        log=show.note,
    )
    _show_prepared(prepared, preview, time.monotonic() - started)


def _show_catalogue() -> None:
    from rich.table import Table

    from partseg_cli.pipeline.prepare import load_manifests

    table = Table(title="datasets", caption="and coco: a set of your own", caption_justify="left")
    for column in ("name", "objects", "pairs", "train", "val"):
        table.add_column(column, justify="left" if column == "name" else "right")
    for manifest in load_manifests():
        expected = manifest.expected
        counts = [f"{expected[split]:,}" if split in expected else "-" for split in ("train", "val")]
        words = manifest.vocabulary
        table.add_row(manifest.name, str(len(words.objects)), str(len(words.pairs)), *counts)
    show.table(table)


def _show_explained(name: str) -> None:
    from rich.table import Table

    from partseg_cli.pipeline.prepare import describe_dataset

    table = Table(title=name, show_header=False)
    table.add_column()
    table.add_column(overflow="fold")
    for what, text in describe_dataset(name):
        table.add_row(what, text)
    show.table(table)


def _show_prepared(prepared: PrepareResult, preview: int, seconds: float) -> None:
    from rich.table import Table

    is_compared = any(line.expected is not None for line in prepared.lines[:-2])
    table = Table(title=f"{prepared.name}: {prepared.found:,} annotated images found")
    for column in ("", "expected", "found", "difference", "why"):
        if is_compared or column not in {"expected", "difference"}:
            table.add_column(column, justify="left" if column in {"", "why"} else "right")
    for what, expected, found, difference, why in _rows(prepared):
        table.add_row(what, *((expected, found, difference) if is_compared else (found,)), why)
    show.table(table)
    for text in prepared.notes:
        show.note(f"note: {text}")
    detailed = [item for item in prepared.skipped if item.is_defect or item.detail]
    for item in detailed[:DETAILS_SHOWN]:
        show.note(f"skipped {item.item}: {item.reason} ({item.detail})")
    if len(detailed) > DETAILS_SHOWN:
        show.note(f"... and {len(detailed) - DETAILS_SHOWN} more, see report.json")
    files = "dataset.json, report.json" + (", preview.png" if preview else "")
    rate = (prepared.found - prepared.resumed) / seconds
    show.note(f"{prepared.folder}: {files}; {seconds:.1f} s, {rate:.0f} images/s")


def _rows(prepared: PrepareResult) -> Iterator[tuple[str, str, str, str, str]]:
    """Yield what, expected, found, difference and why of each row."""
    for line in prepared.lines:
        expected = "-" if line.expected is None else f"{line.expected:,}"
        difference = "-" if line.difference is None else f"{line.difference:+,}" if line.difference else "0"
        yield line.what, expected, f"{line.found:,}", difference, line.why
    for reason, count in sorted(prepared.reasons().items()):
        yield "skipped", "", f"{count:,}", "", reason
    if prepared.turned:
        yield "read upright", "", f"{prepared.turned:,}", "", "as EXIF asks: only so the masks fit"
