"""PACO-LVIS, in files written here: objects and parts linked by annotation, federated labels, every defect."""

import json
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
from paco_tree import (
    BALL,
    BAR,
    CAR,
    CAT_OF_LVIS,
    CATEGORIES,
    CORNER,
    DOG,
    EAR,
    HEIGHT,
    MANIFEST,
    TUBE,
    WHEEL,
    WHEELED,
    WHOLE,
    WIDTH,
    WINDOW,
    only_record,
    outcomes,
    photo,
    records,
    rle,
    shown,
    skips,
    write,
)
from PIL import Image

from partseg_cli.data.converters.coco import converter as coco
from partseg_cli.data.converters.conversion import Converted
from partseg_cli.data.converters.paco import convert
from partseg_cli.data.record import Record
from partseg_cli.errors import DataError

PAIRS = [(pair.object, pair.part) for pair in MANIFEST.vocabulary.pairs]
FILE = "annotations/paco_lvis_v1_train.json"


def refused(message: str):
    return pytest.raises(DataError, match=f"^{re.escape(message)}$")


def named(record: Record) -> list[tuple[int, str, str]]:
    return [(part.object, *PAIRS[part.pair]) for part in record.parts]


def instances(record: Record) -> list[tuple[int, str, bool]]:
    return [(thing.id, MANIFEST.objects[thing.category], thing.synthetic) for thing in record.objects]


def open_ended(record: Record) -> set[str]:
    return {MANIFEST.objects[index] for index in record.not_exhaustive}


PIXELS = "width and height must be numbers of pixels"


# the manifest


def test_the_manifest_has_456_seen_pairs_of_73_among_75_objects_and_200_parts():
    vocabulary = MANIFEST.vocabulary
    assert (len(MANIFEST.objects), len(vocabulary.objects), len(vocabulary.parts), len(PAIRS)) == (75, 73, 200, 456)
    assert set(MANIFEST.objects) - set(vocabulary.objects) == {"ball", "napkin"}
    assert all(vocabulary.is_seen)
    assert (vocabulary.unseen_objects, vocabulary.seen()) == ((), vocabulary)


def test_names_are_spelled_as_published():
    assert {("car_(automobile)", "wheel"), ("pipe", "colied_tube"), ("pan_(for_cooking)", "handle")} <= set(PAIRS)


def test_the_manifest_has_the_published_counts():
    assert MANIFEST.expected == {"train": 45790, "val": 2410, "test": 9443}
    assert MANIFEST.annotated == sum(MANIFEST.expected.values())


def test_the_checksum_is_whole():
    (archive,) = (archive for archive in MANIFEST.archives if archive["name"] == "paco_lvis_v1.zip")
    assert re.fullmatch("02ac4edb[0-9a-f]{52}bc80", archive["sha256"])


# one image


def test_an_image_becomes_one_record(tmp_path):
    path = write(tmp_path)
    conversion = convert(tmp_path, MANIFEST)
    (outcome,) = conversion.outcomes
    record = outcome.record
    assert (outcome.split, conversion.splits, conversion.found) == ("train", ("train",), 1)
    assert (conversion.image_root, conversion.items[0].files) == (tmp_path.as_posix(), (path,))
    assert (record.image_id, record.file_name) == ("train2017/000000000001.jpg",) * 2
    assert (record.source, record.width, record.height) == (f"{FILE}: image 1", WIDTH, HEIGHT)
    assert instances(record) == [(0, "car_(automobile)", False)]
    assert named(record) == [(0, "car_(automobile)", "wheel")]
    assert (record.parts[0].raw, record.parts[0].level) == ("car_(automobile):wheel", 1)
    assert Record.from_json(record.to_json()) == record


def test_boxes_and_areas_come_from_the_masks(tmp_path):
    write(tmp_path)
    record = only_record(tmp_path)
    assert (record.objects[0].mask.bbox, record.objects[0].mask.area) == ((1, 1, 6, 5), 30)
    np.testing.assert_array_equal(record.parts[0].mask.decode(HEIGHT, WIDTH), CORNER)


def test_masks_may_be_polygons(tmp_path):
    polygon = [[1, 1, 7, 1, 7, 6, 1, 6]]
    write(tmp_path, [shown(1, CAR, 1, polygon), shown(2, WHEEL, 1, CORNER)])
    np.testing.assert_array_equal(only_record(tmp_path).objects[0].mask.decode(HEIGHT, WIDTH), WHOLE)


