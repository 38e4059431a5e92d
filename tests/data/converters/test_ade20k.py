import json
import re
import shutil
from pathlib import Path

import pytest
from ade20k_tree import (
    BUILDING,
    CAR,
    DOOR,
    FIRST,
    HEIGHT,
    MANIFEST,
    RIM,
    SECOND,
    STREET,
    WHEEL,
    WHEELED,
    WIDTH,
    Annotated,
    grey,
    mask_name,
    only_record,
    outcomes,
    row,
    street,
    write_image,
    write_json,
)
from PIL import Image

from partseg_cli.data.converters.ade20k_part import convert
from partseg_cli.data.converters.conversion import Converted, Skipped
from partseg_cli.errors import DataError
from partseg_cli.pipeline.prepare import prepare


def exactly(message: str) -> str:
    return f"^{re.escape(message)}$"


# the ways MATLAB writes JSON


def test_ispartof_may_be_a_list_of_one(tmp_path):
    write_image(tmp_path, FIRST, [WHEELED[0], WHEELED[1]._replace(whole=[0])])
    assert len(only_record(tmp_path).parts) == 1


def test_a_single_object_may_stand_without_a_list(tmp_path):
    image = write_image(tmp_path, FIRST)
    write_json(image, row(FIRST, WHEELED[0], WHEELED))
    (skipped,) = outcomes(tmp_path)
    assert skipped.reason == "no part of the 234"


@pytest.mark.parametrize(
    ("hasparts", "occluded", "crop"), [([], [], "0"), (3, "back", "1"), ([3], ["back"], 0), ([3, 4], "", [])]
)
def test_what_is_not_needed_may_be_written_in_any_way(tmp_path, hasparts, occluded, crop):
    image = write_image(tmp_path, FIRST)
    rows = [row(FIRST, thing, WHEELED) for thing in WHEELED]
    for value in rows:
        value.update(occluded=occluded, crop=crop)
        value["parts"]["hasparts"] = hasparts
    write_json(image, rows)
    assert len(only_record(tmp_path).parts) == 1


def test_text_that_is_no_utf_8_does_no_harm(tmp_path):
    path = write_image(tmp_path, FIRST).with_name(f"{FIRST}.json")
    path.write_bytes(path.read_bytes().replace(b"a name", b"caf\xe9"))
    assert len(only_record(tmp_path).parts) == 1


# where the release lies, and which split


@pytest.mark.parametrize("place", [".", "..", "../.."])
def test_the_release_is_found_in_the_folder_in_its_parent_and_one_further_up(tmp_path, place):
    write_image(tmp_path / "raw", FIRST)
    source = (tmp_path / "raw/ADE20K_2021_17_01" / place).resolve()
    record = only_record(source)
    assert record.file_name == f"images/ADE/training/{STREET}/{FIRST}.jpg"
    assert (source / record.source).is_file()


def test_the_folder_decides_the_split_and_training_comes_first(tmp_path):
    write_image(tmp_path, "ADE_val_00000001", split="validation")
    write_image(tmp_path, "ADE_frame_00000377", split="validation")
    write_image(tmp_path, FIRST)
    assert [(outcome.record.image_id, outcome.split) for outcome in outcomes(tmp_path)] == [
        (FIRST, "train"),
        ("ADE_frame_00000377", "val"),
        ("ADE_val_00000001", "val"),
    ]


def test_the_store_is_the_same_bytes_twice_and_from_another_place(tmp_path):
    write_image(tmp_path / "raw", SECOND)
    write_image(tmp_path / "raw", FIRST)
    shutil.copytree(tmp_path / "raw", tmp_path / "copy")
    stores = []
    for number, source in enumerate(("raw", "raw", "copy")):
        folder = tmp_path / f"store{number}"
        prepare("ade20k-part-234", source=tmp_path / source, out=folder, copy_images=True, preview=1)
        stores.append({p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()})
    assert stores[0] == stores[1] == stores[2]
    assert Path(f"images/images/ADE/training/{STREET}/{FIRST}.jpg") in stores[0]


