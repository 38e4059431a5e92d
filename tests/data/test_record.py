"""Records: what a line of the store holds, and the flat maps painted from it."""

import json

import numpy as np
import pytest
from pycocotools import mask as coco

from partseg_cli.data.record import Instance, Part, Record
from partseg_cli.data.rle import NONE, Mask
from partseg_cli.data.store import DatasetInfo, Store, StoreWriter
from partseg_cli.vocabulary import Pair, Vocabulary

pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation:DeprecationWarning"  # pycocotools under numpy 2
)

PAIRS = 7
OBJECTS = 3


def rectangle(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    pixels = np.zeros((height, width), bool)
    top, left = rng.integers(height), rng.integers(width)
    pixels[top : top + 1 + rng.integers(height), left : left + 1 + rng.integers(width)] = True
    return pixels & (rng.random((height, width)) < 0.9)


def random_record(rng: np.random.Generator, number: int) -> Record:
    """Draw instances and parts of several levels that overlap at random."""
    height, width = (int(size) for size in rng.integers(2, 40, 2))
    things = tuple(
        Instance(i, int(rng.integers(OBJECTS)), Mask.encode(rectangle(rng, height, width)), bool(rng.integers(2)))
        for i in range(rng.integers(1, 5))
    )
    parts = tuple(
        Part(
            int(rng.integers(len(things))),
            int(rng.integers(PAIRS)),
            f"raw {i}",
            int(rng.integers(1, 4)),
            Mask.encode(rectangle(rng, height, width)),
        )
        for i in range(rng.integers(0, 9))
    )
    ignore = Mask.encode(rectangle(rng, height, width)) if rng.integers(2) else None
    more = (bool(rng.integers(2)), ignore, (1,) if rng.integers(2) else ())
    return Record(f"image {number}", f"{number}.jpg", width, height, f"{number}.json", things, parts, *more)


def painted(layers: list[tuple[int, int, Mask]], height: int, width: int) -> np.ndarray:
    """Paint as plainly as can be: full frames by pycocotools, one after the other."""
    flat = np.full((height, width), NONE, np.uint16)
    order = sorted(range(len(layers)), key=lambda i: (layers[i][1], -layers[i][2].area, i))
    for label, _, mask in (layers[i] for i in order):
        flat[coco.decode({"size": [height, width], "counts": mask.rle.encode()}).astype(bool)] = label
    return flat


@pytest.fixture(scope="module")
def stored(tmp_path_factory) -> list[tuple[Record, Record]]:
    """300 random records, as drawn and as read from a store."""
    rng = np.random.default_rng(5)
    drawn = [random_record(rng, number) for number in range(300)]
    words = Vocabulary(tuple(Pair("cat", f"part {i}") for i in range(PAIRS)))
    info = DatasetInfo("random", ".", tuple(f"object {i}" for i in range(OBJECTS)), words)
    folder = tmp_path_factory.mktemp("random")
    with StoreWriter(folder, info, ["train"]) as writer:
        for record in drawn:
            writer.add("train", record)
    return list(zip(drawn, Store.open(folder).records("train"), strict=True))


def test_random_records_come_back_from_the_store(stored):
    assert all(read == drawn for drawn, read in stored)


def test_the_flat_maps_of_a_store_are_those_of_a_plain_painter(stored):
    for drawn, read in stored:
        size = (drawn.height, drawn.width)
        parts = [(part.pair, part.level, part.mask) for part in drawn.parts]
        np.testing.assert_array_equal(read.pair_map(), painted(parts, *size))
        objects = [(thing.category, 0, thing.mask) for thing in drawn.objects]
        np.testing.assert_array_equal(read.object_map(), painted(objects, *size))


def test_what_an_image_rarely_has_takes_no_room(stored):
    for drawn, _ in stored:
        keys = set(json.loads(drawn.to_json()))
        assert ("upright" in keys) == drawn.upright
        assert ("ignore" in keys) == (drawn.ignore is not None)
        assert ("not_exhaustive" in keys) == bool(drawn.not_exhaustive)


def test_ignored_pixels_are_unsure():
    ignored = np.eye(3, 4, dtype=bool)
    record = Record("a", "a.jpg", 4, 3, "a", (), (), ignore=Mask.encode(ignored))
    np.testing.assert_array_equal(record.unlabelled_mask(), ignored)


def test_all_pixels_are_unlabelled_where_more_objects_may_be_than_are_annotated():
    assert Record("a", "a.jpg", 4, 3, "a", (), (), not_exhaustive=(2,)).unlabelled_mask().all()


def test_all_is_sure_in_a_usual_image():
    assert not Record("a", "a.jpg", 4, 3, "a", (), ()).unlabelled_mask().any()


@pytest.mark.parametrize("size", [(3, 4), (7, 2), (1, 1), (40, 30)])
def test_a_mask_scaled_to_its_own_size_stays(size):
    mask = Mask.encode(rectangle(np.random.default_rng(1), *size))
    assert mask.resized(size, size) == mask


def test_a_mask_of_twice_the_size_has_every_pixel_four_times():
    pixels = rectangle(np.random.default_rng(2), 5, 7)
    doubled = Mask.encode(pixels).resized((5, 7), (10, 14)).decode(10, 14)
    np.testing.assert_array_equal(doubled, np.kron(pixels, np.ones((2, 2), bool)))


def test_the_masks_of_real_annotators_decode_as_pycocotools_decodes_them(samples):
    value = json.loads((samples / "car_parts/trainingset/annotations.json").read_text())
    sizes = {image["id"]: (image["height"], image["width"]) for image in value["images"]}
    annotations = value["annotations"]
    assert len(annotations) > 3000
    for annotation in annotations:
        height, width = sizes[annotation["image_id"]]
        code = coco.merge(coco.frPyObjects(annotation["segmentation"], height, width))
        np.testing.assert_array_equal(Mask.from_coco(code).decode(height, width), coco.decode(code).astype(bool))