def test_parts_belong_to_the_object_that_they_name(tmp_path):
    annotations = [
        shown(7, WHEEL, 9, BAR),
        shown(8, CAR, 8),
        shown(9, CAR, 9, BAR),
        shown(10, WINDOW, 8, CORNER),
        shown(11, EAR, 12, CORNER),
        shown(12, DOG, 12, CORNER),
        shown(13, BALL, 13, CORNER),
    ]
    write(tmp_path, annotations)
    record = only_record(tmp_path)
    cars = [number for number, name, _ in instances(record) if name == "car_(automobile)"]
    bar, whole = sorted(cars, key=lambda number: record.objects[number].mask.area)
    assert named(record) == [
        (bar, "car_(automobile)", "wheel"),
        (whole, "car_(automobile)", "window"),
        (2, "dog", "ear"),
    ]
    assert not any(synthetic for _, _, synthetic in instances(record))
    assert {name for _, name, _ in instances(record)} == {"car_(automobile)", "dog", "ball"}


def test_category_ids_are_those_of_the_file_not_the_published_ones(tmp_path):
    other = [category | {"id": category["id"] + 5000} for category in CATEGORIES]
    write(tmp_path, [shown(1, TUBE + 5000, 2), shown(2, CAR + 5000, 2)], categories=[*other])
    assert skips(tmp_path)[0][1:] == (
        "part's category and its object differ",
        True,
        "'pipe:colied_tube' of 'car_(automobile)'",
    )
    write(tmp_path, [shown(1, WHEEL + 5000, 2), shown(2, CAR + 5000, 2)], categories=other)
    assert named(only_record(tmp_path)) == [(0, "car_(automobile)", "wheel")]


@pytest.mark.parametrize("owner", [None, 77, "1", [1], True])
def test_a_part_without_its_objects_annotation_is_kept_with_a_synthetic_object(tmp_path, owner):
    write(tmp_path, [*WHEELED, shown(3, EAR, owner, CORNER), shown(4, EAR, owner, BAR)])
    record = only_record(tmp_path)
    assert instances(record) == [(0, "car_(automobile)", False), (1, "dog", True)]
    np.testing.assert_array_equal(record.objects[1].mask.decode(HEIGHT, WIDTH), CORNER | BAR)
    reason = "part's object has no annotation: the part is kept, with a synthetic object"
    detail = f"obj_ann_id is {owner if type(owner) is int else None}"
    assert skips(tmp_path) == [(f"{FILE}: annotation {number}", reason, False, detail) for number in (3, 4)]


def test_an_object_whose_mask_is_broken_is_the_union_of_its_parts(tmp_path):
    write(tmp_path, [shown(1, CAR, 1, []), shown(2, WHEEL, 1, CORNER), shown(3, WINDOW, 1, BAR)])
    record = only_record(tmp_path)
    assert instances(record) == [(0, "car_(automobile)", True)]
    np.testing.assert_array_equal(record.objects[0].mask.decode(HEIGHT, WIDTH), CORNER | BAR)
    assert [reason for _, reason, _, _ in skips(tmp_path)] == ["annotation has neither polygons nor run lengths"]


def test_an_image_without_a_part_is_left_out(tmp_path):
    write(tmp_path, [*WHEELED, shown(3, BALL, 3, image=2)], [photo(), photo(2)])
    assert skips(tmp_path) == [(f"{FILE}: image 2", "no part", False, "")]
    assert len(records(tmp_path)) == 1


# federated labels


def test_an_image_may_show_more_of_all_objects_but_the_complete_and_the_absent(tmp_path):
    write(tmp_path, images=[photo(neg_category_ids=[DOG, EAR])])
    record = only_record(tmp_path)
    assert open_ended(record) == set(MANIFEST.objects) - {"car_(automobile)", "dog"}
    assert record.unlabelled_mask().all()


@pytest.mark.parametrize("number", [CAR, WHEEL])
def test_an_object_that_is_listed_as_not_exhaustive_or_a_part_of_it_may_show_more(tmp_path, number):
    write(tmp_path, images=[photo(neg_category_ids=[DOG], not_exhaustive_category_ids=[number])])
    assert open_ended(only_record(tmp_path)) == set(MANIFEST.objects) - {"dog"}


def test_an_absent_part_says_nothing_of_its_object(tmp_path):
    write(tmp_path, images=[photo(neg_category_ids=[EAR])])
    assert "dog" in open_ended(only_record(tmp_path))


