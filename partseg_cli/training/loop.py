"""The training loop: it is handed everything and builds nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from partseg_cli.devices import autocast
from partseg_cli.errors import PartsegError
from partseg_cli.records import Batch, Labels, Logits

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
    """

    number: int
    lr: float
    losses: dict[str, float]
    grad_norm: float


@dataclass(frozen=True)
class Loop(Generic[AnyBatch]):
    """One training run.

    Attributes:
        model: whose parameters are trained.
        terms: a batch to the terms of its loss with their `total`, see `supervised`.
        optimizer: over the trained parameters.
        schedule: of its learning rate, stepped after every optimizer step.
        accumulate: micro-batches of one step.
        clip_norm: limit of the gradient's L2 norm.
        device: where to compute.
        precision: "fp32", "bf16" or "fp16".
    """

    model: nn.Module
    terms: Callable[[AnyBatch], Terms]
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LambdaLR
    accumulate: int
    clip_norm: float
    device: torch.device
    precision: str

    def run(self, batches: Iterator[AnyBatch], *, first: int, last: int) -> Iterator[Step]:
        """Do steps `first` to `last`, yielding each one when it is done.

        Raises:
            PartsegError: a loss is not finite; names step, term and images.
        """
        scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16")
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        for number in range(first, last + 1):
            self.model.train()
            sums: dict[str, float] = {}
            for _ in range(self.accumulate):
                terms = self._terms(next(batches), number)
                scaler.scale(terms["total"] / self.accumulate).backward()
                for name, value in terms.items():
                    sums[name] = sums.get(name, 0.0) + value.item() / self.accumulate
            scaler.unscale_(self.optimizer)
            norm = nn.utils.clip_grad_norm_(parameters, self.clip_norm)
            if not (norm.isfinite() or scaler.is_enabled()):
                raise PartsegError(
                    f"step {number}: the gradient must be finite, got {norm.item()} with a finite loss; "
                    "lower train.lr or use train.precision=fp32"
                )
            lr = float(self.schedule.get_last_lr()[0])
            scaler.step(self.optimizer)
            scaler.update()
            self.optimizer.zero_grad(set_to_none=True)
            self.schedule.step()
            yield Step(number, lr, sums, norm.item())

    def _terms(self, batch: AnyBatch, number: int) -> Terms:
        terms = self.terms(batch)
        for name, value in terms.items():
            if not value.isfinite():
                raise PartsegError(
                    f"step {number}: the loss term {name} must be finite, got {value.item()} on images "
                    f"{', '.join(batch.image_ids)}; lower train.lr or use train.precision=fp32"
                )
        return terms


def supervised(
    forward: Callable[[Float[Tensor, "B 3 H W"]], Logits],
    loss: Callable[[Logits, Labels], Terms],
    device: torch.device,
    precision: str,
) -> Callable[[Batch], Terms]:
    """Give the terms of labelled images: `forward` in the precision asked for, then `loss`."""

    def terms(batch: Batch) -> Terms:
        labels = Labels(*(plane.to(device) for plane in batch.labels))
        with autocast(device, precision):
            logits = forward(batch.images.to(device))
        return loss(logits, labels)

    return terms


def choose_precision(name: str, device: torch.device) -> str:
    """Give the precision to use: "auto" is bf16 on a CUDA device that has it, else fp32."""
    if name != "auto":
        return name
    return "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "fp32"


def loop_state(loop: Loop[Any], step: int) -> dict[str, Any]:
    """Give what, besides weights, a run needs to go on after `step`."""
    return {"step": step, "optimizer": loop.optimizer.state_dict(), "schedule": loop.schedule.state_dict()}
