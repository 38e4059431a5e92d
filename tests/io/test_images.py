import re
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps

from partseg_cli.errors import DataError
from partseg_cli.io.files import describe_file
from partseg_cli.io.images import SUFFIXES, find_images, image_size, open_image, verify_image

FORMATS = "JPEG, PNG, WEBP, TIFF, BMP, GIF, PPM, JPEG2000"


def colours(width: int = 5, height: int = 3) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def saved(image: Image.Image, path: Path, **options) -> Path:
    image.save(path, **options)
    return path


def pixels_of(path: Path, *, upright: bool = False) -> np.ndarray:
    photo = open_image(path, upright=upright)
    assert photo.mode == "RGB"
    return np.asarray(photo)


def header(path: Path, width: int, height: int) -> Path:
    """The head of a photo alone, so that decoding it would fail."""
    path.write_bytes(b"P6 %d %d 255\n" % (width, height))
    return path


def exactly(message: str) -> str:
    return f"^{re.escape(message)}$"


def test_an_rgb_photo_keeps_its_pixels(tmp_path):
    path = saved(colours(), tmp_path / "a.png")
    np.testing.assert_array_equal(pixels_of(path), np.asarray(colours()))


def test_the_content_counts_and_not_the_suffix(tmp_path):
    path = saved(colours(), tmp_path / "n01440764_1.JPEG", format="PNG")
    np.testing.assert_array_equal(pixels_of(path), np.asarray(colours()))


def test_a_grey_photo_has_equal_channels(tmp_path):
    grey = colours().convert("L")
    np.testing.assert_array_equal(pixels_of(saved(grey, tmp_path / "a.png")), np.stack([np.asarray(grey)] * 3, -1))


def test_a_bilevel_photo_is_black_and_white(tmp_path):
    bits = Image.fromarray(np.array([[0, 255, 0], [255, 255, 0]], np.uint8)).convert("1")
    assert pixels_of(saved(bits, tmp_path / "a.png"))[..., 1].tolist() == [[0, 255, 0], [255, 255, 0]]


def test_a_palette_photo_shows_its_colours(tmp_path):
    palette = colours().convert("P", palette=Image.Palette.ADAPTIVE, colors=256)
    path = saved(palette, tmp_path / "a.gif")
    np.testing.assert_array_equal(pixels_of(path), np.asarray(palette.convert("RGB")))


def test_transparent_pixels_lie_over_white(tmp_path):
    layer = Image.fromarray(np.array([[[200, 0, 0, 0], [200, 0, 0, 51], [200, 0, 0, 255]]], np.uint8))
    assert pixels_of(saved(layer, tmp_path / "a.png")).tolist() == [[[255, 255, 255], [244, 204, 204], [200, 0, 0]]]


def test_transparent_grey_lies_over_white(tmp_path):
    layer = Image.fromarray(np.array([[[80, 0], [80, 255]]], np.uint8))
    assert layer.mode == "LA"
    assert pixels_of(saved(layer, tmp_path / "a.png")).tolist() == [[[255] * 3, [80] * 3]]


@pytest.mark.parametrize("mode", ["P", "L", "RGB"])
def test_a_transparent_colour_turns_white(tmp_path, mode):
    image = Image.new(mode, (2, 1), 0)
    image.putpixel((1, 0), 255 if mode == "L" else (255, 0, 0) if mode == "RGB" else 1)
    if mode == "P":
        image.putpalette([0, 0, 0, 255, 0, 0])
    path = saved(image, tmp_path / "a.png", transparency=(0, 0, 0) if mode == "RGB" else 0)
    assert pixels_of(path)[0, 0].tolist() == [255, 255, 255]
    assert pixels_of(path)[0, 1, 0] == 255


def test_a_cmyk_photo_becomes_rgb(tmp_path):
    red = Image.new("CMYK", (16, 8), (0, 255, 255, 0))
    mean = pixels_of(saved(red, tmp_path / "a.jpg", quality=95)).mean((0, 1))
    np.testing.assert_allclose(mean, [255, 0, 0], atol=3)


