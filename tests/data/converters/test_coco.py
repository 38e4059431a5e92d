"""Sets in COCO format, written here: three ways to name objects, every defect; and real car parts."""

import json
import os
import re
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from partseg_cli.data.converters.coco.converter import CocoSet, convert
from partseg_cli.data.converters.coco.masks import build_mask
from partseg_cli.data.converters.conversion import Converted, InvalidAnnotationError, Skipped
from partseg_cli.data.record import Record
from partseg_cli.errors import DataError, UsageError

WIDTH, HEIGHT = 12, 8
SQUARE = [[1, 1, 5, 1, 5, 4, 1, 4]]
"""Covers columns 1-4 and rows 1-3."""
BAR = [[6, 2, 10, 2, 10, 4, 6, 4]]


def box(left: int, top: int, right: int, bottom: int) -> np.ndarray:
    pixels = np.zeros((HEIGHT, WIDTH), bool)
    pixels[top:bottom, left:right] = True
    return pixels


def photo(number: int = 1, **more: object) -> dict:
    return {"id": number, "file_name": f"{number}.png", "width": WIDTH, "height": HEIGHT, **more}


def shown(number: object, category: int, segmentation: object = SQUARE, image: int = 1, **more: object) -> dict:
    return {"id": number, "image_id": image, "category_id": category, "segmentation": segmentation, **more}


def categories(*names: str, kinds: str = "") -> list[dict]:
    """Categories 1, 2, ...; those whose letter in `kinds` is o are objects, p parts."""
    words = {"o": "OBJECT", "p": "PART"}
    return [
        {"id": number, "name": name, "supercategory": words[kinds[number - 1]] if kinds else ""}
        for number, name in enumerate(names, start=1)
    ]


def write(folder: Path, annotations: list, names: list[dict], images: list | None = None, file: str = "a.json") -> Path:
    """Write a COCO file with photos beside it, as large as their records say."""
    images = [photo()] if images is None else images
    path = folder / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": names}))
    for image in images:
        Image.new("RGB", (WIDTH, HEIGHT), "grey").save(path.parent / f"{image['id']}.png")
    return folder


def records(found: CocoSet) -> list[Record]:
    return [outcome.record for outcome in found.conversion.outcomes if isinstance(outcome, Converted)]


def only_record(found: CocoSet) -> Record:
    (record,) = records(found)
    return record


def skips(found: CocoSet) -> list[tuple[str, str, str]]:
    """Give (item, reason, detail) of all defects."""
    return [(o.item, o.reason, o.detail) for o in found.conversion.outcomes if isinstance(o, Skipped) and o.is_defect]


def named(found: CocoSet, record: Record) -> list[tuple[int, str, str]]:
    pairs = found.vocabulary.pairs
    return [(part.object, pairs[part.pair].object, pairs[part.pair].part) for part in record.parts]


def instances(found: CocoSet, record: Record) -> list[tuple[int, str, bool]]:
    return [(thing.id, found.objects[thing.category], thing.synthetic) for thing in record.objects]


def refused(message: str, kind: type[Exception] = DataError):
    return pytest.raises(kind, match=f"^{re.escape(message)}$")


# the three ways


def test_one_object_has_all_categories_as_parts(tmp_path):
    write(tmp_path, [shown(7, 2), shown(8, 1, BAR)], categories("wheel", "back_bumper"))
    found = convert(tmp_path, object_name="car")
    record = only_record(found)
    assert named(found, record) == [(0, "car", "back_bumper"), (0, "car", "wheel")]
    assert instances(found, record) == [(0, "car", True)]
    np.testing.assert_array_equal(record.parts[0].mask.decode(HEIGHT, WIDTH), box(1, 1, 5, 4))
    union = box(1, 1, 5, 4) | box(6, 2, 10, 4)
    np.testing.assert_array_equal(record.objects[0].mask.decode(HEIGHT, WIDTH), union)
    assert [part.raw for part in record.parts] == ["back_bumper", "wheel"]
    assert all(found.vocabulary.is_seen)


def test_a_category_called_as_the_one_object_is_the_object_itself(tmp_path):
    write(tmp_path, [shown(7, 1, BAR), shown(8, 2)], categories("car", "car's wheel"))
    found = convert(tmp_path, object_name="car")
    record = only_record(found)
    assert [(pair.object, pair.part) for pair in found.vocabulary.pairs] == [("car", "wheel")]
    assert record.objects[0].mask.area == (box(1, 1, 5, 4) | box(6, 2, 10, 4)).sum()


