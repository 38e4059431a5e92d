"""Overlays: colours where the labels are, panels that fit."""

import numpy as np
import pytest
from PIL import Image

from partseg_cli.io.label_maps import palette
from partseg_cli.reports.overlay import PAPER, add_legend, contact_sheet, overlay_labels


def noise(height: int, width: int, seed: int = 0) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


def test_labelled_pixels_are_mixed_with_their_colour_and_regions_have_a_light_line():
    labels = np.full((6, 9), -1)
    labels[1:5, 2:7] = 1
    labels[3:5, 4:7] = 0
    photo, colours = noise(6, 9), palette(2)
    got = np.asarray(overlay_labels(photo, labels, colours)).astype(float)
    for y in range(6):
        for x in range(9):
            value = np.asarray(photo)[y, x].astype(float)
            if labels[y, x] >= 0:
                value = 0.45 * value + 0.55 * colours[labels[y, x]]
            if (x and labels[y, x - 1] != labels[y, x]) or (y and labels[y - 1, x] != labels[y, x]):
                value = 0.4 * value + 0.6 * 255
            np.testing.assert_allclose(got[y, x], value, atol=1.01)


def test_a_photo_without_labels_stays_as_it_is():
    photo = noise(5, 8)
    before = np.asarray(photo).copy()
    np.testing.assert_array_equal(np.asarray(overlay_labels(photo, np.full((5, 8), -1), palette(2))), before)
    overlay_labels(photo, np.zeros((5, 8), int), palette(2))
    np.testing.assert_array_equal(np.asarray(photo), before)


# ---- legend


@pytest.mark.parametrize("size", [(30, 60), (500, 90), (300, 400)])
@pytest.mark.parametrize("count", [0, 1, 4, 40])
def test_the_legend_fits_beside_the_picture(size, count):
    photo = noise(size[1], size[0])
    entries = [(tuple(row), f"object {i}'s very long part name") for i, row in enumerate(palette(count).tolist())]
    sheet = add_legend(photo, entries, "title of the picture")
    assert sheet.width > photo.width
    assert sheet.height >= photo.height
    pixels = np.asarray(sheet)
    np.testing.assert_array_equal(pixels[: photo.height, : photo.width], np.asarray(photo))
    panel = pixels[:, photo.width :]
    assert (panel != PAPER).any()
    for edge in (panel[:2], panel[-2:], panel[:, :2], panel[:, -2:]):
        assert (edge == PAPER).all(), "nothing may touch the border"
    if photo.height < sheet.height:
        assert (pixels[photo.height :, : photo.width] == PAPER).all()
    for fill, _ in entries:
        assert (panel == fill).all(2).sum() >= 100, "each word has its square of colour"


def test_the_legend_is_as_wide_as_its_longest_line():
    photo, red = noise(50, 40), (255, 0, 0)
    widths = [
        add_legend(photo, [(red, "ear")]).width,
        add_legend(photo, [(red, "ear"), (red, "a much longer word than that")]).width,
        add_legend(photo, [(red, "ear")], title="an even longer title " * 3).width,
    ]
    assert widths == sorted(set(widths))


# ---- contact sheets


@pytest.mark.parametrize(
    ("count", "columns", "shape"), [(1, 4, (1, 1)), (3, 4, (1, 3)), (4, 4, (1, 4)), (5, 4, (2, 4)), (7, 2, (4, 2))]
)
def test_a_contact_sheet_has_a_square_for_each_tile(count, columns, shape):
    sheet = contact_sheet([Image.new("RGB", (9, 9))] * count, columns=columns, edge=60)
    assert sheet.size == (shape[1] * 62 + 2, shape[0] * 62 + 2)  # a gap of a thirtieth around each


def test_tiles_stand_row_by_row_each_shrunk_or_enlarged_to_its_square():
    sizes = [(20, 20), (200, 100), (50, 200), (6, 3), (60, 60)]
    colours = [tuple(row) for row in palette(5).tolist()]
    tiles = [Image.new("RGB", size, fill) for size, fill in zip(sizes, colours, strict=True)]
    pixels = np.asarray(contact_sheet(tiles, columns=3, edge=60))
    for index, (size, fill) in enumerate(zip(sizes, colours, strict=True)):
        row, column = divmod(index, 3)
        ys, xs = np.nonzero((pixels == fill).all(2))
        assert ys.min() >= 2 + 62 * row
        assert ys.max() < 62 + 62 * row
        assert xs.min() >= 2 + 62 * column
        assert xs.max() < 62 + 62 * column
        fitted = tuple(round(side * 60 / max(size)) for side in size)
        assert (xs.max() - xs.min() + 1, ys.max() - ys.min() + 1) == fitted
        assert abs((ys.min() + ys.max()) / 2 - (31.5 + 62 * row)) <= 1
        assert abs((xs.min() + xs.max()) / 2 - (31.5 + 62 * column)) <= 1


def test_a_very_thin_tile_keeps_a_pixel():
    sheet = contact_sheet([Image.new("RGB", (1000, 1), (255, 0, 0))], edge=60)
    assert (np.asarray(sheet) == (255, 0, 0)).all(2).sum() == 60
