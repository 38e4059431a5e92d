"""A small result, counted by hand-made maps: two photos, four pairs (one never labelled), whatever their names."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from partseg_cli.evaluation.counts import ConfusionTable, count_pixels
from partseg_cli.evaluation.metrics import EvalResult, compute_metrics
from partseg_cli.reports.results import result_json
from partseg_cli.vocabulary import Pair, Vocabulary

BOUNDS = {
    "mIoU": {"seen": (40.125, 60.5), "unseen": (1.0, 2.0), "harmonic": None},
    "recall": {"seen": (0.0, 100.0), "unseen": (1.0, 2.0), "harmonic": (1.0, 2.0)},
}
LABELLED = ([[0, 0, 1, 1, -1], [0, 0, 1, 1, -1]], [[2, 2, 2, 2], [-1, -1, 0, 0], [-1, -1, 0, 0]])
PREDICTED = ([[0, 0, 0, 1, 3], [0, 0, -1, 1, -1]], [[2, 2, -1, 3], [-1, -1, 2, 0], [0, -1, 0, 0]])


class Small(NamedTuple):
    vocabulary: Vocabulary
    table: ConfusionTable
    result: EvalResult
    about: dict[str, Any]

    def document(self, bounds: dict[str, Any] | None = None) -> dict[str, Any]:
        return result_json(self.result, self.about, bounds)


def small_result(object_name: str = "cat", about: str = "set", rule: str = "ref-v2") -> Small:
    """Give the result; cat's tail is never labelled, and the dog is unseen."""
    pairs = (Pair(object_name, "ear"), Pair(object_name, "head"), Pair("dog", "ear", False), Pair(object_name, "tail"))
    vocabulary, table = Vocabulary(pairs), ConfusionTable(4)
    for name, labelled, predicted in zip(("one", "two"), LABELLED, PREDICTED, strict=True):
        table.add(name, count_pixels(torch.tensor(predicted), torch.tensor(labelled), 4))
    words = {"split": "val", "dataset": about, "checkpoint": about, "samples": "object", "images": 2, "step": 7}
    return Small(vocabulary, table, compute_metrics(table, vocabulary, "pred-all", rule), words)
