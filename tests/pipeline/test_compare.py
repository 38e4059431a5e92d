"""Two folders of results: what is shown of their differences, and what is refused."""

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from partseg_cli.data.store import iterate
from partseg_cli.errors import DataError, UsageError
from partseg_cli.evaluation.bootstrap import paired_differences
from partseg_cli.evaluation.counts import ConfusionTable, count_pixels
from partseg_cli.evaluation.rules import GROUPS, METRICS, class_pixels, score
from partseg_cli.io.label_maps import palette, write_label_map
from partseg_cli.pipeline.compare import compare
from partseg_cli.reports.results import read_result

PAIRS = 6


def target_of(record) -> np.ndarray:
    flat = record.pair_map()
    return np.where(flat == 65535, -1, flat.astype(np.int64))


def write(folder: Path, store, *, noise: float, seed: int = 0, rule: str = "ref-v2", save: bool = True) -> Path:
    """Write what evaluate leaves of predictions that are wrong on a share `noise` of the pixels."""
    rng = np.random.default_rng(seed)
    table = ConfusionTable(PAIRS)
    for _, record in iterate(store):
        target = target_of(record)
        guess = np.where(rng.random(target.shape) < noise, rng.integers(-1, PAIRS, target.shape), target)
        if (target >= 0).any():
            table.add(record.image_id, count_pixels(torch.from_numpy(guess), torch.from_numpy(target), PAIRS))
        if save:
            write_label_map(folder / "predictions" / f"{record.image_id}.png", guess, PAIRS)
    folder.mkdir(exist_ok=True)
    write_files(folder, table, store, rule)
    return folder


def write_files(folder: Path, table: ConfusionTable, store, rule: str) -> None:
    totals, words = table.totals(), store.info.vocabulary
    iou = score(totals, "partclipseg" if rule == "ref-bug" else rule, "pred-all", words.is_seen).iou
    document = {
        **{"protocol": "pred-all", "rule": rule, "split": "val", "dataset": store.info.name, "model": "noise"},
        **{"samples": "image", "boundary_ratio": 0.02, "data_hash": "abc"},
        "pixels": int(class_pixels(totals, "target").sum()),
        "per_class": [
            {"name": pair.name, "seen": pair.is_seen, "iou": float(value)}
            for pair, value in zip(words.pairs, iou, strict=True)
        ],
    }
    (folder / "results.json").write_text(json.dumps(document))
    np.savez_compressed(folder / "counts.npz", **table.to_arrays())


def edit(folder: Path, **values) -> None:
    path = folder / "results.json"
    document = json.loads(path.read_text())
    path.write_text(json.dumps({key: value for key, value in {**document, **values}.items() if value is not ...}))


@pytest.fixture(scope="module")
def good(small_store, tmp_path_factory) -> Path:
    """Read it, leave it as it is."""
    return write(tmp_path_factory.mktemp("results") / "good", small_store, noise=0.1)


@pytest.fixture
def pair(good, small_store, tmp_path) -> tuple[Path, Path]:
    """A copy of the good results, and worse ones."""
    return shutil.copytree(good, tmp_path / "a"), write(tmp_path / "b", small_store, noise=0.4, seed=1)


def refused(a: Path, b: Path, message: str, error: type[Exception] = DataError, **options) -> None:
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        compare(a, b, bootstrap_samples=5, **options)


def test_means_differences_and_intervals_are_those_of_the_paired_bootstrap(pair):
    document = compare(*pair, bootstrap_samples=200, seed=4).document
    a, b = (read_result(folder) for folder in pair)
    expected = paired_differences(a.table, b.table, "ref-v2", "pred-all", a.is_seen, 200, 4)
    assert document["means"].keys() == set(METRICS)
    for metric, groups in document["means"].items():
        assert groups.keys() == set(GROUPS)
        for group, value in groups.items():
            wanted = expected[metric][group]
            assert value == {**vars(wanted), "interval": list(wanted.interval)}
            assert value["share"] == 1
            assert 0 < value["interval"][0] < value["difference"] < value["interval"][1]


