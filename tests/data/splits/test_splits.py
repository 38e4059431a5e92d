"""Splits and their files: which pairs are seen, which images train, what the test takes."""

import dataclasses
import re

import pytest
import yaml

from partseg_cli.data.splits.split import Split, images_showing, load_split, published_split, write_split
from partseg_cli.data.store import Store
from partseg_cli.errors import DataError

TRAIN = tuple(f"photo_{number:02}" for number in range(8))
VAL = tuple(f"photo_{number:02}" for number in range(8, 12))


CHOSEN = Split(
    "small",
    "by hand",
    8,
    ("dog",),
    TRAIN[:5],
    VAL[1:],
    unseen_parts=("ear",),
    unseen_pairs=(("cat", "head"), ("fox", "ear"), ("fox", "tail")),
    val_unseen=("photo_01", "photo_04"),
)


def refused(message: str):
    return pytest.raises(DataError, match=f"^{re.escape(message)}$")


# ---- published


def test_the_published_split_is_the_stores_own(small_store):
    assert published_split(small_store) == Split("small", "published", 0, ("fox",), TRAIN, VAL)
    assert load_split(small_store, "published") == published_split(small_store)


def as_ade(store: Store) -> Store:
    return Store(store.folder, dataclasses.replace(store.info, test="val+train-unseen"))


def test_a_published_test_may_take_the_unseen_objects_of_the_training_images(small_store):
    split = published_split(as_ade(small_store))
    assert split.val_unseen == ("photo_02", "photo_03", "photo_04")
    assert (split.train, split.val) == (TRAIN, VAL)
    assert published_split(small_store).val_unseen == ()


def test_images_that_show_an_object_are_found_by_their_parts(small_store):
    assert images_showing(small_store, TRAIN, ["dog", "cat"]) == tuple(TRAIN[i] for i in (0, 1, 3, 4, 6, 7))
    assert images_showing(small_store, VAL[1:], ["dog"]) == ("photo_10",)
    assert images_showing(small_store, VAL, ["boat"]) == ()


def test_an_empty_side_is_refused_when_its_images_are_asked_for(small_store):
    split = dataclasses.replace(published_split(small_store), val=())
    assert split.images("train") == TRAIN
    with refused("small: val must hold an image, got none; make a split with --val-fraction"):
        split.images("val")


# ---- files


@pytest.mark.parametrize(
    "changes",
    [{}, {"unseen_parts": ()}, {"unseen_pairs": ()}, {"val_unseen": ()}, {"train": (), "unseen_objects": ()}],
)
def test_a_written_split_reads_as_the_same(small_store, tmp_path, changes):
    split = dataclasses.replace(CHOSEN, **changes)
    path = tmp_path / "new" / "split.yaml"
    write_split(path, split)
    assert load_split(small_store, str(path)) == split
    assert path.read_text(encoding="utf-8").startswith("# Made by `partseg split`; recipes take it as data.split.\n")


def test_the_same_split_is_written_as_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        write_split(tmp_path / name, CHOSEN)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_the_file_of_a_plain_split_has_the_keys_that_it_always_had(small_store, tmp_path):
    write_split(tmp_path / "split.yaml", published_split(small_store))
    lines = (tmp_path / "split.yaml").read_text(encoding="utf-8").splitlines()
    keys = ["# Made by `partseg split`; recipes take it as data.split.", "format", "dataset", "rule", "seed"]
    keys += ["unseen_objects", "train", "val"]
    assert [line.split(":")[0] for line in lines if not line.startswith("- ")] == keys


def test_unseen_classes_are_written_before_the_images(tmp_path):
    write_split(tmp_path / "split.yaml", CHOSEN)
    value = yaml.safe_load((tmp_path / "split.yaml").read_text(encoding="utf-8"))
    assert list(value)[4:] == ["unseen_objects", "unseen_parts", "unseen_pairs", "train", "val", "val_unseen"]
    assert value["unseen_pairs"] == {"cat": ["head"], "fox": ["ear", "tail"]}


def test_objects_parts_and_pairs_make_the_seen_flags_together(small_store):
    names = ["cat ear", "cat head", "dog head", "dog tail", "fox ear", "fox tail"]
    assert [f"{p.object} {p.part}" for p in small_store.info.vocabulary.pairs] == names
    one = dataclasses.replace(CHOSEN, unseen_pairs=(("fox", "tail"),))
    assert one.vocabulary(small_store).is_seen == (False, True, False, False, False, False)
    assert one.vocabulary(small_store).unseen_objects == ("dog", "fox")


@pytest.fixture
def changed(small_store, tmp_path):
    """Write the published split with some keys changed; `...` leaves one out."""

    def write(**changes) -> str:
        path = tmp_path / "split.yaml"
        write_split(path, published_split(small_store))
        value = {**yaml.safe_load(path.read_text(encoding="utf-8")), **changes}
        path.write_text(yaml.safe_dump({k: v for k, v in value.items() if v is not ...}), encoding="utf-8")
        return str(path)

    return write


