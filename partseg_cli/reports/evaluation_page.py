"""HTML page of an evaluation: scores, counting rules, classes, confusions, worst and best images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from partseg_cli.evaluation.counts import ConfusionTable
from partseg_cli.evaluation.evaluator import Evaluator
from partseg_cli.evaluation.metrics import SIZES, EvalResult
from partseg_cli.evaluation.rules import GROUPS, RULES
from partseg_cli.evaluation.spec import EvalSpec, EvalSubset
from partseg_cli.io.atomic import write_text
from partseg_cli.reports.error_analysis import (
    OUTCOMES,
    Confusion,
    ImageScore,
    confusion_breakdown,
    largest_confusions,
    most_confused,
    part_gaps,
    worst_and_best,
)
from partseg_cli.reports.figures import PredictionCard, draw_prediction
from partseg_cli.reports.markdown import markdown
from partseg_cli.reports.pages import render_page
from partseg_cli.reports.results import NAMES, PAGE, TEXT, ConfidenceIntervals, interval, result_json
from partseg_cli.vocabulary import Vocabulary

COLUMNS = {
    "iou": "IoU",
    "recall": "recall",
    "precision": "precision",
    "boundary_iou": "Boundary IoU",
    "over": "over-seg.",
    "under": "under-seg.",
}
"""Columns of the table of classes that have bars, in percent."""
LISTED, SHOWN = 40, 14
"""Confusions in the list, by pixels and as many by share; classes in the matrix."""
SHOWN_ELSEWHERE = {"dataset", "split", "protocol", "rule", "intervals", "rules", "sizes", "per_class", "versions"}
"""Keys of the results, besides the metrics, that have a section of their own."""

Showcase = tuple[Sequence[PredictionCard], Sequence[PredictionCard]]
"""The worst and the best images."""


def evaluation_page(
    document: Mapping[str, Any],
    vocabulary: Vocabulary,
    table: ConfusionTable | None,
    worst: Sequence[PredictionCard] = (),
    best: Sequence[PredictionCard] = (),
) -> str:
    """Render the page.

    Args:
        document: Content of results.json.
        vocabulary: Pairs in the order of the document's classes, with the seen flags of the evaluation.
        table: Counts of every sample; None leaves the confusions out.
        worst: Images to show, the worst first.
        best: Images to show, the best first.
    """
    classes = document["per_class"]
    gaps = part_gaps([scores["iou"] for scores in classes], vocabulary)
    rows = [
        {"scores": scores, "pair": pair, "gap": gap}
        for scores, pair, gap in zip(classes, vocabulary.pairs, gaps, strict=True)
    ]
    rows.sort(key=lambda row: 1.0 if row["scores"]["iou"] is None else -row["scores"]["iou"])
    plain = {key: value for key, value in document.items() if key not in {*SHOWN_ELSEWHERE, *NAMES}}
    details = {key.replace("_", " "): value for key, value in plain.items() if value is not None}
    details = {key: ", ".join(value) if isinstance(value, list) else value for key, value in details.items()}
    return render_page(
        "evaluation_page",
        title=f"{document['dataset']}, {document['split']}: {document['protocol']}",
        about=_describe(document),
        document=document,
        groups=GROUPS,
        metrics=NAMES,
        interval=interval,
        descriptions={name: rule.description for name, rule in RULES.items()},
        size_ranges={name: _size_range(*SIZES[name]) for name in document["sizes"]},
        columns=COLUMNS,
        classes=rows,
        confusions=None if table is None else _confusions(table, vocabulary),
        worst=worst,
        best=best,
        details={**details, **document["versions"]},
    )


def write_pages(
    folder: Path,
    result: EvalResult,
    about: dict[str, Any],
    intervals: ConfidenceIntervals | None,
    table: ConfusionTable,
    vocabulary: Vocabulary,
    showcase: Showcase = ((), ()),
) -> None:
    """Write `results.md` and `results.html` into `folder`."""
    write_text(folder / TEXT, markdown(result, about, intervals))
    page = evaluation_page(result_json(result, about, intervals), vocabulary, table, *showcase)
    write_text(folder / PAGE, page)


def _describe(document: Mapping[str, Any]) -> str:
    rule = document["rule"]
    description = f" ({RULES[rule].description})" if rule in RULES else ""
    source = document.get("checkpoint") or document.get("predictions")
    return (
        f"{f'{source}; ' if source else ''}protocol {document['protocol']}, rule {rule}{description}; "
        f"{document['pixels']:,} labelled pixels in {document['samples_counted']:,} samples"
    )


def _size_range(low: int, high: int) -> str:
    if low <= 1:
        return f"below {high:,} px"
    return f"{low:,} px and more" if high > max(low for low, _ in SIZES.values()) else f"{low:,} to {high - 1:,} px"


def _confusions(table: ConfusionTable, vocabulary: Vocabulary) -> dict[str, Any]:
    """Return the breakdown of labelled pixels, the matrix of the most confused classes, the largest confusions.

    A row of the matrix holds percentages of the labelled pixels of its class; the last two columns are the other parts
    and nothing.
    """
    matrix = table.confusion()
    counts, is_seen = confusion_breakdown(matrix, vocabulary), np.array(vocabulary.is_seen)
    sides = [counts[chosen].sum(0) for chosen in (is_seen, ~is_seen)]
    shares = [[100 * int(n) / int(side.sum()) if side.sum() else None for n in side] for side in sides]
    confusions = largest_confusions(matrix, LISTED)
    names, chosen = [pair.name for pair in vocabulary.pairs], most_confused(confusions, SHOWN)
    inside = matrix[np.ix_(chosen, chosen)].T
    totals, nothing = matrix[:, chosen].sum(0)[:, None], matrix[-1, chosen][:, None]
    cells = np.concatenate([inside, totals - inside.sum(1, keepdims=True) - nothing, nothing], 1)
    percentages = np.divide(100.0 * cells, totals, out=np.zeros(cells.shape), where=totals > 0)
    return {
        "breakdown": list(zip(OUTCOMES, *shares, strict=True)),
        "names": [names[index] for index in chosen],
        "rows": [(names[index], row) for index, row in zip(chosen, percentages.tolist(), strict=True)],
        "largest": [(c, names[c.labelled], names[c.predicted], _shared(c, vocabulary)) for c in confusions],
    }


def _shared(confusion: Confusion, vocabulary: Vocabulary) -> str:
    """Name what the labelled and the predicted pair have in common."""
    labelled, predicted = vocabulary.pairs[confusion.labelled], vocabulary.pairs[confusion.predicted]
    if labelled.object == predicted.object:
        return "object"
    return "part" if labelled.part == predicted.part else "neither"


def draw_worst_and_best(
    spec: EvalSpec, open_evaluator: Callable[[], Evaluator], table: ConfusionTable, number: int
) -> Showcase:
    """Predict once more and draw the worst and the best images of an evaluation, each at most `number`."""
    store, vocabulary = spec.store, spec.vocabulary
    groups = worst_and_best(table, vocabulary, number)
    if not any(groups):
        return (), ()
    evaluator = open_evaluator()
    scored_pairs = {key: subset.scored_pairs for subset in spec.subsets for key in subset.keys}
    wanted = [score.image_id for group in groups for score in group]
    found = {store[key].image_id: key for key in store.record_keys(wanted)}

    def draw(score: ImageScore) -> PredictionCard:
        key = found[score.image_id]
        (counted,) = evaluator(EvalSubset([key], scored_pairs[key]))
        return draw_prediction(store, key.split, store[key], counted.prediction.numpy(), vocabulary, score)

    worst, best = ([draw(score) for score in group] for group in groups)
    return worst, best
