"""Training engine: the optimizer step, and the loop over steps that logs, validates and saves.

It is handed model, objective, batches, optimizer and schedule, and builds none of them.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from partseg_cli.errors import PartsegError
from partseg_cli.runtime.process_group import SINGLE_PROCESS, ProcessGroup, without_sync
from partseg_cli.training.gradients import GradientSum
from partseg_cli.training.loggers import Loggers, Step, Validation
from partseg_cli.training.objective import Losses
from partseg_cli.training.run_dir import RunDir


@runtime_checkable
class NamedBatch(Protocol):
    """Training batch of any task."""

    @property
    def image_ids(self) -> tuple[str, ...]:
        """Ids of the images."""


AnyBatch = TypeVar("AnyBatch", bound=NamedBatch)


class NotFiniteError(PartsegError):
    """A loss or a gradient is not finite; the weights are those of the step before."""


@dataclass(frozen=True)
class Engine(Generic[AnyBatch]):
    """Optimizer steps of one training run, in this process.

    Attributes:
        network: Model to train, in DistributedDataParallel where the group has several processes.
        objective: Function from a batch to its loss terms, with their `total`.
        optimizer: Optimizer of the trainable parameters.
        schedule: Learning rate schedule, stepped after every optimizer step.
        accumulate: Micro-batches of one step.
        clip_grad_norm: Limit of the gradient's L2 norm.
        device: Device of the model.
        precision: "fp32", "bf16" or "fp16".
        seed: Decides, with step and process, all that is drawn in a step, so that no random state is saved.
        group: Processes that train together.
        is_stop_requested: Function that returns whether this process was asked to stop.
    """

    network: nn.Module
    objective: Callable[[AnyBatch], Losses]
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LambdaLR
    accumulate: int
    clip_grad_norm: float
    device: torch.device
    precision: str
    seed: int = 0
    group: ProcessGroup = SINGLE_PROCESS
    is_stop_requested: Callable[[], bool] = lambda: False

    @property
    def model(self) -> nn.Module:
        """The model itself."""
        return self.network.module if isinstance(self.network, DistributedDataParallel) else self.network

    @cached_property
    def scaler(self) -> torch.amp.GradScaler:
        """Loss scaler, against fp16 gradients that vanish; without effect in other precisions."""
        return torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16")

    @cached_property
    def parameters(self) -> list[nn.Parameter]:
        """Parameters of the optimizer."""
        return [p for group in self.optimizer.param_groups for p in group["params"]]

    @cached_property
    def gradients(self) -> GradientSum:
        """Sum of the gradients of a step's micro-batches, over the group."""
        gradients = GradientSum(self.parameters, self.accumulate * self.group.size)
        if isinstance(self.network, DistributedDataParallel):
            gradients.join(self.network)
        return gradients

    def steps(self, batches: Iterator[AnyBatch], *, first: int, last: int) -> Iterator[Step]:
        """Do the steps `first` to `last`, each one when it is iterated over.

        Raises:
            NotFiniteError: A loss or a gradient is not finite; the message names step, term and images.
        """
        _ = self.gradients  # the hook of a group has to be set before the first backward pass
        for number in range(first, last + 1):
            self.model.train()
            torch.manual_seed(zlib.crc32(f"{self.seed} {number} {self.group.index}".encode()))
            done = []
            for turn in range(1, self.accumulate + 1):
                batch, is_last = next(batches), turn == self.accumulate
                with nullcontext() if is_last else without_sync(self.network):  # a group averages once a step
                    losses = self.objective(batch)
                    self.scaler.scale(losses["total"]).backward()
                if not is_last:
                    self.gradients.take()
                done.append(({name: value.detach() for name, value in losses.items()}, batch.image_ids))
            if self.group.size == 1:
                self.gradients.finish()
            self.scaler.unscale_(self.optimizer)
            norm = nn.utils.clip_grad_norm_(self.parameters, self.clip_grad_norm)
            means, is_stop = self._mean_losses(done, number)
            if not (norm.isfinite() or self.scaler.is_enabled()):
                raise NotFiniteError(
                    f"step {number}: the gradient must be finite, got {norm.item()} with a finite loss; "
                    "lower train.lr or use train.precision=fp32"
                )
            lr = float(self.schedule.get_last_lr()[0])
            self.scaler.step(self.optimizer)
            self.scaler.update()
            self.optimizer.zero_grad(set_to_none=True)
            self.schedule.step()
            yield Step(number, lr, means, norm.item(), is_stop)

    def _mean_losses(
        self, done: Sequence[tuple[Losses, tuple[str, ...]]], number: int
    ) -> tuple[dict[str, float], bool]:
        """Return the mean of each loss term over the global batch, and whether any process was asked to stop.

        The only place where the CPU waits for the device.
        """
        names = list(done[0][0])
        values = torch.stack([torch.stack([losses[name] for name in names]) for losses, _ in done])
        sums = values.cpu().double().sum(0)
        request = sums.new_tensor([float(self.is_stop_requested())])
        *means, stop = self.group.mean(torch.cat([sums / self.accumulate, request])).tolist()
        if not all(map(math.isfinite, means)):
            broken = [
                (name, value.item(), images)
                for losses, images in done
                for name, value in losses.items()
                if not value.isfinite()
            ]
            name, value, images = next(found[0] for found in self.group.gather(broken) if found)
            raise NotFiniteError(
                f"step {number}: the loss term {name} must be finite, got {value} on images {', '.join(images)}; "
                "lower train.lr or use train.precision=fp32"
            )
        return dict(zip(names, means, strict=True)), stop > 0

    def state_dict(self) -> dict[str, Any]:
        """Return the state that a resumed run needs besides the weights."""
        return {name: getattr(self, name).state_dict() for name in ("optimizer", "schedule", "scaler")}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load what `state_dict` returned; the model has its weights already."""
        for name in ("optimizer", "schedule", "scaler"):
            getattr(self, name).load_state_dict(state[name])


def fit(
    engine: Engine[AnyBatch],
    batches: Iterator[AnyBatch],
    run: RunDir,
    *,
    iterations: int,
    save_interval: int,
    loggers: Loggers,
    on_step: Callable[[Step], object] = lambda step: None,
    validate: Callable[[int], Validation | None] = lambda step: None,
    on_validation: Callable[[Validation], object] = lambda validation: None,
    update_report: Callable[[], object] = lambda: None,
) -> int:
    """Do all steps that are left, and log, validate and save them; stop early when a process is asked to.

    Args:
        engine: Optimizer steps; its model and state are those of the run.
        batches: Micro-batches of the steps that are left.
        run: Run directory.
        iterations: Steps of the whole run.
        save_interval: Steps between checkpoints.
        loggers: Loggers of other tools.
        on_step: Callback for every step.
        validate: Function that scores the model after a step; None where that is not due, and in non-main processes.
        on_validation: Callback for every validation.
        update_report: Function that rewrites the report of the run, called after validations before the last step.

    Returns:
        The last step that was done.

    Raises:
        PartsegError: A loss or a gradient is not finite; the state before it is saved.
    """
    done = run.step
    try:
        for step in engine.steps(batches, first=done + 1, last=iterations):
            done = step.number
            is_last = step.is_stop or done == iterations
            on_step(step)
            run.log(step)
            loggers.log_step(step)
            if validation := validate(done):
                run.update_best(engine.model, validation)
                on_validation(validation)
                loggers.log_validation(validation)
                if not is_last:
                    update_report()
            if is_last or done % save_interval == 0:
                run.save(engine.model, engine.state_dict(), done)
            if is_last:
                break
    except NotFiniteError as error:
        path = run.save(engine.model, engine.state_dict(), done)
        raise PartsegError(f"{error}; the weights before it are in {path}") from error
    return done
