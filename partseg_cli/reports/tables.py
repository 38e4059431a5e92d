"""Results as tables for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from partseg_cli.evaluation.metrics import SIZES, EvalResult
from partseg_cli.evaluation.rules import GROUPS, RULES
from partseg_cli.reports.results import NAMES, ConfidenceIntervals, percent, with_interval


def summary_table(result: EvalResult, title: str, intervals: ConfidenceIntervals | None = None) -> Table:
    """Build the table of means with their 95 % intervals, if there are any; the caption names what is counted."""
    counted = {True: 0, False: 0}
    for row in result.per_class:
        counted[row["seen"]] += row["target_pixels"] > 0
    caption = (
        f"{result.protocol}, rule {result.rule}: {result.classes_counted} pairs counted, {result.classes_at_zero} of "
        f"them at 0; {counted[True]} seen and {counted[False]} unseen pairs have labelled pixels, {result.pixels:,} in "
        "all"
    )
    table = Table(title=title, caption=caption, caption_justify="left")
    table.add_column("percent")
    for name in GROUPS:
        table.add_column(name, justify="right")
    for metric, name in NAMES.items():
        table.add_row(name, *(with_interval(result, intervals, metric, group) for group in GROUPS))
    for size in SIZES:
        table.add_row(f"mIoU, {size} parts", *(percent(result.sizes[size][group]) for group in GROUPS))
    return table


def rules_table(result: EvalResult) -> Table:
    """Build the table of mIoU by counting rule, with the numbers of classes and pixels that are counted."""
    table = Table(title="mIoU by counting rule")
    for name in ("rule", *GROUPS, "classes", "at 0", "pixels", "what counts"):
        table.add_column(name, justify="left" if name in {"rule", "what counts"} else "right")
    for name, rule in result.rules.items():
        means = (percent(rule.means["mIoU"][group]) for group in GROUPS)
        numbers = (f"{each:,}" for each in (rule.classes_counted, rule.classes_at_zero, rule.pixels))
        table.add_row(name, *means, *numbers, RULES[name].description)
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


def comparison_tables(document: Mapping[str, Any], shown: int) -> list[Table]:
    """Build the tables of a comparison: images and pairs that differ most, at most `shown` each way, and means."""
    images = _difference_table("images that differ most", "image", "mean IoU over the pairs of an image")
    for row in document["images_that_differ_most"][:shown]:
        images.add_row(row["image_id"], *_differences(row))
    tables, classes = [images], document["per_class"]
    better = {
        "A": [row for row in classes if row["difference"] > 0][:shown],
        "B": [row for row in classes[::-1] if row["difference"] < 0][:shown],
    }
    for side, rows in better.items():
        table = _difference_table(f"IoU, {side} better", "pair", None, ["seen"])
        for row in rows:
            table.add_row(row["name"], *_differences(row), "yes" if row["seen"] else "no")
        tables += [table] if rows else []
    return [*tables, _means_table(document)]


def _means_table(document: Mapping[str, Any]) -> Table:
    caption = (
        f"A {document['a']['folder']}\nB {document['b']['folder']}\n{document['dataset']}, {document['split']}, "
        f"{document['protocol']}, rule {document['rule']}: {document['images']:,} images, {document['draws']:,} "
        "bootstrap samples"
    )
    level = f"{100 * document['level']:.0f} % interval"
    table = _difference_table("means, in percent", "", caption, [level, "A better in"])
    for metric, groups in document["means"].items():
        for group, value in groups.items():
            interval = "-" if value["interval"] is None else "[{:+.2f}, {:+.2f}]".format(*value["interval"])
            share = "-" if value["share"] is None else f"{100 * value['share']:.1f} %"
            table.add_row(f"{NAMES[metric]} {group}", *_differences(value), interval, share)
    return table


def _difference_table(title: str, first: str, caption: str | None, last: Sequence[str] = ()) -> Table:
    """Build an empty table with columns for A, B and A - B: names on the left, numbers on the right."""
    table = Table(title=title, caption=caption, caption_justify="left")
    for index, column in enumerate((first, "A", "B", "A - B", *last)):
        table.add_column(column, justify="right" if index else "left", overflow="fold")
    return table


def _differences(row: Mapping[str, Any]) -> list[str]:
    """Format A, B and their difference."""
    formats = (("a", "{:.2f}"), ("b", "{:.2f}"), ("difference", "{:+.2f}"))
    return ["-" if row[key] is None else form.format(row[key]) for key, form in formats]
