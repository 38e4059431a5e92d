"""Splits that are drawn: unseen objects and parts, val, few-shot lists, what the test runs over."""

import dataclasses
import re

import pytest

from partseg_cli.data.splits.split import VAL, VAL_AND_TRAIN_UNSEEN, Split, published_split
from partseg_cli.data.splits.split_builder import UnseenClasses, build_split, unseen_by_name
from partseg_cli.data.store import Store, iterate
from partseg_cli.errors import UsageError, VocabularyError

TRAIN = tuple(f"photo_{number:02}" for number in range(8))
VAL_IMAGES = tuple(f"photo_{number:02}" for number in range(8, 12))
WITH_FOX = {"photo_02", "photo_03", "photo_04", "photo_09", "photo_11"}


def refused(message: str, kind: type[Exception] = UsageError):
    return pytest.raises(kind, match=f"^{re.escape(message)}$")


def drawn(store, unseen=None, parts=(), **choices) -> Split:
    return build_split(store, unseen_by_name(store.info.vocabulary, unseen, parts), **choices)


def shown(store) -> dict[str, set[str]]:
    """Return the objects of which an image shows a part."""
    pairs = store.info.vocabulary.pairs
    return {r.image_id: {pairs[part.pair].object for part in r.parts} for _, r in iterate(store)}


# ---- unseen objects


def test_a_split_drawn_without_any_wish_is_the_published_one(small_store):
    assert drawn(small_store, seed=5) == Split("small", "seen objects published", 5, ("fox",), TRAIN, VAL_IMAGES)


def test_other_unseen_objects_leave_the_images_alone(small_store):
    split = drawn(small_store, unseen=["dog", "cat"])
    assert split == Split("small", "seen objects chosen", 0, ("cat", "dog"), TRAIN, VAL_IMAGES)
    assert split.vocabulary(small_store).is_seen == (False, False, False, False, True, True)
    assert published_split(small_store).vocabulary(small_store).is_seen == (True, True, True, True, False, False)


def test_no_unseen_object_makes_all_pairs_seen(small_store):
    split = drawn(small_store, unseen=[])
    assert (split.unseen_objects, split.rule) == ((), "all seen")
    assert all(split.vocabulary(small_store).is_seen)


def test_an_unseen_object_must_be_known(small_store):
    with refused("unseen objects: must be in the vocabulary, got 'cta'; did you mean cat?", VocabularyError):
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
    assert sorted(split.train + split.val) == [*TRAIN, *VAL_IMAGES]
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
def test_a_fraction_is_between_0_and_1(small_store, fraction):
    with refused(f"--val-fraction must be between 0 and 1, got {fraction:g}", UsageError):
        drawn(small_store, val_fraction=fraction)


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
    assert split.val == VAL_IMAGES
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


@pytest.fixture
def listed(small_store) -> Store:
    """A store that was published with a list of 3 shots, one of which could not be converted."""
    lists = (("train_3shot", ("photo_06", "lost", "photo_01", "photo_04")),)
    return Store(small_store.folder, dataclasses.replace(small_store.info, lists=lists))


def test_a_published_list_of_so_many_shots_is_taken_and_said(listed):
    split = drawn(listed, shots=3, seed=5)
    assert split.train == ("photo_01", "photo_04", "photo_06")
    how = "train is the published 3-shot list (1 of its 4 images are not there)"
    assert split.rule == f"seen objects published, {how}"
    assert (split.val, split.seed) == (VAL_IMAGES, 5)


@pytest.mark.parametrize("choices", [{"shots": 2}, {"shots": 3, "val_fraction": 0.4}])
def test_other_shots_and_other_images_are_drawn(listed, small_store, choices):
    split = drawn(listed, seed=1, **choices)
    assert split == drawn(small_store, seed=1, **choices)
    assert split.rule.endswith(f"train drawn as {choices['shots']} images of each seen object")


# ---- unseen parts


def test_a_part_is_unseen_of_every_object_and_joins_the_published_objects(small_store):
    split = drawn(small_store, parts=["ear"])
    assert (split.unseen_objects, split.unseen_parts) == (("fox",), ("ear",))
    assert split.rule == "seen objects published, unseen parts ear"
    assert split.vocabulary(small_store).is_seen == (False, True, True, True, False, False)


