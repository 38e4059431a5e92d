"""Label maps of any origin: each form gives the same maps, and what cannot be counted is refused by name."""

import json
import os
import pickle
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from random_store import write_random

from partseg_cli.data.exporters import coco as export_coco
from partseg_cli.data.exporters.png import export
from partseg_cli.data.predictions.reader import open_objects, open_predictions
from partseg_cli.data.record import Instance, Part, Record, RecordKey
from partseg_cli.data.rle import NONE, Mask
from partseg_cli.data.store import DatasetInfo, Store, StoreWriter
from partseg_cli.errors import DataError
from partseg_cli.inference.protocols import pred_all
from partseg_cli.io.atomic import write_json
from partseg_cli.io.label_maps import write_label_map
from partseg_cli.structures import Logits
from partseg_cli.vocabulary import Pair, Vocabulary

VAL = [RecordKey("val", number) for number in range(4)]
PHOTO = "photo_08.png"
"""The first of val: 25 pixels wide, 38 high."""


def records(store, keys=VAL):
    return [store[key] for key in keys]


def pairs(record):
    labels = record.pair_map().astype(np.int64)
    return np.where(labels == NONE, -1, labels)


def objects(record):
    labels = record.object_map().astype(np.int64)
    return np.where(labels == NONE, -1, labels)


def stem(record):
    return record.file_name.rpartition(".")[0]


def write_pngs(store, folder, name_of=stem, nothing=255, dtype=np.uint8, labels_of=pairs):
    for record in records(store):
        path = folder / f"{name_of(record)}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        labels = labels_of(record)
        Image.fromarray(np.where(labels < 0, nothing, labels).astype(dtype)).save(path)
    return folder


def stack(record, channels=7):
    labels = pairs(record)
    return (np.where(labels < 0, 6, labels) == np.arange(channels)[:, None, None]).astype(np.float16)


def write_stacks(store, folder, save=np.save, suffix="npy"):
    folder.mkdir()
    for record in records(store):
        save(folder / f"{stem(record)}.{suffix}", stack(record))
    return folder


def rows(store, **more):
    found = []
    for record in records(store):
        for part in sorted(record.parts, key=lambda part: -part.mask.area):
            code = {"size": [record.height, record.width], "counts": part.mask.rle}
            found.append({"file_name": record.file_name, "category": part.pair, "segmentation": code, **more})
    return found


def write_rows(path, content):
    path.write_text(json.dumps(content))
    return path


def write_predicted(store, folder, words=None):
    """Write what `partseg predict` writes, by its own writer of labels."""
    names = words or [pair.name for pair in store.info.vocabulary.pairs]
    known = [pair.name for pair in store.info.vocabulary.pairs]
    for record in records(store):
        labels = pairs(record)
        moved = np.array([*(names.index(name) if name in names else -1 for name in known), -1])[labels]
        write_label_map(folder / f"{stem(record)}_labels.png", moved, len(names))
        (folder / f"{stem(record)}_overlay.png").write_bytes(b"a picture")
        classes = [
            {"index": index, "word": name, "object": name.split("'s ")[0], "part": name.split("'s ")[1]}
            for index, name in enumerate(names)
        ]
        write_json(folder / f"{stem(record)}.json", {"image": f"a/photos/{record.file_name}", "classes": classes})
    return folder


def check(predictions, store, keys=VAL, labels_of=pairs):
    assert predictions.read == len(keys)
    for record in records(store, keys):
        labels = predictions.maps(record)
        assert labels.dtype == torch.int64
        np.testing.assert_array_equal(labels, labels_of(record))


def refusal(source, store, keys=VAL):
    with pytest.raises(DataError) as error:
        open_predictions(source, store, keys)
    assert "\n" not in str(error.value)
    return str(error.value)


def late_refusal(source, store):
    predictions = open_predictions(source, store, VAL)
    with pytest.raises(DataError) as error:
        list(map(predictions.maps, records(store)))
    assert "\n" not in str(error.value)
    return str(error.value)


# Every form gives the maps that went in


@pytest.mark.parametrize(
    ("nothing", "dtype"), [(255, np.uint8), (6, np.uint8), (65535, np.uint16), (255, np.uint16), (6, np.uint16)]
)
def test_label_pngs_of_8_and_16_bits_are_read_with_each_value_for_nothing(small_store, tmp_path, nothing, dtype):
    predictions = open_predictions(write_pngs(small_store, tmp_path, nothing=nothing, dtype=dtype), small_store, VAL)
    check(predictions, small_store)
    assert (predictions.kind, predictions.extra) == ("label PNGs", ())


def test_of_a_palette_the_indices_count(small_store, tmp_path):
    for record in records(small_store):
        write_label_map(tmp_path / f"{stem(record)}.png", pairs(record), 6)
    check(open_predictions(tmp_path, small_store, VAL), small_store)


def test_a_palette_of_few_bits_is_read(small_store, tmp_path):
    write_pngs(small_store, tmp_path)
    record = records(small_store)[0]
    picture = Image.fromarray(np.where(pairs(record) < 0, 6, pairs(record)).astype(np.uint8))
    picture.putpalette(bytes(range(24)))
    picture.save(tmp_path / PHOTO, bits=4)
    assert (tmp_path / PHOTO).read_bytes()[24] == 4
    check(open_predictions(tmp_path, small_store, VAL), small_store)


@pytest.mark.parametrize(
    "name_of",
    [
        stem,
        lambda record: f"val/{stem(record)}",
        lambda record: f"{stem(record)}.png",
        lambda record: f"val/{stem(record)}.png",
    ],
)
def test_files_are_found_with_and_without_split_and_suffix(small_store, tmp_path, name_of):
    check(open_predictions(write_pngs(small_store, tmp_path, name_of), small_store, VAL), small_store)


