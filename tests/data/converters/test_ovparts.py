import json
import pickle
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ovparts_tree import (
    ADE,
    ADE_NAMES,
    ADE_TRAIN,
    ADE_VAL,
    BUS,
    BUS_DOOR,
    BUS_PARTS,
    BUS_WHEEL,
    CAR,
    CAR_WHEEL,
    CAT,
    CAT_OBJECTS,
    CAT_PARTS,
    DOG_EAR,
    EAR,
    FOLDERS,
    HEAD,
    HEIGHT,
    OBJECTS,
    PARTS,
    PASCAL,
    TRAIN,
    VAL,
    VOC,
    WIDTH,
    AdeTree,
    ade_tree,
    box,
    convert,
    outcomes,
    painted,
    pascal_tree,
    random_tree,
    records,
    rle,
    skipped,
    write_few_shot,
    write_labels,
    write_pascal,
    write_photo,
)
from PIL import Image

from partseg_cli.data.converters.conversion import Skipped
from partseg_cli.data.converters.ovparts.pascal import convert_pascal
from partseg_cli.data.converters.ovparts.repack import is_repack, val_stems
from partseg_cli.data.record import Record
from partseg_cli.data.rle import NONE, Mask, masks_by_label
from partseg_cli.errors import DataError
from partseg_cli.pipeline.prepare import prepare

BOTH = pytest.mark.parametrize(("kind", "make"), [("pascal", pascal_tree), ("ade", ade_tree)])
SEEDS = range(8)
PASCAL_LABELS, PASCAL_OBJECTS = f"{PARTS}/train/{TRAIN}.png", f"{OBJECTS}/train/{TRAIN}.png"
ADE_LABELS = f"{PARTS}/training/{ADE_TRAIN}.png"
GET_PASCAL = "get PascalPart116.tar.gz again (before June 2024 it came without the label maps of val)"
GET_ADE = "unpack ADE20KPart234.tar.gz again"


def exactly(message: str) -> str:
    return f"^{re.escape(message)}$"


def stored(path: Path) -> np.ndarray:
    """A label map with 65535 where there is none."""
    with Image.open(path) as picture:
        labels = np.asarray(picture)
    return np.where(labels == np.iinfo(labels.dtype).max, NONE, labels.astype(int))


def named(record: Record, manifest=ADE) -> list[tuple[int, str, int]]:
    """Instance, name and pixels of each part."""
    return [(part.object, manifest.vocabulary.pairs[part.pair].name, part.mask.area) for part in record.parts]


# masks of label maps


@pytest.mark.parametrize("seed", SEEDS)
def test_masks_of_a_label_map_are_those_of_each_label_alone(seed):
    rng = np.random.default_rng(seed)
    for _ in range(20):
        labels = rng.integers(-1, 4, rng.integers(1, 9, 2))
        expected = {int(value): Mask.encode(labels == value) for value in np.unique(labels) if value >= 0}
        assert masks_by_label(labels) == expected


def test_a_map_without_labels_has_no_mask():
    assert masks_by_label(np.full((3, 4), -1)) == {}


# Pascal-Part-116


@pytest.mark.parametrize("seed", SEEDS)
def test_flat_maps_of_pascal_records_equal_the_label_maps(tmp_path, seed):
    found = records(random_tree(tmp_path, "pascal", seed))
    assert len(found) == 6
    for record in found.values():
        labels = tmp_path / record.source
        np.testing.assert_array_equal(record.pair_map(), stored(labels))
        objects = stored(Path(str(labels).replace(PARTS, OBJECTS)))
        np.testing.assert_array_equal(record.object_map(), objects)


def test_an_image_of_the_repack_becomes_one_record(tmp_path):
    conversion = convert(pascal_tree(tmp_path), "pascal")
    train, val = conversion.outcomes
    assert (train.split, val.split) == ("train", "val")
    assert (conversion.found, conversion.expected_total) == (2, 9281)
    assert (conversion.image_folder, conversion.image_root) == (tmp_path / "images", (tmp_path / "images").as_posix())
    record = train.record
    assert (record.image_id, record.file_name, record.source) == (TRAIN, f"train/{TRAIN}.jpg", PASCAL_LABELS)
    assert (record.width, record.height) == (WIDTH, HEIGHT)
    assert conversion.items[0].files == (tmp_path / PASCAL_LABELS, tmp_path / PASCAL_OBJECTS)


