"""Results -> JSON, CSV and tables for a terminal."""

from __future__ import annotations

import csv
import io
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.table import Table

from partseg_cli.evaluators.runner import Result
from partseg_cli.files import write_json, write_text

COLUMNS = ("name", "seen", "iou", "recall", "target_pixels", "predicted_pixels")
PACKAGES = ("partseg-cli", "torch", "open_clip_torch", "numpy", "pillow")


def versions() -> dict[str, str]:
    """Give the versions that a figure depends on."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


def result_json(result: Result, about: dict[str, Any]) -> dict[str, Any]:
    """Give the result as one JSON document; `about` names split, dataset, model and checkpoint."""
    return {
        "protocol": result.protocol,
        "rule": result.rule,
        **about,
        "mIoU": result.miou,
        "recall": result.recall,
        "boundary_iou": None,
        "classes_counted": result.classes_counted,
        "classes_at_zero": result.classes_at_zero,
        "pixels": result.pixels,
        "per_class": list(result.per_class),
        "versions": versions(),
    }


def write_result(folder: Path, result: Result, about: dict[str, Any]) -> None:
    """Write `results.json` and `results.csv` (a line for each pair) into `folder`."""
    write_json(folder / "results.json", result_json(result, about))
    lines = io.StringIO()
    writer = csv.DictWriter(lines, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(result.per_class)
    write_text(folder / "results.csv", lines.getvalue())


def summary_table(result: Result, title: str) -> Table:
    """Give the means, with what they run over."""
    table = Table(title=title, caption=_caption(result), caption_justify="left")
    table.add_column("percent")
    for name in ("seen", "unseen", "harmonic"):
        table.add_column(name, justify="right")
    for name, means in (("mIoU", result.miou), ("recall", result.recall)):
        table.add_row(name, *(_percent(means[group]) for group in ("seen", "unseen", "harmonic")))
    return table


def _caption(result: Result) -> str:
    counted = {True: 0, False: 0}
    for row in result.per_class:
        counted[row["seen"]] += row["target_pixels"] > 0
    return (
        f"{result.protocol}, rule {result.rule}: means over the {counted[True]} seen and {counted[False]} unseen pairs "
        f"that have labelled pixels ({result.pixels:,} in all); {result.classes_at_zero} pairs score 0"
    )


def class_table(result: Result) -> Table:
    """Give a line for each pair that has labelled pixels."""
    table = Table(title="by object-specific part")
    table.add_column("pair")
    table.add_column("")
    for name in ("IoU", "recall", "labelled px", "predicted px"):
        table.add_column(name, justify="right")
    for row in result.per_class:
        if row["target_pixels"]:
            table.add_row(
                row["name"],
                "seen" if row["seen"] else "unseen",
                _percent(row["iou"]),
                _percent(row["recall"]),
                f"{row['target_pixels']:,}",
                f"{row['predicted_pixels']:,}",
            )
    return table


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
