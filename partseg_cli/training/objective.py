"""Training objective: from a batch to the terms of its loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from partseg_cli.runtime.devices import autocast

AnyBatch = TypeVar("AnyBatch")
Outputs = TypeVar("Outputs")

Losses = dict[str, Float[Tensor, ""]]
"""Terms of a loss by name, and their weighted sum as `total`."""


@dataclass(frozen=True)
class Objective(Generic[AnyBatch, Outputs]):
    """Loss terms of a batch: a forward pass in the training precision, then the loss in float32.

    Attributes:
        forward: Function from a batch to the outputs of the model.
        loss: Function from outputs and batch to the loss terms.
        device: Device of the model.
        precision: "fp32", "bf16" or "fp16".
    """

    forward: Callable[[AnyBatch], Outputs]
    loss: Callable[[Outputs, AnyBatch], Losses]
    device: torch.device
    precision: str

    def __call__(self, batch: AnyBatch) -> Losses:
        """Compute the loss terms."""
        with autocast(self.device, self.precision):
            outputs = self.forward(batch)
        return self.loss(outputs, batch)
