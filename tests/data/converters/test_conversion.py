"""The step that all converters share: a record and its photo, which must fit."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from partseg_cli.data.converters.conversion import (
    Conversion,
    Converted,
    InvalidAnnotationError,
    Outcome,
    Skipped,
    SourceImage,
    fit_to_image,
)
from partseg_cli.data.record import Instance, Part, Record
from partseg_cli.data.rle import Mask

HEIGHT, WIDTH = 4, 6


def record(height: int = HEIGHT, width: int = WIDTH) -> Record:
    """An object over all of the photo, with a part in its left half, and the lowest row left out."""
    pixels = np.zeros((height, width), bool)
    pixels[:, : width // 2] = True
    lowest = np.zeros_like(pixels)
    lowest[-1] = True
    parts = (Part(0, 0, "x", 1, Mask.encode(pixels)),)
    things = (Instance(0, 0, Mask.encode(np.ones_like(pixels))),)
    return Record("a", "a.jpg", width, height, "a.json", things, parts, ignore=Mask.encode(lowest))


def photo(folder: Path, size: tuple[int, int] = (WIDTH, HEIGHT), orientation: int = 1) -> Path:
    exif = Image.Exif()
    exif[274] = orientation
    Image.new("RGB", size, "red").save(folder / "a.jpg", exif=exif)
    return folder / "a.jpg"


def test_a_photo_of_the_size_of_the_masks_changes_nothing(tmp_path):
    assert fit_to_image(record(), photo(tmp_path)) == record()


def test_a_photo_is_not_turned_where_its_masks_fit(tmp_path):
    assert not fit_to_image(record(), photo(tmp_path, orientation=6)).upright


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_a_photo_is_turned_where_only_so_its_masks_fit(tmp_path, orientation):
    fitted = fit_to_image(record(), photo(tmp_path, (HEIGHT, WIDTH), orientation))
    assert fitted.upright
    assert (fitted.width, fitted.height, fitted.parts) == (WIDTH, HEIGHT, record().parts)


@pytest.mark.parametrize(
    ("size", "detail"),
    [((5, 4), "mask 6x4, image 5x4"), ((4, 6), "mask 6x4, image 4x6, swapped"), ((12, 8), "mask 6x4, image 12x8")],
)
def test_a_photo_of_another_size_is_a_defect(tmp_path, size, detail):
    with pytest.raises(InvalidAnnotationError) as caught:
        fit_to_image(record(), photo(tmp_path, size))
    assert (caught.value.reason, caught.value.detail) == ("mask and image differ in size", detail)


def test_masks_are_scaled_to_the_nearest_pixel_where_that_is_allowed(tmp_path):
    fitted = fit_to_image(record(), photo(tmp_path, (12, 8)), allow_resize=True)
    large = record(8, 12)
    assert (fitted.width, fitted.height) == (12, 8)
    assert (fitted.objects, fitted.parts) == (large.objects, large.parts)
    assert fitted.ignore is not None
    assert fitted.ignore.decode(8, 12)[-2:].all()
    assert fitted.ignore.area == 2 * 12


def test_a_part_that_vanishes_in_scaling_is_left_out(tmp_path):
    pixels = np.zeros((8, 12), bool)
    pixels[0, 0] = True
    small = Record("a", "a.jpg", 12, 8, "a.json", (), (Part(0, 0, "x", 1, Mask.encode(pixels)),))
    assert fit_to_image(small, photo(tmp_path, (6, 4)), allow_resize=True).parts == ()


def cmyk() -> bytes:
    file = io.BytesIO()
    Image.new("CMYK", (WIDTH, HEIGHT)).save(file, "JPEG")
    return file.getvalue()


def png() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (WIDTH, HEIGHT)).save(file, "PNG")
    return file.getvalue()


def grey() -> bytes:
    file = io.BytesIO()
    Image.new("L", (WIDTH, HEIGHT)).save(file, "JPEG")
    return file.getvalue()


@pytest.mark.parametrize("content", [cmyk(), png(), grey()], ids=["CMYK", "a PNG called .jpg", "grey"])
def test_photos_of_other_kinds_are_taken(tmp_path, content):
    (tmp_path / "a.jpg").write_bytes(content)
    assert fit_to_image(record(), tmp_path / "a.jpg") == record()


# a conversion


def convert(folder: Path, function: Callable[[object], list[Outcome]], names: str = "ab") -> list[Outcome]:
    items = [SourceImage(f"{name}.json", name) for name in names]
    left_out = (Skipped("a.json", "no category", is_defect=False),)
    return list(Conversion(folder, items, function, "photos", left_out=left_out).outcomes)


def test_what_is_left_out_as_a_whole_comes_first(tmp_path):
    photo(tmp_path)
    outcomes = convert(tmp_path, lambda name: [Converted("train", record())], "a")
    assert outcomes == [Skipped("a.json", "no category", is_defect=False), Converted("train", record())]


def test_a_missing_photo_is_a_defect_of_its_image(tmp_path):
    _, *outcomes = convert(tmp_path, lambda name: [Converted("train", record())])
    assert outcomes == [
        Skipped(f"{name}.json", "image is missing", is_defect=True, detail="a.jpg") for name in ("a", "b")
    ]


def test_a_broken_annotation_leaves_the_others(tmp_path):
    photo(tmp_path)

    def broken_first(name: object) -> list[Outcome]:
        if name == "a":
            raise InvalidAnnotationError("is broken", "at byte 3")
        return [Converted("val", record())]

    _, *outcomes = convert(tmp_path, broken_first)
    assert outcomes == [
        Skipped("a.json", "is broken", is_defect=True, detail="at byte 3"),
        Converted("val", record()),
    ]
