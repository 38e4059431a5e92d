import re
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import loadmat, savemat

from partseg_cli.data.converters import pascal_part
from partseg_cli.data.converters.conversion import Converted, Skipped
from partseg_cli.data.converters.pascal_part import convert, find_pair
from partseg_cli.data.manifest import load_manifest
from partseg_cli.data.record import Record
from partseg_cli.data.rle import NONE
from partseg_cli.errors import DataError

MANIFEST = load_manifest("pascal-part-116")
PAIRS = [pair.name for pair in MANIFEST.vocabulary.pairs]
TRAIN, VAL = "2008_000652", "2008_000700"
HEIGHT, WIDTH = 4, 6


def mask(*boxes: tuple[int, int, int, int], height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """Pixels of boxes (top, left, bottom, right), as the original files hold them."""
    pixels = np.zeros((height, width), np.uint8)
    for top, left, bottom, right in boxes:
        pixels[top:bottom, left:right] = 1
    return pixels


def structs(rows: list[tuple], fields: str) -> np.ndarray:
    """A MATLAB struct array of one row, 0x0 without elements."""
    dtype = [(name, object) for name in fields.split()]
    if not rows:
        return np.empty((0, 0), dtype)
    array = np.empty((1, len(rows)), dtype)
    for index, row in enumerate(rows):
        array[0, index] = row
    return array


def write_annotation(path: Path, objects: list[tuple]) -> None:
    """Write (class, mask, [(code, mask), ...]) in the original layout."""
    rows = [(name, 1, pixels, structs(parts, "part_name mask")) for name, pixels, parts in objects]
    anno = structs([(path.stem, structs(rows, "class class_ind mask parts"))], "imname objects")
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, {"anno": anno}, do_compression=True)


CAT = ("cat", mask((0, 0, 4, 5)), [("head", mask((0, 0, 2, 3))), ("lear", mask((0, 0, 1, 1)))])
BOAT = ("boat", mask((1, 1, 3, 3)), [])


def write_image(source: Path, stem: str, objects: list[tuple] = [CAT], size=(WIDTH, HEIGHT)) -> None:  # noqa: B006
    write_annotation(source / "Annotations_Part" / f"{stem}.mat", objects)
    (source / "JPEGImages").mkdir(exist_ok=True)
    Image.new("RGB", size, "grey").save(source / "JPEGImages" / f"{stem}.jpg")


def outcomes(source: Path) -> list[Converted | Skipped]:
    return list(convert(source, MANIFEST).outcomes)


def only_record(source: Path) -> Record:
    (outcome,) = outcomes(source)
    assert isinstance(outcome, Converted)
    return outcome.record


def named(record: Record) -> list[tuple[int, str, str]]:
    return [(part.object, PAIRS[part.pair], part.raw) for part in record.parts]


def exactly(message: str) -> str:
    return f"^{re.escape(message)}$"


# one image


def test_an_image_becomes_one_record(tmp_path):
    write_image(tmp_path, TRAIN, [CAT, BOAT])
    conversion = convert(tmp_path, MANIFEST)
    (outcome,) = conversion.outcomes
    record = outcome.record
    assert (conversion.found, conversion.image_root) == (1, (tmp_path / "JPEGImages").as_posix())
    assert (record.image_id, record.file_name) == (TRAIN, f"{TRAIN}.jpg")
    assert (record.width, record.height) == (WIDTH, HEIGHT)
    assert record.source == f"Annotations_Part/{TRAIN}.mat"


def test_every_object_is_an_instance_also_without_parts(tmp_path):
    write_image(tmp_path, TRAIN, [BOAT, CAT, CAT])
    record = only_record(tmp_path)
    assert [(thing.id, MANIFEST.objects[thing.category]) for thing in record.objects] == [
        (0, "boat"),
        (1, "cat"),
        (2, "cat"),
    ]
    assert not any(thing.synthetic for thing in record.objects)
    np.testing.assert_array_equal(record.objects[0].mask.decode(HEIGHT, WIDTH), BOAT[1])


