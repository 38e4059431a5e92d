"""Photos on which two evaluations differ: what is labelled, and what each predicted, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int
from PIL import Image

from partseg_cli.data.record import Record
from partseg_cli.data.resolver import find_store
from partseg_cli.data.rle import NONE
from partseg_cli.data.store import Store, iterate
from partseg_cli.errors import DataError
from partseg_cli.io.label_maps import VOID_8, VOID_16, palette, read_label_image, write_png
from partseg_cli.reports.overlay import PAPER, colour, contact_sheet, with_legend

PREDICTIONS = "predictions"
"""Folder in that of the results: `<image id>.png`, as `partseg evaluate --save-predictions` writes them."""
EDGE = 640
"""Longest edge in pixels of each of the three pictures, with its legend."""


@dataclass(frozen=True)
class Side:
    """One of two evaluations.

    Attributes:
        folder: of its results.
        name: "A" or "B".
        scores: image id -> mean IoU over the classes of the image, in percent.
    """

    folder: Path
    name: str
    scores: Mapping[str, float]


def draw(
    folder: Path, images: Sequence[str], a: Side, b: Side, *, dataset: str, names: Sequence[str]
) -> tuple[dict[str, str], str]:
    """Draw images into `folder`: the photo with its labels, with the prediction of A, and with that of B.

    Args:
        folder: of the pictures.
        images: ids, in the order of the pictures.
        a: the first evaluation.
        b: the second.
        dataset: folder or name of the prepared data set.
        names: of the pairs that the predictions number.

    Returns:
        Image id -> name of its file; and a sentence that says why there are none, empty if there are.

    Raises:
        DataError: a prediction is missing or broken, or the data set is not that of the evaluations.
    """
    bare = [str(side.folder) for side in (a, b) if not (side.folder / PREDICTIONS).is_dir()]
    if bare:
        return {}, f"no pictures: {' and '.join(bare)} must hold {PREDICTIONS}/; run evaluate with --save-predictions"
    try:
        store = find_store(dataset)
    except DataError as error:
        return {}, f"no pictures: {error}, or name it by --dataset"
    if [pair.name for pair in store.info.vocabulary.pairs] != list(names):
        raise DataError(f"{store.folder}: must have the pairs of the evaluations, got others; name it by --dataset")
    records = _records(store, images)
    files = {}
    for place, image in enumerate(images, start=1):
        files[image] = picture_name(place)
        write_png(folder / files[image], _picture(store, records[image], a, b))
    return files, ""


def picture_name(place: int) -> str:
    """Name the picture of an image by its place, from 1: its id may be no name of a file.

    >>> picture_name(1)
    '01.png'
    """
    return f"{place:02}.png"


def _records(store: Store, images: Sequence[str]) -> dict[str, Record]:
    """Find the records of images."""
    wanted = set(images)
    records = {record.image_id: record for _, record in iterate(store) if record.image_id in wanted}
    for image in images:
        if image not in records:
            raise DataError(f"{store.folder}: must hold image {image!r} of the evaluations, got none; name another set")
    return records


def _picture(store: Store, record: Record, a: Side, b: Side) -> Image.Image:
    """Give three pictures in a row; a pair has one colour in all, and an empty box where a picture lacks it."""
    flat, words = record.pair_map(), store.info.vocabulary.pairs
    shown = {"labelled": np.where(flat == NONE, -1, flat.astype(np.int64))}
    for side in (a, b):
        shown[f"{side.name}: IoU {side.scores[record.image_id]:.1f}"] = _prediction(side, record, len(words))
    present = np.unique(np.concatenate([labels[labels >= 0] for labels in shown.values()]))
    colours, photo, tiles = palette(len(present)), store.read_image(record), []
    for title, labels in shown.items():
        places = np.where(labels < 0, -1, np.searchsorted(present, labels))
        boxes = np.where(np.isin(present, labels)[:, None], colours, PAPER).tolist()
        entries = [(box, words[pair].name) for box, pair in zip(boxes, present, strict=True)]
        tiles.append(with_legend(colour(photo, places, colours), entries, title))
    return contact_sheet(tiles, columns=len(tiles), edge=EDGE)


def _prediction(side: Side, record: Record, pairs: int) -> Int[np.ndarray, "H W"]:
    """Read the predicted pair of each pixel, -1 = none."""
    path = side.folder / PREDICTIONS / f"{record.image_id}.png"
    try:
        _, values = read_label_image(path)
    except DataError as error:
        why = str(error).replace(str(path), path.name)
        raise DataError(f"{path}: must be a saved prediction, got {why}; evaluate again") from error
    labels = values.astype(np.int64)
    labels[labels == (VOID_8 if pairs < VOID_8 else VOID_16)] = -1
    if labels.shape != (record.height, record.width) or labels.max(initial=-1) >= pairs:
        raise DataError(
            f"{path}: must be {record.width}x{record.height} pixels of the numbers 0 to {pairs - 1}, got shape "
            f"{'x'.join(map(str, values.shape[::-1]))} up to {labels.max(initial=-1)}; evaluate again"
        )
    return labels