GREY_16 = np.array([[0, 255, 256], [32768, 65280, 65535]], np.uint16)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("order", ["<u2", ">u2"])
def test_16_bit_grey_is_scaled_and_not_clipped(tmp_path, suffix, order):
    path = saved(Image.fromarray(GREY_16.astype(order)), tmp_path / f"a{suffix}")
    assert pixels_of(path)[..., 0].tolist() == [[0, 0, 1], [128, 255, 255]]


def test_a_16_bit_pgm_is_scaled_and_not_clipped(tmp_path):
    (tmp_path / "a.pgm").write_bytes(b"P5 3 2 65535\n" + GREY_16.astype(">u2").tobytes())
    assert pixels_of(tmp_path / "a.pgm")[..., 2].tolist() == [[0, 0, 1], [128, 255, 255]]


@pytest.mark.parametrize(("dtype", "mode"), [("float32", "F"), ("int32", "I")])
def test_numbers_without_a_range_are_refused(tmp_path, dtype, mode):
    path = saved(Image.fromarray(np.ones((2, 3), dtype)), tmp_path / "a.tif")
    message = (
        f"{path}: an image must be bilevel, grey (8 or 16 bits), palette, RGB or CMYK, got mode {mode!r}; "
        "convert it to PNG or JPEG"
    )
    with pytest.raises(DataError, match=exactly(message)):
        open_image(path, upright=True)
    with pytest.raises(DataError, match=exactly(message)):
        verify_image(path)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".webp"])
def test_upright_obeys_the_exif_orientation(tmp_path, orientation, suffix):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    path = saved(colours(), tmp_path / f"a{suffix}", exif=exif, lossless=True)
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    np.testing.assert_array_equal(pixels_of(path, upright=True), expected)
    np.testing.assert_array_equal(pixels_of(path, upright=False), np.asarray(colours()))
    assert image_size(path) == verify_image(path) == (5, 3)


def test_an_orientation_that_does_not_exist_turns_nothing(tmp_path):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 9
    path = saved(colours(), tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(pixels_of(path, upright=True), np.asarray(colours()))


@pytest.mark.parametrize("block", [b"MM", b"no EXIF at all", b"II*\0\x08"])
def test_a_broken_exif_block_leaves_the_photo_readable(tmp_path, block):
    path = saved(colours(), tmp_path / "a.png", exif=block)
    np.testing.assert_array_equal(pixels_of(path, upright=True), np.asarray(colours()))


def test_the_size_of_a_photo_is_width_then_height(tmp_path):
    path = saved(colours(width=7, height=4), tmp_path / "a.jpg")
    assert image_size(path) == verify_image(path) == (7, 4)


def test_a_missing_photo_is_named(tmp_path):
    path = tmp_path / "a.jpg"
    message = f"{path}: must be a readable image, got No such file or directory; check the path"
    for read in (image_size, verify_image):
        with pytest.raises(DataError, match=exactly(message)):
            read(path)


def test_a_folder_is_no_photo(tmp_path):
    message = f"{tmp_path}: must be a readable image, got Is a directory; check the path"
    with pytest.raises(DataError, match=exactly(message)):
        open_image(tmp_path, upright=True)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "an empty file"),
        (b"\n<!DOCTYPE html><title>404</title>", "an HTML page"),
        (b"<HTML>", "an HTML page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "a git-lfs pointer"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "a file that starts with b'%!PS-Adobe-3.0 E'"),
    ],
)
def test_what_is_no_photo_is_described(tmp_path, content, what):
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    assert describe_file(path) == what
    message = f"{path}: must be an image ({FORMATS}), got {what}; get or convert it again"
    with pytest.raises(DataError, match=exactly(message)):
        image_size(path)


