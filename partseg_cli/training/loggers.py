"""Other places that are told of every step and every evaluation: TensorBoard, and W&B (Weights & Biases)."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, runtime_checkable

import yaml

from partseg_cli.errors import UsageError, did_you_mean, one_line
from partseg_cli.io.atomic import write_text
from partseg_cli.training.loop import Step

PROJECT = "partseg"
"""Under which runs stand at Weights & Biases."""
WANDB_ID = "wandb.id"
"""File of a run folder with the run's name at Weights & Biases."""

Values = Mapping[str, float]


@runtime_checkable
class Logger(Protocol):
    """One such place."""

    def log(self, step: int, values: Values) -> None:
        """Take the values of a step by name, such as "loss/total"."""

    def close(self) -> None:
        """Write what was not written yet."""


class Loggers:
    """Tells several places alike; none is fine, too."""

    def __init__(self, loggers: Iterable[Logger] = ()) -> None:
        self._loggers = tuple(loggers)

    def step(self, step: Step) -> None:
        """Tell of a training step."""
        losses = {f"loss/{name}": value for name, value in step.losses.items()}
        self._log(step.number, {**losses, "train/lr": step.lr, "train/grad_norm": step.grad_norm})

    def score(self, step: int, protocol: str, miou: Mapping[str, float | None]) -> None:
        """Tell of an evaluation on val; a group without a score is left out."""
        self._log(step, {f"val/{protocol}/mIoU_{group}": mean for group, mean in miou.items() if mean is not None})

    def close(self) -> None:
        """Write what was not written yet; afterwards nothing more is told."""
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
    """Event files in `<run>/tensorboard`; where a run goes on from an earlier step, what came after it is void."""

    def __init__(self, folder: Path, recipe: Mapping[str, Any], resumed_at: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        purge = resumed_at + 1 if resumed_at else None
        self._writer = SummaryWriter(str(folder / "tensorboard"), purge_step=purge)
        if not resumed_at:
            self._writer.add_text("recipe", f"```yaml\n{yaml.safe_dump(dict(recipe), sort_keys=False)}```")

    def log(self, step: int, values: Values) -> None:
        """Add a scalar for each value."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Flush and close the file."""
        self._writer.close()


class WandB:
    """A run at Weights & Biases under the run folder's name; one that was stopped goes on under the same id."""

    def __init__(self, folder: Path, recipe: Mapping[str, Any], resumed_at: int) -> None:
        import wandb

        file = folder / WANDB_ID
        if not file.is_file():
            write_text(file, secrets.token_hex(4) + "\n")
        try:
            self._run = wandb.init(
                project=PROJECT,
                name=folder.resolve().name,
                id=file.read_text(encoding="utf-8").strip(),
                resume="allow",
                dir=str(folder),
                config=dict(recipe),
                settings=wandb.Settings(console="off", silent=True),
            )
        except wandb.Error as error:
            said = one_line(error)
            raise UsageError(
                f"logger wandb must reach its server, got {said!r}; wandb login, or set WANDB_MODE=offline"
            ) from error
        self._run.define_metric("*", step_metric="step")

    def log(self, step: int, values: Values) -> None:
        """Send the values; the step is a value, since W&B's own count refuses steps that are done again."""
        self._run.log({**values, "step": step})

    def close(self) -> None:
        """Finish the run."""
        self._run.finish()


KINDS: dict[str, Callable[[Path, Mapping[str, Any], int], Logger]] = {"tensorboard": TensorBoard, "wandb": WandB}
"""By the name that a user gives, which is that of the package and of our extra, too."""


def check_loggers(names: Iterable[str]) -> None:
    """Check that these places are known and their packages installed.

    Raises:
        UsageError: one is not.
    """
    for name in names:
        if name not in KINDS:
            advice = did_you_mean(name.lower(), KINDS)
            raise UsageError(f"loggers are {' and '.join(KINDS)}, got {name!r}; {advice}")
        spec = find_spec(name)
        if spec is None or spec.origin is None:  # a mere folder of that name is no package
            raise UsageError(f'logger {name} needs its package, got none; pip install "partseg-cli[{name}]"')


def open_loggers(names: Iterable[str], folder: Path, recipe: Mapping[str, Any], *, resumed_at: int = 0) -> Loggers:
    """Open the places that a user asks for.

    Args:
        names: "tensorboard", "wandb", or none.
        folder: of the run.
        recipe: as plain values, noted there.
        resumed_at: the step after which the run goes on; 0: it is new.

    Raises:
        UsageError: a name is unknown, or its package is not installed.
    """
    names = list(dict.fromkeys(names))
    check_loggers(names)
    return Loggers([KINDS[name](folder, recipe, resumed_at) for name in names])
