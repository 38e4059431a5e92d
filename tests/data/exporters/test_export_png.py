"""Label maps of a store: the same as painted in memory, under names of their own."""

import json

import numpy as np
import pytest
from PIL import Image
from random_store import write_random

from partseg_cli.data.exporters.png import export, labels_to_json
from partseg_cli.data.record import Instance, Part, Record, unique_names
from partseg_cli.data.rle import Mask
from partseg_cli.data.store import DatasetInfo, Store, StoreWriter
from partseg_cli.vocabulary import Pair, Vocabulary


def named(*names: str) -> list[Record]:
    return [Record(str(number), name, 3, 2, "", (), ()) for number, name in enumerate(names)]


@pytest.mark.parametrize("seed", range(4))
def test_maps_are_what_the_records_paint(tmp_path, seed):
    store, out = write_random(tmp_path, seed, {"train": 6, "val": 2}), tmp_path / "out"
    paths = list(export(store, out, store.splits))
    assert len(paths) == 2 * 8 + 1
    assert sorted(paths) == sorted(path for path in out.rglob("*") if path.is_file())
    for split in store.splits:
        for record in store.records(split):
            for kind, painted in (("pairs", record.pair_map()), ("objects", record.object_map())):
                picture = Image.open(out / kind / split / f"{record.file_name.rsplit('.', 1)[0]}.png")
                assert picture.mode == "P"
                np.testing.assert_array_equal(np.asarray(picture), np.where(painted == 65535, 255, painted))


def test_the_numbers_are_explained(small_store):
    value = labels_to_json(small_store.info)
    assert value["pairs"][4] == {"index": 4, "object": "fox", "part": "ear", "name": "fox's ear", "seen": False}
    assert value["objects"][0] == {"index": 0, "name": "boat"}
    assert value["nothing"] == {"pairs": 255, "objects": 255}
    assert [row["index"] for row in value["pairs"]] == list(range(6))


def test_many_classes_take_16_bits(tmp_path):
    pairs = tuple(Pair("cat", f"part {number}") for number in range(255))
    info = DatasetInfo("many", "photos", ("cat",), Vocabulary(pairs))
    mask = Mask.encode(np.eye(5, 7, dtype=bool))
    record = Record("a", "a.jpg", 7, 5, "", (Instance(0, 0, mask),), (Part(0, 254, "", 1, mask),))
    with StoreWriter(tmp_path / "store", info, ["train"]) as writer:
        writer.add("train", record)
    pairs_map, objects_map, labels = export(Store.open(tmp_path / "store"), tmp_path, ["train"])
    with Image.open(pairs_map) as picture:
        assert picture.mode.startswith("I;16")
    np.testing.assert_array_equal(np.asarray(Image.open(pairs_map)), np.where(np.eye(5, 7), 254, 65535))
    np.testing.assert_array_equal(np.asarray(Image.open(objects_map)), np.where(np.eye(5, 7), 0, 255))
    assert json.loads(labels.read_text())["nothing"] == {"pairs": 65535, "objects": 255}


def test_names_are_stems_with_their_folders():
    assert unique_names(named("a/x.jpg", "b/x.jpg", "x.tar.png")) == ["a/x", "b/x", "x.tar"]


def test_names_that_would_overwrite_each_other_keep_their_suffix_or_get_a_number():
    assert unique_names(named("x.jpg", "X.png", "y.jpg")) == ["x.jpg", "X.png", "y"]
    assert unique_names(named("x.jpg", "x.jpg", "x.jpg")) == ["x.jpg", "x.jpg-2", "x.jpg-3"]


def test_no_name_is_given_twice_whatever_the_images_are_called():
    rng = np.random.default_rng(0)
    for _ in range(300):
        photos = ["".join(rng.choice(list("aA.-2"), 3)) + ".x" for _ in range(6)]
        names = unique_names(named(*photos))
        assert len({name.casefold() for name in names}) == 6