def test_images_in_folders_are_found_by_path_and_by_a_stem_of_their_own(tmp_path):
    store = write_random(tmp_path, 0, {"val": 4})
    keys = [RecordKey("val", number) for number in range(4)]
    assert [record.file_name for record in records(store, keys)][::2] == [
        "val/0/same name 0.png",
        "val/0/same name 1.jpg",
    ]
    for record in records(store, keys):
        path = tmp_path / "out" / f"{stem(record)}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.where(pairs(record) < 0, 255, pairs(record)).astype(np.uint8)).save(path)
    check(open_predictions(tmp_path / "out", store, keys), store, keys)
    (tmp_path / "out/val/0/same name 0.png").rename(tmp_path / "out/same name 0.png")
    assert refusal(tmp_path / "out", store, keys) == (
        "same name 0: a name must mean one image, got val/0/same name 0.png, val/1/same name 0.jpg; "
        "name it by the path of the image"
    )
    (tmp_path / "out/same name 0.png").rename(tmp_path / "out/0.png")
    check(open_predictions(tmp_path / "out/val/0", store, keys[2:3]), store, keys[2:3])


def test_a_stem_of_train_and_val_means_the_image_that_is_wanted(small_data, tmp_path):
    record, other = small_data.records["train"][0], small_data.records["val"][0]
    with StoreWriter(tmp_path / "store", small_data.info, ["train", "val"]) as writer:
        writer.add("train", Record("t", "train/1.png", record.width, record.height, "", record.objects, record.parts))
        writer.add("val", Record("v", "val/1.png", other.width, other.height, "", other.objects, other.parts))
    store = Store.open(tmp_path / "store")
    for split in ("train", "val"):
        (tmp_path / "out" / split).mkdir(parents=True)
        labels = pairs(store.records(split)[0])
        Image.fromarray(np.where(labels < 0, 255, labels).astype(np.uint8)).save(tmp_path / "out" / split / "1.png")
    predictions = open_predictions(tmp_path / "out", store, [RecordKey("val", 0)])
    check(predictions, store, [RecordKey("val", 0)])
    assert predictions.extra == ("train/1.png",)
    both = [RecordKey("val", 0), RecordKey("train", 0)]
    check(open_predictions(tmp_path / "out", store, both), store, both)


@pytest.mark.parametrize(("save", "suffix"), [(np.save, "npy"), (np.savez, "npz"), (np.savez_compressed, "npz")])
def test_score_stacks_are_read(small_store, tmp_path, save, suffix):
    predictions = open_predictions(write_stacks(small_store, tmp_path / "out", save, suffix), small_store, VAL)
    check(predictions, small_store)
    assert predictions.kind == "score stacks (NPY, NPZ)"


@pytest.mark.parametrize("dtype", [">f2", "<f4", ">f4", "<f8"])
def test_scores_may_be_any_floats(small_store, tmp_path, dtype):
    write_stacks(small_store, tmp_path / "out", lambda path, scores: np.save(path, scores.astype(dtype)))
    check(open_predictions(tmp_path / "out", small_store, VAL), small_store)


def test_of_several_arrays_the_one_called_scores_counts(small_store, tmp_path):
    write_stacks(
        small_store, tmp_path / "out", lambda path, scores: np.savez(path, boxes=np.eye(2), scores=scores), "npz"
    )
    check(open_predictions(tmp_path / "out", small_store, VAL), small_store)


@pytest.mark.parametrize("size", [(5, 7), (38, 25), (60, 11)])
def test_scores_are_enlarged_as_logits_are(small_store, tmp_path, size):
    rng = np.random.default_rng(3)
    scores = rng.normal(size=(7, *size)).astype(np.float32)
    record = records(small_store)[0]
    np.save(tmp_path / f"{stem(record)}.npy", scores)
    labels = open_predictions(tmp_path, small_store, VAL[:1]).maps(record)
    logits = Logits(torch.from_numpy(scores)[None], None, None, None)
    expected = pred_all(logits, small_store.info.vocabulary, (record.height, record.width)).pairs.labels
    np.testing.assert_array_equal(labels, expected)
    assert set(np.unique(labels)) == set(range(-1, 6))


def test_a_large_image_takes_planes_in_groups(tmp_path, monkeypatch, small_store):
    record = records(small_store)[0]
    np.save(tmp_path / f"{stem(record)}.npy", np.random.default_rng(0).normal(size=(7, 9, 4)))
    predictions = open_predictions(tmp_path, small_store, VAL[:1])
    whole = predictions.maps(record)
    monkeypatch.setattr("partseg_cli.data.predictions.scores.SCORES_AT_ONCE", 3 * record.width * record.height)
    np.testing.assert_array_equal(predictions.maps(record), whole)


def test_without_a_background_each_pixel_has_a_pair_and_the_first_of_equals_wins(small_store, tmp_path):
    record = records(small_store)[0]
    scores = np.full((6, record.height, record.width), -7.0)
    scores[[2, 4], :, 3:] = -5.5
    np.save(tmp_path / f"{stem(record)}.npy", scores)
    labels = open_predictions(tmp_path, small_store, VAL[:1]).maps(record)
    assert (labels[:, :3] == 0).all()
    assert (labels[:, 3:] == 2).all()


@pytest.mark.parametrize("in_folder", [False, True])
def test_coco_results_are_read(small_store, tmp_path, in_folder):
    path = write_rows(tmp_path / "preds.json", [*rows(small_store), *boat(small_store)])
    predictions = open_predictions(tmp_path if in_folder else path, small_store, VAL)
    check(predictions, small_store)
    assert predictions.kind == "run lengths (COCO JSON)"


def boat(store):
    """Return no mask at all of an image, which a list of results can only express by a mask without pixels."""
    return [
        {
            "image_id": record.image_id,
            "category": 0,
            "segmentation": {"size": [record.height, record.width], "counts": [record.height * record.width]},
        }
        for record in records(store)
    ]


@pytest.mark.parametrize("spell", ["{}'s {}", "{}:{}", " {}’s  {}"])
def test_categories_are_named_in_any_spelling(small_store, tmp_path, spell):
    content = rows(small_store)
    for row in content:
        pair = small_store.info.vocabulary.pairs[row["category"]]
        row["category"] = spell.format(pair.object, pair.part)
    check(open_predictions(write_rows(tmp_path / "p.json", content), small_store, VAL), small_store)


