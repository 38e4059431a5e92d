"""Commands about weights: import, list, verify, pack."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from partseg_cli.cli import console
from partseg_cli.errors import CheckpointError, format_list

if TYPE_CHECKING:
    from partseg_cli.models.checkpoints.importer import ImportResult
    from partseg_cli.pipeline.weights import VerifyResult, WeightsFile

app = typer.Typer(no_args_is_help=True, help="Import published weights; list, verify and pack checkpoints.")

NAMES_SHOWN = 8
DIGEST_SHOWN = 12


class LayoutName(StrEnum):
    """Layouts of published weights."""

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
            help="partclipseg, ovparts-clipseg, clipseg-rd64-refined or timojl-clipseg. [default: by its names]",
            show_default=False,
        ),
    ] = None,
    dataset: Annotated[
        str, typer.Option(help="Dataset whose words the weights were trained with; --vocab accepts any others, too.")
    ] = "pascal-part-116",
    allow_partial: Annotated[
        bool, typer.Option("--allow-partial", help="Replace missing or wrong tensors by random ones.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Convert published weights to a checkpoint for predict and evaluate.

    Accepts the authors' PartCLIPSeg, CLIPSeg of OV-PARTS, CIDAS/clipseg-rd64-refined, and the decoder of timojl/clipseg
    (CLIP then comes from where `model.init=clip` finds it). No code in the file is run. The checkpoint keeps the
    switches that the weights were trained with.

    Example: **partseg weights import partclipseg_voc_oracle.pth --out weights/partclipseg-voc.safetensors**
    """
    from partseg_cli.pipeline.weights import import_weights

    done = import_weights(
        source, out, layout=layout.value if layout else None, dataset=dataset, allow_partial=allow_partial
    )
    if as_json:
        console.document(done.to_json())
    else:
        _show_import(done)


def _show_import(done: ImportResult) -> None:
    from rich.table import Table

    record, match, model = done.header.imported, done.match, done.header.model
    table = Table(title=f"{record['file']}: {record['format']}", show_header=False)
    table.add_row("used", f"{match.used} tensors")
    for reason, count in record["ignored"].items():
        names = [name for name, why in match.ignored.items() if why == reason]
        table.add_row("ignored", f"{count}, {reason}: {format_list(names, NAMES_SHOWN)}")
    if match.unknown:
        table.add_row(
            "ignored", f"{len(match.unknown)}, unknown to this version: {format_list(match.unknown, NAMES_SHOWN)}"
        )
    for name, why in match.wrong.items():
        table.add_row("wrong", f"{name} {why}")
    missing = f": {format_list(match.missing, NAMES_SHOWN)}" if match.missing else ""
    table.add_row("missing", f"{len(match.missing)} tensors{missing}")
    switches = ("background_embedding", "object_text_index", "visual_adapter")
    listed = ", ".join(f"{key} {str(model[key]).lower()}" for key in switches if key in model)
    table.add_row("model", f"{model['name']}, {model['backbone']}, {listed}")
    table.add_row("words", f"{len(done.header.vocabulary.pairs)} pairs of {done.header.dataset} (--dataset)")
    table.add_row("licence", record["licence"])
    table.add_row("SHA-256", f"{record['file_sha256']} (source)")
    table.add_row("", f"{done.sha256} (checkpoint)")
    console.table(table)
    if match.missing:
        console.note("missing tensors are replaced by random ones: masks may be meaningless")
    console.note(f'next: partseg predict photo.jpg --vocab "cat\'s ear" --checkpoint {done.path}')
    typer.echo(str(done.path))


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """List the weights on this machine, with size, SHA-256 and licence.

    Searches $PARTSEG_WEIGHTS, the user's cache and the Hugging Face cache.

    Example: **partseg weights list**
    """
    from partseg_cli.pipeline.weights import list_weights

    files = list_weights()
    if as_json:
        console.document({"weights": [file.to_json() for file in files]})
    elif files:
        _show_list(files)
    else:
        console.note(
            "no weights in $PARTSEG_WEIGHTS, the user's cache or the Hugging Face cache; get some with `hf download "
            "CIDAS/clipseg-rd64-refined`, or `partseg weights import FILE --out NEW.safetensors`"
        )


def _show_list(files: list[WeightsFile]) -> None:
    from rich.table import Table

    table = Table(title="weights on this machine")
    for column in ("name", "format", "MB", "SHA-256"):
        table.add_column(column, justify="right" if column == "MB" else "left", overflow="fold")
    for file in files:
        table.add_row(file.name, file.format, f"{file.bytes / 1e6:,.1f}", file.sha256[:DIGEST_SHOWN])
    console.table(table)
    for file in files:
        typer.echo(f"{file.path}: {file.licence}")


@app.command()
def verify(
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[FILE]...", help="Checkpoints or run directories. [default: all that `list` shows]"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check checkpoints: SHA-256, names, shapes, finite values, reference logits.

    Reference logits are those of the imported model for an image of waves; the model here must reproduce them to 1e-3.

    Example: **partseg weights verify weights/partclipseg-voc.safetensors**
    """
    from partseg_cli.pipeline.weights import verify_weights

    done = verify_weights(files or [])
    if as_json:
        console.document({"verified": [one.to_json() for one in done]})
    else:
        _show_verified(done)
    problems = [one.problem for one in done if one.problem]
    if len(problems) > 1:
        for problem in problems:
            console.note(problem)
        raise CheckpointError(f"{len(problems)} of {len(done)} checkpoints fail; get or import them again")
    if problems:
        raise CheckpointError(problems[0])


def _show_verified(done: list[VerifyResult]) -> None:
    from rich.table import Table

    if not done:
        raise CheckpointError("no checkpoint to verify, got none on this machine; name a file, or see `weights list`")
    table = Table(title="verified")
    for column in ("file", "format", "tensors", "reference logits", "verdict"):
        table.add_column(column, overflow="fold")
    for one in done:
        logits = "none stored" if one.drift is None else f"agree to {one.drift:.1e}"
        verdict = f"good, but {one.random} tensors are random (--allow-partial)" if one.random else "good"
        whole = (one.format, str(one.tensors), logits, verdict)
        table.add_row(one.path.name, *(("-", "-", "-", "fails") if one.problem else whole))
    console.table(table)


@app.command()
def pack(
    checkpoint: Annotated[Path, typer.Argument(help="A checkpoint or run directory.")],
    out: Annotated[Path, typer.Option(help="Checkpoint to write: a new .safetensors file.", show_default=False)] = ...,  # type: ignore[assignment]
) -> None:
    """Write a copy of a checkpoint with 16-bit values, in half the space.

    The rounding changes scores in their fourth digit; everything else stays. The bundled models were made in this way
    from the runs of their recipes.

    Example: **partseg weights pack runs/train/cartoon-1 --out cartoon.safetensors**
    """
    from partseg_cli.pipeline.weights import pack_weights

    path = pack_weights(checkpoint, out)
    console.note(f"{path}: {path.stat().st_size / 1e6:.1f} MB")
    typer.echo(str(path))
