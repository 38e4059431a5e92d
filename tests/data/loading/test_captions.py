"""Captioned views: the same from one seed, true of what they show, silent about the parts of unseen objects."""

import re
from typing import NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image

from partseg_cli.data.loading import captions
from partseg_cli.data.loading.captions import CaptionBatch, CaptionDataset, CaptionViews, View, square_around
from partseg_cli.data.loading.transforms import IMAGENET_MEAN, IMAGENET_STD
from partseg_cli.data.rle import NONE
from partseg_cli.errors import DataError
from partseg_cli.models.backbones import BACKBONES
from partseg_cli.models.clip.model import prompt_ids
from partseg_cli.vocabulary import Vocabulary

VIEWS = CaptionViews(image_size=32, flip=0.5, objects=0.35, parts=0.35)
UNSEEN = {"bird", "car", "dog", "motorbike", "sheep"}
SCANNED = 1500


def caption_set(store, views=VIEWS, seed=0, vocabulary=None) -> CaptionDataset:
    image_ids = [record.image_id for split in store.splits for record in store.records(split)]
    return CaptionDataset(store, image_ids, vocabulary or store.info.vocabulary, views, seed)


class Seen(NamedTuple):
    """A view, and the pixels of the objects in the box that was cut out for it."""

    view: View
    record: object
    box: tuple[int, int, int, int]

    @property
    def objects(self) -> np.ndarray:
        left, top, right, bottom = self.box
        return self.record.object_map()[top:bottom, left:right]


def look(views: CaptionDataset, sample_ids) -> list[Seen]:
    """Give views with the boxes that they were cut from."""
    boxes = []

    def spy(*arguments):
        boxes.append((arguments[3], square_around(*arguments)))
        return boxes[-1][1]

    found = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(captions, "square_around", spy)
        for number in sample_ids:
            view = views[number]
            found.append(Seen(view, *boxes[-1]))
            assert len(boxes) == len(found)
    return found


@pytest.fixture(scope="module")
def scanned(cartoon_store) -> list[Seen]:
    return look(caption_set(cartoon_store), range(SCANNED))


def objects_of(seen: Seen, names) -> set[str]:
    return {names[thing.category] for thing in seen.record.objects}


def is_of_part(text: str, vocabulary: Vocabulary) -> bool:
    return text in {*vocabulary.parts, *vocabulary.pair_prompts}


# ---- leaks


def test_no_caption_and_no_truth_names_a_part_of_an_unseen_object(scanned, cartoon_store):
    vocabulary = cartoon_store.info.vocabulary
    part_words = {word for part in vocabulary.parts for word in part.split()}
    named = 0
    for seen in scanned:
        for text in (seen.view.caption, *seen.view.truths):
            words = set(text.split())
            if words & UNSEEN:
                named += 1
                assert not words & part_words, text
    assert named > SCANNED / 10


def test_every_close_up_of_a_part_is_of_a_seen_pair_of_a_photo_without_unseen_objects(scanned, cartoon_store):
    vocabulary, names = cartoon_store.info.vocabulary, cartoon_store.info.objects
    allowed = {*vocabulary.seen().parts, *vocabulary.seen().pair_prompts}
    close_ups = [seen for seen in scanned if any(is_of_part(text, vocabulary) for text in seen.view.truths)]
    assert len(close_ups) > SCANNED / 10
    for seen in close_ups:
        assert not objects_of(seen, names) & UNSEEN, seen.view.image_id
        assert set(seen.view.truths) <= allowed


def test_photos_with_unseen_objects_are_shown_too_and_all_unseen_objects_are_named(scanned, cartoon_store):
    names = cartoon_store.info.objects
    assert len({seen.view.image_id for seen in scanned if objects_of(seen, names) & UNSEEN}) > 10
    assert {seen.view.caption for seen in scanned} >= UNSEEN


def test_a_part_that_a_split_makes_unseen_is_not_shown(cartoon_store):
    published = cartoon_store.info.vocabulary
    split = published.with_unseen(UNSEEN, ("wheel",), [("aeroplane", "wing")])
    said = [
        {text for number in range(300) for text in views[number].truths}
        for views in (caption_set(cartoon_store, CaptionViews(32, 0.5, 0, 1), vocabulary=v) for v in (published, split))
    ]
    hidden = {text for text in said[0] if text == "wheel" or text.endswith(" wheel")} | {"aeroplane wing", "wing"}
    assert {"wheel", "bicycle wheel"} <= hidden <= said[0]
    assert "aeroplane body" in said[1]
    assert not said[1] & hidden


def test_only_the_images_asked_for_are_shown(cartoon_store):
    ids = [record.image_id for record in cartoon_store.records("train")]
    views = CaptionDataset(cartoon_store, ids, cartoon_store.info.vocabulary, VIEWS, 0)
    assert {views[number].image_id for number in range(len(views))} == set(ids)


# ---- truth


