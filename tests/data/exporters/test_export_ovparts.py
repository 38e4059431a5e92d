import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ovparts_tree import (
    ADE,
    OBJECTS,
    PARTS,
    PASCAL,
    VOC,
    ade_tree,
    convert,
    pascal_tree,
    random_box,
    random_tree,
    skipped,
    write_few_shot,
)
from PIL import ExifTags, Image

from partseg_cli.data.converters import pascal_part
from partseg_cli.data.converters.conversion import Conversion, Converted
from partseg_cli.data.converters.ovparts import repack as ovparts
from partseg_cli.data.converters.ovparts.ade20k import convert_ade
from partseg_cli.data.converters.ovparts.pascal import convert_pascal
from partseg_cli.data.exporters.ovparts import export, layout_of
from partseg_cli.data.manifest import Manifest
from partseg_cli.data.record import Instance, Part, Record
from partseg_cli.data.rle import Mask
from partseg_cli.data.store import DatasetInfo, Store, StoreWriter
from partseg_cli.errors import DataError, PartsegError
from partseg_cli.vocabulary import Pair, Vocabulary

KINDS = ["pascal", "ade"]
SEEDS = range(4)
INDEX_FILES = {
    "pascal": [f"{PARTS}/train_obj_label_count.json", f"{PARTS}/val_obj_label_count.json"],
    "ade": ["ade20k_instance_train.json", "ade20k_instance_val.json"],
}


def to_store(folder: Path, manifest: Manifest, conversion: Conversion) -> Store:
    info = DatasetInfo(
        manifest.name,
        conversion.image_root,
        manifest.objects,
        manifest.vocabulary,
        lists=conversion.lists,
        test=manifest.test,
    )
    with StoreWriter(folder, info, conversion.splits) as writer:
        for outcome in conversion.outcomes:
            assert isinstance(outcome, Converted), outcome
            writer.add(outcome.split, outcome.record)
    return Store.open(folder)


def imported(folder: Path, source: Path, kind: str) -> Store:
    manifest = PASCAL if kind == "pascal" else replace(ADE, test="val+train-unseen")
    return to_store(folder, manifest, convert(source, kind))


