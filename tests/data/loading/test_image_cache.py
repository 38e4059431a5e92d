"""Photos at the size of the model: the same pixels from their files and from the cache."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from partseg_cli.data.loading.dataset import ImageCache, ImageReader, ImageTransform, PartDataset
from partseg_cli.data.loading.transforms import shortest_edge_size
from partseg_cli.data.store import Store


def train_set(store: Store, cache: Path | None, **changes: object) -> PartDataset:
    values = {"image_size": 40, "shortest_edge": 60, "longest_edge": 1333, "flip": 0.5, "train_channel_order": "bgr"}
    views = ImageTransform(**{**values, "unlabelled_objects": "background", **changes})
    ids = [record.image_id for record in store.records("train")][:6]
    return PartDataset(store, ids, store.info.vocabulary, views, 0, cache)


@pytest.fixture
def store(cartoon_store, tmp_path) -> Store:
    shutil.copytree(cartoon_store.folder, tmp_path / "store")
    return Store.open(tmp_path / "store")


def test_the_cache_gives_the_same_samples_before_and_after_it_is_filled(store, tmp_path):
    plain, cached = train_set(store, None), train_set(store, tmp_path / "cache")
    for _ in range(2):
        for number in range(2 * len(plain)):
            one, other = plain[number], cached[number]
            assert one.images.equal(other.images)
            assert all(a.equal(b) for a, b in zip(one.labels, other.labels, strict=True))


def test_a_photo_is_read_once_for_all_runs(store, tmp_path, monkeypatch):
    runs = [train_set(store, tmp_path / "cache") for _ in range(2)]
    read: list[str] = []
    photo = Store.read_image
    monkeypatch.setattr(Store, "read_image", lambda self, record: read.append(record.image_id) or photo(self, record))
    for samples in runs:
        for number in range(3 * len(samples)):
            _ = samples[number]
    assert sorted(read) == sorted(set(read))
    assert len(read) == len(runs[0])


@pytest.mark.process
def test_two_workers_fill_one_cache(store, tmp_path):
    plain, cached = train_set(store, None), train_set(store, tmp_path / "cache")
    sample_ids = range(12)
    for one, other in zip(
        plain.batches(images=2, sample_ids=sample_ids, workers=0),
        cached.batches(images=2, sample_ids=sample_ids, workers=2),
        strict=True,
    ):
        assert one.images.equal(other.images)
    assert all(cached.read.file.get(row) is not None for row in range(len(cached)))


def key(store: Store, tmp_path: Path, **changes: object) -> str:
    cache = train_set(store, tmp_path / "cache", **changes).read
    assert isinstance(cache, ImageCache)
    return cache.file.path.name


def test_what_decides_the_pixels_decides_the_file(store, tmp_path):
    names = {key(store, tmp_path), key(store, tmp_path, image_size=48), key(store, tmp_path, shortest_edge=None)}
    assert key(store, tmp_path, flip=0.0, train_channel_order="rgb") in names
    photo = store.image_path(store.records("train")[0])
    os.utime(photo, (1, 1))
    names.add(key(store, tmp_path))
    Image.new("RGB", (store.records("train")[0].width, store.records("train")[0].height), "red").save(photo)
    os.utime(photo, (1, 1))
    names.add(key(store, tmp_path))
    assert len(names) == 5


def real_photos(samples: Path) -> list[Path]:
    return sorted(samples.rglob("*.jpg"))[::25]


@pytest.mark.parametrize("size", [352, 224])
@pytest.mark.parametrize("shortest", [None, 800])
def test_a_flip_commutes_with_the_resizes_on_real_photos(samples, size, shortest):
    assert len(real_photos(samples)) > 5
    for path in real_photos(samples)[:6]:
        photo = Image.open(path).convert("RGB")
        if shortest is not None:
            height, width = shortest_edge_size(photo.height, photo.width, shortest, 1333)
            photo = photo.resize((width, height), Image.Resampling.BILINEAR)
        flipped = photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        pixels, other = (np.asarray(p.resize((size, size), Image.Resampling.BILINEAR)) for p in (photo, flipped))
        assert np.array_equal(pixels[:, ::-1], other)


def test_images_of_a_store_are_read_as_squares(store):
    pixels = ImageReader(store, 32, None, 1333)(store.records("train")[0])
    assert (pixels.shape, pixels.dtype) == ((32, 32, 3), np.uint8)
