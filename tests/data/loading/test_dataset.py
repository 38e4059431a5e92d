"""Training samples against plain chains of resizes; what is fed, in which order, and what must never be."""

import dataclasses
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from partseg_cli.data.loading.dataset import ImageTransform, PartDataset
from partseg_cli.data.loading.labels import LabelMapper
from partseg_cli.data.loading.transforms import normalise
from partseg_cli.data.record import RecordKey
from partseg_cli.data.rle import NONE, Mask
from partseg_cli.data.splits.split_builder import build_split, unseen_by_name
from partseg_cli.data.store import Store
from partseg_cli.errors import DataError
from partseg_cli.structures import Batch

PLAIN = ImageTransform(
    image_size=24,
    shortest_edge=None,
    longest_edge=100,
    flip=0.0,
    train_channel_order="rgb",
    unlabelled_objects="background",
)
FED = ["photo_00", "photo_01", "photo_03", "photo_04", "photo_06", "photo_07"]  # train, less a fox and a boat alone
SEEN = [("cat", "ear"), ("cat", "head"), ("dog", "head"), ("dog", "tail")]


def views(**changes) -> ImageTransform:
    return dataclasses.replace(PLAIN, **changes)


def samples(
    store: Store, *, seed: int = 0, unseen: list[str] | None = None, parts: tuple[str, ...] = (), **changes
) -> PartDataset:
    split = build_split(store, unseen_by_name(store.info.vocabulary, unseen, parts))
    return PartDataset(store, split.train, split.vocabulary(store), views(**changes), seed)


def same(one: Batch, other: Batch) -> bool:
    return (
        one.image_ids == other.image_ids
        and torch.equal(one.images, other.images)
        and all(torch.equal(a, b) for a, b in zip(one.labels, other.labels, strict=True))
    )


def native_labels(store: Store, image_id: str, ignore_unseen: bool = False) -> tuple[np.ndarray, ...]:
    """Pairs, objects and background at the photo's own size, name by name."""
    record = next(r for split in store.splits for r in store.records(split) if r.image_id == image_id)
    names = [(pair.object, pair.part) for pair in store.info.vocabulary.pairs]
    pairs, objects = (np.full((record.height, record.width), -1) for _ in range(2))
    background = np.ones((record.height, record.width), bool)
    for index, name in enumerate(names):
        if name in SEEN:
            pairs[record.pair_map() == index] = SEEN.index(name)
    for index, name in enumerate(store.info.objects):
        here = record.object_map() == index
        if name in ("cat", "dog"):
            objects[here], background[here] = ["cat", "dog"].index(name), False
        if name == "fox" and ignore_unseen:
            background[here] = False
    return pairs, objects, background


def nearest(plane: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    return F.interpolate(plane[None, None].float(), size=size, mode="nearest")[0, 0]


def plain_sample(
    store: Store, image_id: str, view: ImageTransform, *, flipped: bool
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """The image and its three label planes, one resize after the other."""
    photo = Image.open(store.folder / "images" / f"{image_id}.png")
    planes = [torch.from_numpy(p) for p in native_labels(store, image_id, view.unlabelled_objects == "ignore")]
    if view.shortest_edge is not None:
        scale = view.shortest_edge / min(photo.size)
        if scale * max(photo.size) > view.longest_edge:
            scale = view.longest_edge / max(photo.size)
        width, height = (int(scale * side + 0.5) for side in photo.size)
        photo = photo.resize((width, height), Image.Resampling.BILINEAR)
        planes = [nearest(plane, (height, width)) for plane in planes]
    pixels, size = np.asarray(photo), view.image_size
    if flipped:
        pixels, planes = pixels[:, ::-1], [plane.flip(1) for plane in planes]
    square = Image.fromarray(np.ascontiguousarray(pixels)).resize((size, size), Image.Resampling.BILINEAR)
    values = torch.from_numpy(np.asarray(square).copy()).permute(2, 0, 1).float() / 255
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return (values - mean[:, None, None]) / std[:, None, None], [nearest(plane, (size, size)) for plane in planes]


# ---- one sample


@pytest.mark.parametrize("flip", [0.0, 1.0])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"shortest_edge": 50},
        {"shortest_edge": 50, "longest_edge": 61},
        {"shortest_edge": 9, "image_size": 33},
        {"unlabelled_objects": "ignore", "image_size": 40},
    ],
    ids=str,
)
def test_a_sample_is_what_a_plain_chain_of_resizes_gives(small_store, changes, flip):
    train = samples(small_store, flip=flip, **changes)
    for number in range(len(train)):
        batch = train[number]
        image, planes = plain_sample(small_store, batch.image_ids[0], views(**changes), flipped=flip == 1)
        assert normalise(batch.images[0]).equal(image)
        for got, expected in zip(batch.labels, planes, strict=True):
            assert torch.equal(got[0].float(), expected)