def test_an_object_class_is_one_synthetic_instance_and_a_pair_one_part(tmp_path):
    write_pascal(tmp_path, VAL, split="val")
    objects = painted(255, (CAT, (0, 0, 4, 3)), (VOC.index("boat"), (0, 4, 4, 5)))
    write_pascal(tmp_path, objects=objects)
    record = records(tmp_path)[TRAIN]
    assert [(one.id, PASCAL.objects[one.category], one.mask.area, one.synthetic) for one in record.objects] == [
        (0, "boat", 4, True),
        (1, "cat", 12, True),
    ]
    assert named(record, PASCAL) == [(1, "cat's head", 5), (1, "cat's ear", 1)]
    assert [(part.raw, part.level) for part in record.parts] == [(str(HEAD), 1), (str(EAR), 1)]


def test_ids_of_objects_are_read_in_the_order_of_voc_whatever_the_order_of_the_manifest(tmp_path):
    manifest = replace(PASCAL, objects=PASCAL.objects[::-1])
    for number, name in enumerate(VOC):
        write_pascal(tmp_path, name, objects=painted(255, (number, (0, 0, 4, 5))))
        write_pascal(tmp_path, f"val_{name}", split="val")
    found = {o.record.image_id: o.record for o in convert_pascal(tmp_path, manifest).outcomes}
    for name in VOC:
        assert manifest.objects[found[name].objects[0].category] == name


def test_a_pair_whose_object_is_not_shown_belongs_to_an_instance_without_a_pixel(tmp_path):
    pascal_tree(tmp_path)
    write_pascal(tmp_path, parts=painted(255, (DOG_EAR, (0, 0, 1, 2)), (HEAD, (1, 0, 2, 2))))
    record = records(tmp_path)[TRAIN]
    assert [(PASCAL.objects[one.category], one.mask.area) for one in record.objects] == [("cat", 20), ("dog", 0)]
    assert named(record, PASCAL) == [(0, "cat's head", 2), (1, "dog's ear", 2)]
    np.testing.assert_array_equal(record.object_map(), stored(tmp_path / PASCAL_OBJECTS))


def test_values_of_a_palette_are_read_as_they_are(tmp_path):
    pascal_tree(tmp_path)
    picture = Image.fromarray(CAT_PARTS)
    picture.putpalette([7] * 768)
    picture.save(tmp_path / PASCAL_LABELS)
    assert picture.mode == "P"
    flat = records(tmp_path)[TRAIN].pair_map()
    np.testing.assert_array_equal(flat, np.where(CAT_PARTS == 255, NONE, CAT_PARTS.astype(int)))


@BOTH
def test_an_image_without_a_part_is_left_out_without_a_defect(tmp_path, kind, make):
    make(tmp_path)
    labels = PASCAL_LABELS if kind == "pascal" else ADE_LABELS
    write_labels(tmp_path / labels, painted(255 if kind == "pascal" else 65535))
    assert skipped(tmp_path, kind) == [Skipped(labels, "no part of the list", is_defect=False)]


@BOTH
def test_conversion_and_images_can_be_sent_to_other_processes(tmp_path, kind, make):
    conversion = convert(make(tmp_path), kind)
    there = pickle.loads(pickle.dumps(conversion))
    assert list(there.outcomes) == list(conversion.outcomes)


# what comes with the archives


@BOTH
@pytest.mark.parametrize("name", ["PascalPart116", "Pascal-Part-116", "ADE20KPart234", "whatever"])
def test_the_repack_may_lie_one_folder_down(tmp_path, kind, make, name):
    make(tmp_path / name)
    assert is_repack(tmp_path)
    assert is_repack(tmp_path / name)
    assert all(record.source.startswith(f"{name}/{PARTS}/") for record in records(tmp_path, kind).values())


def test_both_repacks_may_lie_in_one_folder(tmp_path):
    pascal_tree(tmp_path / "PascalPart116")
    ade_tree(tmp_path / "ADE20KPart234")
    assert set(records(tmp_path, "pascal")) == {TRAIN, VAL}
    assert set(records(tmp_path, "ade")) == {ADE_TRAIN, ADE_VAL}


@BOTH
def test_what_macos_leaves_in_archives_does_not_count(tmp_path, kind, make):
    make(tmp_path / "repack")
    before = records(tmp_path, kind)
    for folder in FOLDERS[kind].values():
        for path in ("images/{}/._a.jpg", "images/{}/.DS_Store", PARTS + "/{}/._a.png", PARTS + "/{}/.DS_Store"):
            (tmp_path / "repack" / path.format(folder)).write_bytes(b"Mac OS X")
            litter = tmp_path / "__MACOSX/repack" / path.format(folder)
            litter.parent.mkdir(parents=True, exist_ok=True)
            litter.write_bytes(b"Mac OS X")
    make(tmp_path / "__MACOSX")
    assert records(tmp_path, kind) == before