@pytest.mark.parametrize("names", [("cat:ear", "dog : head"), ("cat's ear", "dog’s head")])
def test_categories_may_name_object_and_part(tmp_path, names):
    write(tmp_path, [shown(7, 2), shown(8, 1, BAR)], categories(*names))
    found = convert(tmp_path)
    record = only_record(found)
    assert found.objects == ("cat", "dog")
    assert named(found, record) == [(0, "dog", "head"), (1, "cat", "ear")]
    assert instances(found, record) == [(0, "dog", True), (1, "cat", True)]


def test_a_bare_category_may_be_the_object_of_another(tmp_path):
    write(tmp_path, [shown(7, 1, BAR), shown(8, 2)], categories("cat", "cat:ear"))
    found = convert(tmp_path)
    record = only_record(found)
    assert (named(found, record), instances(found, record)) == ([(0, "cat", "ear")], [(0, "cat", True)])
    np.testing.assert_array_equal(record.objects[0].mask.decode(HEIGHT, WIDTH), box(1, 1, 5, 4) | box(6, 2, 10, 4))


PACO = categories("car_(automobile)", "car_(automobile):wheel", "dog", "dog:ear", kinds="opop")


def test_links_lead_parts_to_instances(tmp_path):
    annotations = [
        shown(1, 2, obj_ann_id=3),
        shown(2, 1, BAR, obj_ann_id=2),
        shown(3, 1, obj_ann_id=3),
        shown(4, 2, BAR, obj_ann_id=2),
        shown(5, 3, BAR, obj_ann_id=5),
    ]
    found = convert(write(tmp_path, annotations, PACO))
    record = only_record(found)
    assert found.objects == ("car_(automobile)", "dog")
    assert [pair.name for pair in found.vocabulary.pairs] == ["car_(automobile)'s wheel"]
    assert instances(found, record) == [
        (0, "car_(automobile)", False),
        (1, "car_(automobile)", False),
        (2, "dog", False),
    ]
    assert named(found, record) == [(0, "car_(automobile)", "wheel"), (1, "car_(automobile)", "wheel")]
    np.testing.assert_array_equal(record.objects[1].mask.decode(HEIGHT, WIDTH), box(6, 2, 10, 4))
    assert skips(convert(tmp_path)) == []


def test_links_need_no_supercategory_and_no_pair_in_the_name(tmp_path):
    annotations = [shown(1, 1, BAR), shown(2, 2, obj_ann_id=1)]
    found = convert(write(tmp_path, annotations, categories("lion's mane jelly", "arm: long")))
    record = only_record(found)
    assert named(found, record) == [(0, "lion's mane jelly", "arm: long")]
    assert instances(found, record) == [(0, "lion's mane jelly", False)]


def test_an_object_whose_own_mask_is_broken_is_the_union_of_its_parts(tmp_path):
    found = convert(write(tmp_path, [shown(1, 1, [], obj_ann_id=1), shown(2, 2, obj_ann_id=1)], PACO))
    record = only_record(found)
    assert instances(found, record) == [(0, "car_(automobile)", True)]
    assert [reason for _, reason, _ in skips(convert(tmp_path))] == ["annotation has neither polygons nor run lengths"]


@pytest.mark.parametrize(
    ("annotation", "reason", "detail"),
    [
        (shown(9, 2), "part belongs to no annotated object", "obj_ann_id is None, no object's annotation"),
        (
            shown(9, 2, obj_ann_id=77),
            "part belongs to no annotated object",
            "obj_ann_id is 77, no object's annotation",
        ),
        (
            shown(9, 2, obj_ann_id=2),
            "part belongs to no annotated object",
            "obj_ann_id is 2, no object's annotation",
        ),
        (
            shown(9, 2, obj_ann_id=[1]),
            "part belongs to no annotated object",
            "obj_ann_id is [1], no object's annotation",
        ),
        (shown(9, 2, obj_ann_id=3), "part belongs to no annotated object", "obj_ann_id is 3, in image 2"),
        (
            shown(9, 4, obj_ann_id=1),
            "part's category and its object differ",
            "'dog:ear' of 'car_(automobile)'",
        ),
    ],
)
def test_a_link_that_leads_nowhere_skips_the_part(tmp_path, annotation, reason, detail):
    annotations = [shown(1, 1, obj_ann_id=1), shown(2, 2, obj_ann_id=1), shown(3, 1, image=2, obj_ann_id=3), annotation]
    write(tmp_path, annotations, PACO, [photo(1), photo(2)])
    assert skips(convert(tmp_path)) == [("a.json: annotation 9", reason, detail)]
    assert len(only_record(convert(tmp_path)).parts) == 1


