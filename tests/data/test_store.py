"""The store on disk: what goes in comes out, whole or not at all."""

import json
import multiprocessing
import pickle
import random
import re
from pathlib import Path

import numpy as np
import pytest

from partseg_cli.data.record import Instance, Part, Record, RecordKey
from partseg_cli.data.rle import NONE, Mask
from partseg_cli.data.store import DatasetInfo, Records, Store, StoreWriter, image_root, iterate
from partseg_cli.errors import DataError, PartsegError
from partseg_cli.vocabulary import Pair, Vocabulary

INFO = DatasetInfo("pets", "images", ("boat", "cat"), Vocabulary((Pair("cat", "ear"), Pair("cat", "head", False))))


def refused(message: str, kind: type[PartsegError] = DataError):
    return pytest.raises(kind, match=f"^{re.escape(message)}$")


def record(number: int) -> Record:
    """An image of its own size with an overlap, a level, and letters beyond ASCII."""
    height, width = 5 + number % 3, 9 + number % 4
    whole, part = np.zeros((2, height, width), bool)
    whole[1:, 2:] = True
    part[1:4, 2 : 4 + number % 5] = True
    objects = (Instance(1, 1, Mask.encode(whole), synthetic=number % 2 == 0), Instance(4, 0, Mask.encode(~whole)))
    parts = (Part(1, 1, "Köpf'chen", 1, Mask.encode(whole)), Part(1, 0, "lear", 2, Mask.encode(part)))
    return Record(f"bild_{number}", f"süd/bild {number}.jpg", width, height, f"raw/{number}.mat", objects, parts)


def write(folder: Path, train: range = range(5), val: range = range(5, 7), info: DatasetInfo = INFO) -> Store:
    with StoreWriter(folder, info, ["train", "val"]) as writer:
        for split, numbers in (("train", train), ("val", val)):
            for number in numbers:
                writer.add(split, record(number))
    return Store.open(folder)


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*.*"))}


# ---- round trip


def test_records_come_back_as_they_were_written(tmp_path):
    store = write(tmp_path)
    assert store.splits == ("train", "val")
    assert list(store.records("train")) == [record(number) for number in range(5)]
    assert list(store.records("val")) == [record(5), record(6)]


def test_what_the_store_says_of_itself_comes_back(tmp_path):
    store = write(tmp_path)
    assert store.info == DatasetInfo(**{**vars(INFO), "images": (("train", 5), ("val", 2))})
    document = json.loads((tmp_path / "dataset.json").read_text(encoding="utf-8"))
    assert (document["format"], document["images"]) == ("partseg-store-1", {"train": 5, "val": 2})
    assert document["pairs"][1] == {"object": "cat", "part": "head", "seen": False}


def test_any_record_is_read_by_itself(tmp_path):
    records = write(tmp_path, train=range(30)).records("train")
    order = random.Random(2).sample(range(30), 30)
    assert [records[i] for i in order] == [record(i) for i in order]
    assert records[-1] == records[29] == record(29)
    assert records[-30] == record(0)
    assert records[np.int64(3)] == record(3)


def test_slices_are_lists_of_records(tmp_path):
    records = write(tmp_path).records("train")
    plain = [record(number) for number in range(5)]
    for cut in (slice(1, 3), slice(None), slice(None, None, -2), slice(-2, 99), slice(3, 1)):
        assert records[cut] == plain[cut]


@pytest.mark.parametrize("index", [5, -6, 100])
def test_an_index_beyond_the_end_is_an_index_error(tmp_path, index):
    with pytest.raises(IndexError, match=f"^record {index} of 5$"):
        write(tmp_path).records("train")[index]


def test_a_split_may_be_empty(tmp_path):
    store = write(tmp_path, val=range(0))
    assert (len(store.records("val")), list(store.records("val"))) == (0, [])
    assert [split for split, _ in iterate(store)] == ["train"] * 5


def test_a_record_is_found_by_its_key(tmp_path):
    store = write(tmp_path)
    keys = [RecordKey("train", index) for index in range(5)] + [RecordKey("val", 0), RecordKey("val", 1)]
    assert store.record_keys() == keys
    assert [store[key] for key in keys] == [record(number) for number in range(7)]
    assert store == Store.open(tmp_path)  # whatever it has opened
    with pytest.raises(IndexError, match=r"^record 2 of 2$"):
        store[RecordKey("val", 2)]
    with pytest.raises(DataError, match=r"split must be one of train, val, got 'test'$"):
        store[RecordKey("test", 0)]


def test_keys_of_images_follow_the_order_of_the_store(small_store):
    keys = small_store.record_keys(["photo_09", "photo_00", "photo_07", "photo_09", "nobody"])
    assert keys == [RecordKey("train", 0), RecordKey("train", 7), RecordKey("val", 1)]
    assert [small_store[key].image_id for key in keys] == ["photo_00", "photo_07", "photo_09"]


