"""A training run that is stopped, however suddenly, goes on and ends with the same bits."""

import json
import os
import random
import re
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch
from command_line import tiny
from forked import start
from safetensors.torch import load_file
from torch import nn

from partseg_cli.config.recipe import load_recipe
from partseg_cli.errors import PartsegError
from partseg_cli.models.checkpoints.checkpoint import read_header
from partseg_cli.pipeline.train import TrainOptions, train
from partseg_cli.runtime.signals import Stop
from partseg_cli.training.loggers import Step
from partseg_cli.training.resume import load_state
from partseg_cli.training.run_dir import RunDir

STEPS, KILLS, EVERY = 40, 10, 3
PATIENCE = 60
OF_A_RUN = re.compile(r"\.?(step-\d{6}|last)\.(state|safetensors)(\.\d+\.part)?|\.tmp[A-Za-z0-9]{6}")
"""Files that a kill may leave in `checkpoints/`: whole ones, those being written, and the temporary of safetensors."""


def settings(data: Path) -> list[str]:
    length = (f"train.iterations={STEPS}", f"train.save_interval={EVERY}", "train.keep_checkpoints=2")
    return [*tiny(data), "model.image_size=32", *length]


def steps_done(run: Path) -> int:
    path = run / "metrics.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def kill_after(overrides: list[str], run: Path, step: int, delay: float) -> None:
    """Let a run begin or go on, and kill it some moment after a step."""
    process, end = start(overrides, run), time.monotonic() + PATIENCE
    while steps_done(run) < step and process.is_alive():
        assert time.monotonic() < end, f"step {step} did not come"
        time.sleep(0.002)
    time.sleep(delay)
    process.kill()
    process.join()


