"""The command that scores: a checkpoint, or the label maps of any model."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from partseg_cli.cli import console as show
from partseg_cli.cli.options import (
    Batch,
    Checkpoint,
    Device,
    Gpus,
    Model,
    Overrides,
    Precision,
    PrecisionName,
    PromptChunk,
)
from partseg_cli.errors import UsageError

if TYPE_CHECKING:
    from partseg_cli.evaluation.shard_files import WrittenShard
    from partseg_cli.evaluation.verdict import Judge
    from partseg_cli.pipeline.evaluate import EvaluateResult


class ProtocolName(StrEnum):
    """What the model is told."""

    PRED_ALL = "pred-all"
    ORACLE_OBJ = "oracle-obj"
    PRED_OBJ = "pred-obj"


class SplitName(StrEnum):
    """Which images to score."""

    TRAIN = "train"
    VAL = "val"
    TEST = "test"


class SampleName(StrEnum):
    """What a test sample is."""

    OBJECT = "object"
    IMAGE = "image"
    INSTANCE = "instance"


def evaluate(
    recipe: Annotated[
        str | None,
        typer.Argument(help="A recipe file, or the name of a packaged one: its data are used.", show_default=False),
    ] = None,
    overrides: Overrides = None,
    checkpoint: Checkpoint = None,
    model: Model = None,
    predictions: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Score label maps of any model instead: label PNGs, .npz or .npy scores, or a COCO JSON of RLE masks.",
            show_default=False,
        ),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            metavar="DATASET",
            help="A prepared folder, or its name: in place of the recipe's data, also another data set.",
            show_default=False,
        ),
    ] = None,
    data_split: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="A file of partseg split. [default: the recipe's, with --dataset published]",
            show_default=False,
        ),
    ] = None,
    protocol: Annotated[
        ProtocolName,
        typer.Option(
            help="pred-all: told nothing. oracle-obj: told which object is there. pred-obj: told the --objects."
        ),
    ] = ProtocolName.PRED_ALL,
    objects: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="pred-obj: label PNGs of objects from another model, as partseg export --to png writes them.",
            show_default=False,
        ),
    ] = None,
    rule: Annotated[
        str,
        typer.Option(
            help="How pixels and classes count: ref-v2, full, partclipseg, ovparts, partcatseg; or ref-bug, "
            "partclipseg on targets that are scaled and back, as published."
        ),
    ] = "ref-v2",
    samples: Annotated[
        SampleName | None,
        typer.Option(help="What a test sample is. [default: as published for the data set]", show_default=False),
    ] = None,
    split: Annotated[
        SplitName, typer.Option(help="Which images to score; test: the data set's own, where it has one.")
    ] = SplitName.VAL,
    limit: Annotated[
        int | None, typer.Option(metavar="N", help="Score the first N photos alone.", show_default=False)
    ] = None,
    boundary_ratio: Annotated[float, typer.Option(help="Width of the boundary, as a share of the diagonal.")] = 0.02,
    bootstrap_samples: Annotated[
        int, typer.Option(min=0, help="Bootstrap resamples for the 95 % intervals of the means; 0: none.")
    ] = 1000,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Show published scores beside: partclipseg, clipseg, catseg, vlpart or zsseg.",
            show_default=False,
        ),
    ] = None,
    fail_under: Annotated[
        str | None,
        typer.Option(metavar="BOUNDS", help='Exit 6 where a mean is below: "seen=40,harmonic=30".', show_default=False),
    ] = None,
    save_predictions: Annotated[
        bool, typer.Option("--save-predictions", help="Write the predicted label maps too.")
    ] = False,
    pictures: Annotated[
        int, typer.Option(min=0, help="The page shows so many of the worst photos, and of the best, predicted anew.")
    ] = 4,
    out: Annotated[
        Path | None, typer.Option(help="Folder for results. [default: runs/evaluate/RECIPE-N]", show_default=False)
    ] = None,
    device: Device = "auto",
    gpus: Gpus = None,
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="I/N",
            help="Count each N-th group of photos alone, from the I-th; partseg merge puts the shards together.",
            show_default=False,
        ),
    ] = None,
    precision: Precision = PrecisionName.FP32,
    batch: Batch = 1,
    prompt_chunk: PromptChunk = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")] = False,
) -> None:
    """Score a checkpoint, or the label maps of any model, under every counting rule.

    Means of seen and unseen pairs and their harmonic mean: IoU, true Boundary IoU, recall, precision, with 95 %
    intervals. Writes results.json, .csv, .md and .html, and counts.npz, which **partseg compare** reads.

    Example: **partseg evaluate recipes/tiny.yaml --checkpoint runs/train/tiny-1 --protocol oracle-obj**

    Any model: **partseg evaluate --predictions maps --dataset pascal-part-116**

    An evaluation that was stopped goes on with the same --out. Any number of processes gives the same bits.
    """
    from partseg_cli.config.recipe import load_recipe
    from partseg_cli.evaluation.evaluator import resolve_predictions
    from partseg_cli.evaluation.spec import build_eval_spec
    from partseg_cli.evaluation.verdict import appoint
    from partseg_cli.pipeline import evaluate as story
    from partseg_cli.runtime.devices import build_inference_config, plan_devices

    trial = build_eval_spec(
        load_recipe(recipe, overrides or []) if recipe else None,
        dataset=dataset,
        data_split=data_split,
        split_name=split.value,
        protocol=protocol.value,
        rule=rule,
        samples=samples and samples.value,
        ratio=boundary_ratio,
        limit=limit,
        objects=objects,
        shard=shard,
    )
    _refuse_together(shard, against or fail_under, predictions, checkpoint or model)
    judge = appoint(trial, against, fail_under)
    plan = plan_devices(device, gpus)
    log = show.note if plan.is_main else _ignore
    done = story.evaluate_everywhere(
        trial,
        resolve_predictions(trial, checkpoint, model, predictions, log),
        plan=plan,
        name=Path(recipe).stem if recipe else trial.store.info.name,
        out=out,
        compute=build_inference_config(str(plan.devices[0]), precision.value, prompt_chunk, batch),
        bootstrap_samples=bootstrap_samples,
        save=save_predictions,
        pictures=pictures,
        track=show.track,
        log=log,
    )
    _show(done, judge, as_json)


def _refuse_together(shard: str | None, judged: str | None, predictions: Path | None, model: Path | str | None) -> None:
    """Refuse options that do not go together."""
    if shard and judged:
        raise UsageError(
            f"--against and --fail-under need means, which shard {shard} does not have; ask for them of the whole"
        )
    if predictions and model:
        raise UsageError(
            f"--predictions and a model: give one of them, got {predictions} and {model}; "
            "leave out what is not to be scored"
        )


def _show(done: EvaluateResult | WrittenShard | None, judge: Judge, as_json: bool) -> None:
    """Show what came out, a shard or the whole; processes other than the first have nothing to show."""
    from partseg_cli.evaluation.shard_files import WrittenShard

    if isinstance(done, WrittenShard):
        _show_shard(done, as_json)
    elif done is not None:
        show_result(done, judge.beside(done.result), as_json)
        judge.check(done.result)


def show_result(done: EvaluateResult, beside: list[dict[str, Any]] | None, as_json: bool) -> None:
    """Show an evaluation that is done, and the published rows that are asked for."""
    from partseg_cli.reports import tables
    from partseg_cli.reports.results import FILES, result_json

    if as_json:
        document = result_json(done.result, done.about, done.bounds)
        show.document(document if beside is None else {**document, "against": beside})
    else:
        show.table(tables.class_table(done.result))
        show.table(tables.summary_table(done.result, f"{done.about['dataset']}, {done.about['split']}", done.bounds))
        if done.result.rules:
            show.table(tables.rules_table(done.result))
        if beside is not None:
            show.table(tables.published_table(beside))
    show.note(f"{done.folder}: {', '.join(FILES)}")


def _show_shard(done: WrittenShard, as_json: bool) -> None:
    if as_json:
        show.document(done.document)
    show.note(f"{done.folder}: shard {done.document['shard']}, {done.document['images_counted']:,} photos")
    show.note("means need all photos: put all shards together with partseg merge")


def _ignore(line: str) -> None:
    """Tell nothing: the first process tells for all."""