def test_objects_whose_names_hold_apostrophes_and_colons_are_found(tmp_path):
    store = write_random(tmp_path, 1, {"val": 2})
    record = records(store, [RecordKey("val", 0)])[0]
    code = {"size": [record.height, record.width], "counts": [0, record.height * record.width]}
    for index, pair in enumerate(store.info.vocabulary.pairs):
        for name in (pair.name, f"{pair.object}:{pair.part}"):
            content = [{"image_id": record.image_id, "category": name, "segmentation": code}]
            path = write_rows(tmp_path / "p.json", content)
            labels = open_predictions(path, store, [RecordKey("val", 0)]).maps(record)
            assert (labels == index).all()


@pytest.mark.parametrize(
    "name_of",
    [
        lambda record: {"image_id": record.image_id},
        lambda record: {"image_id": int(record.image_id.removeprefix("photo_"))},
        lambda record: {"file_name": f"/data/images/{record.file_name}"},
        lambda record: {"file_name": f".\\images\\{stem(record)}.jpg"},
        lambda record: {"file_name": f"../000000000008.d/{stem(record)}"},
    ],
)
def test_results_name_images_by_id_number_or_path(small_data, tmp_path, name_of):
    with StoreWriter(tmp_path / "store", small_data.info, ["val"]) as writer:
        for record in small_data.records["val"]:
            name = record.file_name.removeprefix("photo_")
            writer.add("val", Record(**{**vars(record), "file_name": f"images/{name.rjust(16, '0')}"}))
    store = Store.open(tmp_path / "store")
    named = {record.file_name: name_of(record) for record in records(store)}
    content = [{**row, **named[row["file_name"]]} for row in rows(store)]
    for row in content:
        if "image_id" in row:
            del row["file_name"]
    check(open_predictions(write_rows(tmp_path / "p.json", content), store, VAL), store)


def test_the_higher_score_is_on_top_and_of_equals_the_smaller_mask(small_store, tmp_path):
    record = records(small_store)[0]

    def row(category, score, width):
        pixels = np.zeros((record.height, record.width), bool)
        pixels[:, :width] = True
        code = {"size": [record.height, record.width], "counts": Mask.encode(pixels).rle}
        more = {} if score is None else {"score": score}
        return {"image_id": record.image_id, "category_id": category, "segmentation": code, **more}

    def columns(*content):
        path = write_rows(tmp_path / "p.json", list(content))
        return open_predictions(path, small_store, VAL[:1]).maps(record)[0, :12].tolist()

    assert columns(row(0, 0.9, 6), row(1, 0.8, 9), row(2, 0.8, 3)) == [0] * 6 + [1] * 3 + [-1] * 3
    assert columns(row(0, -2, 6), row(1, -2.0, 9), row(2, -2, 3)) == [2] * 3 + [0] * 3 + [1] * 3 + [-1] * 3
    assert columns(row(2, None, 3), row(1, None, 9), row(0, None, 6)) == [2] * 3 + [0] * 3 + [1] * 3 + [-1] * 3


def test_an_exported_coco_set_is_read_objects_left_out(small_store, tmp_path):
    list(export_coco.export(small_store, tmp_path, ["val"]))
    check(open_predictions(tmp_path, small_store, VAL), small_store)


@pytest.mark.parametrize("seed", range(4))
def test_an_export_to_png_is_the_store_itself(tmp_path, seed):
    store, out = write_random(tmp_path, seed, {"train": 6, "val": 3}), tmp_path / "out"
    list(export(store, out, store.splits))
    keys = store.record_keys()
    predictions = open_predictions(out, store, keys)
    check(predictions, store, keys)
    assert (predictions.kind, predictions.extra) == ("label PNGs of partseg export", ())
    some = open_predictions(out, store, keys[-2:])
    check(some, store, keys[-2:])
    assert len(some.extra) == 7


def test_an_export_is_read_by_name_whatever_the_order_of_its_pairs(small_store, small_data, tmp_path):
    order = [3, 0, 5, 1, 4, 2]
    vocabulary = Vocabulary(tuple(small_data.info.vocabulary.pairs[index] for index in order))
    info = DatasetInfo("other", "", ("fox", "dog", "boat", "cat"), vocabulary)
    with StoreWriter(tmp_path / "store", info, ["val"]) as writer:
        for record in small_data.records["val"]:
            parts = tuple(Part(p.object, order.index(p.pair), p.raw, p.level, p.mask) for p in record.parts)
            things = tuple(
                Instance(thing.id, info.objects.index(small_data.info.objects[thing.category]), thing.mask)
                for thing in record.objects
            )
            writer.add("val", Record(**{**vars(record), "parts": parts, "objects": things}))
    list(export(Store.open(tmp_path / "store"), tmp_path / "out", ["val"]))
    check(open_predictions(tmp_path / "out", small_store, VAL), small_store)
    vocabulary = small_store.info.vocabulary
    maps = open_objects(tmp_path / "out", small_store, vocabulary, VAL)
    check(maps, small_store, labels_of=lambda record: np.array([-1, 0, 1, 2, -1])[objects(record)])


def test_images_that_share_a_name_are_found_in_an_export(tmp_path):
    info = DatasetInfo("twins", "photos", ("cat",), Vocabulary((Pair("cat", "ear"), Pair("cat", "head"))))
    masks = [Mask.encode(np.eye(4, 3, offset, dtype=bool)) for offset in (0, 1, -1)]
    names = ["a.jpg", "a.png", "a.jpg"]
    with StoreWriter(tmp_path / "store", info, ["val"]) as writer:
        for number, (name, mask) in enumerate(zip(names, masks, strict=True)):
            part = Part(0, number % 2, "", 1, mask)
            writer.add("val", Record(str(number), name, 3, 4, "", (Instance(0, 0, mask),), (part,)))
    store = Store.open(tmp_path / "store")
    list(export(store, tmp_path / "out", ["val"]))
    check(open_predictions(tmp_path / "out", store, VAL[:3]), store, VAL[:3])


def test_a_predict_folder_is_read_by_its_classes(small_store, tmp_path):
    words = ["fox's tail", "cat's ear", "dog's tail", "dog's head", "fox's ear", "cat's head"]
    predictions = open_predictions(write_predicted(small_store, tmp_path, words), small_store, VAL)
    check(predictions, small_store)
    assert (predictions.kind, predictions.extra) == ("label PNGs of partseg predict", ())


