import json
import pickle
import re
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from partimagenet_tree import (
    BODY,
    CAR,
    CAT,
    GUITAR,
    HEAD,
    JEEP,
    MANIFEST,
    PET,
    TENCH,
    TIER,
    TIGER,
    WINE,
    Box,
    Photo,
    change_json,
    coco,
    conversion,
    json_path,
    map_path,
    only_record,
    outcomes,
    part_names,
    photo_path,
    records,
    root,
    skips,
    write_json,
    write_maps,
    write_photo,
    write_photos,
    write_split,
)
from PIL import Image

from partseg_cli.data.converters.conversion import SIZES_DIFFER, Converted
from partseg_cli.data.converters.partimagenet.annotations import SUPER_PARTS
from partseg_cli.data.converters.partimagenet.files import ROOTS
from partseg_cli.data.rle import NONE
from partseg_cli.data.store import DatasetInfo, Store, StoreWriter
from partseg_cli.errors import DataError
from partseg_cli.io.images import open_image

UNPACK = "unpack PartImageNet_Seg.zip of https://huggingface.co/datasets/turkeyju/PartImageNet"
TRAIN_JSON = "PartImageNet/annotations/train/train.json"
PIXELS = "width and height must be numbers of pixels"
NO_SYNSET = "image's name does not begin with a synset"

PAIR_OF_SUPER_PART = MANIFEST.code_pairs


def exactly(message: str) -> str:
    return f"^{re.escape(message)}$"


def refused(source: Path) -> str:
    with pytest.raises(DataError) as error:
        conversion(source)
    return str(error.value)


# the words


def test_the_manifest_has_the_published_numbers():
    vocabulary = MANIFEST.vocabulary
    assert len(MANIFEST.objects) == len(MANIFEST.aliases) == len(vocabulary.objects) == 40
    assert Counter(vocabulary.is_seen) == {True: 92, False: 55}
    assert len(vocabulary.parts) == len(vocabulary.seen().parts) == 13
    assert len(MANIFEST.unseen_objects) == 15
    assert MANIFEST.annotated == 24095
    assert MANIFEST.expected == {}


@pytest.mark.parametrize(
    ("index", "name"),
    [
        (0, "impala's head"),
        (14, "garbage truck's tier"),
        (18, "minibus's side mirror"),
        (36, "motor scooter's body"),
        (81, "American alligator's head"),
        (107, "warplane's engine"),
        (129, "killer whale's head"),
        (146, "bald eagle's tail"),
    ],
)
def test_pairs_stand_at_their_published_ids(index, name):
    assert MANIFEST.vocabulary.pairs[index].name == name


def test_all_40_super_parts_belong_to_pairs_and_all_pairs_to_super_parts():
    assert len(set(SUPER_PARTS)) == 40
    assert {name for _, name in PAIR_OF_SUPER_PART} == set(SUPER_PARTS)
    assert set(PAIR_OF_SUPER_PART.values()) == set(range(len(MANIFEST.vocabulary.pairs)))
    assert len(PAIR_OF_SUPER_PART) == 147


def test_a_part_is_its_super_part_without_the_super_class():
    for (index, name), pair in PAIR_OF_SUPER_PART.items():
        assert MANIFEST.vocabulary.pairs[pair].object == MANIFEST.objects[index]
        assert MANIFEST.vocabulary.pairs[pair].part == name.partition(" ")[2].lower()


def test_an_object_has_all_parts_of_one_super_class():
    for index in range(len(MANIFEST.objects)):
        names = [name for owner, name in PAIR_OF_SUPER_PART if owner == index]
        (super_class,) = {name.partition(" ")[0] for name in names}
        assert sorted(names) == sorted(name for name in SUPER_PARTS if name.startswith(super_class))


def test_the_class_lists_agree(reference):
    facts = reference.parent / "facts/classes"
    if not facts.is_dir():
        pytest.skip(f"{facts} is not there")
    pairs = json.loads((facts / "classes_partimagenet_40.json").read_text())
    assert [(p.object, p.part, p.is_seen) for p in MANIFEST.vocabulary.pairs] == [
        (row["object"], row["part"], row["seen"]) for row in pairs
    ]
    objects = json.loads((facts / "partimagenet_40_objects.json").read_text())
    assert list(MANIFEST.objects) == [row["object"] for row in objects]
    assert MANIFEST.aliases == {row["synset"][0]: row["object"] for row in objects}
    assert set(MANIFEST.unseen_objects) == {row["object"] for row in objects if not row["seen"]}


# both forms


def test_polygons_become_parts_of_the_object_that_the_photo_is_called_by(tmp_path):
    write_split(tmp_path, [CAR])
    record = only_record(tmp_path)
    assert (record.image_id, record.file_name, record.width, record.height) == (
        CAR.name,
        f"images/train/{CAR.file}",
        14,
        10,
    )
    assert record.source == f"{TRAIN_JSON}: image 0"
    assert part_names(record) == ["jeep's body", "jeep's tier"]
    assert [part.raw for part in record.parts] == ["Car Body", "Car Tier"]
    pixels = record.parts[0].mask.decode(10, 14)
    assert pixels[2:7, 1:12].all()
    assert pixels.sum() == 55


