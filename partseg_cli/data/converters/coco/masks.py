"""Masks of COCO annotations: polygons and both kinds of run lengths, checked before pycocotools' C code reads them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from pycocotools import mask as coco

from partseg_cli.data.converters.conversion import InvalidAnnotationError
from partseg_cli.data.rle import COMPRESSED, Mask, run_lengths

NO_MASK = "annotation has neither polygons nor run lengths"
BROKEN_POLYGON = "polygon is malformed"
FEW_POINTS = "polygon has fewer than 3 points"
NOT_FINITE = "polygon has a coordinate that is not finite"
FAR_OUTSIDE = "polygon is far outside the image"
BROKEN_RLE = "run lengths are malformed"
RLE_SIZE = "run lengths and image differ in size"
NO_PIXEL = "mask has no pixel"


def build_mask(segmentation: object, width: int, height: int) -> Mask:
    """Build the mask of an annotation in an image of this size; compressed run lengths stay as they are.

    Raises:
        InvalidAnnotationError: It is malformed, of another size, or without a pixel.
    """
    if isinstance(segmentation, list) and segmentation:
        for polygon in segmentation:
            check_polygon(polygon, width, height)
        code = coco.merge(coco.frPyObjects(segmentation, height, width))
    elif isinstance(segmentation, dict):
        code = _checked_rle(segmentation, width, height)
    else:
        raise InvalidAnnotationError(NO_MASK, f"segmentation is {_shown(segmentation)}")
    mask = Mask.from_coco(code)
    if mask.area == 0:
        raise InvalidAnnotationError(NO_PIXEL, _shown(segmentation))
    return mask


def union(masks: Sequence[Mask], width: int, height: int) -> Mask:
    """Build the union of all masks of an image."""
    if len(masks) == 1:
        return masks[0]
    return Mask.from_coco(coco.merge([{"size": [height, width], "counts": mask.rle.encode()} for mask in masks]))


def check_polygon(polygon: object, width: int, height: int) -> None:
    """Raise `InvalidAnnotationError` unless this is x, y, x, y, ... of 3 points or more, within the image's size.

    Points somewhat outside are usual, and cut off; the time to draw an edge grows with its length.
    """
    if not isinstance(polygon, list) or not all(type(value) in (int, float) for value in polygon):
        raise InvalidAnnotationError(BROKEN_POLYGON, f"got {_shown(polygon)}, not a list of numbers")
    if len(polygon) % 2:
        raise InvalidAnnotationError(BROKEN_POLYGON, f"got {len(polygon)} numbers, not pairs of x and y")
    if len(polygon) < 6:
        raise InvalidAnnotationError(FEW_POINTS, f"got {len(polygon) // 2}")
    wrong = [value for value in polygon if not abs(value) <= sys.float_info.max]
    if wrong:
        raise InvalidAnnotationError(NOT_FINITE, f"got {_shown(wrong[0])}")
    for values, size in ((polygon[::2], width), (polygon[1::2], height)):
        if min(values) < -size or max(values) > 2 * size:
            raise InvalidAnnotationError(
                FAR_OUTSIDE, f"got {min(values):g} to {max(values):g} in an image of {size} pixels"
            )


def _checked_rle(code: dict[str, Any], width: int, height: int) -> dict[str, Any]:
    """Return compressed run lengths that cover the image exactly."""
    size, counts = code.get("size"), code.get("counts")
    if size != [height, width]:
        swapped = ", swapped" if size == [width, height] else ""
        raise InvalidAnnotationError(
            RLE_SIZE, f"size is {_shown(size)}, the image's height and width are {[height, width]}{swapped}"
        )
    if isinstance(counts, list):
        _check_runs(counts, width * height)
        compressed: dict[str, Any] = coco.frPyObjects({"size": [height, width], "counts": counts}, height, width)
        return compressed
    if not isinstance(counts, str) or not COMPRESSED.fullmatch(counts):
        raise InvalidAnnotationError(BROKEN_RLE, f"counts is {_shown(counts)}")
    _check_runs(run_lengths(counts).tolist(), width * height)
    return {"size": [height, width], "counts": counts.encode("ascii")}


def _check_runs(runs: list[Any], pixels: int) -> None:
    if not all(type(run) is int and 0 <= run <= pixels for run in runs):
        wrong = next(run for run in runs if type(run) is not int or not 0 <= run <= pixels)
        raise InvalidAnnotationError(BROKEN_RLE, f"a run is {_shown(wrong)} pixels long")
    if sum(runs) != pixels:
        raise InvalidAnnotationError(BROKEN_RLE, f"runs cover {sum(runs)} pixels of {pixels}")


def _shown(value: object, length: int = 40) -> str:
    """Return the value in a short line."""
    text = repr(value)
    return text if len(text) <= length else f"{text[:length]}..."
