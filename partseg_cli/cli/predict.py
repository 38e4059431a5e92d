"""Commands about models: predict, demo."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from partseg_cli.cli import console as show
from partseg_cli.cli.options import Batch, Checkpoint, Device, Model, Precision, PrecisionName, PromptChunk

if TYPE_CHECKING:
    from partseg_cli.pipeline.predict import Prediction


def predict(
    photos: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Photos, folders of photos, or patterns.")],
    vocab: Annotated[
        list[str],
        typer.Option(
            help='"cat\'s ear", "cat", "ear"; repeat it, separate by commas, or name a .txt or .yaml file.',
            show_default=False,
        ),
    ] = ...,  # type: ignore[assignment]
    checkpoint: Checkpoint = None,
    model: Model = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for results. [default: runs/predict/photos-N]", show_default=False)
    ] = None,
    context: Annotated[
        str,
        typer.Option(help="Parts that compete unasked: auto (the object's others), none, or a file of pairs."),
    ] = "auto",
    device: Device = "auto",
    precision: Precision = PrecisionName.FP32,
    batch: Batch = 1,
    prompt_chunk: PromptChunk = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a table.")] = False,
) -> None:
    """Find the parts you name in your photos.

    For each photo: an overlay with a legend, a label PNG (value = position in the vocabulary, 255 = nothing) and a
    JSON with areas, scores and RLE masks. Parts of an object that you do not name compete silently, so that one part
    never fills its object.

    Without other weights the bundled model nano is used, which knows cartoon pictures, not photos.

    Example: **partseg predict cat.jpg --vocab "cat's ear" --vocab "cat's tail" --checkpoint runs/train/ade_zeroshot-1**
    """
    from partseg_cli.pipeline import predict as pipeline

    predictor = pipeline.open_predictor(
        vocab,
        checkpoint=checkpoint,
        model=model,
        context=context,
        device=device,
        precision=precision.value,
        batch=batch,
        prompt_chunk=prompt_chunk,
        log=show.note,
    )
    for line in predictor.query.notes:
        show.note(line)
    if predictor.warning:
        show.note(f"warning: {predictor.warning}")
    done = []
    for prediction in pipeline.predict(predictor, photos, out):
        done.append(prediction)
        if prediction.error is not None:
            show.note(f"error: {prediction.error}")
        elif not as_json:
            _show_prediction(prediction)
    if as_json:
        show.document({"predictions": [_prediction_json(prediction) for prediction in done]})
    if any(prediction.error is not None for prediction in done):
        raise typer.Exit(3)


def _show_prediction(prediction: Prediction) -> None:
    from rich.table import Table

    table = Table(title=prediction.path.name)
    for column in ("word", "area, px", "score"):
        table.add_column(column, justify="left" if column == "word" else "right")
    for row in prediction.document["classes"]:
        score = "-" if row["score"] is None else f"{row['score']:.3f}"
        table.add_row(row["word"], f"{row['area']:,}", score)
    show.table(table)
    show.note("wrote " + ", ".join(str(path) for path in prediction.files))


def _prediction_json(prediction: Prediction) -> dict[str, Any]:
    if prediction.error is not None:
        return {"image": str(prediction.path), "error": str(prediction.error)}
    return {**prediction.document, "files": [str(path) for path in prediction.files]}


def demo(
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for everything, new or empty. [default: runs/demo/cartoon-N]", show_default=False),
    ] = None,
    images: Annotated[int, typer.Option(min=20, help="Scenes to draw.")] = 240,
    iterations: Annotated[int, typer.Option(min=1, help="Training steps.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Of scenes and training.")] = 0,
) -> None:
    """See the whole chain work offline on a CPU in under three minutes.

    Draws cartoon scenes, prepares and splits them, trains PartCLIPSeg on the seen objects from the bundled start, and
    evaluates and predicts, also parts of objects of which no part was ever shown. It ends with demo.html.

    Example: **partseg demo**
    """
    from partseg_cli.cli.live import TrainProgress
    from partseg_cli.config.recipe import load_recipe
    from partseg_cli.pipeline import demo as story
    from partseg_cli.reports.tables import summary_table

    with TrainProgress(iterations, images=load_recipe("cartoon").train.batch_size) as steps:
        done = story.demo(
            out=out,
            images=images,
            iterations=iterations,
            seed=seed,
            on_stage=show.note,
            on_step=steps,
            track=show.track,
        )
    for name, evaluations in (("trained just now", done.evaluations), ("bundled nano", done.bundled)):
        for evaluation in evaluations:
            show.table(summary_table(evaluation.result, f"{name}: val, {evaluation.result.protocol}"))
    typer.echo(f"look at {done.page}")