def test_files_that_macos_left_are_no_images(tmp_path):
    image = write_image(tmp_path, FIRST)
    for name in (f"._{FIRST}.json", f"._{FIRST}.jpg", ".DS_Store", f"{FIRST}/._instance_000_{FIRST}.png"):
        (image.parent / name).write_bytes(b"\0\5\26\7")
    (image.parent / "._street").mkdir()
    (image.parent / "._street" / "x.json").write_bytes(b"\0\5\26\7")
    assert [type(outcome) for outcome in outcomes(tmp_path)] == [Converted]


def test_folders_of_masks_hold_no_images(tmp_path):
    image = write_image(tmp_path, FIRST)
    (image / "notes.json").write_text("{}")
    assert len(outcomes(tmp_path)) == 1


def test_outcomes_come_lazily(tmp_path):
    write_image(tmp_path, FIRST)
    conversion = convert(tmp_path, MANIFEST)
    shutil.rmtree(tmp_path / "ADE20K_2021_17_01")
    (skipped,) = conversion.outcomes
    assert skipped.reason == "annotation is missing"


# defects: one outcome each, the others go on


def defect_beside_a_good_image(source: Path) -> tuple[str, str]:
    broken, good = outcomes(source)
    assert isinstance(good, Converted)
    assert good.record.image_id == SECOND
    assert isinstance(broken, Skipped)
    assert broken.is_defect
    assert broken.item == f"ADE20K_2021_17_01/images/ADE/training/{STREET}/{FIRST}.json"
    return broken.reason, broken.detail


@pytest.fixture
def release(tmp_path) -> Path:
    """Two images; tests break the first one."""
    write_image(tmp_path, FIRST)
    write_image(tmp_path, SECOND)
    return tmp_path


def test_a_missing_annotation_is_a_defect(release):
    (street(release) / f"{FIRST}.json").unlink()
    assert defect_beside_a_good_image(release) == ("annotation is missing", f"{FIRST}.json")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"<!DOCTYPE html><html><body>Not found</body></html>", "an HTML page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a git-lfs pointer"),
        (b"", "an empty file"),
        (b"[1, 2]", "a file that starts with b'[1, 2]'"),
    ],
)
def test_what_is_no_json_object_is_a_defect(release, content, what):
    (street(release) / f"{FIRST}.json").write_bytes(content)
    assert defect_beside_a_good_image(release) == ("annotation is no JSON file", what)


@pytest.mark.parametrize("kept", [0.2, 0.5, 0.99])
def test_a_truncated_annotation_is_a_defect(release, kept):
    path = street(release) / f"{FIRST}.json"
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    reason, detail = defect_beside_a_good_image(release)
    assert reason == "annotation cannot be read"
    assert detail.startswith("JSONDecodeError: ")


@pytest.mark.parametrize(
    ("content", "detail"),
    [
        ("{}", "KeyError: 'annotation'"),
        ('{"annotation": 3}', "TypeError: 'int' object is not subscriptable"),
        ('{"annotation": {"object": ["car"]}}', "TypeError: string indices must be integers, not 'str'"),
        ('{"annotation": {"object": {"id": 1}}}', "KeyError: 'parts'"),
        (f'{{"annotation": {"[" * 100_000}', "RecursionError: maximum recursion depth exceeded"),
    ],
)
def test_json_of_another_structure_is_a_defect(release, content, detail):
    (street(release) / f"{FIRST}.json").write_text(content)
    reason, found = defect_beside_a_good_image(release)
    assert reason == "annotation cannot be read"
    assert found.startswith(detail)


