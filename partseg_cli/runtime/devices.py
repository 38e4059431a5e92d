"""Devices: which ones a command runs on, in how many processes, in which precision, and errors of their memory."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass

import torch

from partseg_cli.errors import OutOfMemoryError, UsageError
from partseg_cli.runtime.pool import usable_cores
from partseg_cli.runtime.process_group import SINGLE_PROCESS, ProcessGroup

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
"""Parameters of glibc's mallopt: size above which memory is returned, size of a request, number of separate blocks."""
HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}
"""Precisions below "fp32"."""
STRICT = ("MKL_CBWR", "AUTO,STRICT")
"""Makes Intel's MKL, which computes for PyTorch on x86, round alike for any number of threads, at no measurable cost.
Without it two threads move logits by 1e-7, and some labels with them."""
MOST_CPU_PROCESSES = 64
"""Limit that catches a typing error before it fills the machine."""


def autocast(device: torch.device, precision: str) -> AbstractContextManager[None]:
    """Return a context in which models compute in "fp32", "bf16" or "fp16"."""
    half = HALF.get(precision)
    context: AbstractContextManager[None] = torch.autocast(device.type, dtype=half, enabled=half is not None)
    return context


def choose_precision(name: str, device: torch.device) -> str:
    """Return the precision named, where "auto" is bf16 on a CUDA device that has it, else fp32."""
    if name != "auto":
        return name
    return "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "fp32"


@dataclass(frozen=True)
class InferenceConfig:
    """Settings with which a trained model runs.

    Attributes:
        device: Device of the model.
        precision: "fp32", "bf16" or "fp16".
        prompt_chunk: Prompts per decoder pass; None chooses by device.
        batch: Images per forward pass.
    """

    device: torch.device
    precision: str = "fp32"
    prompt_chunk: int | None = None
    batch: int = 1

    def autocast(self) -> AbstractContextManager[None]:
        """Return a context in which the model computes in this precision."""
        return autocast(self.device, self.precision)


def build_inference_config(
    device: str = "auto", precision: str = "fp32", prompt_chunk: int | None = None, batch: int = 1
) -> InferenceConfig:
    """Build the configuration from a command's options; device is auto, cpu, cuda, cuda:N or mps.

    Raises:
        UsageError: The device is missing.
    """
    return InferenceConfig(choose_device(device), precision, prompt_chunk, batch)


@dataclass(frozen=True)
class DevicePlan:
    """Processes of a command and their devices.

    Attributes:
        devices: One for each process to start; a single one stands for this process alone.
        process_group: Process group of this process, of more than one where torchrun has started it.
    """

    devices: tuple[torch.device, ...]
    process_group: ProcessGroup = SINGLE_PROCESS

    @property
    def is_main(self) -> bool:
        """True in the process that logs and writes."""
        return self.process_group.is_main


def plan_devices(device: str = "auto", gpus: str | None = None) -> DevicePlan:
    """Plan processes from `--device`, `--gpus` and the environment that torchrun sets.

    Args:
        device: auto, cpu, cuda, cuda:N or mps.
        gpus: A number, "all", or a list such as "0,2"; with the device cpu a number of processes.

    Raises:
        UsageError: A device is missing, or the two contradict each other.
    """
    os.environ.setdefault(*STRICT)
    if "RANK" in os.environ and "WORLD_SIZE" in os.environ:
        return _plan_under_torchrun(device, gpus)
    if gpus is None:
        return DevicePlan((choose_device(device),))
    if device == "cpu":
        wanted = usable_cores() if gpus == "all" else int(gpus) if gpus.isascii() and gpus.isdigit() else 0
        if not 1 <= wanted <= MOST_CPU_PROCESSES:
            raise UsageError(
                f"--gpus with --device cpu must be a number of processes from 1 to {MOST_CPU_PROCESSES}, or all, "
                f"got {gpus}"
            )
        return DevicePlan((torch.device("cpu"),) * wanted)
    if device not in {"auto", "cuda"}:
        raise UsageError(f"--gpus goes with --device auto, cuda or cpu, got {device}; leave one of them out")
    return DevicePlan(tuple(torch.device("cuda", index) for index in _cuda_devices(gpus)))


def _plan_under_torchrun(device: str, gpus: str | None) -> DevicePlan:
    if gpus is not None:
        raise UsageError(f"--gpus: torchrun has started the processes already, got {gpus}; leave it out")
    group = ProcessGroup(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))
    if group.size > 1 and not (group.is_connected or "MASTER_ADDR" in os.environ):
        raise UsageError(f"RANK and WORLD_SIZE {group.size} need MASTER_ADDR and MASTER_PORT, got none; use torchrun")
    if device in {"auto", "cuda"} and torch.cuda.is_available():
        device = f"cuda:{os.environ.get('LOCAL_RANK', group.index)}"
    return DevicePlan((choose_device(device),), group)


def _cuda_devices(gpus: str) -> list[int]:
    present = torch.cuda.device_count()
    parts = gpus.split(",")
    if gpus != "all" and not all(part.isascii() and part.isdigit() for part in parts):
        raise UsageError(f"--gpus must be a number, all, or a list such as 0,2, got {gpus!r}")
    if gpus == "all":
        wanted = list(range(max(present, 1)))
    else:
        wanted = [int(part) for part in parts] if len(parts) > 1 else list(range(int(gpus)))
    if len(set(wanted)) < len(wanted):
        raise UsageError(f"--gpus must name each device once, got {gpus}")
    if not wanted or max(wanted) >= present:
        raise UsageError(
            f"--gpus: this machine has {present} CUDA devices, got {gpus}; ask for what is there, or --device cpu"
        )
    return wanted


def choose_device(name: str) -> torch.device:
    """Return the device named auto, cpu, cuda, cuda:N or mps; auto is a CUDA device if there is one, else the CPU.

    Raises:
        UsageError: The device is missing.
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
    """Keep the memory of freed tensors in this process, where the C library is glibc.

    By default large blocks return to the system at once and are requested again in the next step, which takes up to
    half of a training step on a CPU.
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
    except (MemoryError, RuntimeError) as error:
        is_memory = isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)
        if not is_memory:
            raise
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise OutOfMemoryError(f"out of memory ({reason}); {advice}") from error
