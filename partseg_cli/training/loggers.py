"""Records of training that are logged, and loggers of other tools: TensorBoard and Weights & Biases (W&B)."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, runtime_checkable

import yaml

from partseg_cli.errors import UsageError, did_you_mean, one_line
from partseg_cli.io.atomic import write_text

WANDB_PROJECT = "partseg"
WANDB_ID_FILE = "wandb.id"
"""File in the run directory with the id of the run at W&B."""

Values = Mapping[str, float]


@dataclass(frozen=True)
class Step:
    """Result of one optimizer step.

    Attributes:
        number: Number of the step, from 1.
        lr: Learning rate of the step.
        losses: Each loss term, unweighted, and `total`: means over the global batch.
        grad_norm: L2 norm of the whole gradient before clipping.
        is_stop: Whether a process was asked to stop after the step.
    """

    number: int
    lr: float
    losses: dict[str, float]
    grad_norm: float
    is_stop: bool = False


@dataclass(frozen=True)
class Validation:
    """Scores of the model on val.

    Attributes:
        step: Step after which the model was scored.
        protocol: Protocol of the evaluation.
        miou: Mean IoU in percent by group of pairs: seen, unseen, harmonic; None for a group without a class.
        monitor: Group whose score decides which checkpoint is the best.
    """

    step: int
    protocol: str
    miou: dict[str, float | None]
    monitor: str

    @property
    def monitored(self) -> float:
        """Monitored score; that of the seen pairs where its group has no class."""
        value = self.miou[self.monitor]
        return value if value is not None else self.miou["seen"] or 0.0


@runtime_checkable
class Logger(Protocol):
    """Logger of another tool."""

    def log(self, step: int, values: Values) -> None:
        """Log the values of a step by name, such as "loss/total"."""

    def close(self) -> None:
        """Flush and close."""


class Loggers:
    """Any number of loggers as one."""

    def __init__(self, loggers: Iterable[Logger] = ()) -> None:
        self._loggers = tuple(loggers)

    def log_step(self, step: Step) -> None:
        """Log a training step."""
        losses = {f"loss/{name}": value for name, value in step.losses.items()}
        self._log(step.number, {**losses, "train/lr": step.lr, "train/grad_norm": step.grad_norm})

    def log_validation(self, validation: Validation) -> None:
        """Log a validation, without the groups that have no score."""
        names = {group: f"val/{validation.protocol}/mIoU_{group}" for group in validation.miou}
        values = {names[group]: mean for group, mean in validation.miou.items() if mean is not None}
        self._log(validation.step, values)

    def close(self) -> None:
        """Flush and close all loggers; later values are ignored."""
        for logger in self._loggers:
            logger.close()
        self._loggers = ()

    def _log(self, step: int, values: Values) -> None:
        for logger in self._loggers:
            logger.log(step, values)

    def __enter__(self) -> Loggers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class TensorBoard:
    """Event files in `<run>/tensorboard`; a run that is resumed at an earlier step voids the values after it."""

    def __init__(self, folder: Path, recipe: Mapping[str, Any], resumed_at: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        purge = resumed_at + 1 if resumed_at else None
        self._writer = SummaryWriter(str(folder / "tensorboard"), purge_step=purge)
        if not resumed_at:
            self._writer.add_text("recipe", f"```yaml\n{yaml.safe_dump(dict(recipe), sort_keys=False)}```")

    def log(self, step: int, values: Values) -> None:
        """Write a scalar for each value."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Flush and close the file."""
        self._writer.close()


class WandB:
    """Run at W&B under the name of the run directory; a resumed run keeps its id."""

    def __init__(self, folder: Path, recipe: Mapping[str, Any], resumed_at: int) -> None:
        import wandb

        file = folder / WANDB_ID_FILE
        if not file.is_file():
            write_text(file, secrets.token_hex(4) + "\n")
        try:
            self._run = wandb.init(
                project=WANDB_PROJECT,
                name=folder.resolve().name,
                id=file.read_text(encoding="utf-8").strip(),
                resume="allow",
                dir=str(folder),
                config=dict(recipe),
                settings=wandb.Settings(console="off", silent=True),
            )
        except wandb.Error as error:
            raise UsageError(
                f"logger wandb must reach its server, got {one_line(error)!r}; wandb login, or set WANDB_MODE=offline"
            ) from error
        self._run.define_metric("*", step_metric="step")

    def log(self, step: int, values: Values) -> None:
        """Send the values; the step is one of them, since W&B's own count refuses steps that are repeated."""
        self._run.log({**values, "step": step})

    def close(self) -> None:
        """Finish the run."""
        self._run.finish()


LOGGERS: dict[str, Callable[[Path, Mapping[str, Any], int], Logger]] = {"tensorboard": TensorBoard, "wandb": WandB}
"""Loggers by the name of their package, which is also that of our extra."""


def check_loggers(names: Iterable[str]) -> None:
    """Check that loggers are known and their packages installed.

    Raises:
        UsageError: One is not.
    """
    for name in names:
        if name not in LOGGERS:
            advice = did_you_mean(name.lower(), LOGGERS)
            raise UsageError(f"loggers are {' and '.join(LOGGERS)}, got {name!r}; {advice}")
        spec = find_spec(name)
        if spec is None or spec.origin is None:  # a mere folder of that name is no package
            raise UsageError(f'logger {name} needs its package, got none; pip install "partseg-cli[{name}]"')


def open_loggers(names: Iterable[str], folder: Path, recipe: Mapping[str, Any], *, resumed_at: int = 0) -> Loggers:
    """Open loggers by their names.

    Args:
        names: Any of "tensorboard" and "wandb".
        folder: Run directory.
        recipe: Recipe as plain values, logged too.
        resumed_at: Step that the run is resumed after; 0: new run.

    Raises:
        UsageError: A name is unknown, or its package is not installed.
    """
    names = list(dict.fromkeys(names))
    check_loggers(names)
    return Loggers([LOGGERS[name](folder, recipe, resumed_at) for name in names])