@pytest.mark.parametrize("write", [write_split, lambda *a: (write_photos(*a), write_maps(*a))], ids=["json", "map"])
def test_the_object_is_one_synthetic_union_of_the_parts(tmp_path, write):
    write(tmp_path, [CAT])
    record = only_record(tmp_path)
    (thing,) = record.objects
    assert thing.synthetic
    assert MANIFEST.objects[thing.category] == "tiger"
    assert {part.object for part in record.parts} == {thing.id}
    expected = np.zeros((9, 13), bool)
    expected[2:8, 3:11] = expected[1:5, 1:4] = True
    assert np.array_equal(thing.mask.decode(9, 13), expected)


def test_both_forms_give_the_same_flat_maps(tmp_path):
    photos = [CAT, CAR, Photo(f"{TENCH}_1", [Box("Fish Body", 0, 3, 9, 8), Box("Fish Fin", 4, 1, 6, 3)], 11, 12)]
    write_split(tmp_path / "json", photos)
    write_photos(tmp_path / "map", photos)
    write_maps(tmp_path / "map", photos)
    polygons, maps = records(tmp_path / "json"), records(tmp_path / "map")
    assert polygons.keys() == maps.keys()
    for name, record in polygons.items():
        assert np.array_equal(record.pair_map(), maps[name].pair_map())
        assert np.array_equal(record.object_map(), maps[name].object_map())


def test_random_part_maps_come_back_pixel_by_pixel(tmp_path):
    rng = np.random.default_rng(3)
    names = [name for name in SUPER_PARTS if name.startswith("Quadruped")]
    numbers = {name: SUPER_PARTS.index(name) for name in names}
    pairs = {
        numbers[name]: [pair.name for pair in MANIFEST.vocabulary.pairs].index(
            f"tiger's {name.partition(' ')[2].lower()}"
        )
        for name in names
    }
    photos = [Photo(f"{TIGER}_{i}", [HEAD], 5 + i, 17 - i) for i in range(12)]
    write_photos(tmp_path, photos)
    write_maps(tmp_path, photos)
    drawn = {}
    for photo in photos:
        values = rng.choice([*pairs, 40], (photo.height, photo.width)).astype(np.uint8)
        Image.fromarray(values).save(map_path(tmp_path, photo))
        drawn[photo.name] = values
    found = records(tmp_path)
    assert len(found) == 12
    for name, values in drawn.items():
        expected = np.full(values.shape, NONE)
        for number, pair in pairs.items():
            expected[values == number] = pair
        assert np.array_equal(found[name].pair_map(), expected)


def test_where_both_forms_are_there_polygons_win_because_they_overlap(tmp_path):
    write_split(tmp_path, [CAT])
    write_maps(tmp_path, [CAT])
    record = only_record(tmp_path)
    assert record.source == f"{TRAIN_JSON}: image 0"
    assert sum(part.mask.area for part in record.parts) > record.objects[0].mask.area


def test_a_map_is_read_for_an_image_that_the_json_does_not_have(tmp_path):
    write_split(tmp_path, [CAR])
    write_photos(tmp_path, [CAT])
    write_maps(tmp_path, [CAT, CAR])
    assert {name: record.source for name, record in records(tmp_path).items()} == {
        CAR.name: f"{TRAIN_JSON}: image 0",
        CAT.name: f"PartImageNet/annotations/train/{CAT.name}.png",
    }


def test_a_map_is_read_for_an_image_without_annotation_in_the_json(tmp_path):
    write_split(tmp_path, [CAR, CAT._replace(boxes=[])])
    write_maps(tmp_path, [CAT])
    assert records(tmp_path)[CAT.name].source == f"PartImageNet/annotations/train/{CAT.name}.png"
    assert conversion(tmp_path).found == 2


@pytest.mark.parametrize(
    "value", [{"images": [], "annotations": [], "categories": []}, [1], {"height": 3}], ids=["empty", "list", "sizes"]
)
def test_maps_stand_in_for_a_json_without_annotations_and_the_report_says_so(tmp_path, value):
    write_photos(tmp_path, [CAT])
    write_maps(tmp_path, [CAT])
    write_json(json_path(tmp_path), value)
    assert part_names(only_record(tmp_path)) == ["tiger's head", "tiger's body"]
    assert conversion(tmp_path).notes[0] == f"{TRAIN_JSON} holds no annotations: part maps are read"


def test_palette_maps_are_read_by_their_indices(tmp_path):
    write_photos(tmp_path, [CAT])
    write_maps(tmp_path, [CAT])
    picture = Image.fromarray(CAT.pixels())
    picture.putpalette([i * 7 % 256 for i in range(768)])
    assert picture.mode == "P"
    picture.save(map_path(tmp_path, CAT))
    assert part_names(only_record(tmp_path)) == ["tiger's head", "tiger's body"]


def test_images_of_other_classes_are_left_out_quietly(tmp_path):
    write_split(tmp_path, [PET, CAT])
    write_maps(tmp_path, [Photo(f"{GUITAR}_1", [HEAD])])
    skipped = skips(tmp_path)
    assert [(one.reason, one.is_defect, one.detail) for one in skipped] == [
        ("image shows none of the 40 objects", False, PET.name),
        ("image shows none of the 40 objects", False, f"{GUITAR}_1"),
    ]
    assert conversion(tmp_path).found == 3


def test_annotations_of_other_classes_are_not_looked_at(tmp_path):
    write_split(tmp_path, [PET, CAT])
    change_json(tmp_path, lambda value: value["annotations"][0].update(segmentation="broken"))
    assert [one.is_defect for one in skips(tmp_path)] == [False]


