"""Processes that are started here: `launch`, and `train --gpus` with one error for all and signals that reach them."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import torch
from command_line import tiny

from partseg_cli.errors import DataError, PartsegError
from partseg_cli.runtime.launcher import launch
from partseg_cli.runtime.pool import process_context
from partseg_cli.runtime.process_group import ProcessGroup
from partseg_cli.runtime.signals import Stop

pytestmark = pytest.mark.process

PARTSEG = [sys.executable, "-m", "partseg_cli"]
CPU = torch.device("cpu")
ADVICE = "run again with fewer --gpus"
PATIENCE = 120


# what a process gets and gives


def describe(group: ProcessGroup, device: torch.device) -> list[tuple[object, ...]]:
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "PARTSEG_DATA")
    return group.gather((group.index, group.size, str(device), *(os.environ.get(name) for name in names)))


def test_each_process_gets_its_rank_its_device_and_this_environment_and_the_value_is_the_main_one(monkeypatch):
    monkeypatch.setenv("PARTSEG_DATA", "somewhere")
    described = launch(describe, [CPU] * 2, advice=ADVICE)
    assert described == [(rank, 2, "cpu", str(rank), "2", str(rank), "2", "somewhere") for rank in (0, 1)]
    assert "RANK" not in os.environ


def wait_for_a_signal(group: ProcessGroup, device: torch.device, stop: Stop, launcher: int) -> list[tuple[bool, str]]:
    if group.is_main:
        os.kill(launcher, signal.SIGUSR1)
    while not stop():
        time.sleep(0.01)
    return group.gather((stop(), stop.reason))


def test_a_signal_to_this_process_reaches_all_that_share_the_stop_request():
    stop = Stop()
    assert (stop(), stop.reason) == (False, "")
    with stop.listening():
        values = launch(partial(wait_for_a_signal, stop=stop, launcher=os.getpid()), [CPU] * 2, advice=ADVICE)
    assert values == [(True, "SIGUSR1")] * 2
    assert (stop(), stop.reason) == (True, "SIGUSR1")


# errors


def fail_in_the_second(group: ProcessGroup, device: torch.device, error: Exception) -> None:
    if group.index == 1:
        raise error
    torch.distributed.barrier()


def end_in_the_second(group: ProcessGroup, device: torch.device, number: int) -> None:
    if group.index == 1:
        os.kill(os.getpid(), -number) if number < 0 else os._exit(number)
    torch.distributed.barrier()


def test_a_process_that_fails_ends_all_with_its_own_error():
    with pytest.raises(DataError, match=r"^photo_07\.png: is broken$"):
        launch(partial(fail_in_the_second, error=DataError("photo_07.png: is broken")), [CPU] * 2, advice=ADVICE)


def test_an_error_that_is_no_users_mistake_keeps_its_traceback():
    message = r"^process 2 of 2 failed:\nTraceback .*in fail_in_the_second\n.*ValueError: no such axis\n$"
    with pytest.raises(RuntimeError, match=re.compile(message, re.DOTALL)):
        launch(partial(fail_in_the_second, error=ValueError("no such axis")), [CPU] * 2, advice=ADVICE)


@pytest.mark.parametrize("number", [-signal.SIGKILL, 7])
def test_a_process_that_is_killed_or_exits_ends_all(number):
    message = (
        f"^a process of 2 must live to the end, got one that ended with {number}, as when memory runs out; "
        r"run again with fewer --gpus$"
    )
    with pytest.raises(PartsegError, match=message):
        launch(partial(end_in_the_second, number=number), [CPU] * 2, advice=ADVICE)


def note_and_wait(group: ProcessGroup, device: torch.device, folder: Path) -> None:
    (folder / str(os.getpid())).touch()
    time.sleep(PATIENCE)


def launch_and_wait(folder: Path) -> None:
    launch(partial(note_and_wait, folder=folder), [CPU] * 2, advice=ADVICE)


def is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return "\nState:\tZ" not in Path(f"/proc/{process}/status").read_text()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="processes of Linux")
def test_processes_end_with_the_one_that_started_them_even_where_that_is_killed(tmp_path):
    launcher = process_context().Process(target=launch_and_wait, args=(tmp_path,))
    launcher.start()
    end = time.monotonic() + PATIENCE
    while len(started := [int(path.name) for path in tmp_path.iterdir()]) < 2:
        assert time.monotonic() < end
        time.sleep(0.01)
    launcher.kill()
    launcher.join()
    while any(map(is_alive, started)):
        assert time.monotonic() < end
        time.sleep(0.01)


# train --gpus


def started(*words: object, **options: object) -> subprocess.Popen[str]:
    command = [*PARTSEG, *map(str, words)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, **pipes, **options)


def test_a_signal_to_the_command_lets_all_processes_save_and_ends_with_0(trained, tmp_path):
    run = tmp_path / "run"
    words = ("train", "tiny", *tiny(trained.data), "train.iterations=100000", "--device", "cpu", "--out", run)
    command = started(*words, "--gpus", 2)
    end = time.monotonic() + PATIENCE
    while not (run / "metrics.jsonl").exists() or (run / "metrics.jsonl").read_bytes().count(b"\n") < 3:
        assert command.poll() is None, command.communicate()
        assert time.monotonic() < end
        time.sleep(0.01)
    command.send_signal(signal.SIGTERM)
    out, err = command.communicate(timeout=PATIENCE)
    assert command.returncode == 0, err
    steps = len((run / "metrics.jsonl").read_text().splitlines())
    assert out == f"{run}/checkpoints/last.safetensors\n"
    assert err.endswith(
        f"stopped after step {steps} of 100000, which is saved; resume with partseg train --resume {run}\n"
    )
    assert "Traceback" not in err
    assert (run / f"checkpoints/step-{steps:06d}.state").is_file()
    assert json.loads((run / "env.json").read_text())["layout"]["processes"] == 2
    assert (run / "command.txt").read_text().endswith(" --gpus 2\n")


def test_an_error_in_all_processes_is_told_once_with_its_code(partseg, trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ("train", "tiny", *tiny(trained.data), "data.root=nowhere", "--device", "cpu", "--gpus=2")
    message = "error: nowhere: no prepared dataset (dataset.json: not found); run partseg prepare first\n"
    assert partseg(*words) == (3, "", message)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("recipe", "gpus", "message"),
    [
        (
            "tiny",
            "3",
            "tiny: train.batch_size must be divisible by the number of processes, got 2 over 3; use 2 processes, or "
            "another training with train.batch_size=3",
        ),
        ("tiny", "0", "--gpus with --device cpu must be a number of processes from 1 to 64, or all, got 0"),
        ("nano_clip", "2", "nano_clip: a recipe of task captions trains in one process, got 2; use one"),
    ],
)
def test_what_cannot_be_spread_is_refused_at_once(partseg, trained, recipe, gpus, message):
    words = tiny(trained.data) if recipe == "tiny" else []
    assert partseg("train", recipe, *words, "--device", "cpu", "--gpus", gpus) == (2, "", f"error: {message}\n")
