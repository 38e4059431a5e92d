"""Figures of a store, against hand-made cases, plain recounting and what is known of real photos."""

import json
from collections import Counter
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from partseg_cli.data.converters import pascal_part
from partseg_cli.data.converters.conversion import Converted
from partseg_cli.data.manifest import load_manifest
from partseg_cli.data.quality.statistics import LARGE, MEDIUM, PERCENTS, PIXELS, TOTALS, Statistics, overlap
from partseg_cli.data.record import Instance, Part, Record
from partseg_cli.data.rle import Mask
from partseg_cli.data.store import DatasetInfo
from partseg_cli.vocabulary import Pair, Vocabulary

INFO = DatasetInfo(
    "set",
    "images",
    ("boat", "cat", "fox"),
    Vocabulary((Pair("cat", "ear"), Pair("cat", "head"), Pair("fox", "ear", is_seen=False))),
)
EAR, HEAD, FOX_EAR = range(3)
BOAT, CAT, FOX = range(3)


def first(area: int, height: int = 100, width: int = 200) -> Mask:
    """The first pixels of an image, column by column."""
    columns = np.zeros(height * width, bool)
    columns[:area] = True
    return Mask.encode(columns.reshape(width, height).T)


def image(objects: dict[int, tuple[int, int]], parts: list[tuple[int, int, int]], **fields: object) -> Record:
    """An image of 100 x 200 pixels: objects number -> (category, area), parts (object, pair, area)."""
    instances = tuple(Instance(number, category, first(area)) for number, (category, area) in objects.items())
    masks = tuple(Part(number, pair, "", 1, first(area)) for number, pair, area in parts)
    return replace(Record("a", "a.jpg", 200, 100, "", instances, masks), **fields)


def figures(*images: tuple[str, Record], info: DatasetInfo = INFO) -> dict:
    statistics = Statistics(info, ("train", "val"))
    for split, record in images:
        statistics.add(split, record)
    return statistics.document()


def test_two_ears_of_one_cat_are_one_image_one_instance_and_two_parts():
    got = figures(("train", image({7: (CAT, 50)}, [(7, EAR, 10), (7, EAR, 20), (7, HEAD, 30)])))
    ear, head, fox = got["pairs"]
    nothing = {"images": 0, "instances": 0, "parts": 0, "pixels": 0}
    assert ear == {
        "name": "cat's ear",
        "object": "cat",
        "part": "ear",
        "seen": True,
        "splits": {"train": {"images": 1, "instances": 1, "parts": 2, "pixels": 30}, "val": nothing},
    }
    assert head["splits"]["train"] == {"images": 1, "instances": 1, "parts": 1, "pixels": 30}
    assert fox["splits"] == {"train": nothing, "val": nothing}
    assert not fox["seen"]


def test_objects_count_their_images_instances_parts_and_own_pixels():
    got = figures(("val", image({1: (CAT, 50), 2: (CAT, 70), 3: (BOAT, 5)}, [(1, EAR, 10), (2, HEAD, 20)])))
    assert got["objects"][CAT] == {
        "object": "cat",
        "seen": True,
        "has_parts": True,
        "splits": {
            "train": {"images": 0, "instances": 0, "parts": 0, "pixels": 0},
            "val": {"images": 1, "instances": 2, "parts": 2, "pixels": 120},
        },
    }
    boat, fox = got["objects"][BOAT], got["objects"][FOX]
    assert (boat["has_parts"], boat["seen"]) == (False, True)
    assert boat["splits"]["val"] == {"images": 1, "instances": 1, "parts": 0, "pixels": 5}
    assert not fox["seen"]


def test_absent_classes_are_named_for_each_split():
    got = figures(("train", image({1: (CAT, 9)}, [(1, EAR, 5)])), ("val", image({1: (FOX, 9)}, [(1, FOX_EAR, 5)])))
    assert got["absent"] == {
        "train": {"objects": ["boat", "fox"], "pairs": ["cat's head", "fox's ear"]},
        "val": {"objects": ["boat", "cat"], "pairs": ["cat's ear", "cat's head"]},
    }