def test_the_caption_is_among_the_truths_which_are_all_different(scanned):
    for seen in scanned:
        assert seen.view.caption in seen.view.truths
        assert len(set(seen.view.truths)) == len(seen.view.truths)


def test_objects_of_captions_and_truths_are_in_the_view(scanned, cartoon_store):
    vocabulary, names = cartoon_store.info.vocabulary, cartoon_store.info.objects
    together = 0
    for seen in scanned:
        if is_of_part(seen.view.caption, vocabulary):
            continue
        shown = {names[index] for index in np.unique(seen.objects) if index != NONE}
        for text in seen.view.truths:
            named = text.split(" and ")
            assert set(named) <= shown, (text, seen.view.image_id)
            assert named == sorted(set(named))
            together += len(named) > 1
    assert together > 50


def test_objects_that_fill_enough_of_a_view_are_all_among_its_truths(scanned, cartoon_store):
    vocabulary, names = cartoon_store.info.vocabulary, cartoon_store.info.objects
    for seen in scanned:
        if not is_of_part(seen.view.caption, vocabulary):
            painted, counts = np.unique(seen.objects, return_counts=True)
            shares = dict(zip(painted.tolist(), counts / seen.objects.size, strict=True))
            large = [name for index, name in enumerate(names) if shares.get(index, 0) >= captions.VISIBLE]
            assert set(large) <= set(seen.view.truths)
            assert len(large) < 2 or " and ".join(large) in seen.view.truths


def test_a_close_up_of_a_part_holds_the_part_and_its_truths_are_its_names(scanned, cartoon_store):
    vocabulary = cartoon_store.info.vocabulary
    for seen in scanned:
        if not is_of_part(seen.view.caption, vocabulary):
            continue
        pair, part = seen.view.truths
        index = vocabulary.pair_prompts.index(pair)
        assert vocabulary.pairs[index].part == part
        left, top, right, bottom = seen.box
        masks = [p.mask.decode(seen.record.height, seen.record.width) for p in seen.record.parts if p.pair == index]
        assert any(mask[top:bottom, left:right].any() for mask in masks)


def test_every_caption_uses_only_words_of_the_nano_backbone(scanned):
    said = {text for seen in scanned for text in seen.view.truths}
    assert {word for text in said for word in text.split()} <= set(BACKBONES["nano"].words)


def test_the_longest_caption_of_three_objects_fits_the_nano_text_tower(cartoon_store):
    names = sorted(cartoon_store.info.objects, key=lambda name: len(prompt_ids(name)))[-3:]
    prompt_ids(" and ".join(names), BACKBONES["nano"].open_clip["text_cfg"]["context_length"])


# ---- a pure function of seed and number


def test_same_seed_and_number_give_the_same_view_in_any_order(cartoon_store):
    one, other = caption_set(cartoon_store), caption_set(cartoon_store)
    expected = {number: one[number] for number in range(80)}
    for number in reversed(range(80)):
        found = other[number]
        assert torch.equal(found.image, expected[number].image)
        assert found[1:] == expected[number][1:]


def test_another_seed_gives_other_views(cartoon_store):
    one, other = (
        [view.caption for view in map(caption_set(cartoon_store, seed=n).__getitem__, range(40))] for n in (0, 1)
    )
    assert one != other


def test_each_photo_is_shown_once_an_epoch_in_another_order(cartoon_store):
    views = caption_set(cartoon_store)
    assert len(views) == 60
    first, second = ([views[number].image_id for number in range(start, start + 60)] for start in (0, 60))
    assert sorted(first) == sorted(second) == sorted(set(first))
    assert first != second


def test_batches_hold_the_numbers_from_start_to_stop(cartoon_store):
    views = caption_set(cartoon_store)
    batches = list(views.batches(images=4, sample_ids=range(7, 17), workers=0))
    assert [len(batch.images) for batch in batches] == [4, 4, 2]
    for batch, sample_ids in zip(batches, (range(7, 11), range(11, 15), range(15, 17)), strict=True):
        expected = CaptionBatch.collate([views[number] for number in sample_ids])
        assert torch.equal(batch.images, expected.images)
        assert torch.equal(batch.truth, expected.truth)
        assert (batch.captions, batch.image_ids) == (expected.captions, expected.image_ids)


# ---- shares and flips


@pytest.mark.parametrize(("objects", "parts", "kind"), [(0, 1, "part"), (1, 0, "object"), (0, 0, "scene")])
def test_a_share_of_1_gives_that_kind_of_view_alone(cartoon_store, objects, parts, kind):
    vocabulary, names = cartoon_store.info.vocabulary, cartoon_store.info.objects
    found = look(caption_set(cartoon_store, CaptionViews(32, 0, objects, parts)), range(120))
    are_of_parts = [is_of_part(seen.view.caption, vocabulary) for seen in found]
    if kind == "part":
        assert are_of_parts == [not objects_of(seen, names) & UNSEEN for seen in found]
    else:
        assert not any(are_of_parts)
    if kind == "scene":
        assert min(right - left for left, _, right, _ in (seen.box for seen in found)) >= round(0.7 * 96)
    if kind == "object":
        assert all(seen.view.caption in names for seen in found)


