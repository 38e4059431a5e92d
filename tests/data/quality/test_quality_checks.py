"""What is told of a store that has something odd in it, each oddity alone and none in a sound one."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from partseg_cli.data.converters.coco import converter as coco
from partseg_cli.data.converters.conversion import Converted
from partseg_cli.data.quality.quality_checks import ENOUGH, EXAMPLES, KINDS, PartShares, QualityChecks
from partseg_cli.data.record import Part, Record
from partseg_cli.data.rle import Mask
from partseg_cli.data.store import Store, StoreWriter, iterate

EMPTY = Mask.encode(np.zeros((14, 41), bool))


@pytest.fixture
def store(small_data, tmp_path) -> Store:
    """A store of one's own, to damage."""
    return small_data.write(tmp_path)


def findings(store: Store, *images: tuple[str, Record]) -> dict[str, dict]:
    """Look through a store, or instead through these images."""
    suspicions = QualityChecks(store, store.splits)
    for split, record in images or iterate(store):
        suspicions.add(split, record)
    found = suspicions.document()
    assert json.loads(json.dumps(found)) == found
    return {finding["kind"]: finding for finding in found}


def first(store: Store, **fields: object) -> tuple[str, Record]:
    return "train", replace(store.records("train")[0], **fields)


def test_a_sound_store_has_nothing_odd(store):
    assert findings(store) == {}


def test_an_empty_object_and_an_empty_part_are_named(store):
    _, record = first(store)
    objects = (replace(record.objects[0], mask=EMPTY),)
    parts = (replace(record.parts[0], mask=EMPTY, raw="lear"), record.parts[1])
    found = findings(store, first(store, objects=objects, parts=parts))
    assert found == {
        "empty_object": {
            "kind": "empty_object",
            "what": "object mask without a pixel",
            "count": 1,
            "examples": [{"split": "train", "image_id": "photo_00", "text": "cat, object 1"}],
        },
        "empty_part": {
            "kind": "empty_part",
            "what": "part mask without a pixel",
            "count": 1,
            "examples": [{"split": "train", "image_id": "photo_00", "text": "cat's ear, object 1 (lear)"}],
        },
    }


def test_a_part_of_no_object_is_named(store):
    _, record = first(store)
    found = findings(store, first(store, parts=(replace(record.parts[0], object=9),)))
    assert [case["text"] for case in found["lost_part"]["examples"]] == ["cat's ear, object 9"]


def test_one_mask_under_two_pairs_is_named(store):
    _, record = first(store)
    ear, head = record.parts
    found = findings(store, first(store, parts=(ear, replace(head, mask=ear.mask))))
    assert set(found) == {"same_mask"}
    assert [case["text"] for case in found["same_mask"]["examples"]] == ["cat's ear, object 1 = cat's head, object 1"]


def test_one_mask_twice_under_one_pair_is_named(store):
    _, record = first(store)
    found = findings(store, first(store, parts=(*record.parts, record.parts[0])))
    assert set(found) == {"mask_twice"}
    assert [case["text"] for case in found["mask_twice"]["examples"]] == ["cat's ear, object 1 = cat's ear, object 1"]


def test_empty_masks_are_not_told_to_be_the_same(store):
    _, record = first(store)
    parts = tuple(replace(part, mask=EMPTY) for part in record.parts)
    assert set(findings(store, first(store, parts=parts))) == {"empty_part"}


def test_a_photo_that_went_missing_is_named(store):
    (store.folder / "images/photo_03.png").unlink()
    found = findings(store)
    assert set(found) == {"missing_photo"}
    assert found["missing_photo"]["examples"] == [
        {"split": "train", "image_id": "photo_03", "text": "No such file or directory"}
    ]


def test_photos_of_the_same_content_are_named_and_those_of_two_splits_told_so(store):
    images = store.folder / "images"
    for name in ("photo_04.png", "photo_09.png"):
        shutil.copyfile(images / "photo_00.png", images / name)
    found = findings(store)
    assert set(found) == {"same_photo"}
    assert found["same_photo"]["examples"] == [
        {"split": "train", "image_id": "photo_00", "text": "the same as photo_04"},
        {"split": "train", "image_id": "photo_00", "text": "the same as photo_09 of val: two splits share it"},
    ]


def test_photos_of_the_same_size_but_other_content_are_not_the_same(store):
    for number in range(12):
        (store.folder / f"images/photo_{number:02}.png").write_bytes(bytes([number]) * 50)
    assert findings(store) == {}


