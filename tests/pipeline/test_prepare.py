"""`prepare` as a whole: what it leaves in the folder, and that a rerun leaves the same."""

import json
import re
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from command_line import tiny
from PIL import Image
from scipy.io import savemat

from partseg_cli.data.converters.plan import CartoonOptions, CocoOptions
from partseg_cli.data.manifest import load_manifest
from partseg_cli.data.store import Store, iterate
from partseg_cli.errors import DataError, UsageError
from partseg_cli.io.images import open_image
from partseg_cli.pipeline.prepare import describe_dataset, prepare

HEIGHT, WIDTH = 30, 50
STEMS = ("2008_000652", "2008_000700", "2008_000726", "2010_000145")
VAL = "2008_000700"
"""The manifest's list puts this one into val."""
FILES = ["dataset.json", "preview.png", "report.json", "train.idx.npy", "train.jsonl", "val.idx.npy", "val.jsonl"]


def structs(rows: list[tuple], fields: str) -> np.ndarray:
    array = np.empty((1, len(rows)), [(name, object) for name in fields.split()])
    array[0, :] = rows
    return array


def write_annotation(path: Path, part: str) -> None:
    """A cat over all of the photo, one of its parts in the left half of the upper third."""
    pixels = np.zeros((HEIGHT, WIDTH), np.uint8)
    pixels[: HEIGHT // 3, : WIDTH // 2] = 1
    cat = structs(
        [("cat", 8, np.ones_like(pixels), structs([(part, pixels)], "part_name mask"))], "class class_ind mask parts"
    )
    savemat(path, {"anno": structs([(path.stem, cat)], "imname objects")}, do_compression=True)


@pytest.fixture
def release(tmp_path) -> Path:
    """An original release of four photos."""
    source = tmp_path / "release"
    for folder in ("Annotations_Part", "JPEGImages"):
        (source / folder).mkdir(parents=True)
    for number, stem in enumerate(STEMS):
        write_annotation(source / "Annotations_Part" / f"{stem}.mat", ("head", "tail", "lear", "nose")[number])
        Image.new("RGB", (WIDTH, HEIGHT), (50 * number, 90, 90)).save(source / "JPEGImages" / f"{stem}.jpg")
    return source


@pytest.fixture
def broken_release(release) -> Path:
    """The same with an annotation that is an HTML page, half a photo, and a photo missing: one image is left."""
    (release / "Annotations_Part" / f"{STEMS[0]}.mat").write_text("<!DOCTYPE html><html>404</html>")
    photo = release / "JPEGImages" / f"{STEMS[2]}.jpg"
    photo.write_bytes(photo.read_bytes()[:-200])
    (release / "JPEGImages" / f"{STEMS[3]}.jpg").unlink()
    return release


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def finished(folder: Path) -> dict[str, bytes]:
    """Leave out the journal of a run that did not come to its end."""
    return {name: content for name, content in contents(folder).items() if not name.startswith(".unfinished-")}


def convert(source: Path, out: Path, **options):
    return prepare("pascal-part-116", source=source, out=out, **options)


def counted(what: str, expected: int, found: int, why: str) -> dict:
    return {"what": what, "expected": expected, "found": found, "why": why, "difference": found - expected}


SOURCE = "the source holds 4 of 10,103"


# the report


def test_the_report_counts_what_was_found_and_converted(release, tmp_path):
    prepared = convert(release, tmp_path / "store")
    report = json.loads((tmp_path / "store/report.json").read_text())
    assert report == prepared.to_json()
    assert report == {
        "name": "pascal-part-116",
        "found": 4,
        "converted": {"train": 3, "val": 1},
        "expected": {"train": 8431, "val": 850},
        "turned": 0,
        "compared": [
            counted("annotated images", 10103, 4, SOURCE),
            counted("converted, train", 8431, 3, SOURCE),
            counted("converted, val", 850, 1, SOURCE),
            counted("objects with parts", 16, 1, SOURCE),
            counted("pairs", 116, 4, SOURCE),
        ],
        "notes": list(load_manifest("pascal-part-116").notes),
        "skipped": [],
    }


def test_the_report_lists_every_broken_file_with_its_reason(broken_release, tmp_path):
    convert(broken_release, tmp_path / "store")
    skipped = json.loads((tmp_path / "store/report.json").read_text())["skipped"]
    assert [(item["item"], item["reason"]) for item in skipped] == [
        (f"Annotations_Part/{STEMS[0]}.mat", "annotation is no .mat file"),
        (f"Annotations_Part/{STEMS[2]}.mat", "image cannot be used"),
        (f"Annotations_Part/{STEMS[3]}.mat", "image is missing"),
    ]
    assert skipped[0]["detail"] == "an HTML page"
    assert all(item["is_defect"] for item in skipped)


def test_what_is_left_of_a_broken_release_is_converted(broken_release, tmp_path):
    convert(broken_release, tmp_path / "store")
    assert [(split, record.image_id) for split, record in iterate(Store.open(tmp_path / "store"))] == [("val", VAL)]


def test_an_image_too_large_is_skipped(release, tmp_path):
    Image.new("1", (12000, 9000)).save(release / "JPEGImages" / f"{STEMS[0]}.jpg", "PNG")
    (skipped,) = convert(release, tmp_path / "store").skipped
    assert skipped.detail == (
        f"{STEMS[0]}.jpg: an image must have at most 100 megapixels, got 12000x9000; make it smaller"
    )


def test_the_real_photos_give_the_known_counts(samples, tmp_path):
    prepared = convert(samples / "pascal_part", tmp_path / "store", preview=0)
    assert (prepared.found, prepared.converted) == (18, {"train": 15, "val": 1})
    assert prepared.reasons() == Counter({"no part of the 116": 2})
    assert not any(item.is_defect for item in prepared.skipped)


# strict


def test_strict_refuses_a_broken_release_and_leaves_no_store(broken_release, tmp_path):
    message = (
        r"^pascal-part-116: --strict allows no broken file, got 3, first Annotations_Part/2008_000652\.mat: "
        r"annotation is no \.mat file \(an HTML page\); fix the source, or leave --strict out to skip them: what is "
        r"converted is kept$"
    )
    with pytest.raises(DataError, match=message):
        convert(broken_release, tmp_path / "store", strict=True)
    assert finished(tmp_path / "store") == {}


def test_strict_keeps_the_store_that_was_there(release, tmp_path):
    convert(release, tmp_path / "store")
    before = contents(tmp_path / "store")
    (release / "Annotations_Part" / f"{STEMS[0]}.mat").write_text("<!DOCTYPE html>")
    with pytest.raises(DataError):
        convert(release, tmp_path / "store", strict=True)
    assert finished(tmp_path / "store") == before


def test_strict_allows_images_that_have_just_nothing_for_us(samples, tmp_path):
    prepared = convert(samples / "pascal_part", tmp_path / "store", strict=True)
    assert len(prepared.skipped) == 2


def test_a_release_without_one_usable_image_is_refused(release, tmp_path):
    for path in (release / "Annotations_Part").iterdir():
        path.write_text("<html>")
    message = (
        "^pascal-part-116: at least one image must convert, got none of 4 "
        r"\(annotation is no \.mat file: 4\)$"
    )
    with pytest.raises(DataError, match=message):
        convert(release, tmp_path / "store")
    assert contents(tmp_path / "store") == {}


def test_the_command_shows_each_defect_and_exits_3_when_strict(partseg, broken_release, tmp_path):
    words = ("prepare", "pascal-part-116", "--source", broken_release, "--out", tmp_path / "store")
    ended = partseg(*words)
    assert ended.code == 0
    assert f"skipped Annotations_Part/{STEMS[0]}.mat: annotation is no .mat file (an HTML page)" in ended.err
    assert len([line for line in ended.err.splitlines() if line.startswith("skipped ")]) == 3
    for text in ("converted, train", "-8,431", "image is missing"):
        assert text in ended.out
    assert partseg(*words, "--strict").code == 3


# the same bytes


def test_a_rerun_gives_the_same_bytes(release, tmp_path):
    convert(release, tmp_path / "store", preview=4)
    before = contents(tmp_path / "store")
    convert(release, tmp_path / "store", preview=4)
    assert list(before) == FILES
    assert contents(tmp_path / "store") == before


def test_another_out_folder_gives_the_same_bytes(release, tmp_path):
    for name in ("one", "another/deeper"):
        convert(release, tmp_path / name, preview=4)
    assert contents(tmp_path / "one") == contents(tmp_path / "another/deeper")


def test_drawing_again_gives_the_same_bytes(tmp_path):
    for name in ("one", "another"):
        prepare("cartoon-part", out=tmp_path / name, preview=3, drawing=CartoonOptions(images=6, seed=3, size=64))
    before = contents(tmp_path / "one")
    assert len(before) == len(FILES) + 6
    assert contents(tmp_path / "another") == before


# copies of the photos


def test_a_drawn_set_is_replaced_on_demand_alone(tmp_path):
    prepare("cartoon-part", out=tmp_path, preview=2, drawing=CartoonOptions(images=5, seed=1, size=64))
    before = contents(tmp_path)
    message = f"--out must not hold a drawn set already, got {tmp_path}; replace it with --overwrite, or name another"
    with pytest.raises(UsageError, match=f"^{re.escape(message)}$"):
        prepare("cartoon-part", out=tmp_path, drawing=CartoonOptions(images=3, seed=2, size=64))
    assert contents(tmp_path) == before
    prepare("cartoon-part", out=tmp_path, drawing=CartoonOptions(images=3, seed=2, size=64), overwrite=True)
    prepare("cartoon-part", out=tmp_path / "other", drawing=CartoonOptions(images=3, seed=2, size=64))
    assert contents(tmp_path / "other").items() <= contents(tmp_path).items()
    assert len(list((tmp_path / "images").iterdir())) == 3


def test_replacing_leaves_the_files_of_others_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(DataError, match=r"must be empty or hold cartoon-part, got thesis\.txt"):
        prepare("cartoon-part", out=tmp_path, drawing=CartoonOptions(images=3, seed=2, size=64), overwrite=True)
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_without_copies_photos_are_read_where_they_are(release, tmp_path):
    convert(release, tmp_path / "store")
    store = Store.open(tmp_path / "store")
    photos = {store.image_path(record) for _, record in iterate(store)}
    assert photos == {release / "JPEGImages" / f"{stem}.jpg" for stem in STEMS}


def test_a_store_with_copies_needs_no_source_and_may_move(release, tmp_path):
    convert(release, tmp_path / "store", copy_images=True, preview=2)
    before = {stem: (release / "JPEGImages" / f"{stem}.jpg").read_bytes() for stem in STEMS}
    shutil.rmtree(release)
    shutil.move(tmp_path / "store", tmp_path / "moved")
    store = Store.open(tmp_path / "moved")
    assert {r.image_id: store.image_path(r).read_bytes() for _, r in iterate(store)} == before
    assert {open_image(store.image_path(r), upright=False).size for _, r in iterate(store)} == {(WIDTH, HEIGHT)}


def test_a_drawn_store_may_be_asked_for_copies_too(tmp_path):
    prepare("cartoon-part", out=tmp_path / "store", copy_images=True, drawing=CartoonOptions(images=3, seed=0, size=64))
    store = Store.open(tmp_path / "store")
    sizes = [open_image(store.image_path(record), upright=False).size for _, record in iterate(store)]
    assert sizes == [(64, 64)] * 3


# the contact sheet


def test_the_contact_sheet_holds_as_many_tiles_as_asked(release, tmp_path):
    widths = {}
    for count in (1, 2, 4, 9):
        convert(release, tmp_path / "store", preview=count)
        with Image.open(tmp_path / "store/preview.png") as sheet:
            widths[count] = sheet.width
    assert widths[1] < widths[2] < widths[4] == widths[9]


def test_the_contact_sheet_shows_parts_in_colour(release, tmp_path):
    for path in (release / "JPEGImages").iterdir():
        Image.new("RGB", (WIDTH, HEIGHT), "black").save(path)
    convert(release, tmp_path / "store", preview=4)
    with Image.open(tmp_path / "store/preview.png") as sheet:
        pixels = np.asarray(sheet).astype(int)
    spread = pixels.max(-1) - pixels.min(-1)
    assert 0.01 < (spread > 60).mean() < 0.5


def test_no_contact_sheet_is_drawn_unless_asked(release, tmp_path):
    convert(release, tmp_path / "store", preview=0)
    assert sorted(contents(tmp_path / "store")) == [name for name in FILES if name != "preview.png"]


def test_a_former_contact_sheet_does_not_outlive_its_store(release, tmp_path):
    convert(release, tmp_path / "store", preview=4)
    convert(release, tmp_path / "store", preview=0)
    assert "preview.png" not in contents(tmp_path / "store")


# a user's own set


OWN = CocoOptions((Path("train.json"), Path("val.json")), ("train", "val"), "car")


@pytest.fixture
def own_set(tmp_path) -> Path:
    """Ten photos of cars with a wheel and a hood in COCO format, eight of them train; one annotation is broken."""
    source = tmp_path / "my cars"
    (source / "images").mkdir(parents=True)
    names = [{"id": 1, "name": "_background_"}, {"id": 2, "name": "wheel"}, {"id": 3, "name": "hood"}]
    for split, numbers in (("train", range(8)), ("val", range(8, 10))):
        images, annotations = [], []
        for number in numbers:
            Image.new("RGB", (WIDTH, HEIGHT), (20 * number, 90, 90)).save(source / f"images/{number}.png")
            images.append({"id": number, "file_name": f"{number}.png", "width": WIDTH, "height": HEIGHT})
            for category, left in ((2, 2 + number), (3, 25)):
                polygon = [left, 5, left + 12, 5, left + 12, 25, left, 25]
                annotation = {"image_id": number, "category_id": category, "segmentation": [polygon]}
                annotations.append({"id": len(annotations) + 1, **annotation})
        if split == "val":
            annotations[-1]["segmentation"] = [[1, 1, 2, 2]]
        value = {"images": images, "annotations": annotations, "categories": names}
        (source / f"{split}.json").write_text(json.dumps(value))
    return source


def test_a_set_of_ones_own_is_called_as_its_folder(own_set, tmp_path, monkeypatch):
    monkeypatch.setenv("PARTSEG_DATA", str(tmp_path / "data"))
    prepared = prepare("coco", source=own_set, own=OWN, preview=2)
    assert (prepared.name, prepared.folder) == ("my cars", tmp_path / "data/my cars")
    assert (prepared.found, prepared.converted, prepared.expected) == (10, {"train": 8, "val": 2}, {})
    assert prepared.reasons() == Counter({"category is the background": 1, "polygon has fewer than 3 points": 1})
    assert list(contents(prepared.folder)) == FILES
    info = Store.open(prepared.folder).info
    assert (info.licence, info.homepage, info.objects) == ("the user's own", "", ("car",))
    assert info.image_root == own_set.as_posix()
    assert [pair.name for pair in info.vocabulary.pairs] == ["car's hood", "car's wheel"]


def test_a_set_of_ones_own_gives_the_same_bytes_again(own_set, tmp_path):
    for name in ("one", "another"):
        prepare("coco", source=own_set, out=tmp_path / name, own=OWN, preview=3)
    assert contents(tmp_path / "one") == contents(tmp_path / "another")


def test_a_copied_set_of_ones_own_needs_no_source(own_set, tmp_path):
    prepare("coco", source=own_set, out=tmp_path / "store", own=OWN, copy_images=True)
    shutil.rmtree(own_set)
    store = Store.open(tmp_path / "store")
    assert {open_image(store.image_path(record), upright=False).size for _, record in iterate(store)} == {
        (WIDTH, HEIGHT)
    }


def test_strict_refuses_a_broken_annotation_and_leaves_no_store(own_set, tmp_path):
    message = (
        r"^my cars: --strict allows no broken file, got 1, first val\.json: annotation 4: polygon has fewer than 3 "
        r"points \(got 2\); fix the source, or leave --strict out to skip them: what is converted is kept$"
    )
    with pytest.raises(DataError, match=message):
        prepare("coco", source=own_set, out=tmp_path / "store", own=OWN, strict=True)
    assert finished(tmp_path / "store") == {}


def test_a_photo_that_escapes_leaves_no_store(own_set, tmp_path):
    path = own_set / "val.json"
    path.write_text(path.read_text().replace('"9.png"', '"../9.png"'))
    with pytest.raises(DataError, match=r"an image must be inside .*, got '\.\./9\.png'; "):
        prepare("coco", source=own_set, out=tmp_path / "store", own=OWN)
    assert contents(tmp_path / "store") == {}


def test_prepare_coco_needs_a_folder():
    message = "^prepare coco needs the folder of your set, got none; write partseg prepare coco DIR$"
    with pytest.raises(UsageError, match=message):
        prepare("coco", own=OWN)


def test_a_set_of_ones_own_does_not_take_a_published_name(own_set, tmp_path):
    own_set.rename(tmp_path / "cartoon-part")
    message = (
        f"^{tmp_path}/cartoon-part: the folder's name becomes the set's, and must be none of a published set, "
        "got 'cartoon-part'; rename the folder$"
    )
    with pytest.raises(DataError, match=message):
        prepare("coco", source=tmp_path / "cartoon-part", own=OWN)


def test_options_of_coco_belong_to_coco(release, tmp_path):
    message = "^--annotations, --as and --object belong to partseg prepare coco, got pascal-part-116; leave them out$"
    with pytest.raises(UsageError, match=message):
        convert(release, tmp_path / "store", own=OWN)


@pytest.mark.training
def test_the_command_pairs_annotations_with_splits_and_trains(partseg, own_set, tmp_path):
    out = tmp_path / "store"
    words = ("--annotations", "train.json", "--as", "train", "--annotations", "val.json", "--as", "val")
    ended = partseg("prepare", "coco", own_set, *words, "--object", "car", "--out", out)
    assert ended.code == 0
    assert "skipped train.json: category is the background (_background_)" in ended.err
    assert "skipped val.json: annotation 4: polygon has fewer than 3 points (got 2)" in ended.err
    assert "my cars: 10 annotated images found" in ended.out
    assert partseg("split", out, "--val-fraction", 0.2, "--seed", 0).code == 0
    recipe = [*tiny(out), "data.dataset=my cars"]
    assert partseg("train", "tiny", *recipe, "--device", "cpu", "--out", tmp_path / "run").code == 0
    ended = partseg("evaluate", "tiny", *recipe, "--checkpoint", tmp_path / "run", "--device", "cpu", "--json")
    assert ended.code == 0
    result = json.loads(ended.out)
    assert (result["dataset"], len(result["per_class"]), result["mIoU"]["harmonic"]) == ("my cars", 2, None)


def test_the_source_is_given_once(partseg, own_set):
    ended = partseg("prepare", "coco", own_set, "--source", own_set)
    assert ended.code == 2
    assert ended.err == f"error: the source must be given once, got {own_set} and --source {own_set}; leave one out\n"


def test_the_source_of_a_published_set_may_stand_without_its_option(partseg, release, tmp_path):
    assert partseg("prepare", "pascal-part-116", release, "--out", tmp_path / "store").code == 0
    assert len(Store.open(tmp_path / "store").records("train")) == 3


def test_the_data_sets_are_listed(partseg):
    ended = partseg("prepare", "--list")
    assert ended.code == 0
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in ended.out.splitlines() if "│" in line]
    assert rows == [
        ["ade20k-part-234", "44", "234", "7,347", "1,016"],
        ["cartoon-part", "16", "116", "-", "-"],
        ["cityscapes-panoptic-parts", "5", "23", "2,975", "500"],
        ["paco", "73", "456", "45,790", "2,410"],
        ["partimagenet", "40", "147", "-", "-"],
        ["pascal-part-116", "16", "116", "8,431", "850"],
    ]


