"""A `prepare` that is stopped, however suddenly, goes on where it was, and leaves the same store."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from partseg_cli.data.converters.conversion import (
    Conversion,
    Converted,
    Outcome,
    Skipped,
    SourceImage,
    outcome_from_json,
    outcome_to_json,
)
from partseg_cli.data.converters.plan import CartoonOptions, CocoOptions
from partseg_cli.data.record import Instance, Part, Record
from partseg_cli.data.rle import Mask
from partseg_cli.data.store import Store, iterate
from partseg_cli.errors import DataError, PartsegError
from partseg_cli.io.journal import Journal
from partseg_cli.pipeline.prepare import prepare
from partseg_cli.runtime import pool as processes
from partseg_cli.runtime.pool import in_order

IMAGES = 60
KILLED_AFTER = 23
DRAWN = CartoonOptions(images=IMAGES, seed=1, size=64)

KILLED = f"""
import os, signal, sys
from pathlib import Path
from partseg_cli.io import journal
from partseg_cli.runtime import pool as workers
from partseg_cli.pipeline.prepare import prepare
from partseg_cli.data.converters.plan import CartoonOptions

workers.TRIAL = workers.WORTHWHILE = 0.0
add = journal.Journal.add
def add_or_die(self, number, value, *, is_final):
    add(self, number, value, is_final=is_final)
    if number == {KILLED_AFTER - 1}:
        self._file.write(b'[23, ["cartoon')  # as if the kill had come in the middle of a line
        self._file.flush()
        os.kill(os.getpid(), signal.SIGKILL)
journal.Journal.add = add_or_die

if __name__ == "__main__":
    drawing = CartoonOptions(images={IMAGES}, seed=1, size=64)
    prepare("cartoon-part", out=Path(sys.argv[1]), workers=int(sys.argv[2]), drawing=drawing)