def test_one_part_in_two_pieces_stays_two_masks_of_one_pair(tmp_path):
    write_split(tmp_path, [CAT._replace(boxes=[HEAD, Box("Quadruped Head", 6, 1, 8, 3)])])
    record = only_record(tmp_path)
    assert part_names(record) == ["tiger's head", "tiger's head"]
    assert (record.pair_map() != NONE).sum() == 12 + 4


def test_an_image_may_lack_parts(tmp_path):
    write_split(tmp_path, [CAT._replace(boxes=[HEAD]), CAR._replace(boxes=[])])
    assert part_names(records(tmp_path)[CAT.name]) == ["tiger's head"]
    assert [(one.reason, one.is_defect) for one in skips(tmp_path)] == [("no part", False)]


def test_a_map_of_background_alone_has_no_part(tmp_path):
    write_photos(tmp_path, [CAT])
    write_maps(tmp_path, [CAT._replace(boxes=[])])
    assert [(one.reason, one.is_defect) for one in skips(tmp_path)] == [("no part", False)]


# where it lies


@pytest.mark.parametrize("place", [place for place in ROOTS if "*" not in place] + ["data", "data/PartImageNet"])
def test_the_release_is_found_below_the_source(tmp_path, place):
    write_split(tmp_path / "unpacked", [CAT])
    shutil.move(root(tmp_path / "unpacked"), tmp_path / "moved")
    if place == ".":
        source = tmp_path / "moved"
    else:
        source = tmp_path / "source"
        (source / place).parent.mkdir(parents=True)
        shutil.move(tmp_path / "moved", source / place)
    record = only_record(source)
    assert record.file_name == f"images/train/{CAT.file}"


@pytest.mark.parametrize("place", ["annotations/train.json", "train.json"])
def test_the_json_may_lie_where_others_move_it(tmp_path, place):
    write_split(tmp_path, [CAT])
    json_path(tmp_path).rename(root(tmp_path) / place)
    assert only_record(tmp_path).source == f"PartImageNet/{place}: image 0"


def test_two_json_files_of_one_split_are_refused(tmp_path):
    write_split(tmp_path, [CAT])
    shutil.copy(json_path(tmp_path), root(tmp_path) / "train.json")
    assert refused(tmp_path) == (
        f"{tmp_path}: train must have one JSON file, got {TRAIN_JSON} and PartImageNet/train.json; "
        "leave the right one alone"
    )


@pytest.mark.parametrize("name", [f"{TIGER}/{CAT.file}", CAT.file, f"{TIGER}\\{CAT.file}", f"./{CAT.file}"])
@pytest.mark.parametrize("folder", ["", TIGER])
def test_photos_lie_flat_or_in_folders_of_a_synset_whatever_the_json_says(tmp_path, name, folder):
    write_split(tmp_path, [CAT])
    change_json(tmp_path, lambda value: value["images"][0].update(file_name=name))
    path = photo_path(tmp_path, CAT)
    (path.parent / folder).mkdir(exist_ok=True)
    path.rename(path.parent / folder / path.name)
    assert only_record(tmp_path).file_name == (Path("images/train") / folder / CAT.file).as_posix()


def test_a_flat_photo_goes_before_one_in_a_folder(tmp_path):
    write_split(tmp_path, [CAT])
    write_photo(photo_path(tmp_path, CAT).parent / TIGER / CAT.file, CAT)
    assert only_record(tmp_path).file_name == f"images/train/{CAT.file}"


def test_part_maps_may_lie_in_folders_of_a_synset(tmp_path):
    write_photos(tmp_path, [CAT])
    write_maps(tmp_path, [CAT])
    path = map_path(tmp_path, CAT)
    (path.parent / TIGER).mkdir()
    path.rename(path.parent / TIGER / path.name)
    assert only_record(tmp_path).source == f"PartImageNet/annotations/train/{TIGER}/{CAT.name}.png"


def test_folders_called_part_images_or_jpg_change_nothing(tmp_path):
    source = tmp_path / "part/images.JPEG/annotations"
    write_split(source, [CAT])
    assert only_record(source).file_name == f"images/train/{CAT.file}"


def test_files_that_macos_left_are_no_images(tmp_path):
    write_split(tmp_path, [CAT])
    write_maps(tmp_path, [CAT])
    for folder in ("images/train", "annotations/train"):
        for name in (f"._{CAT.file}", f"._{CAT.name}.png", ".DS_Store", "._train.json"):
            (root(tmp_path) / folder / name).write_bytes(b"\0\5\26\7")
    (tmp_path / "__MACOSX/PartImageNet").mkdir(parents=True)
    assert len(outcomes(tmp_path)) == 1


def test_the_folder_of_macos_is_never_the_release(tmp_path):
    write_split(tmp_path, [CAT])
    root(tmp_path).rename(tmp_path / "renamed")
    shutil.copytree(tmp_path / "renamed", tmp_path / "__MACOSX")
    assert only_record(tmp_path).source == "renamed/annotations/train/train.json: image 0"


# splits


def test_train_val_and_test_stay_with_all_objects_in_each(tmp_path):
    for split, number in (("train", 1), ("val", 2), ("test", 3)):
        write_split(tmp_path, [Photo(f"{TENCH}_{number}", [Box("Fish Tail", 1, 1, 3, 3)]), *_numbered(number)], split)
    assert conversion(tmp_path).splits == ("train", "val", "test")
    found = [(one.split, one.record.image_id) for one in outcomes(tmp_path) if isinstance(one, Converted)]
    assert found == [
        *[("train", f"{TENCH}_1"), ("train", f"{TIGER}_1")],
        *[("val", f"{TENCH}_2"), ("val", f"{TIGER}_2")],
        *[("test", f"{TENCH}_3"), ("test", f"{TIGER}_3")],
    ]
    assert "tench" in MANIFEST.unseen_objects


