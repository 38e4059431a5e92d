"""What a split feeds and tests, counted a second time pixel by pixel."""

import dataclasses
import shutil

import numpy as np
import pytest

from partseg_cli.data.loading.dataset import ImageTransform, PartDataset
from partseg_cli.data.record import Record
from partseg_cli.data.rle import Mask
from partseg_cli.data.splits.leakage import Audit, Leakage, audit, check_leakage, same_files
from partseg_cli.data.splits.split import Split, published_split
from partseg_cli.data.splits.split_builder import build_split, unseen_by_name
from partseg_cli.data.store import Store, iterate

FED = ["photo_00", "photo_01", "photo_03", "photo_04", "photo_06", "photo_07"]  # train, less a fox and a boat alone
VIEWS = ImageTransform(
    image_size=32,
    shortest_edge=None,
    longest_edge=1,
    flip=0.0,
    train_channel_order="rgb",
    unlabelled_objects="background",
)


def training(store: Store, split: Split, rule: str = "background") -> PartDataset:
    views = dataclasses.replace(VIEWS, unlabelled_objects=rule)
    return PartDataset(store, split.train, split.vocabulary(store), views, 0)


def checked(store: Store, split: Split, rule: str = "background") -> Leakage:
    return check_leakage(training(store, split, rule), split.vocabulary(store))


def by_part(store: Store, *parts: str) -> Split:
    return build_split(store, unseen_by_name(store.info.vocabulary, [], parts))


def pixels(store: Store, ids, wanted) -> int:
    """Count the pixels that show one of the wanted "object part" or "object" names on top."""
    total = 0
    for _, record in iterate(store):
        if record.image_id in ids:
            pairs = [f"{p.object} {p.part}" for p in store.info.vocabulary.pairs]
            for names, flat in ((pairs, record.pair_map()), (store.info.objects, record.object_map())):
                total += sum(int((flat == i).sum()) for i, name in enumerate(names) if name in wanted)
    return total


CATS_AND_DOGS = {"cat ear", "cat head", "dog head", "dog tail"}


# ---- what is fed


def test_nothing_leaks_and_every_pixel_is_counted(small_store):
    fox = pixels(small_store, FED, {"fox"})
    assert checked(small_store, published_split(small_store)) == Leakage(
        images=6,
        left_out=2,
        labelled=pixels(small_store, FED, CATS_AND_DOGS),
        leaked=0,
        unseen_images=2,
        unseen_pixels=fox,
        unseen_as_background=fox,
    )
    assert fox > 100


def test_pixels_of_unseen_objects_can_be_left_out(small_store):
    leakage = checked(small_store, published_split(small_store), "ignore")
    assert leakage.unseen_pixels == pixels(small_store, FED, {"fox"})
    assert leakage.unseen_as_background == 0


def test_pixels_that_were_not_annotated_are_no_background(small_data, tmp_path):
    everything = [
        dataclasses.replace(r, ignore=Mask.encode(np.ones((r.height, r.width), bool)))
        for r in small_data.records["train"]
    ]
    store = small_data._replace(records={**small_data.records, "train": everything}).write(tmp_path)
    leakage = checked(store, published_split(store))
    assert leakage.unseen_pixels > leakage.unseen_as_background == 0


def test_an_object_of_which_one_part_is_unseen_is_no_leak(small_store):
    leakage = checked(small_store, by_part(small_store, "ear"))
    assert (leakage.leaked, leakage.unseen_images, leakage.unseen_pixels) == (0, 0, 0)
    everyone = [*FED, "photo_02"]  # now a fox has a seen part as well
    assert leakage.images == 7
    assert leakage.labelled == pixels(small_store, everyone, {*CATS_AND_DOGS, "fox tail"} - {"cat ear"})
    assert leakage.unseen_part_pixels == pixels(small_store, everyone, {"cat ear", "fox ear"}) > 100


def test_parts_of_wholly_unseen_objects_count_as_objects_only(small_store):
    leakage = checked(small_store, by_part(small_store, "ear", "tail"))
    assert leakage.unseen_pixels == pixels(small_store, FED, {"fox"})
    assert leakage.unseen_part_pixels == pixels(small_store, FED, {"cat ear", "dog tail"})


def test_seen_pairs_that_no_image_shows_are_named(small_store):
    split = dataclasses.replace(published_split(small_store), train=("photo_00", "photo_06"))
    assert checked(small_store, split).untrained == ("dog's head", "dog's tail")


def test_a_leak_of_pairs_is_reported_to_the_pixel(small_store):
    split = published_split(small_store)
    train = training(small_store, split)
    train.label_mapper._pairs[4:6] = 0  # fox's ear and tail are fed as cat's ear
    leakage = check_leakage(train, split.vocabulary(small_store))
    assert leakage.leaked == pixels(small_store, FED, {"fox ear", "fox tail"}) > 0
    assert leakage.labelled == pixels(small_store, FED, CATS_AND_DOGS) + leakage.leaked