def test_predictions_of_images_that_are_not_wanted_are_named(small_store, tmp_path):
    write_pngs(small_store, tmp_path)
    predictions = open_predictions(tmp_path, small_store, VAL[:1])
    assert (predictions.read, predictions.extra) == (1, ("photo_09.png", "photo_10.png", "photo_11.png"))
    content = [*rows(small_store), {**rows(small_store)[0], "file_name": "elsewhere.jpg"}]
    predictions = open_predictions(write_rows(tmp_path / "p.json", content), small_store, VAL[:1])
    assert predictions.extra == ("photo_09.png", "photo_10.png", "photo_11.png", "elsewhere.jpg")
    write_predicted(small_store, tmp_path / "predicted")
    predictions = open_predictions(tmp_path / "predicted", small_store, VAL[1:2])
    assert predictions.extra == ("photo_08_labels.png", "photo_10_labels.png", "photo_11_labels.png")
    check(predictions, small_store, VAL[1:2])


def test_all_of_255_classes_and_more_are_read_from_16_bits(tmp_path):
    many = Vocabulary(tuple(Pair("cat", f"part {number}") for number in range(300)))
    with StoreWriter(tmp_path / "store", DatasetInfo("many", "", ("cat",), many), ["val"]) as writer:
        writer.add("val", Record("a", "a.jpg", 300, 2, "", (), ()))
    store = Store.open(tmp_path / "store")
    values = np.stack([np.arange(300), np.where(np.arange(300) % 2, 300, 65535)])
    Image.fromarray(values.astype(np.uint16)).save(tmp_path / "a.png")
    labels = open_predictions(tmp_path, store, VAL[:1]).maps(store.records("val")[0])
    assert labels.tolist() == [list(range(300)), [-1] * 300]
    Image.fromarray(np.zeros((2, 300), np.uint8)).save(tmp_path / "a.png")
    assert refusal(tmp_path, store, VAL[:1]) == (
        f"{tmp_path}/a.png: a map of 300 pairs must have 16 bits, got 8; save it as a grey PNG of 16 bits"
    )


@pytest.mark.parametrize("form", ["png", "export", "npy", "json", "predict"])
def test_predictions_can_be_handed_to_another_process(small_store, tmp_path, form):
    source = tmp_path / "out"
    if form == "export":
        list(export(small_store, source, ["val"]))
    write = {
        "png": lambda: write_pngs(small_store, source),
        "npy": lambda: write_stacks(small_store, source),
        "predict": lambda: write_predicted(small_store, source),
        "json": lambda: (source.mkdir(), write_rows(source / "p.json", [*rows(small_store), *boat(small_store)])),
    }
    write.get(form, lambda: None)()
    check(pickle.loads(pickle.dumps(open_predictions(source, small_store, VAL))), small_store)


# Objects


def as_gate(store):
    """Objects of the store -> of its vocabulary; the boat has no parts."""
    table = np.array([-1, 0, 1, 2, -1])
    assert (store.info.objects, store.info.vocabulary.objects) == (("boat", "cat", "dog", "fox"), ("cat", "dog", "fox"))
    return lambda record: table[objects(record)]


def test_maps_of_objects_are_read_from_pngs_and_exports(small_store, tmp_path):
    vocabulary = small_store.info.vocabulary
    list(export(small_store, tmp_path / "tree", ["val"]))
    write_pngs(small_store, tmp_path / "png", labels_of=objects, nothing=4)
    for folder in ("tree", "png"):
        maps = open_objects(tmp_path / folder, small_store, vocabulary, VAL)
        check(maps, small_store, labels_of=as_gate(small_store))


def test_maps_of_objects_are_read_from_run_lengths_pairs_left_out(small_store, tmp_path):
    list(export_coco.export(small_store, tmp_path, ["val"]))
    maps = open_objects(tmp_path / "val.json", small_store, small_store.info.vocabulary, VAL)
    check(maps, small_store, labels_of=as_gate(small_store))


def test_maps_of_objects_are_read_from_a_predict_folder_of_bare_objects(small_store, tmp_path):
    words = ["dog", "fox", "cat"]
    for record in records(small_store):
        labels = np.array([-1, 2, 0, 1, -1])[objects(record)]
        write_label_map(tmp_path / f"{stem(record)}_labels.png", labels, 3)
        classes = [{"index": i, "word": word, "object": word, "part": None} for i, word in enumerate(words)]
        write_json(tmp_path / f"{stem(record)}.json", {"image": record.file_name, "classes": classes})
    maps = open_objects(tmp_path, small_store, small_store.info.vocabulary, VAL)
    check(maps, small_store, labels_of=as_gate(small_store))


# What is refused when predictions are opened


def test_missing_predictions_are_counted_and_named(small_store, tmp_path):
    write_pngs(small_store, tmp_path)
    (tmp_path / PHOTO).rename(tmp_path / "photo_8.png")
    (tmp_path / "photo_10.png").unlink()
    assert refusal(tmp_path, small_store) == (
        f"{tmp_path}: each of 4 images must have a prediction, got none of 2 (photo_08.png, photo_10.png), and 1 of no "
        "image (photo_8.png); name each by the path of its image without suffix, or by its stem"
    )


def test_a_list_of_results_must_mention_every_image(small_store, tmp_path):
    content = [row for row in rows(small_store) if row["file_name"] != "photo_09.png"]
    path = write_rows(tmp_path / "p.json", content)
    assert refusal(path, small_store) == (
        f"{path}: each of 4 images must have a prediction, got none of 1 (photo_09.png); "
        'write a COCO set, and list images without a mask among its "images"'
    )


def test_a_second_prediction_of_an_image_is_refused(small_store, tmp_path):
    write_pngs(small_store, tmp_path)
    write_pngs(small_store, tmp_path, lambda record: f"val/{stem(record)}")
    assert refusal(tmp_path, small_store) == (
        f"{tmp_path}: an image must have one prediction, got {PHOTO} and val/{PHOTO} for {PHOTO}; remove one"
    )


def test_two_forms_in_a_folder_are_refused(small_store, tmp_path):
    write_pngs(write_stacks(small_store, tmp_path / "out") and small_store, tmp_path / "out")
    assert refusal(tmp_path / "out", small_store) == (
        f"{tmp_path}/out: must hold predictions of one form, got 4 .png and 4 .npy/.npz; move one of them elsewhere"
    )


