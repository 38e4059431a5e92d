"""`partseg compare`: two evaluations of the same photos -> what differs, by how much, and whether that is chance."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, is_zipfile

import numpy as np

from partseg_cli.errors import DataError, UsageError, one_line
from partseg_cli.evaluation.bootstrap import Difference, check_same_images, paired
from partseg_cli.evaluation.confusion_table import ConfusionTable
from partseg_cli.evaluation.metrics import ROUND_TRIP, formula_of, number
from partseg_cli.evaluation.per_image import image_means
from partseg_cli.evaluation.rules import RULES, field, score
from partseg_cli.io.atomic import write_json, write_text
from partseg_cli.io.paths import COUNTS_FILE, RESULTS_FILE
from partseg_cli.reports.comparison_figures import Side, draw, picture_name

DOCUMENT, LINES, PICTURES = "compare.json", "compare.csv", "pictures"
SAME = ("dataset", "split", "protocol", "samples", "boundary_ratio", "data_hash")
"""What two evaluations must have in common, in the words of results.json."""
LEVEL = 0.95
MOST = 12
"""Images that differ most which the document and the pictures show; compare.csv has all."""
COLUMNS = ("what", "name", "group", "a", "b", "difference", "low", "high", "share")


@dataclass(frozen=True)
class Evaluation:
    """What `partseg evaluate` left in a folder.

    Attributes:
        folder: of the results.
        document: results.json.
        table: counts of every sample.
    """

    folder: Path
    document: dict[str, Any]
    table: ConfusionTable

    @property
    def is_seen(self) -> list[bool]:
        """For each class whether it is seen."""
        return [row["seen"] for row in self.document["per_class"]]

    @property
    def names(self) -> list[str]:
        """The name of each class."""
        return [row["name"] for row in self.document["per_class"]]


@dataclass(frozen=True)
class Compared:
    """A comparison that is done.

    Attributes:
        document: all of it but for most images.
        folder: with the files; None: none were asked for.
        files: names of the files in it, and of the folder of pictures.
        note: why there are no pictures; empty if there are, or if no files were asked for.
    """

    document: dict[str, Any]
    folder: Path | None
    files: tuple[str, ...]
    note: str


def compare(
    a: Path,
    b: Path,
    *,
    rule: str | None = None,
    bootstrap_samples: int = 1000,
    seed: int = 0,
    dataset: str | None = None,
    out: Path | None = None,
) -> Compared:
    """Compare two evaluations; differences are a - b.

    Args:
        a: folder of the first one's results.
        b: folder of the second one's.
        rule: by which both are counted; None = that of both.
        bootstrap_samples: Number of bootstrap resamples.
        seed: of the draws.
        dataset: folder or name of the prepared set, for the pictures; None = the name in the results.
        out: folder for compare.json, compare.csv and pictures; None = no files.

    Raises:
        DataError: a folder holds no whole results, or they are not of the same data, protocol and images.
        UsageError: the rule is not known, or cannot be read from these counts.
    """
    first, second = read_evaluation(a), read_evaluation(b)
    _check_same(first, second)
    rule = _choose_rule(first, second, rule)
    formula = formula_of(rule)
    images = _images(first, second, formula)
    document = {
        **_describe(first, second, rule, bootstrap_samples, seed),
        "means": _means(first, second, formula, bootstrap_samples, seed),
        "per_class": _classes(first, second, formula),
        "images_that_differ_most": images[:MOST],
    }
    if out is None:
        return Compared(document, None, (), "")
    document["pictures"], note = _draw(out, images[:MOST], first, second, dataset or document["dataset"])
    write_json(out / DOCUMENT, document)
    write_text(out / LINES, _csv(document, images))
    return Compared(document, out, (DOCUMENT, LINES, *([PICTURES] if document["pictures"] else [])), note)


def _draw(
    out: Path, images: Sequence[dict[str, Any]], first: Evaluation, second: Evaluation, dataset: str
) -> tuple[dict[str, str], str]:
    """Draw the images that differ at all; give their files, and why there are none."""
    shown = [row for row in images if row["difference"]]
    a, b = (
        Side(each.folder, key.upper(), {row["image_id"]: row[key] for row in shown})
        for each, key in ((first, "a"), (second, "b"))
    )
    names = [row["image_id"] for row in shown]
    files, note = draw(out / PICTURES, names, a, b, dataset=dataset, names=first.names)
    for place in range(len(files) + 1, MOST + 1):
        (out / PICTURES / picture_name(place)).unlink(missing_ok=True)  # of a comparison before this one
    return {name: f"{PICTURES}/{file}" for name, file in files.items()}, note


def read_evaluation(folder: Path) -> Evaluation:
    """Read what `partseg evaluate` wrote into `folder`.

    Raises:
        DataError: a file is missing or broken, or they do not belong together.
    """
    document = _read_results(folder / RESULTS_FILE)
    path = folder / COUNTS_FILE
    try:
        if path.is_file() and not is_zipfile(path):
            raise BadZipFile("no NPZ")  # NumPy takes it for pickled objects, and advises to load them
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            table = ConfusionTable.from_arrays(dict(arrays))
        pixels = int(field(table.totals(), "target").sum())
    except (OSError, EOFError, ValueError, KeyError, IndexError, TypeError, BadZipFile) as error:
        raise DataError(f"{path}: must hold the counts of an evaluation, got {_why(error)}; evaluate again") from error
    got = (table.classes, pixels)
    wanted = (len(document["per_class"]), document["pixels"])
    if got != wanted:
        raise DataError(
            f"{path}: must belong to {RESULTS_FILE}, of {wanted[0]} pairs and {wanted[1]:,} labelled pixels, "
            f"got {got[0]} and {got[1]:,}; evaluate again"
        )
    return Evaluation(folder, document, table)


def _read_results(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(document, dict):
            raise TypeError(f"a {type(document).__name__} instead of an object")
        missing = [key for key in (*SAME, "rule", "pixels", "per_class") if key not in document]
        [(row["name"], row["seen"]) for row in document.get("per_class", ())]
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(f"{path}: must be results of partseg evaluate, got {_why(error)}; check the path") from error
    if missing:
        raise DataError(f"{path}: must name {', '.join(missing)}, got none; evaluate again with this version")
    return dict(document)


def _check_same(first: Evaluation, second: Evaluation) -> None:
    """Refuse to compare what is not comparable, the most telling difference first."""
    about = f"{first.folder} and {second.folder}"
    a, b = first.document, second.document
    for key in SAME:
        targets = [ROUND_TRIP if document["rule"] == ROUND_TRIP else "others" for document in (a, b)]
        if key == "data_hash" and targets[0] != targets[1]:
            raise DataError(
                f"{about}: both or none must be of rule {ROUND_TRIP}, which has targets of its own, got {a['rule']} "
                f"and {b['rule']}; evaluate both alike"
            )
        if a[key] != b[key]:
            what = "photos, labels and seen pairs (data_hash)" if key == "data_hash" else key.replace("_", " ")
            raise DataError(f"{about}: must be of the same {what}, got {a[key]} and {b[key]}; evaluate both alike")
    if (first.names, first.is_seen) != (second.names, second.is_seen):
        raise DataError(f"{about}: must be of the same pairs, seen and unseen, got others; evaluate both alike")
    check_same_images(first.table, second.table)


def _choose_rule(first: Evaluation, second: Evaluation, rule: str | None) -> str:
    """Give the rule asked for, or that of both."""
    own = [evaluation.document["rule"] for evaluation in (first, second)]
    if rule is None:
        if own[0] != own[1]:
            raise UsageError(
                f"--rule must be named for evaluations of two rules, got {own[0]} and {own[1]}; choose one"
            )
        rule = str(own[0])
    known = [ROUND_TRIP] if own[0] == ROUND_TRIP else list(RULES)
    if rule not in known:
        raise UsageError(f"--rule must be one of {', '.join(known)} for these evaluations, got {rule!r}")
    return rule


def _describe(first: Evaluation, second: Evaluation, rule: str, bootstrap_samples: int, seed: int) -> dict[str, Any]:
    """Say what is compared."""
    told = ("model", "backbone", "checkpoint", "step", "predictions", "versions")
    sides = {
        side: {"folder": str(each.folder), **{key: each.document[key] for key in told if key in each.document}}
        for side, each in (("a", first), ("b", second))
    }
    shared = {key: first.document[key] for key in SAME}
    count = len(set(first.table.images))
    return {**sides, **shared, "rule": rule, "images": count, "draws": bootstrap_samples, "seed": seed, "level": LEVEL}


def _means(first: Evaluation, second: Evaluation, formula: str, bootstrap_samples: int, seed: int) -> dict[str, Any]:
    """Give the means of both by metric and group, with the intervals of their differences."""
    protocol = first.document["protocol"]
    found = paired(first.table, second.table, formula, protocol, first.is_seen, bootstrap_samples, seed, LEVEL)
    return {metric: {group: _plain(value) for group, value in groups.items()} for metric, groups in found.items()}


def _plain(value: Difference) -> dict[str, Any]:
    return {key: list(each) if isinstance(each, tuple) else each for key, each in asdict(value).items()}


def _classes(first: Evaluation, second: Evaluation, formula: str) -> list[dict[str, Any]]:
    """Give the IoU of each class that is labelled, from where A is better to where B is."""
    protocol, is_seen = first.document["protocol"], first.is_seen
    a, b = (score(each.table.totals(), formula, protocol, is_seen).iou for each in (first, second))
    rows = [
        {"name": name, "seen": seen, **_pair(a[index], b[index])}
        for index, (name, seen) in enumerate(zip(first.names, is_seen, strict=True))
    ]
    return sorted((row for row in rows if row["difference"] is not None), key=lambda row: -row["difference"])


def _images(first: Evaluation, second: Evaluation, formula: str) -> list[dict[str, Any]]:
    """Give the mean IoU of each image over its own classes, those that differ most first."""
    protocol, is_seen = first.document["protocol"], first.is_seen
    names, a = image_means(first.table, formula, protocol, is_seen)
    _, b = image_means(second.table, formula, protocol, is_seen)
    rows = [{"image_id": name, **_pair(a[index], b[index])} for index, name in enumerate(names)]
    return sorted(rows, key=lambda row: (-abs(row["difference"] or 0), row["image_id"]))


def _pair(a: float, b: float) -> dict[str, float | None]:
    return {"a": number(a), "b": number(b), "difference": number(a - b)}


def _csv(document: Mapping[str, Any], images: list[dict[str, Any]]) -> str:
    """Give a line for each mean, each class and each image."""
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


def _why(error: Exception) -> str:
    return "nothing there" if isinstance(error, FileNotFoundError) else one_line(error) or repr(error)
