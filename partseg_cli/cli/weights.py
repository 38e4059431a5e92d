"""Commands about weights: import, list, verify."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from partseg_cli.cli import console as show
from partseg_cli.errors import CheckpointError

if TYPE_CHECKING:
    from partseg_cli.models.checkpoints.importer import Imported
    from partseg_cli.models.checkpoints.weights_index import Entry, Verified

app = typer.Typer(no_args_is_help=True, help="Bring published weights here, and see what is there.")

NAMES_SHOWN = 8
DIGEST_SHOWN = 12


class LayoutName(StrEnum):
    """How published weights are laid out."""

    PARTCLIPSEG = "partclipseg"
    OVPARTS_CLIPSEG = "ovparts-clipseg"
    CLIPSEG_RD64_REFINED = "clipseg-rd64-refined"
    TIMOJL_CLIPSEG = "timojl-clipseg"


AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a table.")]


@app.command("import")
def import_(
    source: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="A .pth, .bin or .safetensors, a folder with one of them, or CIDAS/clipseg-rd64-refined.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="Checkpoint to write: a new .safetensors file.", show_default=False)] = ...,  # type: ignore[assignment]
    layout: Annotated[
        LayoutName | None,
        typer.Option(
            "--as",
            metavar="LAYOUT",
            help="partclipseg, ovparts-clipseg, clipseg-rd64-refined or timojl-clipseg. [default: told from its names]",
            show_default=False,
        ),
    ] = None,
    dataset: Annotated[
        str, typer.Option(help="Data set whose words the weights were trained with; --vocab takes any others, too.")
    ] = "pascal-part-116",
    allow_partial: Annotated[
        bool, typer.Option("--allow-partial", help="Let random weights stand in for missing or wrong tensors.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Turn published weights into a checkpoint for predict and evaluate.

    Takes the authors' PartCLIPSeg, CLIPSeg of OV-PARTS, CIDAS/clipseg-rd64-refined, and the decoder of timojl/clipseg
    (CLIP then comes from where `model.init=clip` finds it). No code in the file is run. The checkpoint keeps the
    switches that the weights were trained with.

    Example: **partseg weights import partclipseg_voc_oracle.pth --out weights/partclipseg-voc.safetensors**
    """
    from partseg_cli.models.checkpoints import importer as story

    done = story.import_weights(
        source, out, layout=layout.value if layout else None, dataset=dataset, allow_partial=allow_partial
    )
    if as_json:
        show.document(done.to_json())
    else:
        _show_import(done)


def _show_import(done: Imported) -> None:
    from rich.table import Table

    record, coverage, model = done.header.imported, done.coverage, done.header.model
    table = Table(title=f"{record['file']}: {record['format']}", show_header=False)
    table.add_row("used", f"{coverage.used} tensors")
    for reason, count in record["ignored"].items():
        names = [name for name, why in coverage.ignored.items() if why == reason]
        table.add_row("ignored", f"{count}, {reason}: {_few(names)}")
    if coverage.unknown:
        table.add_row("ignored", f"{len(coverage.unknown)}, not known to this version: {_few(coverage.unknown)}")
    for name, why in coverage.wrong.items():
        table.add_row("wrong", f"{name} {why}")
    table.add_row("missing", f"{len(coverage.missing)} tensors" + _colon(_few(coverage.missing)))
    switches = ("background_embedding", "object_text_index", "visual_adapter")
    told = ", ".join(f"{key} {str(model[key]).lower()}" for key in switches if key in model)
    table.add_row("model", f"{model['name']}, {model['backbone']}, {told}")
    table.add_row("words", f"{len(done.header.vocabulary.pairs)} pairs of {done.header.dataset} (--dataset)")
    table.add_row("licence", record["licence"])
    table.add_row("SHA-256", f"{record['file_sha256']} (source)")
    table.add_row("", f"{done.sha256} (checkpoint)")
    show.table(table)
    if coverage.missing:
        show.note("random weights stand in for what is missing: masks may mean nothing")
    show.note(f'next: partseg predict photo.jpg --vocab "cat\'s ear" --checkpoint {done.path}')
    typer.echo(str(done.path))