def test_images_without_parts_of_unseen_objects_and_with_unsure_pixels_are_counted():
    rare = {"ignore": first(40), "not_exhaustive": (CAT,)}
    got = figures(
        ("train", image({1: (BOAT, 9)}, [])),
        ("train", image({1: (FOX, 9), 2: (FOX, 9)}, [(1, FOX_EAR, 3)])),
        ("train", image({1: (CAT, 9)}, [(1, EAR, 3)], **rare)),
    )
    train = got["splits"]["train"]
    assert tuple(train) == TOTALS
    assert {name: train[name] for name in TOTALS[:6]} == {
        "images": 3,
        "images_without_parts": 1,
        "images_of_unseen_objects": 1,
        "images_not_exhaustive": 1,
        "instances": 4,
        "instances_synthetic": 0,
    }
    assert (train["pixels"], train["pixels_ignored"]) == (60_000, 40)
    assert got["unseen_objects"] == {"train": {"fox": 1}, "val": {"fox": 0}}
    assert set(got["splits"]["val"].values()) == {0}


def test_instances_that_stand_for_a_class_are_counted_apart():
    made = Instance(1, CAT, first(9), synthetic=True)
    got = figures(("train", replace(image({}, []), objects=(made, replace(made, id=2, synthetic=False)))))
    assert (got["splits"]["train"]["instances"], got["splits"]["train"]["instances_synthetic"]) == (2, 1)


def test_small_medium_and_large_part_at_the_bounds_of_coco():
    areas = [1, MEDIUM - 1, MEDIUM, LARGE - 1, LARGE, 20_000]
    got = figures(("train", image({1: (CAT, 9)}, [(1, EAR, area) for area in areas])))
    assert (MEDIUM, LARGE) == (1024, 9216)
    assert [row["parts"] for row in got["sizes"]["coco"]] == [2, 2, 2]
    assert [row["label"] for row in got["sizes"]["coco"]] == [
        "small, below 1,024 px",
        "medium, 1,024 to 9,215 px",
        "large, 9,216 px and more",
    ]
    assert [got["splits"]["train"][f"parts_{name}"] for name in ("small", "medium", "large")] == [2, 2, 2]


def test_bins_hold_their_lower_end_and_empty_ones_at_both_ends_are_left_out():
    got = figures(("train", image({1: (CAT, 9)}, [(1, EAR, area) for area in (4, 15, 64, 200, 400)])))
    assert [(row["label"], row["parts"]) for row in got["sizes"]["pixels"]] == [
        ("4 to 15 px", 2),
        ("16 to 63 px", 0),
        ("64 to 255 px", 2),
        ("256 to 1,023 px", 1),
    ]
    shares = [(row["from"], row["below"], row["parts"]) for row in got["sizes"]["percent_of_photo"]]
    assert shares == [
        *((0.02, 0.05, 1), (0.05, 0.1, 1), (0.1, 0.2, 0)),
        *((0.2, 0.5, 1), (0.5, 1.0, 0), (1.0, 2.0, 1), (2.0, 5.0, 1)),
    ]


def test_a_part_that_fills_its_photo_is_in_the_last_bin():
    got = figures(("train", image({1: (CAT, 9)}, [(1, EAR, 20_000)])))
    assert got["sizes"]["percent_of_photo"] == [{"label": "50 to 100 %", "from": 50.0, "below": 100.0, "parts": 1}]
    assert PERCENTS[0] == 0.0
    assert PIXELS[0] == 1


def test_an_empty_part_is_counted_but_has_no_size():
    got = figures(("train", image({1: (CAT, 9)}, [(1, EAR, 0)])))
    assert got["pairs"][EAR]["splits"]["train"] == {"images": 1, "instances": 1, "parts": 1, "pixels": 0}
    assert got["sizes"]["pixels"] == []
    assert [row["parts"] for row in got["sizes"]["coco"]] == [0, 0, 0]


