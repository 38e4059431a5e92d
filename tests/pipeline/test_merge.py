"""Shards that were counted one by one, and the files that they become."""

import json
import shutil
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from command_line import tiny

PHOTOS = 7
COMMON = ("--split", "train", "--limit", PHOTOS, "--device", "cpu", "--pictures", 0, "--bootstrap-samples", 20)


@pytest.fixture
def one(partseg, trained):
    """Give a function that evaluates one shard, or all photos, and gives the folder."""

    def run(folder: Path, *words: object) -> Path:
        options = (*COMMON, "--checkpoint", trained.run, *words, "--out", folder)
        ended = partseg("evaluate", "tiny", *tiny(trained.data), *options)
        assert ended.code == 0, ended.err
        return folder

    return run


@pytest.fixture
def shards(one, tmp_path) -> list[Path]:
    return [one(tmp_path / f"s{index}", "--shard", f"{index}/3") for index in (1, 2, 3)]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_merged_shards_are_the_files_of_one_run(partseg, one, shards, tmp_path):
    whole = one(tmp_path / "whole")
    ended = partseg("merge", shards[2], shards[0], shards[1], "--out", tmp_path / "merged", "--json")
    assert ended.code == 0, ended.err
    assert contents(tmp_path / "merged") == contents(whole)
    assert json.loads(ended.out) == json.loads((whole / "results.json").read_text())


def test_shards_of_groups_and_empty_ones_merge_too(partseg, one, tmp_path):
    whole = one(tmp_path / "whole", "--batch", 4)
    parts = [one(tmp_path / f"s{index}", "--batch", 4, "--shard", f"{index}/3") for index in (1, 2, 3)]
    counted = [json.loads((part / "results.json").read_text())["images_counted"] for part in parts]
    assert counted == [4, 3, 0]
    assert partseg("merge", *parts, "--out", tmp_path / "merged").code == 0
    assert contents(tmp_path / "merged") == contents(whole)


def test_a_shard_has_no_means_and_says_so(partseg, trained, tmp_path):
    words = (*COMMON, "--checkpoint", trained.run, "--shard", "2/3", "--out", tmp_path)
    ended = partseg("evaluate", "tiny", *tiny(trained.data), *words, "--json")
    document = json.loads(ended.out)
    assert (document["shard"], document["images_counted"]) == ("2/3", 2)
    assert "mIoU" not in ended.out
    assert ended.err == (
        f"{tmp_path}: shard 2/3, 2 images\nmeans need all images: merge all shards with partseg merge\n"
    )
    assert sorted(contents(tmp_path)) == ["counts.npz", "results.json"]


@pytest.mark.parametrize("words", [("--fail-under", "seen=1"), ("--against", "partclipseg")])
def test_a_shard_is_held_against_nothing(partseg, trained, words):
    ended = partseg("evaluate", "tiny", *tiny(trained.data), "--shard", "1/2", *words)
    assert ended == (
        2,
        "",
        "error: --against and --fail-under need means, which shard 1/2 does not have; use them without --shard\n",
    )


def test_a_shard_does_not_replace_another(partseg, one, trained, tmp_path):
    one(tmp_path, "--shard", "1/3")
    one(tmp_path, "--shard", "1/3")
    words = (*COMMON, "--checkpoint", trained.run, "--shard", "2/3", "--out", tmp_path)
    assert partseg("evaluate", "tiny", *tiny(trained.data), *words) == (
        2,
        "",
        f"error: {tmp_path}: holds shard 1/3, got --shard 2/3; each shard needs an --out of its own\n",
    )


def refused(partseg, *folders: Path) -> str:
    """Merge in vain, and give what is told."""
    out = folders[0].parent / "refused"
    ended = partseg("merge", *folders, "--out", out)
    assert (ended.code, ended.out) == (3, "")
    assert not out.exists()
    return ended.err