def exported(store: Store, folder: Path, splits=("train", "val"), layout=None) -> dict[str, Path]:
    """The files by name, each given once."""
    paths = list(export(store, folder, splits, layout))
    files = {path.relative_to(folder).as_posix(): path for path in paths}
    assert len(files) == len(paths)
    assert set(files) == {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    return files


def mode_and_values(path: Path) -> tuple[str, np.ndarray]:
    with Image.open(path) as picture:
        return picture.mode, np.asarray(picture)


def contents(files: dict[str, Path]) -> dict[str, bytes]:
    return {name: path.read_bytes() for name, path in files.items()}


# there and back


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", SEEDS)
def test_import_and_export_give_the_same_label_maps_and_images(tmp_path, kind, seed):
    source = random_tree(tmp_path / "source", kind, seed)
    write_few_shot(source, ["image_3.jpg", "image_0.jpg"])
    files = exported(imported(tmp_path / "store", source, kind), tmp_path / "out")
    originals = {p.relative_to(source).as_posix(): p for p in source.rglob("*") if p.suffix in {".png", ".jpg"}}
    assert set(files) == {*originals, *INDEX_FILES[kind], "classes.json", "train_16shot.json"}
    for name, original in originals.items():
        if name.endswith(".jpg"):
            assert files[name].read_bytes() == original.read_bytes()
        else:
            (mode, values), (before, expected) = mode_and_values(files[name]), mode_and_values(original)
            assert mode == before
            np.testing.assert_array_equal(values, expected)


@pytest.mark.parametrize("seed", SEEDS)
def test_import_and_export_give_the_same_instances(tmp_path, seed):
    source = random_tree(tmp_path / "source", "ade", seed)
    files = exported(imported(tmp_path / "store", source, "ade"), tmp_path / "out")
    for name in INDEX_FILES["ade"]:
        before, after = (json.loads(path.read_text()) for path in (source / name, files[name]))
        assert after["categories"] == before["categories"]
        for key in ("category_id", "segmentation", "iscrowd"):
            assert [row[key] for row in after["annotations"]] == [row[key] for row in before["annotations"]]
        assert [image["file_name"] for image in after["images"]] == [image["file_name"] for image in before["images"]]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", SEEDS)
def test_export_import_export_gives_the_same_bytes(tmp_path, kind, seed):
    source = random_tree(tmp_path / "source", kind, seed)
    write_few_shot(source, ["image_0.jpg"])
    first = exported(imported(tmp_path / "store", source, kind), tmp_path / "first")
    again = exported(imported(tmp_path / "again", tmp_path / "first", kind), tmp_path / "second")
    assert contents(again) == contents(first)


def random_store(folder: Path, seed: int) -> tuple[Store, Manifest]:
    """Photos of objects that overlap each other, with parts that overlap too, in no good order of names."""
    rng = np.random.default_rng(seed)
    parts = {"dog": ["head", "tail"], "ant": ["head"], "cow's calf": ["ear", "head"]}
    manifest = Manifest("any", "", "", "", "", ("dog", "boat", "ant", "cow's calf"), (), parts, {}, {}, {})
    info = DatasetInfo(manifest.name, "photos", manifest.objects, manifest.vocabulary)
    (folder / "photos/deep").mkdir(parents=True)
    with StoreWriter(folder, info, ("train", "val")) as writer:
        for number in range(8):
            size = [int(side) for side in rng.integers(3, 19, 2)]
            name = f"deep/{9 - number}.png"
            Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(folder / "photos" / name)
            writer.add(("train", "val")[number % 2], random_record(rng, name, size, manifest))
    return Store.open(folder), manifest


def random_record(rng: np.random.Generator, name: str, size: list[int], manifest: Manifest) -> Record:
    objects, parts = [], []
    for number, category in enumerate(rng.integers(0, 4, 4).tolist()):
        objects.append(Instance(number, category, Mask.encode(random_box(rng, *size)), synthetic=number == 2))
        owned = [i for i, pair in enumerate(manifest.vocabulary.pairs) if pair.object == manifest.objects[category]]
        parts += [Part(number, pair, "", 1, Mask.encode(random_box(rng, *size))) for pair in owned]
    parts.append(Part(0, 0, "", 2, Mask.encode(random_box(rng, *size))))
    return Record(name, name, size[1], size[0], "", tuple(objects), tuple(parts))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("layout", "back"), [(ovparts.PASCAL, convert_pascal), (ovparts.ADE, convert_ade)])
def test_any_store_is_exported_imported_and_exported_to_the_same_bytes(tmp_path, layout, back, seed):
    store, manifest = random_store(tmp_path / "store", seed)
    first = exported(store, tmp_path / "first", layout=layout)
    again = to_store(tmp_path / "again", manifest, back(tmp_path / "first", manifest))
    assert contents(exported(again, tmp_path / "second", layout=layout)) == contents(first)
    flat = {Path(record.file_name).stem: record for split in store.splits for record in store.records(split)}
    for split in again.splits:
        for record in again.records(split):
            np.testing.assert_array_equal(record.pair_map(), flat[record.image_id].pair_map())
            if layout is ovparts.PASCAL:
                np.testing.assert_array_equal(record.object_map(), flat[record.image_id].object_map())


def test_export_again_into_the_same_folder_gives_the_same_bytes(tmp_path):
    store = imported(tmp_path / "store", pascal_tree(tmp_path / "source"), "pascal")
    first = contents(exported(store, tmp_path / "out"))
    assert contents(exported(store, tmp_path / "out")) == first


# what is written


def test_the_layout_follows_the_published_test(small_store):
    assert layout_of(small_store.info) is ovparts.PASCAL
    assert layout_of(replace(small_store.info, test="val+train-unseen")) is ovparts.ADE


def test_objects_of_each_label_map_are_counted_as_the_published_code_reads_them(tmp_path, small_store):
    files = exported(small_store, tmp_path / "out")
    counted = json.loads(files[f"{PARTS}/val_obj_label_count.json"].read_text())
    assert counted == {"photo_08.png": [1, 2], "photo_09.png": [3], "photo_10.png": [2], "photo_11.png": [0, 3]}
    assert list(counted) == sorted(counted)
    for name, objects in counted.items():
        _, values = mode_and_values(files[f"{OBJECTS}/val/{name}"])
        assert [int(value) for value in np.unique(values) if value != 255] == objects