def test_the_document_says_what_was_compared(pair):
    document = compare(*pair, bootstrap_samples=5, seed=2).document
    assert document["a"] == {"folder": str(pair[0]), "model": "noise"}
    told = ("dataset", "split", "protocol", "rule", "samples", "boundary_ratio", "data_hash", "images", "draws", "seed")
    assert [document[key] for key in told] == ["small", "val", "pred-all", "ref-v2", "image", 0.02, "abc", 11, 5, 2]
    assert json.loads(json.dumps(document)) == document


def test_pairs_stand_from_where_a_is_better_to_where_b_is(pair):
    rows = compare(*pair, bootstrap_samples=5).document["per_class"]
    a, b = ({row["name"]: row["iou"] for row in read_result(folder).document["per_class"]} for folder in pair)
    assert [row["difference"] for row in rows] == sorted((row["difference"] for row in rows), reverse=True)
    assert len(rows) == PAIRS
    for row in rows:
        assert (row["a"], row["b"]) == (a[row["name"]], b[row["name"]])
        assert row["difference"] == pytest.approx(row["a"] - row["b"])
        assert row["seen"] == (not row["name"].startswith("fox"))


def test_an_image_that_differs_stands_first(good, small_store, tmp_path):
    other = shutil.copytree(good, tmp_path / "b")
    table = read_result(good).table
    place = table.images.index("photo_04")
    target = torch.from_numpy(target_of(small_store.records("train")[4]))
    table.samples[place] = count_pixels(torch.full_like(target, -1), target, PAIRS)
    write_files(other, table, small_store, "ref-v2")
    rows = compare(good, other, bootstrap_samples=5).document["images_that_differ_most"]
    assert (rows[0]["image_id"], rows[0]["b"]) == ("photo_04", 0.0)
    assert rows[0]["difference"] == rows[0]["a"] > 50
    assert {row["difference"] for row in rows[1:]} == {0.0}


def test_an_evaluation_against_itself_differs_by_nothing(good, tmp_path):
    done = compare(good, good, bootstrap_samples=30, out=tmp_path / "out", dataset="nowhere")
    for groups in done.document["means"].values():
        for value in groups.values():
            assert (value["difference"], value["interval"], value["share"]) == (0.0, [0.0, 0.0], 0.5)
    assert {row["difference"] for row in done.document["per_class"]} == {0.0}


def test_all_rules_but_ref_bug_can_be_read_from_the_same_counts(pair):
    by_rule = {rule: compare(*pair, rule=rule, bootstrap_samples=5).document for rule in ("ref-v2", "full", "ovparts")}
    assert {rule: document["rule"] for rule, document in by_rule.items()} == {rule: rule for rule in by_rule}
    assert len({document["means"]["mIoU"]["seen"]["difference"] for document in by_rule.values()}) == 3


def test_evaluations_by_ref_bug_are_compared_by_it(pair, small_store):
    for folder in pair:
        write_files(folder, read_result(folder).table, small_store, "ref-bug")
    plain = compare(*pair, bootstrap_samples=20).document
    assert plain["rule"] == "ref-bug"
    assert plain["means"]["mIoU"]["seen"]["share"] == 1
    message = "--rule must be one of ref-bug for these evaluations, got 'full'"
    refused(*pair, message, UsageError, rule="full")


def test_evaluations_of_two_rules_need_a_rule(pair, small_store):
    write_files(pair[1], read_result(pair[1]).table, small_store, "full")
    message = "--rule must be named for evaluations of two rules, got ref-v2 and full; choose one"
    refused(*pair, message, UsageError)
    assert compare(*pair, rule="partcatseg", bootstrap_samples=5).document["rule"] == "partcatseg"


def test_an_unknown_rule_is_refused(pair):
    known = "ref-v2, full, partclipseg, ovparts, partcatseg"
    refused(*pair, f"--rule must be one of {known} for these evaluations, got 'x'", UsageError, rule="x")


