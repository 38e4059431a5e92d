"""Several training processes on this machine by torchrun, which runs in here: a device each, one error for all.

The processes run the same command. This one waits for them; what a process has to complain of reaches it in a file of a
folder that both know, and so does its own wish that they stop.
"""

from __future__ import annotations

import json
import logging
import os
import shlex
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Any

import torch
from torch.distributed import run as torchrun
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

from partseg_cli.errors import PartsegError
from partseg_cli.io.atomic import write_text
from partseg_cli.runtime.pool import usable_cores
from partseg_cli.runtime.signals import SIGNALS, Stop

FOLDER = "PARTSEG_LAUNCH"
"""Environment variable that tells a process which folder it shares with the one that started it."""
COMMAND = "PARTSEG_COMMAND"
"""Environment variable with the command as the user wrote it."""
STOP = "stop"


class LaunchError(PartsegError):
    """What a process of several complained of, with its exit code."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def launch(words: Sequence[str], devices: Sequence[torch.device]) -> None:
    """Run `partseg <words>` in a process for each device, and wait for all.

    Args:
        words: of the command, without --gpus.
        devices: all of one kind.

    Raises:
        LaunchError: a process failed; the others were ended.
    """
    with (
        TemporaryDirectory(prefix="partseg-") as folder,
        _environment(Path(folder), devices),
        _passing_on(Path(folder)),
    ):
        logging.getLogger("torch.distributed").setLevel(logging.CRITICAL)  # what went wrong is told in one line
        arguments = torchrun.get_args_parser().parse_args(
            ["--standalone", f"--nproc-per-node={len(devices)}", *_own_signals(), "-m", "partseg_cli"]
        )
        arguments.training_script_args = list(words)  # which its parser would search for options of its own
        try:
            torchrun.run(arguments)
        except ChildFailedError as error:
            raise _first_complaint(Path(folder), error) from None


def _own_signals() -> list[str]:
    """Keep torchrun from ending the processes at SIGTERM, where it lets itself be told."""
    known = any("--signals-to-handle" in action.option_strings for action in torchrun.get_args_parser()._actions)
    return ["--signals-to-handle=SIGINT,SIGHUP,SIGQUIT"] if known else []


@contextmanager
def _environment(folder: Path, devices: Sequence[torch.device]) -> Iterator[None]:
    """Tell the processes which folder they share, how many threads they may have, and which devices they see."""
    values = {FOLDER: str(folder), COMMAND: command_line()}
    if "OMP_NUM_THREADS" not in os.environ:
        values["OMP_NUM_THREADS"] = str(max(1, usable_cores() // len(devices)))
    if devices[0].type == "cuda":
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
        names = visible if visible != [""] else [str(index) for index in range(torch.cuda.device_count())]
        values["CUDA_VISIBLE_DEVICES"] = ",".join(names[device.index or 0] for device in devices)
    before = {name: os.environ.get(name) for name in values}
    os.environ |= values
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _passing_on(folder: Path) -> Iterator[None]:
    """Pass a wish to stop on to the processes, which end when their step is done and saved."""

    def note(number: int, frame: FrameType | None) -> None:
        write_text(folder / STOP, signal.Signals(number).name)

    before = {number: signal.signal(number, note) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def shared_folder() -> Path | None:
    """Give the folder that this process shares with the one that started it; None: nobody of ours did."""
    name = os.environ.get(FOLDER)
    return Path(name) if name else None


def join_launcher() -> None:
    """End with the process that started this one, even where that is killed; nothing to do where nobody of ours did."""
    if shared_folder() is not None:
        threading.Thread(target=_watch, args=(os.getppid(),), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    signal.raise_signal(signal.SIGKILL)


def command_line() -> str:
    """Give the command as the user wrote it."""
    return os.environ.get(COMMAND) or shlex.join(["partseg", *sys.argv[1:]])


def stop_request() -> Stop:
    """Give what tells whether this process is asked to stop, by a signal or by the one that started it."""
    folder = shared_folder()
    return Stop(folder / STOP if folder else None)


def report(error: Exception) -> bool:
    """Hand an error to the process that started this one, which alone tells it; False: nobody of ours did."""
    folder = shared_folder()
    if folder is None:
        return False
    complaint: dict[str, Any] = {"time": time.time(), "is_ours": isinstance(error, PartsegError)}
    if isinstance(error, PartsegError):
        complaint |= {"message": str(error), "exit_code": error.exit_code}
    else:
        complaint |= {"message": "".join(traceback.format_exception(error))}
    write_text(folder / f"error-{os.environ.get('RANK', 0)}.json", json.dumps(complaint))
    return True


def _first_complaint(folder: Path, error: ChildFailedError) -> LaunchError | RuntimeError:
    """Give the error that came first: the others follow from it, for want of an answer.

    One that is no user's mistake keeps its traceback.
    """
    codes = [failure.exitcode for failure in error.failures.values()]
    killed = [code for code in codes if code < 0 and code != -signal.SIGTERM]  # which torchrun ends the others by
    if killed:
        return LaunchError(
            f"a process must live to the end, got one that ended with {killed[0]}, as when memory runs out; go on with "
            "--resume auto",
            1,
        )
    complaints = [json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("error-*.json")]
    if not complaints:
        return LaunchError(f"a process ended with {codes[0]}; see what it wrote above", 1)
    first = min(complaints, key=lambda complaint: float(complaint["time"]))
    if first["is_ours"]:
        return LaunchError(first["message"], first["exit_code"])
    return RuntimeError(f"a process failed:\n{first['message']}")
