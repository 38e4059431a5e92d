"""Comparison of two evaluations of the same images: differences of scores, and figures of the images that differ."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int
from PIL import Image

from partseg_cli.data.record import Record
from partseg_cli.data.resolver import find_store
from partseg_cli.data.rle import NONE
from partseg_cli.data.store import Store, iterate
from partseg_cli.errors import DataError
from partseg_cli.evaluation.bootstrap import paired_differences
from partseg_cli.evaluation.metrics import formula_of, image_means, to_number
from partseg_cli.evaluation.rules import score
from partseg_cli.io.label_maps import VOID_8, VOID_16, palette, read_label_image, write_png
from partseg_cli.reports.overlay import PAPER, add_legend, contact_sheet, overlay_labels
from partseg_cli.reports.results import SHARED_KEYS, SavedEvaluation

PREDICTIONS = "predictions"
"""Folder `partseg evaluate --save-predictions` writes `<image id>.png` to, next to the results."""
SIDE_KEYS = ("model", "backbone", "checkpoint", "step", "predictions", "versions")
"""Keys of results.json that describe one of the two evaluations."""
LEVEL = 0.95
"""Level of the confidence intervals."""
COLUMNS = ("what", "name", "group", "a", "b", "difference", "low", "high", "share")
EDGE = 640
"""Longest edge in pixels of each of the three panels of a figure, with its legend."""

Row = dict[str, Any]


def compare_scores(
    first: SavedEvaluation, second: SavedEvaluation, rule: str, *, bootstrap_samples: int, seed: int
) -> tuple[dict[str, Any], list[Row]]:
    """Compare two evaluations by a rule; differences are first - second.

    Returns:
        The document: both evaluations, means with the intervals of their differences, the IoU of each labelled class,
        from where the first is better to where the second is. And the mean IoU of each image over its own classes,
        those that differ most first.
    """
    formula, protocol, is_seen = formula_of(rule), first.document["protocol"], first.is_seen
    means = paired_differences(first.table, second.table, formula, protocol, is_seen, bootstrap_samples, seed, LEVEL)
    a, b = (score(each.table.totals(), formula, protocol, is_seen).iou for each in (first, second))
    classes: list[Row] = [
        {"name": name, "seen": seen, **_difference(a[index], b[index])}
        for index, (name, seen) in enumerate(zip(first.names, is_seen, strict=True))
    ]
    ids, a = image_means(first.table, formula, protocol, is_seen)
    _, b = image_means(second.table, formula, protocol, is_seen)
    images: list[Row] = [{"image_id": name, **_difference(a[index], b[index])} for index, name in enumerate(ids)]
    document = {
        **{
            side: {"folder": str(each.folder)} | {key: each.document[key] for key in SIDE_KEYS if key in each.document}
            for side, each in (("a", first), ("b", second))
        },
        **{key: first.document[key] for key in SHARED_KEYS},
        "rule": rule,
        "images": len(set(first.table.images)),
        "draws": bootstrap_samples,
        "seed": seed,
        "level": LEVEL,
        "means": {
            metric: {
                group: {key: list(each) if isinstance(each, tuple) else each for key, each in asdict(value).items()}
                for group, value in groups.items()
            }
            for metric, groups in means.items()
        },
        "per_class": sorted(
            (row for row in classes if row["difference"] is not None), key=lambda row: -row["difference"]
        ),
    }
    return document, sorted(images, key=lambda row: (-abs(row["difference"] or 0), row["image_id"]))


def _difference(a: float, b: float) -> dict[str, float | None]:
    return {"a": to_number(a), "b": to_number(b), "difference": to_number(a - b)}


def comparison_csv(document: Mapping[str, Any], images: Sequence[Row]) -> str:
    """Return a CSV with one line per mean, class and image."""
    lines = io.StringIO()
    writer = csv.DictWriter(lines, COLUMNS, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    for metric, groups in document["means"].items():
        for group, value in groups.items():
            low, high = value["interval"] or (None, None)
            writer.writerow({**value, "what": "mean", "name": metric, "group": group, "low": low, "high": high})
    for row in document["per_class"]:
        writer.writerow({**row, "what": "class", "group": "seen" if row["seen"] else "unseen"})
    for row in images:
        writer.writerow({**row, "what": "image", "name": row["image_id"]})
    return lines.getvalue()


def draw_comparison(
    folder: Path, rows: Sequence[Row], first: SavedEvaluation, second: SavedEvaluation, dataset: str
) -> tuple[dict[str, str], str]:
    """Draw images into `folder`: each with its labels, with the prediction of A, and with that of B.

    Args:
        folder: Folder of the figures.
        rows: Id and scores of each image, in the order of the figures.
        first: Evaluation A.
        second: Evaluation B.
        dataset: Folder or name of the prepared dataset.

    Returns:
        Image id -> file name; and the reason why there is no figure, empty if there are some.

    Raises:
        DataError: a prediction is missing or broken, or the dataset is not that of the evaluations.
    """
    bare = [str(side.folder) for side in (first, second) if not (side.folder / PREDICTIONS).is_dir()]
    if bare:
        return {}, f"no figures: {' and '.join(bare)} must hold {PREDICTIONS}/; run evaluate with --save-predictions"
    try:
        store = find_store(dataset)
    except DataError as error:
        return {}, f"no figures: {error}, or name it by --dataset"
    if [pair.name for pair in store.info.vocabulary.pairs] != first.names:
        raise DataError(f"{store.folder}: must have the pairs of the evaluations, got others; name it by --dataset")
    wanted = {row["image_id"] for row in rows}
    records = {record.image_id: record for _, record in iterate(store) if record.image_id in wanted}
    files = {}
    for position, row in enumerate(rows, start=1):
        image_id = row["image_id"]
        if image_id not in records:
            raise DataError(
                f"{store.folder}: must hold image {image_id!r} of the evaluations, got none; name another set"
            )
        files[image_id] = figure_name(position)
        write_png(folder / files[image_id], _draw(store, records[image_id], row, first.folder, second.folder))
    return files, ""


def figure_name(position: int) -> str:
    """Return the file name of a figure by its position, from 1; an image id may be no file name.

    >>> figure_name(1)
    '01.png'
    """
    return f"{position:02}.png"


def _draw(store: Store, record: Record, row: Row, first: Path, second: Path) -> Image.Image:
    """Draw three panels; a pair has one colour in all, and an empty box in a panel without it."""
    flat, pairs = record.pair_map(), store.info.vocabulary.pairs
    maps = {
        "labelled": np.where(flat == NONE, -1, flat.astype(np.int64)),
        f"A: IoU {row['a']:.1f}": _read_prediction(first, record, len(pairs)),
        f"B: IoU {row['b']:.1f}": _read_prediction(second, record, len(pairs)),
    }
    present = np.unique(np.concatenate([labels[labels >= 0] for labels in maps.values()]))
    colours, image, panels = palette(len(present)), store.read_image(record), []
    for title, labels in maps.items():
        positions = np.where(labels < 0, -1, np.searchsorted(present, labels))
        boxes = np.where(np.isin(present, labels)[:, None], colours, PAPER).tolist()
        entries = [(box, pairs[pair].name) for box, pair in zip(boxes, present, strict=True)]
        panels.append(add_legend(overlay_labels(image, positions, colours), entries, title))
    return contact_sheet(panels, columns=len(panels), edge=EDGE)


def _read_prediction(folder: Path, record: Record, pairs: int) -> Int[np.ndarray, "H W"]:
    """Read the predicted pair of each pixel, -1 = none."""
    path = folder / PREDICTIONS / f"{record.image_id}.png"
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
