"""The folder of one training run: recipe, environment, metrics, checkpoints."""

from __future__ import annotations

import json
import platform
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from partseg_cli.errors import UsageError
from partseg_cli.evaluators.summary import Result
from partseg_cli.files import disk_error, write_json, write_text
from partseg_cli.recipe import CaptionRecipe, PhraseRecipe, Recipe
from partseg_cli.report import versions
from partseg_cli.training.checkpoint import Header, save_checkpoint, save_state
from partseg_cli.training.loop import Loop, Step, loop_state
from partseg_cli.vocabulary import Vocabulary


@dataclass(frozen=True)
class Trained:
    """A run that is done.

    Attributes:
        folder: of the run.
        checkpoint: the selected one.
        last: the last step.
        images: number of photos that it was trained on.
    """

    folder: Path
    checkpoint: Path
    last: Step
    images: int


def check_free(out: Path | None) -> None:
    """Refuse a run folder that holds something.

    Raises:
        UsageError: it does.
    """
    if out is not None and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"--out must be a new or empty folder, got {out}; name another or remove it")


class Run:
    """The folder of one run: recipe, environment, metrics, checkpoints."""

    def __init__(
        self, folder: Path, recipe: Recipe | CaptionRecipe | PhraseRecipe, vocabulary: Vocabulary, dataset: str
    ) -> None:
        self.folder, self.recipe = folder, recipe
        self.vocabulary, self.dataset = vocabulary, dataset
        self.checkpoints = folder / "checkpoints"
        self._best = -1.0
        self._started = time.monotonic()

    def open(self, command: str) -> None:
        """Note what is run, with what, where."""
        write_text(self.folder / "recipe.yaml", self.recipe.to_yaml())
        write_text(self.folder / "command.txt", command + "\n")
        devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        about: dict[str, Any] = {"versions": versions(), "platform": platform.platform(), "cuda_devices": devices}
        write_json(self.folder / "env.json", about)

    def log(self, step: Step) -> None:
        """Add a line to `metrics.jsonl`: step, lr, every loss by name, gradient norm, seconds since the start."""
        line = {"step": step.number, "lr": step.lr, **step.losses, "grad_norm": step.grad_norm}
        line["seconds"] = round(time.monotonic() - self._started, 3)
        path = self.folder / "metrics.jsonl"
        try:
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as error:
            raise disk_error(path, error) from error

    def save(self, name: str, loop: Loop[Any], step: int) -> None:
        """Write `<name>.safetensors`, and for "last" the state beside it."""
        header = Header(asdict(self.recipe.model), self.vocabulary, self.dataset, self.recipe.name, step)
        save_checkpoint(self.checkpoints / f"{name}.safetensors", loop.model, header)
        if name == "last":
            save_state(self.checkpoints / "last.state", loop_state(loop, step))

    def consider(self, loop: Loop[Any], step: int, result: Result) -> None:
        """Keep the weights as `best` if they score better on val than any before (harmonic, else seen mIoU)."""
        write_json(self.folder / "val.json", {"step": step, "protocol": result.protocol, "mIoU": result.miou})
        harmonic, seen = result.miou["harmonic"], result.miou["seen"]
        value = harmonic if harmonic is not None else seen or 0.0
        if value > self._best:
            self._best = value
            self.save("best", loop, step)

    def select(self) -> Path:
        """Note which checkpoint `train.select` chose, and give it; the last one where there is nothing to choose."""
        rule = self.recipe.train.select if isinstance(self.recipe, Recipe) else "last"
        name = f"{rule}.safetensors"
        write_json(self.checkpoints / "selected.json", {"file": name, "rule": rule})
        return self.checkpoints / name
