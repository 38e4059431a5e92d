"""`train --gpus`: processes by torchrun, one error for all, and signals that reach them."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from command_line import tiny
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

from partseg_cli.cli.train import _without_gpus
from partseg_cli.errors import DataError
from partseg_cli.runtime import launcher as launch
from partseg_cli.runtime.launcher import FOLDER, LaunchError, _environment, _first_complaint, report, stop_request
from partseg_cli.runtime.processes import plan_devices

PARTSEG = [sys.executable, "-m", "partseg_cli"]
PATIENCE = 120


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
        f"stopped after step {steps} of 100000, which is saved; go on with partseg train --resume {run}\n"
    )
    assert "Traceback" not in err
    assert (run / f"checkpoints/step-{steps:06d}.state").is_file()
    assert json.loads((run / "env.json").read_text())["layout"]["processes"] == 2
    assert (run / "command.txt").read_text().endswith(" --gpus 2\n")


def test_an_error_in_all_processes_is_told_once_with_its_code(trained, tmp_path):
    words = ("train", "tiny", *tiny(trained.data), "data.root=nowhere", "--device", "cpu", "--gpus=2")
    command = started(*words, cwd=tmp_path)
    out, err = command.communicate(timeout=PATIENCE)
    message = "error: nowhere: no prepared data set (dataset.json: not found); run partseg prepare first\n"
    assert (command.returncode, out, err) == (3, "", message)
    assert list(tmp_path.iterdir()) == []


# before any process begins


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


def test_a_team_that_nobody_has_connected_is_refused(monkeypatch):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    message = r"^RANK and WORLD_SIZE 2 need MASTER_ADDR and MASTER_PORT, got none; use torchrun$"
    with pytest.raises(launch.PartsegError, match=message):
        plan_devices("cpu")


@pytest.mark.parametrize("given", [["--gpus", "2"], ["--gpus=2"]])
def test_the_processes_get_the_same_words_but_the_number(given):
    assert _without_gpus(["train", "tiny", *given, "--out", "x"]) == ["train", "tiny", "--out", "x"]


@pytest.mark.parametrize(("visible", "expected"), [(None, "0,2"), ("4,5,6", "4,6"), ("", "0,2")])
def test_the_processes_see_the_devices_that_were_asked_for(monkeypatch, tmp_path, visible, expected):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    before = dict(os.environ)
    with _environment(tmp_path, [torch.device("cuda", 0), torch.device("cuda", 2)]):
        assert os.environ["CUDA_VISIBLE_DEVICES"] == expected
        assert os.environ[FOLDER] == str(tmp_path)
    assert dict(os.environ) == before


# complaints


def failed(tmp_path: Path, *codes: int) -> ChildFailedError:
    failures = {}
    for rank, code in enumerate(codes):
        failures[rank] = ProcessFailure(rank, 1000 + rank, code, str(tmp_path / f"none-{rank}"))
    return ChildFailedError("train", failures)


def test_the_first_complaint_is_told(monkeypatch, tmp_path):
    monkeypatch.setenv(FOLDER, str(tmp_path))
    for rank, error in ((1, DataError("a photo is broken")), (0, RuntimeError("connection closed by peer"))):
        monkeypatch.setenv("RANK", str(rank))
        assert report(error)
    told = _first_complaint(tmp_path, failed(tmp_path, 1, 3))
    assert (str(told), told.exit_code) == ("a photo is broken", 3)


def test_a_process_that_was_killed_is_told_before_what_follows_from_it(monkeypatch, tmp_path):
    monkeypatch.setenv(FOLDER, str(tmp_path))
    assert report(RuntimeError("connection closed by peer"))
    told = _first_complaint(tmp_path, failed(tmp_path, 1, -signal.SIGKILL))
    message = (
        "a process must live to the end, got one that ended with -9, as when memory runs out; go on with --resume auto"
    )
    assert (str(told), told.exit_code) == (message, 1)


def test_a_process_that_said_nothing_is_told_by_its_code(tmp_path):
    told = _first_complaint(tmp_path, failed(tmp_path, 7))
    assert isinstance(told, LaunchError)
    assert re.fullmatch(r"a process ended with 7; see what it wrote above", str(told))


def test_nobody_is_told_where_nobody_started_this_process(monkeypatch):
    monkeypatch.delenv(FOLDER, raising=False)
    assert not report(DataError("a photo is broken"))
    assert not stop_request()()


def test_a_wish_to_stop_comes_by_file_too(monkeypatch, tmp_path):
    monkeypatch.setenv(FOLDER, str(tmp_path))
    stop = stop_request()
    assert not stop()
    (tmp_path / "stop").write_text("SIGUSR1")
    assert (stop(), stop.reason) == (True, "SIGUSR1")


def test_torchrun_reads_no_option_of_ours_as_its_own(monkeypatch):
    found = []
    monkeypatch.setattr(launch.torchrun, "run", found.append)
    words = ["train", "tiny", "--log", "x", "--nnodes", "7"]
    launch.launch(words, [torch.device("cpu")] * 2)
    (arguments,) = found
    assert (arguments.training_script, arguments.training_script_args) == ("partseg_cli", words)
    assert (arguments.nproc_per_node, arguments.nnodes, arguments.module) == ("2", "1:1", True)
