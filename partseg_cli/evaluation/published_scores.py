"""Published scores, to lay beside one's own: with the rule by which each was counted, its source, and its caveats.

The figures are in `data_manifests/published_scores.csv`; those alone that were read in a paper or a README.
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
    "one-mean": "trained on another data set; a single mean, it seems over all pairs, seen and unseen",
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
"""Systems that users ask for, and why there is no row of them."""


@dataclass(frozen=True)
class Published:
    """One row of a published table, in percent; None where the source has no figure.

    Attributes:
        system: short name.
        title: the system, as its source calls it.
        dataset: name of the data set it was tested on.
        protocol: under which it was tested.
        metric: one of `METRICS`.
        trained_on: name of the data set it was trained on, if that is another.
        means: "seen", "unseen", "harmonic" -> mean.
        overall: a mean over all pairs.
        rule: one of `RULES` by which it was counted; empty if that is not known.
        source: paper and table, or README.
        caveats: what to know before one compares, in sentences.
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
    """Give the names of the systems that have rows.

    >>> systems()
    ('catseg', 'clipseg', 'partclipseg', 'vlpart', 'zsseg')
    """
    return tuple(sorted({row.system for row in _all()}))


def rows(dataset: str, protocol: str, system: str | None = None) -> tuple[Published, ...]:
    """Give the published rows of a data set and a protocol; there may be none.

    Args:
        dataset: its name, as in `partseg prepare NAME`.
        protocol: "pred-all", "oracle-obj" or "pred-obj".
        system: one of `systems()`; None = all.

    Raises:
        UsageError: there is no such system.
    """
    if system is not None:
        _check(system)
    wanted = systems() if system is None else (system,)
    return tuple(row for row in _all() if row.system in wanted and (row.dataset, row.protocol) == (dataset, protocol))


def table_rows(published: Sequence[Published], result: EvalResult) -> list[dict[str, Any]]:
    """Lay one's own scores beside published ones: by the rule of each row, as far as the result has it.

    Returns:
        Plain records: system, title, metric, trained_on, published, overall, ours, ours_rule, difference (ours -
        published), rule, source, caveats. `ours` and `difference` are None where the row's rule is not known or was
        not counted; a figure that is missing on either side makes a difference of None.
    """
    records = []
    for row in published:
        ours, ours_rule = _own(row, result)
        records.append(
            {
                "system": row.system,
                "title": row.title,
                "metric": row.metric,
                "trained_on": row.trained_on or row.dataset,
                "published": dict(row.means),
                "overall": row.overall,
                "ours": ours,
                "ours_rule": ours_rule,
                "difference": None
                if ours is None
                else {group: _gap(ours[group], row.means[group]) for group in GROUPS},
                "rule": row.rule or None,
                "source": row.source,
                "caveats": list(row.caveats),
            }
        )
    return records


def _own(row: Published, result: EvalResult) -> tuple[Means | None, str | None]:
    """Give one's own means by the rule of a row, and the name of that rule."""
    if result.rule == ROUND_TRIP:
        return (result.means[row.metric], ROUND_TRIP) if row.rule == "partclipseg" else (None, None)
    if row.rule not in result.rules:
        return None, None
    return result.rules[row.rule].means[row.metric], row.rule


def _gap(ours: float | None, published: float | None) -> float | None:
    return None if ours is None or published is None else ours - published


def _check(system: str) -> None:
    known = systems()
    if system in UNREAD:
        raise UsageError(f"--against must be one of {', '.join(known)}, got {system!r}: {UNREAD[system]}")
    if system not in known:
        raise UsageError(f"--against must be one of {', '.join(known)}, got {system!r}; {did_you_mean(system, known)}")


@cache
def _all() -> tuple[Published, ...]:
    text = (packaged("data_manifests") / FILE).read_text(encoding="utf-8")
    return tuple(_read(line) for line in csv.DictReader(text.splitlines()))


def _read(line: dict[str, str]) -> Published:
    texts = {key: line[key] for key in ("system", "title", "dataset", "protocol", "metric", "trained_on")}
    return Published(
        **texts,
        means={group: _figure(line[group]) for group in GROUPS},
        overall=_figure(line["overall"]),
        rule=line["rule"],
        source=line["source"],
        caveats=tuple(CAVEATS[key] for key in line["caveats"].split()),
    )


def _figure(text: str) -> float | None:
    return float(text) if text else None
