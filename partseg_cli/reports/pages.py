"""The readable reports of an evaluation: Markdown, and a page with the worst and the best photos."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from partseg_cli.evaluation.confusion_table import ConfusionTable
from partseg_cli.evaluation.evaluator import Job
from partseg_cli.evaluation.metrics import EvalResult
from partseg_cli.io.atomic import write_text
from partseg_cli.reports.error_analysis import ImageScore, worst_and_best
from partseg_cli.reports.evaluation_page import page
from partseg_cli.reports.markdown import markdown
from partseg_cli.reports.prediction_cards import PredictionCard, compare
from partseg_cli.reports.results import PAGE, TEXT, Bounds, result_json
from partseg_cli.vocabulary import Vocabulary

Shown = tuple[Sequence[PredictionCard], Sequence[PredictionCard]]
"""The worst and the best photos."""


def write_pages(
    folder: Path,
    result: EvalResult,
    about: dict[str, Any],
    bounds: Bounds | None,
    table: ConfusionTable,
    vocabulary: Vocabulary,
    shown: Shown = ((), ()),
) -> None:
    """Write `results.md` and `results.html` into the folder."""
    document = result_json(result, about, bounds)
    write_text(folder / TEXT, markdown(result, about, bounds))
    write_text(folder / PAGE, page(document, vocabulary, table, *shown))


def showcase(job: Job, table: ConfusionTable, device: torch.device, number: int) -> Shown:
    """Draw the worst and the best photos of a trial, each `number` at most; they are predicted once more."""
    trial, vocabulary = job.trial, job.trial.vocabulary
    groups = worst_and_best(table, vocabulary, number)
    if not any(groups):
        return (), ()
    count = job.predictor(device)
    scored = {key: flags for keys, flags in trial.parts for key in keys}
    wanted = [score.image_id for group in groups for score in group]
    found = {trial.store[key].image_id: key for key in trial.store.record_keys(wanted)}

    def draw(score: ImageScore) -> PredictionCard:
        key = found[score.image_id]
        (counted,) = count([key], scored[key])
        return compare(trial.store, key.split, trial.store[key], counted.prediction.numpy(), vocabulary, score)

    worst, best = ([draw(score) for score in group] for group in groups)
    return worst, best