def test_two_records_of_one_photo_are_named(store):
    found = findings(store, first(store), first(store, image_id="again"))
    assert found["same_photo"]["examples"] == [{"split": "train", "image_id": "photo_00", "text": "the same as again"}]


def test_a_split_without_an_image_is_named(small_data, tmp_path):
    with StoreWriter(tmp_path, small_data.info, ("train", "val")):
        pass
    store = Store.open(tmp_path)
    suspicions = QualityChecks(store, ("val",))
    assert suspicions.document() == [
        {
            "kind": "empty_split",
            "what": "split without an image",
            "count": 1,
            "examples": [{"split": "val", "image_id": "", "text": "prepare found nothing for it"}],
        }
    ]


def test_of_many_cases_all_are_counted_and_the_first_named(store):
    lost = [Part(50 + number, 0, "ear", 1, Mask.encode(np.eye(14, 41, number, bool))) for number in range(EXAMPLES + 7)]
    found = findings(store, first(store, parts=tuple(lost)))
    assert found["lost_part"]["count"] == EXAMPLES + 7
    assert [case["text"] for case in found["lost_part"]["examples"]] == [
        f"cat's ear, object {50 + number}" for number in range(EXAMPLES)
    ]


def test_kinds_stand_in_a_fixed_order(store):
    (store.folder / "images/photo_00.png").unlink()
    _, record = first(store)
    odd = replace(record, parts=(replace(record.parts[0], mask=EMPTY), replace(record.parts[1], object=9)))
    kinds = list(findings(store, ("train", odd)))
    assert kinds == [kind for kind in KINDS if kind in kinds] == ["missing_photo", "empty_part", "lost_part"]


# ---- parts of unusual size


def shares(*values: float) -> PartShares:
    collected = PartShares(2)
    for number, value in enumerate(values):
        collected.add(1, value, "train", f"image {number}")
    return collected


def test_a_part_far_beyond_the_usual_share_of_its_object_is_named():
    found = shares(*np.linspace(0.01, 0.02, 50), 0.5).unusual(["cat's ear", "cat's nose"])
    assert found.count == 1
    ((split, image_id, text),) = found.examples
    assert (split, image_id) == ("train", "image 50")
    assert text.startswith("cat's nose: 50 % of its object, half of them have < 1.")


@pytest.mark.parametrize("largest", [0.01, 0.02, 0.025])
def test_parts_of_nearly_one_size_are_usual(largest):
    assert shares(*[0.01] * 50, largest).unusual(["a", "b"]).count == 0


def test_a_wide_spread_makes_a_large_part_usual():
    values = np.geomspace(1e-4, 0.2, 60)
    assert shares(*values, 0.5).unusual(["a", "b"]).count == 0


def test_of_few_parts_none_is_unusual():
    few = [0.01] * (ENOUGH - 2)
    assert shares(*few, 0.9).unusual(["a", "b"]).count == 0
    assert shares(*few, 0.01, 0.9).unusual(["a", "b"]).count == 1


def test_the_furthest_parts_are_named_first_and_all_are_counted():
    odd = [0.5 + number / 100 for number in range(EXAMPLES + 5)]
    found = shares(*[0.001] * 500, *odd).unusual(["a", "b"])
    assert found.count == EXAMPLES + 5
    assert [case.image_id for case in found.examples] == [f"image {500 + EXAMPLES + 4 - n}" for n in range(EXAMPLES)]


def test_shares_of_any_size_are_taken():
    assert shares(1e-12, 1.0, 1e6, *[0.1] * ENOUGH).unusual(["a", "b"]).count == 2


def test_in_real_photos_of_cars_a_door_that_is_called_a_light_is_found(samples):
    found = coco.convert(
        samples / "car_parts", annotations=(Path("trainingset/annotations.json"),), splits=("train",), object_name="car"
    )
    names = [pair.name for pair in found.vocabulary.pairs]
    collected = PartShares(len(names))
    for outcome in found.conversion.outcomes:
        if isinstance(outcome, Converted):
            (car,) = outcome.record.objects
            for part in outcome.record.parts:
                collected.add(part.pair, part.mask.area / car.mask.area, outcome.split, outcome.record.image_id)
    (case,) = collected.unusual(names).examples
    assert case.image_id == "trainingset/JPEGImages/train392.jpg"
    assert case.text.startswith("car's front_left_light: 47.7 % of its object")