def test_shares_of_nothing_are_null():
    got = figures()
    assert got["overlap"]["shared_pixels"] == {
        "what": "of these, in two or more parts of that object",
        "pixels": 0,
        "percent": None,
    }
    assert "percent" not in got["overlap"]["object_part_pixels"]


def test_figures_are_plain_values():
    got = figures(("train", image({1: (CAT, 9)}, [(1, EAR, 5)])))
    assert json.loads(json.dumps(got)) == got


def test_figures_equal_those_of_plain_recounting(small_data):
    images = [(split, record) for split, records in small_data.records.items() for record in records]
    got = figures(*images, info=small_data.info)
    for index, row in enumerate(got["pairs"]):
        for split, counts in row["splits"].items():
            mine = [[part for part in record.parts if part.pair == index] for name, record in images if name == split]
            assert counts == {
                "images": sum(bool(parts) for parts in mine),
                "instances": sum(len({part.object for part in parts}) for parts in mine),
                "parts": sum(map(len, mine)),
                "pixels": sum(part.mask.area for parts in mine for part in parts),
            }
    summed = sum((Counter(overlap(record)) for _, record in images), Counter())
    assert {name: row["pixels"] for name, row in got["overlap"].items() if row["pixels"]} == +summed


def test_neither_the_order_of_images_nor_their_split_changes_the_sums(small_data):
    images = [(split, record) for split, records in small_data.records.items() for record in records]
    forwards, backwards = (figures(*some, info=small_data.info) for some in (images, images[::-1]))
    assert forwards == backwards
    mixed = figures(*(("train", record) for _, record in images), info=small_data.info)
    assert mixed["sizes"] == forwards["sizes"]
    assert mixed["overlap"] == forwards["overlap"]


# ---- real photos


@pytest.fixture(scope="module")
def pascal(samples) -> list[tuple[str, Record]]:
    conversion = pascal_part.convert(samples / "pascal_part", load_manifest("pascal-part-116"))
    return [(o.split, o.record) for o in conversion.outcomes if isinstance(o, Converted)]


def test_real_pascal_photos_overlap_as_measured_on_their_original_masks(pascal, samples):
    manifest = load_manifest("pascal-part-116")
    info = DatasetInfo("pascal-part-116", "", manifest.objects, manifest.vocabulary)
    got = {name: (row["pixels"], row.get("percent")) for name, row in figures(*pascal, info=info)["overlap"].items()}
    assert got["object_part_pixels"] == (784_269, None)
    assert got["shared_pixels"] == (154_314, 19.6762)
    assert got["outside_pixels"] == (0, 0.0)
    assert got["parts_across_objects"] == (4_210, None)
    # 10,919 px lie in the masks of several objects; 4,969 of them in the one photo of chairs and a table that has no
    # part, and is no part of the store
    left_out = pascal_part.read_annotation(samples / "pascal_part/Annotations_Part/2010_001199.mat")
    height, width = left_out[0].pixels.shape
    things = tuple(Instance(number, 0, Mask.encode(thing.pixels)) for number, thing in enumerate(left_out))
    chairs = overlap(Record("2010_001199", "", width, height, "", things, ()))
    assert (got["objects_shared_pixels"][0], chairs["objects_shared_pixels"]) == (5_950, 4_969)
    assert 5_950 + 4_969 == 10_919


def test_parts_across_objects_are_counted_pair_by_pair(pascal):
    """The same sum by decoding all masks, which tells what the 4,210 pixels are."""
    total = 0
    for _, record in pascal:
        pixels = [(part.object, part.mask.decode(record.height, record.width)) for part in record.parts]
        total += sum(int((a & b).sum()) for (x, a), (y, b) in combinations(pixels, 2) if x != y)
    assert total == sum(overlap(record)["parts_across_objects"] for _, record in pascal) == 4_210
