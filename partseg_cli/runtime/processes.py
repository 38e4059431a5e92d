"""Several processes for one piece of work, a device each: started here, or by torchrun.

Each process does its share of the work alone. What it gives must not depend on how many there are, so on a CPU matrices
are multiplied in the order that `STRICT` asks for.
"""

from __future__ import annotations

import os
import threading
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import connection, get_context
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any, TypeVar

import torch
from torch.distributed import TCPStore  # type: ignore[attr-defined]  # public, but not listed
from tqdm import tqdm

from partseg_cli.errors import PartsegError, UsageError
from partseg_cli.runtime.devices import choose_device
from partseg_cli.runtime.pool import join_parent, usable_cores
from partseg_cli.runtime.process_group import SINGLE_PROCESS, ProcessGroup, limit_threads

Value = TypeVar("Value")

STRICT = ("MKL_CBWR", "AUTO,STRICT")
"""Lets Intel's MKL, which computes for PyTorch on x86, round alike for any number of threads; it costs no time that we
could measure. Without it two threads move logits by 1e-7, and some labels with them."""
MOST = 64
"""Processes on one machine's CPU, so that a slip of the keyboard does not choke it."""


@dataclass(frozen=True)
class DevicePlan:
    """Which processes there are.

    Attributes:
        devices: one for each process that is to be started here; a single one means this process alone.
        process_group: Processes that torchrun has started, and which of them this is.
    """

    devices: tuple[torch.device, ...]
    process_group: ProcessGroup = SINGLE_PROCESS

    @property
    def is_main(self) -> bool:
        """Whether this process tells and writes."""
        return self.process_group.is_main


def plan_devices(device: str = "auto", gpus: str | None = None) -> DevicePlan:
    """Read `--device`, `--gpus` and what torchrun has set.

    Args:
        device: auto, cpu, cuda, cuda:N or mps.
        gpus: a number, "all", or a list such as "0,2"; with the device cpu it is a number of processes.

    Raises:
        UsageError: a device is not there, or the two do not go together.
    """
    os.environ.setdefault(*STRICT)
    if "RANK" in os.environ and "WORLD_SIZE" in os.environ:
        return _of_torchrun(device, gpus)
    if gpus is None:
        return DevicePlan((choose_device(device),))
    if device == "cpu":
        return DevicePlan((torch.device("cpu"),) * _cpu_processes(gpus))
    if device not in {"auto", "cuda"}:
        raise UsageError(f"--gpus goes with --device auto, cuda or cpu, got {device}; leave one of them out")
    return DevicePlan(tuple(torch.device("cuda", index) for index in _cuda_devices(gpus)))


def _of_torchrun(device: str, gpus: str | None) -> DevicePlan:
    if gpus is not None:
        raise UsageError(f"--gpus: torchrun has started the processes already, got {gpus}; leave it out")
    group = ProcessGroup(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))
    if group.size > 1 and "MASTER_ADDR" not in os.environ:
        raise UsageError(f"RANK and WORLD_SIZE {group.size} need MASTER_ADDR and MASTER_PORT, got none; use torchrun")
    if device in {"auto", "cuda"} and torch.cuda.is_available():
        device = f"cuda:{os.environ.get('LOCAL_RANK', group.index)}"
    return DevicePlan((choose_device(device),), group)


def _cpu_processes(gpus: str) -> int:
    wanted = usable_cores() if gpus == "all" else int(gpus) if gpus.isascii() and gpus.isdigit() else 0
    if not 1 <= wanted <= MOST:
        raise UsageError(f"--gpus with --device cpu must be a number of processes from 1 to {MOST}, or all, got {gpus}")
    return wanted


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


def launch(work: Callable[[ProcessGroup, torch.device], Value], devices: Sequence[torch.device]) -> Value:
    """Do work in processes that are connected, and give the value of the first one.

    They end with this one, however it ends. One that fails ends all.

    Args:
        work: picklable; is given which process it is in, and its device.
        devices: one for each process.

    Raises:
        PartsegError: a process raised it, or was killed.
        RuntimeError: a process failed otherwise.
    """
    meeting = TCPStore("127.0.0.1", 0, None, is_master=True, wait_for_workers=False)
    context = get_context("spawn")  # forking a process of many threads can lock up
    wires, processes = [], []
    try:
        for index, device in enumerate(devices):
            ours, theirs = context.Pipe()
            arguments = (work, ProcessGroup(index, len(devices)), device, meeting.port, theirs)
            processes.append(context.Process(target=_run, args=arguments, daemon=True))
            processes[-1].start()
            theirs.close()
            wires.append(ours)
        value: Value = _listen(wires, processes)
        return value
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.join()


def _run(
    work: Callable[[ProcessGroup, torch.device], Any],
    group: ProcessGroup,
    device: torch.device,
    port: int,
    wire: Connection,
) -> None:
    """Do one process's share, tell the parent how it went, and wait for its leave, so that no connection breaks."""
    join_parent()
    tqdm.set_lock(threading.RLock())  # its own is the system's, which would complain when this process is ended
    if device.type == "cpu":
        limit_threads(group, usable_cores())
    try:
        store = TCPStore("127.0.0.1", port, group.size, is_master=False)
        with group.connected(device, store):
            wire.send(_try(work, group, device))
            threading.Event().wait()
    except Exception:
        wire.send((False, traceback.format_exc()))
        raise


def _try(
    work: Callable[[ProcessGroup, torch.device], Any], group: ProcessGroup, device: torch.device
) -> tuple[bool, Any | PartsegError | str]:
    """Give (True, the value), or (False, the error)."""
    try:
        return True, work(group, device)
    except PartsegError as error:
        return False, error
    except Exception:
        return False, traceback.format_exc()


def _listen(wires: Sequence[Connection], processes: Sequence[SpawnProcess]) -> Any:  # noqa: ANN401 - the work's
    """Wait until all are done, and give the value of the first."""
    values: dict[int, Any] = {}
    while len(values) < len(wires):
        waiting = [wire for index, wire in enumerate(wires) if index not in values]
        for wire in connection.wait(waiting):
            index = wires.index(wire)
            try:
                is_done, values[index] = wires[index].recv()
            except (EOFError, ConnectionResetError):
                raise _death(processes) from None
            if not is_done:
                raise _failure(values[index], index, processes)
    return values[0]


def _failure(what: PartsegError | str, index: int, processes: Sequence[SpawnProcess]) -> Exception:
    """Give the error of a process; where one was killed, the others fail too, for want of an answer."""
    if isinstance(what, PartsegError):
        return what
    if connection.wait([process.sentinel for process in processes], timeout=1):
        return _death(processes)
    return RuntimeError(f"process {index + 1} of {len(processes)} failed:\n{what}")


def _death(processes: Sequence[SpawnProcess]) -> PartsegError:
    ended = connection.wait([process.sentinel for process in processes])
    dead = next(process for process in processes if process.sentinel in ended)
    dead.join()
    return PartsegError(
        f"a process of {len(processes)} must live to the end, got one that ended with {dead.exitcode}, "
        "as when memory runs out; run again with fewer --gpus: what is counted is kept"
    )