def test_images_next_to_scores_and_run_lengths_do_not_matter(small_store, tmp_path):
    write_stacks(small_store, tmp_path / "out")
    (tmp_path / "out/plot.png").write_bytes(b"a picture")
    (tmp_path / "out/log.json").write_text("{}")
    (tmp_path / "out/.hidden.npy").write_bytes(b"")
    assert open_predictions(tmp_path / "out", small_store, VAL).extra == ()
    (tmp_path / "plot.png").write_bytes(b"a picture")
    write_rows(tmp_path / "p.json", [*rows(small_store), *boat(small_store)])
    check(open_predictions(tmp_path / "p.json", small_store, VAL), small_store)


WANTED = "label PNGs, score stacks (NPY, NPZ), a JSON of run lengths, or what partseg predict or export --to png wrote"


def test_a_folder_without_predictions_is_refused(small_store, tmp_path):
    assert refusal(tmp_path, small_store) == f"{tmp_path}: must hold {WANTED}, got an empty folder; name another folder"
    (tmp_path / "notes.txt").touch()
    assert refusal(tmp_path, small_store) == f"{tmp_path}: must hold {WANTED}, got notes.txt; name another folder"
    assert refusal(tmp_path / "notes.txt", small_store) == (
        f"{tmp_path}/notes.txt: must be a folder or a JSON file, got a file; check the path"
    )
    assert refusal(tmp_path / "gone", small_store) == (
        f"{tmp_path}/gone: must be a folder or a JSON file, got no such folder; check the path"
    )


def test_several_json_files_are_refused(small_store, tmp_path):
    write_rows(tmp_path / "a.json", [])
    write_rows(tmp_path / "b.json", [])
    assert refusal(tmp_path, small_store) == (
        f"{tmp_path}: must hold one JSON of run lengths, got 2 (a.json, b.json); name the file itself"
    )


@pytest.mark.parametrize(
    ("shape", "got"), [((25, 38), "38x25, swapped"), ((38, 26), "26x38"), ((1, 1), "1x1"), ((40, 40), "40x40")]
)
def test_another_size_than_the_image_is_refused(small_store, tmp_path, shape, got):
    write_pngs(small_store, tmp_path)
    Image.fromarray(np.zeros(shape, np.uint8)).save(tmp_path / PHOTO)
    assert refusal(tmp_path, small_store) == (
        f"{tmp_path}/photo_08.png: must be 25x38 pixels as photo_08.png is, got {got}; predict at the image's own size"
    )


@pytest.mark.parametrize(
    ("mode", "got"),
    [
        ("RGB", "RGB of 8 bits"),
        ("RGBA", "RGBA of 8 bits"),
        ("1", "grey of 1 bits"),
        ("LA", "grey with alpha of 8 bits"),
    ],
)
def test_a_png_of_another_mode_is_refused(small_store, tmp_path, mode, got):
    write_pngs(small_store, tmp_path)
    Image.new(mode, (25, 38)).save(tmp_path / PHOTO)
    assert refusal(tmp_path, small_store) == (
        f"{tmp_path}/photo_08.png: must be a grey PNG of 8 or 16 bits or one with a palette, got {got}; "
        "save labels as a grey PNG of 8 or 16 bits"
    )


def test_an_image_of_another_format_is_refused(small_store, tmp_path):
    write_pngs(small_store, tmp_path)
    advice = "save labels as a grey PNG of 8 or 16 bits"
    Image.new("F", (25, 38)).save(tmp_path / PHOTO, format="TIFF")
    assert refusal(tmp_path, small_store) == f"{tmp_path}/{PHOTO}: must be a PNG, got TIFF of mode F; {advice}"
    Image.new("L", (25, 38)).save(tmp_path / PHOTO, format="JPEG")
    assert refusal(tmp_path, small_store) == f"{tmp_path}/{PHOTO}: must be a PNG, got JPEG of mode L; {advice}"
    (tmp_path / PHOTO).write_bytes(b"")
    assert refusal(tmp_path, small_store) == f"{tmp_path}/{PHOTO}: must be a PNG, got an empty file; {advice}"
    (tmp_path / PHOTO).unlink()
    (tmp_path / PHOTO).symlink_to("nowhere.png")
    assert refusal(tmp_path, small_store) == (
        f"{tmp_path}/{PHOTO}: must be a readable PNG, got No such file or directory; check it"
    )


def test_links_that_lead_away_or_in_circles_are_refused(small_store, tmp_path):
    out = write_pngs(small_store, tmp_path / "out")
    (out / PHOTO).rename(tmp_path / PHOTO)
    (out / PHOTO).symlink_to(tmp_path / PHOTO)
    assert refusal(out, small_store) == (
        f"{out}/{PHOTO}: must be inside {out}, got a link to {tmp_path}/{PHOTO}; copy the files there"
    )
    (out / PHOTO).unlink()
    (out / PHOTO).symlink_to(PHOTO)
    assert refusal(out, small_store) == (f"{out}/{PHOTO}: must lead to a file, got a loop of links; fix them")
    (out / PHOTO).unlink()
    (out / "circle").symlink_to(".")
    assert refusal(out, small_store) == (f"{out}/circle: must be a folder, got a link to one; copy the files there")


def test_a_link_inside_of_the_folder_is_followed(small_store, tmp_path):
    out = write_pngs(small_store, tmp_path / "out")
    (out / PHOTO).rename(out / "same.map")
    (out / PHOTO).symlink_to("same.map")
    check(open_predictions(out, small_store, VAL), small_store)


@pytest.mark.parametrize(
    ("scores", "got"),
    [
        (np.zeros((38, 25, 7)), "[38, 25, 7], the classes last"),
        (np.zeros((8, 38, 25)), "[8, 38, 25]"),
        (np.zeros((38, 25)), "[38, 25]"),
        (np.zeros((7, 0, 25)), "[7, 0, 25]"),
    ],
)
def test_scores_of_another_shape_are_refused(small_store, tmp_path, scores, got):
    np.save(tmp_path / "photo_08.npy", scores)
    assert refusal(tmp_path, small_store, VAL[:1]) == (
        f"{tmp_path}/photo_08.npy: must be [6,h,w], a plane for each of the pairs, or [7,h,w] with the background "
        f"last, got {got}; save this shape"
    )


