"""Batches, shards and processes: however the images are spread, the counts are the same to the bit."""

import dataclasses
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import tiny
from forked import start_command
from label_maps import flat, spec_of

from partseg_cli.config.recipe import load_recipe
from partseg_cli.data.record import RecordKey
from partseg_cli.errors import PartsegError, UsageError
from partseg_cli.evaluation.counts import ConfusionCounts, ConfusionTable
from partseg_cli.evaluation.evaluator import EvalCounts, evaluate_label_maps, evaluate_spec
from partseg_cli.evaluation.spec import WHOLE, EvalSubset, Shard, make_batches, parse_shard
from partseg_cli.pipeline.evaluate import build_eval_spec, evaluate

PHOTOS = 7
DRAWS = 20
WORDS = ("--split", "train", "--limit", PHOTOS, "--bootstrap-samples", DRAWS, "--device", "cpu", "--pictures", 0)


def alone(trained, out: Path, batch: int = 1, **options) -> Path:
    """Evaluate in this process."""
    spec = build_eval_spec(
        load_recipe("tiny", tiny(trained.data)), protocol="pred-all", split_name="train", limit=PHOTOS
    )
    options = options or {"checkpoint": trained.run}
    evaluate(spec, name="x", out=out, device="cpu", batch=batch, bootstrap_samples=DRAWS, **options)
    return out


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


# batches and shards


def test_batches_follow_the_position_of_the_image_and_end_with_their_subset():
    keys = [[RecordKey("val", index) for index in range(7)], [RecordKey("train", index) for index in range(5)]]
    subsets = [EvalSubset(keys[0]), EvalSubset(keys[1], [True, False])]
    found = make_batches(subsets, 4)
    assert [(batch.subset.scored_pairs, list(batch.positions)) for batch in found] == [
        (None, [0, 1, 2, 3]),
        (None, [4, 5, 6]),
        ([True, False], [7, 8, 9, 10]),
        ([True, False], [11]),
    ]
    assert [key for batch in found for key in batch.subset.keys] == [*keys[0], *keys[1]]


@pytest.mark.parametrize("of", [1, 2, 3, 5, 20])
def test_every_image_is_in_one_shard_and_shards_are_even(small_store, of):
    def count(shard: Shard) -> EvalCounts:
        spec = dataclasses.replace(spec_of(small_store), split_name="train", shard=shard)
        return evaluate_spec(spec, partial(evaluate_label_maps, flat, spec))

    whole, shards = count(WHOLE), [count(Shard(index, of)) for index in range(of)]
    merged = EvalCounts.merge(shards)
    assert (merged.images, merged.positions, merged.table.images) == (whole.images, whole.positions, whole.table.images)
    assert np.array_equal(merged.table.totals(), whole.table.totals())
    sizes = [shard.images for shard in shards]
    assert max(sizes) - min(sizes) <= 1


def test_a_shard_is_written_as_it_is_read():
    assert parse_shard("2/4") == Shard(1, 4)
    assert str(Shard(1, 4)) == "2/4"


@pytest.mark.parametrize("text", ["", "2", "0/4", "5/4", "-1/4", "2/4/6", "2 / 4", "a/b", "1/0", "٢/٤"])
def test_a_shard_that_is_none_is_refused(text):
    with pytest.raises(UsageError) as caught:
        parse_shard(text)
    assert str(caught.value) == f"--shard must be I/N with I from 1 to N, such as 2/4, got {text!r}"


def counts(*positions: int) -> EvalCounts:
    table, ones = ConfusionTable(2), np.ones((1, 15), np.int64)
    for position in positions:
        one = np.array([position % 2])
        table.add(f"photo {position}", ConfusionCounts(one, position * ones, one, one))
    return EvalCounts(table, list(positions), len(set(positions)))


def test_shares_are_merged_in_the_order_of_the_images():
    whole, again = counts(0, 1, 1, 2, 3), EvalCounts.merge([counts(1, 1, 3), counts(0, 2)])
    assert again.positions == whole.positions
    assert again.table.images == whole.table.images
    assert np.array_equal(again.table.totals(), whole.table.totals())
    assert np.array_equal(again.table.confusion(), whole.table.confusion())
    assert again.images == whole.images


def test_an_image_in_two_shares_is_refused():
    with pytest.raises(
        PartsegError, match=r"^every image must be counted once, got one in two shards; evaluate again$"
    ):
        EvalCounts.merge([counts(0, 1), counts(1, 2)])


# processes


@pytest.mark.process
@pytest.mark.parametrize(("number", "batch"), [(3, 1), (4, 4)])
def test_any_number_of_processes_gives_the_same_bytes(partseg, trained, tmp_path, number, batch):
    expected = contents(alone(trained, tmp_path / "alone", batch))
    words = (*WORDS, "--checkpoint", trained.run, "--batch", batch, "--gpus", number)
    ended = partseg("evaluate", "tiny", *tiny(trained.data), *words, "--out", tmp_path / "many", "--json")
    assert ended.code == 0
    assert contents(tmp_path / "many") == expected


@pytest.mark.process
def test_label_maps_are_counted_by_several_processes_too(partseg, trained, tmp_path):
    maps = alone(trained, tmp_path / "model", checkpoint=trained.run, save_predictions=True) / "predictions"
    expected = contents(alone(trained, tmp_path / "alone", predictions=maps))
    words = (*WORDS, "--predictions", maps, "--gpus", 2)
    assert partseg("evaluate", "tiny", *tiny(trained.data), *words, "--out", tmp_path / "many").code == 0
    assert contents(tmp_path / "many") == expected
    assert (tmp_path / "many" / "counts.npz").read_bytes() == (tmp_path / "model" / "counts.npz").read_bytes()


@pytest.mark.process
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
