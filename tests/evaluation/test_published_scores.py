"""Published rows: that they agree with themselves, are found by name, and lie beside figures of their own rule."""

import re

import pytest

from partseg_cli.data.manifest import manifest_names
from partseg_cli.errors import UsageError
from partseg_cli.evaluation import published_scores as against
from partseg_cli.evaluation.metrics import EvalResult, RuleResult
from partseg_cli.evaluation.published_scores import (
    CAVEATS,
    UNREAD,
    PublishedRow,
    compare_with_published,
    published_rows,
    systems,
)
from partseg_cli.evaluation.rules import GROUPS, METRICS, RULES

PROTOCOLS = ("pred-all", "oracle-obj", "pred-obj")
DATASETS = ("pascal-part-116", "ade20k-part-234", "partimagenet")


def every() -> list[PublishedRow]:
    return [row for dataset in DATASETS for protocol in PROTOCOLS for row in published_rows(dataset, protocol)]


def means(seen: float, unseen: float, harmonic: float) -> dict[str, dict[str, float | None]]:
    """The same for all metrics."""
    return {metric: dict(zip(GROUPS, (seen, unseen, harmonic), strict=True)) for metric in METRICS}


def result(rule: str = "ref-v2") -> EvalResult:
    by_rule = {
        name: RuleResult(means(10 + place, 20 + place, 30 + place), 5, 1, 90) for place, name in enumerate(RULES)
    }
    return EvalResult("pred-all", rule, means(1, 2, 3), 5, 1, 900, 4, (), {} if rule == "ref-bug" else by_rule)


def test_every_row_of_the_file_is_found_by_its_data_set_and_protocol():
    assert len(every()) == len(against._all_rows()) == 62
    assert set(DATASETS) <= set(manifest_names())


def test_every_row_names_what_exists():
    for row in every():
        assert row.metric in METRICS
        assert row.rule in {*RULES, ""}
        assert row.source
        assert row.caveats
        assert row.trained_on in {"", *DATASETS} - {row.dataset}
        assert ("not known" in " ".join(row.caveats)) == (row.rule == "")


def test_every_caveat_is_used():
    assert {sentence for row in every() for sentence in row.caveats} == set(CAVEATS.values())


def test_no_row_stands_twice():
    keys = [(row.title, row.dataset, row.protocol, row.metric, row.trained_on) for row in every()]
    assert len(set(keys)) == len(keys)


def test_harmonic_means_fit_their_sides_but_for_rounding_and_averaging_of_runs():
    fits = 0
    for row in every():
        seen, unseen, harmonic = (row.means[group] for group in GROUPS)
        if None not in (seen, unseen, harmonic):
            assert harmonic == pytest.approx(2 * seen * unseen / (seen + unseen), abs=0.011), row
            fits += 1
        assert (row.overall is None) == (row.trained_on == "")
    assert fits == 52


def test_the_main_figures_of_the_paper_are_there():
    (row,) = (
        row
        for row in published_rows("pascal-part-116", "oracle-obj", "partclipseg")
        if row.metric == "mIoU" and not row.trained_on
    )
    assert row.means == {"seen": 50.02, "unseen": 31.67, "harmonic": 38.79}
    assert (row.rule, row.source) == ("partclipseg", "arXiv 2406.11384v2 (NeurIPS 2024), Table 1")


def test_rows_of_a_data_set_or_protocol_that_nobody_published_are_none():
    assert published_rows("cartoon-part", "pred-all") == ()
    assert published_rows("partimagenet", "pred-all", "vlpart") == ()


def test_a_system_gives_its_own_rows_alone():
    assert {row.system for row in published_rows("pascal-part-116", "pred-all", "zsseg")} == {"zsseg"}
    assert {row.system for row in published_rows("pascal-part-116", "pred-all")} == set(systems())


KNOWN = "--against must be one of catseg, clipseg, partclipseg, vlpart, zsseg, got "


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("partclip", f"{KNOWN}'partclip'; did you mean partclipseg?"),
        ("", f"{KNOWN}''; choose one of them"),
        ("partcatseg", f"{KNOWN}'partcatseg': {UNREAD['partcatseg']}"),
    ],
)
def test_an_unknown_system_is_refused_by_name(name, message):
    with pytest.raises(UsageError, match=f"^{re.escape(message)}$"):
        published_rows("pascal-part-116", "pred-all", name)


def test_own_figures_are_counted_by_the_rule_of_each_row():
    (record,) = compare_with_published(published_rows("partimagenet", "pred-all", "partclipseg"), result())
    assert record == {
        "system": "partclipseg",
        "title": "PartCLIPSeg",
        "metric": "mIoU",
        "trained_on": "partimagenet",
        "published": {"seen": 38.82, "unseen": 19.47, "harmonic": 25.94},
        "overall": None,
        "ours": {"seen": 12, "unseen": 22, "harmonic": 32},
        "ours_rule": "partclipseg",
        "difference": pytest.approx({"seen": -26.82, "unseen": 2.53, "harmonic": 6.06}),
        "rule": "partclipseg",
        "source": "arXiv 2406.11384v2 (NeurIPS 2024), Table 3",
        "caveats": [CAVEATS[key] for key in ("released", "test-selected", "second-version")],
    }


def test_a_rule_that_is_not_known_has_nothing_beside_it():
    (record,) = compare_with_published(published_rows("pascal-part-116", "pred-all", "vlpart"), result())
    assert (record["rule"], record["ours"], record["ours_rule"], record["difference"]) == (None, None, None, None)


def test_scores_by_ref_bug_lie_beside_rows_of_partclipseg_alone():
    records = compare_with_published(published_rows("pascal-part-116", "oracle-obj", "clipseg"), result("ref-bug"))
    assert {(record["rule"], record["ours_rule"]) for record in records} == {
        ("partclipseg", "ref-bug"),
        ("ovparts", None),
    }
    assert [record["ours"] for record in records if record["ours"]] == [means(1, 2, 3)["mIoU"]] * 5


def test_a_figure_that_is_missing_makes_no_difference():
    records = compare_with_published(published_rows("pascal-part-116", "oracle-obj", "partclipseg"), result())
    recall = next(record for record in records if record["metric"] == "recall")
    assert recall["published"]["seen"] is recall["difference"]["seen"] is None
    assert recall["difference"]["unseen"] == pytest.approx(22 - 47.93)
