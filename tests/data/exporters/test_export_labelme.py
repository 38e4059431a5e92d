"""labelme files of a store, read by labelme's rules."""

import base64
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps
from random_store import records_of, write_random

from partseg_cli.data.exporters.labelme import export
from partseg_cli.data.record import Instance, Record
from partseg_cli.data.rle import Mask
from partseg_cli.data.store import DatasetInfo, Store, StoreWriter
from partseg_cli.vocabulary import Pair, Vocabulary


def pixels(shape: dict, height: int, width: int) -> np.ndarray:
    """Put the crop between both corners, as labelme does (its utils/shape.py)."""
    crop = np.array(Image.open(io.BytesIO(base64.b64decode(shape["mask"])))).astype(bool)
    (left, top), (right, bottom) = shape["points"]
    canvas = np.zeros((height, width), bool)
    canvas[top : bottom + 1, left : right + 1] = crop
    return canvas


def documents(store: Store, out: Path) -> dict[str, dict]:
    return {path.relative_to(out).as_posix(): json.loads(path.read_text()) for path in out.rglob("*.json")}


@pytest.fixture
def store(tmp_path) -> Store:
    return write_random(tmp_path, 1, {"train": 12, "val": 3})


@pytest.fixture
def exported(store, tmp_path) -> dict[str, dict]:
    list(export(store, tmp_path / "out", store.splits))
    return documents(store, tmp_path / "out")


def test_each_image_has_a_file_of_its_name(store, exported):
    wanted = {f"{split}/{r.file_name.rsplit('.', 1)[0]}.json" for split, rs in records_of(store).items() for r in rs}
    assert set(exported) == wanted
    assert len(exported) == 15
    assert exported["train/train/0/same name 0.json"]["imagePath"] == "same name 0.png"


def test_every_pixel_of_every_mask_is_there(store, exported):
    words = [pair.name for pair in store.info.vocabulary.pairs]
    for record in store.records("train"):
        shapes = exported[f"train/{record.file_name.rsplit('.', 1)[0]}.json"]["shapes"]
        wanted = [(store.info.objects[o.category], o.id, "", o.mask) for o in record.objects]
        wanted += [(words[p.pair], p.object, p.raw, p.mask) for p in record.parts]
        wanted += [("__ignore__", None, "", record.ignore)] if record.ignore else []
        wanted = [row for row in wanted if row[3].area]
        assert [(s["label"], s["group_id"], s["description"]) for s in shapes] == [row[:3] for row in wanted]
        for shape, (*_, mask) in zip(shapes, wanted, strict=True):
            size = (record.height, record.width)
            np.testing.assert_array_equal(pixels(shape, *size), mask.decode(*size))
            assert shape["shape_type"] == "mask"


def test_a_file_says_what_labelme_asks_for(store, exported):
    record = store.records("val")[0]
    document = exported["val/val/0/same name 0.json"]
    assert list(document) == [
        "version",
        "flags",
        "shapes",
        "imagePath",
        "imageData",
        "imageHeight",
        "imageWidth",
    ]
    assert (document["version"], document["flags"], document["imageData"]) == ("5.5.0", {}, None)
    assert (document["imageHeight"], document["imageWidth"]) == (record.height, record.width)


def test_objects_that_are_a_whole_class_are_flagged(store, exported):
    for record in store.records("train"):
        shapes = exported[f"train/{record.file_name.rsplit('.', 1)[0]}.json"]["shapes"]
        things = [thing for thing in record.objects if thing.mask.area]
        assert [s["flags"] for s in shapes[: len(things)]] == [
            {"synthetic": True} if t.synthetic else {} for t in things
        ]


def test_the_list_of_labels_has_all_classes(store, exported, tmp_path):
    lines = (tmp_path / "out" / "labels.txt").read_text().splitlines()
    assert lines[:4] == ["__ignore__", "_background_", "lion's mane", "cat"]
    assert lines[-1] == "car_(automobile)'s wheel"
    assert len(lines) == 2 + 6 + 7


def write_one(folder: Path, names: list[str], photo: Image.Image, orientation: int = 1) -> Store:
    """Write a store of records of these images, whose one object is the image's left upper corner as stored."""
    info = DatasetInfo("one", "photos", ("cat",), Vocabulary((Pair("cat", "ear"),)))
    exif = Image.Exif()
    exif[274] = orientation
    with StoreWriter(folder / "store", info, ["train"]) as writer:
        for name in names:
            path = folder / "store" / "photos" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            photo.save(path, exif=exif)
            corner = np.zeros((photo.height, photo.width), bool)
            corner[:4, :7] = np.tri(4, 7, dtype=bool)
            thing = Instance(5, 0, Mask.encode(corner))
            writer.add("train", Record(name, name, *photo.size, "", (thing,), (), ignore=thing.mask))
    return Store.open(folder / "store")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_masks_of_an_image_as_stored_are_turned_as_labelme_shows_it(tmp_path, orientation):
    store = write_one(tmp_path, ["a.jpg"], Image.new("RGB", (30, 20)), orientation)
    path, _ = export(store, tmp_path / "out", ["train"])
    document = json.loads(path.read_text())
    (record,) = store.records("train")
    stored = Image.fromarray(record.objects[0].mask.decode(20, 30).astype(np.uint8))
    exif = stored.getexif()
    exif[274] = orientation
    shown = np.asarray(ImageOps.exif_transpose(stored)).astype(bool)
    assert (document["imageHeight"], document["imageWidth"]) == shown.shape
    assert len(document["shapes"]) == 2
    for shape in document["shapes"]:
        np.testing.assert_array_equal(pixels(shape, *shown.shape), shown)


@pytest.mark.parametrize("content", [None, b"no photo", b"\x89PNG\r\n\x1a\n"])
def test_an_image_that_cannot_be_read_turns_nothing(tmp_path, content):
    store = write_one(tmp_path, ["a.jpg"], Image.new("RGB", (30, 20)), 6)
    photo = tmp_path / "store/photos/a.jpg"
    photo.unlink() if content is None else photo.write_bytes(content)
    path, _ = export(store, tmp_path / "out", ["train"])
    assert json.loads(path.read_text())["imageWidth"] == 30


def test_images_of_the_same_stem_keep_files_of_their_own(tmp_path):
    names = ["a.jpg", "A.png", "b/a.jpg", "c.jpg"]
    store = write_one(tmp_path, names, Image.new("RGB", (30, 20)))
    out = tmp_path / "out"
    paths = [path.relative_to(out).as_posix() for path in export(store, out, ["train"])]
    wanted = ["train/a.jpg.json", "train/A.png.json", "train/b/a.json", "train/c.json", "labels.txt"]
    assert paths == wanted
    assert [json.loads((out / path).read_text())["imagePath"] for path in paths[:-1]] == [
        "a.jpg",
        "A.png",
        "a.jpg",
        "c.jpg",
    ]


def test_the_same_store_gives_the_same_bytes(store, tmp_path):
    first, second = (list(export(store, tmp_path / name, store.splits)) for name in ("a", "b"))
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