def test_ref_bug_is_not_compared_with_other_targets(pair, small_store):
    write_files(pair[1], read_result(pair[1]).table, small_store, "ref-bug")
    refused(
        *pair,
        f"{pair[0]} and {pair[1]}: both or none must be of rule ref-bug, which has targets of its own, got ref-v2 and "
        "ref-bug; evaluate both alike",
    )


@pytest.mark.parametrize(
    ("key", "value", "got"),
    [
        ("dataset", "other", "dataset, got small and other"),
        ("split", "train", "split, got val and train"),
        ("protocol", "oracle-obj", "protocol, got pred-all and oracle-obj"),
        ("samples", "object", "samples, got image and object"),
        ("boundary_ratio", 0.1, "boundary ratio, got 0.02 and 0.1"),
        ("data_hash", "def", "images, labels and seen pairs (data_hash), got abc and def"),
    ],
)
def test_what_is_not_alike_is_refused(pair, key, value, got):
    edit(pair[1], **{key: value})
    refused(*pair, f"{pair[0]} and {pair[1]}: must be of the same {got}; evaluate both alike")


def test_other_pairs_are_refused(pair):
    rows = json.loads((pair[1] / "results.json").read_text())["per_class"]
    edit(pair[1], per_class=[{**row, "seen": True} for row in rows])
    refused(
        *pair, f"{pair[0]} and {pair[1]}: must be of the same pairs, seen and unseen, got others; evaluate both alike"
    )


def test_other_images_are_refused(pair, small_store):
    table = read_result(pair[1]).table
    write_files(pair[1], ConfusionTable(PAIRS, table.images[1:], table.samples[1:]), small_store, "ref-v2")
    refused(
        *pair,
        "images: both evaluations must be of the same images, got 11 and 10, of which 10 are in both "
        f"({table.images[0]!r} is in the first alone); evaluate both on the same data",
    )


def test_a_folder_without_results_is_refused(pair, tmp_path):
    path = tmp_path / "c" / "results.json"
    refused(pair[0], path.parent, f"{path}: must be results of partseg evaluate, got nothing there; check the path")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "Expecting value: line 1 column 1 (char 0)"),
        ("[]", "a list instead of an object"),
        ('{"per_class": [{"name": "x"}]}', "'seen'"),
    ],
)
def test_broken_results_are_refused(pair, text, why):
    path = pair[1] / "results.json"
    path.write_text(text)
    refused(*pair, f"{path}: must be results of partseg evaluate, got {why}; check the path")


def test_results_of_an_older_version_are_refused(pair):
    edit(pair[1], data_hash=..., samples=...)
    path = pair[1] / "results.json"
    refused(*pair, f"{path}: must name samples, data_hash, got none; evaluate again with this version")


def test_missing_counts_are_refused(pair):
    (pair[1] / "counts.npz").unlink()
    path = pair[1] / "counts.npz"
    refused(*pair, f"{path}: must hold the counts of an evaluation, got nothing there; evaluate again")


@pytest.mark.parametrize("kept", [0, 100, -50])
def test_counts_that_are_not_whole_are_refused(pair, kept):
    path = pair[1] / "counts.npz"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(DataError, match=rf"^{re.escape(str(path))}: must hold the counts of an evaluation, got .+; "):
        compare(*pair)


def test_counts_that_are_something_else_are_refused_without_advice_to_load_them(pair):
    path = pair[1] / "counts.npz"
    path.write_text("junk")
    refused(*pair, f"{path}: must hold the counts of an evaluation, got no NPZ; evaluate again")


def test_counts_that_hold_objects_are_not_unpickled(pair):
    path = pair[1] / "counts.npz"
    arrays = read_result(pair[1]).table.to_arrays()
    np.savez(path, **{**arrays, "images": np.array([object()])})
    with pytest.raises(DataError, match=r"got Object arrays cannot be loaded when allow_pickle=False; evaluate again$"):
        compare(*pair)


