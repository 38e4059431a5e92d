"""The folder of one training run: recipe, environment, metrics, checkpoints, and the state to go on from."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from partseg_cli.config.recipe import AnyRecipe, Recipe, model_to_header
from partseg_cli.errors import CheckpointError
from partseg_cli.evaluation.metrics import EvalResult
from partseg_cli.io.atomic import atomic_write, disk_error, remove_leftovers, write_json, write_text
from partseg_cli.io.training_log import METRICS_FILE, SCORES_FILE, read_log
from partseg_cli.io.versions import package_versions
from partseg_cli.models.checkpoints.checkpoint import (
    Header,
    load_checkpoint,
    load_state,
    read_header,
    save_checkpoint,
    save_state,
)
from partseg_cli.runtime.process_group import Layout
from partseg_cli.training.loop import Loop, Step, loop_state
from partseg_cli.vocabulary import Vocabulary

STATE = re.compile(r"step-([0-9]+)\.state")
SAFETENSORS_TEMPORARY = re.compile(r"\.tmp[A-Za-z0-9]{6}")
"""Name under which safetensors writes a file before renaming it; a kill while it writes leaves the file."""


@dataclass(frozen=True)
class TrainResult:
    """A run that is done, or was asked to stop.

    Attributes:
        folder: of the run.
        checkpoint: the selected one; the newest where the run is not done.
        step: the last one that was done.
        images: number of photos that it is trained on.
        is_done: whether all steps were done.
    """

    folder: Path
    checkpoint: Path
    step: int
    images: int
    is_done: bool


@dataclass(frozen=True)
class RunSignature:
    """What a run depends on besides its recipe.

    Attributes:
        vocabulary: of its data set, with seen flags.
        dataset: name of that data set.
        data_hash: of what it is trained on, see `Store.fingerprint`.
        layout: how its steps are spread.
        device: kind of device, such as "cuda".
    """

    vocabulary: Vocabulary
    dataset: str
    data_hash: str
    layout: Layout
    device: str

    @property
    def machine(self) -> dict[str, Any]:
        """What must be the same for a run to go on bit for bit."""
        layout = self.layout
        return {
            "processes": layout.group.size,
            "images in a forward pass": layout.micro,
            "device": self.device,
            "torch": str(torch.__version__),
        }


def newest_state(folder: Path) -> Path | None:
    """Give the newest state of a run folder that a run can go on from."""
    found = {
        int(match[1]): path for path in (folder / "checkpoints").glob("*") if (match := STATE.fullmatch(path.name))
    }
    whole = [number for number, path in found.items() if path.with_suffix(".safetensors").is_file()]
    return found[max(whole)] if whole else None


class RunDir:
    """The folder of one run.

    Attributes:
        folder: None until it has a name.
        step: after which it goes on; 0: it begins.
        weights: after that step.
        state: what else it needs to go on.
    """

    def __init__(self, folder: Path | None, recipe: AnyRecipe, setting: RunSignature) -> None:
        self._folder, self.recipe, self.setting = folder, recipe, setting
        self.step = 0
        self.weights: dict[str, Tensor] | None = None
        self.state: dict[str, Any] = {}
        self._best = -1.0
        self._started = time.monotonic()

    @property
    def folder(self) -> Path:
        """Where it lies."""
        if self._folder is None:
            raise ValueError("the folder of this run has no name yet")
        return self._folder

    @property
    def checkpoints(self) -> Path:
        """Where its weights lie."""
        return self.folder / "checkpoints"

    def place(self, new: Callable[[], Path]) -> None:
        """Take a new folder, which the first process makes, unless there is one already."""
        team = self.setting.layout.group
        self._folder = self._folder or team.broadcast(new() if team.is_main else Path())

    def restore(self) -> None:
        """Read the weights and the state of the newest step, if there is one.

        Raises:
            CheckpointError: they are broken, or do not belong together.
        """
        path = newest_state(self.folder)
        if path is None:
            return
        self.state = load_state(path)
        header, self.weights = load_checkpoint(path.with_suffix(".safetensors"))
        if header.digest != self.state["weights"]:
            raise CheckpointError(f"{path}: belongs to other weights than {path.stem}.safetensors; remove both files")
        self.step, self._best = self.state["step"], self.state["best"]

    def forget(self) -> None:
        """Let go of the weights and the state that were read: they are as large as the model and its optimizer."""
        self.weights, self.state = None, {}

    def open(self, command: str) -> None:
        """Note what is run, with what, where; forget what was noted after the step from which it goes on."""
        self._remove_leftovers()
        if not self.step:
            write_text(self.folder / "recipe.yaml", self.recipe.to_yaml())
        commands = self.folder / "command.txt"
        past = commands.read_text(encoding="utf-8") if self.step and commands.is_file() else ""
        write_text(commands, f"{past}{command}\n")
        about = {
            "recipe": self.recipe.name,
            "versions": package_versions(),
            "platform": platform.platform(),
            "cuda_devices": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
            "layout": self.setting.machine,
            "data_hash": self.setting.data_hash,
        }
        write_json(self.folder / "env.json", about)
        _cut(self.folder / SCORES_FILE, self.step)
        steps = _cut(self.folder / METRICS_FILE, self.step)
        self._started = time.monotonic() - (steps[-1]["seconds"] if steps else 0.0)

    def log(self, step: Step) -> None:
        """Add a line to `metrics.jsonl`: step, lr, every loss by name, gradient norm, seconds of training so far."""
        line = {"step": step.number, "lr": step.lr, **step.losses, "grad_norm": step.grad_norm}
        _append(self.folder / METRICS_FILE, {**line, "seconds": round(time.monotonic() - self._started, 3)})

    def save(self, loop: Loop[Any], step: int) -> Path:
        """Write weights and state under the number of the step; remove all but the last `train.keep_checkpoints`.

        `last.safetensors` is another name of the newest weights. A kill at any moment leaves a state with its weights.
        """
        path = self.checkpoints / f"step-{step:06d}.safetensors"
        self._write(path, loop, step)
        state = {
            **loop_state(loop, step),
            "weights": read_header(path).digest,
            "best": self._best,
            "data_hash": self.setting.data_hash,
            "machine": self.setting.machine,
        }
        save_state(path.with_suffix(".state"), state)
        _link(path, self.checkpoints / "last.safetensors")
        self._prune()
        return path

    def _write(self, path: Path, loop: Loop[Any], step: int) -> None:
        setting = self.setting
        header = Header(model_to_header(self.recipe.model), setting.vocabulary, setting.dataset, self.recipe.name, step)
        save_checkpoint(path, loop.model, header)

    def _prune(self) -> None:
        """Remove all but the newest states with their weights, and what a kill has left of others."""
        kept = {
            path.stem for path in sorted(self.checkpoints.glob("step-*.state"))[-self.recipe.train.keep_checkpoints :]
        }
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

    def consider(self, loop: Loop[Any], step: int, result: EvalResult, group: str) -> None:
        """Note scores on val; keep the weights as `best` if their mIoU of `group` (else seen) is above any before."""
        _append(self.folder / SCORES_FILE, {"step": step, "protocol": result.protocol, "mIoU": result.miou})
        value = result.miou[group]
        value = value if value is not None else result.miou["seen"] or 0.0
        if value > self._best:
            self._best = value
            self._write(self.checkpoints / "best.safetensors", loop, step)

    def select(self) -> Path:
        """Note which checkpoint `train.select` chose, and give it; the last one where there is nothing to choose."""
        rule = self.recipe.train.select if isinstance(self.recipe, Recipe) else "last"
        path = self.checkpoints / f"{rule}.safetensors"
        write_json(self.checkpoints / "selected.json", {"file": path.name, "rule": rule})
        return path


class ReadOnlyRunDir(RunDir):
    """The run as the processes see it that leave its folder to the first one."""

    def open(self, command: str) -> None:
        """Note nothing."""

    def log(self, step: Step) -> None:
        """Note nothing."""

    def save(self, loop: Loop[Any], step: int) -> Path:
        """Write nothing."""
        return self.checkpoints / "last.safetensors"

    def consider(self, loop: Loop[Any], step: int, result: EvalResult, group: str) -> None:
        """Note nothing."""

    def select(self) -> Path:
        """Write nothing."""
        return self.checkpoints / "last.safetensors"


def _append(path: Path, line: dict[str, Any]) -> None:
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
    except OSError as error:
        raise disk_error(path, error) from error


def _cut(path: Path, step: int) -> list[dict[str, Any]]:
    """Forget the lines after a step, and give those that are left."""
    kept = [line for line in read_log(path) if line["step"] <= step]
    if kept:
        write_text(path, "".join(json.dumps(line) + "\n" for line in kept))
    else:
        path.unlink(missing_ok=True)
    return kept


def _link(path: Path, alias: Path) -> None:
    """Give a file a second name, or a copy where the disk knows no such names."""
    with atomic_write(alias) as temporary:
        temporary.unlink()
        try:
            os.link(path, temporary)
        except OSError:
            shutil.copyfile(path, temporary)