WAYS = (
    "a.json: the object must be named in one of three ways: --object NAME for all parts, categories such as "
    '"cat:ear" or "cat\'s ear", or obj_ann_id in every annotation of a part; got '
)


@pytest.mark.parametrize(
    ("names", "got"),
    [
        (("wheel", "hood"), "'hood', 'wheel'"),
        (("cat:ear", "wheel"), "'wheel'"),
        (("a", "b", "c", "d", "e", "f", "g"), "'a', 'b', 'c', 'd', 'e' and 2 more"),
    ],
)
def test_parts_that_name_no_object_are_refused_with_the_three_ways(tmp_path, names, got):
    write(tmp_path, [shown(number, number) for number in range(1, len(names) + 1)], categories(*names))
    with refused(WAYS + got):
        convert(tmp_path)


def test_one_object_beside_links_is_refused(tmp_path):
    write(tmp_path, [shown(1, 1, obj_ann_id=1), shown(2, 2, obj_ann_id=1)], PACO)
    message = "a.json: --object is for parts alone, got obj_ann_id in annotations; leave --object out"
    with refused(message):
        convert(tmp_path, object_name="car")


def test_an_empty_object_is_refused(tmp_path):
    write(tmp_path, [shown(1, 1)], categories("wheel"))
    with refused("--object must be a name, got nothing; write --object car", UsageError):
        convert(tmp_path, object_name=" ")


# categories


def test_unused_and_background_categories_are_told_and_left_out(tmp_path):
    names = categories("_background_", "wheel", "sail", "Background")
    found = convert(write(tmp_path, [shown(1, 2), shown(2, 4, BAR)], names), object_name="car")
    assert [pair.part for pair in found.vocabulary.pairs] == ["wheel"]
    assert [outcome for outcome in found.conversion.outcomes if isinstance(outcome, Skipped)] == [
        Skipped("a.json", "category is the background", False, "_background_"),
        Skipped("a.json", "category has no annotation", False, "sail"),
        Skipped("a.json", "category is the background", False, "Background"),
        Skipped("a.json: annotation 2", "category is the background", False),
    ]


def test_a_category_used_in_one_of_two_files_is_used(tmp_path):
    write(tmp_path, [shown(1, 1)], categories("wheel", "hood"), file="one/a.json")
    write(tmp_path, [shown(1, 1)], categories("hood", "wheel"), file="two/b.json")
    found = convert(
        tmp_path, annotations=[Path("one/a.json"), Path("two/b.json")], splits=["val", "train"], object_name="car"
    )
    outcomes = list(found.conversion.outcomes)
    assert [outcome.split for outcome in outcomes] == ["val", "train"]
    assert [outcome.record.image_id for outcome in outcomes] == ["one/1.png", "two/1.png"]
    assert [found.vocabulary.pairs[o.record.parts[0].pair].part for o in outcomes] == ["wheel", "hood"]


@pytest.mark.parametrize(
    "category",
    [{"id": 1}, {"name": "ear"}, {"id": 1, "name": " "}, "ear", {"id": [], "name": "a"}, {"id": 1, "name": "\ud800"}],
)
def test_a_broken_category_is_refused(tmp_path, category):
    write(tmp_path, [shown(1, 1)], [category])
    with refused(f"{tmp_path}/a.json: a category must have an id and a name, got {category!r}; fix it"):
        convert(tmp_path, object_name="car")


def test_two_categories_of_one_id_are_refused(tmp_path):
    write(tmp_path, [shown(1, 1)], [*categories("ear"), {"id": 1, "name": "tail"}])
    with refused(f"{tmp_path}/a.json: a category's id must be its own, got 1 for 'ear' and 'tail'; fix one"):
        convert(tmp_path, object_name="cat")


def test_a_set_without_a_usable_part_is_refused(tmp_path):
    write(tmp_path, [shown(1, 1, image=5)], categories("ear"))
    message = f"{tmp_path}: must hold an annotated part, got none (annotation belongs to an unknown image)"
    with refused(message):
        convert(tmp_path, object_name="cat")


# masks


def code(pixels: np.ndarray) -> dict:
    rle = coco.encode(np.asfortranarray(pixels, np.uint8))
    return {"size": list(pixels.shape), "counts": rle["counts"].decode()}


def runs(pixels: np.ndarray) -> list[int]:
    """Lengths of absent and present runs in turn, column by column."""
    flat = np.concatenate([[False], pixels.T.ravel()])
    edges = np.flatnonzero(np.diff(flat)).tolist()
    return np.diff([0, *edges, pixels.size]).tolist()


