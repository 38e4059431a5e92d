"""`partseg compare`: two evaluations of the same images -> what differs, by how much, and whether by chance."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from partseg_cli.errors import DataError, UsageError
from partseg_cli.evaluation.bootstrap import check_same_images
from partseg_cli.evaluation.metrics import ROUND_TRIP
from partseg_cli.evaluation.rules import RULES
from partseg_cli.io.atomic import write_json, write_text
from partseg_cli.reports.comparison import compare_scores, comparison_csv, draw_comparison, figure_name
from partseg_cli.reports.results import SHARED_KEYS, SavedEvaluation, read_result

DOCUMENT, LINES, FIGURES = "compare.json", "compare.csv", "pictures"
SHOWN = 12
"""Number of images in the document and in the figures, those that differ most; compare.csv has all."""


@dataclass(frozen=True)
class CompareResult:
    """Result of a comparison.

    Attributes:
        document: Content of compare.json.
        folder: Folder of the files; None if none are written.
        files: Names of the files in it, and of the folder of figures.
        note: Reason why there are no figures; empty if there are, or if no files are written.
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
) -> CompareResult:
    """Compare two evaluations; differences are a - b.

    Args:
        a: Folder of the first evaluation.
        b: Folder of the second evaluation.
        rule: Counting rule; None = that of both.
        bootstrap_samples: Number of bootstrap resamples.
        seed: Seed of the bootstrap.
        dataset: Folder or name of the prepared dataset, for the figures; None = the name in the results.
        out: Folder of compare.json, compare.csv and figures; None = no files.

    Raises:
        DataError: a folder has no complete results, or they are not of the same data, protocol and images.
        UsageError: the rule is unknown, or cannot be computed from these counts.
    """
    first, second = read_result(a), read_result(b)
    _check_comparable(first, second)
    rule = _choose_rule(first, second, rule)
    document, images = compare_scores(first, second, rule, bootstrap_samples=bootstrap_samples, seed=seed)
    document["images_that_differ_most"] = images[:SHOWN]
    if out is None:
        return CompareResult(document, None, (), "")
    differing = [row for row in images[:SHOWN] if row["difference"]]
    files, note = draw_comparison(out / FIGURES, differing, first, second, dataset or document["dataset"])
    for position in range(len(files) + 1, SHOWN + 1):
        (out / FIGURES / figure_name(position)).unlink(missing_ok=True)  # of an earlier comparison
    document["pictures"] = {image_id: f"{FIGURES}/{file}" for image_id, file in files.items()}
    write_json(out / DOCUMENT, document)
    write_text(out / LINES, comparison_csv(document, images))
    return CompareResult(document, out, (DOCUMENT, LINES, *([FIGURES] if files else [])), note)


def _check_comparable(first: SavedEvaluation, second: SavedEvaluation) -> None:
    """Check that both evaluations are of the same data and protocol; the most telling difference is named.

    Raises:
        DataError: they are not.
    """
    both = f"{first.folder} and {second.folder}"
    a, b = first.document, second.document
    for key in SHARED_KEYS:
        if key == "data_hash" and (a["rule"] == ROUND_TRIP) != (b["rule"] == ROUND_TRIP):
            raise DataError(
                f"{both}: both or none must be of rule {ROUND_TRIP}, which has targets of its own, got {a['rule']} "
                f"and {b['rule']}; evaluate both alike"
            )
        if a[key] != b[key]:
            what = "images, labels and seen pairs (data_hash)" if key == "data_hash" else key.replace("_", " ")
            raise DataError(f"{both}: must be of the same {what}, got {a[key]} and {b[key]}; evaluate both alike")
    if (first.names, first.is_seen) != (second.names, second.is_seen):
        raise DataError(f"{both}: must be of the same pairs, seen and unseen, got others; evaluate both alike")
    check_same_images(first.table, second.table)


def _choose_rule(first: SavedEvaluation, second: SavedEvaluation, rule: str | None) -> str:
    """Return the given rule, or that of both evaluations.

    Raises:
        UsageError: there are two rules, or the rule is unknown or cannot be computed from the counts.
    """
    a, b = first.document["rule"], second.document["rule"]
    if rule is None and a != b:
        raise UsageError(f"--rule must be named for evaluations of two rules, got {a} and {b}; choose one")
    chosen = str(a) if rule is None else rule
    known = [ROUND_TRIP] if a == ROUND_TRIP else list(RULES)
    if chosen not in known:
        raise UsageError(f"--rule must be one of {', '.join(known)} for these evaluations, got {chosen!r}")
    return chosen
