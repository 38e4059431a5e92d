"""Phrases and their masks: the painted pixels of what is there, nothing of what is not, no parts of unseen objects."""

import re

import numpy as np
import pytest
import torch

from partseg_cli.data.loading.phrases import PhraseBatch, PhraseDataset, PhraseViews
from partseg_cli.data.loading.transforms import nearest_indices
from partseg_cli.errors import DataError
from partseg_cli.models.backbones import BACKBONES

UNSEEN = {"bird", "car", "dog", "motorbike", "sheep"}
VIEWS = PhraseViews(image_size=32, flip=0.5, phrases=4, parts=0.7, absent=0.15)
SCANNED = 400  # photos, of 4 phrases each


def phrase_set(store, seed=0, **changes) -> PhraseDataset:
    image_ids = [record.image_id for split in store.splits for record in store.records(split)]
    return PhraseDataset(store, image_ids, store.info.vocabulary, PhraseViews(**(vars(VIEWS) | changes)), seed)


def records_of(store) -> dict[str, object]:
    return {record.image_id: record for split in store.splits for record in store.records(split)}


@pytest.fixture(scope="module")
def scanned(cartoon_store) -> list[PhraseBatch]:
    """Photos as they are stored, so that masks have their pixels."""
    views = phrase_set(cartoon_store, image_size=96, flip=0)
    return [views[number] for number in range(SCANNED)]


def meant(phrase: str, record, store) -> np.ndarray:
    """Give the painted pixels that a phrase means: all parts of that name, a pair, or an object."""
    vocabulary, names = store.info.vocabulary, store.info.objects
    if phrase in names:
        return record.object_map() == names.index(phrase)
    kind = vocabulary.parts if phrase in vocabulary.parts else vocabulary.pair_prompts
    texts = [pair.part for pair in vocabulary.pairs] if kind is vocabulary.parts else vocabulary.pair_prompts
    return np.isin(record.pair_map(), [index for index, text in enumerate(texts) if text == phrase])


def shown(record, store) -> set[str]:
    """Give all phrases that are true of something in a photo."""
    vocabulary = store.info.vocabulary
    pairs = {part.pair for part in record.parts}
    objects = {store.info.objects[thing.category] for thing in record.objects}
    return objects | {vocabulary.pair_prompts[n] for n in pairs} | {vocabulary.pairs[n].part for n in pairs}


# ---- masks


def test_masks_are_the_painted_pixels_of_what_the_phrase_names(scanned, cartoon_store):
    records, kinds = records_of(cartoon_store), set()
    for batch in scanned:
        record = records[batch.image_ids[0]]
        for phrase, mask in zip(batch.phrases, batch.masks.numpy(), strict=True):
            if mask.any():
                kinds.add("object" if phrase in cartoon_store.info.objects else len(phrase.split()))
                np.testing.assert_array_equal(mask, meant(phrase, record, cartoon_store), err_msg=phrase)
    assert kinds >= {"object", 1, 2}


def test_a_bare_part_means_that_part_of_every_object(scanned, cartoon_store):
    vocabulary, records, several = cartoon_store.info.vocabulary, records_of(cartoon_store), 0
    for batch in scanned:
        record = records[batch.image_ids[0]]
        for phrase, mask in zip(batch.phrases, batch.masks.numpy(), strict=True):
            if phrase in vocabulary.parts and mask.any():
                several += len(set(record.pair_map()[mask].tolist())) > 1
    assert several > 0


def test_absent_phrases_are_empty_and_truly_absent(cartoon_store):
    records = records_of(cartoon_store)
    views = phrase_set(cartoon_store, absent=1, parts=0.5)
    said = set()
    for number in range(200):
        batch = views[number]
        assert not batch.masks.any()
        record = records[batch.image_ids[0]]
        assert not set(batch.phrases) & shown(record, cartoon_store)
        for phrase in batch.phrases:
            assert not meant(phrase, record, cartoon_store).any(), phrase
        said |= set(batch.phrases)
    assert said & set(cartoon_store.info.vocabulary.parts)
    assert said & set(cartoon_store.info.vocabulary.pair_prompts)
    assert said >= set(cartoon_store.info.objects)