def test_a_leak_of_objects_is_reported_to_the_pixel(small_store):
    split = published_split(small_store)
    train = training(small_store, split)
    train.label_mapper._objects[small_store.info.objects.index("fox")] = 1
    leakage = check_leakage(train, split.vocabulary(small_store))
    assert leakage.leaked == pixels(small_store, FED, {"fox"}) > 0


def test_a_leak_of_an_unseen_part_is_reported_to_the_pixel(small_store):
    split = by_part(small_store, "ear")
    train = training(small_store, by_part(small_store, "tail"))
    leakage = check_leakage(train, split.vocabulary(small_store))
    assert leakage.leaked == pixels(small_store, set(FED) | {"photo_02"}, {"cat ear", "fox ear"}) > 0


def test_training_with_seen_flags_of_another_split_is_a_leak(small_store):
    train = training(small_store, build_split(small_store, unseen_by_name(small_store.info.vocabulary, [])))
    assert check_leakage(train, published_split(small_store).vocabulary(small_store)).leaked > 0


# ---- what is tested


def audited(store: Store, split: Split) -> Audit:
    return audit(store, split, Leakage())


def test_the_test_is_counted_and_what_it_lacks_is_named(small_store):
    split = dataclasses.replace(published_split(small_store), val=("photo_09", "photo_11"))
    result = audited(small_store, split)
    assert result.tested == pixels(small_store, split.val, {"fox ear", "fox tail"}) > 0
    assert result.untested == ("cat's ear", "cat's head", "dog's head", "dog's tail")


def test_of_training_images_only_unseen_objects_are_tested(small_store):
    split = dataclasses.replace(published_split(small_store), val=("photo_10",), val_unseen=("photo_03", "photo_04"))
    result = audited(small_store, split)
    fox = pixels(small_store, split.val_unseen, {"fox ear", "fox tail"})
    assert result.tested == pixels(small_store, ["photo_10"], CATS_AND_DOGS) + fox
    assert result.untested == ("cat's ear", "cat's head")


def test_an_image_in_both_lists_is_named(small_store):
    published = published_split(small_store)
    split = dataclasses.replace(published, val=(*published.val, "photo_05"))
    assert audited(small_store, split).in_both == ("photo_05",)
    assert audited(small_store, published).in_both == ()


# ---- the same photo twice


def test_the_same_image_under_several_ids_is_found(small_data, tmp_path):
    store = small_data.write(tmp_path)
    for copy, original in ((9, 1), (4, 3), (5, 3)):
        shutil.copy(tmp_path / f"images/photo_{original:02}.png", tmp_path / f"images/photo_{copy:02}.png")
    (tmp_path / "images/photo_11.png").unlink()
    result = audited(store, published_split(store))
    assert result.same_photo == (("photo_01", "photo_09"), ("photo_03", "photo_04", "photo_05"))
    assert (result.across, result.missing) == (1, 1)


def test_different_images_are_not_the_same(small_store):
    result = audited(small_store, published_split(small_store))
    assert (result.same_photo, result.across, result.missing) == ((), 0, 0)


def test_images_of_the_same_size_are_distinguished_by_their_content(tmp_path):
    photos = {name: tmp_path / name for name in "abcdef"}
    for name, content in zip("abcde", (b"1234", b"1243", b"1234", b"12345", b""), strict=True):
        photos[name].write_bytes(content)
    assert same_files(photos) == ((("a", "c"),), 1)


def test_only_images_of_the_split_are_looked_at(small_store):
    seen: list[str] = []

    def track(records, what: str, total: int):
        for record in records:
            seen.append(f"{what} {record.image_id} of {total}")
            yield record

    split = dataclasses.replace(published_split(small_store), train=("photo_00", "photo_05"), val=("photo_08",))
    check_leakage(training(small_store, split), split.vocabulary(small_store), track)
    audit(small_store, split, Leakage(), track)
    assert seen == ["check train photo_00 of 1", "check val photo_08 of 1"]


@pytest.mark.parametrize("seed", range(5))
def test_no_split_that_is_drawn_leaks(small_store, seed):
    rng = np.random.default_rng(seed)
    words = small_store.info.vocabulary
    objects = rng.permutation(words.objects)[: rng.integers(3)].tolist()
    parts = rng.permutation(words.parts)[: rng.integers(3)].tolist()
    if not any(words.with_unseen(objects, parts).is_seen):
        parts = []
    split = build_split(small_store, unseen_by_name(words, objects, parts), val_fraction=0.3, seed=seed)
    leakage = checked(small_store, split)
    assert (leakage.leaked, leakage.labelled > 0) == (0, True)
    shown: list[Record] = [record for _, record in iterate(small_store) if record.image_id in split.train]
    assert leakage.images + leakage.left_out == len(shown)
