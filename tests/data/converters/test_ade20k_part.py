import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ade20k_tree import (
    BUILDING,
    BUTTON_PANEL,
    CABINET,
    CAR,
    DOOR,
    DOUBLE_DOOR,
    FIRST,
    HANDLE,
    HEIGHT,
    KNOB,
    MANIFEST,
    NOTHING,
    OVEN,
    PEDESTAL,
    PERSON,
    RIM,
    SHELF,
    STOOL,
    STOVE,
    STREET,
    WHEEL,
    WHEELED,
    WIDTH,
    WINDOW,
    WINDSHIELD,
    Annotated,
    grey,
    only_record,
    outcomes,
    write_image,
)
from PIL import Image

from partseg_cli.data.converters.ade20k_part import convert
from partseg_cli.data.converters.conversion import Converted, Skipped
from partseg_cli.data.record import Record
from partseg_cli.data.rle import NONE

PAIRS = [pair.name for pair in MANIFEST.vocabulary.pairs]
UNSEEN = ["ottoman", "swivel chair", "fan", "stool", "desk", "bus", "oven", "kitchen island", "van", "truck", "bench"]


def named(record: Record) -> list[tuple[int, str, str, int]]:
    return [(part.object, PAIRS[part.pair], part.raw, part.level) for part in record.parts]


def instances(record: Record) -> list[tuple[int, str]]:
    return [(thing.id, MANIFEST.objects[thing.category]) for thing in record.objects]


# the manifest


def test_the_manifest_has_234_pairs_176_of_them_seen_of_44_objects_and_85_parts():
    vocabulary = MANIFEST.vocabulary
    assert Counter(vocabulary.is_seen) == {True: 176, False: 58}
    assert len(MANIFEST.objects) == len(vocabulary.objects) == 44
    assert len(vocabulary.parts) == 85
    assert set(vocabulary.parts) - set(vocabulary.seen().parts) == {"blade", "taillight"}
    assert list(MANIFEST.objects) == list(MANIFEST.parts)


def test_the_manifest_has_the_11_published_unseen_objects_and_counts_of_images():
    assert list(MANIFEST.unseen_objects) == UNSEEN
    assert MANIFEST.expected == {"train": 7347, "val": 1016}


@pytest.mark.parametrize(
    ("index", "name"),
    [
        (0, "person's arm"),
        (9, "door's door frame"),
        (18, "cabinet's door"),
        (233, "light's shade"),
    ],
)
def test_pairs_stand_at_their_published_ids(index, name):
    assert PAIRS[index] == name


def test_every_object_and_every_pair_has_its_numbers():
    assert set(MANIFEST.aliases.values()) == set(MANIFEST.objects)
    assert len(MANIFEST.aliases) == 46
    codes = [(n, code, p) for n, parts in MANIFEST.raw_codes.items() for p, codes in parts.items() for code in codes]
    assert {(name, part) for name, _, part in codes} == {(pair.object, pair.part) for pair in MANIFEST.vocabulary.pairs}
    assert len({code[:2] for code in codes}) == len(codes) == 257
    assert all(code.isdigit() for _, code, _ in codes)


@pytest.mark.parametrize(
    ("name", "part", "codes"),
    [
        ("car", "window", {"3050", "3057"}),
        ("door", "panel", {"774", "1746", "1748"}),
        ("person", "hand", {"1430", "2119"}),
        ("oven", "button panel", {"339", "341", "342", "2250"}),
        ("television receiver", "screen", {"2250"}),
        ("pool table", "pocket", {"625", "2374"}),
    ],
)
def test_a_pair_may_have_several_numbers_and_a_number_several_pairs(name, part, codes):
    assert set(MANIFEST.raw_codes[name][part]) == codes


# one image


def test_an_image_becomes_one_record(tmp_path):
    write_image(tmp_path, FIRST)
    conversion = convert(tmp_path, MANIFEST)
    (outcome,) = conversion.outcomes
    record = outcome.record
    assert (conversion.found, conversion.image_root) == (1, (tmp_path / "ADE20K_2021_17_01").as_posix())
    assert (record.image_id, record.file_name) == (FIRST, f"images/ADE/training/{STREET}/{FIRST}.jpg")
    assert (record.width, record.height) == (WIDTH, HEIGHT)
    assert record.source == f"ADE20K_2021_17_01/images/ADE/training/{STREET}/{FIRST}.json"


