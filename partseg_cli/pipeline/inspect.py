"""`partseg inspect`: what a prepared data set holds, what is odd about it, and how it looks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int
from PIL import Image

from partseg_cli.data.quality.quality_checks import QualityChecks
from partseg_cli.data.quality.statistics import Statistics
from partseg_cli.data.record import RecordKey
from partseg_cli.data.resolver import find_store
from partseg_cli.data.store import Store, iterate
from partseg_cli.io.atomic import write_json, write_text
from partseg_cli.io.label_maps import write_png
from partseg_cli.io.paths import create_run_dir
from partseg_cli.reports.dataset_page import dataset_page
from partseg_cli.reports.figures import SampleCard, choose_samples, draw_sample, image_classes
from partseg_cli.reports.overlay import contact_sheet
from partseg_cli.runtime.pool import Track, silent

FIGURES, PAGE, SHEET = "figures.json", "index.html", "contact_sheet.png"
SAMPLE_SIZE = 40_000
"""Characters of the page that the pictures of one sample may take."""
COLUMNS, EDGE = 5, 440
"""Of the contact sheet: tiles in a row, and their edge in pixels."""


@dataclass(frozen=True)
class Inspected:
    """A data set that was looked through.

    Attributes:
        folder: with the files.
        files: names of the files in it.
        document: all figures.
    """

    folder: Path
    files: tuple[str, ...]
    document: dict[str, Any]


def inspect(
    dataset: str, *, split: str | None = None, out: Path | None = None, samples: int = 60, track: Track = silent
) -> Inspected:
    """Look through a prepared data set, and write figures.json, index.html and, with samples, contact_sheet.png.

    The same store gives the same bytes.

    Args:
        dataset: folder of a store, or the name of one below `$PARTSEG_DATA`.
        split: the only one to look at; None = all.
        out: folder of the files; None = `runs/inspect/<name>-N`.
        samples: number of images on the page and the contact sheet.
        track: shows progress.

    Raises:
        DataError: there is no such data set or split.
    """
    store = find_store(dataset)
    splits = store.splits if split is None else (split,)
    keys = [key for key in store.record_keys() if key.split in splits]
    document, present = _look_through(store, splits, len(keys), track)
    chosen = [keys[index] for index in choose_samples(present, samples)]
    document["samples"] = [{"split": key.split, "image_id": store[key].image_id} for key in chosen]
    shown, tiles = _draw(store, chosen, track)
    folder = out or create_run_dir("inspect", store.info.name)
    return Inspected(folder, _write(folder, document, shown, tiles), document)


def _look_through(
    store: Store, splits: Sequence[str], images: int, track: Track
) -> tuple[dict[str, Any], list[Int[np.ndarray, "_"]]]:
    """Give the figures of all images, and the classes of each one."""
    statistics, suspicions, present = Statistics(store.info, splits), QualityChecks(store, splits), []
    for split, record in track(iterate(store, splits), f"inspect {store.info.name}", images):
        statistics.add(split, record)
        suspicions.add(split, record)
        present.append(image_classes(record, len(store.info.vocabulary.pairs)))
    about = {"dataset": store.info.name, "licence": store.info.licence, "homepage": store.info.homepage}
    return {**about, **statistics.document(), "suspicious": suspicions.document()}, present


def _draw(store: Store, chosen: Sequence[RecordKey], track: Track) -> tuple[list[SampleCard], list[Image.Image]]:
    """Give the samples of the page, and the tiles of the contact sheet, each as large as it will be there."""
    samples, tiles = [], []
    for key in track(chosen, "draw samples", len(chosen)):
        sample, tile = draw_sample(store, key.split, store[key], SAMPLE_SIZE)
        samples.append(sample)
        tiles.append(tile)
    return samples, tiles


def _write(
    folder: Path, document: dict[str, Any], samples: Sequence[SampleCard], tiles: Sequence[Image.Image]
) -> tuple[str, ...]:
    write_json(folder / FIGURES, document)
    write_text(folder / PAGE, dataset_page(document, samples))
    if not tiles:
        (folder / SHEET).unlink(missing_ok=True)
        return PAGE, FIGURES
    write_png(folder / SHEET, contact_sheet(tiles, COLUMNS, EDGE))
    return PAGE, SHEET, FIGURES
