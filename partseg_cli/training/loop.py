"""The training loop: it is handed everything and builds nothing."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from partseg_cli.errors import PartsegError
from partseg_cli.runtime.devices import autocast
from partseg_cli.runtime.process_group import SINGLE_PROCESS, ProcessGroup, without_sync
from partseg_cli.structures import Batch, Labels, Logits
from partseg_cli.training.gradients import GradientSum

Terms = dict[str, Float[Tensor, ""]]


@runtime_checkable
class Named(Protocol):
    """A batch of whatever is trained on, that can say which images it holds."""

    @property
    def image_ids(self) -> tuple[str, ...]:
        """Which images these are."""


AnyBatch = TypeVar("AnyBatch", bound=Named)


@dataclass(frozen=True)
class Step:
    """What one optimizer step did.

    Attributes:
        number: of the step, from 1.
        lr: that it used.
        losses: each term, unweighted, and `total`, averaged over the global batch.
        grad_norm: L2 norm of the whole gradient before clipping.
        is_stop: whether a process was asked to stop after it.
    """

    number: int
    lr: float
    losses: dict[str, float]
    grad_norm: float
    is_stop: bool = False


class NotFiniteError(PartsegError):
    """A loss or a gradient is not finite; the weights are those of the step before."""


def _never() -> bool:
    return False


@dataclass(frozen=True)
class Loop(Generic[AnyBatch]):
    """One training run, in this process.

    Attributes:
        model: whose parameters are trained.
        terms: a batch to the terms of its loss with their `total`, see `supervised`.
        optimizer: over the trained parameters.
        schedule: of its learning rate, stepped after every optimizer step.
        accumulate: micro-batches of one step.
        clip_norm: limit of the gradient's L2 norm.
        device: where to compute.
        precision: "fp32", "bf16" or "fp16".
        seed: with step and process it decides all that is drawn in a step, so that nothing of it needs to be kept.
        team: the processes that train together.
        network: the model as the team shares it; None: it is alone.
        is_stop: tells whether this process was asked to stop.
    """

    model: nn.Module
    terms: Callable[[AnyBatch], Terms]
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LambdaLR
    accumulate: int
    clip_norm: float
    device: torch.device
    precision: str
    seed: int = 0
    team: ProcessGroup = SINGLE_PROCESS
    network: nn.Module | None = None
    is_stop: Callable[[], bool] = _never

    @cached_property
    def scaler(self) -> torch.amp.GradScaler:
        """Of the loss, so that fp16 gradients do not vanish; it does nothing in other precisions."""
        return torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16")

    @cached_property
    def parameters(self) -> list[nn.Parameter]:
        """What the optimizer trains."""
        return [p for group in self.optimizer.param_groups for p in group["params"]]

    @cached_property
    def gradients(self) -> GradientSum:
        """Of the micro-batches of a step, over the team."""
        gradients = GradientSum(self.parameters, self.accumulate * self.team.size)
        if isinstance(self.network, DistributedDataParallel):
            gradients.join(self.network)
        return gradients

    def run(self, batches: Iterator[AnyBatch], *, first: int, last: int) -> Iterator[Step]:
        """Do steps `first` to `last`, yielding each one when it is done.

        Raises:
            NotFiniteError: a loss or a gradient is not finite; names step, term and images.
        """
        _ = self.gradients  # a team's hook has to be there before the first backward pass
        for number in range(first, last + 1):
            self.model.train()
            torch.manual_seed(zlib.crc32(f"{self.seed} {number} {self.team.index}".encode()))
            done = [self._backward(next(batches), turn == self.accumulate - 1) for turn in range(self.accumulate)]
            if self.team.size == 1:
                self.gradients.finish()
            self.scaler.unscale_(self.optimizer)
            norm = nn.utils.clip_grad_norm_(self.parameters, self.clip_norm)
            losses, is_stop = self._means(done, number)
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
            yield Step(number, lr, losses, norm.item(), is_stop)

    def _backward(self, batch: AnyBatch, is_last: bool) -> tuple[Terms, tuple[str, ...]]:
        """Take the gradient of one micro-batch; give its terms and the names of its images.

        A team takes its mean once a step, while the last micro-batch goes backwards.
        """
        with nullcontext() if is_last or self.network is None else without_sync(self.network):
            terms = self.terms(batch)
            self.scaler.scale(terms["total"]).backward()
        if not is_last:
            self.gradients.take()
        return {name: value.detach() for name, value in terms.items()}, batch.image_ids

    def _means(self, done: Sequence[tuple[Terms, tuple[str, ...]]], number: int) -> tuple[dict[str, float], bool]:
        """Give the mean of each term over the global batch, and whether any process was asked to stop.

        The only place in which the processor waits for the device.
        """
        names = list(done[0][0])
        values = torch.stack([torch.stack([terms[name] for name in names]) for terms, _ in done])
        sums = values.cpu().double().sum(0)
        wish = sums.new_tensor([float(self.is_stop())])
        *means, stop = self.team.mean(torch.cat([sums / self.accumulate, wish])).tolist()
        if not all(map(math.isfinite, means)):
            raise NotFiniteError(self._complaint(done, number))
        return dict(zip(names, means, strict=True)), stop > 0

    def _complaint(self, done: Sequence[tuple[Terms, tuple[str, ...]]], number: int) -> str:
        """Say which term broke, and on which images, of whichever process."""
        broken = [
            (name, value.item(), names)
            for terms, names in done
            for name, value in terms.items()
            if not value.isfinite()
        ]
        name, value, images = next(found[0] for found in self.team.gather(broken) if found)
        return (
            f"step {number}: the loss term {name} must be finite, got {value} on images {', '.join(images)}; "
            "lower train.lr or use train.precision=fp32"
        )


def supervised(
    forward: Callable[[Batch], Logits],
    loss: Callable[[Logits, Labels], Terms],
    device: torch.device,
    precision: str,
) -> Callable[[Batch], Terms]:
    """Give the terms of labelled images: `forward` in the precision asked for, then `loss`."""

    def terms(batch: Batch) -> Terms:
        with autocast(device, precision):
            logits = forward(batch)
        return loss(logits, batch.labels.on(device))

    return terms


def choose_precision(name: str, device: torch.device) -> str:
    """Give the precision to use: "auto" is bf16 on a CUDA device that has it, else fp32."""
    if name != "auto":
        return name
    return "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "fp32"


def loop_state(loop: Loop[Any], step: int) -> dict[str, Any]:
    """Give what, besides weights, a run needs to go on after `step`."""
    return {
        "step": step,
        "optimizer": loop.optimizer.state_dict(),
        "schedule": loop.schedule.state_dict(),
        "scaler": loop.scaler.state_dict(),
    }


def restore_loop(loop: Loop[Any], state: Mapping[str, Any]) -> None:
    """Bring a loop, whose model has its weights already, to where `loop_state` was taken."""
    loop.optimizer.load_state_dict(state["optimizer"])
    loop.schedule.load_state_dict(state["schedule"])
    loop.scaler.load_state_dict(state["scaler"])