def test_run_lengths_of_both_kinds_give_the_mask():
    pixels = box(3, 2, 9, 7)
    plain = build_mask({"size": [HEIGHT, WIDTH], "counts": runs(pixels)}, WIDTH, HEIGHT)
    compressed = build_mask(code(pixels), WIDTH, HEIGHT)
    assert plain == compressed
    assert (compressed.rle, compressed.bbox, compressed.area) == (code(pixels)["counts"], (3, 2, 6, 5), 30)
    np.testing.assert_array_equal(compressed.decode(HEIGHT, WIDTH), pixels)


def test_boxes_and_areas_come_from_the_masks_not_from_the_file(tmp_path):
    # VLPart's own files have a box one pixel too small, and its area
    write(tmp_path, [shown(1, 1, bbox=[1, 1, 3, 2], area=6)], categories("ear"))
    mask = only_record(convert(tmp_path, object_name="cat")).parts[0].mask
    assert (mask.bbox, mask.area) == ((1, 1, 4, 3), 12)


def test_polygons_of_one_annotation_are_united_and_cut_at_the_edge():
    mask = build_mask([*SQUARE, [10, 6, 20, 6, 20, 12, 10, 12]], WIDTH, HEIGHT)
    np.testing.assert_array_equal(mask.decode(HEIGHT, WIDTH), box(1, 1, 5, 4) | box(10, 6, 12, 8))


RLE = {"size": [HEIGHT, WIDTH]}


@pytest.mark.parametrize(
    ("segmentation", "reason", "detail"),
    [
        (None, "annotation has neither polygons nor run lengths", "segmentation is None"),
        ([], "annotation has neither polygons nor run lengths", "segmentation is []"),
        ([[]], "polygon has fewer than 3 points", "got 0"),
        ([[1, 1, 5, 5]], "polygon has fewer than 3 points", "got 2"),
        ([*SQUARE, [1, 1, 5, 5]], "polygon has fewer than 3 points", "got 2"),
        ([[1, 1, 5, 1, 5, 4, 1]], "polygon is malformed", "got 7 numbers, not pairs of x and y"),
        ([1, 1, 5, 1, 5, 4], "polygon is malformed", "got 1, not a list of numbers"),
        ([[1, 1, 5, "1", 5, 4]], "polygon is malformed", "got [1, 1, 5, '1', 5, 4], not a list of numbers"),
        ([[1, 1, 5, float("nan"), 5, 4]], "polygon has a coordinate that is not finite", "got nan"),
        ([[1, 1, 10**400, 1, 5, 4]], "polygon has a coordinate that is not finite", "got 1" + "0" * 39 + "..."),
        ([[1, 1, float("inf"), 1, 5, 4]], "polygon has a coordinate that is not finite", "got inf"),
        ([[1, 1, 1e300, 1, 5, 4]], "polygon is far outside the image", "got 1 to 1e+300 in an image of 12 pixels"),
        ([[1, -9, 5, 1, 5, 4]], "polygon is far outside the image", "got -9 to 4 in an image of 8 pixels"),
        ([[1, 1, 1, 1, 1, 1]], "mask has no pixel", "[[1, 1, 1, 1, 1, 1]]"),
        ({}, "run lengths and image differ in size", "size is None, the image's height and width are [8, 12]"),
        (
            code(box(0, 0, 3, 3)) | {"size": [WIDTH, HEIGHT]},
            "run lengths and image differ in size",
            "size is [12, 8], the image's height and width are [8, 12], swapped",
        ),
        (RLE, "run lengths are malformed", "counts is None"),
        ({**RLE, "counts": "~~"}, "run lengths are malformed", "counts is '~~'"),
        ({**RLE, "counts": ""}, "run lengths are malformed", "counts is ''"),
        ({**RLE, "counts": "oooooooooo0"}, "run lengths are malformed", "counts is 'oooooooooo0'"),
        ({**RLE, "counts": "52"}, "run lengths are malformed", "runs cover 7 pixels of 96"),
        ({**RLE, "counts": "5O"}, "run lengths are malformed", "a run is -1 pixels long"),
        ({**RLE, "counts": [95, 2]}, "run lengths are malformed", "runs cover 97 pixels of 96"),
        ({**RLE, "counts": [97, -1]}, "run lengths are malformed", "a run is 97 pixels long"),
        ({**RLE, "counts": [95.5, 0.5]}, "run lengths are malformed", "a run is 95.5 pixels long"),
        ({**RLE, "counts": [96]}, "mask has no pixel", "{'size': [8, 12], 'counts': [96]}"),
    ],
)
def test_a_broken_mask_skips_its_annotation_alone(tmp_path, segmentation, reason, detail):
    with pytest.raises(InvalidAnnotationError) as raised:
        build_mask(segmentation, WIDTH, HEIGHT)
    assert (raised.value.reason, raised.value.detail) == (reason, detail)
    found = convert(write(tmp_path, [shown(1, 1, segmentation), shown(2, 1)], categories("ear")), object_name="cat")
    outcomes = list(found.conversion.outcomes)
    assert outcomes[0] == Skipped("a.json: annotation 1", reason, is_defect=True, detail=detail)
    assert [len(outcome.record.parts) for outcome in outcomes[1:]] == [1]


