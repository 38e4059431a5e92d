"""Command `split`: files, output and refusals."""

import dataclasses
import json
import re
from pathlib import Path

import pytest
import yaml

from partseg_cli.data.store import Store, StoreWriter
from partseg_cli.vocabulary import Pair, Vocabulary


@pytest.fixture
def data(small_data, tmp_path) -> Path:
    return small_data.write(tmp_path / "small").folder


@pytest.fixture
def split(partseg, data, tmp_path, monkeypatch):
    """Return `split(*options)`: exit code, text on stdout without frames, stderr, and the file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "400")

    def run(*options, dataset=data):
        ended = partseg("split", dataset, *options)
        text = " ".join(re.sub(r"[\u2500-\u257f]", " ", ended.out).split())
        file = data / "split.yaml"
        return ended.code, text, ended.err, yaml.safe_load(file.read_text()) if file.is_file() else None

    return run


def test_the_published_split_is_shown_with_the_results_of_all_checks(split, data):
    code, text, err, file = split()
    assert code == 0
    assert text.startswith("small: seen objects published, seed 0 seen 4 pairs of cat, dog unseen 2 pairs of fox ")
    assert "train 6 images fed; 2 of the list have no seen part, left out val 4 images " in text
    assert re.search(r"leakage 0 of [\d,]+ labelled pixels fed belong to an unseen pair", text)
    assert re.search(
        r"unseen objects ([\d,]+) pixels in 2 of the images fed: \1 trained as background, 0 left out", text
    )
    for row in ("in both lists 0 images", "same image file 0 under several ids, 0 of them in train and in val"):
        assert row in text
    assert re.search(r"seen, not fed 0 pairs not tested 0 pairs; [\d,]+ pixels are tested", text)
    assert "unseen parts" not in text
    assert err == f"{data}/split.yaml: pass it as data.split={data}/split.yaml\n"
    assert file["unseen_objects"] == ["fox"]


def test_a_set_without_published_unseen_objects_is_all_seen(small_data, partseg, tmp_path):
    words = small_data.info.vocabulary.with_unseen([])
    own = small_data._replace(info=dataclasses.replace(small_data.info, vocabulary=words)).write(tmp_path)
    ended = partseg("split", own.folder)
    assert "small: all seen, seed 0" in ended.out
    assert "published" not in ended.out


def test_a_data_set_is_found_by_its_name(split, data, monkeypatch):
    monkeypatch.setenv("PARTSEG_DATA", str(data.parent))
    assert split(dataset="small")[0] == 0


def test_parts_are_unseen_by_name(split):
    code, text, _, file = split("--unseen", "none", "--unseen-parts", "ear, tail")
    assert code == 0
    assert "small: unseen parts ear, tail, seed 0 seen 2 pairs of cat, dog unseen 4 pairs of cat, dog, fox" in text
    assert re.search(r"unseen parts [\d,]+ pixels fed as their object, without a part", text)
    assert (file["unseen_objects"], file["unseen_parts"]) == ([], ["ear", "tail"])


@pytest.mark.parametrize("option", [[], ["--ade-test", "val"]])
def test_val_alone_is_tested_by_default(split, option):
    _, text, _, file = split(*option)
    assert "val_unseen" not in file
    assert "their unseen objects alone" not in text


def test_the_test_can_take_unseen_objects_of_train(split):
    _, text, _, file = split("--ade-test", "val+train-unseen")
    assert file["val_unseen"] == ["photo_02", "photo_03", "photo_04"]
    assert "val 4 images; and 3 of train, their unseen objects alone" in text
    assert "tested on val and the unseen objects of train" in text


def test_a_report_holds_all_that_was_checked_in_full(split, tmp_path):
    code, _, err, _ = split("--unseen", "dog", "--report", "report.json")
    assert code == 0
    assert err.endswith("report.json: results of all checks\n")
    report = json.loads((tmp_path / "report.json").read_text())
    assert list(report) == ["dataset", "rule", "seed", "seen", "unseen", "images", "audit"]
    assert (report["rule"], report["unseen"]) == ("seen objects chosen", ["dog's head", "dog's tail"])
    assert report["images"] == {"train": 8, "val": 4, "val_unseen": 0}
    assert report["audit"]["leakage"]["leaked"] == report["audit"]["across"] == 0


# ---- across datasets


def test_pairs_of_another_data_set_are_seen(split, tmp_path):
    code, text, err, file = split("--trained-on", "pascal-part-116", "--report", "map.json")
    assert code == 0
    # Pascal's cats and dogs have heads and ears, and dogs tails; foxes it has not
    assert text.startswith("4 of the 6 pairs of small are in pascal-part-116 small pascal-part-116 relation cat's ear ")
    for row in ("dog's tail dog's tail same name", "fox's ear - absent"):
        assert row in text
    assert "objects without a counterpart in pascal-part-116: fox\n" in err
    there = "2 of the pairs found are unseen in the split of pascal-part-116: a model trained with that split "
    assert f"{there}has seen no label of dog's head, dog's tail\n" in err
    assert (file["rule"], file["unseen_objects"]) == ("seen where pascal-part-116 has the pair", ["fox"])
    report = json.loads((tmp_path / "map.json").read_text())
    assert report["trained_on"] == "pascal-part-116"
    assert report["mapping"][-1] == {"target": "fox's tail", "source": None, "how": "absent"}


def test_a_model_may_be_trained_on_a_prepared_folder(split, small_data, tmp_path):
    info = dataclasses.replace(small_data.info, name="other", vocabulary=small_data.info.vocabulary.seen())
    with StoreWriter(tmp_path / "other", info, ["train"]):
        pass
    assert split("--trained-on", "other")[3]["unseen_objects"] == ["fox"]


def test_a_target_without_train_images_serves_to_test(small_data, partseg, tmp_path):
    store = small_data._replace(records={"val": small_data.records["val"]}).write(tmp_path)
    ended = partseg("split", store.folder, "--trained-on", "pascal-part-116")
    assert ended.code == 0, ended.err
    assert yaml.safe_load((tmp_path / "split.yaml").read_text())["train"] == []
    ended = partseg("split", store.folder)
    message = "small: train must hold an image, got none; make a split with --val-fraction"
    assert (ended.code, ended.err) == (3, f"error: {message}\n")


def test_the_mapping_is_the_same_twice(split, data):
    files = []
    for _ in range(2):
        assert split("--trained-on", "pascal-part-116", "--val-fraction", "0.3")[0] == 0
        files.append((data / "split.yaml").read_bytes())
    assert files[0] == files[1]


# ---- refused


def test_a_leak_is_refused_and_nothing_is_written(split, monkeypatch):
    from partseg_cli.data.loading import labels as loader

    monkeypatch.setattr(loader.LabelMapper, "pairs", lambda self, labels: labels.astype("int64"))
    code, _, err, file = split()
    assert (code, file) == (1, None)
    assert re.fullmatch(r"error: .*: training must be fed no label of an unseen pair, got \d+ pixels\n", err)


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (
            ["--unseen-parts", "eer"],
            2,
            "unseen parts: must be in the vocabulary, got 'eer'; did you mean ear?",
        ),
        (
            ["--unseen-parts", "ear,head,tail"],
            2,
            "--unseen-parts: at least one pair must stay seen, got none of them; leave a part out",
        ),
        (
            ["--unseen", "cat,dog,fox"],
            2,
            "--unseen: at least one object must stay seen, got all of them; leave one out",
        ),
        (["--shots", "0"], 2, "--shots must be >= 1, got 0"),
        (["--val-fraction", "1"], 2, "--val-fraction must be between 0 and 1, got 1"),
        (
            ["--trained-on", "small"],
            2,
            "--trained-on must name another dataset than small, got small; leave it out",
        ),
        (
            ["--trained-on", "pascal-part-116", "--unseen", "none"],
            2,
            "--trained-on decides what is unseen, got --unseen as well; leave one out",
        ),
        (
            ["--trained-on", "pascal-part-116", "--unseen-parts", "ear"],
            2,
            "--trained-on decides what is unseen, got --unseen-parts as well; leave one out",
        ),
        (
            ["--trained-on", "cityscapes-panoptic-parts"],
            2,
            "--trained-on cityscapes-panoptic-parts: at least one pair of the two datasets must agree, got none of 6; "
            "name another dataset",
        ),
    ],
)
def test_a_wrong_option_is_refused_and_nothing_is_written(split, options, code, message):
    assert split(*options) == (code, "", f"error: {message}\n", None)


def test_an_unknown_source_is_refused_with_the_known_ones(split):
    code, _, err, file = split("--trained-on", "pascal")
    assert (code, file) == (3, None)
    assert err.startswith("error: --trained-on: pascal: must be a folder that partseg prepare made, or the name of one")
    assert re.search(r"; or name one of ade20k-part-234, .*pascal-part-116\n$", err)


@pytest.mark.parametrize("value", ["test", "train-unseen", "", "VAL"])
def test_a_test_of_another_kind_is_refused(split, value):
    code, _, err, file = split("--ade-test", value)
    assert (code, file) == (2, None)
    assert "'val', 'val+train-unseen'" in err


def test_a_folder_that_is_no_data_set_is_refused(split, tmp_path):
    (tmp_path / "empty").mkdir()
    code, _, err, _ = split(dataset=tmp_path / "empty")
    assert code == 3
    assert "must be a folder that partseg prepare made" in err


def test_the_store_stays_as_it_is(split, data):
    before = {path: path.read_bytes() for path in data.rglob("*.*")}
    split("--unseen-parts", "ear", "--val-fraction", "0.4", "--shots", "1")
    assert {path: path.read_bytes() for path in data.rglob("*.*") if path.name != "split.yaml"} == before
    assert Store.open(data).info.vocabulary.unseen_objects == ("fox",)


def test_names_with_brackets_and_colons_are_shown_as_they_are(split, small_data, tmp_path):
    names = {"ear": "le[g]", "head": "[/g]", "tail": ":cat:"}
    words = [Pair(pair.object, names[pair.part], pair.is_seen) for pair in small_data.info.vocabulary.pairs]
    info = dataclasses.replace(small_data.info, name="my [/b]set", vocabulary=Vocabulary(tuple(words)))
    odd = small_data._replace(info=info).write(tmp_path / "odd").folder
    code, text, *_ = split("--unseen", "none", "--unseen-parts", "le[g], :cat:", dataset=odd)
    assert code == 0
    assert text.startswith("my [/b]set: unseen parts :cat:, le[g], seed 0 seen 2 pairs of cat, dog unseen 4 pairs of ")


def test_where_nothing_is_unseen_no_object_is_named(split):
    assert " unseen 0 pairs train " in split("--unseen", "none")[1]
