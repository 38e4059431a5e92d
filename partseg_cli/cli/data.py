"""Commands about data: prepare and split."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from partseg_cli.cli import show

if TYPE_CHECKING:
    from partseg_cli.pipeline.prepare import Prepared
    from partseg_cli.pipeline.split import Divided

DETAILS_SHOWN = 10


def prepare(
    name: Annotated[
        str | None,
        typer.Argument(
            help="Data set: pascal-part-116, ade20k-part-234, coco (your own) or cartoon-part (drawn).",
            show_default=False,
        ),
    ] = None,
    folder: Annotated[
        Path | None, typer.Argument(metavar="DIR", help="The same as --source.", show_default=False)
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option(help="Folder of the original release. [default: $PARTSEG_DATA/raw/NAME]", show_default=False),
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
            help="coco: the split that a file is; in the order of --annotations. [default: train]",
            show_default=False,
        ),
    ] = None,
    object_name: Annotated[
        str | None,
        typer.Option(
            "--object",
            metavar="NAME",
            help="coco: the object that all categories are parts of. [default: categories such as cat:ear or "
            "cat's ear, or obj_ann_id in the annotations, tell it]",
            show_default=False,
        ),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Fail (exit 3) where a file is broken, not skip it.")
    ] = False,
    copy_images: Annotated[bool, typer.Option("--copy-images", help="Copy the photos into the store.")] = False,
    preview: Annotated[int, typer.Option(min=0, help="Images on the contact sheet preview.png; 0: none.")] = 8,
    images: Annotated[int, typer.Option(help="cartoon-part: how many scenes to draw.")] = 200,
    seed: Annotated[int, typer.Option(help="cartoon-part: the same seed draws the same scenes.")] = 0,
    size: Annotated[int, typer.Option(help="cartoon-part: pixels of a scene's edge.")] = 128,
    listed: Annotated[bool, typer.Option("--list", help="Show the data sets, and convert nothing.")] = False,
    explained: Annotated[
        bool, typer.Option("--explain", help="Tell where to get the data set and what it holds, and convert nothing.")
    ] = False,
) -> None:
    """Convert a data set from its original files to the part-mask store.

    Broken files and annotations are listed and skipped. A rerun gives the same bytes.

    Example: **partseg prepare pascal-part-116 --source VOCdevkit/VOC2010 --out data/pascal-part-116**

    Your own: **partseg prepare coco DIR --annotations a.json --as train --annotations b.json --as val --object car**
    """
    from partseg_cli.errors import UsageError
    from partseg_cli.pipeline import prepare as story

    if listed:
        _show_catalogue()
        return
    if name is None:
        raise UsageError("a data set must be named, got none; see partseg prepare --list")
    if explained:
        _show_explained(name)
        return
    if folder and source:
        raise UsageError(f"the source must be given once, got {folder} and --source {source}; leave one out")
    prepared = story.prepare(
        name,
        source=folder or source,
        out=out,
        strict=strict,
        copy_images=copy_images,
        preview=preview,
        drawing=story.Drawing(images, seed, size),
        own=story.OwnSet(tuple(annotations or ()), tuple(splits or ()), object_name),
        track=show.track,
    )
    _show_prepared(prepared, preview)


def _show_catalogue() -> None:
    from rich.table import Table

    from partseg_cli.pipeline.catalogue import catalogue

    table = Table(title="data sets", caption="and coco: a set of your own", caption_justify="left")
    for column in ("name", "objects", "pairs", "train", "val"):
        table.add_column(column, justify="left" if column == "name" else "right")
    for manifest in catalogue():
        counts = [f"{manifest.expected[split]:,}" if manifest.expected else "-" for split in ("train", "val")]
        words = manifest.vocabulary
        table.add_row(manifest.name, str(len(words.objects)), str(len(words.pairs)), *counts)
    show.table(table)


def _show_explained(name: str) -> None:
    from rich.table import Table

    from partseg_cli.pipeline.catalogue import explain

    table = Table(title=name, show_header=False)
    table.add_column()
    table.add_column(overflow="fold")
    for what, text in explain(name):
        table.add_row(what, text)
    show.table(table)


def _show_prepared(prepared: Prepared, preview: int) -> None:
    from rich.table import Table

    table = Table(title=f"{prepared.name}: {prepared.found:,} annotated images found")
    for column in ("", "images", "expected", "difference"):
        table.add_column(column, justify="left" if not column else "right")
    for split, count in prepared.converted.items():
        expected = prepared.expected.get(split)
        texts = ("-", "-") if expected is None else (f"{expected:,}", f"{count - expected:+,}")
        table.add_row(f"converted, {split}", f"{count:,}", *texts)
    for reason, count in sorted(prepared.reasons().items()):
        table.add_row(f"skipped: {reason}", f"{count:,}", "", "")
    show.table(table)
    detailed = [item for item in prepared.skipped if item.is_defect or item.detail]
    for item in detailed[:DETAILS_SHOWN]:
        show.note(f"skipped {item.item}: {item.reason} ({item.detail})")
    if len(detailed) > DETAILS_SHOWN:
        show.note(f"... and {len(detailed) - DETAILS_SHOWN} more, see report.json")
    files = "dataset.json, report.json" + (", preview.png" if preview else "")
    show.note(f"{prepared.folder}: {files}")


def split(
    folder: Annotated[Path, typer.Argument(metavar="DATASET_DIR", help="A folder that `partseg prepare` made.")],
    out: Annotated[
        Path | None, typer.Option(help="File to write. [default: DATASET_DIR/split.yaml]", show_default=False)
    ] = None,
    unseen: Annotated[
        str | None,
        typer.Option(
            help="Unseen objects, comma-separated, or `none`. [default: the published ones]", show_default=False
        ),
    ] = None,
    val_fraction: Annotated[
        float | None,
        typer.Option(help="Draw val anew as this share of all images. [default: published lists]", show_default=False),
    ] = None,
    shots: Annotated[
        int | None, typer.Option(help="Keep only K train images of each seen object (few-shot).", metavar="K")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed makes the same split.")] = 0,
) -> None:
    """Choose seen and unseen objects and the images of train and val.

    The store stays untouched; the small file goes into a recipe as `data.split`. Few-shot as in OV-PARTS, where every
    class is seen: `--shots 16 --unseen none`.

    Example: **partseg split data/pascal-part-116 --val-fraction 0.3 --seed 0**
    """
    from partseg_cli.pipeline import split as story

    names = None if unseen is None else [name.strip() for name in unseen.split(",") if name.strip() not in {"", "none"}]
    divided = story.split(folder, out=out, unseen=names, val_fraction=val_fraction, shots=shots, seed=seed)
    _show_divided(divided)


def _show_divided(divided: Divided) -> None:
    from rich.table import Table

    vocabulary, made, leakage = divided.vocabulary, divided.split, divided.leakage
    seen = [name for name in vocabulary.objects if name not in made.unseen_objects]
    table = Table(title=f"{made.dataset}: {made.rule}, seed {made.seed}", show_header=False)
    table.add_row("seen", f"{sum(vocabulary.is_seen)} pairs of {', '.join(seen)}")
    unseen = len(vocabulary.pairs) - sum(vocabulary.is_seen)
    table.add_row("unseen", f"{unseen} pairs of {', '.join(made.unseen_objects) or 'nothing'}")
    left_out = f" ({leakage.left_out} more have no seen part and are left out)" if leakage.left_out else ""
    table.add_row("train", f"{leakage.images:,} images{left_out}")
    table.add_row("val", f"{len(made.val):,} images")
    table.add_row("leakage", f"{leakage.leaked} of {leakage.labelled:,} labelled pixels fed belong to an unseen pair")
    show.table(table)
    if not made.val:
        show.note("val is empty: use --val-fraction to draw one")
    show.note(f"{divided.path}: pass it as data.split={divided.path}")