# annotations


@pytest.mark.parametrize(
    ("annotation", "item", "reason", "detail"),
    [
        (shown(1, 1), "annotation 1", "annotation id stands twice", "1"),
        (shown(5, 1, image=9), "annotation 5", "annotation belongs to an unknown image", "image_id is 9"),
        (shown(5, 1, image="1"), "annotation 5", "annotation belongs to an unknown image", "image_id is '1'"),
        (shown(5, 9), "annotation 5", "annotation has an unknown category", "category_id is 9"),
        ("ear", "annotations[1]", "annotation is malformed", "it must have an image_id and a category_id"),
        (shown([], 1), "annotations[1]", "annotation is malformed", "its id must be a number or text"),
        ({"id": 5, "image_id": [1], "category_id": 1}, "annotation 5", "annotation is malformed", None),
    ],
)
def test_a_broken_annotation_is_skipped_alone(tmp_path, annotation, item, reason, detail):
    write(tmp_path, [shown(1, 1), annotation], categories("ear"))
    (skip,) = skips(convert(tmp_path, object_name="cat"))
    assert skip == (f"a.json: {item}", reason, detail or "it must have an image_id and a category_id")
    assert len(only_record(convert(tmp_path, object_name="cat")).parts) == 1


def test_annotations_without_an_id_count_as_well(tmp_path):
    annotations = [shown(None, 1), shown(None, 2, BAR)]
    write(tmp_path, annotations, categories("ear", "tail"))
    assert len(only_record(convert(tmp_path, object_name="cat")).parts) == 2


def test_crowds_are_left_out_without_a_defect(tmp_path):
    write(tmp_path, [shown(1, 1), shown(2, 1, BAR, iscrowd=1), shown(3, 1, iscrowd=0)], categories("ear"))
    first, second = convert(tmp_path, object_name="cat").conversion.outcomes
    assert first == Skipped("a.json: annotation 2", "annotation is a crowd", is_defect=False)
    assert len(second.record.parts) == 2


def test_an_image_without_parts_is_left_out_without_a_defect(tmp_path):
    write(tmp_path, [shown(1, 1, image=2)], categories("ear"), [photo(1), photo(2)])
    first, second = convert(tmp_path, object_name="cat").conversion.outcomes
    assert first == Skipped("a.json: image 1", "no part", is_defect=False)
    assert second.record.source == "a.json: image 2"


# images and photos


def broken_beside_good(source: Path) -> tuple[str, str, str]:
    """Give the only defect; image 2 must be converted."""
    (skip,) = skips(convert(source, object_name="cat"))
    assert only_record(convert(source, object_name="cat")).image_id == "2.png"
    return skip


def two_images(folder: Path, **first: object) -> Path:
    annotations = [shown(1, 1), shown(2, 1, image=2)]
    return write(folder, annotations, categories("ear"), [photo(1, **first), photo(2)])


def test_a_missing_photo_is_a_defect(tmp_path):
    (two_images(tmp_path) / "1.png").unlink()
    assert broken_beside_good(tmp_path) == ("a.json: image 1", "image is missing", "1.png")


def test_half_a_photo_is_a_defect(tmp_path):
    path = two_images(tmp_path) / "1.png"
    path.write_bytes(path.read_bytes()[:-20])
    item, reason, detail = broken_beside_good(tmp_path)
    assert (item, reason) == ("a.json: image 1", "image cannot be used")
    assert detail.startswith("1.png: an image must be complete, got one that cannot be decoded (")


@pytest.mark.parametrize(
    ("size", "detail"),
    [
        ({"width": 13}, "mask 13x8, image 12x8"),
        ({"width": HEIGHT, "height": WIDTH}, "mask 8x12, image 12x8, swapped"),
    ],
)
def test_a_record_of_another_size_is_a_defect(tmp_path, size, detail):
    two_images(tmp_path, **size)
    assert broken_beside_good(tmp_path) == ("a.json: image 1", "mask and image differ in size", detail)