@pytest.fixture(scope="module")
def undisturbed(trained, tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("undisturbed") / "run"
    process = start(settings(trained.data), run)
    process.join()
    assert process.exitcode == 0
    return run


def curve(run: Path) -> list[dict]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


@pytest.mark.process
def test_ten_kills_at_random_moments_change_no_bit(trained, undisturbed, tmp_path):
    rng, run = random.Random(7), tmp_path / "run"
    for step in sorted(rng.sample(range(1, STEPS), KILLS)):
        kill_after(settings(trained.data), run, step, rng.uniform(0, 0.1))
        assert not (run / "checkpoints/selected.json").exists()
        assert [path.name for path in (run / "checkpoints").glob("*") if not OF_A_RUN.fullmatch(path.name)] == []
    process = start(settings(trained.data), run)
    process.join()
    assert process.exitcode == 0
    ours, theirs = (load_file(folder / "checkpoints/last.safetensors") for folder in (run, undisturbed))
    assert all(value.equal(theirs[name]) for name, value in ours.items())
    states = [load_state(folder / f"checkpoints/step-{STEPS:06d}.state") for folder in (run, undisturbed)]
    moments = [state["optimizer"]["state"] for state in states]
    assert moments[0].keys() == moments[1].keys()
    for number, values in moments[0].items():
        assert all(torch.equal(value, moments[1][number][name]) for name, value in values.items())
    assert curve(run) == curve(undisturbed)
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == [
        "last.safetensors",
        "selected.json",
        *(f"step-{step:06d}.{kind}" for step in (39, 40) for kind in ("safetensors", "state")),
    ]
    assert len((run / "command.txt").read_text().splitlines()) >= 2


# which run goes on


def words(data: Path, *more: object) -> list[object]:
    return ["train", "tiny", *tiny(data), *more, "--device", "cpu"]


@pytest.fixture
def copied(trained, tmp_path, monkeypatch) -> Path:
    """A copy of the trained run that lacks its end, below a folder of its own."""
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "runs/train/tiny-3"
    shutil.copytree(trained.run, run)
    (run / "checkpoints/selected.json").unlink()
    return run


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.training
def test_auto_takes_the_newest_run_that_is_not_done(partseg, trained, copied):
    older = copied.with_name("tiny-12")
    shutil.copytree(copied, older)
    os.utime(older / "recipe.yaml", (1, 1))
    shutil.copytree(copied, copied.with_name("tiny-more-7"))
    ended = partseg(*words(trained.data), "--resume", "auto")
    assert (ended.code, ended.out) == (0, "runs/train/tiny-3/checkpoints/last.safetensors\n")
    assert "runs/train/tiny-3: all 2 steps are done already\n" in ended.err


@pytest.mark.training
def test_auto_begins_anew_where_the_newest_run_is_done(partseg, trained, copied):
    (copied / "checkpoints/selected.json").write_text('{"file": "last.safetensors"}')
    ended = partseg(*words(trained.data), "--resume", "auto")
    assert (ended.code, ended.out) == (0, "runs/train/tiny-1/checkpoints/last.safetensors\n")


@pytest.mark.training
def test_auto_begins_where_out_holds_nothing_and_goes_on_where_it_holds_a_run_without_a_state(
    partseg, trained, tmp_path
):
    out = tmp_path / "run"
    assert partseg(*words(trained.data), "--out", out, "--resume", "auto").code == 0
    first = load_file(out / "checkpoints/last.safetensors")
    shutil.rmtree(out / "checkpoints")
    assert partseg(*words(trained.data), "--out", out, "--resume", "auto").code == 0
    assert len((out / "metrics.jsonl").read_text().splitlines()) == 2
    assert all(value.equal(first[name]) for name, value in load_file(out / "checkpoints/last.safetensors").items())


@pytest.mark.training
def test_a_run_folder_alone_says_what_goes_on(partseg, trained, copied):
    (copied / "checkpoints/step-000002.state").unlink()
    (copied / "checkpoints/step-000002.safetensors").unlink()
    ended = partseg("train", "--resume", copied, "--device", "cpu")
    assert ended.code == 0
    assert read_header(copied).recipe == "tiny"
    again, first = (load_file(run / "checkpoints/last.safetensors") for run in (copied, trained.run))
    assert all(value.equal(first[name]) for name, value in again.items())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["train"], "train needs a recipe, got none; name one, or --resume the folder of a run"),
        (["train", "train.lr=1"], "train needs a recipe, got train.lr=1; name one, or --resume the folder of a run"),
        (["train", "--resume", "auto"], "train needs a recipe, got none; name one, or --resume the folder of a run"),
        (["train", "--resume", "gone"], "--resume must be the folder of a training run, got gone; check the path"),
        (
            ["train", "tiny", "--resume", "x"],
            "--resume must be auto or the folder of a training run, got x; check the path",
        ),
        (
            ["train", "tiny", "--resume", "runs/train/tiny-3", "--out", "other"],
            "--out and --resume must name one folder, got other and runs/train/tiny-3; leave --out out",
        ),
    ],
)
def test_what_cannot_go_on_is_told(partseg, trained, copied, given, message):
    before = everything(copied)
    if given[1:2] == ["tiny"]:
        given = [*given[:2], *tiny(trained.data), *given[2:]]
    ended = partseg(*given, *(["--device", "cpu"] if "tiny" in given else []))
    assert (ended.code, ended.err) == (2, f"error: {message}\n")
    assert everything(copied) == before


def test_another_recipe_is_refused_by_the_keys_that_differ(partseg, trained, copied):
    before = everything(copied)
    ended = partseg(
        *words(trained.data, "train.lr=1e-4", "loss.tau=0.1", "train.keep_checkpoints=3"), "--resume", copied
    )
    message = (
        f"{copied}: a run is resumed with its own recipe, got another: loss.tau 0.05 there and 0.1 here, train.lr "
        "0.003 there and 0.0001 here; start a new run"
    )
    assert (ended.code, ended.err) == (2, f"error: {message}\n")
    assert everything(copied) == before