"""


@pytest.fixture
def spread(monkeypatch) -> None:
    """Spread all but the first item over processes, however little there is to do."""
    monkeypatch.setattr(processes, "TRIAL", 0.0)
    monkeypatch.setattr(processes, "WORTHWHILE", 0.0)


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> dict[str, bytes]:
    """What a run that nobody stops leaves."""
    folder = tmp_path_factory.mktemp("undisturbed")
    prepare("cartoon-part", out=folder, drawing=DRAWN)
    return contents(folder)


def kill_in_the_middle(tmp_path: Path, workers: int) -> Path:
    """Kill a run by SIGKILL after some images, and give its folder."""
    script, out = tmp_path / "killed.py", tmp_path / "store"
    script.write_text(KILLED)
    ended = subprocess.run([sys.executable, script, out, str(workers)], env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert ended.returncode == -signal.SIGKILL
    return out


@pytest.mark.process
@pytest.mark.parametrize("workers", [1, 2])
def test_a_run_killed_in_the_middle_goes_on_and_leaves_the_same_bytes(tmp_path, undisturbed, workers):
    out = kill_in_the_middle(tmp_path, workers)
    assert not (out / "dataset.json").exists()
    told: list[str] = []
    prepared = prepare("cartoon-part", out=out, workers=workers, drawing=DRAWN, log=told.append)
    assert prepared.resumed == KILLED_AFTER
    assert told == [f"going on with a run that was stopped: {KILLED_AFTER} of {IMAGES} images are done"]
    assert contents(out) == undisturbed


@pytest.mark.process
def test_what_is_done_is_not_done_again(tmp_path, monkeypatch):
    out = kill_in_the_middle(tmp_path, 1)
    converted: list[str] = []
    convert = Conversion.outcomes_of

    def watched(self: Conversion, item: SourceImage, *, allow_resize: bool = False) -> list[Outcome]:
        converted.append(item.name)
        return convert(self, item, allow_resize=allow_resize)

    monkeypatch.setattr(Conversion, "outcomes_of", watched)
    prepare("cartoon-part", out=out, drawing=DRAWN)
    assert converted == [f"cartoon seed 1 image {number}" for number in range(KILLED_AFTER, IMAGES)]


@pytest.mark.process
def test_another_conversion_into_the_same_folder_starts_anew(tmp_path):
    out = kill_in_the_middle(tmp_path, 1)
    other = CartoonOptions(images=4, seed=2, size=64)
    assert prepare("cartoon-part", out=out, drawing=other).resumed == 0
    assert list(out.glob(".unfinished-*")) == []


@pytest.mark.process
@pytest.mark.usefixtures("spread")
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_any_number_of_workers_gives_the_same_bytes(tmp_path, undisturbed, workers):
    prepare("cartoon-part", out=tmp_path, workers=workers, drawing=DRAWN)
    assert contents(tmp_path) == undisturbed


# options that an unfinished run may have had otherwise


def stop_after_one(monkeypatch) -> None:
    """Let the next run be interrupted as soon as one image is done."""
    add = Journal.add

    def add_and_stop(self: Journal, number: int, value: object, *, is_final: bool) -> None:
        monkeypatch.setattr(Journal, "add", add)
        add(self, number, value, is_final=is_final)
        raise KeyboardInterrupt

    monkeypatch.setattr(Journal, "add", add_and_stop)


def test_another_split_of_a_set_of_ones_own_starts_anew(tmp_path, monkeypatch):
    Image.new("RGB", (6, 4)).save(tmp_path / "1.png")
    value = {
        "images": [{"id": 1, "file_name": "1.png"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "segmentation": [[1, 1, 5, 1, 5, 3, 1, 3]]}],
        "categories": [{"id": 1, "name": "cat:ear"}],
    }
    (tmp_path / "a.json").write_text(json.dumps(value))
    stop_after_one(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        prepare("coco", source=tmp_path, out=tmp_path / "out", own=CocoOptions(splits=("train",)))
    prepared = prepare("coco", source=tmp_path, out=tmp_path / "out", own=CocoOptions(splits=("val",)))
    assert (prepared.resumed, prepared.converted) == (0, {"train": 0, "val": 1})


def test_another_size_of_a_drawn_set_starts_anew(tmp_path, monkeypatch):
    stop_after_one(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        prepare("cartoon-part", out=tmp_path, drawing=CartoonOptions(images=3, size=64))
    assert prepare("cartoon-part", out=tmp_path, drawing=CartoonOptions(images=3, size=128)).resumed == 0
    assert {record.width for _, record in iterate(Store.open(tmp_path))} == {128}


def test_a_list_of_val_that_was_changed_in_between_starts_anew(tmp_path, samples, monkeypatch):
    listed, source = tmp_path / "val.txt", samples / "pascal_part"
    listed.write_text("2008_000003\n")
    stop_after_one(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        prepare("pascal-part-116", source=source, out=tmp_path / "out", split_list=listed)
    stems = sorted(path.stem for path in source.rglob("*.mat"))
    listed.write_text("\n".join(stems))
    prepared = prepare("pascal-part-116", source=source, out=tmp_path / "out", split_list=listed)
    assert (prepared.resumed, prepared.converted) == (0, {"train": 0, "val": 16})


# what holds of a former run

MASK = Mask.encode(np.eye(3, 4, dtype=bool))
RECORD = Record("a", "a.png", 4, 3, "a.json", (Instance(0, 0, MASK),), (Part(0, 0, "x", 1, MASK),))


@pytest.mark.parametrize(
    "outcome", [Skipped("a.json", "has no words", is_defect=False), Converted("val", RECORD)], ids=lambda one: type(one)
)
def test_an_outcome_is_parsed_as_it_was_written(outcome):
    assert outcome_from_json(json.loads(json.dumps(outcome_to_json(outcome)))) == outcome


@pytest.fixture
def source(tmp_path) -> Path:
    """A COCO set of two images of which the second image is missing."""
    folder = tmp_path / "source"
    folder.mkdir()
    Image.new("RGB", (6, 4)).save(folder / "1.png")
    value = {
        "images": [{"id": number, "file_name": f"{number}.png"} for number in (1, 2)],
        "annotations": [
            {"id": number, "image_id": number, "category_id": 1, "segmentation": [[1, 1, 5, 1, 5, 3, 1, 3]]}
            for number in (1, 2)
        ],
        "categories": [{"id": 1, "name": "cat:ear"}],
    }
    (folder / "a.json").write_text(json.dumps(value))
    return folder


def refused(source: Path, out: Path) -> None:
    """Convert all there is, and stop before the store is written."""
    with pytest.raises(DataError):
        prepare("coco", source=source, out=out, strict=True)


def test_a_defect_is_tried_again(source, tmp_path):
    refused(source, tmp_path / "out")
    Image.new("RGB", (6, 4)).save(source / "2.png")
    prepared = prepare("coco", source=source, out=tmp_path / "out")
    assert (prepared.resumed, prepared.converted, prepared.skipped) == (1, {"train": 2, "val": 0}, ())


def test_an_item_whose_file_has_changed_is_done_again(source, tmp_path):
    refused(source, tmp_path / "out")
    (source / "a.json").write_text((source / "a.json").read_text() + " ")
    assert prepare("coco", source=source, out=tmp_path / "out").resumed == 0


def test_a_run_of_nothing_but_defects_leaves_nothing(source, tmp_path):
    (source / "1.png").unlink()
    refused(source, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


# the workers


def shout(text: str) -> str:
    return text.upper()


def die(text: str) -> str:
    if multiprocessing.parent_process():
        os.kill(os.getpid(), signal.SIGKILL)
    return text


def refuse(text: str) -> str:
    if multiprocessing.parent_process():
        raise PartsegError(f"{text} is refused")
    return text


def home(text: str) -> str:
    return f"{text} in {'a process' if multiprocessing.parent_process() else 'this one'}"


@pytest.mark.process
@pytest.mark.usefixtures("spread")
@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_order(workers):
    words = [f"word {number}" for number in range(50)]
    assert list(in_order(shout, words, workers)) == [word.upper() for word in words]


def test_what_takes_no_time_is_done_right_here():
    assert set(in_order(home, ["word"] * 100, 2)) == {"word in this one"}


@pytest.mark.process
@pytest.mark.usefixtures("spread")
def test_what_takes_long_is_spread_after_a_trial():
    assert list(in_order(home, ["word"] * 3, 2)) == ["word in this one", *["word in a process"] * 2]


@pytest.mark.process
@pytest.mark.usefixtures("spread")
def test_a_worker_that_is_killed_is_told():
    message = (
        r"^a worker of 2 must live to the end, got one that was killed, as when memory runs out; run again with fewer "
        r"--workers: what is done is kept$"
    )
    with pytest.raises(PartsegError, match=message):
        list(in_order(die, ["word"] * 40, 2))


@pytest.mark.process
@pytest.mark.usefixtures("spread")
def test_an_error_in_a_worker_reaches_the_user():
    with pytest.raises(PartsegError, match=r"^word is refused$"):
        list(in_order(refuse, ["word"] * 40, 2))


def test_a_photo_that_only_its_exif_data_turn_to_its_masks_is_read_upright(tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    Image.new("RGB", (3, 4), "red").save(tmp_path / "a.png", exif=exif)
    conversion = Conversion(tmp_path, [SourceImage("a", None)], lambda _: [Converted("train", RECORD)], "photos")
    (outcome,) = conversion.outcomes
    assert isinstance(outcome, Converted)
    assert outcome.record.upright
    assert Record.from_json(outcome.record.to_json()) == outcome.record