def test_objects_and_parts_keep_their_ids_numbers_and_masks(tmp_path):
    write_image(tmp_path, FIRST)
    record = only_record(tmp_path)
    assert instances(record) == [(0, "car")]
    assert named(record) == [(0, "car's wheel", str(WHEEL), 1)]
    for item, thing in zip((*record.objects, *record.parts), WHEELED, strict=True):
        np.testing.assert_array_equal(item.mask.decode(HEIGHT, WIDTH), grey(thing) == 255)
    assert not record.objects[0].synthetic


def test_only_visible_pixels_count(tmp_path):
    write_image(tmp_path, FIRST, [WHEELED[0]._replace(covered=(0, 0, 1, 5)), WHEELED[1]])
    assert only_record(tmp_path).objects[0].mask.area == 15


def test_every_instance_of_the_44_objects_comes_also_without_parts(tmp_path):
    others = [Annotated(5, PERSON), Annotated(6, CAR), Annotated(7, BUILDING)]
    write_image(tmp_path, FIRST, [*others, *WHEELED])
    assert instances(only_record(tmp_path)) == [(5, "person"), (6, "car"), (0, "car")]


def test_only_masks_of_objects_and_parts_of_the_table_are_read(tmp_path):
    write_image(
        tmp_path, FIRST, [*WHEELED, Annotated(7, BUILDING, mask="nowhere.png"), Annotated(8, RIM, 3, 2, mask="")]
    )
    assert len(only_record(tmp_path).parts) == 1


def test_an_object_of_which_nothing_is_seen_stays_only_with_a_part(tmp_path):
    hidden = [thing._replace(box=NOTHING, covered=(0, 0, 1, 1)) for thing in (WHEELED[0], Annotated(9, CAR))]
    write_image(tmp_path, FIRST, [*hidden, WHEELED[1]])
    assert [(thing.id, thing.mask.area) for thing in only_record(tmp_path).objects] == [(0, 0)]


def test_a_part_of_which_nothing_is_seen_is_left_out(tmp_path):
    write_image(tmp_path, FIRST, [*WHEELED, Annotated(4, WHEEL, 0, 1, NOTHING, (0, 0, 1, 1))])
    assert [part.mask.area for part in only_record(tmp_path).parts] == [4]


@pytest.mark.parametrize(
    "things",
    [
        [],
        [Annotated(0, PERSON)],
        [Annotated(0, BUILDING), Annotated(1, WINDOW, 0, 1)],
        [Annotated(0, CAR), Annotated(1, RIM, 0, 1)],
        [Annotated(0, CAR), Annotated(1, WHEEL, 0, 1, NOTHING, (0, 0, 1, 1))],
        [Annotated(0, WHEEL)],
    ],
)
def test_an_image_without_a_visible_pair_is_left_out_without_a_defect(tmp_path, things):
    image = write_image(tmp_path, FIRST, things)
    item = image.with_name(f"{FIRST}.json").relative_to(tmp_path).as_posix()
    assert outcomes(tmp_path) == [Skipped(item, "no part of the 234", is_defect=False)]


def test_parts_of_parts_are_painted_over_parts(tmp_path):
    things = [WHEELED[0], Annotated(1, WINDOW, 2, 2, (0, 0, 1, 2)), Annotated(2, DOOR, 0, 1, (0, 0, 1, 1))]
    write_image(tmp_path, FIRST, things)
    flat = only_record(tmp_path).pair_map()
    assert PAIRS[flat[0, 0]] == "car's window"
    assert flat[3, 5] == NONE


# which pair


@pytest.mark.parametrize("codes", [(CAR, WINDOW), (CAR, WINDSHIELD), (DOUBLE_DOOR, DOOR), (STOOL, PEDESTAL)])
def test_a_part_of_several_numbers_is_one_pair(tmp_path, codes):
    write_image(tmp_path, FIRST, [Annotated(0, codes[0]), Annotated(1, codes[1], 0, 1)])
    names = {CAR: "car's window", DOUBLE_DOOR: "door's panel", STOOL: "stool's leg"}
    assert named(only_record(tmp_path)) == [(0, names[codes[0]], str(codes[1]), 1)]