def test_other_categories_of_lvis_do_not_matter(tmp_path):
    write(tmp_path, images=[photo(neg_category_ids=[CAT_OF_LVIS], not_exhaustive_category_ids=[CAT_OF_LVIS])])
    assert open_ended(only_record(tmp_path)) == set(MANIFEST.objects) - {"car_(automobile)"}


def test_an_image_in_which_every_object_is_sure_has_no_open_end(tmp_path):
    objects = [
        {"supercategory": "OBJECT", "id": n, "name": name} for n, name in enumerate(MANIFEST.objects, start=3000)
    ]
    names = {category["name"] for category in CATEGORIES}
    categories = [*CATEGORIES, *(category for category in objects if category["name"] not in names)]
    write(tmp_path, images=[photo(neg_category_ids=[c["id"] for c in categories])], categories=categories)
    record = only_record(tmp_path)
    assert (record.not_exhaustive, record.unlabelled_mask().any()) == ((), False)


def test_lists_that_are_not_there_say_nothing_and_broken_ones_are_a_defect(tmp_path):
    bare = {key: value for key, value in photo().items() if "category" not in key}
    write(tmp_path, images=[bare, photo(2, neg_category_ids=None), photo(3, neg_category_ids=["1"])])
    assert open_ended(only_record(tmp_path)) == set(MANIFEST.objects) - {"car_(automobile)"}
    detail = "category ids must be lists of numbers, got {} and []"
    assert skips(tmp_path) == [
        (f"{FILE}: image 2", "image record is malformed", True, detail.format("None")),
        (f"{FILE}: image 3", "image record is malformed", True, detail.format("['1']")),
    ]


# defects


@pytest.mark.parametrize(
    ("annotation", "reason", "detail"),
    [
        (shown(9, EAR, 1), "part's category and its object differ", "'dog:ear' of 'car_(automobile)'"),
        (shown(9, EAR, 3), "part belongs to no annotated object", "obj_ann_id is 3, in image 2"),
        (shown(1, WHEEL, 1), "annotation id stands twice", "1"),
        (shown(9, WHEEL, 1, image=5), "annotation belongs to an unknown image", "image_id is 5"),
        (shown(9, 999, 1), "annotation has an unknown category", "category_id is 999"),
        (
            shown(9, WHEEL, 1, rle(np.ones((WIDTH, HEIGHT), bool))),
            "run lengths and image differ in size",
            "size is [12, 8], the image's height and width are [8, 12], swapped",
        ),
        (shown(9, WHEEL, 1, WHOLE & BAR), "mask has no pixel", "{'size': [8, 12], 'counts': 'P3'}"),
        (shown(9, WHEEL, 1, [[1, 1, 5, 5]]), "polygon has fewer than 3 points", "got 2"),
    ],
)
def test_a_broken_annotation_is_a_defect_and_the_others_stay(tmp_path, annotation, reason, detail):
    write(tmp_path, [*WHEELED, shown(3, DOG, 3, image=2), annotation], [photo(), photo(2)])
    defects = [(item, why, what) for item, why, is_defect, what in skips(tmp_path) if is_defect]
    assert defects == [(f"{FILE}: annotation {annotation['id']}", reason, detail)]
    assert named(only_record(tmp_path)) == [(0, "car_(automobile)", "wheel")]


@pytest.mark.parametrize("annotation", ["ear", {"id": 9}, shown([9], WHEEL, 1), shown(9, [WHEEL], 1)])
def test_an_annotation_of_another_kind_is_a_defect(tmp_path, annotation):
    write(tmp_path, [*WHEELED, annotation])
    ((_, reason, is_defect, _),) = skips(tmp_path)
    assert (reason, is_defect) == ("annotation is malformed", True)
    assert len(only_record(tmp_path).parts) == 1


def test_a_crowd_is_told_and_left_out(tmp_path):
    write(tmp_path, [*WHEELED, shown(3, DOG, 3, BAR, iscrowd=1)])
    assert skips(tmp_path) == [(f"{FILE}: annotation 3", "annotation is a crowd", False, "")]
    assert "dog" in open_ended(only_record(tmp_path))