@pytest.mark.parametrize(
    ("things", "detail"),
    [
        (
            [WHEELED[0], WHEELED[0]],
            "ValueError: ids of objects must differ, got 2 objects with 1 ids",
        ),
        (
            [*WHEELED, WHEELED[1]._replace(id=4, whole=[0, 3])],
            "ValueError: ispartof must name at most one object, got [0, 3]",
        ),
        (
            [*WHEELED, Annotated(4, "401")],
            "TypeError: id, name_ndx, ispartof and part_level must be whole numbers, got '401'",
        ),
        (
            [*WHEELED, Annotated(4, CAR, level=[])],
            "TypeError: id, name_ndx, ispartof and part_level must be whole numbers, got []",
        ),
    ],
)
def test_values_that_make_no_sense_are_a_defect(release, things, detail):
    write_image(release, FIRST, things)
    assert defect_beside_a_good_image(release) == ("annotation cannot be read", detail)


def test_a_part_of_nothing_is_a_defect(release):
    write_image(release, FIRST, [*WHEELED, Annotated(4, WHEEL, 17, 1)])
    expected = ("part belongs to nothing in the annotation", "object 4 is part of 17")
    assert defect_beside_a_good_image(release) == expected


def test_a_part_of_itself_is_a_defect(release):
    write_image(release, FIRST, [Annotated(0, DOOR, 2, 1), Annotated(1, WHEEL, 0, 2), Annotated(2, CAR, 0, 0)])
    assert defect_beside_a_good_image(release) == ("part belongs to itself", "0 in 2 in 0")


def test_links_of_what_is_in_no_pair_do_not_matter(release):
    write_image(release, FIRST, [*WHEELED, Annotated(4, RIM, 17, 1), Annotated(5, BUILDING, 5, 1)])
    assert [type(outcome) for outcome in outcomes(release)] == [Converted, Converted]


@pytest.mark.parametrize("thing", WHEELED)
def test_a_missing_instance_mask_is_a_defect(release, thing):
    name = mask_name(FIRST, thing)
    (street(release) / name).unlink()
    assert defect_beside_a_good_image(release) == ("instance mask is missing", name)


@pytest.mark.parametrize("name", ["../" * 20 + "etc/passwd", "/etc/passwd", f"{FIRST}/" + "../" * 9 + "mask.png"])
def test_an_instance_mask_outside_the_source_is_refused(release, name):
    write_image(release, FIRST, [WHEELED[0], WHEELED[1]._replace(mask=name)])
    message = f"{street(release)}/{FIRST}.json: an instance mask must be inside {release}, got {name!r}; fix it"
    with pytest.raises(DataError, match=exactly(message)):
        outcomes(release)


LINKED = ["", f"{FIRST}.jpg", f"{FIRST}.json", FIRST, mask_name(FIRST, WHEELED[1])]


@pytest.mark.parametrize("place", LINKED)
def test_a_link_out_of_the_source_is_refused(release, tmp_path, place):
    path, outside = street(release) / place, tmp_path.with_name(f"{tmp_path.name}-outside")
    path.rename(outside)
    path.symlink_to(outside)
    message = f"must be inside {release}, got a link to {outside}"
    with pytest.raises(DataError, match=f"{re.escape(message)}.*; copy the files there$"):
        outcomes(release)


@pytest.mark.parametrize("place", [f"{FIRST}.jpg", f"{FIRST}.json", mask_name(FIRST, WHEELED[1])])
def test_a_link_to_itself_is_refused(release, place):
    path = street(release) / place
    path.unlink()
    path.symlink_to(path)
    message = f"{path}: must lead to a file, got a loop of links; fix them"
    with pytest.raises(DataError, match=exactly(message)):
        outcomes(release)


def test_links_inside_of_the_source_are_followed(release):
    path = street(release) / mask_name(FIRST, WHEELED[1])
    path.rename(release / "mask.png")
    path.symlink_to(release / "mask.png")
    assert [type(outcome) for outcome in outcomes(release)] == [Converted, Converted]


