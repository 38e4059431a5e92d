"""Commands about models: train, evaluate, predict, demo."""

from __future__ import annotations

import shlex
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from partseg_cli.cli import show

if TYPE_CHECKING:
    from partseg_cli.evaluators.runner import Result
    from partseg_cli.pipeline.predict import Prediction

Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]


class PrecisionName(StrEnum):
    """In what the model computes."""

    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"


Precision = Annotated[
    PrecisionName,
    typer.Option(
        help="fp32: the published numbers. bf16, fp16: faster on a GPU; labels change where scores are close."
    ),
]
PromptChunk = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="Prompts that the decoder takes at once: fewer take less memory. [default: what suits the device]",
        show_default=False,
    ),
]
Checkpoint = Annotated[
    Path | None,
    typer.Option(
        help="A .safetensors checkpoint or a run folder. [default: the one in $PARTSEG_WEIGHTS or the user's cache]",
        show_default=False,
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Name of a checkpoint in $PARTSEG_WEIGHTS or the user's cache; clipseg-rd64-refined is fetched.",
        show_default=False,
    ),
]
Batch = Annotated[int, typer.Option(min=1, metavar="N", help="Photos in one forward pass.")]


class ProtocolName(StrEnum):
    """What the model is told."""

    PRED_ALL = "pred-all"
    ORACLE_OBJ = "oracle-obj"


class SplitName(StrEnum):
    """Which images to score."""

    TRAIN = "train"
    VAL = "val"


def train(
    recipe: Annotated[str, typer.Argument(help="A recipe file, or the name of a packaged one.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[SECTION.KEY=VALUE]...", help="Keys of the recipe to change.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Run folder, new or empty. [default: runs/train/RECIPE-N]", show_default=False),
    ] = None,
    device: Device = "auto",
    gpus: Annotated[
        str | None,
        typer.Option(help="Devices: a number, all, or a list such as 0,2. This version trains on one.", metavar="N"),
    ] = None,
) -> None:
    """Train a model by a recipe.

    The run folder holds recipe.yaml, env.json, metrics.jsonl and checkpoints/.

    Example: **partseg train recipes/tiny.yaml data.root=data/pascal-part-116 train.iterations=200**
    """
    from partseg_cli.pipeline import train as story
    from partseg_cli.recipe import load_recipe

    loaded = load_recipe(recipe, overrides or [])
    with show.Steps(loaded.train.iterations) as steps:
        trained = story.train(
            loaded,
            out=out,
            device=device,
            gpus=gpus,
            command=shlex.join(["partseg", *sys.argv[1:]]),
            on_start=lambda folder, images: show.note(f"{folder}: training on {images:,} images"),
            on_step=steps,
            on_score=_note_score,
        )
    if loaded.train.select == "best":
        show.note("the checkpoint was picked on val; where val is the test set, its score there is optimistic")
    typer.echo(str(trained.checkpoint))


def _note_score(step: int, result: Result) -> None:
    means = " ".join(f"{name} {'-' if mean is None else f'{mean:.2f}'}" for name, mean in result.miou.items())
    show.note(f"step {step}: val {result.protocol} mIoU {means}")


