"""What predicts, a checkpoint or label maps that are there already, and the counting of a trial with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from partseg_cli.data.predictions.reader import open_predictions
from partseg_cli.data.record import RecordKey
from partseg_cli.evaluation.runner import ImageCounts, Maps, evaluate_images, evaluate_label_maps
from partseg_cli.evaluation.spec import EvalSpec
from partseg_cli.evaluation.tally import Count, Tally, count_trial, gather_counts
from partseg_cli.inference.checkpoint_resolver import find_weights
from partseg_cli.inference.segmenter import Segmenter, load_segmenter
from partseg_cli.io.hashing import digest
from partseg_cli.io.journal import Journal
from partseg_cli.io.label_maps import write_label_map
from partseg_cli.io.paths import create_run_dir
from partseg_cli.io.versions import package_versions
from partseg_cli.models.checkpoints.checkpoint import checkpoint_file, read_header
from partseg_cli.runtime.devices import DevicePlan, InferenceConfig
from partseg_cli.runtime.launcher import launch
from partseg_cli.runtime.pool import Track, silent
from partseg_cli.runtime.process_group import ProcessGroup

SAVED = "predictions"
Log = Callable[[str], None]


@dataclass(frozen=True)
class PredictionSource:
    """What predicts.

    Attributes:
        path: of a checkpoint, or of label maps.
        about: what reports say of it.
        digest: of the weights, or of the names and sizes of the maps' files.
        maps: gives the label maps; None for a checkpoint, which each process opens on its own device.
    """

    path: Path
    about: dict[str, Any]
    digest: str
    maps: Maps | None = None

    @property
    def is_model(self) -> bool:
        """Whether it is a checkpoint."""
        return self.maps is None


def resolve_predictions(
    trial: EvalSpec, checkpoint: Path | None, model: str | None, predictions: Path | None, log: Log
) -> PredictionSource:
    """Find out what predicts, without reading weights; see `evaluate`.

    Raises:
        CheckpointError: there are no such weights.
        DataError: there are no such maps.
    """
    if predictions is not None:
        return _maps(predictions, trial, log)
    path = checkpoint_file(find_weights(checkpoint, model, log))
    header = read_header(path)
    about = {
        "model": header.model["name"],
        "backbone": header.model["backbone"],
        "checkpoint": str(path),
        "step": header.step,
    }
    return PredictionSource(path, about, header.digest)


def _maps(source: Path, trial: EvalSpec, log: Log) -> PredictionSource:
    opened = open_predictions(source, trial.store, trial.keys)
    log(f"{source}: {opened.kind}")
    if opened.extra:
        log(f"{source}: {len(opened.extra)} files belong to no photo that is tested, such as {opened.extra[0]}")
    about = {"predictions": str(source), "kind": opened.kind}
    return PredictionSource(source, about, _digest(source, times=False), opened.maps)


def _digest(path: Path, *, times: bool) -> str:
    """Give a digest of the names and sizes, and on request times, of a file or of all files in a folder."""
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    rows = []
    for file in files:
        stat = file.stat()
        rows.append((file.relative_to(path).as_posix(), stat.st_size, stat.st_mtime_ns if times else 0))
    return digest([repr(rows)])


def by_model(model: Segmenter, trial: EvalSpec) -> Count:
    """Let a model predict."""
    objects = trial.object_maps()
    return lambda keys, scored: evaluate_images(
        model,
        trial.store,
        keys,
        trial.vocabulary,
        protocol=trial.protocol,
        counting=trial.counting,
        image_size=model.image_size,
        batch=model.compute.batch,
        scored=scored,
        objects=objects,
    )


def _by_maps(maps: Maps, trial: EvalSpec) -> Count:
    """Read maps that are there already."""

    def count(keys: Sequence[RecordKey], scored: Sequence[bool] | None) -> Iterator[ImageCounts]:
        return evaluate_label_maps(maps, trial.store, keys, trial.vocabulary, counting=trial.counting, scored=scored)

    return count


@dataclass(frozen=True)
class Job:
    """The counting of a trial, for this process or to be handed to several.

    Attributes:
        trial: what is tested.
        source: what predicts.
        compute: how; each process has a device of its own.
        folder: where what is counted is kept until all is.
        save: whether the predicted maps are written there too.
        decides: all that decides the counts.
        track: shows progress.
    """

    trial: EvalSpec
    source: PredictionSource
    compute: InferenceConfig
    folder: Path
    save: bool
    decides: tuple[Any, ...]
    track: Track

    @property
    def journal(self) -> Journal:
        """A journal of what is counted."""
        return Journal(self.folder, self.decides)

    def predictor(self, device: torch.device) -> Count:
        """Open what predicts."""
        if self.source.maps is not None:
            return _by_maps(self.source.maps, self.trial)
        return by_model(load_segmenter(self.source.path, replace(self.compute, device=device))[0], self.trial)

    def count(self, group: ProcessGroup, device: torch.device) -> Tally:
        """Count the share of a process."""
        with self.journal as journal:
            return count_trial(
                self.trial,
                self.predictor(device),
                self.track if group.is_main else silent,
                batch=self.compute.batch if self.source.is_model else 1,
                group=group,
                journal=journal,
                keep=partial(_save, self.folder, self.trial) if self.save else None,
            )

    def share(self, group: ProcessGroup, device: torch.device) -> Tally | None:
        """Count the share of a connected process, and bring all together in the first one."""
        return gather_counts(self.count(group, device), group)


def count_everywhere(
    trial: EvalSpec,
    source: PredictionSource,
    *,
    compute: InferenceConfig,
    plan: DevicePlan,
    out: Path | None,
    name: str,
    save: bool = False,
    track: Track = silent,
    log: Log = lambda line: None,
) -> tuple[Job, Tally | None]:
    """Count the samples of a trial's shard in all processes of a plan, going on where a former run was stopped.

    Returns:
        What was done, and the counts; None in processes of torchrun other than the first.
    """
    group = plan.process_group
    with group.connected(plan.devices[0]):
        folder = group.broadcast(out or create_run_dir("evaluate", name) if group.is_main else Path())
        job = open_job(trial, source, compute, folder, save=save, track=track, log=log)
        if len(plan.devices) > 1:
            return job, launch(job.share, plan.devices, advice="run again with fewer --gpus: what is counted is kept")
        return job, job.share(group, plan.devices[0])


def open_job(
    trial: EvalSpec,
    source: PredictionSource,
    compute: InferenceConfig,
    folder: Path,
    *,
    save: bool = False,
    track: Track = silent,
    log: Log = lambda line: None,
) -> Job:
    """Get ready to count, and tell how much a former run has done."""
    decides = (
        trial.data_hash,
        trial.protocol,
        source.digest,
        _digest(source.path, times=True),
        _digest(trial.objects, times=True) if trial.objects else None,
        compute.device.type,
        compute.precision,
        compute.prompt_chunk,
        compute.batch if source.is_model else 1,
        save,
        package_versions(),
    )
    job = Job(trial, source, compute, folder, save, decides, track)
    photos = len(trial.keys)
    done = len(job.journal)
    if done:
        log(f"going on with an evaluation that was stopped: {done} of {photos} photos are counted")
    return job


def _save(folder: Path, trial: EvalSpec, counted: ImageCounts) -> None:
    """Write the predicted map of a photo, 8 or 16 bits as `partseg predict` does."""
    path = folder / SAVED / f"{counted.image_id}.png"
    write_label_map(path, counted.prediction.numpy(), len(trial.vocabulary.pairs))