def test_every_part_keeps_its_raw_code_its_mask_and_its_object(tmp_path):
    write_image(tmp_path, TRAIN, [BOAT, CAT])
    record = only_record(tmp_path)
    assert named(record) == [(1, "cat's head", "head"), (1, "cat's ear", "lear")]
    assert {part.level for part in record.parts} == {1}
    np.testing.assert_array_equal(record.parts[0].mask.decode(HEIGHT, WIDTH), CAT[2][0][1])


def test_the_table_of_the_annotation_is_the_dining_table(tmp_path):
    write_image(tmp_path, TRAIN, [("table", mask((0, 0, 1, 1)), []), CAT])
    assert MANIFEST.objects[only_record(tmp_path).objects[0].category] == "diningtable"


def test_parts_without_a_pixel_are_left_out(tmp_path):
    write_image(tmp_path, TRAIN, [(*CAT[:2], [("tail", mask()), *CAT[2]])])
    assert [part.raw for part in only_record(tmp_path).parts] == ["head", "lear"]


def test_logical_masks_count_as_well(tmp_path):
    write_image(tmp_path, TRAIN, [("cat", CAT[1].astype(bool), [("head", CAT[2][0][1].astype(float))])])
    assert only_record(tmp_path).parts[0].mask.area == 6


def test_an_image_whose_parts_are_all_empty_is_left_out_without_a_defect(tmp_path):
    write_image(tmp_path, TRAIN, [(*CAT[:2], [("tail", mask())])])
    assert outcomes(tmp_path) == [Skipped(f"Annotations_Part/{TRAIN}.mat", "no part of the 116", is_defect=False)]


@pytest.mark.parametrize("objects", [[], [BOAT]])
def test_an_image_without_parts_is_left_out_without_a_defect(tmp_path, objects):
    write_image(tmp_path, TRAIN, objects)
    assert outcomes(tmp_path) == [Skipped(f"Annotations_Part/{TRAIN}.mat", "no part of the 116", is_defect=False)]


def test_small_parts_are_painted_over_large_ones(tmp_path):
    write_image(tmp_path, TRAIN, [(*CAT[:2], CAT[2][::-1])])
    flat = only_record(tmp_path).pair_map()
    assert PAIRS[flat[0, 0]] == "cat's ear"
    assert PAIRS[flat[0, 1]] == "cat's head"
    assert flat[3, 5] == NONE


# codes


@pytest.mark.parametrize(
    ("name", "code", "pair"),
    [
        ("person", "rear", "person's ear"),
        ("person", "lear", "person's ear"),
        ("person", "ruarm", "person's upper arm"),
        ("person", "llarm", "person's lower arm"),
        ("person", "luleg", "person's leg"),
        ("person", "rebrow", "person's eyebrow"),
        ("horse", "rbho", "horse's hoof"),
        ("cow", "lblleg", "cow's leg"),
        ("dog", "rfpa", "dog's paw"),
        ("bird", "rwing", "bird's wing"),
        ("bicycle", "bwheel", "bicycle's wheel"),
        ("aeroplane", "wheel_17", "aeroplane's wheel"),
        ("aeroplane", "engine_1", "aeroplane's engine"),
        ("car", "bliplate", "car's license plate"),
        ("bus", "roofside", "bus's roof"),
        ("bus", "rightmirror", "bus's mirror"),
        ("train", "hroofside", "train's roof"),
        ("train", "cleftside_12", "train's side"),
        ("train", "cbackside_2", "train's back"),
        ("train", "coach_3", "train's coach"),
        ("tvmonitor", "screen", "tvmonitor's screen"),
    ],
)
def test_a_raw_code_is_merged_into_its_pair(name, code, pair):
    assert PAIRS[find_pair(MANIFEST, name, code)] == pair


def test_every_raw_code_reaches_its_pair_and_together_all_116():
    reached = set()
    for name, parts in MANIFEST.raw_codes.items():
        for part, patterns in parts.items():
            for code in (pattern.replace("_N", end) for pattern in patterns for end in ("_1", "_2", "_25")):
                index = find_pair(MANIFEST, name, code)
                assert PAIRS[index] == f"{name}'s {part}"
                reached.add(index)
    assert reached == set(range(116))