@pytest.mark.parametrize(
    ("size", "got"),
    [
        ({"height": "8"}, "12 and '8'"),
        ({"height": [8]}, "12 and [8]"),
        ({"height": None}, "12 and None"),
        ({"height": -8}, "12 and -8"),
        ({"width": -12, "height": -8}, "-12 and -8"),
    ],
)
def test_a_record_whose_size_is_none_is_a_defect(tmp_path, size, got):
    two_images(tmp_path, **size)
    detail = f"width and height must be numbers of pixels, got {got}"
    assert broken_beside_good(tmp_path) == ("a.json: image 1", "image record is malformed", detail)


def test_a_record_of_more_than_100_megapixels_is_a_defect(tmp_path):
    two_images(tmp_path, height=10**8)
    detail = "it must have at most 100 megapixels, got 12x100000000"
    assert broken_beside_good(tmp_path) == ("a.json: image 1", "image record is malformed", detail)


def turned(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (WIDTH, HEIGHT), "grey").save(path, exif=exif)


def test_a_photo_that_only_its_exif_data_turn_to_its_record_is_read_upright(tmp_path):
    turned(two_images(tmp_path, width=HEIGHT, height=WIDTH) / "1.png")
    first, second = records(convert(tmp_path, object_name="cat"))
    assert [(r.upright, r.width, r.height) for r in (first, second)] == [(True, HEIGHT, WIDTH), (False, WIDTH, HEIGHT)]


def test_a_turned_photo_is_taken_as_stored_where_the_record_agrees(tmp_path):
    turned(two_images(tmp_path) / "1.png")
    assert [(r.width, r.height) for r in records(convert(tmp_path, object_name="cat"))] == [(WIDTH, HEIGHT)] * 2


def test_a_record_without_a_size_takes_the_photos(tmp_path):
    two_images(tmp_path, width=None, height=None)
    assert [(r.width, r.height) for r in records(convert(tmp_path, object_name="cat"))] == [(WIDTH, HEIGHT)] * 2


def test_different_images_of_one_id_are_both_defects(tmp_path):
    images = [photo(1), photo(1, file_name="other.png"), photo(2)]
    write(tmp_path, [shown(1, 1), shown(2, 1, image=2)], categories("ear"), images)
    assert skips(convert(tmp_path, object_name="cat")) == [("a.json: image 1", "image id stands twice", "1")] * 2
    assert only_record(convert(tmp_path, object_name="cat")).image_id == "2.png"


def test_a_photo_that_stands_twice_is_converted_once(tmp_path):
    images = [photo(2), photo(2), photo(3, file_name="2.png")]
    write(tmp_path, [shown(2, 1, image=2)], categories("ear"), images)
    assert skips(convert(tmp_path, object_name="cat")) == [
        ("a.json: image 2", "image file stands twice", "2.png"),
        ("a.json: image 3", "image file stands twice", "2.png"),
    ]


def test_a_photo_of_train_does_not_come_into_val(tmp_path):
    for file in ("a.json", "b.json"):
        write(tmp_path, [shown(2, 1)], categories("ear"), file=file)
    found = convert(tmp_path, annotations=[Path("a.json"), Path("b.json")], splits=["train", "val"], object_name="cat")
    assert skips(found) == [("b.json: image 1", "image file stands twice", "1.png")]


@pytest.mark.parametrize(
    ("image", "item", "reason", "detail"),
    [
        ({"file_name": "1.png"}, "images[0]", "image record is malformed", "it must have an id"),
        (7, "images[0]", "image record is malformed", "it must have an id"),
        ({"id": 4}, "image 4", "image record names no file", "file_name is None"),
        (
            {"id": "\ud800", "file_name": "\ud800"},
            "image '\\ud800'",
            "image record names no file",
            "file_name is '\\ud800'",
        ),
        ({"id": 4, "file_name": 1}, "image 4", "image record names no file", "file_name is 1"),
        ({"id": 4, "file_name": "a\0b"}, "image 4", "image is missing", "a\0b"),
        ({"id": 4, "file_name": "x" * 300}, "image 4", "image is missing", "x" * 300),
        ({"id": 4, "file_name": "."}, "image 4", "image is missing", "."),
    ],
)
def test_a_broken_image_is_a_defect(tmp_path, image, item, reason, detail):
    path = two_images(tmp_path) / "a.json"
    value = json.loads(path.read_text())
    path.write_text(json.dumps(value | {"images": [image, photo(2)], "annotations": [shown(2, 1, image=2)]}))
    assert broken_beside_good(tmp_path) == (f"a.json: {item}", reason, detail)


