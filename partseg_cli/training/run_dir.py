"""Run directory: recipe, environment, logs, checkpoints, and the training state to resume from."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from torch import Tensor, nn

from partseg_cli.errors import CheckpointError
from partseg_cli.io.atomic import atomic_write, disk_error, remove_leftovers, write_json, write_text
from partseg_cli.io.journal import METRICS_FILE, SCORES_FILE, read_log
from partseg_cli.io.paths import create_run_dir
from partseg_cli.io.versions import package_versions
from partseg_cli.training.loggers import Step, Validation
from partseg_cli.training.resume import RunSignature, latest_state, load_state, save_state

SAFETENSORS_TEMPORARY = re.compile(r"\.tmp[A-Za-z0-9]{6}")
"""Name under which safetensors writes a file before renaming it; a kill while it writes leaves the file."""


@dataclass(frozen=True)
class TrainResult:
    """Result of a run that is finished, or was asked to stop.

    Attributes:
        folder: Run directory.
        checkpoint: Selected checkpoint; the latest one if the run is not finished.
        step: Last step that was done.
        images: Number of training images.
        is_done: Whether all steps were done.
    """

    folder: Path
    checkpoint: Path
    step: int
    images: int
    is_done: bool


class WeightsFormat(NamedTuple):
    """Functions that write and read the weights of a run.

    Attributes:
        save: Function of path, model and step; writes the weights with their settings and returns their digest.
        load: Function of a path; returns the digest and the weights.
    """

    save: Callable[[Path, nn.Module, int], str]
    load: Callable[[Path], tuple[str, dict[str, Tensor]]]


class RunDir:
    """Directory of one run.

    Args:
        folder: The directory; None: `create` chooses a new one.
        name: Name of the recipe.
        recipe: The recipe as plain values.
        signature: Data and machine of the run.
        weights_format: Functions that write and read weights.
        keep_checkpoints: Number of checkpoints to keep, the latest ones.

    Attributes:
        step: Step to resume after; 0: new run.
        weights: Weights after that step.
        state: Training state after that step.
    """

    def __init__(
        self,
        folder: Path | None,
        name: str,
        recipe: Mapping[str, Any],
        signature: RunSignature,
        weights_format: WeightsFormat,
        *,
        keep_checkpoints: int,
    ) -> None:
        self._folder, self.name, self.recipe, self.signature = folder, name, recipe, signature
        self._format, self._keep = weights_format, keep_checkpoints
        self.step = 0
        self.weights: dict[str, Tensor] | None = None
        self.state: dict[str, Any] = {}
        self._best = -1.0
        self._started = time.monotonic()

    @property
    def folder(self) -> Path:
        """Path of the directory."""
        if self._folder is None:
            raise ValueError("the directory of this run is not created yet")
        return self._folder

    @property
    def checkpoints(self) -> Path:
        """Folder of the weights and training states."""
        return self.folder / "checkpoints"

    def restore(self) -> None:
        """Load weights and state of the latest saved step, if there is one.

        Raises:
            CheckpointError: They are broken, or do not belong together.
        """
        path = latest_state(self.folder)
        if path is None:
            return
        self.state = load_state(path)
        digest, self.weights = self._format.load(path.with_suffix(".safetensors"))
        if digest != self.state["weights"]:
            raise CheckpointError(f"{path}: belongs to other weights than {path.stem}.safetensors; remove both files")
        self.step, self._best = self.state["step"], self.state["best"]

    def release_state(self) -> None:
        """Free the weights and the state that were loaded: they are as large as the model and its optimizer."""
        self.weights, self.state = None, {}

    def create(self, command: str) -> None:
        """Create the directory, unless it was named; write command and environment; cut logs back to `step`."""
        group = self.signature.layout.group
        new = partial(create_run_dir, "train", self.name)
        self._folder = self._folder or group.broadcast(new() if group.is_main else Path())
        if group.is_main:
            self._describe(command)

    def _describe(self, command: str) -> None:
        self._remove_leftovers()
        if not self.step:
            write_text(self.folder / "recipe.yaml", yaml.safe_dump(dict(self.recipe), sort_keys=False))
        commands = self.folder / "command.txt"
        past = commands.read_text(encoding="utf-8") if self.step and commands.is_file() else ""
        write_text(commands, f"{past}{command}\n")
        environment = {
            "recipe": self.name,
            "versions": package_versions(),
            "platform": platform.platform(),
            "cuda_devices": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
            "layout": self.signature.machine,
            "data_hash": self.signature.data_hash,
        }
        write_json(self.folder / "env.json", environment)
        _truncate(self.folder / SCORES_FILE, self.step)
        steps = _truncate(self.folder / METRICS_FILE, self.step)
        self._started = time.monotonic() - (steps[-1]["seconds"] if steps else 0.0)

    def log(self, step: Step) -> None:
        """Append a step to the metrics: losses, learning rate, gradient norm, seconds of training so far."""
        line = {"step": step.number, "lr": step.lr, **step.losses, "grad_norm": step.grad_norm}
        _append(self.folder / METRICS_FILE, {**line, "seconds": round(time.monotonic() - self._started, 3)})

    def update_best(self, model: nn.Module, validation: Validation) -> None:
        """Append a validation to the scores; save the weights as `best` if the monitored score is a new maximum."""
        line = {"step": validation.step, "protocol": validation.protocol, "mIoU": validation.miou}
        _append(self.folder / SCORES_FILE, line)
        if validation.monitored > self._best:
            self._best = validation.monitored
            self._format.save(self.checkpoints / "best.safetensors", model, validation.step)

    def save(self, model: nn.Module, engine_state: Mapping[str, Any], step: int) -> Path:
        """Save weights and training state of a step, and remove older ones.

        `last.safetensors` is a link to the latest weights. A kill at any moment leaves a state with its weights.
        """
        path = self.checkpoints / f"step-{step:06d}.safetensors"
        state = {
            "step": step,
            **engine_state,
            "weights": self._format.save(path, model, step),
            "best": self._best,
            "data_hash": self.signature.data_hash,
            "machine": self.signature.machine,
        }
        save_state(path.with_suffix(".state"), state)
        _link(path, self.checkpoints / "last.safetensors")
        self._prune()
        return path

    def _prune(self) -> None:
        """Remove all but the latest states with their weights, and files that a kill has left."""
        kept = {path.stem for path in sorted(self.checkpoints.glob("step-*.state"))[-self._keep :]}
        for kind in ("state", "safetensors"):
            for old in self.checkpoints.glob(f"step-*.{kind}"):
                if old.stem not in kept:
                    old.unlink()
        self._remove_leftovers()

    def _remove_leftovers(self) -> None:
        """Remove the temporary files of killed processes: of `atomic_write`, and of safetensors in `checkpoints/`."""
        remove_leftovers(self.folder)
        for path in self.checkpoints.glob(".tmp*"):
            if SAFETENSORS_TEMPORARY.fullmatch(path.name) and path.is_file():
                path.unlink()

    def select(self, rule: str) -> Path:
        """Write which checkpoint is selected, "last" or "best", and return its path."""
        path = self.checkpoints / f"{rule}.safetensors"
        write_json(self.checkpoints / "selected.json", {"file": path.name, "rule": rule})
        return path


class ReadOnlyRunDir(RunDir):
    """Run directory as seen by non-main ranks; writes are no-ops."""

    def log(self, step: Step) -> None:
        """Write nothing."""

    def update_best(self, model: nn.Module, validation: Validation) -> None:
        """Write nothing."""

    def save(self, model: nn.Module, engine_state: Mapping[str, Any], step: int) -> Path:
        """Write nothing."""
        return self.checkpoints / "last.safetensors"

    def select(self, rule: str) -> Path:
        """Write nothing."""
        return self.checkpoints / "last.safetensors"


def _append(path: Path, line: dict[str, Any]) -> None:
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
    except OSError as error:
        raise disk_error(path, error) from error


def _truncate(path: Path, step: int) -> list[dict[str, Any]]:
    """Remove the lines of a log after a step, and return the others."""
    kept = [line for line in read_log(path) if line["step"] <= step]
    if kept:
        write_text(path, "".join(json.dumps(line) + "\n" for line in kept))
    else:
        path.unlink(missing_ok=True)
    return kept


def _link(path: Path, alias: Path) -> None:
    """Link a file under a second name, or copy it where the disk has no hard links."""
    with atomic_write(alias) as temporary:
        temporary.unlink()
        try:
            os.link(path, temporary)
        except OSError:
            shutil.copyfile(path, temporary)