def test_data_that_have_changed_are_refused(partseg, trained, copied, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(trained.data, data)
    for path in (data / "images").glob("*.png"):
        path.write_bytes(path.read_bytes() + b" ")
    before = everything(copied)
    given = [word for word in words(data) if not str(word).startswith("data.split=")]
    ended = partseg(*given, f"data.split={trained.data / 'split.yaml'}", "--resume", copied)
    assert ended.code == 3
    assert re.fullmatch(
        rf"error: {copied}: the training data must be those of the checkpoint \([0-9a-f]{{16}}\), got others "
        r"\([0-9a-f]{16}\); restore them, or start a new run\n",
        ended.err,
    )
    assert everything(copied) == before


def edit_state(run: Path, **values: object) -> None:
    path = run / "checkpoints/step-000002.state"
    torch.save(torch.load(path, weights_only=True) | values, path)


@pytest.mark.parametrize(
    ("values", "code", "message"),
    [
        (
            {"format": "partseg-state-9"},
            4,
            "must be of format partseg-state-1 or older, got partseg-state-9, written by a newer version; update "
            "partseg-cli",
        ),
        ({"format": "other"}, 4, "must be a training state of format partseg-state-1, got 'other'; train again"),
        ({"weights": "0"}, 4, "belongs to other weights than step-000002.safetensors; remove both files"),
    ],
)
def test_a_state_that_does_not_belong_here_is_refused(partseg, trained, copied, values, code, message):
    edit_state(copied, **values)
    before = everything(copied)
    ended = partseg(*words(trained.data), "--resume", copied)
    assert (ended.code, ended.err) == (code, f"error: {copied}/checkpoints/step-000002.state: {message}\n")
    assert everything(copied) == before


@pytest.mark.training
def test_another_layout_goes_on_and_says_that_bits_may_differ(partseg, trained, copied):
    edit_state(copied, machine={"processes": 4, "images in a forward pass": 2, "device": "cpu"})
    ended = partseg(*words(trained.data), "--resume", copied)
    assert ended.code == 0
    told = f"{copied}: resumes up to rounding, not bit for bit: processes 4 before, 1 now, torch None before, "
    assert told in ended.err


@pytest.mark.training
def test_a_full_disk_keeps_the_state_before(trained, tmp_path, file_size_limit):
    run, given = tmp_path / "run", [*tiny(trained.data), "train.iterations=3", "train.save_interval=1"]
    save = RunDir.save

    def run_on(stop_at: int) -> None:
        def save_some(self: RunDir, model: nn.Module, engine_state: dict, step: int) -> Path:
            with file_size_limit(100_000 if step == stop_at else 10**9):
                return save(self, model, engine_state, step)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(RunDir, "save", save_some)
            train(load_recipe("tiny", given), TrainOptions(out=run, resume="auto", device="cpu"))

    with pytest.raises(PartsegError, match=r"step-000002\.safetensors: cannot be written \("):
        run_on(2)
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == [
        "last.safetensors",
        "step-000001.safetensors",
        "step-000001.state",
    ]
    run_on(0)
    assert [line["step"] for line in curve(run)] == [1, 2, 3]


# asked to stop


@pytest.mark.process
@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="signals of POSIX")
def test_a_signal_saves_after_the_step_and_the_run_goes_on(trained, undisturbed, tmp_path):
    run = tmp_path / "run"
    process = start(settings(trained.data), run)
    while steps_done(run) < 5:
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGUSR1)  # SIGTERM: test_launcher.py
    process.join()
    assert process.exitcode == 0
    done = steps_done(run)
    assert (run / f"checkpoints/step-{done:06d}.state").is_file()
    assert not (run / "checkpoints/selected.json").exists()
    process = start(settings(trained.data), run)
    process.join()
    ours, theirs = (load_file(folder / "checkpoints/last.safetensors") for folder in (run, undisturbed))
    assert all(value.equal(theirs[name]) for name, value in ours.items())
    assert curve(run) == curve(undisturbed)


@pytest.mark.training
def test_the_command_says_how_to_go_on_after_a_stop(partseg, trained, tmp_path, monkeypatch):
    monkeypatch.setattr(Stop, "__call__", lambda self: True)
    run = tmp_path / "run"
    ended = partseg(*words(trained.data), "--out", run)
    assert (ended.code, ended.out) == (0, f"{run}/checkpoints/last.safetensors\n")
    told = f"stopped after step 1 of 2, which is saved; resume with partseg train --resume {run}\n"
    assert ended.err.endswith(told)