@pytest.mark.parametrize("dtype", ["int64", "longdouble", "complex64", "object"])
def test_scores_of_other_types_are_refused(small_store, tmp_path, dtype):
    np.save(tmp_path / "photo_08.npy", np.zeros((7, 38, 25), dtype), allow_pickle=True)
    assert refusal(tmp_path, small_store, VAL[:1]) == (
        f"{tmp_path}/photo_08.npy: scores must be float16, float32 or float64, got {np.dtype(dtype)}; "
        "save one of these types"
    )


def test_scores_are_refused_in_another_order_or_turned(small_store, tmp_path):
    path = tmp_path / "photo_08.npy"
    np.save(path, np.zeros((25, 38, 7)).T)
    assert refusal(tmp_path, small_store, VAL[:1]) == (
        f"{path}: must be in C order, of at most 100 megapixels, got Fortran's; save numpy.ascontiguousarray of it"
    )
    np.save(path, np.zeros((7, 25, 38)))
    assert refusal(tmp_path, small_store, VAL[:1]) == (
        f"{path}: must be 25x38 pixels as {PHOTO} is, got 38x25, swapped; predict at the image's own size"
    )


def test_scores_larger_than_any_image_are_refused_by_their_head(small_store, tmp_path):
    path = tmp_path / "photo_08.npy"
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (7, 10**5, 10**4)})
    assert refusal(tmp_path, small_store, VAL[:1]) == (
        f"{path}: must be in C order, of at most 100 megapixels, got 10000x100000; save numpy.ascontiguousarray of it"
    )


class Trap:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("save", [np.save, np.savez])
def test_nothing_that_is_loaded_runs_code(small_store, tmp_path, save):
    sign = tmp_path / "sign"
    trap = np.empty((7, 38, 25), object)
    trap[0, 0, 0] = Trap(sign)
    save(tmp_path / f"photo_08.{'npy' if save is np.save else 'npz'}", trap)
    assert "got object" in refusal(tmp_path, small_store, VAL[:1])
    (tmp_path / "photo_08.npy").write_bytes(pickle.dumps(Trap(sign)))
    (tmp_path / "photo_08.npz").unlink(missing_ok=True)
    assert "must be NPY or NPZ" in refusal(tmp_path, small_store, VAL[:1])
    assert not sign.exists()
    pickle.loads(pickle.dumps(Trap(sign)))
    assert sign.exists()


def test_files_that_are_no_arrays_are_refused(small_store, tmp_path):
    path = tmp_path / "photo_08.npz"
    path.write_bytes(b"nonsense")
    assert refusal(tmp_path, small_store, VAL[:1]) == (
        f"{path}: must be NPY or NPZ, got a file that starts with b'nonsense'; save it again with numpy.save"
    )
    path.write_bytes(b"PK\x03\x04 nonsense")
    assert refusal(tmp_path, small_store, VAL[:1]) == (
        f"{path}: must be a whole NumPy file, got a broken one (File is not a zip file); save it again with numpy.save"
    )
    path.write_bytes(b"\x93NUMPY\x03\x00")
    assert refusal(tmp_path, small_store, VAL[:1]) == (
        f"{path}: must be NPY of version 1.0 or 2.0, got (3, 0); save it again with numpy.save"
    )
    path.write_bytes(b"\x93NUMPY\x01\x00\x05\x00[1,2]")
    assert refusal(tmp_path, small_store, VAL[:1]) == (
        f"{path}: must be a whole NumPy file, got a broken one (Header is not a dictionary: [1, 2]); "
        "save it again with numpy.save"
    )
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme", "nothing")
    assert refusal(tmp_path, small_store, VAL[:1]) == (
        f"{path}: must hold one array, or one called scores, got none; save it again with numpy.savez"
    )
    np.savez(path, a=np.eye(2), b=np.eye(2))
    assert refusal(tmp_path, small_store, VAL[:1]) == (
        f"{path}: must hold one array, or one called scores, got a, b; save it again with numpy.savez"
    )


def test_what_is_no_run_lengths_is_refused(small_store, tmp_path):
    path = tmp_path / "p.json"
    advice = "write a list of COCO results, or a COCO set with the lists images, categories and annotations"
    assert refusal(write_rows(path, {"a": 1, "b": 2}), small_store) == (
        f"{path}: must be a list or a COCO set, got a set of 'a', 'b'; {advice}"
    )
    assert refusal(write_rows(path, 7), small_store) == f"{path}: must be a list or a COCO set, got 7; {advice}"
    path.write_text('[{"image_id"')
    assert refusal(path, small_store) == (
        f"{path}: must be JSON, got a file that starts with b'[{{\"image_id\"' "
        f"(Expecting ':' delimiter: line 1 column 13 (char 12)); {advice}"
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"file_name": None}, "must name an image by image_id or file_name, got None; write it again"),
        ({"file_name": 8}, "must name an image by image_id or file_name, got 8; write it again"),
        (
            {"file_name": "x/photo_08.jpg"},
            f"must name {PHOTO} by '{PHOTO}', as before, got 'x/photo_08.jpg'; name it in one way",
        ),
        ({"category": None}, "category must be a name or a number, got None; write it again"),
        ({"category": 1.0}, "category must be a name or a number, got 1.0; write it again"),
        ({"category": True}, "category must be a name or a number, got True; write it again"),
        ({"score": "0.5"}, "score must be a finite number, got '0.5'; write it again"),
        ({"score": float("nan")}, "score must be a finite number, got nan; write it again"),
        ({"score": 0.5}, "all masks must have a score, or none, got 0.5; write it again"),
        ({"id": 5}, "id must be a unique number or text, got 5; write it again"),
        ({"id": [5]}, "id must be a unique number or text, got [5]; write it again"),
        ({"segmentation": {"size": 7}}, "size must be height and width, got 7; write it again"),
        (
            {"segmentation": {"size": [25, 38], "counts": "0"}},
            f"must be 25x38 pixels as {PHOTO} is, got 38x25, swapped; predict at the image's own size",
        ),
    ],
)
def test_a_row_that_breaks_a_rule_is_named(small_store, tmp_path, change, message):
    content = rows(small_store)
    content[0]["id"] = 5
    content[1] |= change
    path = write_rows(tmp_path / "p.json", content)
    assert refusal(path, small_store) == f"{path}: [1]: {message}"
    write_rows(path, ["mask"])
    assert refusal(path, small_store) == (
        f"{path}: [0]: must be a mask {{image_id, category, segmentation}}, got 'mask'; write it again"
    )