@pytest.mark.parametrize(
    ("json_file", "place", "image"),
    [
        ("a.json", "images/1.png", {}),
        ("a.json", "JPEGImages/1.png", {}),
        ("a.json", "images/train/1.png", {}),
        ("annotations/a.json", "images/1.png", {}),
        ("annotations/a.json", "1.png", {}),
        ("annotations/a.json", "train/1.png", {}),
        ("annotations/a.json", "photos/1.png", {"file_name": "../photos/1.png"}),
        ("train/a.json", "train/JPEGImages/1.png", {"path": "JPEGImages/1.png"}),
        ("a.json", "1.png", {"path": "/datasets/cars/1.png"}),
        ("a.json", "b/c/1.png", {"file_name": "b\\c\\1.png"}),
    ],
)
def test_photos_are_found_in_the_usual_places(tmp_path, json_file, place, image):
    write(tmp_path, [shown(1, 1)], categories("ear"), [photo(1, **image)], file=json_file)
    made = (tmp_path / json_file).parent / "1.png"
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    made.rename(tmp_path / place)
    found = convert(tmp_path, object_name="cat")
    assert found.conversion.image_root == tmp_path.as_posix()
    assert only_record(found).file_name == place


def test_a_name_that_leads_upwards_starts_at_the_json_file_alone(tmp_path):
    source = write(tmp_path, [shown(1, 1)], categories("ear"), [photo(1, file_name="../1.png")], file="json/a.json")
    (source / "images").mkdir()
    (source / "json/1.png").rename(source / "images/1.png")
    assert skips(convert(source, object_name="cat")) == [("json/a.json: image 1", "image is missing", "../1.png")]


@pytest.mark.parametrize("name", ["../1.png", "images/../../1.png", "/etc/hostname", "a/../../set/../1.png"])
def test_a_photo_outside_of_the_set_is_refused(tmp_path, name):
    source = write(tmp_path / "set", [shown(1, 1)], categories("ear"), [photo(1, file_name=name)])
    (source / "1.png").rename(tmp_path / "1.png")
    message = f"{source}/a.json: an image must be inside {source}, got {name!r}; name a folder that holds all"
    with refused(message):
        records(convert(source, object_name="cat"))


def test_a_link_to_a_photo_outside_is_refused(tmp_path):
    source = write(tmp_path / "set", [shown(1, 1)], categories("ear"))
    (source / "1.png").rename(tmp_path / "1.png")
    (source / "1.png").symlink_to(tmp_path / "1.png")
    message = f"{source}/1.png: must be inside {source}, got a link to {tmp_path}/1.png; copy the files there"
    with refused(message):
        records(convert(source, object_name="cat"))


def test_links_that_lead_to_each_other_are_refused(tmp_path):
    source = write(tmp_path, [shown(1, 1)], categories("ear"))
    (source / "1.png").unlink()
    (source / "1.png").symlink_to(source / "2.png")
    (source / "2.png").symlink_to(source / "1.png")
    message = f"{source}/1.png: must lead to a file, got a loop of links; fix them"
    with refused(message):
        records(convert(source, object_name="cat"))


def test_a_set_behind_a_link_may_link_inside_itself(tmp_path):
    source = write(tmp_path / "set", [shown(1, 1)], categories("ear"))
    (source / "real").mkdir()
    (source / "1.png").rename(source / "real/1.png")
    (source / "images").symlink_to(source / "real")
    (tmp_path / "link").symlink_to(source)
    assert only_record(convert(tmp_path / "link", object_name="cat")).file_name == "images/1.png"


# files


def test_the_one_coco_file_among_others_is_found(tmp_path):
    write(tmp_path, [shown(1, 1)], categories("ear"), file="deep/er/a.json")
    (tmp_path / "package.json").write_text('{"images": 3}')
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "._a.json").write_bytes(b"\0\5\26\7")
    assert records(convert(tmp_path, object_name="cat"))[0].source == "deep/er/a.json: image 1"


def test_several_coco_files_are_refused_with_their_names(tmp_path):
    for file in ("b.json", "a.json"):
        write(tmp_path, [shown(1, 1)], categories("ear"), file=file)
    message = (
        f"{tmp_path}: must hold one COCO file (.json), got a.json, b.json; name each: --annotations FILE --as train"
    )
    with refused(message):
        convert(tmp_path, object_name="cat")


def test_a_folder_without_a_coco_file_is_refused(tmp_path):
    message = f"{tmp_path}: must hold one COCO file (.json), got none; name each: --annotations FILE --as train"
    with refused(message):
        convert(tmp_path)


