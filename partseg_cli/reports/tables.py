"""Results as tables for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table

from partseg_cli.evaluation.metrics import SIZES, EvalResult
from partseg_cli.evaluation.rules import GROUPS, RULES
from partseg_cli.reports.results import NAMES, ConfidenceIntervals, percent, with_interval


def summary_table(result: EvalResult, title: str, intervals: ConfidenceIntervals | None = None) -> Table:
    """Build the table of means with their 95 % intervals, if there are any; the caption names what is counted."""
    table = Table(title=title, caption=_caption(result), caption_justify="left")
    table.add_column("percent")
    for name in GROUPS:
        table.add_column(name, justify="right")
    for metric, name in NAMES.items():
        table.add_row(name, *(with_interval(result, intervals, metric, group) for group in GROUPS))
    for size in SIZES:
        table.add_row(f"mIoU, {size} parts", *(percent(result.sizes[size][group]) for group in GROUPS))
    return table


def _caption(result: EvalResult) -> str:
    counted = {True: 0, False: 0}
    for row in result.per_class:
        counted[row["seen"]] += row["target_pixels"] > 0
    return (
        f"{result.protocol}, rule {result.rule}: {result.classes_counted} pairs counted, {result.classes_at_zero} of "
        f"them at 0; {counted[True]} seen and {counted[False]} unseen pairs have labelled pixels, {result.pixels:,} in "
        "all"
    )


def rules_table(result: EvalResult) -> Table:
    """Build the table of mIoU by counting rule, with the numbers of classes and pixels that are counted."""
    table = Table(title="mIoU by counting rule")
    for name in ("rule", *GROUPS, "classes", "at 0", "pixels", "what counts"):
        table.add_column(name, justify="left" if name in {"rule", "what counts"} else "right")
    for name, rule in result.rules.items():
        means = (percent(rule.means["mIoU"][group]) for group in GROUPS)
        numbers = (f"{each:,}" for each in (rule.classes_counted, rule.classes_at_zero, rule.pixels))
        table.add_row(name, *means, *numbers, RULES[name].tells)
    return table


def published_table(rows: Sequence[dict[str, Any]]) -> Table:
    """Build the table of published scores next to ours by the same rule, with sources and caveats."""
    caveats = sorted({text for row in rows for text in row["caveats"]})
    caption = "; ".join(caveats) if rows else "no published row for this dataset and protocol"
    table = Table(title="against published scores", caption=caption, caption_justify="left")
    for name in ("system", "metric", "rule", *GROUPS, "all", "ours", "source"):
        # The terminal folds words rather than cutting names and sources off.
        table.add_column(name, justify="right" if name in {*GROUPS, "all", "ours"} else "left", overflow="fold")
    for row in rows:
        ours = row["ours"] and " / ".join(percent(row["ours"][group]) for group in GROUPS)
        published = (percent(value) for value in (*(row["published"][group] for group in GROUPS), row["overall"]))
        # A score over all classes belongs to a model that was trained on another dataset.
        system = row["title"] if row["overall"] is None else f"{row['title']}, trained on {row['trained_on']}"
        table.add_row(system, NAMES[row["metric"]], row["rule"] or "?", *published, ours or "-", row["source"])
    return table


def class_table(result: EvalResult) -> Table:
    """Build the table of pairs that have labelled pixels."""
    table = Table(title="by object-specific part")
    table.add_column("pair")
    table.add_column("")
    for name in ("IoU", "recall", "precision", "boundary", "labelled px", "predicted px"):
        table.add_column(name, justify="right")
    for row in result.per_class:
        if row["target_pixels"]:
            scores = (percent(row[key]) for key in ("iou", "recall", "precision", "boundary_iou"))
            pixels = (f"{row[key]:,}" for key in ("target_pixels", "predicted_pixels"))
            table.add_row(row["name"], "seen" if row["seen"] else "unseen", *scores, *pixels)
    return table