def test_a_flip_turns_image_and_labels_together(small_store):
    # 41 photo columns to 41 pixels: nothing is lost, so a flipped sample is the plain one turned round
    plain, flipped = (samples(small_store, flip=flip, image_size=41) for flip in (0.0, 1.0))
    number = next(n for n in range(len(plain)) if plain[n].image_ids == ("photo_00",))
    one, other = plain[number], flipped[number]
    assert not torch.equal(one.labels.pairs, other.labels.pairs)
    torch.testing.assert_close(other.images, one.images.flip(3), rtol=0, atol=0)
    for before, after in zip(one.labels, other.labels, strict=True):
        assert torch.equal(after, before.flip(2))


def test_a_coin_decides_which_samples_are_flipped(small_store):
    never, ever, sometimes = (samples(small_store, flip=flip) for flip in (0.0, 1.0, 0.5))
    flips = []
    for number in range(40):
        flips.append(same(sometimes[number], ever[number]))
        assert flips[-1] != same(sometimes[number], never[number])
    assert 10 < sum(flips) < 30


def test_bgr_exchanges_the_colours_of_the_photo_and_leaves_the_labels(small_store):
    rgb, bgr = (samples(small_store, train_channel_order=order)[3] for order in ("rgb", "bgr"))
    assert bgr.images[0].equal(rgb.images[0].flip(0))
    assert torch.equal(rgb.labels.pairs, bgr.labels.pairs)


def test_a_sample_has_the_shapes_and_kinds_of_a_batch_of_one(small_store):
    batch = samples(small_store, image_size=30)[2]
    assert (batch.images.shape, batch.images.dtype) == ((1, 3, 30, 30), torch.uint8)
    assert [plane.shape for plane in batch.labels] == [(1, 30, 30)] * 3
    assert [plane.dtype for plane in batch.labels] == [torch.int16, torch.int16, torch.bool]


# ---- unseen


def fox_sample(train: PartDataset) -> tuple[Batch, torch.Tensor]:
    """A sample of photo_03, a cat left and a fox right, at its own width; and where the fox is."""
    number = next(n for n in range(len(train)) if train[n].image_ids == ("photo_03",))
    record = train.store.records("train")[3]
    fox = torch.from_numpy(record.object_map() == train.store.info.objects.index("fox"))
    return train[number], nearest(fox, (train.transform.image_size, train.transform.image_size)).bool()