# split


def test_the_list_of_the_manifest_decides_the_split(tmp_path):
    for stem in (VAL, TRAIN, "2010_009999"):
        write_image(tmp_path, stem)
    splits = [(outcome.record.image_id, outcome.split) for outcome in outcomes(tmp_path)]
    assert splits == [(TRAIN, "train"), (VAL, "val"), ("2010_009999", "train")]


# defects: one outcome each, the others go on


def defect_beside_a_good_image(source: Path) -> Skipped:
    broken, good = outcomes(source)
    assert isinstance(good, Converted)
    assert good.record.image_id == VAL
    assert isinstance(broken, Skipped)
    assert broken.is_defect
    assert broken.item == f"Annotations_Part/{TRAIN}.mat"
    return broken


@pytest.fixture
def release(tmp_path) -> Path:
    """Two images; tests break the first one."""
    write_image(tmp_path, TRAIN)
    write_image(tmp_path, VAL)
    return tmp_path


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"<!DOCTYPE html><html><body>Not found</body></html>", "an HTML page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a git-lfs pointer"),
        (b"", "an empty file"),
        (b"\x89HDF\r\n\x1a\n", "a file that starts with b'\\x89HDF\\r\\n\\x1a\\n'"),
    ],
)
def test_what_is_no_mat_file_is_a_defect(release, content, what):
    (release / "Annotations_Part" / f"{TRAIN}.mat").write_bytes(content)
    skipped = defect_beside_a_good_image(release)
    assert (skipped.reason, skipped.detail) == ("annotation is no .mat file", what)


@pytest.mark.parametrize("kept", [0.2, 0.5, 0.99])
def test_a_truncated_annotation_is_a_defect(release, kept):
    path = release / "Annotations_Part" / f"{TRAIN}.mat"
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    assert defect_beside_a_good_image(release).reason == "annotation cannot be read"


def test_a_corrupt_annotation_is_a_defect_that_says_why(release):
    path = release / "Annotations_Part" / f"{TRAIN}.mat"
    content = bytearray(path.read_bytes())
    content[200:220] = bytes(20)
    path.write_bytes(content)
    skipped = defect_beside_a_good_image(release)
    assert skipped.reason == "annotation cannot be read"
    assert skipped.detail.startswith("error: Error -3 while decompressing data: ")


def test_a_mat_file_of_something_else_is_a_defect(release):
    savemat(release / "Annotations_Part" / f"{TRAIN}.mat", {"data": np.eye(3)})
    skipped = defect_beside_a_good_image(release)
    assert (skipped.reason, skipped.detail) == ("annotation cannot be read", "KeyError: 'anno'")


def test_a_missing_photo_is_a_defect(release):
    (release / "JPEGImages" / f"{TRAIN}.jpg").unlink()
    skipped = defect_beside_a_good_image(release)
    assert (skipped.reason, skipped.detail) == ("image is missing", f"{TRAIN}.jpg")


def test_a_truncated_photo_is_a_defect(release):
    path = release / "JPEGImages" / f"{TRAIN}.jpg"
    Image.effect_noise((64, 48), 50).save(path)
    path.write_bytes(path.read_bytes()[:-100])
    skipped = defect_beside_a_good_image(release)
    assert skipped.reason == "image cannot be used"
    why = r"image file is truncated \(\d+ bytes not processed\)"
    assert re.fullmatch(
        rf"{TRAIN}\.jpg: an image must be complete, got one that cannot be decoded \({why}\); get it again",
        skipped.detail,
    )


def test_a_photo_of_more_than_100_megapixels_is_a_defect(release):
    (release / "JPEGImages" / f"{TRAIN}.jpg").write_bytes(b"P6 10001 10000 255\n")
    skipped = defect_beside_a_good_image(release)
    assert skipped.reason == "image cannot be used"
    assert skipped.detail == (
        f"{TRAIN}.jpg: an image must have at most 100 megapixels, got 10001x10000; make it smaller"
    )


