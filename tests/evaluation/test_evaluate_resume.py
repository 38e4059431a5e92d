"""An evaluation that is killed, however suddenly, goes on where it was, and writes the same bytes."""

import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from command_line import tiny
from forked import start_command

from partseg_cli.errors import PartsegError
from partseg_cli.io.journal import Journal
from partseg_cli.pipeline import evaluate as pipeline

PHOTOS = 7
BATCH = 2
DONE = 3
"""Photos that a run has counted when it is killed: of the second group one is missing."""


def die_in_the_middle() -> None:
    """Let the process that counts a photo in the middle kill itself."""
    add = Journal.add

    def add_or_die(self: Journal, number: int, value: object) -> None:
        add(self, number, value)
        if number == DONE - 1:
            self._file.write(b'[3, ["scene')  # as if the kill had come in the middle of a line
            self._file.flush()
            os.kill(os.getpid(), signal.SIGKILL)

    Journal.add = add_or_die


def die_in_the_middle_of_a_share() -> None:
    """Do so in the processes that this one starts, too."""
    launch = pipeline.launch

    def launch_those_that_die(function: Callable, *arguments: object, **named: object) -> object:
        return launch(partial(share_or_die, function), *arguments, **named)

    pipeline.launch = launch_those_that_die


def share_or_die(function: Callable, *arguments: object) -> object:
    die_in_the_middle()
    return function(*arguments)


def words(trained, out: Path, *more: object) -> list[str]:
    common = (
        "--split",
        "train",
        "--limit",
        PHOTOS,
        "--device",
        "cpu",
        "--pictures",
        0,
        "--bootstrap-samples",
        20,
        "--batch",
        BATCH,
    )
    return [
        *map(str, ("evaluate", "tiny", *tiny(trained.data), "--checkpoint", trained.run, *common, "--out", out, *more))
    ]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture
def read_photos(monkeypatch) -> list[int]:
    """Numbers of the photos that are counted from now on."""
    numbers: list[int] = []
    add = Journal.add

    def watched(self: Journal, number: int, value: object) -> None:
        numbers.append(number)
        add(self, number, value)

    monkeypatch.setattr(Journal, "add", watched)
    return numbers


@pytest.mark.process
def test_a_run_killed_in_the_middle_goes_on_and_writes_the_same_bytes(partseg, trained, tmp_path, read_photos):
    killed = start_command(words(trained, tmp_path / "out"), tmp_path, change=die_in_the_middle)
    assert killed.end()[0] == -signal.SIGKILL
    assert [path.suffix for path in (tmp_path / "out").iterdir()] == [".jsonl"]
    ended = partseg(*words(trained, tmp_path / "out"))
    assert ended.code == 0, ended.err
    oracle_object = f"Resuming evaluation: {DONE}/{PHOTOS} images done"
    assert ended.err.splitlines()[0] == oracle_object
    assert read_photos == [2, 3, 4, 5, 6]  # a group goes through the model as a whole
    assert partseg(*words(trained, tmp_path / "undisturbed")).code == 0
    assert contents(tmp_path / "out") == contents(tmp_path / "undisturbed")


@pytest.mark.process
def test_when_a_process_of_several_is_killed_all_end_and_any_number_goes_on(partseg, trained, tmp_path):
    several = words(trained, tmp_path / "out", "--gpus", 2)
    assert start_command(several, tmp_path, change=die_in_the_middle_of_a_share).end() == (
        1,
        "",
        "error: a process of 2 must live to the end, got one that ended with -9, as when memory runs out; "
        "run again with fewer --gpus: what is counted is kept\n",
    )
    ended = partseg(*words(trained, tmp_path / "out"))
    assert ended.code == 0
    assert ended.err.startswith("Resuming evaluation: ")
    assert partseg(*words(trained, tmp_path / "undisturbed")).code == 0
    assert contents(tmp_path / "out") == contents(tmp_path / "undisturbed")


def stop_after(monkeypatch, photos: int) -> None:
    """Let the next run fail after some photos."""
    add = Journal.add

    def add_and_stop(self: Journal, number: int, value: object) -> None:
        add(self, number, value)
        if number == photos - 1:
            monkeypatch.setattr(Journal, "add", add)
            raise PartsegError("stopped")

    monkeypatch.setattr(Journal, "add", add_and_stop)


CHANGED = [
    ("--batch", 3),
    ("--protocol", "oracle-obj"),
    ("--limit", 6),
    ("--boundary-ratio", 0.1),
    ("--save-predictions",),
]


@pytest.mark.parametrize("more", CHANGED, ids=lambda more: more[0])
def test_an_evaluation_of_something_else_starts_anew(partseg, trained, tmp_path, monkeypatch, more):
    stop_after(monkeypatch, 4)
    assert partseg(*words(trained, tmp_path)).err == "error: stopped\n"
    assert "Resuming" not in partseg(*words(trained, tmp_path, *more)).err
    assert list(tmp_path.glob(".*")) == []


def test_another_rule_and_other_draws_go_on(partseg, trained, tmp_path, monkeypatch):
    stop_after(monkeypatch, 4)
    partseg(*words(trained, tmp_path))
    assert (
        "Resuming evaluation: 4/7 images done"
        in partseg(*words(trained, tmp_path, "--rule", "full", "--bootstrap-samples", 0)).err
    )


def test_a_finished_evaluation_is_done_again(partseg, trained, tmp_path, read_photos):
    partseg(*words(trained, tmp_path))
    before = contents(tmp_path)
    assert "Resuming" not in partseg(*words(trained, tmp_path)).err
    assert read_photos == [*range(PHOTOS)] * 2
    assert contents(tmp_path) == before


def test_a_saved_map_is_there_before_its_photo_is_noted(partseg, trained, tmp_path, monkeypatch):
    stop_after(monkeypatch, 4)
    partseg(*words(trained, tmp_path, "--save-predictions"))
    assert len(list((tmp_path / "predictions").iterdir())) == 4
    partseg(*words(trained, tmp_path, "--save-predictions"))
    assert len(list((tmp_path / "predictions").iterdir())) == PHOTOS