def _few(names: list[str]) -> str:
    return ", ".join(names[:NAMES_SHOWN]) + (", ..." if len(names) > NAMES_SHOWN else "")


def _colon(text: str) -> str:
    return f": {text}" if text else ""


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """Show the weights on this machine, with size, SHA-256 and licence.

    Looks in $PARTSEG_WEIGHTS, the user's cache and the Hugging Face cache.

    Example: **partseg weights list**
    """
    from partseg_cli.models.checkpoints import weights_index as story

    entries = story.list_weights()
    if as_json:
        show.document({"weights": [entry.to_json() for entry in entries]})
    elif entries:
        _show_list(entries)
    else:
        show.note(
            "no weights in $PARTSEG_WEIGHTS, the user's cache or the Hugging Face cache; get some with `hf download "
            "CIDAS/clipseg-rd64-refined`, or `partseg weights import FILE --out NEW.safetensors`"
        )


def _show_list(entries: list[Entry]) -> None:
    from rich.table import Table

    table = Table(title="weights on this machine")
    for column in ("name", "format", "MB", "SHA-256"):
        table.add_column(column, justify="right" if column == "MB" else "left", overflow="fold")
    for entry in entries:
        size = f"{entry.bytes / 1e6:,.1f}"
        table.add_row(entry.name, entry.format, size, entry.sha256[:DIGEST_SHOWN])
    show.table(table)
    for entry in entries:
        typer.echo(f"{entry.path}: {entry.licence}")


@app.command()
def verify(
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[FILE]...", help="Checkpoints or run folders. [default: all that `list` shows]"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check checkpoints: SHA-256, names, shapes, finite values, golden logits.

    Golden logits are what an imported model gave for a picture made of waves; here it must give the same to 1e-3.

    Example: **partseg weights verify weights/partclipseg-voc.safetensors**
    """
    from partseg_cli.models.checkpoints import weights_index as story

    done = story.verify(files or [])
    if as_json:
        show.document({"verified": [one.to_json() for one in done]})
    else:
        _show_verified(done)
    problems = [one.problem for one in done if one.problem]
    if len(problems) > 1:
        for problem in problems:
            show.note(problem)
        raise CheckpointError(f"{len(problems)} of {len(done)} checkpoints fail; get or import them again")
    if problems:
        raise CheckpointError(problems[0])


def _show_verified(done: list[Verified]) -> None:
    from rich.table import Table

    if not done:
        raise CheckpointError("no checkpoint to verify, got none on this machine; name a file, or see `weights list`")
    table = Table(title="verified")
    for column in ("file", "format", "tensors", "golden logits", "verdict"):
        table.add_column(column, overflow="fold")
    for one in done:
        golden = "none stored" if one.drift is None else f"agree to {one.drift:.1e}"
        verdict = f"good, but {one.random} tensors are random (--allow-partial)" if one.random else "good"
        whole = (one.format, str(one.tensors), golden, verdict)
        table.add_row(one.path.name, *(("-", "-", "-", "fails") if one.problem else whole))
    show.table(table)


@app.command()
def pack(
    checkpoint: Annotated[Path, typer.Argument(help="A checkpoint, or a run folder.")],
    out: Annotated[Path, typer.Option(help="Checkpoint to write: a new .safetensors file.", show_default=False)] = ...,  # type: ignore[assignment]
) -> None:
    """Store a checkpoint in half the space.

    Values are rounded to 16 bits, which moves scores in their fourth digit; everything else stays as it is. This is
    how the bundled models were made from the runs of their recipes.

    Example: **partseg weights pack runs/train/cartoon-1 --out cartoon.safetensors**
    """
    from partseg_cli.models.checkpoints import importer as story

    path = story.pack(checkpoint, out)
    show.note(f"{path}: {path.stat().st_size / 1e6:.1f} MB")
    typer.echo(str(path))
