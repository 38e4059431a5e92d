"""`partseg evaluate` and `partseg merge`: predictions of labelled images -> scores, with files and pages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from partseg_cli.config.recipe import Recipe
from partseg_cli.data.predictions.reader import open_predictions
from partseg_cli.data.resolver import find_store, open_data
from partseg_cli.data.splits.split import Split, load_split
from partseg_cli.data.store import Store
from partseg_cli.errors import DataError, UsageError, did_you_mean
from partseg_cli.evaluation.bootstrap import ConfidenceIntervals, confidence_intervals
from partseg_cli.evaluation.boundary import RATIO
from partseg_cli.evaluation.counts import ConfusionTable
from partseg_cli.evaluation.evaluator import (
    EvalCounts,
    Evaluator,
    ImageCounts,
    evaluate_images,
    evaluate_label_maps,
    evaluate_spec,
)
from partseg_cli.evaluation.metrics import DEFAULT_RULE, ROUND_TRIP, EvalResult, compute_metrics, formula_of
from partseg_cli.evaluation.published_scores import compare_with_published, published_rows
from partseg_cli.evaluation.rules import RULES
from partseg_cli.evaluation.samples import SampleConfig
from partseg_cli.evaluation.shards import ShardResult, merge_shards, refuse_other_shard, write_shard
from partseg_cli.evaluation.spec import WHOLE, EvalSpec, LabelMaps, parse_shard
from partseg_cli.evaluation.thresholds import Thresholds, check_thresholds, parse_thresholds
from partseg_cli.inference.checkpoint_resolver import find_weights
from partseg_cli.inference.segmenter import Segmenter, load_segmenter
from partseg_cli.io.hashing import digest
from partseg_cli.io.journal import Journal, clear_journals
from partseg_cli.io.label_maps import write_label_map
from partseg_cli.io.paths import create_run_dir
from partseg_cli.io.versions import package_versions
from partseg_cli.models.checkpoints.checkpoint import checkpoint_file, read_header
from partseg_cli.reports.evaluation_page import Showcase, draw_worst_and_best, write_pages
from partseg_cli.reports.results import write_result
from partseg_cli.runtime.devices import InferenceConfig, plan_devices
from partseg_cli.runtime.launcher import launch
from partseg_cli.runtime.pool import Track, silent
from partseg_cli.runtime.process_group import SINGLE_PROCESS, ProcessGroup
from partseg_cli.vocabulary import Vocabulary

PREDICTIONS = "predictions"
"""Folder of predicted label maps in that of the results."""
ADVICE = "run again with fewer --gpus: what is counted is kept"

Log = Callable[[str], None]


@dataclass(frozen=True)
class EvaluateResult:
    """Result of an evaluation.

    Attributes:
        folder: Folder of the result files.
        result: Scores.
        about: What was evaluated, for reports.
        table: Counts of every sample.
        intervals: 95 % confidence intervals of the means; None without resampling.
        against: Comparison with published rows; None if not requested.
        thresholds: Least means, by metric and group.
    """

    folder: Path
    result: EvalResult
    about: dict[str, Any]
    table: ConfusionTable
    intervals: ConfidenceIntervals | None
    against: list[dict[str, Any]] | None = None
    thresholds: Thresholds | None = None

    def check_thresholds(self) -> None:
        """Compare the means with the thresholds.

        Raises:
            BoundError: A mean is below.
        """
        check_thresholds(self.result, self.thresholds or {})


def evaluate(
    spec: EvalSpec,
    *,
    checkpoint: Path | None = None,
    model: str | None = None,
    predictions: Path | None = None,
    name: str,
    out: Path | None = None,
    device: str = "auto",
    gpus: str | None = None,
    precision: str = "fp32",
    batch: int = 1,
    prompt_chunk: int | None = None,
    bootstrap_samples: int = 1000,
    against: str | None = None,
    fail_under: str | None = None,
    save_predictions: bool = False,
    report_images: int = 0,
    track: Track = silent,
    log: Log = lambda line: None,
) -> EvaluateResult | ShardResult | None:
    """Evaluate a checkpoint or the label maps of any model, resuming where a former run was interrupted.

    Args:
        spec: What is evaluated; of one of its shards only the counts are written.
        checkpoint: Weights file or run folder; for the choice without it see `find_checkpoint`.
        model: Name of a checkpoint.
        predictions: Folder or file of label maps, in place of a model; see `data.predictions`.
        name: Name of the run folder, unless `out`.
        out: Folder of the results.
        device: auto, cpu, cuda, cuda:N or mps.
        gpus: Devices of several processes: a number, "all", or a list such as "0,2".
        precision: "fp32", "bf16" or "fp16".
        batch: Images in one forward pass.
        prompt_chunk: Prompts per decoder pass; None chooses by device.
        bootstrap_samples: Number of bootstrap resamples for the intervals; 0 computes none.
        against: Published system to compare with.
        fail_under: Least means, such as "seen=40,recall.harmonic=30".
        save_predictions: Whether the predicted label maps are written too.
        report_images: Number of worst and of best images on the page, which are predicted again.
        track: Progress of the images.
        log: Callback for one-line status messages.

    Returns:
        The result, or that of the spec's shard; None in processes of torchrun other than the main one.
    """
    _check_exclusive(spec, predictions, checkpoint or model, against or fail_under)
    rows = published_rows(spec.store.info.name, spec.protocol, against) if against else None
    thresholds = parse_thresholds(fail_under) if fail_under else None
    plan = plan_devices(device, gpus)
    group, device_here = plan.process_group, plan.devices[0]
    if not plan.is_main:
        log = _ignore
    source = resolve_predictions(spec, checkpoint, model, predictions, log)
    if out is not None and spec.shard != WHOLE:
        refuse_other_shard(out, spec.shard)
    with group.connected(device_here):
        folder = group.broadcast(out or create_run_dir("evaluate", name) if group.is_main else Path())
        compute = InferenceConfig(device_here, precision, prompt_chunk, batch if source.maps is None else 1)
        job = EvalJob(spec, source, compute, folder, save_predictions, track)
        if done := len(job.journal):
            log(f"Resuming evaluation: {done}/{len(spec.keys)} images done")
        counts = launch(job, plan.devices, advice=ADVICE) if len(plan.devices) > 1 else job(group, device_here)
    if counts is None:
        return None
    about = describe(spec, source.about)
    if spec.shard != WHOLE:
        return _write_shard(job, counts, about, bootstrap_samples)
    draw = partial(draw_worst_and_best, spec, partial(job.open_evaluator, device_here), number=report_images)
    result = write_results(
        folder,
        counts.table,
        vocabulary=spec.vocabulary,
        protocol=spec.protocol,
        rule=spec.rule,
        about=about,
        bootstrap_samples=bootstrap_samples,
        draw=draw if report_images else None,
    )
    comparison = None if rows is None else compare_with_published(rows, result.result)
    return replace(result, against=comparison, thresholds=thresholds)


def evaluate_model(
    model: Segmenter,
    store: Store,
    split: Split,
    protocol: str,
    split_name: str = "val",
    group: ProcessGroup = SINGLE_PROCESS,
) -> EvalResult | None:
    """Score a loaded model, as training does at intervals; each process of a group counts a share.

    Returns:
        The scores in the main process, None in the others.
    """
    spec = EvalSpec(store, split, split_name, protocol, SampleConfig(store.info.sample))
    evaluator = partial(evaluate_images, model, spec, image_size=model.image_size)
    counts = evaluate_spec(spec, evaluator, batch=model.compute.batch, group=group)
    return None if counts is None else compute_metrics(counts.table, spec.vocabulary, protocol)


def merge(folders: Sequence[Path], out: Path | None = None) -> EvaluateResult:
    """Merge all shards of an evaluation into the files that one run writes; needs neither data nor model.

    Args:
        folders: Folders of the shards, in any order; paths in results.json are those of the first shard.
        out: Folder of the results.

    Raises:
        DataError: A shard is missing, doubled, broken, or of another evaluation.
    """
    trial, counts = merge_shards(folders)
    return write_results(
        out or create_run_dir("merge", str(trial["about"]["dataset"])),
        counts.table,
        vocabulary=Vocabulary.from_json(trial["vocabulary"]),
        protocol=trial["protocol"],
        rule=trial["rule"],
        about=trial["about"],
        bootstrap_samples=trial["draws"],
    )


def write_results(
    folder: Path,
    table: ConfusionTable,
    *,
    vocabulary: Vocabulary,
    protocol: str,
    rule: str,
    about: dict[str, Any],
    bootstrap_samples: int,
    draw: Callable[[ConfusionTable], Showcase] | None = None,
) -> EvaluateResult:
    """Compute all scores from counts, and write every file of results.

    Figures are written before `draw` predicts images for the page, which takes the longest.
    """
    result = compute_metrics(table, vocabulary, protocol, rule)
    intervals = None
    if bootstrap_samples:
        intervals = confidence_intervals(table, formula_of(rule), protocol, vocabulary.is_seen, bootstrap_samples)
    write_result(folder, result, about, intervals, table)
    write_pages(folder, result, about, intervals, table, vocabulary, draw(table) if draw else ((), ()))
    clear_journals(folder)
    return EvaluateResult(folder, result, about, table, intervals)


def build_eval_spec(
    recipe: Recipe | None,
    *,
    protocol: str,
    dataset: str | None = None,
    data_split: str | None = None,
    split_name: str = "val",
    rule: str = DEFAULT_RULE,
    samples: str | None = None,
    ratio: float = RATIO,
    limit: int | None = None,
    objects: Path | None = None,
    shard: str | None = None,
) -> EvalSpec:
    """Build the evaluation specification from the options of the command.

    Args:
        recipe: Recipe whose data are evaluated, unless `dataset`.
        protocol: "pred-all", "oracle-obj" or "pred-obj".
        dataset: Folder or name of a prepared dataset, with its published split unless `data_split`.
        data_split: File of `partseg split`, or "published".
        split_name: "train", "val", or "test" where the store has one.
        rule: One of `RULES`, or "ref-bug".
        samples: Unit of a sample; None takes the published one of the dataset.
        ratio: Width of the boundary band as a fraction of the image diagonal.
        limit: Number of images; None takes all.
        objects: Folder of object maps, for pred-obj.
        shard: "2/4" for the second of four shares of the images; None takes all.

    Raises:
        UsageError: An option is missing or out of range.
        DataError: There is no such dataset or split, or the rule does not apply to it.
    """
    if rule not in (known := [*RULES, ROUND_TRIP]):
        advice = did_you_mean(rule.lower(), known)
        raise UsageError(f"--rule must be one of {', '.join(known)}, got {rule!r}; {advice}")
    if not 0 < ratio <= 1:
        raise UsageError(f"--boundary-ratio must be above 0 and at most 1, got {ratio:g}; the usual one is {RATIO}")
    if limit is not None and limit < 1:
        raise UsageError(f"--limit must be >= 1, got {limit}")
    if (protocol == "pred-obj") != (objects is not None):
        raise UsageError(
            f"--objects DIR belongs to --protocol pred-obj, got {objects or 'none'} with {protocol}; give both or none"
        )
    part = parse_shard(shard) if shard else WHOLE
    if dataset is not None:
        store = find_store(dataset)
        split = load_split(store, data_split or "published")
    elif recipe is not None:
        data = recipe.data
        store, split = open_data(data.dataset, root=data.root, split=data_split or data.split)
    else:
        raise UsageError("evaluate needs a recipe or --dataset, got neither; name the data to score")
    if rule == ROUND_TRIP and store.info.sample == "image":
        raise DataError(
            f"{store.info.name}: {ROUND_TRIP} is for sets whose published targets are scaled, got one without"
        )
    config = SampleConfig(samples or store.info.sample, ratio, rule == ROUND_TRIP)
    return EvalSpec(store, split, split_name, protocol, config, rule, limit, objects, part)


@dataclass(frozen=True)
class PredictionSource:
    """Source of the predictions.

    Attributes:
        path: Path of a checkpoint or of label maps.
        about: Description for reports.
        digest: Digest of the weights, or of the names and sizes of the label maps' files.
        maps: Label maps; None for a checkpoint, which each process opens on its own device.
    """

    path: Path
    about: dict[str, Any]
    digest: str
    maps: LabelMaps | None = None


def resolve_predictions(
    spec: EvalSpec, checkpoint: Path | None, model: str | None, predictions: Path | None, log: Log
) -> PredictionSource:
    """Find the checkpoint or the label maps, without reading weights; arguments as in `evaluate`.

    Raises:
        CheckpointError: There are no such weights.
        DataError: There are no such label maps.
    """
    if predictions is not None:
        opened = open_predictions(predictions, spec.store, spec.keys)
        log(f"{predictions}: {opened.kind}")
        if opened.extra:
            log(f"{predictions}: {len(opened.extra)} files belong to no image evaluated, such as {opened.extra[0]}")
        about = {"predictions": str(predictions), "kind": opened.kind}
        return PredictionSource(predictions, about, _files_digest(predictions, with_times=False), opened.maps)
    path = checkpoint_file(find_weights(checkpoint, model, log))
    header = read_header(path)
    model_about = {"model": header.model["name"], "backbone": header.model["backbone"]}
    return PredictionSource(path, {**model_about, "checkpoint": str(path), "step": header.step}, header.digest)


def _files_digest(path: Path, *, with_times: bool) -> str:
    """Return a digest of the names and sizes, and optionally times, of a file or of all files in a folder."""
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    stats = [(file.relative_to(path).as_posix(), file.stat()) for file in files]
    rows = [(name, stat.st_size, stat.st_mtime_ns if with_times else 0) for name, stat in stats]
    return digest([repr(rows)])


@dataclass(frozen=True)
class EvalJob:
    """Evaluation of a spec in one or several processes; picklable.

    Attributes:
        spec: What is evaluated.
        source: Source of the predictions.
        compute: Settings of the model; each process has a device of its own.
        folder: Folder of results and journal.
        save_predictions: Whether the predicted label maps are written.
        track: Progress in the main process.
    """

    spec: EvalSpec
    source: PredictionSource
    compute: InferenceConfig
    folder: Path
    save_predictions: bool
    track: Track

    def __call__(self, group: ProcessGroup, device: torch.device) -> EvalCounts | None:
        """Count the share of a process; return the counts of all in the main one, None in the others."""
        with self.journal as journal:
            return evaluate_spec(
                self.spec,
                self.open_evaluator(device),
                batch=self.compute.batch,
                group=group,
                journal=journal,
                on_image=self._write_prediction if self.save_predictions else lambda counts: None,
                track=self.track if group.is_main else silent,
            )

    @property
    def journal(self) -> Journal:
        """Journal of the counts, by everything that decides them."""
        key = (
            self.spec.data_hash,
            self.spec.protocol,
            self.source.digest,
            _files_digest(self.source.path, with_times=True),
            _files_digest(self.spec.objects, with_times=True) if self.spec.objects else None,
            self.compute.device.type,
            self.compute.precision,
            self.compute.prompt_chunk,
            self.compute.batch,
            self.save_predictions,
            package_versions(),
        )
        return Journal(self.folder, key)

    def open_evaluator(self, device: torch.device) -> Evaluator:
        """Open the label maps, or load the model onto a device."""
        if self.source.maps is not None:
            return partial(evaluate_label_maps, self.source.maps, self.spec)
        model, _ = load_segmenter(self.source.path, replace(self.compute, device=device))
        objects = self.spec.object_maps()
        return partial(evaluate_images, model, self.spec, image_size=model.image_size, objects=objects)

    def _write_prediction(self, counts: ImageCounts) -> None:
        """Write the label map of an image, in 8 or 16 bits as `partseg predict` does."""
        path = self.folder / PREDICTIONS / f"{counts.image_id}.png"
        write_label_map(path, counts.prediction.numpy(), len(self.spec.vocabulary.pairs))


def describe(spec: EvalSpec, source: dict[str, Any]) -> dict[str, Any]:
    """Return what was evaluated, for reports, with a description of the source of the predictions."""
    return {
        "split": spec.split_name,
        "dataset": spec.store.info.name,
        "data_split": spec.split.rule,
        "data_hash": spec.data_hash,
        "train_images_for_unseen": len(spec.subsets[1].keys),
        **source,
        "samples": spec.sample_config.unit,
        "boundary_ratio": spec.sample_config.ratio,
        "images": len(spec.keys),
    }


def _write_shard(job: EvalJob, counts: EvalCounts, about: dict[str, Any], bootstrap_samples: int) -> ShardResult:
    """Write the counts of a shard, and what must be the same in all shards that are merged."""
    spec = job.spec
    trial = {
        "protocol": spec.protocol,
        "rule": spec.rule,
        "digest": job.source.digest,
        "batch": job.compute.batch,
        "precision": job.compute.precision,
        "draws": bootstrap_samples,
        "vocabulary": spec.vocabulary.to_json(),
        "about": about,
        "versions": package_versions(),
    }
    result = ShardResult(job.folder, spec.shard, trial, counts)
    write_shard(result)
    clear_journals(job.folder)
    return result


def _check_exclusive(
    spec: EvalSpec, predictions: Path | None, model: Path | str | None, needs_means: str | None
) -> None:
    """Refuse options that contradict each other."""
    if spec.shard != WHOLE and needs_means:
        raise UsageError(
            f"--against and --fail-under need means, which shard {spec.shard} does not have; use them without --shard"
        )
    if predictions and model:
        raise UsageError(
            f"--predictions and a model: give one of them, got {predictions} and {model}; leave out the other"
        )


def _ignore(line: str) -> None:
    """Drop a message, which the main process logs for all."""