@pytest.mark.parametrize(
    ("image", "reason", "detail"),
    [
        ({"file_name": "a.jpg"}, "image record is malformed", "it must have an id"),
        (photo(2, file_name=None), "image record names no file", "file_name is None"),
        (photo(2, file_name="train2017/\0.jpg"), "image is missing", "train2017/\0.jpg"),
        (photo(2, file_name="train2017/9.jpg"), "image is missing", "train2017/9.jpg"),
        (photo(2, file_name="train2017/000000000001.jpg"), "image file stands twice", "train2017/000000000001.jpg"),
        (photo(2, width="12"), "image record is malformed", f"{PIXELS}, got '12' and 8"),
        (photo(2, width=-12, height=-8), "image record is malformed", f"{PIXELS}, got -12 and -8"),
        (photo(2, height=0), "image record is malformed", f"{PIXELS}, got 12 and 0"),
    ],
)
def test_a_broken_image_is_a_defect_and_the_others_stay(tmp_path, image, reason, detail):
    path = write(tmp_path, images=[photo(), photo(2)])
    value = json.loads(path.read_text())
    path.write_text(json.dumps({**value, "images": [photo(), image]}))
    item = f"{FILE}: image 2" if "id" in image else f"{FILE}: images[1]"
    assert skips(tmp_path) == [(item, reason, True, detail)]
    assert len(records(tmp_path)) == 1


def test_different_images_of_one_id_are_both_defects(tmp_path):
    write(tmp_path, [*WHEELED, shown(3, EAR, 9, image=2)], [photo(), photo(file_name="a/b.jpg"), photo(2)])
    reason, item = "image id stands twice", f"{FILE}: image 1"
    defects = [skip for skip in skips(tmp_path) if skip[2]]
    assert defects == [(item, reason, True, "1"), (item, reason, True, "1")]


def test_an_image_in_two_splits_comes_into_the_first(tmp_path):
    write(tmp_path)
    write(tmp_path, split="val")
    item = "annotations/paco_lvis_v1_val.json: image 1"
    assert skips(tmp_path) == [(item, "image file stands twice", True, "train2017/000000000001.jpg")]


def test_a_broken_or_larger_photo_is_a_defect(tmp_path):
    write(tmp_path, [*WHEELED, shown(3, EAR, 9, image=2), shown(4, EAR, 9, image=3)], [photo(n) for n in (1, 2, 3)])
    (tmp_path / "train2017/000000000002.jpg").write_bytes(b"")
    Image.new("RGB", (HEIGHT, WIDTH)).save(tmp_path / "train2017/000000000003.jpg")
    defects = [skip[1:] for skip in skips(tmp_path) if skip[2]]
    assert [reason for reason, _, _ in defects] == ["image cannot be used", "mask and image differ in size"]
    assert defects[1][2] == "mask 12x8, image 8x12, swapped"


# the source


@pytest.mark.parametrize("photos", [".", "coco", "images"])
@pytest.mark.parametrize("folder", ["", "annotations", "paco/annotations", "paco_lvis_v1"])
def test_annotations_and_photos_are_found_where_they_are_usually_put(tmp_path, folder, photos):
    write(tmp_path, folder=folder, photos=photos)
    record = only_record(tmp_path)
    assert record.image_id == "train2017/000000000001.jpg"
    assert record.file_name == (Path(photos) / record.image_id).as_posix()


def test_splits_are_those_of_the_files_that_are_there(tmp_path):
    write(tmp_path, images=[photo(5, "val2017")], annotations=[shown(1, WHEEL, 9, image=5)], split="test")
    write(tmp_path)
    write(tmp_path, images=[photo(3)], annotations=[shown(1, WHEEL, 9, image=3)], split="val")
    assert convert(tmp_path, MANIFEST).splits == ("train", "val", "test")
    assert convert(tmp_path, MANIFEST).notes == ()
    found = [(o.split, o.record.image_id) for o in outcomes(tmp_path) if isinstance(o, Converted)]
    assert found == [
        ("train", "train2017/000000000001.jpg"),
        ("val", "train2017/000000000003.jpg"),
        ("test", "val2017/000000000005.jpg"),
    ]


def test_missing_splits_and_ego4d_are_told(tmp_path):
    write(tmp_path)
    (tmp_path / "annotations/paco_ego4d_v1_val.json").touch()
    assert convert(tmp_path, MANIFEST).notes == (
        "paco_lvis_v1_val.json is not there: paco_lvis_v1.zip holds it",
        "paco_lvis_v1_test.json is not there: the first paco_lvis_v1.zip lacked it, download it again",
        "paco_ego4d_v1_val.json is left aside: it is PACO-EGO4D, a set of its own, which partseg prepare coco reads",
    )