def test_a_data_set_is_explained_and_nothing_is_converted(partseg, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PARTSEG_DATA", "sets")
    ended = partseg("prepare", "pascal-part-116", "--explain")
    assert ended.code == 0
    text = " ".join(ended.out.replace("│", " ").split())
    assert "trainval.tar.gz of PASCAL-Part" in text
    assert "sets/raw/pascal-part-116, or name its folder with --source" in text
    assert "train 8,431, val 850" in text
    assert "20, 16 of them with parts; unseen: bird, car, dog, motorbike, sheep" in text
    assert "116: 74 seen, 42 unseen" in text
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "size"),
    [("pascal-part-116", "about 29 MB"), ("cityscapes-panoptic-parts", "about 400 MB"), ("cartoon-part", "about 3 kB")],
)
def test_the_room_that_a_store_takes_is_told(name, size):
    assert dict(describe_dataset(name))["needs on disk"].startswith(size)


def test_prepare_without_a_name_points_to_the_list(partseg):
    assert partseg("prepare") == (2, "", "error: a dataset must be named, got none; see partseg prepare --list\n")


def test_the_help_writes_what_is_to_be_replaced_in_capitals(partseg):
    done = partseg("prepare", "--help")
    assert done.code == 0
    assert "partseg prepare [OPTIONS] [NAME] [DIR]" in done.out


# whose folder it is


@pytest.mark.parametrize("name", ["report.json", "holiday.jpg", "JPEGImages"])
def test_files_of_others_are_not_overwritten(release, tmp_path, name):
    out = tmp_path / "mine"
    out.mkdir()
    (out / name).write_text("precious")
    message = rf"^{re.escape(str(out))}: must be empty or hold pascal-part-116, got {name}; choose another --out$"
    with pytest.raises(DataError, match=message):
        convert(release, out)
    assert contents(out) == {name: b"precious"}


def test_the_source_is_no_place_for_the_store(release):
    before = contents(release)
    with pytest.raises(DataError, match=r"got Annotations_Part; choose another --out$"):
        convert(release, release)
    assert contents(release) == before


def test_the_notes_of_a_manifest_are_told_where_counts_differ(release, tmp_path):
    assert load_manifest("pascal-part-116").notes[0] in convert(release, tmp_path / "store").notes