def test_what_is_not_sure_to_be_nothing_is_not_trained_as_background(small_data, tmp_path):
    half = np.zeros((small_data.records["train"][0].height, small_data.records["train"][0].width), bool)
    half[:, : half.shape[1] // 2] = True
    first, second, *others = small_data.records["train"]
    changed = [dataclasses.replace(first, ignore=Mask.encode(half)), dataclasses.replace(second, not_exhaustive=(0,))]
    store = small_data._replace(records={**small_data.records, "train": [*changed, *others]}).write(tmp_path)
    train = PartDataset(store, [first.image_id, second.image_id], store.info.vocabulary, views(), seed=0)
    found = {
        batch.image_ids[0]: batch.labels.background[0] for batch in (train[number] for number in range(len(train)))
    }
    columns = found[first.image_id].shape[1]
    assert not found[first.image_id][:, : columns // 2 - 1].any()
    assert found[first.image_id][:, columns // 2 + 1 :].any()
    assert not found[second.image_id].any()


@pytest.mark.parametrize(("rule", "background"), [("background", True), ("ignore", False)])
def test_unseen_pixels_have_no_label_and_count_as_the_rule_says(small_store, rule, background):
    batch, fox = fox_sample(samples(small_store, unlabelled_objects=rule, image_size=35))
    pairs, objects, is_background = (plane[0] for plane in batch.labels)
    assert fox.any()
    assert (pairs[fox] == -1).all()
    assert (objects[fox] == -1).all()
    assert (is_background[fox] == background).all()
    cat = objects == 0
    assert cat.any()
    assert not is_background[cat].any()
    assert torch.equal(is_background[~fox], ~cat[~fox])


def test_an_object_without_parts_is_background_under_both_rules(small_store):
    vocabulary = small_store.info.vocabulary
    for rule in ("background", "ignore"):
        label_mapper = LabelMapper(small_store, vocabulary, rule)
        boat = np.array([[small_store.info.objects.index("boat"), NONE]], np.uint16)
        assert label_mapper.is_background(boat).tolist() == [[True, True]]
        assert label_mapper.objects(boat).tolist() == [[-1, -1]]


def test_labels_are_numbered_as_the_training_vocabulary_is(small_store):
    train = samples(small_store, unseen=["cat"])
    assert [(p.object, p.part) for p in train.label_mapper.vocabulary.pairs] == [
        *(("dog", part) for part in ("head", "tail")),
        *(("fox", part) for part in ("ear", "tail")),
    ]
    labels = np.array([0, 1, 2, 3, 4, 5, NONE], np.uint16)
    assert train.label_mapper.pairs(labels).tolist() == [-1, -1, 0, 1, 2, 3, -1]
    assert train.label_mapper.objects(np.array([0, 1, 2, 3, NONE], np.uint16)).tolist() == [-1, -1, 0, 1, -1]


def test_an_unseen_part_of_a_seen_object_has_no_label_and_is_not_background(small_store):
    train = samples(small_store, unseen=[], parts=["ear"], unlabelled_objects="background")
    assert [(p.object, p.part) for p in train.label_mapper.vocabulary.pairs] == [
        *(("cat", "head"), ("dog", "head"), ("dog", "tail"), ("fox", "tail"))
    ]
    assert train.label_mapper.vocabulary.objects == ("cat", "dog", "fox")
    labels = np.array([0, 1, 2, 3, 4, 5, NONE], np.uint16)
    assert train.label_mapper.pairs(labels).tolist() == [-1, 0, 1, 2, -1, 3, -1]
    objects = np.array([0, 1, 2, 3, NONE], np.uint16)  # boat, cat, dog, fox
    assert train.label_mapper.objects(objects).tolist() == [-1, 0, 1, 2, -1]
    assert train.label_mapper.is_background(objects).tolist() == [True, False, False, False, True]


def test_an_object_without_a_seen_part_is_no_object_of_training(small_store):
    label_mapper = samples(small_store, unseen=[], parts=["ear", "tail"]).label_mapper
    assert label_mapper.vocabulary.objects == ("cat", "dog")
    assert label_mapper.is_background(np.array([3], np.uint16)).tolist() == [True]


# ---- which images, in which order


def test_images_without_a_seen_part_are_left_out(small_store):
    train = samples(small_store)
    assert sorted(train.store[key].image_id for key in train.keys) == FED
    assert (len(train), train.skipped) == (6, 2)


def test_each_epoch_shows_every_image_once_in_a_new_order(small_store):
    train = samples(small_store, seed=4)
    epochs = [tuple(train[e * 6 + i].image_ids[0] for i in range(6)) for e in range(4)]
    assert [sorted(epoch) for epoch in epochs] == [FED] * 4
    assert len(set(epochs)) == 4


def test_another_seed_gives_another_order(small_store):
    orders = {tuple(samples(small_store, seed=seed)[i].image_ids[0] for i in range(6)) for seed in range(4)}
    assert len(orders) > 2


def test_a_sample_depends_on_seed_and_number_alone(small_store):
    changes = {"flip": 0.5, "shortest_edge": 40}
    train = samples(small_store, seed=2, **changes)
    forwards = [train[number] for number in range(15)]
    torch.manual_seed(99)  # global state must not matter
    np.random.seed(99)
    again = samples(small_store, seed=2, **changes)
    for number in (14, 3, 0, 7, 3):
        assert same(again[number], forwards[number])


def test_a_run_that_is_taken_up_again_goes_on_with_the_same_samples(small_store):
    train = samples(small_store, flip=0.5)
    whole = list(train.batches(images=2, sample_ids=range(0, 10), workers=0))
    rest = list(train.batches(images=2, sample_ids=range(4, 10), workers=0))
    assert (len(whole), len(rest)) == (5, 3)
    assert all(same(one, other) for one, other in zip(whole[2:], rest, strict=True))


def test_batches_join_consecutive_samples(small_store):
    train = samples(small_store, flip=0.5)
    batches = list(train.batches(images=3, sample_ids=range(1, 9), workers=0))
    assert [batch.images.shape[0] for batch in batches] == [3, 3, 2]
    number = 1
    for batch in batches:
        for i, name in enumerate(batch.image_ids):
            one = train[number]
            assert one.image_ids == (name,)
            assert torch.equal(batch.images[i], one.images[0])
            assert all(torch.equal(a[i], b[0]) for a, b in zip(batch.labels, one.labels, strict=True))
            number += 1
    assert number == 9


@pytest.mark.process
def test_two_workers_give_the_same_batches_as_none(small_store):
    train = samples(small_store, flip=0.5, shortest_edge=40)
    none, two = (list(train.batches(images=2, sample_ids=range(0, 9), workers=workers)) for workers in (0, 2))
    assert len(none) == len(two) == 5
    assert all(same(one, other) for one, other in zip(none, two, strict=True))


def test_no_image_with_a_seen_part_is_refused(small_store):
    message = f"{small_store.folder}: training needs an image with a seen part, got none among 2 images; split again"
    vocabulary = small_store.info.vocabulary
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        PartDataset(small_store, ["photo_02", "photo_05"], vocabulary, PLAIN, 0)


def test_an_image_whose_labels_vanish_gives_way_to_the_next(small_data, tmp_path):
    dot = np.zeros((14, 41), bool)
    dot[1, 1] = True  # at 3 px rows 0, 4 and 9 are read
    first, *others = small_data.records["train"]
    shrunk = dataclasses.replace(first, parts=(dataclasses.replace(first.parts[0], mask=Mask.encode(dot)),))
    store = small_data._replace(records={**small_data.records, "train": [shrunk, *others]}).write(tmp_path)
    train = samples(store, image_size=3)
    wanted = [train.store[key].image_id for key in _order(train)]
    place = wanted.index("photo_00")
    assert sorted(wanted) == FED
    wanted[place] = wanted[(place + 1) % 6]
    assert [train[number].image_ids[0] for number in range(6)] == wanted


def test_labels_that_all_vanish_are_refused(small_store):
    message = f"{small_store.folder}: no seen part is left at 1 px; raise model.image_size"  # pixel (0, 0) has none
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        samples(small_store, image_size=1)[0]


def test_a_photo_that_changed_its_size_is_refused(small_data, tmp_path):
    store = small_data.write(tmp_path)
    shutil.copy(tmp_path / "images" / "photo_01.png", tmp_path / "images" / "photo_00.png")
    train = samples(store)
    number = next(n for n, key in enumerate(_order(train)) if train.store[key].image_id == "photo_00")
    with pytest.raises(DataError, match=r"^photo_00\.png: must be 41x14 as prepared, got 39x17; prepare again$"):
        train[number]


def _order(train: PartDataset) -> list[RecordKey]:
    return [train.keys[i] for i in np.random.default_rng([train.seed, 0, len(train)]).permutation(len(train))]


def test_a_missing_photo_is_refused(small_data, tmp_path):
    store = small_data.write(tmp_path)
    for photo in Path(tmp_path / "images").iterdir():
        photo.unlink()
    with pytest.raises(DataError, match=r"photo_0\d\.png: must be a readable image, got No such file or directory"):
        samples(store)[0]


@pytest.mark.process
@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_photo_is_told_in_one_line_from_whichever_process(small_data, tmp_path, workers):
    store = small_data.write(tmp_path)
    (tmp_path / "images" / "photo_00.png").write_bytes(b"no photo")
    with pytest.raises(DataError) as caught:
        list(samples(store).batches(images=2, sample_ids=range(6), workers=workers))
    assert str(caught.value).startswith(f"{tmp_path}/images/photo_00.png: must be an image (")
    assert "Traceback" not in str(caught.value)