def _numbered(number: int) -> list[Photo]:
    return [CAT._replace(name=f"{TIGER}_{number}")]


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_one_split_alone_converts_and_the_report_says_what_is_missing(tmp_path, split):
    write_split(tmp_path, [CAT], split)
    found = conversion(tmp_path)
    others = [other for other in ("train", "val", "test") if other != split]
    assert found.notes == tuple(
        f"the source has no annotations of {other}: that split of the store is empty" for other in others
    )
    assert [one.split for one in found.outcomes if isinstance(one, Converted)] == [split]


def test_images_are_sorted_by_name(tmp_path):
    write_split(tmp_path, [CAR, CAT])
    write_photos(tmp_path, [CAT._replace(name=f"{TENCH}_5", boxes=[])])
    write_maps(tmp_path, [CAT._replace(name=f"{TENCH}_5", boxes=[Box("Fish Head", 1, 1, 4, 4)])])
    names = [outcome.record.image_id for outcome in outcomes(tmp_path) if isinstance(outcome, Converted)]
    assert names == [f"{TENCH}_5", CAT.name, CAR.name]


def test_the_store_is_the_same_bytes_twice_and_from_another_place(tmp_path):
    write_split(tmp_path / "raw", [CAR, CAT])
    shutil.copytree(tmp_path / "raw", tmp_path / "copy")
    stores = []
    for number, source in enumerate(("raw", "raw", "copy")):
        found = conversion(tmp_path / source)
        info = DatasetInfo("partimagenet", "images", MANIFEST.objects, MANIFEST.vocabulary)
        with StoreWriter(tmp_path / f"store{number}", info, found.splits) as writer:
            for outcome in found.outcomes:
                assert isinstance(outcome, Converted)
                writer.add(outcome.split, outcome.record)
        folder = tmp_path / f"store{number}"
        assert [len(Store.open(folder).records(split)) for split in found.splits] == [2, 0, 0]
        stores.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert stores[0] == stores[1] == stores[2]


def test_items_and_the_function_can_go_to_other_processes(tmp_path):
    write_split(tmp_path, [CAT])
    write_maps(tmp_path, [CAR])
    write_photos(tmp_path, [CAR])
    found = conversion(tmp_path)
    assert list(pickle.loads(pickle.dumps(found)).outcomes) == list(found.outcomes)
    assert [item.files for item in found.items] == [(json_path(tmp_path),), (map_path(tmp_path, CAR),)]


def test_nothing_but_headers_and_lists_is_read_before_the_conversion(tmp_path):
    write_split(tmp_path, [CAT])
    found = conversion(tmp_path)
    shutil.rmtree(root(tmp_path))
    (skipped,) = found.outcomes
    assert skipped.reason == "image is missing"


# the archive that will not do


def test_the_ood_archive_is_explained(tmp_path):
    classes = {"train": [TIGER, JEEP], "val": [TENCH], "test": [WINE]}
    for split, synsets in classes.items():
        photos = [Photo(f"{synset}_1", []) for synset in synsets]
        for photo in photos:
            write_photo(tmp_path / f"{split}/{photo.synset}/{photo.file}", photo)
        write_json(tmp_path / f"{split}.json", coco(photos))
    assert refused(tmp_path) == (
        f"{tmp_path}: splits must share their classes, got splits that share none (train 2, val 1, test 1), as in "
        f"PartImageNet_OOD.zip, where no seen object can be tested; {UNPACK} in a folder of its own"
    )


def test_splits_that_share_one_class_are_no_ood_archive(tmp_path):
    write_split(tmp_path, [CAT, CAR])
    write_split(tmp_path, [CAR._replace(name=f"{JEEP}_9")], "val")
    write_split(tmp_path, [Photo(f"{TENCH}_1", [Box("Fish Head", 1, 1, 4, 4)])], "test")
    assert len(records(tmp_path)) == 4


# a folder that PartCLIPSeg's preprocessing has changed


def rewrite(source: Path, split: str) -> None:
    """Do to a split as that script does: pairs as categories, without killer whale, and the JSON moved to the root."""
    pairs = [
        {"id": number, "name": pair.name, "superclass": "Fish"}
        for number, pair in enumerate(MANIFEST.vocabulary.pairs)
        if pair.object != "killer whale"
    ]
    assert len(pairs) == 143
    change_json(source, lambda value: value.update(categories=pairs), split)
    json_path(source, split).rename(root(source) / f"{split}.json")


def test_rewritten_categories_are_read_by_their_published_numbers(tmp_path):
    whale = Photo("n02071294_8", [Box("Fish Fin", 1, 1, 3, 4)])
    photos = {"train": [CAR], "val": [CAR._replace(name=f"{JEEP}_4"), whale]}
    for split, shown in photos.items():
        write_split(tmp_path / "changed", shown, split)
        write_maps(tmp_path / "changed", shown, split)
        write_split(tmp_path / "whole", shown, split)
        rewrite(tmp_path / "changed", split)
    changed, whole = records(tmp_path / "changed"), records(tmp_path / "whole")
    assert changed.keys() == whole.keys()
    assert part_names(changed[whale.name]) == ["killer whale's fin"]
    for name, record in changed.items():
        assert (record.parts, record.objects) == (whole[name].parts, whole[name].objects)
    assert conversion(tmp_path / "changed").notes[:2] == tuple(
        f"the categories of PartImageNet/{split}.json are 143 pairs, as PartCLIPSeg's preprocessing leaves them: "
        "numbers of categories are read as published"
        for split in ("train", "val")
    )


