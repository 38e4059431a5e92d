"""Splits of a small store: which objects are seen, which images train."""

import re

import pytest
import yaml

from partseg_cli.data.splits import Split, draw_split, load_split, published_split, select, write_split
from partseg_cli.data.store import iterate
from partseg_cli.errors import DataError, UsageError, VocabularyError

TRAIN = tuple(f"photo_{number:02}" for number in range(8))
VAL = tuple(f"photo_{number:02}" for number in range(8, 12))
WITH_FOX = {"photo_02", "photo_03", "photo_04", "photo_09", "photo_11"}


def refused(message: str, kind: type[Exception] = DataError):
    return pytest.raises(kind, match=f"^{re.escape(message)}$")


def drawn(store, **choices) -> Split:
    return draw_split(store, **{"unseen": None, "val_fraction": None, "shots": None, "seed": 0, **choices})


def shown(store) -> dict[str, set[str]]:
    """Give the objects of which an image shows a part."""
    pairs = store.info.vocabulary.pairs
    return {r.image_id: {pairs[part.pair].object for part in r.parts} for _, r in iterate(store)}


# ---- published and chosen


def test_the_published_split_is_the_stores_own(small_store):
    assert published_split(small_store) == Split("small", "published", 0, ("fox",), TRAIN, VAL)
    assert load_split(small_store, "published") == published_split(small_store)


def test_a_split_drawn_without_any_wish_is_the_published_one(small_store):
    assert drawn(small_store, seed=5) == Split("small", "seen objects published", 5, ("fox",), TRAIN, VAL)


def test_other_unseen_objects_leave_the_images_alone(small_store):
    split = drawn(small_store, unseen=["dog", "cat"])
    assert split == Split("small", "seen objects chosen", 0, ("cat", "dog"), TRAIN, VAL)
    assert split.vocabulary(small_store).is_seen == (False, False, False, False, True, True)
    assert published_split(small_store).vocabulary(small_store).is_seen == (True, True, True, True, False, False)


def test_no_unseen_object_makes_all_pairs_seen(small_store):
    split = drawn(small_store, unseen=[])
    assert (split.unseen_objects, split.rule) == ((), "seen objects chosen")
    assert all(split.vocabulary(small_store).is_seen)


def test_an_unseen_object_must_be_known(small_store):
    with refused("unseen objects: must be in the vocabulary, got 'cta'; did you mean 'cat'?", VocabularyError):
        drawn(small_store, unseen=["cta"])


def test_one_object_must_stay_seen(small_store):
    with refused("--unseen: at least one object must stay seen, got all of them; leave one out", UsageError):
        drawn(small_store, unseen=["cat", "dog", "fox"])


# ---- val


@pytest.mark.parametrize(("fraction", "foxes", "others"), [(0.4, 2, 3), (0.2, 1, 1), (0.9, 4, 6)])
def test_val_is_drawn_from_images_with_and_without_unseen_objects_apart(small_store, fraction, foxes, others):
    split = drawn(small_store, val_fraction=fraction, seed=3)
    assert len(WITH_FOX & set(split.val)) == foxes
    assert len(set(split.val) - WITH_FOX) == others
    assert sorted(split.train + split.val) == [*TRAIN, *VAL]
    assert split.rule == f"seen objects published, val drawn as {fraction} of all images"


def test_chosen_unseen_objects_decide_what_is_drawn_apart(small_store):
    with_dog = {image for image, objects in shown(small_store).items() if "dog" in objects}
    split = drawn(small_store, unseen=["dog"], val_fraction=0.4)
    assert len(with_dog & set(split.val)) == round(0.4 * len(with_dog)) == 2


def test_images_keep_the_order_of_the_store(small_store):
    split = drawn(small_store, val_fraction=0.5, seed=9)
    assert (list(split.train), list(split.val)) == (sorted(split.train), sorted(split.val))


def test_the_same_seed_gives_the_same_split_and_another_one_another(small_store):
    splits = [drawn(small_store, val_fraction=0.4, shots=1, seed=seed) for seed in (1, 1, 2, 3, 4)]
    assert splits[0] == splits[1]
    assert len({split.val for split in splits}) >= 3


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, 1.5, float("nan")])
def test_a_fraction_lies_between_0_and_1(small_store, fraction):
    with refused(f"--val-fraction must lie between 0 and 1, got {fraction:g}", UsageError):
        drawn(small_store, val_fraction=fraction)


def test_an_empty_side_is_refused_when_its_images_are_asked_for(small_store):
    split = drawn(small_store, val_fraction=0.01)
    assert split.images("train") == tuple(sorted(TRAIN + VAL))
    with refused("small: val must hold an image, got none; make a split with --val-fraction"):
        split.images("val")


# ---- shots


@pytest.mark.parametrize("shots", [1, 2])
@pytest.mark.parametrize("seed", range(4))
def test_shots_keep_so_many_images_of_each_seen_object(small_store, shots, seed):
    split = drawn(small_store, shots=shots, seed=seed)
    objects = shown(small_store)
    for name in ("cat", "dog"):
        assert sum(name in objects[image] for image in split.train) >= shots
    # an image is kept only for an object that was still short of images
    assert shots <= len(split.train) <= 2 * shots
    assert all(objects[image] & {"cat", "dog"} for image in split.train)
    assert set(split.train) <= set(TRAIN)
    assert split.val == VAL
    assert split.rule == f"seen objects published, train drawn as {shots} images of each seen object"


def test_more_shots_than_images_keep_all_that_show_a_seen_object(small_store):
    kept = {image for image in TRAIN if shown(small_store)[image] & {"cat", "dog"}}
    assert set(drawn(small_store, shots=99).train) == kept == set(TRAIN) - {"photo_02", "photo_05"}


def test_shots_are_drawn_from_what_val_left(small_store):
    split = drawn(small_store, val_fraction=0.5, shots=1)
    assert set(split.train).isdisjoint(split.val)
    assert split.train


def test_no_shot_at_all_is_refused(small_store):
    with refused("--shots must be >= 1, got 0", UsageError):
        drawn(small_store, shots=0)


# ---- files


def test_a_written_split_reads_as_the_same(small_store, tmp_path):
    split = drawn(small_store, unseen=["dog"], val_fraction=0.4, shots=2, seed=8)
    path = tmp_path / "new" / "split.yaml"
    write_split(path, split)
    assert load_split(small_store, str(path)) == split
    assert path.read_text(encoding="utf-8").startswith("# Made by `partseg split`; recipes take it as data.split.\n")


def test_the_same_split_is_written_as_the_same_bytes(small_store, tmp_path):
    for name in ("a", "b"):
        write_split(tmp_path / name, drawn(small_store, val_fraction=0.4, seed=1))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


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


# ---- selection


def test_select_gives_places_in_the_order_of_the_store(small_store):
    places = select(small_store, ["photo_09", "photo_00", "photo_07", "photo_09", "nobody"])
    assert places == [("train", 0), ("train", 7), ("val", 1)]
    assert [small_store.records(split)[i].image_id for split, i in places] == ["photo_00", "photo_07", "photo_09"]