def test_parts_alone_leave_objects_that_are_seen_in_part(small_store):
    split = drawn(small_store, unseen=[], parts=["tail", "ear", "tail"])
    assert (split.unseen_objects, split.unseen_parts) == ((), ("ear", "tail"))
    assert split.rule == "unseen parts ear, tail"
    vocabulary = split.vocabulary(small_store)
    assert vocabulary.is_seen == (False, True, True, False, False, False)
    assert vocabulary.unseen_objects == ("fox",)


def test_an_unseen_part_must_be_known(small_store):
    with refused("unseen parts: must be in the vocabulary, got 'haed'; did you mean head?", VocabularyError):
        drawn(small_store, parts=["haed"])


@pytest.mark.parametrize(("unseen", "parts"), [([], ["ear", "head", "tail"]), (["cat", "fox"], ["tail", "head"])])
def test_one_pair_must_stay_seen(small_store, unseen, parts):
    with refused("--unseen-parts: at least one pair must stay seen, got none of them; leave a part out"):
        drawn(small_store, unseen=unseen, parts=parts)


def test_images_with_an_unseen_part_are_drawn_apart(small_store):
    with_ear = {image for image, objects in shown(small_store).items() if objects & {"cat", "fox"}}
    split = drawn(small_store, unseen=[], parts=["ear"], val_fraction=0.4)
    assert len(with_ear & set(split.val)) == round(0.4 * len(with_ear))


def test_shots_count_images_with_a_seen_part(small_store):
    # only tails are seen: a cat has none, so no image is kept for it
    split = drawn(small_store, unseen=[], parts=["ear", "head"], shots=1, seed=2)
    objects = shown(small_store)
    assert len(split.train) <= 2
    assert all(objects[image] & {"dog", "fox"} for image in split.train)
    for name in ("dog", "fox"):
        assert any(name in objects[image] for image in split.train)


# ---- what the test runs over


@pytest.fixture
def as_ade(small_store) -> Store:
    return Store(small_store.folder, dataclasses.replace(small_store.info, test=VAL_AND_TRAIN_UNSEEN))


def test_the_published_test_is_the_default_and_is_said(as_ade):
    split = drawn(as_ade)
    assert split.val_unseen == published_split(as_ade).val_unseen == ("photo_02", "photo_03", "photo_04")
    assert split.rule == "seen objects published, tested on val and the unseen objects of train"


def test_the_test_can_be_val_alone(as_ade, small_store):
    assert drawn(as_ade, test=VAL) == drawn(small_store)


def test_a_set_that_was_published_with_val_alone_can_be_tested_so_too(small_store, as_ade):
    assert drawn(small_store).val_unseen == ()
    assert drawn(small_store, test=VAL_AND_TRAIN_UNSEEN) == drawn(as_ade)


def test_the_test_follows_the_chosen_objects_and_the_drawn_val(as_ade):
    split = drawn(as_ade, unseen=["dog"], val_fraction=0.4, seed=3)
    assert split.val_unseen == tuple(image for image in split.train if "dog" in shown(as_ade)[image])
    assert set(split.val_unseen).isdisjoint(split.val)


def test_few_shots_leave_the_test_alone(as_ade):
    split = drawn(as_ade, shots=1)
    assert split.val_unseen == ("photo_02", "photo_03", "photo_04")
    assert not set(split.val_unseen) <= set(split.train)


def test_an_object_of_which_a_part_is_seen_is_not_taken_from_train(as_ade):
    split = drawn(as_ade, unseen=[], parts=["ear"])
    assert (split.val_unseen, split.rule) == ((), "unseen parts ear")


def test_further_pairs_are_unseen_as_requested(as_ade):
    split = build_split(as_ade, UnseenClasses("seen by luck", ("dog",), pairs=(("fox", "ear"),), test=VAL))
    assert split.vocabulary(as_ade).is_seen == (True, True, False, False, False, True)
    assert (split.rule, split.val_unseen) == ("seen by luck", ())