def test_a_truncated_photo_shows_only_when_decoded(tmp_path):
    path = saved(colours(64, 48), tmp_path / "a.jpg")
    path.write_bytes(path.read_bytes()[:-100])
    assert image_size(path) == (64, 48)
    why = "image file is truncated \\(\\d+ bytes not processed\\)"
    message = (
        f"^{re.escape(str(path))}: an image must be complete, got one that cannot be decoded \\({why}\\); get it again$"
    )
    with pytest.raises(DataError, match=message):
        verify_image(path)
    with pytest.raises(DataError, match=message):
        open_image(path, upright=True)


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tif", "a.gif", "a.bmp", "a.ppm"])
def test_any_cut_gives_one_line(tmp_path, name):
    whole = saved(colours(40, 30), tmp_path / name).read_bytes()
    for length in range(0, len(whole) - 40, 41):
        (tmp_path / name).write_bytes(whole[:length])
        with pytest.raises(DataError) as caught:
            verify_image(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_more_than_100_megapixels_are_refused_before_decoding(tmp_path):
    path = header(tmp_path / "a.ppm", 10_001, 10_000)
    message = f"{path}: an image must have at most 100 megapixels, got 10001x10000; make it smaller"
    for read in (image_size, verify_image):
        with pytest.raises(DataError, match=exactly(message)):
            read(path)


def test_a_decompression_bomb_is_refused_in_our_words(tmp_path):
    path = header(tmp_path / "a.ppm", 20_000, 10_000)
    message = f"{path}: an image must have at most 100 megapixels, got more than 178; make it smaller"
    with pytest.raises(DataError, match=exactly(message)):
        image_size(path)


def test_exactly_100_megapixels_pass_without_a_warning(tmp_path):
    path = header(tmp_path / "a.ppm", 10_000, 10_000)
    with warnings.catch_warnings(record=True, action="always") as caught:
        assert image_size(path) == (10_000, 10_000)
    assert caught == []


def test_real_photos_are_whole(samples):
    photos = find_images([samples / "pascal_part" / "JPEGImages"])
    assert len(photos) == 18
    assert verify_image(photos[0]) == (320, 213)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """Three photos, a hidden one, a text, and a folder inside."""
    monkeypatch.chdir(tmp_path)
    for name in ("b.jpg", "a.PNG", "c[1].jpeg", "._b.jpg", "notes.txt", "deep.jpg/d.jpg"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return Path("photos")


def test_a_folder_stands_for_the_photos_right_in_it(folder):
    assert find_images([folder]) == [folder / "a.PNG", folder / "b.jpg", folder / "c[1].jpeg"]


def test_a_named_file_needs_no_suffix_of_a_photo(folder):
    assert find_images([folder / "notes.txt"]) == [folder / "notes.txt"]


def test_a_pattern_stands_for_its_files(folder):
    assert find_images([folder / "*.jp*"]) == [folder / "b.jpg", folder / "c[1].jpeg"]
    assert find_images([folder.absolute() / "?.jpg"]) == [folder.absolute() / "b.jpg"]


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(folder):
    assert find_images([folder / "c[1].jpeg"]) == [folder / "c[1].jpeg"]


def test_paths_keep_their_order_and_come_once(folder):
    paths = [folder / "c[1].jpeg", folder, folder / ".." / "photos" / "b.jpg", (folder / "b.jpg").absolute()]
    assert find_images(paths) == [folder / "c[1].jpeg", folder / "a.PNG", folder / "b.jpg"]


def test_no_path_at_all_is_refused():
    with pytest.raises(
        DataError, match=exactly("images: needs at least one file, folder or pattern, got none; pass one")
    ):
        find_images([])


def test_a_path_to_nothing_is_refused(folder):
    message = "photos/z.jpg: must be an image, a folder of images or a pattern, got nothing there; check the path"
    with pytest.raises(DataError, match=exactly(message)):
        find_images([folder, folder / "z.jpg"])


def test_a_pattern_without_a_match_is_refused(folder):
    with pytest.raises(
        DataError, match=exactly("photos/*.webp: a pattern must match at least one file, got none; check it")
    ):
        find_images([folder / "*.webp"])


def test_a_folder_without_photos_is_refused(folder):
    (folder / "empty").mkdir()
    message = f"photos/empty: a folder must contain images ({' '.join(sorted(SUFFIXES))}), got none; name another"
    with pytest.raises(DataError, match=exactly(message)):
        find_images([folder / "empty"])