def test_ids_of_objects_are_indices_in_the_sorted_list_and_of_pairs_in_the_vocabulary(tmp_path):
    store, _ = random_store(tmp_path / "store", 0)
    classes = json.loads(exported(store, tmp_path / "out")["classes.json"].read_text())
    assert (classes["name"], classes["ignore"]) == ("any", 255)
    assert classes["objects"] == [
        {"id": 0, "name": "ant"},
        {"id": 1, "name": "boat"},
        {"id": 2, "name": "cow's calf"},
        {"id": 3, "name": "dog"},
    ]
    assert [pair["name"] for pair in classes["pairs"]][::2] == ["dog's head", "ant's head", "cow's calf's head"]
    assert classes["pairs"][3] == {
        "id": 3,
        "name": "cow's calf's ear",
        "object": "cow's calf",
        "part": "ear",
        "seen": True,
    }


def test_the_published_ids_of_pascal_are_those_of_voc(tmp_path):
    store = imported(tmp_path / "store", pascal_tree(tmp_path / "source"), "pascal")
    classes = json.loads(exported(store, tmp_path / "out")["classes.json"].read_text())
    assert [row["name"] for row in classes["objects"]] == VOC
    assert [row["name"] for row in classes["pairs"]] == [pair.name for pair in PASCAL.vocabulary.pairs]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("pascal", "datasets/PascalPart116/images/train/2008_000652.jpg"),
        ("ade", "datasets/ADE20KPart234/images/training/ADE_train_00000001.jpg"),
    ],
)
def test_the_few_shot_list_names_images_where_the_published_code_looks(tmp_path, kind, expected):
    source = pascal_tree(tmp_path / "source") if kind == "pascal" else ade_tree(tmp_path / "source")
    write_few_shot(source, [Path(expected).name])
    store = imported(tmp_path / "store", source, kind)
    files = exported(store, tmp_path / "out")
    assert json.loads(files["train_16shot.json"].read_text()) == [{"file_name": expected}]
    assert "train_16shot.json" not in exported(store, tmp_path / "val", ["val"])


def test_only_the_splits_asked_for_are_written(tmp_path, small_store):
    files = exported(small_store, tmp_path / "out", ["val"])
    assert {name.split("/")[1] for name in files if "/" in name} == {"val", "val_obj_label_count.json"}
    files = exported(small_store, tmp_path / "ade", ["val"], ovparts.ADE)
    assert {name for name in files if "/" not in name} == {"classes.json", "ade20k_instance_val.json"}
    assert {name.split("/")[1] for name in files if "/" in name} == {"validation"}


def wide_store(folder: Path, pairs: int) -> Store:
    vocabulary = Vocabulary(tuple(Pair("cat", f"part {number}") for number in range(pairs)))
    (folder / "photos").mkdir(parents=True)
    Image.new("RGB", (5, 3)).save(folder / "photos/a.jpg")
    mask = Mask.encode(np.ones((3, 5), bool))
    record = Record("a", "a.jpg", 5, 3, "", (Instance(0, 0, mask),), (Part(0, pairs - 1, "", 1, mask),))
    with StoreWriter(folder, DatasetInfo("wide", "photos", ("cat",), vocabulary), ("test",)) as writer:
        writer.add("test", record)
    return Store.open(folder)


@pytest.mark.parametrize(("pairs", "mode", "ignore"), [(255, "L", 255), (256, "I;16", 65535)])
def test_label_maps_have_16_bits_where_8_do_not_suffice(tmp_path, pairs, mode, ignore):
    files = exported(wide_store(tmp_path / "store", pairs), tmp_path / "out", ["test"])
    for kind, value in ((PARTS, pairs - 1), (OBJECTS, 0)):
        got, values = mode_and_values(files[f"{kind}/test/a.png"])
        assert got == mode
        assert set(values.ravel().tolist()) == {value}
    assert json.loads(files["classes.json"].read_text())["ignore"] == ignore


