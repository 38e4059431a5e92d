"""Published scores to compare with: each with its counting rule, source and caveats.

The figures are in `data_manifests/published_scores.csv`, only such as were read in a paper or a README.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from partseg_cli.errors import UsageError, did_you_mean
from partseg_cli.evaluation.metrics import ROUND_TRIP, EvalResult, Means
from partseg_cli.evaluation.rules import GROUPS
from partseg_cli.io.paths import packaged

FILE = "published_scores.csv"
CAVEATS = {
    "as-ov-parts": "the figures are those of OV-PARTS' README, so its evaluator counted them; the network is a "
    "ResNet-50, whatever the paper's appendix says",
    "label-map": "the boundary is one of label maps, which is no Boundary IoU",
    "misprint": "the paper's text says 19.63 for the harmonic mean, its tables 11.38",
    "no-code": "no public code made these figures, so their rule is not known",
    "no-pred-obj": "there is no public code for Pred-Obj; which model found the objects is not said",
    "one-mean": "trained on another dataset; a single mean, it seems over all pairs, seen and unseen",
    "released": "the rule is that of the released evaluator; that the table was made with this very file is not shown",
    "rerun": "OV-PARTS' README has other figures for this method, in a row of their own",
    "round-trip": "targets were scaled to another size and back, which moves them by a pixel, as --rule ref-bug does",
    "second-version": "the paper's first version counted the background too: its Pred-All figures are others",
    "substituted": "a test sample without a labelled part was replaced by a random other one",
    "test-selected": "the checkpoint was picked by its score on the test set, unseen pairs included",
    "train-unseen": "unseen objects were tested on the training images too",
}
UNREAD = {
    "partcatseg": "its paper's figures were not read at their source, and leave out every class that scores 0; "
    "score its label maps with --predictions, and read rule partcatseg"
}
"""Systems without rows, and why."""


@dataclass(frozen=True)
class PublishedRow:
    """One row of a published table, in percent; None where the source has no figure.

    Attributes:
        system: Short name.
        title: Name of the system in its source.
        dataset: Name of the dataset it was tested on.
        protocol: Protocol it was tested under.
        metric: One of `METRICS`.
        trained_on: Name of the dataset it was trained on, if that is another.
        means: "seen", "unseen", "harmonic" -> mean.
        overall: Mean over all pairs.
        rule: One of `RULES` by which it was counted; empty if that is not known.
        source: Paper and table, or README.
        caveats: What limits a comparison, in sentences.
    """

    system: str
    title: str
    dataset: str
    protocol: str
    metric: str
    trained_on: str
    means: Means
    overall: float | None
    rule: str
    source: str
    caveats: tuple[str, ...]


def systems() -> tuple[str, ...]:
    """Return the names of the systems that have rows.

    >>> systems()
    ('catseg', 'clipseg', 'partclipseg', 'vlpart', 'zsseg')
    """
    return tuple(sorted({row.system for row in _all_rows()}))


def published_rows(dataset: str, protocol: str, system: str | None = None) -> tuple[PublishedRow, ...]:
    """Return the published rows of a dataset and a protocol; there may be none.

    Args:
        dataset: Name of the dataset, as in `partseg prepare NAME`.
        protocol: "pred-all", "oracle-obj" or "pred-obj".
        system: One of `systems()`; None takes all.

    Raises:
        UsageError: There is no such system.

    Example:
        >>> [row.means for row in published_rows("partimagenet", "pred-all", "partclipseg")]
        [{'seen': 38.82, 'unseen': 19.47, 'harmonic': 25.94}]
    """
    known = systems()
    if system in UNREAD:
        raise UsageError(f"--against must be one of {', '.join(known)}, got {system!r}: {UNREAD[system]}")
    if system is not None and system not in known:
        raise UsageError(f"--against must be one of {', '.join(known)}, got {system!r}; {did_you_mean(system, known)}")
    wanted = known if system is None else (system,)
    rows = _all_rows()
    return tuple(row for row in rows if row.system in wanted and (row.dataset, row.protocol) == (dataset, protocol))


@cache
def _all_rows() -> tuple[PublishedRow, ...]:
    text = (packaged("data_manifests") / FILE).read_text(encoding="utf-8")
    return tuple(_parse_row(line) for line in csv.DictReader(text.splitlines()))


def _parse_row(line: dict[str, str]) -> PublishedRow:
    figures = {name: float(line[name]) if line[name] else None for name in (*GROUPS, "overall")}
    return PublishedRow(
        **{key: line[key] for key in ("system", "title", "dataset", "protocol", "metric", "trained_on")},
        means={group: figures[group] for group in GROUPS},
        overall=figures["overall"],
        rule=line["rule"],
        source=line["source"],
        caveats=tuple(CAVEATS[key] for key in line["caveats"].split()),
    )


def compare_with_published(rows: Sequence[PublishedRow], result: EvalResult) -> list[dict[str, Any]]:
    """Compare a result with published rows, each by the row's counting rule if the result has it.

    Returns:
        Plain records: system, title, metric, trained_on, published, overall, ours, ours_rule, difference (ours -
        published), rule, source, caveats. `ours` and `difference` are None where the row's rule is not known or was
        not counted; a figure that is missing on either side makes a difference of None.
    """
    return [
        {
            "system": row.system,
            "title": row.title,
            "metric": row.metric,
            "trained_on": row.trained_on or row.dataset,
            "published": dict(row.means),
            "overall": row.overall,
            "ours": (ours := _means_by_rule_of(row, result)),
            "ours_rule": None if ours is None else ROUND_TRIP if result.rule == ROUND_TRIP else row.rule,
            "difference": ours and {group: _subtract(ours[group], row.means[group]) for group in GROUPS},
            "rule": row.rule or None,
            "source": row.source,
            "caveats": list(row.caveats),
        }
        for row in rows
    ]


def _means_by_rule_of(row: PublishedRow, result: EvalResult) -> Means | None:
    """Return the result's means by the rule of a row; None without such."""
    if result.rule == ROUND_TRIP:
        return result.means[row.metric] if row.rule == "partclipseg" else None
    return result.rules[row.rule].means[row.metric] if row.rule in result.rules else None


def _subtract(ours: float | None, published: float | None) -> float | None:
    return None if ours is None or published is None else ours - published
