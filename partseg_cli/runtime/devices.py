"""Which device to compute on, and what to say when it runs out of memory."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass

import torch

from partseg_cli.errors import OutOfMemoryError, UsageError

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
"""Of glibc's mallopt: from when on memory goes back, how much is asked for at once, blocks that are asked for alone."""
HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}
"""Precisions below float32; "fp32" is the other one."""


def autocast(device: torch.device, precision: str) -> AbstractContextManager[None]:
    """Give a context in which models compute in "fp32", "bf16" or "fp16"."""
    half = HALF.get(precision)
    context: AbstractContextManager[None] = torch.autocast(device.type, dtype=half, enabled=half is not None)
    return context


@dataclass(frozen=True)
class InferenceConfig:
    """How a trained model is run.

    Attributes:
        device: where.
        precision: "fp32", "bf16" or "fp16".
        prompt_chunk: prompts that the decoder takes at once, None = what suits the device.
        batch: images in one forward pass.
    """

    device: torch.device
    precision: str = "fp32"
    prompt_chunk: int | None = None
    batch: int = 1

    def autocast(self) -> AbstractContextManager[None]:
        """Give a context in which the model computes in this precision."""
        return autocast(self.device, self.precision)


def choose_device(name: str) -> torch.device:
    """Give the device called auto, cpu, cuda, cuda:N or mps; auto takes a CUDA device if there is one, else the CPU.

    Raises:
        UsageError: the device is not there.
    """
    present = torch.cuda.device_count()
    if name == "auto":
        name = "cuda" if present else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"--device must be auto, cpu, cuda, cuda:N or mps, got {name!r}") from error
    if device.type not in {"cpu", "cuda", "mps"} or (device.type == "cpu" and device.index is not None):
        raise UsageError(f"--device must be auto, cpu, cuda, cuda:N or mps, got {name!r}")
    if device.type == "cuda" and (device.index or 0) >= present:
        raise UsageError(f"--device: this machine has {present} CUDA devices, got {name!r}; use --device cpu")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UsageError("--device: this machine has no MPS device, got 'mps'; use --device cpu")
    return device


def keep_freed_memory() -> None:
    """Let the C library keep what tensors free, where it is glibc.

    By default it hands large blocks back to the system at once and asks for them again in the next step: of a training
    step on a processor the system's part then takes up to half.
    """
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(M_MMAP_MAX, 0)
        library.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
        library.mallopt(M_TOP_PAD, 2**28)


@contextmanager
def memory_watch(advice: str) -> Iterator[None]:
    """Turn running out of memory, on any device, into an `OutOfMemoryError` with `advice`."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise OutOfMemoryError(f"out of memory ({_first_line(error)}); {advice}") from error
    except RuntimeError as error:
        if "can't allocate memory" not in str(error):
            raise
        raise OutOfMemoryError(f"out of memory ({_first_line(error)}); {advice}") from error


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0] or type(error).__name__