# defects: one outcome each, the others go on


def defects(source: Path) -> list[tuple[str, str, str]]:
    found = [one for one in skips(source) if one.is_defect]
    return [(one.item.replace(TRAIN_JSON, "JSON"), one.reason, one.detail) for one in found]


def change_part(source: Path, **values: object) -> None:
    """Change the annotation of the tiger's body, beside that of its head."""
    write_split(source, [CAT])
    change_json(source, lambda value: value["annotations"][0].update(values))


@pytest.mark.parametrize(
    ("segmentation", "reason", "detail"),
    [
        ([], "annotation has neither polygons nor run lengths", "segmentation is []"),
        (None, "annotation has neither polygons nor run lengths", "segmentation is None"),
        ([[]], "polygon has fewer than 3 points", "1 left out"),
        ([[3, 4], [5]], "polygon has fewer than 3 points", "2 left out"),
        ([[1, 2, 5, 6]], "mask has no pixel", "[[1, 2, 5, 6, 1, 2]]"),
        ([[1, 2, 5, 6, 7]], "polygon is malformed", "got 5 numbers, not pairs of x and y"),
        ([1, 2, 5, 6, 7, 1], "polygon is malformed", "got 1, not a list of numbers"),
        ([[1, 2, "5", 6, 7, 1]], "polygon is malformed", "got [1, 2, '5', 6, 7, 1], not a list of numbers"),
        ([[1, 2, 5, 6, 7, 99]], "polygon is far outside the image", "got 2 to 99 in an image of 9 pixels"),
        ({"size": [9, 13], "counts": "not a code"}, "run lengths are malformed", "counts is 'not a code'"),
        (
            {"size": [13, 9], "counts": [117]},
            "run lengths and image differ in size",
            "size is [13, 9], the image's height and width are [9, 13], swapped",
        ),
    ],
)
def test_a_part_without_a_usable_mask_is_a_defect_and_the_others_stay(tmp_path, segmentation, reason, detail):
    change_part(tmp_path, segmentation=segmentation)
    assert defects(tmp_path) == [("JSON: annotation 0", reason, detail)]
    assert part_names(records(tmp_path)[CAT.name]) == ["tiger's head"]


def test_a_polygon_of_two_points_is_closed_and_the_others_of_its_part_stay(tmp_path):
    change_part(tmp_path, segmentation=[[1, 2, 5, 6], BODY.polygon])
    assert part_names(only_record(tmp_path)) == ["tiger's body", "tiger's head"]
    assert only_record(tmp_path).parts[0].mask.area == 48


def test_a_polygon_of_one_point_is_dropped_and_counted_and_the_others_of_its_part_stay(tmp_path):
    change_part(tmp_path, segmentation=[[1, 2], BODY.polygon, []])
    assert defects(tmp_path) == [("JSON: annotation 0", "polygon has fewer than 3 points", "2 left out")]
    assert records(tmp_path)[CAT.name].parts[0].mask.area == 48


def test_a_polygon_that_stands_twice_in_a_part_changes_nothing(tmp_path):
    change_part(tmp_path, segmentation=[BODY.polygon, BODY.polygon])
    assert only_record(tmp_path).parts[0].mask.area == 48


def test_run_lengths_are_read_too(tmp_path):
    change_part(tmp_path, segmentation={"size": [9, 13], "counts": [10, 2, 105]})
    assert only_record(tmp_path).parts[0].mask.area == 2


def test_an_annotation_that_repeats_another_is_a_defect(tmp_path):
    write_split(tmp_path, [CAT._replace(boxes=[HEAD, BODY, HEAD])])
    assert defects(tmp_path) == [("JSON: annotation 2", "annotation repeats another", "Quadruped Head")]
    assert part_names(records(tmp_path)[CAT.name]) == ["tiger's head", "tiger's body"]


@pytest.mark.parametrize(
    ("change", "defect"),
    [
        ({"id": 1}, ("JSON: annotation 1", "annotation id stands twice", "1")),
        ({"image_id": 9}, ("JSON: annotation 0", "annotation belongs to an unknown image", "image_id is 9")),
        (
            {"image_id": [0]},
            ("JSON: annotation 0", "annotation is malformed", "it must have an image_id and a category_id"),
        ),
        ({"category_id": 40}, ("JSON: annotation 0", "annotation has an unknown category", "category_id is 40")),
        ({"category_id": 25}, ("JSON: annotation 0", "part belongs to another super-class", "Car Tier on tiger")),
    ],
)
def test_a_broken_annotation_is_a_defect_and_the_others_stay(tmp_path, change, defect):
    change_part(tmp_path, **change)
    assert defects(tmp_path) == [defect]
    assert len(records(tmp_path)[CAT.name].parts) == 1


def test_a_category_that_is_none_of_partimagenets_is_a_defect_with_its_name(tmp_path):
    write_split(tmp_path, [CAT])
    change_json(tmp_path, lambda value: value["categories"][1].update(name="Quadruped Trunk"))
    assert defects(tmp_path) == [("JSON: annotation 0", "category is none of PartImageNet's", "'Quadruped Trunk'")]


