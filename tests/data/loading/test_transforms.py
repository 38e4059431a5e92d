"""Resizes against torch and Pillow."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from partseg_cli.data.loading.transforms import image_to_tensor, nearest_indices, shortest_edge_size

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # facts: partclipseg.md, section 2


def noise(height: int, width: int, seed: int = 0) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


# ---- nearest


def torch_rows(before: int, after: int) -> list[int]:
    rows = torch.arange(before, dtype=torch.float32).view(1, 1, before, 1)
    return F.interpolate(rows, size=(after, 1), mode="nearest").flatten().long().tolist()


def test_nearest_rows_are_those_of_torch_for_every_pair_of_small_sizes():
    for before in range(1, 41):
        for after in range(1, 41):
            assert nearest_indices(before, after).tolist() == torch_rows(before, after), (before, after)


def test_nearest_rows_are_those_of_torch_for_many_photo_sizes():
    rng = np.random.default_rng(0)
    sizes = [tuple(int(side) for side in rng.integers(40, 3000, 2)) for _ in range(400)]
    for before, after in [*sizes, *((int(side), 352) for side in rng.integers(40, 3000, 200))]:
        assert nearest_indices(before, after).tolist() == torch_rows(before, after), (before, after)


def test_a_token_reads_the_first_pixel_of_its_patch():
    assert nearest_indices(352, 22).tolist() == list(range(0, 352, 16))


def test_nearest_rows_of_the_same_size_are_all_rows():
    assert nearest_indices(7, 7).tolist() == list(range(7))


# ---- shortest edge


@pytest.mark.parametrize(
    ("size", "edges", "expected"),
    [
        ((375, 500), (800, 1333), (800, 1067)),
        ((500, 375), (800, 1333), (1067, 800)),
        ((500, 500), (800, 1333), (800, 800)),
        ((333, 1000), (800, 1333), (444, 1333)),  # 3 to 1: the longest edge decides
        ((1000, 333), (800, 1333), (1333, 444)),
        ((1600, 2000), (800, 1333), (800, 1000)),  # large photos shrink
        ((4, 6), (10, 100), (10, 15)),
    ],
)
def test_the_shortest_edge_decides_unless_the_longest_grows_too_long(size, edges, expected):
    assert shortest_edge_size(*size, *edges) == expected


def test_shortest_edge_size_keeps_the_aspect_ratio_and_its_limits():
    rng = np.random.default_rng(1)
    for height, width in rng.integers(30, 3000, (300, 2)).tolist():
        new_height, new_width = shortest_edge_size(height, width, 800, 1333)
        assert (min(new_height, new_width) == 800) or (max(new_height, new_width) == 1333)
        assert min(new_height, new_width) <= 800
        assert max(new_height, new_width) <= 1333
        scale = 1333 / max(height, width) if max(new_height, new_width) == 1333 else 800 / min(height, width)
        assert (new_height, new_width) == pytest.approx((height * scale, width * scale), abs=0.51)


@pytest.mark.parametrize("size", [(1, 4000), (4000, 1)])
def test_no_edge_of_a_very_long_photo_vanishes(size):
    assert min(shortest_edge_size(*size, 800, 1333)) == 1


# ---- photo


@pytest.mark.parametrize(("height", "width", "size"), [(9, 14, 5), (14, 9, 32), (40, 25, 16), (7, 7, 7)])
def test_a_photo_is_resized_in_bytes_then_normalised(height, width, size):
    photo = noise(height, width)
    pixels = np.asarray(photo.resize((size, size), Image.Resampling.BILINEAR))
    tensor = image_to_tensor(photo, size)
    assert (tensor.shape, tensor.dtype) == ((3, size, size), torch.float32)
    for channel in range(3):
        expected = (pixels[:, :, channel].astype(np.float64) / 255 - MEAN[channel]) / STD[channel]
        np.testing.assert_allclose(tensor[channel].numpy(), expected, atol=1e-6)


def test_one_colour_gives_the_values_worked_out_by_hand():
    tensor = image_to_tensor(Image.new("RGB", (6, 4), (255, 0, 51)), 3)
    values = [(1 - 0.485) / 0.229, (0 - 0.456) / 0.224, (0.2 - 0.406) / 0.225]
    torch.testing.assert_close(tensor, torch.tensor(values).view(3, 1, 1).expand(3, 3, 3))


def test_bgr_exchanges_red_and_blue_and_keeps_the_statistics_of_rgb():
    tensor = image_to_tensor(Image.new("RGB", (6, 4), (255, 0, 51)), 3, "bgr")
    values = [(0.2 - 0.485) / 0.229, (0 - 0.456) / 0.224, (1 - 0.406) / 0.225]
    torch.testing.assert_close(tensor, torch.tensor(values).view(3, 1, 1).expand(3, 3, 3))


def test_bgr_is_rgb_of_the_photo_with_its_colours_exchanged():
    photo = noise(8, 11)
    exchanged = Image.fromarray(np.asarray(photo)[:, :, ::-1].copy())
    assert torch.equal(image_to_tensor(photo, 5, "bgr"), image_to_tensor(exchanged, 5))
