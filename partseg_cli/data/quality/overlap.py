"""How much the masks of an image overlap, counted by runs: a large photo costs as much as its masks have runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from partseg_cli.data.record import Record
from partseg_cli.data.rle import Mask, run_lengths


def overlap(record: Record) -> Counter[str]:
    """Count the pixels of an image that several masks claim.

    A pixel that two objects claim counts once for each of them in the first three figures.

    Returns:
        object_part_pixels: of each object, those with a part of it.
        shared_pixels: of these, those with two or more parts of that object.
        outside_pixels: of these, those that the object's own mask leaves out.
        photo_part_pixels: those of the photo with a part.
        photo_shared_pixels: of these, those with two or more parts of whichever objects.
        objects_shared_pixels: those of the photo in two or more object masks.
        parts_across_objects: for each two parts of different objects, the pixels that both claim.
    """
    ends = [_ends(part.mask) for part in record.parts]
    found = Counter(object_part_pixels=0, shared_pixels=0, outside_pixels=0, parts_across_objects=0)
    for instance in record.objects:
        own = [runs for runs, part in zip(ends, record.parts, strict=True) if part.object == instance.id]
        lengths, (parts, inside) = depths(own, [_ends(instance.mask)])
        found["object_part_pixels"] += _pixels(lengths, parts >= 1)
        found["shared_pixels"] += _pixels(lengths, parts >= 2)
        found["outside_pixels"] += _pixels(lengths, (parts >= 1) & (inside == 0))
        found["parts_across_objects"] -= _pixels(lengths, parts * (parts - 1) // 2)
    lengths, (parts, instances) = depths(ends, [_ends(instance.mask) for instance in record.objects])
    found["photo_part_pixels"] = _pixels(lengths, parts >= 1)
    found["photo_shared_pixels"] = _pixels(lengths, parts >= 2)
    found["objects_shared_pixels"] = _pixels(lengths, instances >= 2)
    found["parts_across_objects"] += _pixels(lengths, parts * (parts - 1) // 2)
    return found


def depths(
    *layers: Sequence[Int[np.ndarray, "..."]],
) -> tuple[Int[np.ndarray, "S"], Int[np.ndarray, "L S"]]:
    """Cut an image into runs of pixels that lie in the same masks.

    Args:
        layers: L lists of masks, each as the places where its runs start and end, in turn.

    Returns:
        The lengths of the S runs between the first and the last place, and how many masks of each layer cover them.
    """
    masks = [ends for layer in layers for ends in layer]
    places = np.concatenate([*masks, np.zeros(0, np.int64)])
    steps = np.zeros((len(layers), len(places)), np.int64)
    start = 0
    for row, layer in enumerate(layers):
        for ends in layer:
            steps[row, start : start + len(ends)] = np.tile([1, -1], len(ends) // 2)
            start += len(ends)
    order = np.argsort(places, kind="stable")
    return np.diff(places[order]), np.cumsum(steps[:, order], axis=1)[:, :-1]


def _ends(mask: Mask) -> Int[np.ndarray, "ends"]:
    """Give the places where the runs of present pixels start and end, in turn."""
    return np.cumsum(run_lengths(mask.rle))


def _pixels(lengths: Int[np.ndarray, "S"], weights: np.ndarray) -> int:
    return int((lengths * weights).sum())
