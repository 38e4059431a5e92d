"""Cityscapes-Panoptic-Parts, in trees written here: objects and parts from ids, what is ignored, wrong sources."""

import json
import os
import pickle
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from cityscapes_tree import (
    CAR,
    FIRST,
    HEIGHT,
    MANIFEST,
    PERSON,
    RIDER,
    ROAD,
    SECOND,
    STREET,
    WIDTH,
    converted,
    only_record,
    outcomes,
    skips,
    write_image,
)
from PIL import Image

from partseg_cli.data.converters.cityscapes_parts import convert
from partseg_cli.data.converters.conversion import Converted
from partseg_cli.data.record import Record
from partseg_cli.data.rle import NONE
from partseg_cli.errors import DataError

PAIRS = [pair.name for pair in MANIFEST.vocabulary.pairs]
ITEM = f"gtFinePanopticParts/train/aachen/{FIRST}_gtFinePanopticParts.tif"


def refused(message: str):
    return pytest.raises(DataError, match=f"^{re.escape(message)}$")


def pixels(mask) -> list[tuple[int, int]]:
    return [tuple(place) for place in np.argwhere(mask.decode(HEIGHT, WIDTH)).tolist()]


# the manifest


def test_the_manifest_has_23_seen_pairs_of_5_objects_and_9_parts():
    vocabulary = MANIFEST.vocabulary
    assert MANIFEST.objects == ("person", "rider", "car", "truck", "bus")
    assert (len(vocabulary.pairs), len(vocabulary.parts), all(vocabulary.is_seen)) == (23, 9, True)
    assert vocabulary.unseen_objects == ()
    assert (MANIFEST.expected, MANIFEST.annotated) == ({"train": 2975, "val": 500}, 3475)


@pytest.mark.parametrize(
    ("number", "part", "name"),
    [
        ("24", "1", "person's torso"),
        ("25", "4", "rider's legs"),
        ("26", "2", "car's wheels"),
        ("27", "4", "truck's license plate"),
        ("28", "5", "bus's chassis"),
    ],
)
def test_pairs_have_their_published_numbers(number, part, name):
    parts = MANIFEST.raw_codes[MANIFEST.aliases[number]]
    assert [f"{MANIFEST.aliases[number]}'s {word}" for word, codes in parts.items() if codes == [part]] == [name]


# one image


def test_an_image_becomes_one_record(tmp_path):
    write_image(tmp_path)
    conversion = convert(tmp_path, MANIFEST)
    (outcome,) = conversion.outcomes
    record = outcome.record
    assert (conversion.found, conversion.splits, outcome.split) == (1, ("train", "val"), "train")
    assert conversion.image_root == (tmp_path / "leftImg8bit").as_posix()
    assert (record.image_id, record.file_name) == (FIRST, f"train/aachen/{FIRST}_leftImg8bit.png")
    assert (record.source, record.width, record.height) == (ITEM, WIDTH, HEIGHT)
    assert Record.from_json(record.to_json()) == record