def test_a_flip_mirrors_the_view_and_changes_nothing_else(cartoon_store):
    plain, flipped = (caption_set(cartoon_store, CaptionViews(32, flip, 0.35, 0.35)) for flip in (0, 1))
    for number in range(40):
        one, other = plain[number], flipped[number]
        assert one[1:] == other[1:]
        assert not torch.equal(one.image, other.image)
        torch.testing.assert_close(one.image.flip(2), other.image, atol=0.02, rtol=0)  # one grey level of 255


def test_a_view_is_the_box_of_the_photo(cartoon_store):
    for seen in look(caption_set(cartoon_store, CaptionViews(32, 0, 0.35, 0.35)), range(20)):
        with Image.open(cartoon_store.image_path(seen.record)) as photo:
            cut = photo.convert("RGB").crop(seen.box).resize((32, 32), Image.Resampling.BILINEAR)
        expected = (np.asarray(cut) / 255 - IMAGENET_MEAN) / IMAGENET_STD
        torch.testing.assert_close(
            seen.view.image.permute(1, 2, 0).double(), torch.from_numpy(expected), atol=1e-5, rtol=0
        )


# ---- boxes


def test_boxes_are_squares_inside_the_photo(scanned):
    for seen in scanned:
        left, top, right, bottom = seen.box
        assert right - left == bottom - top > 0
        assert min(left, top) >= 0
        assert right <= seen.record.width
        assert bottom <= seen.record.height


@pytest.mark.parametrize("scale", [0.1, 1.0, 5.0])
def test_boxes_stay_inside_photos_of_any_shape(small_data, scale):
    rng = np.random.default_rng(0)
    for record in [record for records in small_data.records.values() for record in records]:
        for _ in range(20):
            x, y = rng.integers(record.width), rng.integers(record.height)
            bbox = (
                int(x),
                int(y),
                int(rng.integers(1, record.width - x + 1)),
                int(rng.integers(1, record.height - y + 1)),
            )
            left, top, right, bottom = square_around(bbox, scale, 8, record, rng)
            edge = min(max(scale * max(bbox[2:]), 8), record.width, record.height)
            assert right - left == bottom - top == round(edge)
            assert min(left, top) >= 0
            assert right <= record.width
            assert bottom <= record.height


def test_a_box_is_around_the_middle_of_what_is_shown_up_to_a_tenth(cartoon_store):
    record, rng = next(iter(cartoon_store.records("train"))), np.random.default_rng(0)
    boxes = [square_around((40, 30, 10, 20), 1.5, 8, record, rng) for _ in range(200)]
    assert {right - left for left, _, right, _ in boxes} == {30}
    middles = np.array([((left + right) / 2 - 45, (top + bottom) / 2 - 40) for left, top, right, bottom in boxes])
    assert np.abs(middles).max() <= 3 + 0.5  # a tenth, and rounding
    assert np.ptp(middles, axis=0).min() >= 4


# ---- batches


def view(caption: str, *others: str, shade: float = 0.0) -> View:
    return View(torch.full((3, 4, 5), shade), caption, (caption, *others), f"photo of {caption}")


def test_a_batch_holds_each_caption_once_and_all_that_is_true():
    batch = CaptionBatch.collate(
        [
            view("dog", "cat", shade=1.0),
            view("cat"),
            view("cat", "unasked"),
            view("ear", "cat ear"),
            view("cat ear", "ear"),
        ]
    )
    assert batch.captions == ("cat", "cat ear", "dog", "ear")
    assert batch.truth.tolist() == [
        [True, False, True, False],
        [True, False, False, False],
        [True, False, False, False],
        [False, True, False, True],
        [False, True, False, True],
    ]
    assert batch.images.shape == (5, 3, 4, 5)
    assert batch.images.mean((1, 2, 3)).tolist() == [1, 0, 0, 0, 0]
    assert batch.image_ids == ("photo of dog", "photo of cat", "photo of cat", "photo of ear", "photo of cat ear")


def test_each_image_and_each_caption_of_a_batch_has_a_truth(cartoon_store):
    for batch in caption_set(cartoon_store).batches(images=32, sample_ids=range(0, 320), workers=0):
        assert batch.truth.any(0).all()
        assert batch.truth.any(1).all()
        assert batch.captions == tuple(sorted(set(batch.captions)))


# ---- errors


def test_images_without_any_object_are_refused(cartoon_store):
    message = f"{cartoon_store.folder}: training needs an image with an object, got none; split again"
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        CaptionDataset(cartoon_store, [], cartoon_store.info.vocabulary, VIEWS, 0)