def test_without_absent_phrases_every_phrase_is_of_something_in_the_photo(cartoon_store):
    records, views = records_of(cartoon_store), phrase_set(cartoon_store, absent=0)
    for number in range(120):
        batch = views[number]
        assert set(batch.phrases) <= shown(records[batch.image_ids[0]], cartoon_store)


def test_about_the_share_asked_for_is_absent(scanned, cartoon_store):
    records = records_of(cartoon_store)
    absent = [p not in shown(records[b.image_ids[0]], cartoon_store) for b in scanned for p in b.phrases]
    assert np.mean(absent) == pytest.approx(VIEWS.absent, abs=0.03)


@pytest.mark.parametrize("size", [32, 64, 96, 130])
def test_masks_are_resized_by_the_rule_of_training_labels(cartoon_store, size):
    records, views = records_of(cartoon_store), phrase_set(cartoon_store, image_size=size, flip=0, absent=0)
    rows = nearest_indices(96, size)
    for number in range(10):
        batch = views[number]
        assert batch.images.shape == (1, 3, size, size)
        for phrase, mask in zip(batch.phrases, batch.masks.numpy(), strict=True):
            expected = meant(phrase, records[batch.image_ids[0]], cartoon_store)[np.ix_(rows, rows)]
            np.testing.assert_array_equal(mask, expected)


def test_masks_of_photos_of_any_shape_fit_them(small_store):
    records = records_of(small_store)
    ids = list(records)
    views = PhraseDataset(small_store, ids, small_store.info.vocabulary, PhraseViews(32, 0, 3, 0.5, 0), 0)
    for number in range(24):
        batch = views[number]
        record = records[batch.image_ids[0]]
        assert record.height != record.width
        for phrase, mask in zip(batch.phrases, batch.masks.numpy(), strict=True):
            expected = meant(phrase, record, small_store)
            rows, columns = nearest_indices(record.height, 32), nearest_indices(record.width, 32)
            np.testing.assert_array_equal(mask, expected[np.ix_(rows, columns)])


def test_a_flip_mirrors_photo_and_masks_alike(cartoon_store):
    plain, flipped = (phrase_set(cartoon_store, flip=flip, image_size=96) for flip in (0, 1))
    for number in range(30):
        one, other = plain[number], flipped[number]
        assert (one.phrases, one.image_ids) == (other.phrases, other.image_ids)
        assert torch.equal(one.masks.flip(2), other.masks)
        assert torch.equal(one.images.flip(3), other.images)


@pytest.mark.parametrize("size", [32, 130])
def test_a_flip_at_another_size_is_the_flip_of_the_photo_itself(cartoon_store, size):
    records, views = records_of(cartoon_store), phrase_set(cartoon_store, flip=1, image_size=size, absent=0)
    rows = nearest_indices(96, size)
    for number in range(10):
        batch = views[number]
        for phrase, mask in zip(batch.phrases, batch.masks.numpy(), strict=True):
            mirrored = meant(phrase, records[batch.image_ids[0]], cartoon_store)[:, ::-1]
            np.testing.assert_array_equal(mask, mirrored[np.ix_(rows, rows)])


# ---- leaks


def test_parts_and_pairs_are_never_said_of_photos_with_unseen_objects(scanned, cartoon_store):
    names, records, with_unseen = cartoon_store.info.objects, records_of(cartoon_store), 0
    for batch in scanned:
        record = records[batch.image_ids[0]]
        if {names[thing.category] for thing in record.objects} & UNSEEN:
            with_unseen += 1
            assert set(batch.phrases) <= set(names)
    assert with_unseen > SCANNED / 10


def test_no_phrase_names_a_part_of_an_unseen_object(scanned, cartoon_store):
    vocabulary, names = cartoon_store.info.vocabulary, cartoon_store.info.objects
    said = {phrase for batch in scanned for phrase in batch.phrases}
    assert said <= {*names, *vocabulary.seen().parts, *vocabulary.seen().pair_prompts}
    assert said >= UNSEEN
    assert len(said & set(vocabulary.seen().pair_prompts)) > 30