def test_the_count_of_labels_is_neither_needed_nor_read(tmp_path):
    before = records(pascal_tree(tmp_path))
    (tmp_path / PARTS / "val_obj_label_count.json").write_text("broken")
    assert records(tmp_path) == before


@BOTH
def test_stems_that_train_and_val_share_get_their_split_in_front(tmp_path, kind, make):
    if kind == "pascal":
        make(tmp_path)
        write_pascal(tmp_path, TRAIN, split="val")
        assert list(records(tmp_path)) == [f"train/{TRAIN}", f"val/{TRAIN}", f"val/{VAL}"]
    else:
        make(tmp_path, lambda tree: tree.add(ADE_TRAIN, split="val"))
        assert list(records(tmp_path, "ade")) == [f"train/{ADE_TRAIN}", f"val/{ADE_VAL}", f"val/{ADE_TRAIN}"]


@BOTH
def test_the_few_shot_list_is_matched_by_file_name_whatever_the_root(tmp_path, kind, make):
    make(tmp_path)
    train, val = (TRAIN, VAL) if kind == "pascal" else (ADE_TRAIN, ADE_VAL)
    names = [f"/home/them/datasets/X/images/train/{train}.jpg", f"D:\\data\\images\\{train}.jpg"]
    write_few_shot(tmp_path, [*names, f"datasets/images/val/{val}.jpg", "gone.jpg"])
    conversion = convert(tmp_path, kind)
    assert conversion.lists == (("train_16shot", (train,)),)
    reason = "few-shot list names an image that is not there"
    assert conversion.left_out == (
        Skipped("train_16shot.json", reason, is_defect=False, detail=f"{val}.jpg"),
        Skipped("train_16shot.json", reason, is_defect=False, detail="gone.jpg"),
    )


@BOTH
def test_without_a_few_shot_list_there_is_none(tmp_path, kind, make):
    assert convert(make(tmp_path), kind).lists == ()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("[{}]", "KeyError: 'file_name'"),
        ('["a.jpg"]', "TypeError: string indices must be integers, not 'str'"),
        ("<html>", "JSONDecodeError: Expecting value: line 1 column 1 (char 0)"),
        ('[{"file_name": 5}]', "AttributeError: 'int' object has no attribute 'replace'"),
    ],
)
def test_a_broken_few_shot_list_is_a_defect_and_stops_nothing(tmp_path, content, why):
    (pascal_tree(tmp_path) / "train_16shot.json").write_text(content)
    expected = Skipped("train_16shot.json", "few-shot list cannot be read", is_defect=True, detail=why)
    assert skipped(tmp_path) == [expected]
    assert len(outcomes(tmp_path)) == 3


def note(source: Path, listed: list[str]) -> str:
    """What is said of the folder val, which holds one image, if the list is this."""
    (source / "list.txt").write_text("\n".join(listed))
    manifest = replace(PASCAL, val_list=str(source / "list.txt"))
    (text,) = convert_pascal(pascal_tree(source / "repack"), manifest).notes
    return text.replace(f"{source}/", "")


@pytest.mark.parametrize(
    ("listed", "said"),
    [
        ([VAL], "holds exactly the images of list.txt (1)."),
        ([VAL, "c", "b", "a"], "lacks some of list.txt: a, b, c."),
        ([*"dcba", VAL, *"fe"], "lacks some of list.txt: a, b, c and 3 more."),
        (["a"], f"holds others than list.txt: {VAL}, and it lacks some of list.txt: a."),
    ],
)
def test_the_images_of_val_are_compared_with_the_list_of_the_manifest(tmp_path, listed, said):
    assert note(tmp_path, listed) == f"The folder val {said}"


def test_without_a_list_in_the_manifest_nothing_is_compared(tmp_path):
    assert convert_pascal(pascal_tree(tmp_path), replace(PASCAL, val_list=None)).notes == ()


def test_the_list_of_val_is_taken_from_a_repack(tmp_path):
    write_pascal(pascal_tree(tmp_path / "PascalPart116"), "2007_000001", split="val")
    assert val_stems(tmp_path) == ["2007_000001", VAL]
    ade_tree(tmp_path / "ADE20KPart234")
    assert val_stems(tmp_path) == ["2007_000001", VAL]
    assert val_stems(tmp_path / "ADE20KPart234") == [ADE_VAL]