def test_instances_become_objects_under_their_number(tmp_path):
    write_image(tmp_path)
    objects = {thing.id: thing for thing in only_record(tmp_path).objects}
    assert {number: (MANIFEST.objects[o.category], o.synthetic) for number, o in objects.items()} == {
        26: ("car", True),
        24000: ("person", False),
        26001: ("car", False),
        26002: ("car", False),
    }
    assert pixels(objects[26001].mask) == [(1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (2, 3)]
    assert pixels(objects[24000].mask) == [(0, 4), (0, 5), (1, 4), (1, 5), (2, 5), (3, 5)]


def test_a_class_without_instance_is_one_synthetic_object_without_parts(tmp_path):
    write_image(tmp_path)
    record = only_record(tmp_path)
    (region,) = (thing for thing in record.objects if thing.synthetic)
    assert pixels(region.mask) == [(0, 3), (2, 4), (3, 4)]
    assert not [part for part in record.parts if part.object == region.id]


def test_parts_belong_to_their_instance_and_are_flat(tmp_path):
    write_image(tmp_path)
    record = only_record(tmp_path)
    assert [(part.object, PAIRS[part.pair], part.raw, part.level) for part in record.parts] == [
        (24000, "person's torso", "1", 1),
        (24000, "person's head", "2", 1),
        (26001, "car's windows", "1", 1),
        (26001, "car's wheels", "2", 1),
        (26001, "car's chassis", "5", 1),
        (26002, "car's wheels", "2", 1),
    ]
    assert pixels(record.parts[3].mask) == [(1, 3), (2, 3)]
    assert sum(part.mask.area for part in record.parts) == (record.pair_map() != NONE).sum()


def test_what_says_nothing_of_parts_is_ignored(tmp_path):
    """Void classes, ignored ones, regions of objects, and objects where they show no part; the road is background."""
    write_image(tmp_path)
    ids = STREET
    ignored = np.isin(ids, [0, 4, CAR, 26001, 26002, 2600100, 24000, 2400000, 29, 29001])
    np.testing.assert_array_equal(only_record(tmp_path).unlabelled_mask(), ignored)
    assert not ignored[ids == ROAD].any()


def test_an_image_that_says_all_ignores_nothing(tmp_path):
    write_image(tmp_path, np.where(STREET == ROAD, ROAD, 2600101))
    assert only_record(tmp_path).ignore is None


def test_every_pair_is_read_from_its_numbers(tmp_path):
    numbers = [
        int(number) * 10**5 + int(code)
        for number, name in MANIFEST.aliases.items()
        for codes in MANIFEST.raw_codes[name].values()
        for code in codes
    ]
    write_image(tmp_path, np.array([[*numbers, ROAD]]))
    flat = only_record(tmp_path).pair_map()
    assert flat.tolist() == [[*range(23), NONE]]


@pytest.mark.parametrize("seed", range(20))
def test_flat_maps_are_those_of_a_plain_look_up(tmp_path, seed):
    rng = np.random.default_rng(seed)
    things = [2600001, 2600102, 2400003, 2500104, 2700005, 2800104, 26001, 24, 28001, 2400000, 0, 7, 23, 29003]
    ids = rng.choice(things, rng.integers(2, 25, 2))
    ids[0, 0] = 2600001
    write_image(tmp_path, ids)
    record = only_record(tmp_path)
    pairs, objects = np.full(ids.shape, NONE), np.full(ids.shape, NONE)
    for place, number in np.ndenumerate(ids):
        text = str(number)
        name = MANIFEST.aliases.get(text[:2])
        objects[place] = MANIFEST.objects.index(name) if name else NONE
        part = next(
            (w for w, codes in MANIFEST.raw_codes.get(name, {}).items() if codes == [text[5:].lstrip("0")]), None
        )
        pairs[place] = PAIRS.index(f"{name}'s {part}") if part else NONE
    np.testing.assert_array_equal(record.pair_map(), pairs)
    np.testing.assert_array_equal(record.object_map(), objects)


def test_an_image_without_a_part_is_left_out(tmp_path):
    write_image(tmp_path, np.array([[ROAD, CAR, 26001, 2600100]]))
    assert skips(tmp_path) == [("no part of the 23", False, "")]


# defects


def test_part_5_of_person_and_rider_is_no_part_and_counted(tmp_path):
    ids = STREET.copy()
    ids[0, :3] = PERSON * 10**5 + 5, RIDER * 10**5 + 305, RIDER * 10**5 + 305
    write_image(tmp_path, ids)
    record = converted(tmp_path)
    reason = "part 5 of person or rider is no part: its pixels are ignored"
    assert skips(tmp_path) == [(reason, False, "2400005, 2500305: 3 pixels")]
    assert record.unlabelled_mask()[0, :3].all()
    assert (record.pair_map()[0, :3] == NONE).all()
    assert [MANIFEST.objects[index] for index in record.object_map()[0, :3]] == ["person", "rider", "rider"]
    assert 2600105 in STREET
    assert "car's chassis" in {PAIRS[part.pair] for part in record.parts}


def test_an_unknown_part_is_a_defect_whose_pixels_are_ignored(tmp_path):
    ids = STREET.copy()
    ids[0, 1:3] = 2600106, 2400099
    write_image(tmp_path, ids)
    assert skips(tmp_path) == [("unknown part: its pixels are ignored", True, "2400099, 2600106: 2 pixels")]
    assert converted(tmp_path).unlabelled_mask()[0, 1:3].all()


def test_numbers_that_are_no_ids_are_a_defect_whose_pixels_are_ignored(tmp_path):
    ids = STREET.copy()
    ids[0, :] = -1, 260, 260, 99, 26000001, 2600101, 34000
    write_image(tmp_path, ids)
    reason = "number is no id: its pixels are ignored"
    assert skips(tmp_path) == [(reason, True, "-1, 99, 260, 34000, 26000001: 6 pixels")]
    record = converted(tmp_path)
    assert record.unlabelled_mask()[0].tolist() == [True] * 5 + [False] + [True]
    assert record.object_map()[0].tolist() == [NONE] * 5 + [2] + [NONE]


def test_an_image_whose_ids_cannot_be_read_does_not_stop_the_others(tmp_path):
    write_image(tmp_path, stem=SECOND)
    path = write_image(tmp_path)
    Image.new("L", (WIDTH, HEIGHT)).save(path)
    first, second = outcomes(tmp_path)
    assert (first.item, first.reason, first.is_defect) == (ITEM, "ids cannot be read", True)
    assert isinstance(second, Converted)


def test_a_missing_broken_or_larger_photo_is_a_defect(tmp_path):
    for stem in (FIRST, SECOND, "bonn_000000_000019"):
        write_image(tmp_path, stem=stem)
    photos = tmp_path / "leftImg8bit/train"
    (photos / "aachen" / f"{FIRST}_leftImg8bit.png").unlink()
    (photos / "aachen" / f"{SECOND}_leftImg8bit.png").write_bytes(b"")
    Image.new("RGB", (WIDTH + 1, HEIGHT)).save(photos / "bonn/bonn_000000_000019_leftImg8bit.png")
    assert [reason for reason, _, _ in skips(tmp_path)] == [
        "image is missing",
        "image cannot be used",
        "mask and image differ in size",
    ]


# the source


@pytest.mark.parametrize(
    ("labels", "photos"),
    [
        ("gtFinePanopticParts", "leftImg8bit"),
        ("gtFinePanopticParts_trainval/gtFinePanopticParts", "leftImg8bit_trainvaltest/leftImg8bit"),
        ("gtFinePanopticParts_trainval", "leftImg8bit_trainvaltest"),
        ("cityscapes/gtFinePanopticParts", "cityscapes/leftImg8bit"),
    ],
)
def test_folders_may_be_called_as_their_archives(tmp_path, labels, photos):
    write_image(tmp_path, labels=labels, photos=photos)
    conversion = convert(tmp_path, MANIFEST)
    (outcome,) = conversion.outcomes
    assert isinstance(outcome, Converted)
    assert conversion.items[0].name == f"{labels}/train/aachen/{FIRST}_gtFinePanopticParts.tif"
    assert conversion.image_folder == tmp_path / photos


def test_images_keep_their_split_and_order_and_left_overs_of_macos_are_passed_by(tmp_path):
    write_image(tmp_path, stem="munster_000000_000019", split="val")
    write_image(tmp_path, stem="zurich_000000_000019")
    path = write_image(tmp_path)
    path.with_name(f"._{path.name}").write_bytes(b"\0")
    path.with_name("readme.txt").write_text("")
    assert [(outcome.split, outcome.record.image_id) for outcome in outcomes(tmp_path)] == [
        ("train", FIRST),
        ("train", "zurich_000000_000019"),
        ("val", "munster_000000_000019"),
    ]


def test_the_folder_of_macos_is_never_the_release(tmp_path):
    write_image(tmp_path / "download")
    for folder in ("gtFinePanopticParts", "leftImg8bit"):
        (tmp_path / "__MACOSX" / folder / "train").mkdir(parents=True)
    assert only_record(tmp_path).source == f"download/{ITEM}"


def test_items_hold_their_files_and_the_conversion_can_be_sent_to_another_process(tmp_path):
    path = write_image(tmp_path)
    conversion = convert(tmp_path, MANIFEST)
    assert conversion.items[0].files == (path,)
    sent = pickle.loads(pickle.dumps(conversion))
    assert list(sent.outcomes) == outcomes(tmp_path)


PLACES = (
    "gtFinePanopticParts, gtFinePanopticParts_trainval/gtFinePanopticParts, gtFinePanopticParts_trainval, "
    "*/gtFinePanopticParts"
)
PHOTO_PLACES = "leftImg8bit, leftImg8bit_trainvaltest/leftImg8bit, leftImg8bit_trainvaltest, */leftImg8bit"


@pytest.mark.parametrize(
    ("folders", "got"),
    [
        ((), "an empty folder"),
        (("gtFine/train", "leftImg8bit/train"), "gtFine, leftImg8bit"),
        (("a", "b", "c", "d", "e", "f", "g"), "a, b, c, d, e and 2 more"),
        (("gtFinePanopticParts/test",), "gtFinePanopticParts"),
    ],
)
def test_a_source_without_ids_is_refused(tmp_path, folders, got):
    for folder in folders:
        (tmp_path / folder).mkdir(parents=True)
    with refused(
        f"{tmp_path}: must hold the folder gtFinePanopticParts with train/ or val/ (looked for {PLACES}), got {got}; "
        "unpack gtFinePanopticParts_trainval.zip there"
    ):
        convert(tmp_path, MANIFEST)


@pytest.mark.parametrize(("make", "got"), [(None, "no such folder"), (Path.touch, "a file")])
def test_a_source_that_is_no_folder_is_refused(tmp_path, make, got):
    source = tmp_path / "cityscapes"
    if make:
        make(source)
    with pytest.raises(DataError, match=f", got {got}; unpack"):
        convert(source, MANIFEST)


def test_a_source_without_photos_is_refused(tmp_path):
    write_image(tmp_path)
    shutil.rmtree(tmp_path / "leftImg8bit")
    with refused(
        f"{tmp_path}: must hold the folder leftImg8bit with train/ or val/ (looked for {PHOTO_PLACES}), got "
        "gtFinePanopticParts; unpack leftImg8bit_trainvaltest.zip there"
    ):
        convert(tmp_path, MANIFEST)


def test_a_source_with_photos_of_other_images_alone_is_refused(tmp_path):
    write_image(tmp_path)
    photos = tmp_path / "leftImg8bit"
    name = f"train/aachen/{FIRST}_leftImg8bit.png"
    (photos / name).rename(photos / "train/aachen/other_leftImg8bit.png")
    with refused(
        f"{photos}: must hold the images of {tmp_path / 'gtFinePanopticParts'}, got none of them, such as {name}; "
        "unpack leftImg8bit_trainvaltest.zip"
    ):
        convert(tmp_path, MANIFEST)


def test_folders_without_a_tiff_are_refused(tmp_path):
    write_image(tmp_path).unlink()
    labels = tmp_path / "gtFinePanopticParts"
    with refused(
        f"{labels}: must hold train/CITY/*_gtFinePanopticParts.tif or val/CITY/*_gtFinePanopticParts.tif, got none; "
        "unpack gtFinePanopticParts_trainval.zip again"
    ):
        convert(tmp_path, MANIFEST)


def test_an_image_in_two_splits_is_refused(tmp_path):
    write_image(tmp_path)
    write_image(tmp_path, split="val")
    with refused(
        f"{tmp_path}: an image must be there once, got {ITEM} and {ITEM.replace('train', 'val')}; unpack "
        "gtFinePanopticParts_trainval.zip into an empty folder"
    ):
        convert(tmp_path, MANIFEST)


@pytest.mark.parametrize(
    "place",
    ["leftImg8bit", "gtFinePanopticParts", "leftImg8bit/train/aachen", ITEM],
)
def test_a_link_out_of_the_source_is_refused(tmp_path, place):
    source, outside = tmp_path / "source", tmp_path / "outside"
    write_image(source)
    (source / place).rename(outside)
    (source / place).symlink_to(outside)
    message = f"{source / place}: must be inside {source}, got a link to {outside}; copy the files there"
    with refused(message):
        convert(source, MANIFEST)


def test_a_link_within_the_source_is_followed(tmp_path):
    path = write_image(tmp_path)
    path.rename(tmp_path / "ids.tif")
    path.symlink_to(tmp_path / "ids.tif")
    assert only_record(tmp_path).image_id == FIRST


def test_links_that_lead_to_each_other_are_refused(tmp_path):
    write_image(tmp_path)
    path = tmp_path / "leftImg8bit/train/aachen" / f"{FIRST}_leftImg8bit.png"
    path.unlink()
    path.symlink_to(path)
    with refused(f"{path}: must lead to a file, got a loop of links; fix them"):
        convert(tmp_path, MANIFEST)


def test_a_link_to_nothing_is_a_missing_photo(tmp_path):
    write_image(tmp_path, stem=SECOND)
    write_image(tmp_path)
    path = tmp_path / "leftImg8bit/train/aachen" / f"{FIRST}_leftImg8bit.png"
    path.unlink()
    path.symlink_to(tmp_path / "nothing")
    assert [reason for reason, _, _ in skips(tmp_path)] == ["image is missing"]


def test_the_same_source_gives_the_same_records(tmp_path):
    write_image(tmp_path)
    first = json.dumps([outcome.record.to_json() for outcome in outcomes(tmp_path)])
    os.utime(tmp_path / ITEM, (0, 0))
    assert json.dumps([outcome.record.to_json() for outcome in outcomes(tmp_path)]) == first
