"""A digest of training data changes with what is trained on, and with nothing else."""

import shutil
from pathlib import Path

import pytest

from partseg_cli.data.store import Store


@pytest.fixture
def store(cartoon_store, tmp_path) -> Store:
    shutil.copytree(cartoon_store.folder, tmp_path / "a")
    return Store.open(tmp_path / "a")


def digest(store: Store, ids: list[str] | None = None, unseen: tuple[str, ...] = ("dog",)) -> str:
    ids = [record.image_id for record in store.records("train")] if ids is None else ids
    return store.fingerprint(ids, store.info.vocabulary.with_unseen(unseen))


def photo(store: Store) -> Path:
    return store.image_path(store.records("train")[0])


def test_a_copy_elsewhere_has_the_same(store, tmp_path):
    before = digest(store)
    shutil.move(tmp_path / "a", tmp_path / "b")
    assert digest(Store.open(tmp_path / "b")) == before


def test_it_follows_photos_labels_and_seen_pairs(store):
    ids = [record.image_id for record in store.records("train")]
    found = {digest(store), digest(store, ids[1:]), digest(store, unseen=("cat",))}
    assert digest(store, ids[::-1]) in found  # training takes them in the store's order
    path = store.folder / "train.jsonl"
    first = store.records("train").line(0)
    path.write_bytes(path.read_bytes().replace(first, first.replace(b"cartoon seed", b"cartoon_seed"), 1))
    found.add(digest(store))
    assert len(found) == 4


def test_it_follows_the_size_of_a_photos_file_and_whether_it_is_there(store):
    found = {digest(store)}
    photo(store).write_bytes(photo(store).read_bytes() + b" ")
    found.add(digest(store))
    photo(store).unlink()
    found.add(digest(store))
    assert len(found) == 3
