"""Files of an evaluation: results.json, results.csv and counts.npz, written and read; the format of scores."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, is_zipfile

import numpy as np

from partseg_cli.errors import DataError, one_line
from partseg_cli.evaluation.counts import ConfusionTable
from partseg_cli.evaluation.metrics import EvalResult
from partseg_cli.evaluation.rules import METRICS, class_pixels
from partseg_cli.io.atomic import atomic_write, write_json, write_text
from partseg_cli.io.paths import COUNTS_FILE, RESULTS_FILE
from partseg_cli.io.versions import package_versions

COLUMNS = (
    "name",
    "seen",
    "iou",
    "recall",
    "precision",
    "boundary_iou",
    "over",
    "under",
    "target_pixels",
    "predicted_pixels",
)
SHARED_KEYS = ("dataset", "split", "protocol", "samples", "boundary_ratio", "data_hash")
"""Keys of results.json that must agree if two evaluations are compared."""
TABLE, TEXT, PAGE = "results.csv", "results.md", "results.html"
FILES = (RESULTS_FILE, TABLE, TEXT, PAGE, COUNTS_FILE)
NAMES = {
    "mIoU": "mIoU",
    "boundary_iou": "Boundary IoU",
    "recall": "recall",
    "precision": "precision",
    "pixel_accuracy": "pixel accuracy",
}

ConfidenceIntervals = dict[str, dict[str, tuple[float, float] | None]]
"""95 % intervals of the means in percent: metric -> group -> (low, high)."""


@dataclass(frozen=True)
class SavedEvaluation:
    """An evaluation as `write_result` stored it.

    Attributes:
        folder: Folder of the files.
        document: Content of results.json.
        table: Counts of every sample.
    """

    folder: Path
    document: dict[str, Any]
    table: ConfusionTable

    @property
    def is_seen(self) -> list[bool]:
        """True for each class that is seen."""
        return [row["seen"] for row in self.document["per_class"]]

    @property
    def names(self) -> list[str]:
        """Name of each class."""
        return [row["name"] for row in self.document["per_class"]]


def result_json(
    result: EvalResult, about: dict[str, Any], intervals: ConfidenceIntervals | None = None
) -> dict[str, Any]:
    """Return the content of results.json; `about` names split, dataset, model and checkpoint."""
    return {
        "protocol": result.protocol,
        "rule": result.rule,
        **about,
        **{metric: result.means[metric] for metric in METRICS},
        "intervals": intervals,
        "classes_counted": result.classes_counted,
        "classes_at_zero": result.classes_at_zero,
        "classes_without_pixels": [row["name"] for row in result.per_class if not row["target_pixels"]],
        "pixels": result.pixels,
        "samples_counted": result.samples,
        "rules": {name: asdict(rule) for name, rule in result.rules.items()},
        "sizes": result.sizes,
        **({"published": result.published} if result.published else {}),
        "per_class": list(result.per_class),
        "versions": package_versions(),
    }


def write_result(
    folder: Path,
    result: EvalResult,
    about: dict[str, Any],
    intervals: ConfidenceIntervals | None,
    table: ConfusionTable,
) -> None:
    """Write `results.json`, `results.csv` (one line per pair) and `counts.npz` into `folder`."""
    write_json(folder / RESULTS_FILE, result_json(result, about, intervals))
    lines = io.StringIO()
    writer = csv.DictWriter(lines, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(result.per_class)
    write_text(folder / TABLE, lines.getvalue())
    with atomic_write(folder / COUNTS_FILE) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **table.to_arrays())


def read_result(folder: Path) -> SavedEvaluation:
    """Read what `write_result` wrote into `folder`.

    Raises:
        DataError: a file is missing or broken, or they do not belong together.
    """
    document = _read_document(folder / RESULTS_FILE)
    path = folder / COUNTS_FILE
    try:
        if path.is_file() and not is_zipfile(path):
            raise BadZipFile("no NPZ")  # NumPy takes it for pickled objects, and advises to load them
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            table = ConfusionTable.from_arrays(dict(arrays))
        pixels = int(class_pixels(table.totals(), "target").sum())
    except (OSError, EOFError, ValueError, KeyError, IndexError, TypeError, BadZipFile) as error:
        raise DataError(f"{path}: must hold the counts of an evaluation, got {_why(error)}; evaluate again") from error
    got, wanted = (table.classes, pixels), (len(document["per_class"]), document["pixels"])
    if got != wanted:
        raise DataError(
            f"{path}: must belong to {RESULTS_FILE}, of {wanted[0]} pairs and {wanted[1]:,} labelled pixels, "
            f"got {got[0]} and {got[1]:,}; evaluate again"
        )
    return SavedEvaluation(folder, document, table)


def _read_document(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(document, dict):
            raise TypeError(f"a {type(document).__name__} instead of an object")
        missing = [key for key in (*SHARED_KEYS, "rule", "pixels", "per_class") if key not in document]
        [(row["name"], row["seen"]) for row in document.get("per_class", ())]
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(f"{path}: must be results of partseg evaluate, got {_why(error)}; check the path") from error
    if missing:
        raise DataError(f"{path}: must name {', '.join(missing)}, got none; evaluate again with this version")
    return dict(document)


def _why(error: Exception) -> str:
    return "nothing there" if isinstance(error, FileNotFoundError) else one_line(error) or repr(error)


def percent(value: float | None) -> str:
    """Format a score with two decimals, "-" if there is none.

    >>> percent(33.333), percent(None)
    ('33.33', '-')
    """
    return "-" if value is None else f"{value:.2f}"


def interval(intervals: ConfidenceIntervals | None, metric: str, group: str) -> str:
    """Format the interval of a mean, empty if there is none.

    >>> interval({"mIoU": {"seen": (30.0, 40.5)}}, "mIoU", "seen"), interval(None, "mIoU", "seen")
    ('[30.00, 40.50]', '')
    """
    found = (intervals or {}).get(metric, {}).get(group)
    return "" if found is None else f"[{found[0]:.2f}, {found[1]:.2f}]"


def with_interval(result: EvalResult, intervals: ConfidenceIntervals | None, metric: str, group: str) -> str:
    """Format a mean with its interval, if there is one."""
    return f"{percent(result.means[metric][group])} {interval(intervals, metric, group)}".rstrip()