@pytest.mark.parametrize("name", ["a\0.png", "x" * 300 + ".png", "\ud800.png", "[]", ""])
def test_a_name_of_an_instance_mask_that_no_file_can_have_is_a_defect(release, name):
    things = [WHEELED[0], WHEELED[1]._replace(mask="later")]
    write_image(release, FIRST, things)
    path = street(release) / f"{FIRST}.json"
    path.write_text(path.read_text().replace('"later"', json.dumps(name)))
    expected = ("instance mask is missing", name.replace("\ud800", "?"))
    assert defect_beside_a_good_image(release) == expected


def test_an_instance_mask_elsewhere_in_the_source_is_read(release):
    name = f"{FIRST}/../{mask_name(SECOND, WHEELED[1])}"
    write_image(release, FIRST, [WHEELED[0], WHEELED[1]._replace(mask=name)])
    assert [type(outcome) for outcome in outcomes(release)] == [Converted, Converted]


@pytest.mark.parametrize(("content", "what"), [(b"", "an empty file"), (b"<html></html>", "an HTML page")])
def test_an_instance_mask_that_is_no_picture_is_a_defect(release, content, what):
    (street(release) / mask_name(FIRST, WHEELED[1])).write_bytes(content)
    reason, detail = defect_beside_a_good_image(release)
    assert reason == "instance mask cannot be used"
    assert detail.startswith(f"instance_003_{FIRST}.png: must be an image")
    assert f"got {what};" in detail


def test_a_truncated_instance_mask_is_a_defect(release):
    path = street(release) / mask_name(FIRST, WHEELED[1])
    path.write_bytes(path.read_bytes()[:50])
    reason, detail = defect_beside_a_good_image(release)
    assert reason == "instance mask cannot be used"
    assert detail.startswith(f"instance_003_{FIRST}.png: ")


@pytest.mark.parametrize("mode", ["RGB", "P", "1", "I;16"])
def test_an_instance_mask_of_another_kind_is_a_defect(release, mode):
    Image.new(mode, (WIDTH, HEIGHT)).save(street(release) / mask_name(FIRST, WHEELED[1]))
    expected = f"instance_003_{FIRST}.png: must be grey of 8 bits (mode L), got mode {mode}"
    assert defect_beside_a_good_image(release) == ("instance mask cannot be used", expected)


def test_an_instance_mask_of_another_size_is_a_defect(release):
    name = mask_name(FIRST, WHEELED[1])
    Image.fromarray(grey(WHEELED[1], width=WIDTH + 1)).save(street(release) / name)
    assert defect_beside_a_good_image(release) == (
        "masks of one image differ in size",
        f"{mask_name(FIRST, WHEELED[0])}: 6x4, others 7x4",
    )


def test_a_photo_that_only_its_exif_data_turn_to_its_masks_is_read_upright(release):
    photo = Image.new("RGB", (HEIGHT, WIDTH))
    photo.getexif()[274] = 6
    photo.save(street(release) / f"{FIRST}.jpg", exif=photo.getexif())
    sizes = [(o.record.upright, o.record.width, o.record.height) for o in outcomes(release)]
    assert sizes == [(True, WIDTH, HEIGHT), (False, WIDTH, HEIGHT)]


def test_a_photo_stays_as_stored_where_its_masks_fit(release):
    photo = Image.new("RGB", (WIDTH, HEIGHT))
    photo.getexif()[274] = 6
    photo.save(street(release) / f"{FIRST}.jpg", exif=photo.getexif())
    assert [(o.record.width, o.record.height) for o in outcomes(release)] == [(WIDTH, HEIGHT)] * 2


def test_a_missing_photo_is_a_defect(release):
    (street(release) / f"{FIRST}.jpg").unlink()
    assert defect_beside_a_good_image(release) == ("image is missing", f"{FIRST}.jpg")


def test_a_truncated_photo_is_a_defect(release):
    path = street(release) / f"{FIRST}.jpg"
    Image.effect_noise((64, 48), 50).save(path)
    path.write_bytes(path.read_bytes()[:-100])
    reason, detail = defect_beside_a_good_image(release)
    assert reason == "image cannot be used"
    assert detail.startswith(f"{FIRST}.jpg: an image must be complete, got one that cannot be decoded ")