@pytest.mark.parametrize(("name", "got"), [("none", "nothing there"), ("a.json", "a file")])
def test_a_source_that_is_no_folder_is_refused(tmp_path, name, got):
    write(tmp_path, [], [])
    with refused(f"{tmp_path}/{name}: must be the folder of a COCO set, got {got}; check the path"):
        convert(tmp_path / name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "a COCO file must hold the lists images, annotations, categories, got none called images, "),
        ('{"images": [], "annotations": {}}', "got none called annotations, categories; name another"),
        ("{", r"must be JSON, got a file that starts with b'{' (Expecting property name"),
        ("", "must be JSON, got an empty file (Expecting value: line 1 column 1 (char 0)); export it again as COCO"),
        ("<!DOCTYPE html>", "must be JSON, got an HTML page (Expecting value: "),
        ("[" * 100_000, "must be JSON, got a file that starts with b'[[[[[[[[[[[[[[[[' (maximum recursion"),
    ],
)
def test_a_file_of_something_else_is_refused(tmp_path, text, message):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(DataError, match=re.escape(message)):
        convert(tmp_path)


def test_named_files_may_stand_from_here_but_must_lie_below_the_set(tmp_path, monkeypatch):
    source = write(tmp_path / "set", [shown(1, 1)], categories("ear"))
    monkeypatch.chdir(tmp_path)
    assert records(convert(Path("set"), annotations=[Path("set/a.json")], object_name="cat"))
    os.replace(source / "a.json", tmp_path / "b.json")  # noqa: PTH105
    message = "b.json: must be inside set, got a file outside of it; name a folder that holds both"
    with refused(message):
        convert(Path("set"), annotations=[Path("b.json")])
    with refused("c.json: must be a COCO file below set, got nothing there; check --annotations"):
        convert(Path("set"), annotations=[Path("c.json")])


@pytest.mark.parametrize(
    ("annotations", "splits", "message"),
    [
        (2, [], "--annotations and --as must pair up, got 2 and 0; "),
        (2, ["val"], "--annotations and --as must pair up, got 2 and 1; "),
        (0, ["train", "val"], "--annotations and --as must pair up, got 0 and 2; "),
    ],
)
def test_files_and_splits_must_pair_up(tmp_path, annotations, splits, message):
    advice = "write --annotations A.json --as train --annotations B.json --as val"
    with refused(message + advice, UsageError):
        convert(tmp_path, annotations=[Path("a.json")] * annotations, splits=splits)


def test_a_split_is_train_or_val(tmp_path):
    with refused("--as must be train or val, got 'test'; the files of a test set can be val", UsageError):
        convert(tmp_path, splits=["test"])


# real car parts, decoded a second time by pycocotools alone


@pytest.fixture(scope="module")
def cars(samples) -> CocoSet:
    return convert(
        samples / "car_parts", annotations=[Path("testset/annotations.json")], splits=["val"], object_name="car"
    )


@pytest.fixture(scope="module")
def car_outcomes(cars) -> list[Converted | Skipped]:
    return list(cars.conversion.outcomes)


def test_all_car_photos_are_converted(cars, car_outcomes):
    assert cars.conversion.found == 100
    assert len(cars.vocabulary.pairs) == 18
    assert Counter(type(outcome) for outcome in car_outcomes) == {Converted: 100, Skipped: 1}
    assert car_outcomes[0] == Skipped("testset/annotations.json", "category is the background", False, "_background_")


def test_the_masks_of_the_cars_are_pycocotools_own(samples, cars, car_outcomes):
    value = json.loads((samples / "car_parts/testset/annotations.json").read_text())
    names = {category["id"]: category["name"] for category in value["categories"]}
    converted = [outcome.record for outcome in car_outcomes if isinstance(outcome, Converted)]
    checked = 0
    for image, record in zip(value["images"], converted, strict=True):
        height, width = image["height"], image["width"]
        annotations = [a for a in value["annotations"] if a["image_id"] == image["id"]]
        whole = np.zeros((height, width), bool)
        for annotation, part in zip(annotations, record.parts, strict=True):
            rles = coco.frPyObjects(annotation["segmentation"], height, width)
            with warnings.catch_warnings(action="ignore"):  # pycocotools meets NumPy 2
                pixels = coco.decode(rles).any(axis=2)
            np.testing.assert_array_equal(part.mask.decode(height, width), pixels)
            assert cars.vocabulary.pairs[part.pair].part == names[annotation["category_id"]] == part.raw
            assert part.mask.area == pixels.sum()
            whole |= pixels
            checked += 1
        np.testing.assert_array_equal(record.objects[0].mask.decode(height, width), whole)
    assert checked == 811