def test_an_item_holds_its_own_annotations_alone_and_can_be_sent_to_another_process(tmp_path):
    annotations = [shown(number, WHEEL, 9999, image=number % 40) for number in range(1, 401)]
    write(tmp_path, annotations, [photo(number) for number in range(40)])
    conversion = convert(tmp_path, MANIFEST)
    assert {len(item.content.image.annotations) for item in conversion.items} == {10}
    assert max(len(pickle.dumps(item)) for item in conversion.items) < 5000
    assert list(pickle.loads(pickle.dumps(conversion)).outcomes) == outcomes(tmp_path)


FILES = "paco_lvis_v1_train.json, paco_lvis_v1_val.json, paco_lvis_v1_test.json"
PLACES = "annotations, paco, paco/annotations, paco_lvis_v1, annotations/paco_lvis_v1"
LOOKED = f"must hold {FILES} or one of them (looked there and in {PLACES})"


@pytest.mark.parametrize(
    ("names", "got"),
    [
        ((), "an empty folder"),
        (("lvis_v1_train.json", "train2017"), "lvis_v1_train.json, train2017"),
        (("a", "b", "c", "d", "e", "f"), "a, b, c, d, e and 1 more"),
    ],
)
def test_a_source_without_annotations_is_refused(tmp_path, names, got):
    for name in names:
        (tmp_path / name).touch()
    with refused(f"{tmp_path}: {LOOKED}, got {got}; unpack paco_lvis_v1.zip there"):
        convert(tmp_path, MANIFEST)


def test_a_source_that_is_no_folder_is_refused(tmp_path):
    with refused(f"{tmp_path / 'no'}: {LOOKED}, got no such folder; unpack paco_lvis_v1.zip there"):
        convert(tmp_path / "no", MANIFEST)
    (tmp_path / "file").touch()
    with refused(f"{tmp_path / 'file'}: {LOOKED}, got a file; unpack paco_lvis_v1.zip there"):
        convert(tmp_path / "file", MANIFEST)


def test_ego4d_is_recognised_and_the_way_that_is_told_reads_it(tmp_path):
    path = write(tmp_path, folder="paco", images=[photo(file_name="000cd456_000024.jpeg")], photos="images")
    name = "paco/paco_ego4d_v1_train.json"
    path.rename(tmp_path / name)
    with refused(
        f"{tmp_path}: {LOOKED}, got {name}, which is PACO-EGO4D; partseg prepare coco {tmp_path} --annotations {name} "
        "reads it beside its frames"
    ):
        convert(tmp_path, MANIFEST)
    found = coco.convert(tmp_path, annotations=[Path(name)])
    (record,) = (outcome.record for outcome in found.conversion.outcomes if isinstance(outcome, Converted))
    assert [(thing.id, thing.synthetic) for thing in record.objects] == [(0, False)]
    assert [(part.object, part.raw) for part in record.parts] == [(0, "car_(automobile):wheel")]


def test_annotations_of_objects_alone_are_refused(tmp_path):
    path = write(tmp_path, [shown(1, CAR, 1), shown(2, DOG, 2)])
    with refused(
        f"{path}: must hold annotations of parts (supercategory PART), got 2 of objects alone, as in a first release; "
        "download paco_lvis_v1.zip again"
    ):
        convert(tmp_path, MANIFEST)


@pytest.mark.parametrize(
    ("category", "got"),
    [
        ({"id": 1, "name": "cat", "supercategory": "OBJECT"}, "'cat'"),
        ({"id": 1, "name": "car", "supercategory": "OBJECT"}, "'car'"),
        ({"id": 1, "name": "dog:wheel", "supercategory": "PART"}, "'dog:wheel'"),
        ({"id": 1, "name": "dog", "supercategory": "PART"}, "'dog'"),
        ({"id": 1, "name": "dog:ear", "supercategory": "OBJECT"}, "'dog:ear'"),
        ({"id": 1, "name": "dog"}, "'dog'"),
    ],
)
def test_unknown_categories_are_refused_by_name(tmp_path, category, got):
    path = write(tmp_path, categories=[*CATEGORIES, category])
    with refused(
        f"{path}: categories must be the 75 objects and 456 parts of PACO, of supercategory OBJECT and PART, got "
        f"{got}; a set of your own is for partseg prepare coco"
    ):
        convert(tmp_path, MANIFEST)