def test_a_photo_of_another_size_is_a_defect(release):
    write_image(release, TRAIN, size=(HEIGHT, WIDTH))
    skipped = defect_beside_a_good_image(release)
    assert (skipped.reason, skipped.detail) == ("mask and image differ in size", "mask 6x4, image 4x6, swapped")


def test_a_part_mask_of_another_size_is_a_defect(release):
    write_image(release, TRAIN, [(*CAT[:2], [("head", mask((0, 0, 1, 1), width=WIDTH + 1))])])
    skipped = defect_beside_a_good_image(release)
    assert (skipped.reason, skipped.detail) == ("masks of one image differ in size", "got 6x4, 7x4")


def test_a_mask_that_is_no_matrix_is_a_defect(release):
    write_image(release, TRAIN, [("cat", np.ones((4, 6, 3), np.uint8), [])])
    skipped = defect_beside_a_good_image(release)
    assert skipped.detail == "ValueError: a mask must have rows and columns, got shape (4, 6, 3)"


def test_an_unknown_part_code_is_a_defect(release):
    write_image(release, TRAIN, [CAT, ("boat", mask((0, 0, 1, 1)), [("sail_1", mask((0, 0, 1, 1)))])])
    skipped = defect_beside_a_good_image(release)
    assert (skipped.reason, skipped.detail) == ("annotation has an unknown part code", "boat: sail_1")


def test_a_counter_counts_only_where_the_table_has_one(release):
    write_image(release, TRAIN, [("cat", CAT[1], [("head_1", CAT[2][0][1])])])
    assert defect_beside_a_good_image(release).detail == "cat: head_1"


def test_an_unknown_object_is_a_defect_also_without_parts(release):
    write_image(release, TRAIN, [("giraffe", mask((0, 0, 1, 1)), [])])
    skipped = defect_beside_a_good_image(release)
    assert (skipped.reason, skipped.detail) == ("annotation names an unknown object", "giraffe")


def test_files_that_macos_left_are_no_annotations(release):
    (release / "Annotations_Part" / f"._{TRAIN}.mat").write_bytes(b"\0\5\26\7")
    assert [type(outcome) for outcome in outcomes(release)] == [Converted, Converted]


def test_outcomes_come_lazily(release):
    conversion = convert(release, MANIFEST)
    shutil.rmtree(release / "JPEGImages")
    assert next(conversion.outcomes).reason == "image is missing"


# folders


@pytest.mark.parametrize("annotations", [".", "pascal_part", "download", "a/b"])
@pytest.mark.parametrize("photos", [".", "VOC2010", "VOCdevkit/VOC2010", "pascal_part/VOCdevkit/VOC2010", "download"])
def test_the_usual_folders_are_found(tmp_path, annotations, photos):
    write_image(tmp_path / "flat", TRAIN)
    source = tmp_path / "source"
    for name, place in (("Annotations_Part", annotations), ("JPEGImages", photos)):
        shutil.copytree(tmp_path / "flat" / name, source / place / name)
    conversion = convert(source, MANIFEST)
    assert conversion.image_root == (source / photos / "JPEGImages").as_posix()
    (outcome,) = conversion.outcomes
    assert outcome.record.source == (Path(annotations) / f"Annotations_Part/{TRAIN}.mat").as_posix()


def test_voc2010_is_preferred_to_other_years(tmp_path):
    write_image(tmp_path, TRAIN)
    shutil.copytree(tmp_path / "JPEGImages", tmp_path / "VOCdevkit/VOC2007/JPEGImages")
    shutil.move(tmp_path / "JPEGImages", tmp_path / "VOCdevkit/VOC2010/JPEGImages")
    assert convert(tmp_path, MANIFEST).image_root.endswith("VOCdevkit/VOC2010/JPEGImages")


def test_the_folder_of_macos_is_never_the_release(tmp_path):
    write_image(tmp_path / "pascal", TRAIN)
    for name in ("Annotations_Part/._2008_000652.mat", "JPEGImages/._2008_000652.jpg"):
        path = tmp_path / "__MACOSX" / name
        path.parent.mkdir(parents=True)
        path.write_bytes(b"\0\5\26\7")
    assert only_record(tmp_path).source == f"pascal/Annotations_Part/{TRAIN}.mat"


