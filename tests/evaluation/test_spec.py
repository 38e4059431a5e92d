"""Which photos and pairs a test takes, by the pixels that count of them."""

import dataclasses
from functools import partial
from pathlib import Path

import pytest
from conftest import SmallData
from label_maps import flat

from partseg_cli.data.splits.split import Split, published_split
from partseg_cli.data.store import Store
from partseg_cli.errors import DataError
from partseg_cli.evaluation.evaluator import evaluate_label_maps, evaluate_spec
from partseg_cli.evaluation.metrics import EvalResult, compute_metrics
from partseg_cli.evaluation.samples import SampleConfig
from partseg_cli.evaluation.spec import EvalSpec

FOX = ("fox's ear", "fox's tail")


def perfect(store: Store, split: Split, split_name: str = "val", limit: int | None = None) -> EvalResult:
    """Count the labelled maps of a specification against themselves."""
    spec = EvalSpec(store, split, split_name, "pred-all", SampleConfig(), limit=limit)
    counts = evaluate_spec(spec, partial(evaluate_label_maps, flat, spec), batch=3)
    return compute_metrics(counts.table, spec.vocabulary, spec.protocol)


def pixels(result: EvalResult) -> dict[str, int]:
    return {row["name"]: row["target_pixels"] for row in result.per_class}


def test_a_test_may_take_the_unseen_objects_of_training_images(small_store):
    plain = published_split(small_store)
    wider = dataclasses.replace(plain, val_unseen=("photo_02", "photo_03", "photo_04"))
    before, after = pixels(perfect(small_store, plain)), pixels(perfect(small_store, wider))
    train = pixels(perfect(small_store, dataclasses.replace(plain, train=wider.val_unseen), "train"))
    for name in before:
        if name in FOX:
            assert after[name] == before[name] + train[name] > before[name]
        else:
            assert after[name] == before[name] > 0


def test_training_images_are_scored_as_a_whole_when_they_are_asked_for(small_store):
    plain = published_split(small_store)
    wider = dataclasses.replace(plain, val_unseen=("photo_02", "photo_03"))
    assert perfect(small_store, plain, "train") == perfect(small_store, wider, "train")


def test_a_limit_takes_the_first_photos_and_those_of_training_last(small_store):
    wider = dataclasses.replace(published_split(small_store), val_unseen=("photo_02", "photo_03", "photo_04"))
    assert [perfect(small_store, wider, limit=limit).samples for limit in (1, 4, 5, 99)] == [1, 4, 5, 7]


def with_test(small_data: SmallData, folder: Path) -> Store:
    """Make the last two photos of val a test split of the store."""
    val = small_data.records["val"]
    return small_data._replace(records={**small_data.records, "val": val[:-2], "test": val[-2:]}).write(folder)


def test_a_test_split_of_the_store_is_scored_as_a_whole_and_nothing_beside_it(small_data, tmp_path):
    store = with_test(small_data, tmp_path)
    plain = published_split(store)
    shown = tuple(record.image_id for record in store.records("test"))
    as_val = perfect(store, dataclasses.replace(plain, val=shown))
    wider = dataclasses.replace(plain, val_unseen=("photo_02",))
    assert perfect(store, wider, "test") == as_val
    assert 0 < as_val.samples <= 2


def test_a_store_without_a_test_split_says_which_it_has(small_store):
    with pytest.raises(DataError) as caught:
        perfect(small_store, published_split(small_store), "test")
    assert (
        str(caught.value) == "small: --split test needs a store with such images, got train, val; choose train or val"
    )


def test_an_image_that_a_split_trains_on_is_no_test(small_data, tmp_path):
    store = with_test(small_data, tmp_path)
    image = store.records("test")[0].image_id
    with pytest.raises(DataError) as caught:
        perfect(store, dataclasses.replace(published_split(store), train=(image,)), "test")
    assert str(caught.value) == (
        f"small: no image may be in test and train, got 1 such as {image}; choose another --data-split"
    )


def test_pairs_of_one_object_may_be_seen_and_unseen(small_store):
    split = dataclasses.replace(published_split(small_store), unseen_objects=(), unseen_parts=("ear",))
    result = perfect(small_store, split)
    assert [row["seen"] for row in result.per_class] == [False, True, True, True, False, True]
    assert result.miou == {"seen": 100, "unseen": 100, "harmonic": 100}


@pytest.mark.parametrize(
    ("unit", "digest"),
    [("object", "f157c0900f7bd375"), ("image", "b07f2e2684a48ba8"), ("instance", "73b1d81995d500d5")],
)
def test_the_digest_of_what_is_evaluated_stays_as_it_was(small_store, unit, digest):
    spec = EvalSpec(small_store, published_split(small_store), "val", "pred-all", SampleConfig(unit))
    assert spec.data_hash == digest