def test_every_phrase_uses_only_words_of_the_nano_backbone(scanned):
    said = {word for batch in scanned for phrase in batch.phrases for word in phrase.split()}
    assert said <= set(BACKBONES["nano"].words)


def test_without_a_share_of_parts_there_are_objects_alone(cartoon_store):
    views = phrase_set(cartoon_store, parts=0)
    assert {phrase for n in range(100) for phrase in views[n].phrases} <= set(cartoon_store.info.objects)


# ---- a pure function of seed and number


def same(one: PhraseBatch, other: PhraseBatch) -> bool:
    tensors = all(torch.equal(getattr(one, name), getattr(other, name)) for name in ("images", "owner", "masks"))
    return tensors and (one.phrases, one.image_ids) == (other.phrases, other.image_ids)


def test_same_seed_and_number_give_the_same_phrases_in_any_order(cartoon_store):
    one, other = phrase_set(cartoon_store), phrase_set(cartoon_store)
    expected = [one[number] for number in range(80)]
    assert all(same(other[number], expected[number]) for number in reversed(range(80)))


def test_another_seed_gives_other_phrases(cartoon_store):
    one, other = (phrase_set(cartoon_store, seed=seed) for seed in (0, 1))
    assert not any(same(one[number], other[number]) for number in range(20))


def test_each_photo_comes_once_an_epoch_and_its_phrases_change(cartoon_store):
    views = phrase_set(cartoon_store)
    first, second = ([views[n] for n in range(start, start + 60)] for start in (0, 60))
    names = [sorted(batch.image_ids[0] for batch in epoch) for epoch in (first, second)]
    assert names[0] == names[1] == sorted(records_of(cartoon_store))
    phrases = [{batch.image_ids[0]: batch.phrases for batch in epoch} for epoch in (first, second)]
    assert sum(phrases[0][name] == phrases[1][name] for name in names[0]) < 20


# ---- joining


def test_owners_count_on_through_joined_batches():
    parts = [
        PhraseBatch(
            torch.full((images, 3, 4, 5), float(n)), words, owner, masks, tuple(f"{n}{i}" for i in range(images))
        )
        for n, (images, words, owner, masks) in enumerate(
            [
                (2, ("a", "b", "c"), torch.tensor([1, 0, 1]), torch.zeros(3, 4, 5, dtype=torch.bool)),
                (1, ("d",), torch.tensor([0]), torch.ones(1, 4, 5, dtype=torch.bool)),
                (3, ("a", "e"), torch.tensor([2, 0]), torch.zeros(2, 4, 5, dtype=torch.bool)),
            ]
        )
    ]
    joined = PhraseBatch.collate(parts)
    assert joined.owner.tolist() == [1, 0, 1, 2, 5, 3]
    assert joined.phrases == ("a", "b", "c", "d", "a", "e")
    assert joined.image_ids == ("00", "01", "10", "20", "21", "22")
    assert joined.images[:, 0, 0, 0].tolist() == [0, 0, 1, 2, 2, 2]
    assert joined.masks.flatten(1).any(1).tolist() == [False, False, False, True, False, False]


def test_batches_join_the_photos_from_start_to_stop(cartoon_store):
    views = phrase_set(cartoon_store)
    batches = list(views.batches(images=3, sample_ids=range(5, 12), workers=0))
    assert [len(batch.images) for batch in batches] == [3, 3, 1]
    for batch, sample_ids in zip(batches, (range(5, 8), range(8, 11), range(11, 12)), strict=True):
        assert same(batch, PhraseBatch.collate([views[number] for number in sample_ids]))
        for phrase, owner in enumerate(batch.owner.tolist()):
            alone = views[sample_ids[owner]]
            assert batch.phrases[phrase] == alone.phrases[phrase - 4 * owner]
            assert batch.image_ids[owner] == alone.image_ids[0]
            assert torch.equal(batch.masks[phrase], alone.masks[phrase - 4 * owner])


def test_images_without_any_object_are_refused(cartoon_store):
    message = f"{cartoon_store.folder}: training needs an image with an object, got none; split again"
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        PhraseDataset(cartoon_store, [], cartoon_store.info.vocabulary, VIEWS, 0)
