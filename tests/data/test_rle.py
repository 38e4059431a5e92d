"""Run-length codes against pycocotools, and painting against a painter that asks every pixel."""

import numpy as np
import pytest
from pycocotools import mask as coco

from partseg_cli.data.rle import NONE, Mask, paint, run_lengths


def random_masks(count: int, seed: int = 0) -> list[np.ndarray]:
    """Masks of many sizes and densities: dust, blocks, almost empty, almost full."""
    rng = np.random.default_rng(seed)
    masks = []
    for _ in range(count):
        height, width = rng.integers(1, 40, 2)
        mask = rng.random((height, width)) < rng.choice([0, 0.02, 0.3, 0.5, 0.98, 1])
        if rng.random() < 0.3:
            mask = np.repeat(np.repeat(mask, rng.integers(1, 6), 0), rng.integers(1, 9), 1)
        masks.append(mask)
    return masks


SPECIAL = [
    np.zeros((3, 5), bool),
    np.ones((5, 3), bool),
    np.ones((1, 1), bool),
    np.zeros((1, 1), bool),
    np.arange(9)[None] % 2 == 0,
    np.arange(9)[:, None] % 3 == 0,
    np.ones((1, 7), bool),
    np.ones((700, 3), bool),  # runs longer than 1024 take three characters
    np.arange(2400).reshape(60, 40) % 1100 < 1050,
]


def plain_runs(mask: np.ndarray) -> list[int]:
    """Count pixel by pixel, column by column, absent ones first; an even number of runs."""
    runs, present = [0], False
    for pixel in mask.T.ravel().tolist():
        if pixel != present:
            runs.append(0)
            present = pixel
        runs[-1] += 1
    return runs + [0] * (len(runs) % 2)


@pytest.fixture(scope="module")
def masks() -> list[np.ndarray]:
    return random_masks(1000) + SPECIAL


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools under numpy 2
def test_a_thousand_masks_decode_as_pycocotools_decodes_them(masks):
    for pixels in masks:
        mask = Mask.encode(pixels)
        code = {"size": list(pixels.shape), "counts": mask.rle.encode()}
        np.testing.assert_array_equal(coco.decode(code).astype(bool), pixels)
        np.testing.assert_array_equal(mask.decode(*pixels.shape), pixels)


def test_box_and_area_are_those_of_the_pixels(masks):
    for pixels in masks:
        mask = Mask.encode(pixels)
        rows, columns = np.nonzero(pixels)
        box = (0, 0, 0, 0)
        if len(rows):
            box = (columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1)
        assert (mask.bbox, mask.area) == (box, len(rows))
        assert {type(value) for value in (*mask.bbox, mask.area)} == {int}


def test_run_lengths_are_those_counted_pixel_by_pixel(masks):
    assert max(len(plain_runs(pixels)) for pixels in masks) > 500
    for pixels in masks:
        assert run_lengths(Mask.encode(pixels).rle).tolist() == plain_runs(pixels)


def test_positions_count_the_pixels_of_an_image_column_by_column(masks):
    for pixels in masks:
        positions = Mask.encode(pixels).positions()
        np.testing.assert_array_equal(positions, np.flatnonzero(pixels.T))


def test_a_mask_does_not_depend_on_the_memory_layout_of_its_pixels():
    pixels = random_masks(1, seed=5)[0]
    assert Mask.encode(pixels) == Mask.encode(np.asfortranarray(pixels)) == Mask.encode(pixels.T.copy().T)


# ---- painting


def plain_paint(layers: list[tuple[int, int, np.ndarray]], height: int, width: int) -> np.ndarray:
    """Ask every pixel for the layer on top: highest level, then smallest area, then the last one given."""
    flat = np.full((height, width), NONE, np.uint16)
    for y in range(height):
        for x in range(width):
            here = [(level, -mask.sum(), place) for place, (_, level, mask) in enumerate(layers) if mask[y, x]]
            if here:
                flat[y, x] = layers[max(here)[2]][0]
    return flat


def test_random_overlaps_are_painted_as_the_plain_painter_does():
    rng = np.random.default_rng(11)
    buried = 0
    for _ in range(60):
        height, width = (int(side) for side in rng.integers(1, 11, 2))
        layers = []
        for _ in range(rng.integers(0, 7)):
            mask = rng.random((height, width)) < rng.choice([0, 0.2, 0.5, 0.5, 1])
            layers.append((int(rng.integers(0, 60_000)), int(rng.integers(1, 4)), mask))
        expected = plain_paint(layers, height, width)
        coded = [(label, level, Mask.encode(mask)) for label, level, mask in layers]
        np.testing.assert_array_equal(paint(coded, height, width), expected)
        buried += sum(mask.sum() for _, _, mask in layers) - int((expected != NONE).sum())
    assert buried > 500


def square(size: int) -> Mask:
    pixels = np.zeros((4, 5), bool)
    pixels[:size, :size] = True
    return Mask.encode(pixels)


def test_small_parts_stay_on_top_in_any_order():
    expected = [[7, 8, 9, 65535, 65535], [8, 8, 9, 65535, 65535], [9, 9, 9, 65535, 65535], [65535] * 5]
    layers = [(9, 1, square(3)), (7, 1, square(1)), (8, 1, square(2))]
    for order in (layers, layers[::-1], layers[1:] + layers[:1]):
        assert paint(order, 4, 5).tolist() == expected


def test_level_comes_before_area():
    assert paint([(1, 2, square(3)), (2, 1, square(1))], 4, 5)[0, 0] == 1


def test_of_equal_areas_the_later_one_covers_the_earlier():
    assert paint([(1, 1, square(2)), (2, 1, square(2))], 4, 5)[0, 0] == 2


def test_no_layer_at_all_leaves_an_empty_map():
    flat = paint([], 2, 3)
    assert (flat.dtype, flat.tolist()) == (np.uint16, [[NONE] * 3] * 2)
