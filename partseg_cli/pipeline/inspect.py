"""`partseg inspect`: content of a prepared dataset, quality checks, and sample images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from partseg_cli.data.quality.quality_checks import QualityChecks
from partseg_cli.data.quality.statistics import Statistics
from partseg_cli.data.resolver import find_store
from partseg_cli.data.store import iterate
from partseg_cli.io.atomic import write_json, write_text
from partseg_cli.io.label_maps import write_png
from partseg_cli.io.paths import create_run_dir
from partseg_cli.reports.dataset_page import dataset_page
from partseg_cli.reports.figures import choose_samples, draw_sample, image_classes
from partseg_cli.reports.overlay import contact_sheet
from partseg_cli.runtime.pool import Track, silent

FIGURES, PAGE, SHEET = "figures.json", "index.html", "contact_sheet.png"
SAMPLE_SIZE = 40_000
"""Limit of the images of a sample, in characters of the page."""
COLUMNS, EDGE = 5, 440
"""Columns of the contact sheet, and edge of a tile in pixels."""


@dataclass(frozen=True)
class InspectResult:
    """Results of an inspection.

    Attributes:
        folder: Folder of the files.
        files: Names of the files.
        document: Content of figures.json.
    """

    folder: Path
    files: tuple[str, ...]
    document: dict[str, Any]


def inspect(
    dataset: str, *, split: str | None = None, out: Path | None = None, samples: int = 60, track: Track = silent
) -> InspectResult:
    """Inspect a prepared dataset, and write figures.json, index.html and, with samples, contact_sheet.png.

    The same store gives the same bytes.

    Args:
        dataset: Folder of a store, or its name below `$PARTSEG_DATA`.
        split: Split to inspect; None = all.
        out: Folder of the files; None = `runs/inspect/<name>-N`.
        samples: Number of images on the page and the contact sheet.
        track: Progress display.

    Raises:
        DataError: The dataset or the split is missing.
    """
    store = find_store(dataset)
    info, splits = store.info, store.splits if split is None else (split,)
    keys = [key for key in store.record_keys() if key.split in splits]
    statistics, checks, classes = Statistics(info, splits), QualityChecks(store, splits), []
    for name, record in track(iterate(store, splits), f"inspect {info.name}", len(keys)):
        statistics.add(name, record)
        checks.add(name, record)
        classes.append(image_classes(record, len(info.vocabulary.pairs)))
    chosen = [keys[index] for index in choose_samples(classes, samples)]
    document = {
        **{"dataset": info.name, "licence": info.licence, "homepage": info.homepage},
        **statistics.document(),
        "suspicious": checks.document(),
        "samples": [{"split": key.split, "image_id": store[key].image_id} for key in chosen],
    }
    cards, tiles = [], []
    for key in track(chosen, "draw samples", len(chosen)):
        card, tile = draw_sample(store, key.split, store[key], SAMPLE_SIZE)
        cards.append(card)
        tiles.append(tile)
    folder = out or create_run_dir("inspect", info.name)
    write_json(folder / FIGURES, document)
    write_text(folder / PAGE, dataset_page(document, cards))
    if not tiles:
        (folder / SHEET).unlink(missing_ok=True)
        return InspectResult(folder, (PAGE, FIGURES), document)
    write_png(folder / SHEET, contact_sheet(tiles, COLUMNS, EDGE))
    return InspectResult(folder, (PAGE, SHEET, FIGURES), document)