@pytest.mark.parametrize(
    ("code", "name"), [(CAR, "car's door"), (CABINET, "cabinet's door"), (STOVE, "cooking stove's door")]
)
def test_the_same_number_under_another_object_is_another_pair(tmp_path, code, name):
    write_image(tmp_path, FIRST, [Annotated(0, code), Annotated(1, DOOR, 0, 1)])
    assert named(only_record(tmp_path)) == [(0, name, str(DOOR), 1)]
    assert len(only_record(tmp_path).objects) == 1


def test_the_window_of_a_cars_door_is_the_cars_on_level_2(tmp_path):
    write_image(tmp_path, FIRST, [Annotated(0, CAR), Annotated(1, DOOR, 0, 1), Annotated(2, WINDOW, 1, 2)])
    assert named(only_record(tmp_path)) == [(0, "car's door", str(DOOR), 1), (0, "car's window", str(WINDOW), 2)]


def test_the_handle_of_a_cars_door_is_no_part(tmp_path):
    write_image(tmp_path, FIRST, [Annotated(0, CAR), Annotated(1, DOOR, 0, 1), Annotated(2, HANDLE, 1, 2)])
    record = only_record(tmp_path)
    assert instances(record) == [(0, "car")]
    assert named(record) == [(0, "car's door", str(DOOR), 1)]


def test_a_door_in_a_building_is_an_object_with_a_handle(tmp_path):
    write_image(tmp_path, FIRST, [Annotated(0, BUILDING), Annotated(1, DOOR, 0, 1), Annotated(2, HANDLE, 1, 2)])
    record = only_record(tmp_path)
    assert instances(record) == [(1, "door")]
    assert named(record) == [(1, "door's handle", str(HANDLE), 2)]


def test_a_door_in_a_double_door_is_its_panel_and_its_knob_the_double_doors(tmp_path):
    write_image(tmp_path, FIRST, [Annotated(2, KNOB, 1, 2), Annotated(1, DOOR, 0, 1), Annotated(0, DOUBLE_DOOR)])
    record = only_record(tmp_path)
    assert instances(record) == [(0, "door")]
    assert named(record) == [(0, "door's knob", str(KNOB), 2), (0, "door's panel", str(DOOR), 1)]


def test_the_door_of_an_oven_in_a_stove_is_the_stoves(tmp_path):
    write_image(tmp_path, FIRST, [Annotated(0, STOVE), Annotated(1, OVEN, 0, 1), Annotated(2, DOOR, 1, 2)])
    record = only_record(tmp_path)
    assert instances(record) == [(0, "cooking stove")]
    assert [name for _, name, _, _ in named(record)] == ["cooking stove's oven", "cooking stove's door"]


def test_an_oven_in_a_cabinet_is_an_object(tmp_path):
    write_image(tmp_path, FIRST, [Annotated(0, CABINET), Annotated(1, OVEN, 0, 1), Annotated(2, BUTTON_PANEL, 1, 2)])
    record = only_record(tmp_path)
    assert instances(record) == [(0, "cabinet"), (1, "oven")]
    assert named(record) == [(1, "oven's button panel", str(BUTTON_PANEL), 2)]


def test_a_part_of_two_objects_belongs_to_the_nearest(tmp_path):
    write_image(tmp_path, FIRST, [Annotated(0, CABINET), Annotated(1, OVEN, 0, 1), Annotated(2, DOOR, 1, 2)])
    assert named(only_record(tmp_path)) == [(1, "oven's door", str(DOOR), 2)]


def test_shelves_of_shelves_all_belong_to_the_outermost(tmp_path):
    write_image(tmp_path, FIRST, [Annotated(0, SHELF), *(Annotated(i, SHELF, i - 1, i) for i in range(1, 5))])
    record = only_record(tmp_path)
    assert instances(record) == [(0, "shelf")]
    assert named(record) == [(0, "shelf's shelf", str(SHELF), level) for level in range(1, 5)]


# the real samples, read a second time without the converter


@pytest.fixture(scope="module")
def real(samples) -> Path:
    return samples / "ade20k"


