"""The counts and the rule `partclipseg` against every figure that the published evaluator printed."""

import json

import numpy as np
import pytest
import torch

from partseg_cli.evaluation.counts import FIELDS, count_pixels
from partseg_cli.evaluation.partclipseg_metrics import published_figures

MAPS = {"oracle-obj": "oracle", "pred-all": "predall"}


@pytest.fixture(scope="module")
def expected(reference) -> dict:
    return json.loads((reference / "evaluator_expected.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def label_maps(reference) -> dict[str, np.ndarray]:
    with np.load(reference / "evaluator_label_maps.npz") as arrays:
        return dict(arrays)


def labels(values: np.ndarray, classes: int) -> torch.Tensor:
    """Make 255, no part, and the number of classes, the background, none."""
    return torch.from_numpy(np.where(values >= classes, -1, values.astype(np.int64)))


def summed(label_maps: dict[str, np.ndarray], protocol: str, classes: int) -> np.ndarray:
    total = np.zeros((classes + 1, len(FIELDS)), np.int64)
    for number in range(sum(name.startswith("gt_") for name in label_maps)):
        prediction, target = (labels(label_maps[f"{kind}_{number}"], classes) for kind in (MAPS[protocol], "gt"))
        found = count_pixels(prediction, target, classes)
        total[found.classes] += found.values
    return total


@pytest.mark.parametrize("protocol", MAPS)
def test_all_published_figures_are_reproduced(expected, label_maps, protocol):
    classes = expected["num_classes"]
    is_seen = [index in expected["base_class_ids"] for index in range(classes)]
    counts = summed(label_maps, protocol, classes)
    figures = published_figures(counts, protocol, is_seen, expected["class_names"])
    wanted = expected["expected"][protocol]
    assert figures.keys() == wanted.keys()
    assert len(wanted) == 480
    for name, value in wanted.items():
        assert figures[name] == (None if value is None else pytest.approx(value, abs=1e-9)), name
