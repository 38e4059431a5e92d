"""Gradient of a step from those of its micro-batches, in any number of processes.

Sums are taken in float64 and rounded once, so that their order, which the layout of a run decides, does not matter.
Rounding errors would grow from step to step, and a run on two devices would differ from one on a single device.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import GradBucket  # type: ignore[attr-defined]  # public, but not listed
from torch.nn.parallel import DistributedDataParallel


class GradientSum:
    """Sum of the gradients of a step.

    Args:
        parameters: Trainable parameters.
        count: Micro-batches of a step, over all processes; the step's gradient is their mean.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], count: int) -> None:
        self._parameters, self._count = parameters, count
        self._sums: dict[Tensor, Tensor] = {}

    def take(self) -> None:
        """Add the gradients of a backward pass to the sums, and remove them."""
        for parameter in self._parameters:
            if parameter.grad is not None:
                self._sums[parameter] = self._with_sum(parameter, parameter.grad)
                parameter.grad = None

    def finish(self) -> None:
        """Set the gradients to the mean over all micro-batches: those taken, and the last one."""
        if self._count == 1:
            return
        for parameter in self._parameters:
            if parameter.grad is not None or parameter in self._sums:
                last = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
                parameter.grad = (self._with_sum(parameter, last) / self._count).to(parameter.dtype)
        self._sums.clear()

    def join(self, network: DistributedDataParallel) -> None:
        """Make a process group take the mean during the last backward pass, in place of `finish`."""
        network.register_comm_hook(None, lambda state, bucket: self._reduce(bucket))

    def _reduce(self, bucket: GradBucket) -> torch.futures.Future[Tensor]:
        """Sum the gradients of a bucket of parameters over the group: of the last pass, and those taken before."""
        parameters = bucket.parameters()
        pairs = zip(parameters, bucket.gradients(), strict=True)
        total = torch.cat([self._with_sum(parameter, last).flatten() for parameter, last in pairs])
        for parameter in parameters:
            self._sums.pop(parameter, None)
        dtype, count = bucket.buffer().dtype, self._count

        def mean(done: torch.futures.Future[list[Tensor]]) -> Tensor:
            return (done.value()[0] / count).to(dtype)

        future: torch.futures.Future[Tensor] = dist.all_reduce(total, async_op=True).get_future().then(mean)
        return future

    def _with_sum(self, parameter: Tensor, gradient: Tensor) -> Tensor:
        wide = gradient.to(torch.float32 if gradient.device.type == "mps" else torch.float64)  # MPS has no float64
        return wide + self._sums[parameter] if parameter in self._sums else wide