def test_a_split_of_another_data_set_is_refused(small_store, changed):
    path = changed(dataset="large")
    with refused(f"{path}: must belong to small, got a split of large; make it again"):
        load_split(small_store, path)


def test_a_split_with_unknown_images_is_refused(small_store, changed):
    path = changed(train=["photo_00", "dream"], val=["photo_08", "nightmare"])
    message = f"every image must be in {small_store.folder}, got 2 others such as dream; make it again"
    with refused(f"{path}: {message}"):
        load_split(small_store, path)


def test_a_split_with_unknown_objects_is_refused(small_store, changed):
    path = changed(unseen_objects=["fox", "boat"])
    known = "known are cat, dog, fox"
    with refused(f"{path}: unseen objects: must be in the vocabulary, got 'boat'; {known}"):
        load_split(small_store, path)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("unseen_parts", ["wing"], "unseen parts: must be in the vocabulary, got 'wing'; known are ear, head, tail"),
        ("unseen_parts", ["eer"], "unseen parts: must be in the vocabulary, got 'eer'; did you mean ear?"),
        (
            "unseen_pairs",
            {"cat": ["tail"]},
            "unseen pairs: must be in the vocabulary, got \"cat's tail\"; did you mean cat's ear?",
        ),
    ],
)
def test_a_split_with_unknown_parts_or_pairs_is_refused(small_store, changed, key, value, message):
    path = changed(**{key: value})
    with refused(f"{path}: {message}"):
        load_split(small_store, path)


def test_an_image_of_val_cannot_be_tested_as_one_of_train(small_store, changed):
    path = changed(val_unseen=["photo_02", "photo_09"])
    with refused(f"{path}: no image may be in train and val, got 1 such as photo_09; make it again"):
        load_split(small_store, path)


def test_an_image_that_is_tested_must_be_known(small_store, changed):
    path = changed(val_unseen=["photo_02", "dream"])
    message = f"every image must be in {small_store.folder}, got 1 others such as dream; make it again"
    with refused(f"{path}: {message}"):
        load_split(small_store, path)


@pytest.mark.parametrize("changes", [{"format": "partseg-split-9"}, {"format": ...}])
def test_a_file_of_another_format_is_refused(small_store, changed, changes):
    path = changed(**changes)
    message = "must be a split file of format 'partseg-split-1', got something else; make it: partseg split"
    with refused(f"{path}: {message}"):
        load_split(small_store, path)


@pytest.mark.parametrize("text", ["", "5", "- a", "text"])
def test_a_yaml_file_of_something_else_is_refused(small_store, tmp_path, text):
    path = tmp_path / "split.yaml"
    path.write_text(text)
    message = "must be a split file of format 'partseg-split-1', got something else; make it: partseg split"
    with refused(f"{path}: {message}"):
        load_split(small_store, str(path))


@pytest.mark.parametrize("key", ["dataset", "rule", "seed", "unseen_objects", "train", "val"])
def test_a_file_without_a_key_is_refused(small_store, changed, key):
    path = changed(**{key: ...})
    with pytest.raises(DataError, match=rf"^{re.escape(path)}: must hold exactly .+, got '{key}' wrong; make it: "):
        load_split(small_store, path)


def test_a_file_with_a_strange_key_is_refused(small_store, changed):
    path = changed(colour="red")
    with pytest.raises(DataError, match=rf"^{re.escape(path)}: must hold exactly .+, got 'colour' wrong; make it: "):
        load_split(small_store, path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *((key, None) for key in ("unseen_objects", "train", "val")),
        ("unseen_objects", "fox"),
        ("unseen_objects", [["fox"]]),
        ("train", 5),
        ("train", {"photo_00": 1}),
        ("val", [["photo_08"]]),
        ("val", [None]),
        ("unseen_parts", "ear"),
        ("unseen_parts", {"ear": []}),
        ("unseen_pairs", ["cat's ear"]),
        ("unseen_pairs", {"cat": "ear"}),
        ("unseen_pairs", {"cat": [1]}),
        ("unseen_pairs", {1: ["ear"]}),
        ("unseen_pairs", {"cat": {"ear": []}}),
        ("val_unseen", None),
    ],
)
def test_a_list_that_is_none_of_names_is_refused(small_store, changed, key, value):
    path = changed(**{key: value})
    with pytest.raises(DataError, match=rf"^{re.escape(path)}: [^\n]+$"):
        load_split(small_store, path)


def test_an_image_on_both_sides_is_refused(small_store, changed):
    path = changed(train=list(TRAIN), val=[*VAL, "photo_03"])
    with pytest.raises(DataError, match=f"^{re.escape(path)}: .*photo_03"):
        load_split(small_store, path)


@pytest.mark.parametrize("content", [b"a: [", b"\xff\xfe\x00", None])
def test_a_missing_or_broken_file_is_refused_in_one_line(small_store, tmp_path, content):
    path = tmp_path / "split.yaml"
    if content is not None:
        path.write_bytes(content)
    message = rf"^{re.escape(str(path))}: no readable split file \([^\n]+\); make it: partseg split$"
    with pytest.raises(DataError, match=message):
        load_split(small_store, str(path))