@pytest.mark.parametrize("as_repack", [False, True])
def test_a_repack_is_compared_with_the_list_that_is_named(tmp_path, as_repack):
    repack = pascal_tree(tmp_path / "repack")
    (tmp_path / "val.txt").write_text(VAL)
    listed = repack if as_repack else tmp_path / "val.txt"
    prepared = prepare("pascal-part-116", source=repack, out=tmp_path / "out", split_list=listed)
    assert prepared.notes[0] == f"The folder val holds exactly the images of {listed} (1)."


# defects of one image


def photo_gone(source):
    (source / "images/train" / f"{TRAIN}.jpg").unlink()


def labels_gone(source):
    (source / PASCAL_LABELS).unlink()


def objects_gone(source):
    (source / PASCAL_OBJECTS).unlink()


def pointer(source):
    (source / PASCAL_LABELS).write_text("version https://git-lfs.github.com/spec/v1")


def truncated(source):
    path = source / PASCAL_OBJECTS
    path.write_bytes(path.read_bytes()[:60])


def coloured(source):
    Image.fromarray(CAT_PARTS).convert("RGB").save(source / PASCAL_LABELS)


def wide(source):
    write_labels(source / PASCAL_OBJECTS, CAT_OBJECTS.astype(np.uint16))


def unknown_parts(source):
    write_labels(source / PASCAL_LABELS, painted(255, (115, (0, 0, 1, 1)), (116, (1, 1, 2, 2)), (254, (3, 3, 4, 4))))


def unknown_objects(source):
    write_labels(source / PASCAL_OBJECTS, painted(255, (20, (0, 0, 1, 1))))


def sizes_differ(source):
    write_labels(source / PASCAL_OBJECTS, CAT_OBJECTS.T.copy())


def photo_differs(source):
    write_photo(source / "images/train" / f"{TRAIN}.jpg", (WIDTH, HEIGHT))


UNUSABLE = "label map cannot be used"
OUTSIDE = "label map has a value outside of the list"
FORMATS = "JPEG, PNG, WEBP, TIFF, BMP, GIF, PPM, JPEG2000"


@pytest.mark.parametrize(
    ("spoil", "item", "reason", "detail"),
    [
        (photo_gone, PASCAL_LABELS, "image is missing", f"{TRAIN}.jpg"),
        (labels_gone, f"images/train/{TRAIN}.jpg", "image has no label map", ""),
        (objects_gone, PASCAL_LABELS, "label map is missing", f"{TRAIN}.png"),
        (
            pointer,
            PASCAL_LABELS,
            UNUSABLE,
            f"{TRAIN}.png: must be an image ({FORMATS}), got a git-lfs pointer; get or convert it again",
        ),
        (truncated, PASCAL_LABELS, UNUSABLE, f"{TRAIN}.png: image file is truncated"),
        (coloured, PASCAL_LABELS, UNUSABLE, f"{TRAIN}.png: must be grey of 8 bits, got mode RGB"),
        (wide, PASCAL_LABELS, UNUSABLE, f"{TRAIN}.png: must be grey of 8 bits, got mode I;16"),
        (unknown_parts, PASCAL_LABELS, OUTSIDE, f"{TRAIN}.png: must be 0 to 115 or 255, got 116, 254"),
        (unknown_objects, PASCAL_LABELS, OUTSIDE, f"{TRAIN}.png: must be 0 to 19 or 255, got 20"),
        (sizes_differ, PASCAL_LABELS, "masks of one image differ in size", "parts 6x4, objects 4x6"),
        (photo_differs, PASCAL_LABELS, "mask and image differ in size", "mask 6x4, image 4x6, swapped"),
    ],
)
def test_a_defect_is_told_and_the_other_images_convert(tmp_path, spoil, item, reason, detail):
    write_pascal(pascal_tree(tmp_path), "2008_000001")
    spoil(tmp_path)
    (defect,) = skipped(tmp_path)
    assert (defect.item, defect.reason, defect.is_defect) == (item, reason, True)
    assert defect.detail.startswith(detail) if spoil is truncated else defect.detail == detail
    assert len(outcomes(tmp_path)) == 3


# wrong sources


def refusal(source: Path, kind: str = "pascal") -> str:
    with pytest.raises(DataError) as caught:
        convert(source, kind)
    return str(caught.value).replace(str(source), "SOURCE")


