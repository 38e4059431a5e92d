"""The band of every class at once against erosion class by class."""

import numpy as np
import pytest
import torch
from label_maps import draw, eroded_away
from scipy.ndimage import minimum_filter

from partseg_cli.evaluation.boundary import band_width, boundary_band, label_map_border


@pytest.mark.parametrize("seed", range(60))
def test_the_band_is_what_erosion_takes_away_of_each_class(seed):
    rng = np.random.default_rng(seed)
    height, width, band = rng.integers(1, 60), rng.integers(1, 80), int(rng.integers(1, 14))
    labels = draw(rng, height, width)
    found = boundary_band(torch.from_numpy(labels), band).numpy()
    for value in np.unique(labels):
        np.testing.assert_array_equal(found & (labels == value), eroded_away(labels == value, band))


def test_a_batch_is_its_images():
    rng = np.random.default_rng(0)
    labels = torch.from_numpy(np.stack([draw(rng, 30, 41) for _ in range(3)]))
    for labels_of_one, band in zip(labels, boundary_band(labels, 4), strict=True):
        assert torch.equal(boundary_band(labels_of_one, 4), band)


def test_the_numbers_of_classes_do_not_matter():
    labels = torch.from_numpy(draw(np.random.default_rng(3), 40, 50))
    permuted = torch.tensor([4, 2, 0, 1, 5, 3, 9])[labels]
    assert torch.equal(boundary_band(labels, 3), boundary_band(permuted, 3))


def test_turning_the_map_turns_the_band():
    labels = torch.from_numpy(draw(np.random.default_rng(8), 31, 47))
    band = boundary_band(labels, 3)
    assert torch.equal(boundary_band(labels.T.contiguous(), 3), band.T)
    assert torch.equal(boundary_band(labels.flip(0, 1), 3), band.flip(0, 1))


def test_a_square_of_four_by_four_pixels_has_an_interior_of_two_by_two():
    band = boundary_band(torch.zeros(4, 4, dtype=torch.long), 1)
    assert band.tolist() == [[True] * 4, [True, False, False, True], [True, False, False, True], [True] * 4]


def test_a_single_other_pixel_puts_the_square_around_it_into_the_band():
    labels = torch.zeros(9, 11, dtype=torch.long)
    labels[4, 5] = 1
    inner = boundary_band(labels, 2)[2:-2, 2:-2]  # 5 x 7, of which the square takes the middle five columns
    assert inner.tolist() == [[False, True, True, True, True, True, False]] * 5


def test_the_map_given_stays_as_it_was():
    labels = torch.from_numpy(draw(np.random.default_rng(2), 20, 30))
    before = labels.clone()
    boundary_band(labels, 2)
    assert torch.equal(labels, before)


@pytest.mark.parametrize(("size", "width"), [((375, 500), 12), ((333, 500), 12), ((2200, 1650), 55), ((10, 10), 1)])
def test_the_width_follows_the_diagonal(size, width):
    assert band_width(*size) == width


def test_the_width_can_be_chosen():
    assert band_width(375, 500, 0.01) == 6


# the published one


@pytest.mark.parametrize("seed", range(20))
def test_the_published_border_is_the_label_minus_the_least_around_it(seed):
    rng = np.random.default_rng(seed)
    height, width, band = rng.integers(1, 40), rng.integers(1, 50), int(rng.integers(1, 9))
    labels = draw(rng, height, width, 9) + 1
    least = minimum_filter(np.pad(labels, 1), size=2 * band + 1, mode="constant", cval=255)[1:-1, 1:-1]
    found = label_map_border(torch.from_numpy(labels), band).numpy()
    np.testing.assert_array_equal(found, labels - least)


def test_the_published_border_makes_other_classes_of_the_classes():
    labels = torch.tensor([[5, 5, 5, 3, 3, 3]]).repeat(5, 1)
    # Where 5 meets 3 stands 2; at the image's edge, beside the zeros, the class itself; inside 0.
    assert label_map_border(labels, 1)[2].tolist() == [5, 0, 2, 0, 0, 3]
    assert label_map_border(labels, 1)[0].tolist() == [5, 5, 5, 3, 3, 3]