LINKED = ["Annotations_Part", "JPEGImages", f"Annotations_Part/{TRAIN}.mat", f"JPEGImages/{TRAIN}.jpg"]


@pytest.mark.parametrize("place", LINKED)
def test_a_link_out_of_the_source_is_refused(release, tmp_path, place):
    outside = tmp_path.with_name(f"{tmp_path.name}-outside")
    (release / place).rename(outside)
    (release / place).symlink_to(outside)
    message = f"{release / place}: must be inside {release}, got a link to {outside}; copy the files there"
    with pytest.raises(DataError, match=exactly(message)):
        convert(release, MANIFEST)


@pytest.mark.parametrize("place", LINKED[2:])
def test_a_link_to_itself_is_refused(release, place):
    (release / place).unlink()
    (release / place).symlink_to(release / place)
    message = f"{release / place}: must lead to a file, got a loop of links; fix them"
    with pytest.raises(DataError, match=exactly(message)):
        convert(release, MANIFEST)


def test_links_inside_of_the_source_are_followed(release):
    (release / "JPEGImages").rename(release / "photos")
    (release / "JPEGImages").symlink_to(release / "photos")
    assert [type(outcome) for outcome in outcomes(release)] == [Converted, Converted]


ANNOTATION_PLACES = "Annotations_Part, pascal_part/Annotations_Part, */Annotations_Part, */*/Annotations_Part"


def refusal(source: Path, got: str) -> str:
    return exactly(
        f"{source}: must hold the folder Annotations_Part (looked for {ANNOTATION_PLACES}), got {got}; "
        "unpack trainval.tar.gz of PASCAL-Part there"
    )


def test_a_source_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(DataError, match=refusal(tmp_path / "none", "no such folder")):
        convert(tmp_path / "none", MANIFEST)


def test_a_source_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "trainval.tar.gz").write_bytes(b"")
    with pytest.raises(DataError, match=refusal(tmp_path / "trainval.tar.gz", "a file")):
        convert(tmp_path / "trainval.tar.gz", MANIFEST)


def test_an_empty_source_is_refused(tmp_path):
    with pytest.raises(DataError, match=refusal(tmp_path, "an empty folder")):
        convert(tmp_path, MANIFEST)


def test_a_source_of_something_else_is_refused_with_what_it_holds(tmp_path):
    for name in "gfedcba":
        (tmp_path / name).touch()
    with pytest.raises(DataError, match=refusal(tmp_path, "a, b, c, d, e and 2 more")):
        convert(tmp_path, MANIFEST)


@pytest.mark.parametrize("parent", [".", "PascalPart116"])
def test_the_repack_of_ov_parts_is_recognised(tmp_path, parent):
    for name in ("images/val", "annotations_detectron2_part/val"):
        (tmp_path / parent / name).mkdir(parents=True)
    names = "annotations_detectron2_part, images" if parent == "." else parent
    with pytest.raises(DataError, match=refusal(tmp_path, f"the OV-PARTS repack ({names})")):
        convert(tmp_path, MANIFEST)


def test_missing_photos_are_refused_with_the_places_looked_at(tmp_path):
    write_image(tmp_path, TRAIN)
    shutil.rmtree(tmp_path / "JPEGImages")
    places = ", ".join(pascal_part.IMAGE_FOLDERS)
    message = (
        f"{tmp_path}: must hold the folder JPEGImages (looked for {places}), got Annotations_Part; "
        "unpack VOCtrainval_03-May-2010.tar of PASCAL VOC2010 there"
    )
    with pytest.raises(DataError, match=exactly(message)):
        convert(tmp_path, MANIFEST)


def test_photos_of_other_images_are_refused(tmp_path):
    write_image(tmp_path, TRAIN)
    (tmp_path / "JPEGImages" / f"{TRAIN}.jpg").rename(tmp_path / "JPEGImages" / "000005.jpg")
    message = (
        f"{tmp_path}/JPEGImages: must hold the images of {tmp_path}/Annotations_Part, got none of them, "
        f"such as {TRAIN}.jpg; unpack VOCtrainval_03-May-2010.tar"
    )
    with pytest.raises(DataError, match=exactly(message)):
        convert(tmp_path, MANIFEST)