def remove(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


@pytest.mark.parametrize("folder", [f"{PARTS}/val", f"{PARTS}/train", f"{OBJECTS}/val", "images/val", "images/train"])
@pytest.mark.parametrize("is_there", [True, False])
def test_an_archive_without_the_files_of_a_folder_must_be_got_again(tmp_path, folder, is_there):
    remove(pascal_tree(tmp_path) / folder)
    if is_there:
        (tmp_path / folder).mkdir()
    ending = ".jpg" if folder.startswith("images") else ".png"
    assert refusal(tmp_path) == f"SOURCE: must hold {folder}/*{ending}, got none; {GET_PASCAL}"


def test_ade_without_validation_must_be_unpacked_again(tmp_path):
    remove(ade_tree(tmp_path) / PARTS / "validation")
    assert refusal(tmp_path, "ade") == f"SOURCE: must hold {PARTS}/validation/*.png, got none; {GET_ADE}"


@pytest.mark.parametrize(
    ("kind", "make", "wanted", "name", "other"),
    [
        ("pascal", ade_tree, "train and val", "pascal-part-116", "ade20k-part-234"),
        ("ade", pascal_tree, "training and validation", "ade20k-part-234", "pascal-part-116"),
    ],
)
def test_the_repack_of_the_other_data_set_is_told_by_its_folders(tmp_path, kind, make, wanted, name, other):
    assert refusal(make(tmp_path), kind) == (
        f"SOURCE: must hold the OV-PARTS repack of {name} ({PARTS}/{wanted}), got that of {other}; "
        f"name another folder, or run partseg prepare {other}"
    )


def test_label_maps_of_the_other_data_set_are_told_by_their_bits(tmp_path):
    write_pascal(pascal_tree(tmp_path), "2008_000001", CAT_PARTS.astype(np.uint16))
    assert refusal(tmp_path) == (
        f"SOURCE: label maps of pascal-part-116 must have 8 bits, got 16 in {PARTS}/train/2008_000001.png; "
        "name the folder of that dataset"
    )


def test_ade_label_maps_of_8_bits_are_refused_past_a_broken_one(tmp_path):
    ade_tree(tmp_path, lambda tree: tree.add("ADE_train_00000000"))
    (tmp_path / PARTS / "training/ADE_train_00000000.png").write_text("<html>")
    write_labels(tmp_path / ADE_LABELS, painted(255))
    assert refusal(tmp_path, "ade") == (
        f"SOURCE: label maps of ade20k-part-234 must have 16 bits, got 8 in {ADE_LABELS}; "
        "name the folder of that dataset"
    )


def test_two_repacks_of_one_data_set_are_refused(tmp_path):
    for name in ("old", "new"):
        pascal_tree(tmp_path / name)
    assert refusal(tmp_path) == (
        "SOURCE: must hold one OV-PARTS repack of pascal-part-116, got new, old; name one of them"
    )


@pytest.mark.parametrize(
    ("make", "got"),
    [
        (lambda source: None, "no such folder"),
        (lambda source: source.mkdir(), "an empty folder"),
        (lambda source: source.write_text(""), "a file"),
        (lambda source: [(source / name).mkdir(parents=True) for name in "abcdefg"], "a, b, c, d, e and 2 more"),
        (lambda source: (source / PARTS).mkdir(parents=True), PARTS),
    ],
)
def test_anything_else_is_no_repack(tmp_path, make, got):
    source = tmp_path / "source"
    make(source)
    assert refusal(source) == (
        f"SOURCE: must hold the OV-PARTS repack of pascal-part-116 ({PARTS}/train and val, there or one folder down), "
        f"got {got}; {GET_PASCAL}"
    )
    assert is_repack(source) == (got == PARTS)


def test_the_original_release_is_no_repack(tmp_path):
    (tmp_path / "Annotations_Part").mkdir()
    (tmp_path / "JPEGImages").mkdir()
    assert not is_repack(tmp_path)


def test_a_folder_that_is_a_link_to_elsewhere_is_refused(tmp_path):
    source, elsewhere = pascal_tree(tmp_path / "source"), tmp_path / "elsewhere"
    (source / "images/train").rename(elsewhere)
    (source / "images/train").symlink_to(elsewhere)
    assert refusal(source) == (
        f"SOURCE/images/train: must be inside SOURCE, got a link to {elsewhere}; copy the files there"
    )


def test_a_file_that_is_a_link_to_elsewhere_is_refused(tmp_path):
    source, elsewhere = pascal_tree(tmp_path / "source"), tmp_path / "elsewhere.png"
    (source / PASCAL_OBJECTS).rename(elsewhere)
    (source / PASCAL_OBJECTS).symlink_to(elsewhere)
    assert refusal(source) == (
        f"SOURCE/{PASCAL_OBJECTS}: must be inside SOURCE, got a link to {elsewhere}; copy the files there"
    )


def test_links_within_the_source_and_a_source_that_is_a_link_are_fine(tmp_path):
    source = pascal_tree(tmp_path / "source")
    (source / PASCAL_OBJECTS).rename(source / "moved.png")
    (source / PASCAL_OBJECTS).symlink_to(source / "moved.png")
    (tmp_path / "link").symlink_to(source)
    assert set(records(tmp_path / "link")) == {TRAIN, VAL}


def test_links_in_a_circle_are_refused(tmp_path):
    (pascal_tree(tmp_path) / PASCAL_OBJECTS).unlink()
    (tmp_path / PASCAL_OBJECTS).symlink_to(tmp_path / PASCAL_OBJECTS)
    assert refusal(tmp_path) == (f"SOURCE/{PASCAL_OBJECTS}: must lead to a file, got a loop of links; fix them")


def test_a_link_to_nothing_is_a_missing_label_map(tmp_path):
    (pascal_tree(tmp_path) / PASCAL_OBJECTS).unlink()
    (tmp_path / PASCAL_OBJECTS).symlink_to(tmp_path / "gone.png")
    assert [defect.reason for defect in skipped(tmp_path)] == ["label map is missing"]


# ADE20K-Part-234


@pytest.mark.parametrize("seed", SEEDS)
def test_flat_maps_of_ade_records_equal_the_label_maps_and_no_pixel_is_in_two_parts(tmp_path, seed):
    found = records(random_tree(tmp_path, "ade", seed), "ade")
    assert len(found) == 6
    for record in found.values():
        labels = stored(tmp_path / record.source)
        np.testing.assert_array_equal(record.pair_map(), labels)
        assert sum(part.mask.area for part in record.parts) == (labels != NONE).sum()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_part_lies_in_the_smallest_instance_of_its_object_that_covers_it(tmp_path, seed):
    for record in records(random_tree(tmp_path, "ade", seed), "ade").values():
        size = (record.height, record.width)
        for part in record.parts:
            holder, name = record.objects[part.object], ADE.vocabulary.pairs[part.pair].object
            assert ADE.objects[holder.category] == name
            pixels = part.mask.decode(*size)
            real = [one for one in record.objects if one.category == holder.category and not one.synthetic]
            covering = [one for one in real if (one.mask.decode(*size) & pixels).any()]
            if holder.synthetic:
                assert (holder.mask.area, covering) == (0, [])
            else:
                assert not (pixels & ~holder.mask.decode(*size)).any()
                assert holder.mask.area == min(one.mask.area for one in covering)


def test_ids_of_ade_objects_are_places_in_the_sorted_list(tmp_path):
    objects = [(number, rle(box(0, 0, 4, 1))) for number in range(44)]
    ade_tree(tmp_path, lambda tree: tree.add("all", objects=objects))
    record = records(tmp_path, "ade")["all"]
    assert [ADE.objects[one.category] for one in record.objects if not one.synthetic] == ADE_NAMES
    assert (ADE_NAMES[0], ADE_NAMES[3], ADE_NAMES[43]) == ("airplane", "bench", "washer")
    assert list(ADE.objects) != ADE_NAMES


def test_an_ade_image_keeps_its_instances_also_without_parts(tmp_path):
    objects = [(CAR, [[0, 0, 2, 0, 2, 2, 0, 2]]), (BUS, rle(box(0, 0, 4, 5))), (BUS, {"size": [4, 6], "counts": [24]})]
    ade_tree(tmp_path, lambda tree: tree.add("more", objects=objects))
    found = [outcome for outcome in outcomes(tmp_path, "ade") if not isinstance(outcome, Skipped)]
    record = next(outcome.record for outcome in found if outcome.record.image_id == "more")
    shown = [(one.id, ADE.objects[one.category], one.mask.area, one.synthetic) for one in record.objects]
    assert shown == [(0, "car", 4, False), (1, "bus", 20, False)]
    assert named(record) == [(1, "bus's door", 4), (1, "bus's wheel", 4)]
    assert [part.raw for part in record.parts] == [str(BUS_DOOR), str(BUS_WHEEL)]
    (defect,) = skipped(tmp_path, "ade")
    assert (defect.item, defect.reason) == ("ade20k_instance_train.json: annotation 3", "mask has no pixel")


def test_a_part_across_two_instances_is_two_parts_and_the_rest_belongs_to_none(tmp_path):
    parts = painted(65535, (BUS_WHEEL, (1, 0, 2, 6)), (CAR_WHEEL, (3, 0, 4, 2)))
    objects = [(BUS, rle(box(0, 0, 4, 3))), (BUS, rle(box(0, 2, 2, 5))), (CAR, rle(box(0, 0, 1, 1)))]
    ade_tree(tmp_path, lambda tree: tree.add("more", parts, objects))
    record = records(tmp_path, "ade")["more"]
    assert named(record) == [(3, "car's wheel", 2), (0, "bus's wheel", 2), (1, "bus's wheel", 3), (4, "bus's wheel", 1)]
    assert [(one.mask.area, one.synthetic) for one in record.objects[3:]] == [(0, True), (0, True)]
    assert [ADE.objects[one.category] for one in record.objects[3:]] == ["car", "bus"]


def test_of_equal_instances_the_last_one_gets_the_part(tmp_path):
    objects = [(BUS, rle(box(0, 0, 4, 5)))] * 2
    ade_tree(tmp_path, lambda tree: tree.add("more", objects=objects))
    assert {part.object for part in records(tmp_path, "ade")["more"].parts} == {1}


def test_categories_of_the_json_that_say_otherwise_are_noted(tmp_path):
    def number_from_1(tree: AdeTree) -> None:
        for category in tree.files["val"]["categories"]:
            category["id"] += 1

    conversion = convert(ade_tree(tmp_path, number_from_1), "ade")
    assert conversion.notes == (
        "ade20k_instance_val.json names 44 categories otherwise, such as 1 as 'airplane'; its ids are read as the "
        "published code reads them, as places in the sorted list of objects.",
    )
    assert records(tmp_path, "ade")[ADE_VAL].objects[0].category == ADE.objects.index("bus")


@pytest.mark.parametrize(("number", "name"), [([], "bus"), (None, None), (3, ["bus"]), (True, "armchair")])
def test_odd_categories_are_noted_and_stop_nothing(tmp_path, number, name):
    odd = [{"id": number, "name": name}]
    conversion = convert(ade_tree(tmp_path, lambda tree: tree.files["train"].update(categories=odd)), "ade")
    assert f"names 1 categories otherwise, such as {number!r} as {name!r}; " in conversion.notes[0]


@pytest.mark.parametrize("value", [None, [], [5], "bus", [{"id": 3, "name": "bench", "supercategory": "seat"}]])
def test_a_json_without_categories_is_read_too(tmp_path, value):
    conversion = convert(ade_tree(tmp_path, lambda tree: tree.files["train"].update(categories=value)), "ade")
    assert conversion.notes == ()
    assert len(records(tmp_path, "ade")) == 2


def test_ade_files_that_an_outcome_depends_on_are_label_map_and_json(tmp_path):
    conversion = convert(ade_tree(tmp_path), "ade")
    assert conversion.items[0].files == (tmp_path / ADE_LABELS, tmp_path / "ade20k_instance_train.json")
    assert (conversion.found, conversion.expected_total) == (2, 8363)


def test_a_photo_named_with_its_folders_is_found_by_its_name(tmp_path):
    def name_folders(tree: AdeTree) -> None:
        tree.files["train"]["images"][0]["file_name"] = f"/home/them/../images/training/{ADE_TRAIN}.jpg"

    assert set(records(ade_tree(tmp_path, name_folders), "ade")) == {ADE_TRAIN, ADE_VAL}


TRAIN_JSON = "ade20k_instance_train.json"


def change_image(**values):
    return lambda tree: tree.files["train"]["images"][0].update(values)


NAMELESS = change_image(file_name=5)


def change_annotation(**values):
    return lambda tree: tree.files["train"]["annotations"][0].update(values)


def double(key, **values):
    def change(tree: AdeTree) -> None:
        rows = tree.files["train"][key]
        rows.append(rows[0] | values)

    return change


@pytest.mark.parametrize(
    ("change", "item", "reason", "detail"),
    [
        (
            NAMELESS,
            f"{TRAIN_JSON}: image 0",
            "image record is malformed",
            "it must have an id and a file_name",
        ),
        (
            lambda tree: tree.files["train"]["images"].append("x"),
            f"{TRAIN_JSON}: images[1]",
            "image record is malformed",
            "it must have an id and a file_name",
        ),
        (
            change_image(file_name="gone.jpg"),
            f"{TRAIN_JSON}: image 0",
            "label map is missing",
            "gone.png",
        ),
        (
            double("images", id=7),
            f"{TRAIN_JSON}: image 7",
            "image file stands twice",
            ADE_TRAIN,
        ),
        (
            change_image(width=HEIGHT, height=WIDTH),
            ADE_LABELS,
            "masks of one image differ in size",
            "label map 6x4, JSON 4x6, swapped",
        ),
        (change_image(width=9), ADE_LABELS, "masks of one image differ in size", "label map 6x4, JSON 9x4"),
        (
            change_annotation(category_id=44),
            f"{TRAIN_JSON}: annotation 0",
            "annotation has an unknown category",
            "category_id is 44",
        ),
        (
            double("annotations", id=1, image_id=9),
            f"{TRAIN_JSON}: annotation 1",
            "annotation belongs to an unknown image",
            "image_id is 9",
        ),
        (double("annotations"), f"{TRAIN_JSON}: annotation 0", "annotation id stands twice", "0"),
        (
            change_annotation(segmentation=rle(box(0, 0, 4, 4, WIDTH, HEIGHT))),
            f"{TRAIN_JSON}: annotation 0",
            "run lengths and image differ in size",
            "size is [6, 4], the image's height and width are [4, 6], swapped",
        ),
        (
            change_annotation(segmentation=[[0, 0, 1, 1]]),
            f"{TRAIN_JSON}: annotation 0",
            "polygon has fewer than 3 points",
            "got 2",
        ),
    ],
)
def test_a_defect_of_the_json_is_told_and_the_rest_converts(tmp_path, change, item, reason, detail):
    ade_tree(tmp_path, change)
    defects = [one for one in skipped(tmp_path, "ade") if one.is_defect]
    assert defects == [Skipped(item, reason, is_defect=True, detail=detail)]
    is_lost = reason in ("masks of one image differ in size", "label map is missing") or change is NAMELESS
    left = 1 if is_lost else 2
    assert len([one for one in outcomes(tmp_path, "ade") if not isinstance(one, Skipped)]) == left


def test_two_images_with_one_id_are_both_left_out(tmp_path):
    def same_id(tree: AdeTree) -> None:
        tree.add("ADE_train_00000005")
        tree.files["train"]["images"][1]["id"] = tree.files["train"]["annotations"][1]["image_id"] = 0

    found = skipped(ade_tree(tmp_path, same_id), "ade")
    assert found == [Skipped(f"{TRAIN_JSON}: image 0", "image id stands twice", is_defect=True, detail="0")] * 2


def test_the_parts_of_a_broken_instance_stay(tmp_path):
    ade_tree(tmp_path, change_annotation(segmentation=None))
    train, val = (one.record for one in outcomes(tmp_path, "ade") if not isinstance(one, Skipped))
    np.testing.assert_array_equal(train.pair_map(), BUS_PARTS)
    assert [(one.mask.area, one.synthetic) for one in train.objects] == [(0, True)]
    assert [one.synthetic for one in val.objects] == [False]


def test_an_image_that_the_json_does_not_list_is_no_image_of_the_data_set(tmp_path):
    ade_tree(tmp_path, lambda tree: tree.files["train"]["images"].clear())
    unlisted = Skipped(ADE_LABELS, "image is not in the JSON of instances", is_defect=False)
    unknown = Skipped(
        f"{TRAIN_JSON}: annotation 0", "annotation belongs to an unknown image", is_defect=True, detail="image_id is 0"
    )
    assert skipped(tmp_path, "ade") == [unknown, unlisted]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, f"must be a readable file, got No such file or directory; {GET_ADE}"),
        (
            "version https://git-lfs.github.com/spec/v1",
            f"must be JSON, got a git-lfs pointer (Expecting value: line 1 column 1 (char 0)); {GET_ADE}",
        ),
        ("[]", f"must hold the lists images and annotations, got none called images; {GET_ADE}"),
        ('{"images": []}', f"must hold the lists images and annotations, got none called annotations; {GET_ADE}"),
    ],
)
def test_ade_without_its_json_of_instances_is_refused(tmp_path, content, message):
    path = ade_tree(tmp_path) / TRAIN_JSON
    if content is None:
        path.unlink()
    else:
        path.write_text(content)
    assert refusal(tmp_path, "ade") == f"SOURCE/{TRAIN_JSON}: {message}"


def test_the_json_may_start_with_a_byte_order_mark(tmp_path):
    path = ade_tree(tmp_path) / TRAIN_JSON
    path.write_text(json.dumps(json.loads(path.read_text())), encoding="utf-8-sig")
    assert len(records(tmp_path, "ade")) == 2
