"""Commands about models: predict, demo."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from partseg_cli.cli import console
from partseg_cli.cli.options import Batch, Checkpoint, Device, Model, Precision, PrecisionName, PromptChunk

if TYPE_CHECKING:
    from partseg_cli.pipeline.predict import Prediction


def predict(
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Images, folders of images, or patterns.")],
    vocab: Annotated[
        list[str],
        typer.Option(
            help='Parts or objects: "cat\'s ear", "cat", "ear"; repeated, comma-separated, or in a .txt or .yaml file.',
            show_default=False,
        ),
    ] = ...,  # type: ignore[assignment]
    checkpoint: Checkpoint = None,
    model: Model = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the results. [default: runs/predict/photos-N]", show_default=False)
    ] = None,
    context: Annotated[
        str,
        typer.Option(help="Unnamed parts that compete: auto (the object's others), none, or a file of pairs."),
    ] = "auto",
    device: Device = "auto",
    precision: Precision = PrecisionName.FP32,
    batch: Batch = 1,
    prompt_chunk: PromptChunk = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a table.")] = False,
) -> None:
    """Segment the named parts in images.

    Writes for each image an overlay with a legend, a label PNG (value = position in the vocabulary, 255 = none) and a
    JSON with areas, scores and RLE masks. Parts of an object that are not named compete silently, so that one part
    does not fill its object.

    Without other weights the bundled model nano is used, which is trained on cartoons, not photos.

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
        log=console.note,
    )
    for line in predictor.query.notes:
        console.note(line)
    if predictor.warning:
        console.note(f"warning: {predictor.warning}")
    done = []
    for prediction in pipeline.predict(predictor, images, out):
        done.append(prediction)
        if prediction.error is not None:
            console.note(f"error: {prediction.error}")
        elif not as_json:
            _show_prediction(prediction)
    if as_json:
        console.document({"predictions": [_prediction_json(prediction) for prediction in done]})
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
    console.table(table)
    console.note("wrote " + ", ".join(str(path) for path in prediction.files))


def _prediction_json(prediction: Prediction) -> dict[str, Any]:
    if prediction.error is not None:
        return {"image": str(prediction.path), "error": str(prediction.error)}
    return {**prediction.document, "files": [str(path) for path in prediction.files]}


def demo(
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of all results, new or empty. [default: runs/demo/cartoon-N]", show_default=False),
    ] = None,
    images: Annotated[int, typer.Option(min=20, help="Number of scenes to draw.")] = 240,
    iterations: Annotated[int, typer.Option(min=1, help="Number of training steps.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Seed of scenes and training.")] = 0,
) -> None:
    """Run the whole chain offline on a CPU in under three minutes.

    Draws cartoon scenes, prepares and splits them, trains PartCLIPSeg on the seen objects from the bundled start,
    evaluates and predicts, also parts of objects without any training label. Writes demo.html.

    Example: **partseg demo**
    """
    from partseg_cli.cli.live import TrainProgress
    from partseg_cli.config.recipe import load_recipe
    from partseg_cli.pipeline import demo as pipeline
    from partseg_cli.reports.tables import summary_table

    with TrainProgress(iterations, images=load_recipe("cartoon").train.batch_size) as steps:
        done = pipeline.demo(
            out=out,
            images=images,
            iterations=iterations,
            seed=seed,
            on_stage=console.note,
            on_step=steps,
            track=console.track,
        )
    for name, evaluations in (("trained just now", done.evaluations), ("bundled nano", done.bundled)):
        for evaluation in evaluations:
            console.table(summary_table(evaluation.result, f"{name}: val, {evaluation.result.protocol}"))
    typer.echo(f"look at {done.page}")