def test_images_of_one_name_in_several_folders_get_numbers(tmp_path):
    store = wide_store(tmp_path / "store", 2)
    (record,) = store.records("test")
    names = ["a.jpg", "x/a.jpg", "a_2.jpg", "y/a.jpg"]
    with StoreWriter(store.folder, replace(store.info, lists=(("few", tuple(names)),)), ("train", "val")) as writer:
        for name in names:
            (store.folder / "photos" / name).parent.mkdir(exist_ok=True)
            Image.new("RGB", (5, 3), "grey").save(store.folder / "photos" / name)
            writer.add("train", replace(record, image_id=name, file_name=name))
        writer.add("val", replace(record, image_id="z"))
    files = exported(Store.open(store.folder), tmp_path / "out")
    photos = sorted(name for name in files if name.endswith(".jpg"))
    assert photos == [
        "images/train/a.jpg",
        "images/train/a_2.jpg",
        "images/train/a_2_2.jpg",
        "images/train/a_3.jpg",
        "images/val/a.jpg",
    ]
    listed = [Path(row["file_name"]).name for row in json.loads(files["few.json"].read_text())]
    assert listed == ["a.jpg", "a_2.jpg", "a_2_2.jpg", "a_3.jpg"]


def test_instances_without_a_pixel_are_not_written(tmp_path):
    source = ade_tree(tmp_path / "source", lambda tree: tree.files["val"]["annotations"].clear())
    files = exported(imported(tmp_path / "store", source, "ade"), tmp_path / "out")
    assert json.loads(files["ade20k_instance_val.json"].read_text())["annotations"] == []
    (row,) = json.loads(files["ade20k_instance_train.json"].read_text())["annotations"]
    assert (row["id"], row["image_id"], row["area"], row["bbox"]) == (1, 1, 20, [0, 0, 5, 4])


# photos


def one_photo(folder: Path, photo: Image.Image, name: str, *, upright: bool = False, **options) -> Store:
    """A store of one image; the masks have its size as `upright` says."""
    store = wide_store(folder, 2)
    (record,) = store.records("test")
    photo.save(folder / "photos" / name, **options)
    width, height = (photo.height, photo.width) if upright else photo.size
    mask = Mask.encode(np.ones((height, width), bool))
    record = replace(record, file_name=name, width=width, height=height, upright=upright)
    record = replace(record, objects=(Instance(0, 0, mask),), parts=(Part(0, 0, "", 1, mask),))
    with StoreWriter(folder, store.info, ("test",)) as writer:
        writer.add("test", record)
    return Store.open(folder)


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return exif


def noise() -> Image.Image:
    return Image.effect_noise((24, 16), 40).resize((48, 32)).convert("RGB")


def test_a_jpeg_is_the_same_file(tmp_path):
    store = one_photo(tmp_path / "store", noise(), "photo.jpg", quality=60)
    path = exported(store, tmp_path / "out", ["test"])["images/test/photo.jpg"]
    assert path.samefile(store.folder / "photos/photo.jpg")


def test_a_jpeg_is_copied_where_there_are_no_hard_links(tmp_path, monkeypatch):
    def refuse(source, path):
        raise OSError(18, "Invalid cross-device link")

    store = one_photo(tmp_path / "store", noise(), "photo.jpg", quality=60)
    monkeypatch.setattr("os.link", refuse)
    path = exported(store, tmp_path / "out", ["test"])["images/test/photo.jpg"]
    assert not path.samefile(store.folder / "photos/photo.jpg")
    assert path.read_bytes() == (store.folder / "photos/photo.jpg").read_bytes()


def test_a_jpeg_behind_a_link_is_the_file_itself(tmp_path):
    store = one_photo(tmp_path / "store", noise(), "photo.jpg")
    (store.folder / "photos/photo.jpg").rename(tmp_path / "original.jpg")
    (store.folder / "photos/photo.jpg").symlink_to(tmp_path / "original.jpg")
    path = exported(store, tmp_path / "out", ["test"])["images/test/photo.jpg"]
    assert not path.is_symlink()
    assert path.samefile(tmp_path / "original.jpg")