@pytest.fixture(scope="module")
def records(real) -> dict[str, Record]:
    found = outcomes(real)
    assert all(isinstance(outcome, Converted) and outcome.split == "train" for outcome in found)
    return {outcome.record.image_id: outcome.record for outcome in found}


def label_map(image: Path, level: int) -> np.ndarray:
    """Read `name_ndx` of each pixel from X_seg.png (level 0) or X_parts_N.png."""
    ending = f"parts_{level}" if level else "seg"
    pixels = np.asarray(Image.open(image.with_name(f"{image.name}_{ending}.png"))).astype(np.int64)
    return pixels[..., 0] // 10 * 256 + pixels[..., 1]


def grey_file(real: Path, record: Record, row: dict[str, Any]) -> np.ndarray:
    return np.asarray(Image.open((real / record.source).parent / row["instance_mask"])) == 255


def annotated(real: Path, record: Record) -> dict[int, dict[str, Any]]:
    return {row["id"]: row for row in json.loads((real / record.source).read_text())["annotation"]["object"]}


def painted_plainly(record: Record) -> np.ndarray:
    """Paint by level, then area from large to small, then place: pixel by pixel, from decoded masks."""
    layers = [
        (part.level, -int(pixels.sum()), place, part.pair, pixels)
        for place, part in enumerate(record.parts)
        for pixels in [part.mask.decode(record.height, record.width)]
    ]
    labels = np.full((record.height, record.width), NONE, np.uint16)
    for _, _, _, pair, pixels in sorted(layers, key=lambda layer: layer[:3]):
        for line, column in np.argwhere(pixels):
            labels[line, column] = pair
    return labels


def test_the_samples_are_3_images_of_52_objects_and_15_parts(records):
    assert {name: (len(record.objects), len(record.parts)) for name, record in records.items()} == {
        "ADE_train_00016869": (30, 9),
        "ADE_train_00016900": (16, 3),
        "ADE_train_00016964": (6, 3),
    }


def test_the_cars_of_the_samples_give_wheels_doors_and_windows(records):
    found = Counter(PAIRS[part.pair] for record in records.values() for part in record.parts)
    assert found == {
        "car's wheel": 2,
        "car's door": 1,
        "car's window": 3,
        "car's mirror": 1,
        "car's headlight": 2,
        "car's bumper": 1,
        "car's license plate": 1,
        "van's license plate": 1,
        "van's window": 2,
        "traffic light's housing": 1,
    }


def test_the_class_of_every_visible_pixel_equals_the_label_pictures(real, records):
    differences = {}
    for name, record in records.items():
        rows = annotated(real, record)
        levels = {row["parts"]["part_level"] for row in rows.values()}
        labels = {level: label_map((real / record.source).with_suffix(""), level) for level in levels}
        masks = {grey_file(real, record, row).tobytes(): row for row in rows.values()}
        for item in (*record.objects, *record.parts):
            pixels = item.mask.decode(record.height, record.width)
            row = masks[pixels.tobytes()]
            found = labels[row["parts"]["part_level"]][pixels]
            differences[name, row["id"]] = int((found != row["name_ndx"]).sum())
    assert len(differences) == 52 + 15
    # a mirror covers 35 pixels of a window in X_parts_2.png: both are seen parts of one door
    assert {key: count for key, count in differences.items() if count} == {("ADE_train_00016869", 59): 35}


def test_the_links_of_the_samples_agree_in_both_directions(real, records):
    for record in records.values():
        rows = annotated(real, record)
        for part in record.parts:
            assert part.object in rows
        upwards = {(i, r["parts"]["ispartof"]) for i, r in rows.items() if r["parts"]["ispartof"] != []}
        downwards = {(part, i) for i, r in rows.items() for part in np.atleast_1d(r["parts"]["hasparts"]).astype(int)}
        assert upwards == downwards


def test_the_flat_map_of_a_sample_equals_a_plain_painter(records):
    for record in records.values():
        np.testing.assert_array_equal(record.pair_map(), painted_plainly(record))


def test_two_runs_over_the_samples_give_the_same_bytes(real, records):
    again = [outcome.record.to_json() for outcome in outcomes(real)]
    assert again == [record.to_json() for record in records.values()]