def test_categories_are_read_by_name_not_by_number(tmp_path):
    write_split(tmp_path, [CAT])

    def shift(value):
        for category in value["categories"]:
            category["id"] += 1
        for annotation in value["annotations"]:
            annotation["category_id"] += 1

    change_json(tmp_path, shift)
    assert part_names(only_record(tmp_path)) == ["tiger's body", "tiger's head"]


def test_a_crowd_is_left_out_without_blame(tmp_path):
    change_part(tmp_path, iscrowd=1)
    assert [(one.reason, one.is_defect) for one in skips(tmp_path)] == [("annotation is a crowd", False)]


@pytest.mark.parametrize(
    ("change", "item", "reason", "detail"),
    [
        ({"id": 1}, "JSON: image 1", "image id stands twice", "1"),
        ({"id": None}, "JSON: images[0]", "image record is malformed", "it must have an id"),
        ({"width": 0}, "JSON: image 0", "image record is malformed", f"{PIXELS}, got 0 and 9"),
        ({"height": "9"}, "JSON: image 0", "image record is malformed", f"{PIXELS}, got 13 and '9'"),
        (
            {"width": 10**5, "height": 10**5},
            "JSON: image 0",
            "image record is malformed",
            "it must have at most 100 megapixels, got 100000x100000",
        ),
        ({"file_name": "cat.JPEG"}, "JSON: image 0", NO_SYNSET, "file_name is 'cat.JPEG'"),
        ({"file_name": 7}, "JSON: image 0", NO_SYNSET, "file_name is 7"),
        ({"width": 9, "height": 13}, "JSON: image 0", SIZES_DIFFER, "mask 9x13, image 13x9, swapped"),
        ({"width": 14}, "JSON: image 0", SIZES_DIFFER, "mask 14x9, image 13x9"),
    ],
)
def test_a_broken_image_record_is_a_defect_and_the_others_go_on(tmp_path, change, item, reason, detail):
    write_split(tmp_path, [CAT, CAR, Photo(f"{TENCH}_1", [Box("Fish Head", 1, 1, 4, 4)])])
    change_json(tmp_path, lambda value: value["images"][0].update(change))
    found = [defect for defect in defects(tmp_path) if "annotation" not in defect[0]]
    assert (item, reason, detail) in found
    assert f"{TENCH}_1" in records(tmp_path)


@pytest.mark.parametrize("id", [0, 5])
def test_a_photo_that_stands_twice_comes_into_the_store_once(tmp_path, id):
    write_split(tmp_path, [CAT])
    change_json(tmp_path, lambda value: value["images"].append({**value["images"][0], "id": id}))
    assert defects(tmp_path) == [(f"JSON: image {id}", "image file stands twice", CAT.name)]
    assert [one.record.image_id for one in outcomes(tmp_path) if isinstance(one, Converted)] == [CAT.name]


def test_a_missing_photo_is_a_defect(tmp_path):
    write_split(tmp_path, [CAT, CAR])
    photo_path(tmp_path, CAT).unlink()
    assert defects(tmp_path) == [("JSON: image 0", "image is missing", CAT.file)]


def test_a_link_to_nothing_is_a_missing_photo(tmp_path):
    write_split(tmp_path, [CAT, CAR])
    photo_path(tmp_path, CAT).unlink()
    photo_path(tmp_path, CAT).symlink_to("nowhere.JPEG")
    assert defects(tmp_path) == [("JSON: image 0", "image is missing", CAT.file)]


def test_a_photo_that_is_not_whole_is_a_defect(tmp_path):
    write_split(tmp_path, [CAT, CAR])
    photo_path(tmp_path, CAT).write_bytes(photo_path(tmp_path, CAT).read_bytes()[:200])
    ((item, reason, _),) = defects(tmp_path)
    assert (item, reason) == ("JSON: image 0", "image cannot be used")


@pytest.mark.parametrize(("mode", "kind"), [("CMYK", "JPEG"), ("L", "JPEG"), ("RGB", "PNG"), ("RGBA", "PNG")])
def test_photos_of_imagenets_odd_kinds_are_read(tmp_path, mode, kind):
    write_split(tmp_path, [CAT])
    path = photo_path(tmp_path, CAT)
    Image.new(mode, (13, 9)).save(path, kind)
    assert only_record(tmp_path).width == 13
    assert open_image(path, upright=False).mode == "RGB"


@pytest.mark.parametrize(("size", "upright"), [((13, 9), False), ((9, 13), True)])
def test_a_photo_is_turned_only_where_just_that_gives_the_size_of_the_masks(tmp_path, size, upright):
    write_split(tmp_path, [CAT])
    exif = Image.Exif()
    exif[274] = 6
    Image.new("RGB", size).save(photo_path(tmp_path, CAT), "JPEG", exif=exif)
    assert only_record(tmp_path).upright is upright


# broken part maps


@pytest.fixture
def maps(tmp_path) -> Path:
    """Two images with part maps; tests break that of the tiger."""
    write_photos(tmp_path, [CAT, CAR])
    write_maps(tmp_path, [CAT, CAR])
    return tmp_path


def defect_of_map(source: Path) -> tuple[str, str]:
    assert CAR.name in records(source)
    ((item, reason, detail),) = defects(source)
    assert item == f"PartImageNet/annotations/train/{CAT.name}.png"
    return reason, detail


@pytest.mark.parametrize("mode", ["RGB", "LA", "I;16", "1"])
def test_a_part_map_of_another_mode_is_a_defect(maps, mode):
    Image.new(mode, (13, 9)).save(map_path(maps, CAT))
    assert defect_of_map(maps) == (
        "part map cannot be used",
        f"{CAT.name}.png: must be grey or palette of 8 bits (mode L or P), got mode {mode}",
    )


