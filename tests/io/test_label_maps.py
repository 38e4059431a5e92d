"""Label maps as PNG: values that say what they mean, colours that differ."""

import numpy as np
import pytest
from PIL import Image

from partseg_cli.io.label_maps import palette, write_label_map, write_png

LABELS = np.array([[0, 0, -1, 2, 2], [0, -1, -1, -1, 2], [-1, -1, 1, -1, -1]])


@pytest.mark.parametrize("count", [3, 254])
def test_up_to_254_words_a_label_file_has_8_bits_a_palette_and_255_for_nothing(tmp_path, count):
    write_label_map(tmp_path / "a.png", LABELS, count)
    with Image.open(tmp_path / "a.png") as picture:
        assert (picture.format, picture.mode, picture.size) == ("PNG", "P", (5, 3))
        np.testing.assert_array_equal(np.asarray(picture), np.where(LABELS < 0, 255, LABELS))
        colours = np.array(picture.getpalette()).reshape(-1, 3)
        np.testing.assert_array_equal(colours[:count], palette(count))
        np.testing.assert_array_equal(np.asarray(picture.convert("RGB"))[LABELS == 2], np.tile(palette(3)[2], (3, 1)))
        assert not np.asarray(picture.convert("RGB"))[LABELS < 0].any()


@pytest.mark.parametrize("count", [255, 300])
def test_from_255_words_on_a_label_file_has_16_bits_and_65535_for_nothing(tmp_path, count):
    labels = np.where(LABELS == 2, count - 1, LABELS)
    write_label_map(tmp_path / "a.png", labels, count)
    with Image.open(tmp_path / "a.png") as picture:
        assert (picture.format, picture.mode, picture.size) == ("PNG", "I;16", (5, 3))
        np.testing.assert_array_equal(np.asarray(picture), np.where(labels < 0, 65535, labels))


def test_the_last_of_254_words_is_not_nothing(tmp_path):
    write_label_map(tmp_path / "a.png", np.array([[253, -1]]), 254)
    with Image.open(tmp_path / "a.png") as picture:
        assert np.asarray(picture).tolist() == [[253, 255]]


def test_a_label_file_of_nothing_is_written(tmp_path):
    write_label_map(tmp_path / "a.png", np.full((2, 3), -1), 1)
    with Image.open(tmp_path / "a.png") as picture:
        assert np.asarray(picture).tolist() == [[255] * 3] * 2


def test_a_picture_is_a_png_whatever_its_name(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 7, 3), dtype=np.uint8)
    write_png(tmp_path / "a.tmp", Image.fromarray(pixels))
    with Image.open(tmp_path / "a.tmp") as image:
        assert image.format == "PNG"
        np.testing.assert_array_equal(np.asarray(image), pixels)


def test_all_colours_of_a_label_file_differ():
    assert len(np.unique(palette(254), axis=0)) == 254


def test_the_first_colours_can_be_told_apart():
    colours = palette(12).astype(int)
    apart = [np.abs(a - b).sum() for i, a in enumerate(colours) for b in colours[:i]]
    assert min(apart) > 40


def test_a_word_keeps_its_colour_however_many_follow():
    assert palette(0).shape == (0, 3)
    np.testing.assert_array_equal(palette(300)[:7], palette(7))