def test_many_unknown_categories_are_counted(tmp_path):
    write(tmp_path, categories=[{"id": n, "name": f"n{n}", "supercategory": "OBJECT"} for n in range(1203)])
    with pytest.raises(DataError, match=r"got 'n0', 'n1', 'n2', 'n3', 'n4' and 1198 more; a set"):
        convert(tmp_path, MANIFEST)


@pytest.mark.parametrize(
    "category", [{"id": 1}, {"name": "dog"}, "dog", {"id": "1", "name": "dog"}, {"id": 1, "name": 2}]
)
def test_a_broken_category_is_refused(tmp_path, category):
    path = write(tmp_path, categories=[category])
    message = f"a category must have an id and a name, got {category!r}; download paco_lvis_v1.zip again"
    with refused(f"{path}: {message}"):
        convert(tmp_path, MANIFEST)


def test_two_categories_of_one_id_are_refused(tmp_path):
    path = write(tmp_path, categories=[*CATEGORIES, {"id": CAR, "name": "dog", "supercategory": "OBJECT"}])
    with refused(
        f"{path}: a category's id must be its own, got 207 for 'car_(automobile)' and 'dog'; download paco_lvis_v1.zip "
        "again"
    ):
        convert(tmp_path, MANIFEST)


@pytest.mark.parametrize("value", ["[]", '{"images": [], "annotations": []}', '{"images": [], "annotations": 1}', "3"])
def test_other_json_is_refused(tmp_path, value):
    path = write(tmp_path)
    path.write_text(value)
    with refused(
        f"{path}: must hold the lists images, annotations, categories, got other JSON; download paco_lvis_v1.zip again"
    ):
        convert(tmp_path, MANIFEST)


@pytest.mark.parametrize(
    ("content", "got"),
    [
        (b"", "an empty file (Expecting value: line 1 column 1 (char 0))"),
        (
            b"version https://git-lfs.github.com/spec/v1\n",
            "a git-lfs pointer (Expecting value: line 1 column 1 (char 0))",
        ),
        (b"<html>", "an HTML page (Expecting value: line 1 column 1 (char 0))"),
    ],
)
def test_what_is_no_json_is_refused(tmp_path, content, got):
    path = write(tmp_path)
    path.write_bytes(content)
    with refused(f"{path}: must be JSON, got {got}; download paco_lvis_v1.zip again"):
        convert(tmp_path, MANIFEST)


def test_a_source_without_photos_is_refused(tmp_path):
    write(tmp_path, images=[photo(), photo(2)])
    (tmp_path / "train2017").rename(tmp_path / "photos")
    with refused(
        f"{tmp_path}: must hold the images of COCO, train2017/ and val2017/, there or in images/ or coco/, got none, "
        "such as train2017/000000000001.jpg; unpack train2017.zip and val2017.zip there"
    ):
        convert(tmp_path, MANIFEST)


@pytest.mark.parametrize("name", ["../../outside.jpg", "/etc/hostname.jpg"])
def test_a_photo_outside_of_the_source_is_refused(tmp_path, name):
    path = write(tmp_path)
    path.write_text(path.read_text().replace("train2017/000000000001.jpg", name))
    message = f"{path}: an image must be inside {tmp_path}, got {name!r}; name a folder that holds all"
    with refused(message):
        convert(tmp_path, MANIFEST)


@pytest.mark.parametrize("place", ["train2017", "train2017/000000000001.jpg", FILE])
def test_a_link_out_of_the_source_is_refused(tmp_path, place):
    source, outside = tmp_path / "source", tmp_path / "outside"
    write(source)
    (source / place).rename(outside)
    (source / place).symlink_to(outside)
    target = outside / "000000000001.jpg" if place == "train2017" else outside
    named_place = source / "train2017/000000000001.jpg" if place == "train2017" else source / place
    message = f"{named_place}: must be inside {source}, got a link to {target}; copy the files there"
    with refused(message):
        convert(source, MANIFEST)


@pytest.mark.parametrize("place", ["train2017/000000000001.jpg", FILE])
def test_links_that_lead_to_each_other_are_refused(tmp_path, place):
    write(tmp_path)
    (tmp_path / place).unlink()
    (tmp_path / place).symlink_to(tmp_path / place)
    with refused(f"{tmp_path / place}: must lead to a file, got a loop of links; fix them"):
        convert(tmp_path, MANIFEST)


def test_the_same_source_gives_the_same_records(tmp_path):
    write(tmp_path, images=[photo(neg_category_ids=[DOG])])
    assert only_record(tmp_path).to_json() == only_record(tmp_path).to_json()
