"""Commands `evaluate` and `merge`: score a checkpoint or the label maps of any model; merge shards."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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

if TYPE_CHECKING:
    from partseg_cli.evaluation.shards import ShardResult
    from partseg_cli.pipeline.evaluate import EvaluateResult


class ProtocolName(StrEnum):
    """Evaluation protocols."""

    PRED_ALL = "pred-all"
    ORACLE_OBJ = "oracle-obj"
    PRED_OBJ = "pred-obj"


class SplitName(StrEnum):
    """Splits of a dataset."""

    TRAIN = "train"
    VAL = "val"
    TEST = "test"


class SampleName(StrEnum):
    """Units of a test sample."""

    OBJECT = "object"
    IMAGE = "image"
    INSTANCE = "instance"


def evaluate(
    recipe: Annotated[
        str | None,
        typer.Argument(help="Recipe file or name of a packaged recipe, whose data are scored.", show_default=False),
    ] = None,
    overrides: Overrides = None,
    checkpoint: Checkpoint = None,
    model: Model = None,
    predictions: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Label maps of any model to score instead: label PNGs, .npz or .npy scores, or COCO JSON of RLEs.",
            show_default=False,
        ),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            metavar="DATASET",
            help="Folder or name of a prepared dataset, in place of the recipe's data.",
            show_default=False,
        ),
    ] = None,
    data_split: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="File of partseg split. [default: the recipe's; with --dataset the published split]",
            show_default=False,
        ),
    ] = None,
    protocol: Annotated[
        ProtocolName,
        typer.Option(
            help="pred-all: no hint. oracle-obj: the labelled object is given. pred-obj: --objects are given."
        ),
    ] = ProtocolName.PRED_ALL,
    objects: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Object label PNGs of another model for pred-obj, as partseg export --to png writes them.",
            show_default=False,
        ),
    ] = None,
    rule: Annotated[
        str,
        typer.Option(
            help="Counting rule: ref-v2, full, partclipseg, ovparts or partcatseg; ref-bug is partclipseg on targets "
            "that are scaled and back, as published."
        ),
    ] = "ref-v2",
    samples: Annotated[
        SampleName | None,
        typer.Option(help="Unit of a test sample. [default: as published for the dataset]", show_default=False),
    ] = None,
    split: Annotated[
        SplitName, typer.Option(help="Split to score; test needs a dataset that has one.")
    ] = SplitName.VAL,
    limit: Annotated[
        int | None,
        typer.Option(metavar="N", help="Number of images, the first ones. [default: all]", show_default=False),
    ] = None,
    boundary_ratio: Annotated[
        float, typer.Option(help="Width of the boundary band as a fraction of the image diagonal.")
    ] = 0.02,
    bootstrap_samples: Annotated[
        int,
        typer.Option(min=0, help="Number of bootstrap resamples for the 95 % confidence intervals; 0 computes none."),
    ] = 1000,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Published system to compare with: partclipseg, clipseg, catseg, vlpart or zsseg.",
            show_default=False,
        ),
    ] = None,
    fail_under: Annotated[
        str | None,
        typer.Option(
            metavar="THRESHOLDS",
            help='Least means in percent, such as "seen=40,harmonic=30"; exit 6 if one is missed.',
            show_default=False,
        ),
    ] = None,
    save_predictions: Annotated[
        bool, typer.Option("--save-predictions", help="Write the predicted label maps.")
    ] = False,
    pictures: Annotated[int, typer.Option(min=0, help="Number of best and worst images in the HTML report.")] = 4,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the results. [default: runs/evaluate/RECIPE-N]", show_default=False)
    ] = None,
    device: Device = "auto",
    gpus: Gpus = None,
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="I/N",
            help="Score every N-th batch from the I-th; partseg merge joins the shards.",
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

    An interrupted evaluation resumes with the same --out. Any number of processes gives the same bits.
    """
    from partseg_cli.config.recipe import load_recipe
    from partseg_cli.pipeline import evaluate as pipeline

    spec = pipeline.build_eval_spec(
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
    result = pipeline.evaluate(
        spec,
        checkpoint=checkpoint,
        model=model,
        predictions=predictions,
        name=Path(recipe).stem if recipe else spec.store.info.name,
        out=out,
        device=device,
        gpus=gpus,
        precision=precision.value,
        batch=batch,
        prompt_chunk=prompt_chunk,
        bootstrap_samples=bootstrap_samples,
        against=against,
        fail_under=fail_under,
        save_predictions=save_predictions,
        report_images=pictures,
        track=show.track,
        log=show.note,
    )
    if isinstance(result, pipeline.EvaluateResult):
        _show_result(result, as_json)
        result.check_thresholds()
    elif result is not None:
        _show_shard(result, as_json)


def merge(
    shards: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Folders of all shards, in any order.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder of the results. [default: runs/merge/DATASET-N]", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")] = False,
) -> None:
    """Merge the shards of an evaluation, as if one machine had evaluated all images.

    Each machine of a cluster runs **partseg evaluate --shard I/N --out DIR**. Merging writes the same files as a run
    without shards, and needs neither data nor model.

    Example: **partseg merge shards/1 shards/2 shards/3 --out results**
    """
    from partseg_cli.pipeline import evaluate as pipeline

    _show_result(pipeline.merge(shards, out), as_json)


def _show_result(result: EvaluateResult, as_json: bool) -> None:
    """Print the scores, with the published ones if requested."""
    from partseg_cli.reports import tables
    from partseg_cli.reports.results import FILES, result_json

    if as_json:
        document = result_json(result.result, result.about, result.intervals)
        show.document(document if result.against is None else {**document, "against": result.against})
    else:
        title = f"{result.about['dataset']}, {result.about['split']}"
        show.table(tables.class_table(result.result))
        show.table(tables.summary_table(result.result, title, result.intervals))
        if result.result.rules:
            show.table(tables.rules_table(result.result))
        if result.against is not None:
            show.table(tables.published_table(result.against))
    show.note(f"{result.folder}: {', '.join(FILES)}")


def _show_shard(result: ShardResult, as_json: bool) -> None:
    """Print what was counted, and how it becomes a result."""
    if as_json:
        show.document(result.to_json())
    show.note(f"{result.folder}: shard {result.shard}, {result.counts.images:,} images")
    show.note("means need all images: merge all shards with partseg merge")