def test_unknown_categories_are_named_and_counted(small_store, tmp_path):
    content = rows(small_store)
    for row, category in zip(content, ["cat's nose", 6, "cat's nose", -1, "boss'"], strict=False):
        row["category"] = category
    path = write_rows(tmp_path / "p.json", content)
    assert refusal(path, small_store) == (
        f'{path}: categories must be pairs of small, by name or by index from 0 to 5, got "cat\'s nose" (2 masks), '
        '6 (1 masks), -1 (1 masks), "boss\'" (1 masks); write names of its pairs'
    )


@pytest.mark.parametrize(
    ("key", "number", "change", "message"),
    [
        ("images", 1, {"id": 1}, "images[1]: id must be unique, got 1; write it again"),
        ("images", 1, {"id": None}, "images[1]: must have an id, got"),
        ("images", 1, {"file_name": PHOTO}, f"images[1]: an image must be listed once, got '{PHOTO}'; write it again"),
        (
            "images",
            0,
            {"width": 38, "height": 25},
            f"images[0]: must be 25x38 pixels as {PHOTO} is, got 38x25, swapped; predict at the image's own size",
        ),
        ("categories", 3, {"id": 1}, "categories[3]: id must be unique, got 1; write it again"),
        (
            "categories",
            3,
            {"name": None},
            "annotations[2]: category must be a name or a number, got None; write it again",
        ),
        ("annotations", 2, {"id": 1}, "annotations[2]: id must be a unique number or text, got 1; write it again"),
        (
            "annotations",
            2,
            {"image_id": 99},
            "annotations[2]: image_id must be the id of an image in the file, got 99; write it again",
        ),
        (
            "annotations",
            2,
            {"category_id": 99},
            "annotations[2]: category_id must be the id of a category in the file, got 99; write it again",
        ),
    ],
)
def test_an_element_of_a_coco_set_that_breaks_a_rule_is_named(small_store, tmp_path, key, number, change, message):
    (path,) = export_coco.export(small_store, tmp_path, ["val"])
    value = json.loads(path.read_text())
    if key == "categories" and "name" in change:
        number = value["annotations"][2]["category_id"] - 1
    value[key][number] |= change
    write_rows(path, value)
    assert refusal(path, small_store).startswith(f"{path}: {message}")


def test_an_image_listed_without_masks_has_a_prediction_of_nothing(small_store, tmp_path):
    (path,) = export_coco.export(small_store, tmp_path, ["val"])
    value = json.loads(path.read_text())
    value["annotations"] = [row for row in value["annotations"] if row["image_id"] != 1]
    write_rows(path, value)
    predictions = open_predictions(path, small_store, VAL)
    assert (predictions.maps(records(small_store)[0]) == -1).all()
    check(open_predictions(path, small_store, VAL[1:]), small_store, VAL[1:])


def test_an_export_with_other_pairs_is_refused(small_store, tmp_path):
    list(export(small_store, tmp_path, ["val"]))
    value = json.loads((tmp_path / "labels.json").read_text())
    value["pairs"][1]["part"] = "nose"
    write_json(tmp_path / "labels.json", value)
    assert refusal(tmp_path, small_store) == (
        f'{tmp_path}/labels.json: its pairs must be those of small, got unknown 1 ("cat\'s nose"), missing 1 '
        '("cat\'s head"); predict with the classes of the dataset'
    )
    value["pairs"][1] = {"index": 1, "object": "cat", "part": "ear"}
    write_json(tmp_path / "labels.json", value)
    assert refusal(tmp_path, small_store) == (
        f'{tmp_path}/labels.json: its pairs must be those of small, got missing 1 ("cat\'s head"), duplicate 1 '
        '("cat\'s ear"); predict with the classes of the dataset'
    )


def test_a_broken_list_of_labels_is_refused(small_store, tmp_path):
    list(export(small_store, tmp_path, ["val"]))
    path = tmp_path / "labels.json"
    value = json.loads(path.read_text())
    rule = "pairs must be a list of classes in the order of their index, from 0"
    advice = "export it again: partseg export --to png"
    value["pairs"][2]["index"] = 3
    write_json(path, value)
    assert refusal(tmp_path, small_store).startswith(
        f"{path}: {rule}, got {{'index': 3, 'object': 'dog', 'part': 'head'"
    )
    write_json(path, {"objects": []})
    assert refusal(tmp_path, small_store) == f"{path}: {rule}, got None; {advice}"
    write_json(path, {"pairs": 5})
    assert refusal(tmp_path, small_store) == f"{path}: {rule}, got 5; {advice}"
    write_json(path, [1])
    assert refusal(tmp_path, small_store) == f"{path}: {rule}, got None; {advice}"


def test_an_export_without_its_maps_is_refused(small_store, tmp_path):
    list(export(small_store, tmp_path, ["val"]))
    (tmp_path / "pairs").rename(tmp_path / "elsewhere")
    assert refusal(tmp_path, small_store) == (
        f"{tmp_path}: must hold the folder pairs, got none; export it again: partseg export --to png"
    )
    (tmp_path / "elsewhere").rename(tmp_path / "pairs")
    (tmp_path / "pairs/val/photo_09.png").unlink()
    assert refusal(tmp_path, small_store).startswith(
        f"{tmp_path}/pairs: each of 4 images must have a prediction, got none of 1 (photo_09.png); "
    )


def test_a_predict_folder_with_other_classes_is_refused(small_store, tmp_path):
    write_predicted(small_store, tmp_path)
    path = tmp_path / "photo_09.json"
    value = json.loads(path.read_text())
    value["classes"][0] |= {"object": None, "part": "ear"}
    value["classes"][1] |= {"object": "cat", "part": None}
    write_json(path, value)
    assert refusal(tmp_path, small_store) == (
        f"{path}: its pairs must be those of small, got unknown 2 ('ear', 'cat'), missing 2 "
        '("cat\'s ear", "cat\'s head"); predict with the classes of the dataset'
    )


