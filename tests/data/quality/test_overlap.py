"""Overlaps counted by runs, against the same counted pixel by pixel."""

import numpy as np
import pytest

from partseg_cli.data.quality.statistics import depths, overlap
from partseg_cli.data.record import Instance, Part, Record
from partseg_cli.data.rle import Mask

HEIGHT, WIDTH = 7, 12


def record(objects: dict[int, np.ndarray], parts: list[tuple[int, np.ndarray]], height=HEIGHT, width=WIDTH) -> Record:
    """An image of objects of category 0 by their number, and of parts of the pair 0."""
    instances = tuple(Instance(number, 0, Mask.encode(pixels)) for number, pixels in objects.items())
    masks = tuple(Part(number, 0, "", 1, Mask.encode(pixels)) for number, pixels in parts)
    return Record("a", "a.jpg", width, height, "", instances, masks)


def box(top: int, bottom: int, left: int, right: int) -> np.ndarray:
    pixels = np.zeros((HEIGHT, WIDTH), bool)
    pixels[top:bottom, left:right] = True
    return pixels


def blobs(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """One or two random boxes; now and then nothing at all."""
    pixels = np.zeros((height, width), bool)
    for _ in range(rng.integers(0, 3)):
        top, left = rng.integers(0, height), rng.integers(0, width)
        pixels[top : top + rng.integers(1, height + 1), left : left + rng.integers(1, width + 1)] = True
    return pixels


def plain(image: Record) -> dict[str, int]:
    """Count pixel by pixel, part by part."""
    size = (image.height, image.width)
    parts = [(part.object, part.mask.decode(*size)) for part in image.parts]
    things = {thing.id: thing.mask.decode(*size) for thing in image.objects}
    found = dict.fromkeys(
        ("object_part_pixels", "shared_pixels", "outside_pixels", "photo_part_pixels", "photo_shared_pixels"), 0
    )
    found |= {"objects_shared_pixels": 0, "parts_across_objects": 0}
    for y, x in np.ndindex(*size):
        here = [number for number, pixels in parts if pixels[y, x]]
        for number, pixels in things.items():
            found["object_part_pixels"] += number in here
            found["shared_pixels"] += here.count(number) >= 2
            found["outside_pixels"] += number in here and not pixels[y, x]
        found["photo_part_pixels"] += len(here) >= 1
        found["photo_shared_pixels"] += len(here) >= 2
        found["objects_shared_pixels"] += sum(pixels[y, x] for pixels in things.values()) >= 2
        found["parts_across_objects"] += sum(a != b for index, a in enumerate(here) for b in here[:index])
    return {name: int(count) for name, count in found.items()}


def test_two_parts_of_one_object_share_pixels_and_one_leaves_it():
    cat, head, ear = box(1, 6, 1, 6), box(1, 3, 1, 4), box(0, 2, 2, 4)
    assert overlap(record({3: cat}, [(3, head), (3, ear)])) == {
        "object_part_pixels": 8,
        "shared_pixels": 2,
        "outside_pixels": 2,
        "photo_part_pixels": 8,
        "photo_shared_pixels": 2,
        "objects_shared_pixels": 0,
        "parts_across_objects": 0,
    }


def test_a_pixel_that_two_objects_claim_counts_for_both_but_once_for_the_photo():
    left, right = box(0, 2, 0, 4), box(0, 2, 3, 6)
    assert overlap(record({1: left, 2: right}, [(1, left), (2, right)])) == {
        "object_part_pixels": 14,
        "shared_pixels": 0,
        "outside_pixels": 0,
        "photo_part_pixels": 12,
        "photo_shared_pixels": 2,
        "objects_shared_pixels": 2,
        "parts_across_objects": 2,
    }


def test_an_image_without_parts_or_objects_has_nothing_in_common():
    assert set(overlap(record({}, [])).values()) == {0}
    assert set(overlap(record({1: box(0, 3, 0, 3)}, [])).values()) == {0}


@pytest.mark.parametrize("seed", range(40))
def test_counts_by_runs_equal_counts_by_pixels(seed):
    rng = np.random.default_rng(seed)
    height, width = (int(side) for side in rng.integers(1, 14, 2))
    objects = {int(number): blobs(rng, height, width) for number in rng.permutation(9)[: rng.integers(0, 4)]}
    parts = [
        (number, blobs(rng, height, width))
        for number in objects
        for _ in range(rng.integers(0, 5))
        if number in objects
    ]
    image = record(objects, parts, height, width)
    assert overlap(image) == plain(image)


def test_the_order_of_parts_and_objects_does_not_matter():
    rng = np.random.default_rng(5)
    objects = {number: blobs(rng, HEIGHT, WIDTH) for number in range(3)}
    parts = [(number % 3, blobs(rng, HEIGHT, WIDTH)) for number in range(9)]
    backwards = record(dict(reversed(objects.items())), parts[::-1])
    assert overlap(record(objects, parts)) == overlap(backwards)


def test_depths_tell_for_each_run_how_many_masks_of_each_layer_cover_it():
    lengths, covered = depths([np.array([0, 6]), np.array([2, 4])], [np.array([4, 9])])
    runs = [(length, *column) for length, column in zip(lengths.tolist(), covered.T.tolist(), strict=True) if length]
    assert runs == [(2, 1, 0), (2, 2, 0), (2, 1, 1), (3, 0, 1)]