def test_iterate_walks_through_the_splits_named(tmp_path):
    store = write(tmp_path)
    assert [(split, r.image_id) for split, r in iterate(store, ["val"])] == [("val", "bild_5"), ("val", "bild_6")]
    assert [r.image_id for _, r in iterate(store)] == [f"bild_{number}" for number in range(7)]


def test_flat_maps_hold_pairs_and_objects(tmp_path):
    first = write(tmp_path).records("train")[0]
    pairs, objects = first.pair_map(), first.object_map()
    assert pairs.shape == objects.shape == (first.height, first.width) == (5, 9)
    assert pairs[1].tolist() == [NONE, NONE, 0, 0, 1, 1, 1, 1, 1]  # level 2 lies on level 1
    assert objects[1].tolist() == [0, 0, 1, 1, 1, 1, 1, 1, 1]


def test_images_are_below_the_image_root(tmp_path):
    store = write(tmp_path / "a")
    assert store.image_path(record(3)) == tmp_path / "a" / "images" / "süd" / "bild 3.jpg"
    elsewhere = DatasetInfo(**{**vars(INFO), "image_root": image_root(tmp_path / "b" / ".." / "photos")})
    assert elsewhere.image_root == (tmp_path / "photos").as_posix()
    assert write(tmp_path / "c", info=elsewhere).image_path(record(3)) == tmp_path / "photos" / "süd" / "bild 3.jpg"


def test_the_same_records_give_the_same_bytes_wherever_they_are_written(tmp_path):
    write(tmp_path / "one")
    write(tmp_path / "two")
    write(tmp_path / "two")
    assert list(files(tmp_path / "one")) == ["dataset.json", "train.idx.npy", "train.jsonl", "val.idx.npy", "val.jsonl"]
    assert files(tmp_path / "one") == files(tmp_path / "two")
    assert not [name for name, content in files(tmp_path / "one").items() if str(tmp_path).encode() in content]


# ---- other processes


def test_records_travel_to_other_processes_small_and_unopened(tmp_path):
    records = write(tmp_path, train=range(300)).records("train")
    assert records[7] == record(7)
    text = pickle.dumps(records)
    assert len(text) < 0.1 * (tmp_path / "train.jsonl").stat().st_size
    assert [r.image_id for r in pickle.loads(text)] == [r.image_id for r in records]


def name_of(job: tuple[Records, int]) -> str:
    return job[0][job[1]].image_id


@pytest.mark.process
def test_forked_workers_read_at_the_same_time(tmp_path):
    records = write(tmp_path, train=range(40)).records("train")
    assert records[0] == record(0)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(name_of, [(records, i) for i in range(40)]) == [f"bild_{i}" for i in range(40)]


# ---- whole or not at all


def fail_half_way(folder: Path, error: BaseException) -> None:
    with StoreWriter(folder, INFO, ["train", "val"]) as writer:
        writer.add("train", record(9))
        raise error


def test_nothing_shows_before_the_block_ends(tmp_path):
    with StoreWriter(tmp_path, INFO, ["train"]) as writer:
        writer.add("train", record(0))
        assert [name for name in files(tmp_path) if not name.endswith(".part")] == []


@pytest.mark.parametrize("error", [ValueError("broken"), KeyboardInterrupt(), DataError("bad source")])
def test_an_exception_leaves_no_trace_of_a_new_store(tmp_path, error):
    with pytest.raises(type(error)) as caught:
        fail_half_way(tmp_path, error)
    assert caught.value is error
    assert files(tmp_path) == {}


@pytest.mark.parametrize("error", [ValueError("broken"), KeyboardInterrupt()])
def test_an_exception_leaves_the_old_store_as_it_was(tmp_path, error):
    before = list(iterate(write(tmp_path)))
    content = files(tmp_path)
    with pytest.raises(type(error)):
        fail_half_way(tmp_path, error)
    assert files(tmp_path) == content
    assert list(iterate(Store.open(tmp_path))) == before


def test_a_disk_that_fills_while_the_last_lines_are_written_leaves_the_old_store(tmp_path, file_size_limit):
    before = list(iterate(write(tmp_path)))
    content = files(tmp_path)
    message = f"{tmp_path / 'train.jsonl'}: cannot be written (File too large); "
    with pytest.raises(PartsegError, match=f"^{re.escape(message)}"), file_size_limit(2000):
        write(tmp_path, train=range(6))  # more than the limit, less than a buffer
    assert sorted(files(tmp_path)) == sorted(content)
    assert list(iterate(Store.open(tmp_path))) == before


def test_a_new_store_replaces_the_old_one_wholly(tmp_path):
    write(tmp_path, train=range(6))
    store = write(tmp_path, train=range(2, 4), val=range(0))
    assert [r.image_id for _, r in iterate(store)] == ["bild_2", "bild_3"]
    assert sorted(files(tmp_path)) == ["dataset.json", "train.idx.npy", "train.jsonl", "val.idx.npy", "val.jsonl"]