def evaluate(
    recipe: Annotated[str, typer.Argument(help="A recipe file, or the name of a packaged one: its data is used.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[SECTION.KEY=VALUE]...", help="Keys of the recipe to change.")
    ] = None,
    checkpoint: Checkpoint = None,
    model: Model = None,
    protocol: Annotated[
        ProtocolName, typer.Option(help="pred-all: told nothing. oracle-obj: told which object is there.")
    ] = ProtocolName.PRED_ALL,
    split: Annotated[SplitName, typer.Option(help="Which images to score.")] = SplitName.VAL,
    per_image: Annotated[
        bool,
        typer.Option("--per-image", help="oracle-obj: tell all objects of a photo at once, not one after the other."),
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder for results. [default: runs/evaluate/RECIPE-N]", show_default=False)
    ] = None,
    device: Device = "auto",
    precision: Precision = PrecisionName.FP32,
    batch: Batch = 1,
    prompt_chunk: PromptChunk = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")] = False,
) -> None:
    """Score a checkpoint: mIoU and recall of seen and unseen pairs, and their harmonic mean.

    Counting rule `ref-v2`: only pixels with a labelled part count, and means run over the pairs that have some.
    Writes results.json and results.csv.

    Example: **partseg evaluate recipes/tiny.yaml --checkpoint runs/train/tiny-1 --protocol oracle-obj**
    """
    from partseg_cli import report
    from partseg_cli.pipeline import evaluate as story
    from partseg_cli.pipeline.models import choose_compute
    from partseg_cli.recipe import load_recipe

    done = story.evaluate(
        load_recipe(recipe, overrides or []),
        checkpoint=checkpoint,
        model=model,
        protocol=protocol.value,
        split=split.value,
        per_image=per_image,
        out=out,
        compute=choose_compute(device, precision.value, prompt_chunk, batch),
        track=show.track,
        tell=show.note,
    )
    if as_json:
        show.document(report.result_json(done.result, done.about))
    else:
        show.table(report.class_table(done.result))
        show.table(report.summary_table(done.result, f"{done.about['dataset']}, {split.value}"))
    show.note(f"{done.folder}: results.json, results.csv")


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
    allow_random: Annotated[
        bool, typer.Option("--allow-random", help="Without weights, try the command with a random model.")
    ] = False,
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

    Example: **partseg predict cat.jpg --vocab "cat's ear" --vocab "cat's tail" --checkpoint runs/train/tiny-1**
    """
    from partseg_cli.pipeline import predict as story
    from partseg_cli.pipeline.models import choose_compute

    compute = choose_compute(device, precision.value, prompt_chunk, batch)
    predictor = story.open_predictor(
        vocab,
        checkpoint=checkpoint,
        model=model,
        context=context,
        allow_random=allow_random,
        compute=compute,
        tell=show.note,
    )
    for line in predictor.query.notes:
        show.note(line)
    if predictor.is_random:
        show.note(f"warning: {story.RANDOM_WARNING}")
    done = []
    for prediction in story.predict(predictor, photos, out):
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

    table = Table(title=prediction.photo.name)
    for column in ("word", "area, px", "score"):
        table.add_column(column, justify="left" if column == "word" else "right")
    for row in prediction.document["classes"]:
        score = "-" if row["score"] is None else f"{row['score']:.3f}"
        table.add_row(row["word"], f"{row['area']:,}", score)
    show.table(table)
    show.note("wrote " + ", ".join(str(path) for path in prediction.files))


def _prediction_json(prediction: Prediction) -> dict[str, Any]:
    if prediction.error is not None:
        return {"image": str(prediction.photo), "error": str(prediction.error)}
    return {**prediction.document, "files": [str(path) for path in prediction.files]}


def demo(
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for everything, new or empty. [default: runs/demo/cartoon-N]", show_default=False),
    ] = None,
    images: Annotated[int, typer.Option(min=20, help="Scenes to draw.")] = 60,
    iterations: Annotated[int, typer.Option(min=1, help="Training steps.")] = 1100,
    seed: Annotated[int, typer.Option(min=0, help="Of scenes and training.")] = 0,
) -> None:
    """See the whole chain work offline on a CPU in under three minutes.

    Draws cartoon scenes, prepares and splits them, trains a tiny random model on the seen objects, evaluates and
    predicts. No pre-trained CLIP is behind the model, so it finds some large parts, and unseen objects hardly at all.

    Example: **partseg demo**
    """
    from partseg_cli.pipeline import demo as story
    from partseg_cli.report import class_table, summary_table

    with show.Steps(iterations) as steps:
        done = story.demo(
            out=out,
            images=images,
            iterations=iterations,
            seed=seed,
            on_stage=show.note,
            on_step=steps,
            track=show.track,
        )
    show.table(class_table(done.evaluations[0].result))
    for evaluation in done.evaluations:
        show.table(summary_table(evaluation.result, f"cartoon-part, val, {evaluation.result.protocol}"))
    for picture in done.pictures:
        typer.echo(f"look at {picture}")