def test_a_part_map_of_another_size_is_a_defect(maps):
    Image.fromarray(CAT.pixels().T.copy()).save(map_path(maps, CAT))
    assert defect_of_map(maps) == ("mask and image differ in size", "mask 9x13, image 13x9, swapped")


@pytest.mark.parametrize(
    ("content", "got"),
    [
        (b"", "an empty file"),
        (b"<!DOCTYPE html>", "an HTML page"),
        (b"\x89PNG\r\n\x1a\n", r"a file that starts with b'\x89PNG\r\n\x1a\n'"),
    ],
)
def test_a_part_map_that_is_no_picture_is_a_defect(maps, content, got):
    map_path(maps, CAT).write_bytes(content)
    reason, detail = defect_of_map(maps)
    assert reason == "part map cannot be used"
    formats = "JPEG, PNG, WEBP, TIFF, BMP, GIF, PPM, JPEG2000"
    assert detail == f"{CAT.name}.png: must be an image ({formats}), got {got}; get or convert it again"


def test_a_part_map_of_more_than_100_megapixels_is_a_defect(maps):
    Image.new("L", (10001, 10000)).save(map_path(maps, CAT))
    detail = f"{CAT.name}.png: an image must have at most 100 megapixels, got 10001x10000; make it smaller"
    assert defect_of_map(maps) == ("part map cannot be used", detail)


def test_a_cut_part_map_is_a_defect(maps):
    path = map_path(maps, CAT)
    path.write_bytes(path.read_bytes()[:-30])
    assert defect_of_map(maps)[0] == "part map cannot be used"


def test_a_value_above_the_background_is_a_defect(maps):
    shutil.copy(root(maps) / f"annotations/train_whole/{CAT.name}.png", map_path(maps, CAT))
    assert defect_of_map(maps) == ("part map cannot be used", f"{CAT.name}.png: values must be 0 to 40, got 158")


def test_a_part_of_another_super_class_in_a_map_is_a_defect_and_the_others_stay(maps):
    write_maps(maps, [CAT._replace(boxes=[HEAD, TIER])])
    assert defect_of_map(maps) == ("part belongs to another super-class", "Car Tier on tiger")
    assert part_names(records(maps)[CAT.name]) == ["tiger's head"]


@pytest.mark.parametrize(
    ("shift", "highest"), [(lambda values: (values + 1) % 41, 26), (lambda values: np.where(values == 40, 158, 7), 158)]
)
def test_maps_with_another_background_are_refused(maps, shift, highest):
    for photo in (CAT, CAR):
        Image.fromarray(shift(photo.pixels()).astype(np.uint8)).save(map_path(maps, photo))
    assert refused(maps) == (
        f"{maps}: part maps must have the background 40 above the parts, got {highest} as the highest value of "
        f"{CAT.name}.png and others; maps of whole objects have 158: {UNPACK} again"
    )


# wrong sources


def wrong(source: Path, got: str) -> str:
    return (
        f"{source}: must hold PartImageNet: images in images/<split>, and annotations/<split>/<split>.json or part "
        "maps annotations/<split>/*.png, split being train, val, test (looked for there and in PartImageNet, "
        f"PartImageNet_Seg, PartImageNet_Seg/PartImageNet, *, */PartImageNet), got {got}; {UNPACK} there"
    )


@pytest.mark.parametrize(
    ("files", "got"),
    [
        ([], "an empty folder"),
        (["a", "b"], "a, b"),
        (list("abcdefg"), "a, b, c, d, e and 2 more"),
        (["PartImageNet_Seg.zip"], "PartImageNet_Seg.zip, still packed"),
        (["PartImageNet_OOD.zip"], "PartImageNet_OOD.zip, whose splits share no class"),
        (["PartImageNet_OOD/train.zip"], "the zip files inside PartImageNet_OOD.zip, whose splits share no class"),
        (["PIN/json/n01440764.json"], "PartImageNet++ (a JSON of all images of a class)"),
        (["n01440764/n01440764_1.JPEG"], "folders of ImageNet classes without annotations"),
        (["ILSVRC/train/n01440764/x.JPEG"], "folders of ImageNet classes without annotations"),
        (["PartImageNet/images/train/x.JPEG"], "images without annotations"),
        (["PartImageNet/annotations/train/train.json"], "annotations without images"),
        (["VOC/annotations_detectron2_part/train/x.png"], "an OV-PARTS repack"),
    ],
)
def test_a_wrong_folder_is_told_by_the_nearest_thing_in_it(tmp_path, files, got):
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert refused(tmp_path) == wrong(tmp_path, got)


def test_a_missing_folder_and_a_file_are_no_source(tmp_path):
    (tmp_path / "file").touch()
    assert refused(tmp_path / "no") == wrong(tmp_path / "no", "no such folder")
    assert refused(tmp_path / "file") == wrong(tmp_path / "file", "a file")


@pytest.mark.parametrize("inner", ["images", "annotations", "annotations/train"])
def test_a_folder_inside_of_the_release_is_told(tmp_path, inner):
    write_split(tmp_path, [CAT])
    source = root(tmp_path) / inner
    got = f"a folder inside of {root(tmp_path)}, which is the one to name"
    assert refused(source) == wrong(source, got)


