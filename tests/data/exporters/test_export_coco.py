"""COCO files of a store: what pycocotools and others see in them, and that nothing is lost on the way back."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO
from random_store import OBJECTS, records_of, write_random

from partseg_cli.data.converters.coco import converter as coco
from partseg_cli.data.converters.coco.exported import CocoSet
from partseg_cli.data.converters.conversion import Converted, Skipped
from partseg_cli.data.exporters.coco import export
from partseg_cli.data.record import Record
from partseg_cli.data.store import Store, StoreWriter
from partseg_cli.errors import DataError

BOTH = {"train": 9, "val": 4}


def write(folder: Path, seed: int = 0, images: dict[str, int] | None = None) -> tuple[Store, Path]:
    """Write a random store, and its export into the folder of its images."""
    store = write_random(folder, seed, images or BOTH)
    out = folder / "photos"
    out.mkdir(exist_ok=True)
    assert list(export(store, out, store.splits)) == [out / f"{split}.json" for split in store.splits]
    return store, out


def imported(found: CocoSet, folder: Path) -> Store:
    """Write what was read back into a store."""
    conversion = found.conversion
    info = replace(found.info, image_root=conversion.image_root, lists=conversion.lists)
    with StoreWriter(folder, info, conversion.splits) as writer:
        for outcome in conversion.outcomes:
            assert isinstance(outcome, Converted), outcome
            writer.add(outcome.split, outcome.record)
    return Store.open(folder)


def edit(path: Path, change) -> None:
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def refused(message: str):
    return pytest.raises(DataError, match=f"^{re.escape(message)}$")


def converted(found: CocoSet) -> dict[str, Record]:
    return {o.record.image_id: o.record for o in found.conversion.outcomes if isinstance(o, Converted)}


# there and back


@pytest.mark.parametrize("seed", range(12))
def test_export_import_export_gives_the_same_bytes_and_records(tmp_path, seed):
    images = [BOTH, {"train": 7, "val": 0}, {"val": 3, "train": 2, "test": 5}][seed % 3]
    store, out = write(tmp_path, seed, images)
    found = coco.convert(out)
    again = imported(found, tmp_path / "again")
    assert records_of(again) == records_of(store)
    assert again.info == replace(store.info, image_root=out.as_posix())
    assert (found.objects, found.vocabulary) == (store.info.objects, store.info.vocabulary)
    assert list(export(again, tmp_path / "second", again.splits))
    for split in store.splits:
        assert (tmp_path / "second" / f"{split}.json").read_bytes() == (out / f"{split}.json").read_bytes()


def test_the_set_of_tests_has_everything_that_a_record_can_hold(tmp_path):
    store, _ = write(tmp_path)
    records = [record for split in store.splits for record in store.records(split)]
    things = [thing for record in records for thing in record.objects]
    parts = [part for record in records for part in record.parts]
    assert {record.upright for record in records} == {True, False}
    assert {record.ignore is None for record in records} == {bool(record.not_exhaustive) for record in records}
    assert {thing.synthetic for thing in things} == {True, False}
    assert {part.level for part in parts} == {1, 2, 3}
    assert any(not thing.mask.area for thing in things)
    assert any(not record.objects for record in records)
    assert any(len(record.objects) > 2 for record in records)
    assert any([thing.id for thing in record.objects] != list(range(len(record.objects))) for record in records)


def test_images_may_be_in_a_folder_called_images(tmp_path):
    store, photos = write(tmp_path)
    out = tmp_path / "out"
    out.mkdir()
    for split in store.splits:
        shutil.move(photos / f"{split}.json", out)
    shutil.move(photos, out / "images")
    found = coco.convert(out)
    assert found.conversion.image_root == f"{out.as_posix()}/images"
    assert records_of(imported(found, tmp_path / "again")) == records_of(store)


def test_one_file_keeps_its_split_unless_another_is_named(tmp_path):
    store, out = write(tmp_path)
    found = coco.convert(out, annotations=[out / "val.json"])
    assert records_of(imported(found, tmp_path / "a")) == {"train": [], "val": list(store.records("val"))}
    found = coco.convert(out, annotations=[out / "val.json"], splits=["train"])
    assert records_of(imported(found, tmp_path / "b")) == {"train": list(store.records("val")), "val": []}


def test_what_another_program_left_of_a_file_is_enough(tmp_path):
    store, out = write(tmp_path, images={"train": 9})

    def rewrite(value: dict) -> None:
        for annotation in value["annotations"]:
            annotation.pop("partseg", None)
        value["info"] = value.pop("info")

    edit(out / "train.json", rewrite)
    for record in store.records("train"):
        (read,) = [r for r in converted(coco.convert(out)).values() if r.image_id == record.image_id]
        assert [thing.id for thing in read.objects] == list(range(len(record.objects)))
        assert not any(thing.synthetic for thing in read.objects)
        assert [(part.pair, part.mask, part.level) for part in read.parts] == [
            (part.pair, part.mask, 1) for part in record.parts
        ]


def test_without_its_description_a_file_is_one_of_anyone(tmp_path):
    store, out = write(tmp_path, images={"train": 9})
    edit(out / "train.json", lambda value: value["info"].pop("partseg"))
    found = coco.convert(out)
    assert found.info is None
    assert found.objects == tuple(sorted(found.objects))
    wanted = {r.file_name: len([p for p in r.parts if p.mask.area]) for r in store.records("train")}
    read = {record.file_name: len(record.parts) for record in converted(found).values()}
    assert read == {name: count for name, count in wanted.items() if name in read}
    assert read


# what others see


@pytest.fixture
def seen(tmp_path) -> tuple[Store, COCO]:
    store, out = write(tmp_path, images={"train": 12})
    return store, COCO(out / "train.json")


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools' own
def test_pycocotools_decodes_the_same_pixels(seen):
    store, api = seen
    for number, record in enumerate(store.records("train"), start=1):
        annotations = api.loadAnns(api.getAnnIds(imgIds=[number]))
        items = (*record.objects, *record.parts)
        assert len(annotations) == len(items)
        for annotation, item in zip(annotations, items, strict=True):
            mask = item.mask.decode(record.height, record.width)
            np.testing.assert_array_equal(api.annToMask(annotation).astype(bool), mask)
            assert (annotation["area"], tuple(annotation["bbox"])) == (item.mask.area, item.mask.bbox)
            assert annotation["iscrowd"] == 0


def test_categories_are_objects_then_pairs_as_in_paco(seen):
    store, api = seen
    names = [(c["id"], c["name"], c["supercategory"]) for c in api.dataset["categories"]]
    assert names[:2] == [(1, "lion's mane", "OBJECT"), (2, "cat", "OBJECT")]
    assert names[len(OBJECTS) : len(OBJECTS) + 2] == [
        (7, "lion's mane:stem", "PART"),
        (8, "chest of drawers:drawer", "PART"),
    ]
    assert len(names) == len(OBJECTS) + len(store.info.vocabulary.pairs)


def test_an_object_names_itself_and_a_part_its_object(seen):
    store, api = seen
    for number, record in enumerate(store.records("train"), start=1):
        annotations = api.loadAnns(api.getAnnIds(imgIds=[number]))
        own, parts = annotations[: len(record.objects)], annotations[len(record.objects) :]
        assert [a["obj_ann_id"] for a in own] == [a["id"] for a in own]
        by_id = {thing.id: annotation["id"] for thing, annotation in zip(record.objects, own, strict=True)}
        assert [a["obj_ann_id"] for a in parts] == [by_id[part.object] for part in record.parts]


def test_ids_are_numbers_of_their_own_and_images_are_named_below_the_image_root(seen):
    store, api = seen
    assert [image["id"] for image in api.dataset["images"]] == list(range(1, 13))
    numbers = [annotation["id"] for annotation in api.dataset["annotations"]]
    assert numbers == list(range(1, len(numbers) + 1))
    for image, record in zip(api.dataset["images"], store.records("train"), strict=True):
        assert image["file_name"] == record.file_name
        assert (image["width"], image["height"]) == (record.width, record.height)


def test_usual_values_need_no_extra_key(small_store, tmp_path):
    (path,) = export(small_store, tmp_path, ["val"])
    value = json.loads(path.read_text())
    extras = [annotation.get("partseg") for annotation in value["annotations"]]
    assert extras[:6] == [{"id": 1}, {"id": 2}, None, None, None, None]
    assert value["images"][0]["partseg"] == {"image_id": "photo_08", "source": "drawn 8"}
    assert value["info"]["partseg"]["splits"] == ["train", "val"]
    assert str(small_store.folder) not in path.read_text()


# what may be wrong


def test_missing_images_are_refused_with_advice(tmp_path):
    _, photos = write(tmp_path)
    out = tmp_path / "out"
    out.mkdir()
    shutil.move(photos / "val.json", out)
    message = (
        f"{out}: must hold the images of the export, got none of 4 (first val/0/same name 0.png); export with --copy "
        "or --link, or put them into the folder images beside the JSON files"
    )
    with refused(message):
        coco.convert(out)


def test_one_missing_image_is_skipped(tmp_path):
    store, out = write(tmp_path)
    first, second = store.records("train")[:2]
    (out / second.file_name).unlink()
    skips = [outcome for outcome in coco.convert(out).conversion.outcomes if isinstance(outcome, Skipped)]
    assert skips == [Skipped("train.json: image 2", "image is missing", is_defect=True, detail=second.file_name)]
    (out / "images" / first.file_name).parent.mkdir(parents=True)
    shutil.move(out / first.file_name, out / "images" / first.file_name)
    skips = [outcome for outcome in coco.convert(out).conversion.outcomes if isinstance(outcome, Skipped)]
    assert len(skips) == 12  # the first photo tells where all lie


def test_an_image_outside_of_the_folder_is_refused(tmp_path):
    _, out = write(tmp_path)
    edit(out / "val.json", lambda value: value["images"][1].update(file_name="../../x.jpg"))
    message = f"{out}/val.json: an image must be inside {out}, got '../../x.jpg'; name a folder that holds all"
    with refused(message):
        coco.convert(out)


def test_a_mask_of_another_size_is_a_defect_of_its_image(tmp_path):
    store, out = write(tmp_path, images={"train": 9})
    number = next(i for i, record in enumerate(store.records("train"), start=1) if record.objects)
    record = store.records("train")[number - 1]

    def change(value: dict) -> None:
        first = next(a for a in value["annotations"] if a["image_id"] == number)
        first["segmentation"]["size"] = [1, 2]

    edit(out / "train.json", change)
    skips = [outcome for outcome in coco.convert(out).conversion.outcomes if isinstance(outcome, Skipped)]
    detail = f"size is [1, 2], the image's height and width are {[record.height, record.width]}"
    reason = "run lengths and image differ in size"
    assert skips == [Skipped(f"train.json: image {number}", reason, is_defect=True, detail=detail)]


def test_a_part_without_its_object_is_a_defect_of_its_image(tmp_path):
    _, out = write(tmp_path, images={"train": 9})

    def change(value: dict) -> None:
        part = next(a for a in value["annotations"] if a["obj_ann_id"] != a["id"])
        part["obj_ann_id"], value["number"] = 9999, part["image_id"]

    edit(out / "train.json", change)
    number = json.loads((out / "train.json").read_text())["number"]
    skips = [outcome for outcome in coco.convert(out).conversion.outcomes if isinstance(outcome, Skipped)]
    reason = "image of an export is malformed"
    assert skips == [Skipped(f"train.json: image {number}", reason, is_defect=True, detail="KeyError: 9999")]


AGAIN = "export it again, or delete partseg from its info to have it read as a set of your own"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v["categories"].pop(), f"categories must be those of info.partseg, got others; {AGAIN}"),
        (
            lambda v: v["images"].append({"id": 1, "file_name": "a.jpg"}),
            f"images must have an own id, a file_name and partseg, got one without; {AGAIN}",
        ),
        (
            lambda v: v["images"].append(v["images"][0]),
            f"images must have an own id, a file_name and partseg, got one without; {AGAIN}",
        ),
        (lambda v: v["annotations"].append(None), f"annotations must have their own id, got None; {AGAIN}"),
        (
            lambda v: v["annotations"].append({"id": 1, "image_id": 1}),
            f"annotations must have their own id, got {{'id': 1, 'image_id': 1}}; {AGAIN}",
        ),
        (
            lambda v: v["annotations"].append({"id": 999, "image_id": 77, "category_id": 1}),
            "annotations must have a known image and category, got "
            f"{{'id': 999, 'image_id': 77, 'category_id': 1}}; {AGAIN}",
        ),
        (
            lambda v: v["annotations"].append({"id": 999, "image_id": [1], "category_id": {"of": [2, 3, 4, 5, 6, 7]}}),
            "annotations must have a known image and category, got "
            f"{{'id': 999, 'image_id': [1], 'category_id': {{'of': [2, 3, 4,...; {AGAIN}",
        ),
    ],
)
def test_a_file_that_was_changed_is_refused(tmp_path, change, message):
    _, out = write(tmp_path)
    edit(out / "train.json", change)
    with refused(f"{out}/train.json: {message}"):
        coco.convert(out)


def test_files_of_two_sets_are_refused(tmp_path):
    _, out = write(tmp_path)
    edit(out / "train.json", lambda value: value["info"]["partseg"].update(name="other"))
    message = (
        f"{out}/val.json: all files must be exports of other as it was once, got one of another state or set "
        "(random-parts); convert it by itself"
    )
    with refused(message):
        coco.convert(out)


def test_an_export_next_to_another_file_is_refused(tmp_path):
    _, out = write(tmp_path)
    edit(out / "train.json", lambda value: value["info"].pop("partseg"))
    message = (
        f"{out}/train.json: all files must be exports of random-parts as it was once, got another file; "
        "convert it by itself"
    )
    with refused(message):
        coco.convert(out, annotations=[out / "train.json", out / "val.json"], splits=["train", "val"])


def test_a_description_of_another_version_or_incomplete_is_refused(tmp_path):
    _, out = write(tmp_path)
    edit(out / "val.json", lambda value: value["info"]["partseg"].update(format="partseg-coco-9"))
    message = "the format of an export must be 'partseg-coco-1', got 'partseg-coco-9'; export it again"
    with refused(f"{out}/val.json: {message}"):
        coco.convert(out)
    edit(out / "val.json", lambda value: value["info"].update(partseg={"format": "partseg-coco-1", "split": "val"}))
    with refused(f"{out}/val.json: info.partseg is incomplete or broken (KeyError('name')); export it again"):
        coco.convert(out)


def test_an_object_is_not_to_be_named_for_an_export(tmp_path):
    _, out = write(tmp_path)
    message = "train.json and val.json: --object is for parts alone, got obj_ann_id in annotations; leave --object out"
    with refused(message):
        coco.convert(out, object_name="cat")
