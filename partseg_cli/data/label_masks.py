"""The masks of all labels of a flat map at once: their time does not grow with the number of labels."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int, Integer
from pycocotools import mask as coco

from partseg_cli.data.rle import Mask


def masks_of(labels: Integer[np.ndarray, "H W"]) -> dict[int, Mask]:
    """Give the mask of each label of a signed map, ascending; negative pixels have no label.

    >>> {label: mask.area for label, mask in masks_of(np.array([[7, 7, -1], [2, 7, -1]])).items()}
    {2: 1, 7: 3}
    """
    columns = labels.T.ravel()
    places = np.flatnonzero(columns >= 0)
    places = places[np.argsort(columns[places], kind="stable")]
    values = columns[places]
    firsts = np.flatnonzero(np.diff(values, prepend=-1))
    ends = np.append(firsts, len(places))[1:]
    height, width = labels.shape
    return {
        int(values[first]): _mask_at(places[first:end], height, width) for first, end in zip(firsts, ends, strict=True)
    }


def _mask_at(places: Int[np.ndarray, "area"], height: int, width: int) -> Mask:
    """Give the mask of at least one pixel: ascending places in an image stored column by column."""
    breaks = np.flatnonzero(np.diff(places) > 1)
    starts, ends = places[np.append(0, breaks + 1)], places[np.append(breaks, -1)] + 1
    runs = np.diff(np.stack([starts, ends], axis=1).ravel(), prepend=0, append=height * width)
    counts = runs if runs[-1] else runs[:-1]
    return Mask.of_code(coco.frPyObjects({"size": [height, width], "counts": counts.tolist()}, height, width))
