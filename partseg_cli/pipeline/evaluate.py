"""`partseg evaluate`: a checkpoint, or label maps of any model, and labelled photos -> scores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from partseg_cli.data.splits.split import Split
from partseg_cli.data.store import Store
from partseg_cli.evaluation.bootstrap import intervals
from partseg_cli.evaluation.confusion_table import ConfusionTable
from partseg_cli.evaluation.evaluator import (
    Log,
    PredictionSource,
    by_model,
    count_everywhere,
    open_job,
    resolve_predictions,
)
from partseg_cli.evaluation.metrics import EvalResult, compute_metrics, formula_of
from partseg_cli.evaluation.samples import SampleConfig
from partseg_cli.evaluation.shard_files import WrittenShard, refuse_other_shard, write_shard
from partseg_cli.evaluation.shards import WHOLE
from partseg_cli.evaluation.spec import EvalSpec
from partseg_cli.evaluation.tally import count_trial, gather_counts
from partseg_cli.inference.segmenter import Segmenter
from partseg_cli.io.journal import clear_journals
from partseg_cli.io.paths import create_run_dir
from partseg_cli.reports.evaluation_page import Showcase, draw_worst_and_best, write_pages
from partseg_cli.reports.results import write_result
from partseg_cli.runtime.devices import DevicePlan, InferenceConfig
from partseg_cli.runtime.pool import Track, silent
from partseg_cli.runtime.process_group import SINGLE_PROCESS, ProcessGroup
from partseg_cli.vocabulary import Vocabulary


@dataclass(frozen=True)
class EvaluateResult:
    """An evaluation that is done.

    Attributes:
        folder: with the results.
        result: the scores.
        about: what was evaluated, for reports.
        table: the counts of every sample.
        bounds: 95 % intervals of the means by resampling photos: metric -> group -> (low, high); None: not asked.
    """

    folder: Path
    result: EvalResult
    about: dict[str, Any]
    table: ConfusionTable
    bounds: dict[str, dict[str, tuple[float, float] | None]] | None


Draw = Callable[[ConfusionTable], Showcase]
"""Draws the photos of the page."""


def evaluate(
    trial: EvalSpec,
    *,
    checkpoint: Path | None = None,
    model: str | None = None,
    predictions: Path | None = None,
    name: str,
    out: Path | None = None,
    compute: InferenceConfig,
    bootstrap_samples: int = 1000,
    save: bool = False,
    track: Track = silent,
    log: Log = lambda line: None,
) -> EvaluateResult:
    """Score a checkpoint, or label maps that are there already, in this process.

    Which checkpoint `checkpoint` and `model` mean is told in `find_checkpoint`; its model and switches are its own.

    Args:
        trial: what is tested, and how.
        checkpoint: a file of weights or a run's folder.
        model: the name of weights.
        predictions: a folder or file of label maps, in place of a model; see `data.predictions`.
        name: of the run's folder, unless `out`.
        out: folder of the results.
        compute: where the model runs.
        bootstrap_samples: Number of bootstrap resamples for the intervals; 0 computes none.
        save: whether the predicted maps are written too.
        track: shows progress.
        log: Callback for one-line status messages.
    """
    source = resolve_predictions(trial, checkpoint, model, predictions, log)
    job = open_job(trial, source, compute, out or create_run_dir("evaluate", name), save=save, track=track, log=log)
    return finish(trial, job.count(SINGLE_PROCESS, compute.device).table, source.about, job.folder, bootstrap_samples)


def evaluate_everywhere(
    trial: EvalSpec,
    source: PredictionSource,
    *,
    compute: InferenceConfig,
    plan: DevicePlan,
    name: str,
    out: Path | None = None,
    bootstrap_samples: int = 1000,
    save: bool = False,
    pictures: int = 0,
    track: Track = silent,
    log: Log = lambda line: None,
) -> EvaluateResult | WrittenShard | None:
    """Score as `evaluate`, in all processes of a plan; of a trial's shard write the counts alone.

    The page shows `pictures` of the worst photos, and as many of the best, which are predicted once more.

    Returns:
        None in processes of torchrun other than the first, which have nothing to tell.
    """
    if out is not None and trial.shard != WHOLE:
        refuse_other_shard(out, trial.shard)
    job, tally = count_everywhere(
        trial, source, compute=compute, plan=plan, out=out, name=name, save=save, track=track, log=log
    )
    if tally is None:
        return None
    if trial.shard == WHOLE:
        draw = partial(draw_worst_and_best, job, device=plan.devices[0], number=pictures) if pictures else None
        return finish(trial, tally.table, source.about, job.folder, bootstrap_samples, draw)
    shard = write_shard(job, tally, describe(trial, source.about), bootstrap_samples)
    clear_journals(job.folder)
    return shard


def score(
    model: Segmenter,
    store: Store,
    split: Split,
    protocol: str,
    split_name: str = "val",
    group: ProcessGroup = SINGLE_PROCESS,
) -> EvalResult | None:
    """Score a model, as training does now and then; of several connected processes each counts a share.

    Returns:
        None in processes other than the first.
    """
    trial = EvalSpec(store, split, split_name, protocol, SampleConfig(store.info.sample))
    whole = gather_counts(count_trial(trial, by_model(model, trial), group=group), group)
    return None if whole is None else compute_metrics(whole.table, trial.vocabulary, protocol)


def finish(
    trial: EvalSpec,
    table: ConfusionTable,
    about: dict[str, Any],
    folder: Path,
    bootstrap_samples: int,
    draw: Draw | None = None,
) -> EvaluateResult:
    """Turn the counts of a trial into scores, and write all results into the folder."""
    return conclude(
        trial.vocabulary, trial.protocol, trial.rule, table, describe(trial, about), folder, bootstrap_samples, draw
    )


def describe(trial: EvalSpec, about: dict[str, Any]) -> dict[str, Any]:
    """Say what was tested; `about` says what predicted."""
    return {
        "split": trial.split_name,
        "dataset": trial.store.info.name,
        "data_split": trial.split.rule,
        "data_hash": trial.data_hash,
        "train_images_for_unseen": len(trial.parts[1][0]),
        **about,
        "samples": trial.counting.kind,
        "boundary_ratio": trial.counting.ratio,
        "images": len(trial.keys),
    }


def conclude(
    vocabulary: Vocabulary,
    protocol: str,
    rule: str,
    table: ConfusionTable,
    about: dict[str, Any],
    folder: Path,
    bootstrap_samples: int,
    draw: Draw | None = None,
) -> EvaluateResult:
    """Turn counts into scores, and write all results into the folder: only `draw` needs data and a model.

    Figures are written before photos are drawn for the page, which takes the longest.
    """
    result = compute_metrics(table, vocabulary, protocol, rule)
    bounds = None
    if bootstrap_samples:
        bounds = intervals(table, formula_of(rule), protocol, vocabulary.is_seen, bootstrap_samples=bootstrap_samples)
    write_result(folder, result, about, bounds, table)
    write_pages(folder, result, about, bounds, table, vocabulary, draw(table) if draw else ((), ()))
    clear_journals(folder)
    return EvaluateResult(folder, result, about, table, bounds)
