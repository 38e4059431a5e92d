"""A store and a split file that the first version wrote (in `before`) are read as ever."""

import re
from pathlib import Path

import numpy as np

from partseg_cli.data.splits.split import load_split
from partseg_cli.data.store import Store, StoreWriter, iterate

BEFORE = Path(__file__).parent / "before"


def test_an_old_store_is_read_and_written_again_byte_for_byte(tmp_path):
    store = Store.open(BEFORE / "store")
    assert (store.info.name, store.info.images) == ("cartoon-part", (("train", 4), ("val", 1)))
    with StoreWriter(tmp_path, store.info, store.splits) as writer:
        for split, record in iterate(store):
            writer.add(split, record)
    for path in sorted(tmp_path.iterdir()):
        assert path.read_bytes() == (BEFORE / "store" / path.name).read_bytes(), path.name


def test_records_of_an_old_store_have_their_images_and_labels():
    store = Store.open(BEFORE / "store")
    shown = {}
    for key in store.record_keys():
        record = store[key]
        assert store.read_image(record).size == (64, 64)
        pairs = np.unique(record.pair_map())[:-1]  # the last one is `rle.NONE`
        shown[record.image_id] = {store.info.vocabulary.pairs[pair].object for pair in pairs}
    assert shown == {
        "cartoon_00000": {"aeroplane"},
        "cartoon_00001": {"bicycle"},
        "cartoon_00002": {"bird"},
        "cartoon_00003": {"bottle"},
        "cartoon_00004": {"bus", "horse"},
    }


def test_an_old_split_file_applies():
    store = Store.open(BEFORE / "store")
    split = load_split(store, str(BEFORE / "split.yaml"))
    assert (split.seed, split.unseen_objects, split.unseen_parts) == (2, ("person",), ("wheel",))
    assert set(split.train) | set(split.val) == {record.image_id for _, record in iterate(store)}
    text = (BEFORE / "split.yaml").read_text(encoding="utf-8")
    assert list(split.val) == re.findall(r"cartoon_\d+", text.partition("val:")[2])
    unseen = [pair.name for pair in split.vocabulary(store).pairs if not pair.is_seen]
    assert unseen == [
        pair.name for pair in store.info.vocabulary.pairs if pair.object == "person" or pair.part == "wheel"
    ]
