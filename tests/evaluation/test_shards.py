"""Groups, shards and processes: however the photos are spread, the counts are the same to the bit."""

from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import tiny
from forked import start_command

from partseg_cli.config.recipe import load_recipe
from partseg_cli.data.record import RecordKey
from partseg_cli.errors import PartsegError, UsageError
from partseg_cli.evaluation.confusion_table import ConfusionTable
from partseg_cli.evaluation.counts import ConfusionCounts
from partseg_cli.evaluation.shards import Shard, groups, parse_shard
from partseg_cli.evaluation.spec import build_eval_spec
from partseg_cli.evaluation.tally import Tally
from partseg_cli.pipeline.evaluate import evaluate
from partseg_cli.runtime.devices import InferenceConfig

CPU = torch.device("cpu")
PHOTOS = 7
DRAWS = 20
WORDS = ("--split", "train", "--limit", PHOTOS, "--bootstrap-samples", DRAWS, "--device", "cpu", "--pictures", 0)


@pytest.fixture(autouse=True)
def _alike(monkeypatch, one_thread) -> None:
    """Let processes compute as this one does, in which MKL was first used without a wish."""
    monkeypatch.setenv("MKL_CBWR", "")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def alone(trained, out: Path, batch: int = 1, **options) -> Path:
    """Evaluate in this process."""
    trial = build_eval_spec(
        load_recipe("tiny", tiny(trained.data)), protocol="pred-all", split_name="train", limit=PHOTOS
    )
    options = options or {"checkpoint": trained.run}
    evaluate(trial, name="x", out=out, compute=InferenceConfig(CPU, batch=batch), bootstrap_samples=DRAWS, **options)
    return out


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


# groups and shards


def test_groups_follow_the_number_of_the_photo_and_end_with_their_part():
    parts = [[RecordKey("val", index) for index in range(7)], [RecordKey("train", index) for index in range(5)]]
    found = groups(parts, 4)
    assert [(group.part, list(group.numbers)) for group in found] == [
        (0, [0, 1, 2, 3]),
        (0, [4, 5, 6]),
        (1, [7, 8, 9, 10]),
        (1, [11]),
    ]
    assert [key for group in found for key in group.keys] == [key for part in parts for key in part]


@pytest.mark.parametrize("of", [1, 2, 3, 5, 20])
def test_every_item_is_in_one_shard_and_shards_are_even(of):
    shards = [Shard(index, of).choose(range(13)) for index in range(of)]
    assert sorted(item for shard in shards for item in shard) == list(range(13))
    assert max(map(len, shards)) - min(map(len, shards)) <= 1


def test_a_shard_is_written_as_it_is_read():
    assert parse_shard("2/4") == Shard(1, 4)
    assert str(Shard(1, 4)) == "2/4"


@pytest.mark.parametrize("text", ["", "2", "0/4", "5/4", "-1/4", "2/4/6", "2 / 4", "a/b", "1/0", "٢/٤"])
def test_a_shard_that_is_none_is_refused(text):
    with pytest.raises(UsageError) as caught:
        parse_shard(text)
    assert str(caught.value) == f"--shard must be I/N with I from 1 to N, such as 2/4, got {text!r}"


def tally(*numbers: int) -> Tally:
    table, ones = ConfusionTable(2), np.ones((1, 15), np.int64)
    for number in numbers:
        one = np.array([number % 2])
        table.add(f"photo {number}", ConfusionCounts(one, number * ones, one, one))
    return Tally(table, list(numbers), len(set(numbers)))


def test_shares_are_put_together_in_the_order_of_the_photos():
    whole, again = tally(0, 1, 1, 2, 3), Tally.joined([tally(1, 1, 3), tally(0, 2)])
    assert again.numbers == whole.numbers
    assert again.table.images == whole.table.images
    assert np.array_equal(again.table.totals(), whole.table.totals())
    assert np.array_equal(again.table.confusion(), whole.table.confusion())
    assert again.photos == whole.photos


def test_a_photo_in_two_shares_is_refused():
    with pytest.raises(
        PartsegError, match=r"^every photo must be counted once, got one in two shards; evaluate again$"
    ):
        Tally.joined([tally(0, 1), tally(1, 2)])


# processes


@pytest.mark.parametrize(("number", "batch"), [(3, 1), (4, 4)])
def test_any_number_of_processes_gives_the_same_bytes(partseg, trained, tmp_path, number, batch):
    expected = contents(alone(trained, tmp_path / "alone", batch))
    words = (*WORDS, "--checkpoint", trained.run, "--batch", batch, "--gpus", number)
    ended = partseg("evaluate", "tiny", *tiny(trained.data), *words, "--out", tmp_path / "many", "--json")
    assert ended.code == 0
    assert contents(tmp_path / "many") == expected


def test_label_maps_are_counted_by_several_processes_too(partseg, trained, tmp_path):
    maps = alone(trained, tmp_path / "model", checkpoint=trained.run, save=True) / "predictions"
    expected = contents(alone(trained, tmp_path / "alone", predictions=maps))
    words = (*WORDS, "--predictions", maps, "--gpus", 2)
    assert partseg("evaluate", "tiny", *tiny(trained.data), *words, "--out", tmp_path / "many").code == 0
    assert contents(tmp_path / "many") == expected
    assert (tmp_path / "many" / "counts.npz").read_bytes() == (tmp_path / "model" / "counts.npz").read_bytes()


def test_processes_of_torchrun_give_the_same_bytes_and_only_the_first_tells(trained, tmp_path):
    expected = contents(alone(trained, tmp_path / "alone"))
    words = ("evaluate", "tiny", *tiny(trained.data), *WORDS, "--checkpoint", trained.run, "--json")
    meeting = torch.distributed.TCPStore("127.0.0.1", 0, None, is_master=True, wait_for_workers=False)
    common = {
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(meeting.port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
    }
    started = [
        start_command((*words, "--out", tmp_path / "many"), tmp_path, environment={**common, "RANK": rank})
        for rank in "01"
    ]
    (first, progress), (other, silent) = (command.end()[1:] for command in started)
    assert [command.process.exitcode for command in started] == [0, 0], silent
    assert (other, silent) == ("", "")
    assert "results.json" in progress
    assert contents(tmp_path / "many") == expected
    assert first.encode() == expected["results.json"]