def test_an_annotation_folder_without_annotations_is_refused(tmp_path):
    (tmp_path / "Annotations_Part").mkdir()
    (tmp_path / "JPEGImages").mkdir()
    message = f"{tmp_path}/Annotations_Part: must hold .mat files, got none; unpack trainval.tar.gz again"
    with pytest.raises(DataError, match=exactly(message)):
        convert(tmp_path, MANIFEST)


# the real samples, read a second time without the converter


@pytest.fixture(scope="module")
def real(samples) -> Path:
    return samples / "pascal_part"


def raw_objects(source: Path, stem: str) -> list[tuple[str, list[tuple[str, np.ndarray]]]]:
    """Read (class, [(code, pixels), ...]) with squeezed structs, another way than the converter's."""
    content = loadmat(source / "Annotations_Part" / f"{stem}.mat", squeeze_me=True, struct_as_record=False)
    objects = np.atleast_1d(content["anno"].objects)
    return [
        (thing.__dict__["class"], [(part.part_name, part.mask > 0) for part in np.atleast_1d(thing.parts)])
        for thing in objects
    ]


def painted_plainly(record: Record) -> np.ndarray:
    """Paint by level, then area from large to small, then place: pixel by pixel, from decoded masks."""
    layers = [
        (part.level, -int(pixels.sum()), place, part.pair, pixels)
        for place, part in enumerate(record.parts)
        for pixels in [part.mask.decode(record.height, record.width)]
    ]
    labels = np.full((record.height, record.width), NONE, np.uint16)
    for _, _, _, pair, pixels in sorted(layers, key=lambda layer: layer[:3]):
        for row, column in np.argwhere(pixels):
            labels[row, column] = pair
    return labels


def test_the_samples_are_15_train_1_val_and_2_without_parts(real):
    found = outcomes(real)
    assert Counter(getattr(outcome, "split", None) for outcome in found) == {"train": 15, "val": 1, None: 2}
    assert [outcome for outcome in found if isinstance(outcome, Skipped)] == [
        Skipped(f"Annotations_Part/{stem}.mat", "no part of the 116", is_defect=False)
        for stem in ("2010_000145", "2010_001199")
    ]
    assert [outcome.record.image_id for outcome in found if getattr(outcome, "split", None) == "val"] == [VAL]


def test_the_samples_hold_47_objects_and_398_parts(real):
    records = [outcome.record for outcome in outcomes(real) if isinstance(outcome, Converted)]
    assert sum(len(record.objects) for record in records) == 47
    assert sum(len(record.parts) for record in records) == 398


def test_two_runs_give_equal_records(real):
    assert outcomes(real) == outcomes(real)


@pytest.mark.parametrize("stem", [TRAIN, "2009_001103", "2010_005243"])
def test_each_pair_of_each_object_is_the_union_of_its_raw_masks(real, stem):
    (record,) = [o.record for o in outcomes(real) if isinstance(o, Converted) and o.record.image_id == stem]
    expected: dict[tuple[int, int], np.ndarray] = {}
    for index, (name, parts) in enumerate(raw_objects(real, stem)):
        for code, pixels in parts:
            key = (index, find_pair(MANIFEST, name, code))
            expected[key] = expected.get(key, False) | pixels
    stored: dict[tuple[int, int], np.ndarray] = {}
    for part in record.parts:
        key = (part.object, part.pair)
        stored[key] = stored.get(key, False) | part.mask.decode(record.height, record.width)
    assert stored.keys() == expected.keys()
    for key, pixels in expected.items():
        np.testing.assert_array_equal(stored[key], pixels)


def test_the_flat_map_of_a_sample_equals_a_plain_painter(real):
    for outcome in outcomes(real):
        if isinstance(outcome, Converted):
            np.testing.assert_array_equal(outcome.record.pair_map(), painted_plainly(outcome.record))