def test_annotations_without_a_single_photo_are_refused(tmp_path):
    write_split(tmp_path, [CAT, CAR])
    for photo in (CAT, CAR):
        photo_path(tmp_path, photo).unlink()
    assert refused(tmp_path) == (
        f"{tmp_path}: images must be in images/<split> or folders of a synset there, got none of 2, such as "
        f"images/train/{CAT.file}; {UNPACK} again"
    )


@pytest.mark.parametrize(
    ("content", "got"),
    [
        (b"", "an empty file (Expecting value: line 1 column 1 (char 0))"),
        (b"version https://git-lfs.github.com", "a git-lfs pointer (Expecting value: line 1 column 1 (char 0))"),
        (b"<html>", "an HTML page (Expecting value: line 1 column 1 (char 0))"),
    ],
)
def test_a_json_that_is_none_is_refused(tmp_path, content, got):
    write_split(tmp_path, [CAT])
    json_path(tmp_path).write_bytes(content)
    assert refused(tmp_path) == f"{json_path(tmp_path)}: must be JSON, got {got}; {UNPACK} again"


def test_a_json_without_the_lists_is_refused_where_there_are_no_maps(tmp_path):
    write_split(tmp_path, [CAT])
    write_json(json_path(tmp_path), {"images": [], "categories": {}})
    assert refused(tmp_path) == (
        f"{json_path(tmp_path)}: must be the COCO JSON of PartImageNet with the lists images, annotations, categories, "
        f"got none called annotations, categories; {UNPACK} again"
    )


@pytest.mark.parametrize(
    ("categories", "got"),
    [
        ([], "0 of them: []"),
        ([{"id": 0, "name": "cat"}], "1 of them: cat"),
        ([{"id": 0, "name": "Fish Head"}, {"id": 0, "name": "Fish Fin"}], "2 of them: Fish Fin"),
        ([{"id": 0, "name": "Fish Head"}, 7], "2 of them: Fish Head"),
    ],
)
def test_categories_of_another_set_are_refused(tmp_path, categories, got):
    write_split(tmp_path, [CAT])
    change_json(tmp_path, lambda value: value.update(categories=categories))
    assert refused(tmp_path) == (
        f"{json_path(tmp_path)}: categories must be PartImageNet's, such as 'Quadruped Head', each with a number of "
        f"its own, got {got}; {UNPACK} again"
    )


# paths and links


@pytest.mark.parametrize("name", ["../../../../n01440764_1.JPEG", "/etc/n01440764_1.JPEG", "..\\..\\..\\..\\x.JPEG"])
def test_a_name_that_leads_out_of_the_source_is_refused(tmp_path, name):
    write_split(tmp_path / "source", [CAT])
    change_json(tmp_path / "source", lambda value: value["images"][0].update(file_name=name))
    assert refused(tmp_path / "source") == (
        f"{json_path(tmp_path / 'source')}: an image must be inside {tmp_path / 'source'}, got {name!r}; {UNPACK} again"
    )


@pytest.mark.parametrize("place", [f"images/train/{CAT.file}", "images/train", "annotations/train/train.json"])
def test_a_link_that_leads_out_of_the_source_is_refused(tmp_path, place):
    source = tmp_path / "source"
    write_split(source, [CAT])
    path, outside = root(source) / place, tmp_path / "outside"
    path.rename(outside)
    path.symlink_to(outside)
    assert refused(source) == f"{path}: must be inside {source}, got a link to {outside}; copy the files there"


@pytest.mark.parametrize(
    "place", [f"images/train/{CAT.file}", f"images/train/{TIGER}", "images/train", "annotations/train/train.json"]
)
def test_links_that_lead_to_each_other_are_refused(tmp_path, place):
    write_split(tmp_path, [CAT])
    path = root(tmp_path) / place
    if path.exists():
        path.rename(tmp_path / "aside")
    path.symlink_to(path.with_name("other"))
    path.with_name("other").symlink_to(path)
    assert refused(tmp_path) == f"{path}: must lead to a file, got a loop of links; fix them"


def test_a_link_to_a_folder_above_does_no_harm(tmp_path):
    write_split(tmp_path, [CAT])
    (photo_path(tmp_path, CAT).parent / "again").symlink_to(root(tmp_path))
    assert len(outcomes(tmp_path)) == 1


def test_links_inside_of_the_source_are_followed(tmp_path):
    write_split(tmp_path, [CAT])
    path = photo_path(tmp_path, CAT)
    path.rename(tmp_path / "photo.bin")
    path.symlink_to(tmp_path / "photo.bin")
    assert only_record(tmp_path).file_name == f"images/train/{CAT.file}"


# real photos


def write_both(source: Path, photos: list[Photo]) -> None:
    write_split(source, photos)
    write_maps(source, photos)


@pytest.mark.parametrize("write", [write_split, write_both])
def test_real_photos_convert_in_both_forms(samples, tmp_path, write):
    found = sorted((samples / "car_parts").rglob("*.jpg"))[:3]
    photos = []
    for number, path in enumerate(found):
        width, height = open_image(path, upright=False).size
        photos.append(Photo(f"{JEEP}_{number}", [Box("Car Body", 5, 9, width - 7, height - 3)], width, height))
    write(tmp_path, photos)
    if write is write_both:
        json_path(tmp_path).unlink()
    for path, photo in zip(found, photos, strict=True):
        shutil.copyfile(path, photo_path(tmp_path, photo))
    areas = [record.parts[0].mask.area for record in records(tmp_path).values()]
    assert areas == [(photo.width - 12) * (photo.height - 12) for photo in photos]
    assert len(areas) == 3