@pytest.mark.parametrize(
    ("name", "upright", "options"),
    [
        ("photo.png", False, {}),
        ("photo.jpg", True, {"exif": turned(6), "quality": 95}),
        ("photo.jpg", False, {"exif": turned(6), "quality": 95}),
        ("photo.jpg", False, {"exif": turned(3), "quality": 95}),
        ("photo.png", False, {"exif": turned(6)}),
    ],
)
def test_an_image_that_readers_would_rotate_or_not_read_is_saved_again(tmp_path, name, upright, options):
    store = one_photo(tmp_path / "store", noise(), name, upright=upright, **options)
    before = (store.folder / "photos" / name).read_bytes()
    files = exported(store, tmp_path / "out", ["test"])
    with Image.open(files["images/test/photo.jpg"]) as photo:
        assert photo.format == "JPEG"
        assert ExifTags.Base.Orientation not in photo.getexif()
        expected = store.read_image(store.records("test")[0])
        assert photo.size == expected.size
        assert mode_and_values(files[f"{PARTS}/test/photo.png"])[1].shape == (photo.height, photo.width)
        assert np.abs(np.asarray(photo).astype(int) - np.asarray(expected)).mean() < 4
    assert (store.folder / "photos" / name).read_bytes() == before


def test_an_exif_block_that_turns_nothing_stays(tmp_path):
    store = one_photo(tmp_path / "store", noise(), "photo.jpg", exif=turned(1))
    path = exported(store, tmp_path / "out", ["test"])["images/test/photo.jpg"]
    assert path.samefile(store.folder / "photos/photo.jpg")


@pytest.mark.parametrize("block", [b"MM", b"II*\0\x08", b"Exif\0\0MM\0*\0\0\0\x08\0\1"])
def test_a_broken_exif_block_stays_too(tmp_path, block):
    store = one_photo(tmp_path / "store", noise(), "photo.jpg", exif=block)
    path = exported(store, tmp_path / "out", ["test"])["images/test/photo.jpg"]
    assert path.samefile(store.folder / "photos/photo.jpg")


def test_an_image_that_is_gone_ends_the_export(tmp_path):
    store = one_photo(tmp_path / "store", noise(), "photo.jpg")
    photo = store.folder / store.info.image_root / "photo.jpg"
    photo.unlink()
    with pytest.raises(DataError) as caught:
        list(export(store, tmp_path / "out", ["test"]))
    assert str(caught.value) == f"{photo}: must be a readable image, got No such file or directory; check the path"


def test_an_image_of_another_size_than_prepared_ends_the_export(tmp_path):
    store = one_photo(tmp_path / "store", noise(), "photo.jpg")
    Image.new("RGB", (7, 5)).save(store.folder / "photos/photo.jpg")
    with pytest.raises(DataError, match=r"^photo.jpg: must be 48x32 as prepared, got 7x5; prepare again$"):
        list(export(store, tmp_path / "out", ["test"]))


def test_a_full_disk_ends_the_export_without_half_a_file(tmp_path, small_store, file_size_limit):
    with file_size_limit(200), pytest.raises(PartsegError, match="cannot be written"):
        list(export(small_store, tmp_path / "out", ["val"]))
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == []


def test_an_image_without_parts_is_exported_and_left_out_again(tmp_path, small_store):
    files = exported(small_store, tmp_path / "out")
    assert f"{PARTS}/train/photo_05.png" in files
    reasons = [(one.item, one.reason) for one in skipped(tmp_path / "out")]
    assert reasons == [(f"{PARTS}/train/photo_05.png", "no part of the list")]


# real photos


def test_the_real_images_of_pascal_come_back_from_their_repack_with_the_same_maps(tmp_path, samples):
    original = pascal_part.convert(samples / "pascal_part", PASCAL)
    records = [outcome.record for outcome in original.outcomes if isinstance(outcome, Converted)]
    info = DatasetInfo(PASCAL.name, original.image_root, PASCAL.objects, PASCAL.vocabulary)
    with StoreWriter(tmp_path / "store", info, ("train", "val")) as writer:
        for number, record in enumerate(records):
            writer.add("val" if number % 3 == 0 else "train", record)
    exported(Store.open(tmp_path / "store"), tmp_path / "out")
    again = {o.record.image_id: o.record for o in convert(tmp_path / "out", "pascal").outcomes}
    assert set(again) == {record.image_id for record in records}
    assert len(records) == 16
    for record in records:
        np.testing.assert_array_equal(again[record.image_id].pair_map(), record.pair_map())
        np.testing.assert_array_equal(again[record.image_id].object_map(), record.object_map())