def test_a_broken_json_of_a_prediction_is_refused(small_store, tmp_path):
    write_predicted(small_store, tmp_path)
    path, advice = tmp_path / "photo_09.json", "predict it again: partseg predict"
    write_json(path, {"image": None})
    assert refusal(tmp_path, small_store) == f"{path}: image must be the path of an image, got None; {advice}"
    write_json(path, {"image": "photo_09.png", "classes": [{"index": 0, "object": 7}]})
    assert refusal(tmp_path, small_store) == (
        f"{path}: classes must be a list of classes in the order of their index, from 0, "
        f"got {{'index': 0, 'object': 7}}; {advice}"
    )
    path.unlink()
    assert refusal(tmp_path, small_store) == (
        f"{tmp_path}: each of 4 images must have a prediction, got none of 1 (photo_09.png); "
        "name each by the path of its image without suffix, or by its stem"
    )


# What is refused when a map is read


def test_a_value_that_means_nothing_is_refused(small_store, tmp_path):
    write_pngs(small_store, tmp_path)
    values = np.zeros((38, 25), np.uint8)
    values[0, :3], values[1, 0] = 7, 254
    Image.fromarray(values).save(tmp_path / PHOTO)
    assert late_refusal(tmp_path, small_store) == (
        f"{tmp_path}/{PHOTO}: values must be 0 to 5, indices of pairs, or 6 or 255 for void, "
        "got 7 (3 pixels), 254 (1 pixels); write such values"
    )
    Image.fromarray(values.astype(np.uint16) * 257).save(tmp_path / PHOTO)
    assert late_refusal(tmp_path, small_store) == (
        f"{tmp_path}/{PHOTO}: values must be 0 to 5, indices of pairs, or 6 or 255 or 65535 for void, "
        "got 1799 (3 pixels), 65278 (1 pixels); write such values"
    )


def test_an_export_holds_no_other_background_than_its_own(small_store, tmp_path):
    list(export(small_store, tmp_path, ["val"]))
    Image.fromarray(np.full((38, 25), 6, np.uint8)).save(tmp_path / "pairs/val" / PHOTO)
    assert late_refusal(tmp_path, small_store) == (
        f"{tmp_path}/pairs/val/{PHOTO}: values must be 0 to 5, indices of pairs, or 255 for void, "
        "got 6 (950 pixels); write such values"
    )


def test_a_png_that_is_cut_off_is_refused(small_store, tmp_path):
    write_pngs(small_store, tmp_path)
    path = tmp_path / PHOTO
    path.write_bytes(path.read_bytes()[:60])
    message = late_refusal(tmp_path, small_store)
    assert re.fullmatch(
        re.escape(f"{path}: must be a whole PNG, got a broken one (") + r".+\); write it again", message
    )


def test_scores_that_are_not_finite_are_refused(small_store, tmp_path):
    write_stacks(small_store, tmp_path / "out")
    path = tmp_path / "out/photo_08.npy"
    for value in (np.nan, np.inf, -np.inf):
        scores = np.zeros((7, 4, 5), np.float32)
        scores[3, 1, 2] = value
        np.save(path, scores)
        assert late_refusal(tmp_path / "out", small_store) == (
            f"{path}: scores must be finite in float32, got {value} in channel 3; fix the model"
        )
    np.save(path, np.full((7, 4, 5), 1e300))
    assert late_refusal(tmp_path / "out", small_store) == (
        f"{path}: scores must be finite in float32, got inf in channel 0; fix the model"
    )


@pytest.mark.parametrize(("save", "suffix"), [(np.save, "npy"), (np.savez, "npz")])
def test_scores_that_are_cut_off_or_too_long_are_refused(small_store, tmp_path, save, suffix):
    write_stacks(small_store, tmp_path / "out", save, suffix)
    path = tmp_path / f"out/photo_08.{suffix}"
    content = path.read_bytes()
    if suffix == "npz":
        path.write_bytes(content[:3000] + b"?" + content[3001:])
        message = "must be a whole NumPy file, got a broken one (Bad CRC-32 for file 'arr_0.npy')"
    else:
        path.write_bytes(content[:-1])
        message = "must be a whole NumPy file, got a broken one (it ends in the planes 0 to 6 of 7)"
    assert late_refusal(tmp_path / "out", small_store) == f"{path}: {message}; save it again with numpy.save"
    if suffix == "npy":
        path.write_bytes(content + b"?")
        assert late_refusal(tmp_path / "out", small_store) == (
            f"{path}: must end with the last of 7 planes, got more; save it again with numpy.save"
        )


@pytest.mark.parametrize(
    ("segmentation", "why"),
    [
        ({"size": [38, 25], "counts": [900]}, "run lengths are malformed (runs cover 900 pixels of 950)"),
        ({"size": [38, 25], "counts": "é"}, "run lengths are malformed (counts is 'é')"),
        ({"size": [38, 25]}, "run lengths are malformed (counts is None)"),
        (None, "annotation has neither polygons nor run lengths (segmentation is None)"),
    ],
)
def test_broken_run_lengths_are_refused(small_store, tmp_path, segmentation, why):
    content = [*rows(small_store), *boat(small_store)]
    content[0]["segmentation"] = segmentation
    path = write_rows(tmp_path / "p.json", content)
    assert late_refusal(path, small_store) == f"{path}: [0] of {PHOTO}: {why}; write it again"


def test_a_map_that_changed_its_size_since_it_was_opened_is_refused(small_store, tmp_path):
    predictions = open_predictions(write_pngs(small_store, tmp_path), small_store, VAL)
    Image.fromarray(np.zeros((25, 38), np.uint8)).save(tmp_path / PHOTO)
    with pytest.raises(DataError, match=r"must be 25x38 pixels as photo_08\.png is, got 38x25, swapped"):
        predictions.maps(records(small_store)[0])


def test_a_folder_that_may_not_be_read_is_refused(small_store, tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", refuse)
    assert refusal(tmp_path, small_store) == (f"{tmp_path}: must be a readable folder, got Permission denied; check it")
