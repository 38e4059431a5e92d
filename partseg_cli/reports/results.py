"""Results -> JSON, CSV and tables for a terminal."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from partseg_cli.evaluation.confusion_table import ConfusionTable
from partseg_cli.evaluation.metrics import SIZES, EvalResult
from partseg_cli.evaluation.rules import GROUPS, METRICS, RULES
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
TABLE, TEXT, PAGE = "results.csv", "results.md", "results.html"
FILES = (RESULTS_FILE, TABLE, TEXT, PAGE, COUNTS_FILE)
NAMES = {
    "mIoU": "mIoU",
    "boundary_iou": "Boundary IoU",
    "recall": "recall",
    "precision": "precision",
    "pixel_accuracy": "pixel accuracy",
}

Bounds = dict[str, dict[str, tuple[float, float] | None]]


def result_json(result: EvalResult, about: dict[str, Any], bounds: Bounds | None = None) -> dict[str, Any]:
    """Give the result as one JSON document; `about` names split, dataset, model and checkpoint."""
    return {
        "protocol": result.protocol,
        "rule": result.rule,
        **about,
        **{metric: result.means[metric] for metric in METRICS},
        "intervals": bounds,
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
    folder: Path, result: EvalResult, about: dict[str, Any], bounds: Bounds | None, table: ConfusionTable
) -> None:
    """Write `results.json`, `results.csv` (a line for each pair) and `counts.npz` into `folder`."""
    write_json(folder / RESULTS_FILE, result_json(result, about, bounds))
    lines = io.StringIO()
    writer = csv.DictWriter(lines, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(result.per_class)
    write_text(folder / TABLE, lines.getvalue())
    with atomic_write(folder / COUNTS_FILE) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **table.to_arrays())


def summary_table(result: EvalResult, title: str, bounds: Bounds | None = None) -> Table:
    """Give the means, with what they run over, and their 95 % intervals where there are some."""
    table = Table(title=title, caption=_caption(result), caption_justify="left")
    table.add_column("percent")
    for name in GROUPS:
        table.add_column(name, justify="right")
    for metric, name in NAMES.items():
        table.add_row(name, *(with_interval(result, bounds, metric, group) for group in GROUPS))
    for size in SIZES:
        table.add_row(f"mIoU, {size} parts", *(percent(result.sizes[size][group]) for group in GROUPS))
    return table


def rules_table(result: EvalResult) -> Table:
    """Give the mean IoU by every rule, with the numbers of classes and pixels that it runs over."""
    table = Table(title="mIoU by counting rule")
    for name in ("rule", *GROUPS, "classes", "at 0", "pixels", "what counts"):
        table.add_column(name, justify="left" if name in {"rule", "what counts"} else "right")
    for name, rule in result.rules.items():
        means = (percent(rule.means["mIoU"][group]) for group in GROUPS)
        numbers = (f"{each:,}" for each in (rule.classes_counted, rule.classes_at_zero, rule.pixels))
        table.add_row(name, *means, *numbers, RULES[name].tells)
    return table


def against_table(beside: Sequence[dict[str, Any]]) -> Table:
    """Give published scores beside our own by the same rule, with their sources and caveats."""
    caveats = sorted({text for row in beside for text in row["caveats"]})
    caption = "; ".join(caveats) if beside else "no published row for this data set and protocol"
    table = Table(title="against published scores", caption=caption, caption_justify="left")
    for name in ("system", "metric", "rule", *GROUPS, "all", "ours", "source"):
        # The terminal folds words rather than cutting names and sources off.
        table.add_column(name, justify="right" if name in {*GROUPS, "all", "ours"} else "left", overflow="fold")
    for row in beside:
        ours = row["ours"] and " / ".join(percent(row["ours"][group]) for group in GROUPS)
        published = (percent(value) for value in (*(row["published"][group] for group in GROUPS), row["overall"]))
        metric = NAMES[row["metric"]]
        table.add_row(_trained(row), metric, row["rule"] or "?", *published, ours or "-", row["source"])
    return table


def _trained(row: dict[str, Any]) -> str:
    """Give the system, and what it was trained on if that is another data set."""
    return row["title"] if row["overall"] is None else f"{row['title']}, trained on {row['trained_on']}"


def percent(value: float | None) -> str:
    """Write a figure as all reports do, "-" where there is none.

    >>> percent(33.333), percent(None)
    ('33.33', '-')
    """
    return "-" if value is None else f"{value:.2f}"


def interval(bounds: Bounds | None, metric: str, group: str) -> str:
    """Write the interval of a mean as all reports do, with nothing where there is none.

    >>> interval({"mIoU": {"seen": (30.0, 40.5)}}, "mIoU", "seen"), interval(None, "mIoU", "seen")
    ('[30.00, 40.50]', '')
    """
    found = (bounds or {}).get(metric, {}).get(group)
    return "" if found is None else f"[{found[0]:.2f}, {found[1]:.2f}]"


def with_interval(result: EvalResult, bounds: Bounds | None, metric: str, group: str) -> str:
    """Write a mean, and its interval if there is one."""
    return f"{percent(result.means[metric][group])} {interval(bounds, metric, group)}".rstrip()


def _caption(result: EvalResult) -> str:
    counted = {True: 0, False: 0}
    for row in result.per_class:
        counted[row["seen"]] += row["target_pixels"] > 0
    return (
        f"{result.protocol}, rule {result.rule}: {result.classes_counted} pairs counted, {result.classes_at_zero} of "
        f"them at 0; {counted[True]} seen and {counted[False]} unseen pairs have labelled pixels, {result.pixels:,} in "
        "all"
    )


def class_table(result: EvalResult) -> Table:
    """Give a line for each pair that has labelled pixels."""
    table = Table(title="by object-specific part")
    table.add_column("pair")
    table.add_column("")
    for name in ("IoU", "recall", "precision", "boundary", "labelled px", "predicted px"):
        table.add_column(name, justify="right")
    for row in result.per_class:
        if row["target_pixels"]:
            table.add_row(
                row["name"],
                "seen" if row["seen"] else "unseen",
                percent(row["iou"]),
                percent(row["recall"]),
                percent(row["precision"]),
                percent(row["boundary_iou"]),
                f"{row['target_pixels']:,}",
                f"{row['predicted_pixels']:,}",
            )
    return table
