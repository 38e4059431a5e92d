"""Which images are chosen, and what their pictures show."""

import base64
import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from partseg_cli.data.record import Part, Record
from partseg_cli.data.rle import Mask
from partseg_cli.data.store import Store
from partseg_cli.io.label_maps import palette
from partseg_cli.reports.figures import GREY, STEPS, TILE, choose_samples, draw_sample, image_classes

LIMIT = 40_000


def opened(uri: str, kind: str) -> Image.Image:
    head, _, code = uri.partition(",")
    assert head == f"data:image/{kind};base64"
    return Image.open(io.BytesIO(base64.b64decode(code, validate=True)))


def classes(*images: tuple[int, ...]) -> list[np.ndarray]:
    return [np.array(image, np.int64) for image in images]


# ---- choosing


def test_the_classes_of_an_image_are_its_pairs_and_its_objects(small_data):
    cat_and_fox = small_data.records["train"][3]
    pairs = len(small_data.info.vocabulary.pairs)
    names = [*(pair.name for pair in small_data.info.vocabulary.pairs), *small_data.info.objects]
    shown = [names[index] for index in image_classes(cat_and_fox, pairs)]
    assert shown == ["cat's ear", "cat's head", "fox's ear", "fox's tail", "cat", "fox"]
    assert image_classes(replace(cat_and_fox, objects=(), parts=()), pairs).tolist() == []


def test_the_image_with_most_new_classes_is_taken_first():
    assert choose_samples(classes((0,), (1,), (0, 1), (2,)), 2) == [2, 3]
    assert choose_samples(classes((0,), (1,), (0, 1), (2,)), 1) == [2]


@pytest.mark.parametrize("seed", range(20))
def test_every_class_appears_if_there_is_room(seed):
    rng = np.random.default_rng(seed)
    images = [rng.permutation(12)[: rng.integers(0, 4)] for _ in range(rng.integers(1, 60))]
    count = int(rng.integers(12, 30))
    chosen = choose_samples(images, count)
    assert len(set(chosen)) == len(chosen) == min(count, len(images))
    assert chosen == sorted(chosen)
    assert set().union(*(images[index].tolist() for index in chosen)) == set().union(*(i.tolist() for i in images))
    assert choose_samples(images, count) == chosen


def test_images_beyond_those_are_chosen_evenly():
    assert choose_samples(classes(*[(0,)] * 101), 6) == [0, 11, 31, 51, 71, 91]


def test_of_few_images_all_are_taken_and_of_none_none():
    assert choose_samples(classes((0,), (), (5,)), 9) == [0, 1, 2]
    assert choose_samples([], 4) == []
    assert choose_samples(classes((0,), (1,)), 0) == []


# ---- pictures


@pytest.fixture
def store(small_data, tmp_path) -> Store:
    return small_data.write(tmp_path)


def test_a_sample_names_what_its_image_shows(store):
    sample, _ = draw_sample(store, "train", store.records("train")[3], LIMIT)
    assert (sample.image_id, sample.split, sample.size, sample.shown) == ("photo_03", "train", (35, 23), (35, 23))
    assert [(word.name, word.object, word.part, word.is_seen) for word in sample.entries] == [
        ("cat's ear", "cat", "ear", True),
        ("cat's head", "cat", "head", True),
        ("fox's ear", "fox", "ear", False),
        ("fox's tail", "fox", "tail", False),
    ]
    assert [list(word.colour) for word in sample.entries] == palette(4).tolist()
    assert sample.problem == ""


def test_an_object_without_a_part_is_named_without_a_colour(store):
    sample, _ = draw_sample(store, "val", store.records("val")[3], LIMIT)
    boat = sample.entries[-1]
    assert (boat.name, boat.object, boat.part, boat.is_seen, boat.colour) == ("boat", "boat", "", True, None)


def test_a_part_that_others_cover_is_named_without_a_colour(store):
    record = store.records("train")[0]
    ear, head = record.parts
    covered = replace(record, parts=(ear, replace(head, mask=ear.mask)))
    sample, _ = draw_sample(store, "train", covered, LIMIT)
    assert [(word.name, word.colour is None) for word in sample.entries] == [("cat's ear", True), ("cat's head", False)]


def test_the_layer_of_parts_is_the_flat_map_in_colours_with_lines_around(store):
    record = store.records("train")[3]
    sample, _ = draw_sample(store, "train", record, LIMIT)
    layer = np.asarray(opened(sample.parts, "png").convert("RGBA"))
    flat = record.pair_map()
    line = np.zeros(flat.shape, bool)
    line[:, 1:] |= flat[:, 1:] != flat[:, :-1]
    line[1:] |= flat[1:] != flat[:-1]
    colours = {0: palette(4)[0], 1: palette(4)[1], 4: palette(4)[2], 5: palette(4)[3]}
    for y, x in np.ndindex(*flat.shape):
        if line[y, x]:
            expected = (255, 255, 255, 255)
        elif flat[y, x] == 65535:
            assert layer[y, x, 3] == 0
            continue
        else:
            expected = (*colours[int(flat[y, x])], 255)
        assert tuple(layer[y, x]) == tuple(expected)


def test_the_photo_of_a_sample_is_the_photo(store):
    record = store.records("train")[0]
    Image.new("RGB", (record.width, record.height), (200, 120, 40)).save(store.image_path(record))
    sample, _ = draw_sample(store, "train", record, LIMIT)
    got = np.asarray(opened(sample.image, "jpeg")).astype(int)
    assert got.shape == (record.height, record.width, 3)
    assert np.abs(got - (200, 120, 40)).max() < 6


def test_a_photo_that_is_gone_is_grey_and_told_so(store):
    record = store.records("train")[0]
    store.image_path(record).unlink()
    sample, tile = draw_sample(store, "train", record, LIMIT)
    assert (
        sample.problem
        == f"{store.image_path(record)}: must be a readable image, got No such file or directory; check the path"
    )
    assert np.abs(np.asarray(opened(sample.image, "jpeg")).astype(int) - GREY).max() < 3
    assert tile.width > record.width


def noisy(store: Store, height: int, width: int) -> Record:
    """The most that a picture can weigh: noise, with a hundred parts of noise."""
    rng = np.random.default_rng(3)
    Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(store.folder / "images/noise.png")
    parts = tuple(Part(1, n % 6, "", 1, Mask.encode(rng.random((height, width)) < 0.01)) for n in range(100))
    return replace(store.records("train")[0], file_name="noise.png", width=width, height=height, parts=parts)


@pytest.mark.parametrize("limit", [40_000, 12_000])
def test_pictures_of_a_sample_stay_below_the_limit_whatever_they_show(store, limit):
    sample, tile = draw_sample(store, "train", noisy(store, 700, 900), limit)
    assert len(sample.image) + len(sample.parts) <= limit
    assert max(sample.shown) in [edge for edge, _ in STEPS[1:]]
    assert opened(sample.image, "jpeg").size == opened(sample.parts, "png").size == sample.shown
    assert sample.size == (900, 700)
    assert tile.height >= round(TILE * 700 / 900)


def test_a_long_name_is_shortened_on_a_tile_and_line_breaks_do_no_harm(store):
    record = replace(store.records("train")[0], image_id="folder/" * 40 + "a\nb.jpg")
    _, tile = draw_sample(store, "train", record, LIMIT)
    assert tile.width < 400


def test_the_same_image_gives_the_same_pictures(store):
    record = store.records("train")[3]
    (first, tile), (again, twin) = (draw_sample(store, "train", record, LIMIT) for _ in range(2))
    assert first == again
    assert tile.tobytes() == twin.tobytes()