def test_counts_of_another_evaluation_are_refused(pair):
    pixels = json.loads((pair[1] / "results.json").read_text())["pixels"]
    edit(pair[1], pixels=pixels + 1)
    refused(
        *pair,
        f"{pair[1] / 'counts.npz'}: must belong to results.json, of 6 pairs and {pixels + 1:,} labelled pixels, "
        f"got 6 and {pixels:,}; evaluate again",
    )


def test_files_hold_everything(pair, small_store, tmp_path):
    out = tmp_path / "out"
    done = compare(*pair, bootstrap_samples=20, out=out, dataset=str(small_store.folder))
    assert done.note == ""
    assert done.files == ("compare.json", "compare.csv", "pictures")
    assert {path.name for path in out.iterdir()} == set(done.files)
    pictures = sorted(path.relative_to(out).as_posix() for path in (out / "pictures").iterdir())
    assert pictures == list(done.document["pictures"].values()) == [f"pictures/{n:02}.png" for n in range(1, 12)]
    assert json.loads((out / "compare.json").read_text()) == done.document
    with (out / "compare.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [sum(line["what"] == what for line in lines) for what in ("mean", "class", "image")] == [15, PAIRS, 11]
    value = done.document["means"]["recall"]["unseen"]
    (line,) = (line for line in lines if (line["name"], line["group"]) == ("recall", "unseen"))
    assert [float(line[key]) for key in ("a", "b", "difference", "low", "high", "share")] == [
        *(value[key] for key in ("a", "b", "difference")),
        *value["interval"],
        value["share"],
    ]


def test_the_same_results_give_the_same_bytes(pair, small_store, tmp_path):
    for name in ("x", "y"):
        compare(*pair, bootstrap_samples=20, out=tmp_path / name, dataset=str(small_store.folder))
    files = sorted(path.relative_to(tmp_path / "x") for path in (tmp_path / "x").rglob("*.*"))
    assert len(files) == 2 + 11
    for file in files:
        assert (tmp_path / "x" / file).read_bytes() == (tmp_path / "y" / file).read_bytes()


def test_a_picture_shows_labels_and_both_predictions_in_the_same_colours(pair, small_store, tmp_path):
    empty = np.full((target_of(small_store.records("train")[0])).shape, -1)
    done = compare(*pair, bootstrap_samples=5, out=tmp_path / "out", dataset=str(small_store.folder))
    first = {row["image_id"]: row for row in done.document["images_that_differ_most"]}
    assert set(done.document["pictures"]) == set(first)
    file = tmp_path / "out" / done.document["pictures"]["photo_00"]
    write_label_map(pair[1] / "predictions" / "photo_00.png", empty, PAIRS)
    before = np.asarray(Image.open(file)).astype(int)
    compare(*pair, bootstrap_samples=5, out=tmp_path / "out", dataset=str(small_store.folder))
    after = np.asarray(Image.open(file)).astype(int)
    assert before.shape[1] == after.shape[1] == 3 * 640 + 4 * (640 // 30)
    third = before.shape[1] // 3
    assert (before[:, 2 * third :] != after[: before.shape[0], 2 * third :]).any()
    colour = palette(2)[1]
    assert (after[:, :third] == colour).all(-1).any()  # in the legend of what is labelled
    assert not (after[:, 2 * third :] == colour).all(-1).any()  # B predicts nothing any more


def test_pictures_of_a_comparison_before_are_gone(pair, small_store, tmp_path):
    for b in (pair[1], pair[0]):
        compare(pair[0], b, bootstrap_samples=5, out=tmp_path / "out", dataset=str(small_store.folder))
    assert list((tmp_path / "out" / "pictures").iterdir()) == []


def test_without_predictions_it_says_how_to_get_them(small_store, tmp_path):
    folders = [write(tmp_path / name, small_store, noise=0.2, seed=seed, save=False) for seed, name in enumerate("ab")]
    done = compare(*folders, bootstrap_samples=5, out=tmp_path / "out", dataset=str(small_store.folder))
    assert done.document["pictures"] == {}
    assert done.files == ("compare.json", "compare.csv")
    assert done.note == (
        f"no figures: {folders[0]} and {folders[1]} must hold predictions/; run evaluate with --save-predictions"
    )


def test_without_the_data_set_it_says_where_it_was_looked_for(pair, tmp_path, monkeypatch):
    monkeypatch.setenv("PARTSEG_DATA", str(tmp_path / "data"))
    done = compare(*pair, bootstrap_samples=5, out=tmp_path / "out")
    assert done.note == (
        f"no figures: small: must be a folder that partseg prepare made, or the name of one in {tmp_path / 'data'}, "
        "got nothing there; run partseg prepare first, or name it by --dataset"
    )


def test_the_data_set_is_found_by_the_name_in_the_results(pair, small_data, tmp_path, monkeypatch):
    monkeypatch.setenv("PARTSEG_DATA", str(tmp_path / "data"))
    small_data.write(tmp_path / "data" / "small")
    assert len(compare(*pair, bootstrap_samples=5, out=tmp_path / "out").document["pictures"]) == 11


@pytest.mark.parametrize(
    ("picture", "got"),
    [
        (Image.fromarray(np.full((14, 41), 6, np.uint8)), "shape 41x14 up to 6"),
        (Image.fromarray(np.zeros((41, 14), np.uint8)), "shape 14x41 up to 0"),
        (Image.fromarray(np.zeros((14, 41, 3), np.uint8)), "shape 3x41x14 up to 0"),
    ],
)
def test_a_prediction_that_does_not_fit_is_refused(pair, small_store, tmp_path, picture, got):
    path = pair[0] / "predictions" / "photo_00.png"
    picture.save(path)
    message = f"{path}: must be 41x14 pixels of the numbers 0 to 5, got {got}; evaluate again"
    refused(*pair, message, out=tmp_path / "out", dataset=str(small_store.folder))


def test_a_prediction_that_is_missing_is_refused(pair, small_store, tmp_path):
    path = pair[0] / "predictions" / "photo_00.png"
    path.unlink()
    message = f"{path}: must be a saved prediction, got photo_00.png: must be a readable image, got "
    with pytest.raises(DataError, match=f"^{re.escape(message)}"):
        compare(*pair, bootstrap_samples=5, out=tmp_path / "out", dataset=str(small_store.folder))


def test_another_data_set_is_refused(pair, tmp_path, small_store):
    names = [{**row, "name": f"{row['name']}s"} for row in read_result(pair[0]).document["per_class"]]
    for folder in pair:
        edit(folder, per_class=names)
    message = f"{small_store.folder}: must have the pairs of the evaluations, got others; name it by --dataset"
    refused(*pair, message, out=tmp_path / "out", dataset=str(small_store.folder))


def test_the_command_shows_tables_and_says_what_it_wrote(partseg, pair, small_store, tmp_path):
    ended = partseg(
        "compare", *pair, "--bootstrap-samples", 30, "--out", tmp_path / "out", "--dataset", small_store.folder
    )
    assert ended.code == 0, ended.err
    for words in ("images that differ most", "IoU, A better", "means, in percent", "95 % interval", "mIoU harmonic"):
        assert words in ended.out
    assert "B better" not in ended.out
    assert "IoU, B better" in partseg("compare", *pair[::-1], "--bootstrap-samples", 5).out
    assert ended.err == f"{tmp_path / 'out'}: compare.json, compare.csv, pictures\n"


def test_the_command_prints_one_document(partseg, pair):
    ended = partseg("compare", *pair, "--bootstrap-samples", 30, "--seed", 3, "--rule", "full", "--json")
    assert ended.code == 0, ended.err
    assert json.loads(ended.out) == compare(*pair, bootstrap_samples=30, seed=3, rule="full").document
    assert ended.err == ""


def test_the_command_ends_with_the_code_of_data_where_they_are_not_comparable(partseg, pair):
    edit(pair[1], protocol="oracle-obj")
    ended = partseg("compare", *pair)
    assert (ended.code, ended.out) == (3, "")
    assert ended.err == (
        f"error: {pair[0]} and {pair[1]}: must be of the same protocol, got pred-all and oracle-obj; evaluate both "
        "alike\n"
    )
