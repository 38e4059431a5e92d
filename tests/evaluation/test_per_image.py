"""The score of each image against scoring it as if it were the whole data set."""

import numpy as np
import pytest
from test_bootstrap import CLASSES, IS_SEEN, random_table

from partseg_cli.evaluation import per_image
from partseg_cli.evaluation.confusion_table import ConfusionTable
from partseg_cli.evaluation.counts import FIELDS, ConfusionCounts
from partseg_cli.evaluation.per_image import image_means
from partseg_cli.evaluation.rules import RULES, score


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("chunk", [64, 5])
def test_an_image_scores_as_if_it_were_the_whole_data_set(rule, chunk, monkeypatch):
    monkeypatch.setattr(per_image, "CHUNK", chunk)
    table = random_table(1)
    names, means = image_means(table, rule, "oracle-obj", IS_SEEN)
    assert names == sorted(set(table.images))
    for name, mean in zip(names, means, strict=True):
        alone = ConfusionTable(CLASSES)
        for image, counts in zip(table.images, table.samples, strict=True):
            if image == name:
                alone.add(image, counts)
        seen = [True] * CLASSES
        assert mean == pytest.approx(score(alone.totals(), rule, "oracle-obj", seen).means["mIoU"]["seen"])


def test_an_image_in_which_no_class_counts_has_no_score():
    table = ConfusionTable(1)
    nothing = np.zeros(0, np.int64)
    table.add("a", ConfusionCounts(np.array([1]), np.ones((1, len(FIELDS)), np.int64), nothing, nothing))
    names, means = image_means(table, "ref-v2", "pred-all", [True])
    assert names == ["a"]
    assert np.isnan(means).all()


def test_no_image_has_no_score():
    names, means = image_means(ConfusionTable(3), "ref-v2", "pred-all", [True] * 3)
    assert (names, means.tolist()) == ([], [])