def test_a_second_image_of_the_same_name_is_a_defect(release, tmp_path):
    write_image(release, FIRST, split="validation")
    prepared = prepare("ade20k-part-234", source=release, out=tmp_path / "store")
    assert prepared.converted == {"train": 2, "val": 0}
    (second,) = prepared.skipped
    before = f"ADE20K_2021_17_01/images/ADE/training/{STREET}/{FIRST}.json"
    assert (second.reason, second.detail) == ("another image has the same name", before)


# another source


def refusal(source: Path, got: str) -> str:
    return exactly(
        f"{source}: must hold ADE20K_2021_17_01/images/ADE/training or validation, the full ADE20K of 2021 with .json "
        "and instance masks (looked for images/ADE, ADE20K_2021_17_01/images/ADE, */ADE20K_2021_17_01/images/ADE), "
        f"got {got}; unpack ADE20K_2021_17_01.zip there"
    )


@pytest.mark.parametrize("parent", [".", "inside"])
@pytest.mark.parametrize(
    ("files", "what"),
    [
        (
            ["images/training/x.jpg", "annotations_detectron2_part/training/x.png"],
            "the OV-PARTS repack (16-bit label maps)",
        ),
        (
            ["images/validation/x.jpg", "annotations/validation/x.png"],
            "SceneParsing150 (ADEChallengeData2016, 150 classes without parts)",
        ),
        (
            [f"images/training/a/abbey/{FIRST}.jpg", f"images/training/a/abbey/{FIRST}_atr.txt"],
            "the release of 2016 (_atr.txt in place of .json)",
        ),
    ],
)
def test_another_release_is_recognised(tmp_path, files, what, parent):
    for name in files:
        (tmp_path / parent / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / parent / name).touch()
    with pytest.raises(DataError, match=refusal(tmp_path, what)):
        convert(tmp_path, MANIFEST)


def test_the_release_of_2016_in_the_folders_of_2021_is_recognised(release):
    for path in street(release).glob("*.json"):
        path.rename(path.with_name(f"{path.stem}_atr.txt"))
    with pytest.raises(DataError, match=refusal(release, "the release of 2016 (_atr.txt in place of .json)")):
        convert(release, MANIFEST)


def test_a_release_without_annotations_is_refused(release):
    for path in street(release).glob("*.json"):
        path.unlink()
    with pytest.raises(DataError, match=refusal(release, "no .json file")):
        convert(release, MANIFEST)


@pytest.mark.parametrize("mode", ["L", "P"])
def test_label_pictures_of_scene_parsing_are_recognised(release, mode):
    Image.new(mode, (WIDTH, HEIGHT)).save(street(release) / f"{FIRST}_seg.png")
    what = f"label images of mode {mode}, as in SceneParsing150 ({FIRST}_seg.png)"
    with pytest.raises(DataError, match=refusal(release, what)):
        convert(release, MANIFEST)


def test_label_pictures_may_be_missing_or_broken(release):
    (street(release) / f"{FIRST}_seg.png").unlink()
    (street(release) / f"{SECOND}_seg.png").write_text("<html></html>")
    assert [type(outcome) for outcome in outcomes(release)] == [Converted, Converted]


@pytest.mark.parametrize(
    ("names", "what"), [([], "an empty folder"), (list("bacdefg"), "a, b, c, d, e and 2 more"), (["a"], "a")]
)
def test_any_other_folder_is_refused_with_what_it_holds(tmp_path, names, what):
    for name in names:
        (tmp_path / name).mkdir()
    with pytest.raises(DataError, match=refusal(tmp_path, what)):
        convert(tmp_path, MANIFEST)


def test_no_folder_and_a_file_are_refused(tmp_path):
    with pytest.raises(DataError, match=refusal(tmp_path / "none", "no such folder")):
        convert(tmp_path / "none", MANIFEST)
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=refusal(tmp_path / "file", "a file")):
        convert(tmp_path / "file", MANIFEST)