def test_what_does_not_belong_together_is_refused(partseg, one, shards, tmp_path):
    first, second, third = shards
    copy = shutil.copytree(second, tmp_path / "copy")
    other = one(tmp_path / "other", "--shard", "2/3", "--protocol", "oracle-obj")
    half = one(tmp_path / "half", "--shard", "2/2")
    whole = one(tmp_path / "whole")
    end = "leave it out, or evaluate it again\n"
    assert refused(partseg, first, third) == (
        "error: all 3 shards must be there, got 2 without 2/3; name their folders too, "
        "or run partseg evaluate --shard 2/3\n"
    )
    assert refused(partseg, first, second, copy, third) == (
        f"error: {copy}: each shard must be there once, got 2/3 also in {second}; leave one out\n"
    )
    assert refused(partseg, first, other, third) == (
        f"error: {other}: must be of the same evaluation as {first}, "
        f"got protocol: 'oracle-obj' beside 'pred-all'; {end}"
    )
    assert refused(partseg, first, half) == (
        f"error: {half}: must be of the same evaluation as {first}, got number of shards: 2 beside 3; {end}"
    )
    assert refused(partseg, first, whole) == (
        f"error: {whole}: must hold a shard of partseg evaluate --shard, got a whole evaluation; leave it out\n"
    )
    nothing = tmp_path / "nothing"
    assert refused(partseg, first, nothing) == (
        f"error: {nothing}: must hold a shard of partseg evaluate --shard, got nothing there; evaluate it again\n"
    )


CHANGES = {
    "rule": "full",
    "batch": 2,
    "digest": "0",
    "about.data_hash": "0",
    "about.samples": "image",
    "about.boundary_ratio": 0.5,
    "versions.torch": "1.0",
}


@pytest.mark.parametrize("key", CHANGES)
def test_a_shard_of_another_evaluation_is_refused_by_what_differs(partseg, shards, key):
    path = shards[1] / "results.json"
    document = json.loads(path.read_text())
    *folders, name = key.split(".")
    place = document["trial"][folders[0]] if folders else document["trial"]
    before, place[name] = place[name], CHANGES[key]
    path.write_text(json.dumps(document))
    assert refused(partseg, *shards) == (
        f"error: {shards[1]}: must be of the same evaluation as {shards[0]}, got {key}: {CHANGES[key]!r} beside "
        f"{before!r}; leave it out, or evaluate it again\n"
    )


def test_the_path_of_the_same_weights_may_differ(partseg, shards, tmp_path):
    path = shards[1] / "results.json"
    document = json.loads(path.read_text())
    document["trial"]["about"]["checkpoint"] = "/elsewhere/run"
    path.write_text(json.dumps(document))
    assert partseg("merge", *shards, "--out", tmp_path / "merged").code == 0


def test_shards_that_are_broken_or_mixed_are_refused(partseg, shards):
    broken, mixed = shards[0] / "counts.npz", shards[1] / "counts.npz"
    kept = broken.read_bytes()
    broken.write_bytes(kept[:-40])
    assert refused(partseg, *shards) == (
        f"error: {shards[0]}: must hold a shard of partseg evaluate --shard, "
        "got BadZipFile('File is not a zip file'); evaluate it again\n"
    )
    broken.write_bytes(kept)
    mixed.write_bytes(kept)
    assert refused(partseg, *shards) == (
        f"error: {shards[1]}: results.json and counts.npz must be of one run, got others; evaluate it again\n"
    )


def test_counts_of_a_shard_name_each_samples_photo(shards):
    with np.load(shards[1] / "counts.npz") as counts:
        assert set(counts["numbers"].tolist()) == {1, 4}
        assert len(counts["numbers"]) == len(counts["images"])


def change_all(shards: list[Path], folder: str, key: str, value: object) -> None:
    for shard in shards:
        document = json.loads((shard / "results.json").read_text())
        document["trial"][folder][key] = value
        (shard / "results.json").write_text(json.dumps(document))


def test_shards_of_another_version_are_not_merged_under_this_ones_name(partseg, shards):
    change_all(shards, "versions", "torch", "1.0")
    assert refused(partseg, *shards) == (
        f"error: {shards[0]}: must be merged with the torch that it was evaluated with, 1.0, got {version('torch')}; "
        "merge on a machine that has it\n"
    )


def test_shards_that_leave_a_photo_out_are_refused(partseg, shards):
    change_all(shards, "about", "images", PHOTOS + 1)
    assert refused(partseg, *shards) == (
        "error: the shards must hold 8 images together, got 7; evaluate them again with one --batch\n"
    )