@pytest.mark.training
def test_requeue_puts_the_job_in_the_queue_again(partseg, trained, tmp_path, monkeypatch):
    monkeypatch.setattr(Stop, "__call__", lambda self: True)
    (tmp_path / "scontrol").write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/called\n')
    (tmp_path / "scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "71")
    assert partseg(*words(trained.data), "--out", tmp_path / "run", "--requeue").code == 0
    assert (tmp_path / "called").read_text() == "requeue 71\n"


@pytest.mark.training
def test_requeue_outside_a_queue_is_refused_after_the_save(partseg, trained, tmp_path, monkeypatch):
    monkeypatch.setattr(Stop, "__call__", lambda self: True)
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    ended = partseg(*words(trained.data), "--out", tmp_path / "run", "--requeue")
    message = "error: --requeue needs a SLURM job, got none (SLURM_JOB_ID is not set); leave it out\n"
    assert (ended.code, ended.err.endswith(message)) == (2, True)
    assert (tmp_path / "run/checkpoints/step-000001.state").is_file()


@pytest.mark.training
def test_weights_without_a_state_are_removed_when_a_later_step_is_whole(trained, tmp_path):
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    (run / "recipe.yaml").write_text(load_recipe("tiny", tiny(trained.data)).to_yaml())
    (run / "checkpoints/step-000001.safetensors").write_bytes(b"as a kill between weights and state leaves them")
    train(load_recipe("tiny", tiny(trained.data)), TrainOptions(out=run, resume="auto", device="cpu"))
    assert {path.stem for path in (run / "checkpoints").glob("step-*")} == {"step-000002"}


@pytest.mark.training
def test_what_a_kill_left_of_a_file_is_removed_and_nothing_else(trained, copied):
    given, folder = [*tiny(trained.data), "train.iterations=3"], copied / "checkpoints"
    (copied / "recipe.yaml").write_text(load_recipe("tiny", given).to_yaml())
    (copied / ".env.json.71.part").write_bytes(b"as a kill in atomic_write leaves it")
    leftovers = [".tmpQ0x9Ab", ".tmpzzZZ99", ".step-000003.safetensors.71.part", ".step-000003.state.71.part"]
    others = [".tmp", ".tmpQ0x9A", ".tmpQ0x9Abc", ".tmp-notes", "tmpQ0x9Ab", ".tmpQ0x9Ab.txt"]
    for name in [*leftovers, *others]:
        (folder / name).write_bytes(b"as a kill in safetensors' save_file leaves it")
    (folder / ".tmpFolder").mkdir()  # named like a temporary file of safetensors, but no file
    (copied / ".tmpQ0x9Ab").write_bytes(b"safetensors writes to checkpoints/ alone")
    train(load_recipe("tiny", given), TrainOptions(out=copied, resume="auto", device="cpu"))
    assert {path.name for path in folder.iterdir()} == {
        "last.safetensors",
        "selected.json",
        "step-000003.safetensors",
        "step-000003.state",
        ".tmpFolder",
        *others,
    }
    assert (copied / ".tmpQ0x9Ab").is_file()
    assert not (copied / ".env.json.71.part").exists()


@pytest.mark.training
def test_a_save_removes_what_an_earlier_kill_left(trained, tmp_path):
    run, given = tmp_path / "run", [*tiny(trained.data), "train.save_interval=1"]

    def leave(step: Step) -> None:
        (run / "checkpoints").mkdir(exist_ok=True)
        (run / "checkpoints" / f".tmpStep0{step.number}").write_bytes(b"left")

    train(load_recipe("tiny", given), TrainOptions(out=run, device="cpu", on_step=leave))
    assert {path.name for path in (run / "checkpoints").iterdir()} == {
        "last.safetensors",
        "selected.json",
        "step-000002.safetensors",
        "step-000002.state",
    }
