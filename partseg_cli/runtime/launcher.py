"""Run a function in several connected processes of this machine, one per device.

The processes end with this one, however it ends. The first error ends all of them and is raised here.
"""

from __future__ import annotations

import os
import threading
import traceback
from collections.abc import Callable, Sequence
from multiprocessing import connection
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

import torch
from torch.distributed import TCPStore  # type: ignore[attr-defined]  # public, but not listed
from tqdm import tqdm

from partseg_cli.errors import PartsegError
from partseg_cli.runtime.pool import die_with_parent, process_context, usable_cores
from partseg_cli.runtime.process_group import ProcessGroup, limit_threads

Value = TypeVar("Value")
Work = Callable[[ProcessGroup, torch.device], Value]


def launch(function: Work[Value], devices: Sequence[torch.device], *, advice: str) -> Value:
    """Run a function in connected processes and return the value of the main one.

    As under torchrun, `RANK`, `WORLD_SIZE`, `LOCAL_RANK` and `LOCAL_WORLD_SIZE` are set in each process.

    Args:
        function: Picklable function of the process group and the device of its process.
        devices: One for each process.
        advice: Remedy that ends the error message when a process is killed.

    Raises:
        PartsegError: A process raised it, or was killed.
        RuntimeError: A process raised another error; the message holds its traceback.
    """
    store = TCPStore("127.0.0.1", 0, None, is_master=True, wait_for_workers=False)
    context = process_context()
    pipes, processes = [], []
    try:
        for index, device in enumerate(devices):
            ours, theirs = context.Pipe()
            arguments = (function, ProcessGroup(index, len(devices)), device, store.port, dict(os.environ), theirs)
            processes.append(context.Process(target=_run, args=arguments))
            processes[-1].start()
            theirs.close()
            pipes.append(ours)
        values = _receive(pipes, processes, advice)
        for pipe in pipes:
            pipe.close()  # only now may a process leave: the others could still wait for it
        for process in processes:
            process.join()
        value: Value = values[0]
        return value
    finally:
        for process in processes:
            process.kill()
            process.join()


def _run(
    function: Work[Any],
    group: ProcessGroup,
    device: torch.device,
    port: int,
    environment: dict[str, str],
    pipe: Connection,
) -> None:
    """Run the function in one process, send its value or error, and stay connected until the launcher has them all."""
    die_with_parent()
    index, size = str(group.index), str(group.size)
    os.environ |= environment | {"RANK": index, "WORLD_SIZE": size, "LOCAL_RANK": index, "LOCAL_WORLD_SIZE": size}
    tqdm.set_lock(threading.RLock())  # the default one is a semaphore of the system, reported as leaked after a kill
    if device.type == "cpu":
        limit_threads(group, usable_cores())
    try:
        with group.connected(device, TCPStore("127.0.0.1", port, group.size, is_master=False)):
            try:
                pipe.send((True, function(group, device)))
            except PartsegError as error:
                pipe.send((False, error))
            except Exception:
                pipe.send((False, traceback.format_exc()))
            pipe.poll(None)  # until the launcher closes its end
    except Exception:
        pipe.send((False, traceback.format_exc()))
        raise


def _receive(pipes: Sequence[Connection], processes: Sequence[BaseProcess], advice: str) -> list[Any]:
    """Return the values of all processes, in their order."""
    values: dict[int, Any] = {}
    while len(values) < len(pipes):
        waiting = [pipe for index, pipe in enumerate(pipes) if index not in values]
        for pipe in connection.wait(waiting):
            index = next(number for number, other in enumerate(pipes) if other is pipe)
            try:
                is_done, values[index] = pipes[index].recv()
            except (EOFError, ConnectionResetError):
                raise _killed(processes, advice) from None
            if not is_done and isinstance(values[index], PartsegError):
                raise values[index]
            if not is_done:
                # where one process is killed, the others fail too: their connection breaks
                if connection.wait([process.sentinel for process in processes], timeout=1):
                    raise _killed(processes, advice)
                raise RuntimeError(f"process {index + 1} of {len(processes)} failed:\n{values[index]}")
    return [values[index] for index in range(len(pipes))]


def _killed(processes: Sequence[BaseProcess], advice: str) -> PartsegError:
    ended = connection.wait([process.sentinel for process in processes])
    dead = next(process for process in processes if process.sentinel in ended)
    dead.join()
    return PartsegError(
        f"a process of {len(processes)} must live to the end, got one that ended with {dead.exitcode}, "
        f"as when memory runs out; {advice}"
    )