def test_a_folder_that_holds_another_data_set_is_refused_and_left_alone(tmp_path):
    write(tmp_path)
    content = files(tmp_path)
    other = DatasetInfo(**{**vars(INFO), "name": "cars"})
    with refused(f"{tmp_path}: must be empty or hold cars, got a store of pets; choose another --out"):
        write(tmp_path, info=other)
    assert files(tmp_path) == content


def test_a_store_of_an_older_format_can_be_prepared_again(tmp_path):
    write(tmp_path)
    path = tmp_path / "dataset.json"
    path.write_text(path.read_text(encoding="utf-8").replace("partseg-store-1", "partseg-store-0"), encoding="utf-8")
    assert len(write(tmp_path).records("train")) == 5


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        PartsegError, match=r"file/pets/train\.jsonl: cannot be written \(Not a directory\); choose ano"
    ):
        write(tmp_path / "file" / "pets")


# ---- broken stores


def test_a_folder_without_a_store_is_refused(tmp_path):
    with refused(f"{tmp_path}: no prepared dataset (dataset.json: not found); run partseg prepare first"):
        Store.open(tmp_path)


@pytest.mark.parametrize("content", [b"{", b"\xff"])
def test_an_unreadable_description_is_refused(tmp_path, content):
    (tmp_path / "dataset.json").write_bytes(content)
    message = rf"^{re.escape(str(tmp_path))}: no prepared dataset \(dataset.json: .+\); run partseg prepare first$"
    with pytest.raises(DataError, match=message):
        Store.open(tmp_path)


@pytest.mark.parametrize(
    ("text", "got"), [('{"format": "partseg-store-9"}', "'partseg-store-9'"), ("{}", "None"), ("[1]", "[1]")]
)
def test_an_unknown_format_is_refused(tmp_path, text, got):
    path = tmp_path / "dataset.json"
    path.write_text(text)
    with refused(f"{path}: format must be 'partseg-store-1', got {got}; prepare it again with this version"):
        Store.open(tmp_path)


@pytest.mark.parametrize("key", ["name", "image_root", "objects", "pairs", "licence", "homepage", "images"])
def test_a_description_without_a_key_is_refused(tmp_path, key):
    write(tmp_path)
    path = tmp_path / "dataset.json"
    value = json.loads(path.read_text(encoding="utf-8"))
    del value[key]
    path.write_text(json.dumps(value))
    with refused(f"{path}: is incomplete or broken (KeyError({key!r})); prepare it again"):
        Store.open(tmp_path)


@pytest.mark.parametrize("pairs", [[], [{"object": "cat", "part": "ear"}] * 2])
def test_a_description_without_a_valid_vocabulary_is_a_broken_store_not_a_usage_error(tmp_path, pairs):
    write(tmp_path)
    path = tmp_path / "dataset.json"
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), "pairs": pairs}))
    with pytest.raises(DataError, match=re.escape(str(path))):
        Store.open(tmp_path)


def test_a_missing_split_is_refused_with_those_that_are_there(tmp_path):
    with refused(f"{tmp_path}: split must be one of train, val, got 'test'"):
        write(tmp_path).records("test")


@pytest.mark.parametrize("name", ["val.jsonl", "val.idx.npy"])
def test_a_missing_file_of_a_split_is_refused(tmp_path, name):
    store = write(tmp_path)
    (tmp_path / name).unlink()
    with refused(f"{tmp_path / 'val.jsonl'}: cannot be read (not found); prepare it again"):
        store.records("val")
    assert len(store.records("train")) == 5


def test_an_index_that_does_not_fit_is_refused(tmp_path):
    store = write(tmp_path)
    path = tmp_path / "train.jsonl"
    size = path.stat().st_size
    with path.open("ab") as file:
        file.write(b"{}\n")
    with refused(f"{path}: its index must end at byte {size + 3}, got {size}; prepare again"):
        store.records("train")


@pytest.mark.parametrize("content", [b"", b"no numpy", b"\x93NUMPY\x01"])
def test_an_index_that_is_no_array_is_refused(tmp_path, content):
    store = write(tmp_path)
    (tmp_path / "train.idx.npy").write_bytes(content)
    message = rf"^{re.escape(str(tmp_path / 'train.jsonl'))}: cannot be read \(.+\); prepare it again$"
    with pytest.raises(DataError, match=message):
        store.records("train")


def test_a_line_that_was_changed_is_refused(tmp_path):
    write(tmp_path)
    path = tmp_path / "train.jsonl"
    content = path.read_bytes()
    path.write_bytes(content[:20] + b"#" * 40 + content[60:])
    records = Records(path)  # Store.records under beartype reads a record at random, here maybe the changed one
    assert records[1] == record(1)
    with pytest.raises(DataError, match=re.escape(str(path))):
        records[0]
