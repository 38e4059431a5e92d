"""Command `split`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from partseg_cli.cli import console as show
from partseg_cli.errors import format_list

if TYPE_CHECKING:
    from partseg_cli.data.splits.leakage import Audit
    from partseg_cli.pipeline.split import CrossDatasetMatch, SplitResult

NAMES_SHOWN = 8


class Tested(StrEnum):
    """Images and classes that the test of a zero-shot split covers."""

    VAL = "val"
    VAL_AND_TRAIN_UNSEEN = "val+train-unseen"


def split(
    dataset: Annotated[
        str,
        typer.Argument(
            metavar="DATASET", help="A folder that `partseg prepare` made, or its name below $PARTSEG_DATA."
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="File to write. [default: split.yaml in the dataset's folder]", show_default=False),
    ] = None,
    unseen: Annotated[
        str | None,
        typer.Option(
            metavar="OBJECTS",
            help="Unseen objects, comma-separated, or `none`. [default: the published ones]",
            show_default=False,
        ),
    ] = None,
    unseen_parts: Annotated[
        str | None,
        typer.Option(
            metavar="PARTS",
            help="Unseen parts, comma-separated: of every object. They join --unseen; alone with `--unseen none`.",
            show_default=False,
        ),
    ] = None,
    trained_on: Annotated[
        str | None,
        typer.Option(
            metavar="SOURCE",
            help="Dataset that a model was trained on (a name of `prepare --list`, or a prepared folder): pairs that "
            "it has, under the same or a related name, are seen; the others unseen.",
            show_default=False,
        ),
    ] = None,
    val_fraction: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            help="Draw val as this share of all images. [default: published lists]",
            show_default=False,
        ),
    ] = None,
    shots: Annotated[
        int | None,
        typer.Option(
            metavar="K",
            help="Keep only K train images of each seen object (few-shot): the published list if the dataset has one "
            "of K shots, else drawn by --seed.",
        ),
    ] = None,
    ade_test: Annotated[
        Tested | None,
        typer.Option(
            help="Test on val alone, or also on the unseen objects of the train images, as published for "
            "ADE20K-Part-234. [default: as the dataset was published; with --trained-on: val]",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, help="Seed of the random choices; the same seed makes the same split.")
    ] = 0,
    report: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="JSON file for the results of all checks.", show_default=False),
    ] = None,
) -> None:
    """Choose seen and unseen pairs and the images of train and val, and check that nothing unseen is fed.

    The store stays untouched; the small file goes into a recipe as `data.split`. Few-shot as in OV-PARTS, where every
    class is seen: `--shots 16 --unseen none`.

    Example: **partseg split data/pascal-part-116 --val-fraction 0.3 --seed 0**

    By part: **partseg split pascal-part-116 --unseen none --unseen-parts "ear, wheel"**

    Across datasets: **partseg split pascal-part-116 --trained-on ade20k-part-234 --report mapping.json**
    """
    from partseg_cli.pipeline import split as pipeline

    result = pipeline.split(
        dataset,
        out=out,
        report=report,
        unseen=None if unseen is None else _parse_names(unseen),
        unseen_parts=_parse_names(unseen_parts or ""),
        trained_on=trained_on,
        val_fraction=val_fraction,
        shots=shots,
        test=ade_test and ade_test.value,
        seed=seed,
        track=show.track,
    )
    if result.matched:
        _show_mapping(result.matched, result.split.dataset)
    _show_result(result)
    show.note(f"{result.path}: pass it as data.split={result.path}")
    if report:
        show.note(f"{report}: results of all checks")


def _parse_names(text: str) -> list[str]:
    """Parse a comma-separated list; `none` is no name."""
    return [name.strip() for name in text.split(",") if name.strip() not in {"", "none"}]


def _show_mapping(matched: CrossDatasetMatch, target: str) -> None:
    from rich.table import Table

    found = sum(mapping.source is not None for mapping in matched.mappings)
    table = Table(title=f"{found} of the {len(matched.mappings)} pairs of {target} are in {matched.source}")
    for column in (target, matched.source, "relation"):
        table.add_column(column)
    for mapping in matched.mappings:
        table.add_row(mapping.target.name, mapping.source.name if mapping.source else "-", mapping.relation)
    show.table(table)
    if matched.unmatched:
        show.note(f"objects without a counterpart in {matched.source}: {', '.join(matched.unmatched)}")
    if unseen := matched.unseen_in_source:
        show.note(
            f"{len(unseen)} of the pairs found are unseen in the split of {matched.source}: a model trained with that "
            f"split has seen no label of {format_list(unseen, NAMES_SHOWN)}"
        )


def _show_result(result: SplitResult) -> None:
    from rich.table import Table

    made, fed = result.split, result.audit.leakage
    table = Table(title=f"{made.dataset}: {made.rule}, seed {made.seed}", show_header=False)
    table.add_column()
    table.add_column(overflow="fold")
    for name, is_seen in (("seen", True), ("unseen", False)):
        pairs = [pair for pair in result.vocabulary.pairs if pair.is_seen is is_seen]
        objects = sorted({pair.object for pair in pairs})
        table.add_row(name, f"{len(pairs)} pairs" + (f" of {', '.join(objects)}" if objects else ""))
    table.add_row("train", f"{fed.images:,} images fed; {fed.left_out:,} of the list have no seen part, left out")
    also = f"; and {len(made.val_unseen):,} of train, their unseen objects alone" if made.val_unseen else ""
    table.add_row("val", f"{len(made.val):,} images{also}")
    table.add_section()
    for name, text in _format_audit(result.audit):
        table.add_row(name, text)
    show.table(table)
    if not made.val:
        show.note("val is empty: use --val-fraction to draw one")


def _format_audit(audit: Audit) -> list[tuple[str, str]]:
    """Return the rows of the checks, the most important first."""
    fed = audit.leakage
    left_out = fed.unseen_pixels - fed.unseen_as_background
    unseen = (
        f"{fed.unseen_pixels:,} pixels in {fed.unseen_images:,} of the images fed: {fed.unseen_as_background:,} "
        f"trained as background, {left_out:,} left out (data.unlabelled_objects=ignore leaves out all)"
    )
    rows = [
        ("leakage", f"{fed.leaked} of {fed.labelled:,} labelled pixels fed belong to an unseen pair"),
        ("unseen objects", unseen),
    ]
    if fed.unseen_part_pixels:
        rows.append(("unseen parts", f"{fed.unseen_part_pixels:,} pixels fed as their object, without a part"))
    rows += [
        ("in both lists", f"{len(audit.in_both)} images"),
        ("same image file", f"{len(audit.same_photo)} under several ids, {audit.across} of them in train and in val"),
        ("seen, not fed", _count(fed.untrained)),
        ("not tested", f"{_count(audit.untested)}; {audit.tested:,} pixels are tested"),
    ]
    if audit.missing:
        rows.append(("missing", f"{audit.missing:,} images cannot be read"))
    return rows


def _count(names: tuple[str, ...]) -> str:
    return f"{len(names)} pairs" + (f": {format_list(names, NAMES_SHOWN)}" if names else "")
