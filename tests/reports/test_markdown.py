"""Markdown of a result: the figures of the document, two decimals, and names that can do no harm."""

import re

import pytest
from small_result import BOUNDS, small_result

from partseg_cli.io.versions import package_versions
from partseg_cli.reports.markdown import markdown


def tables(text: str) -> list[list[list[str]]]:
    """Read all tables as rows of cells, without the line of dashes."""
    found = re.findall(r"(?:^\|.*\|\n?)+", text, re.MULTILINE)
    rows = [[[cell.strip() for cell in line[1:-1].split("|")] for line in table.splitlines()] for table in found]
    for table in rows:
        assert table.pop(1) == ["---", *["---:"] * (len(table[0]) - 1)]
        assert {len(row) for row in table} == {len(table[0])}
    return rows


def test_means_stand_with_two_decimals_and_a_dash_where_there_is_none():
    small = small_result()
    means, _, sizes = tables(markdown(small.result, small.about, None))
    assert means == [
        ["%", "seen", "unseen", "harmonic"],
        ["mIoU", "63.89", "40.00", "49.20"],
        ["Boundary IoU", "63.89", "40.00", "49.20"],
        ["recall", "68.75", "50.00", "57.89"],
        ["precision", "93.75", "66.67", "77.92"],
        ["pixel accuracy", "75.00", "50.00", "60.00"],
    ]
    assert sizes[1:] == [["small", "63.89", "40.00", "49.20"], ["medium", "-", "-", "-"], ["large", "-", "-", "-"]]


def test_intervals_stand_in_brackets_where_there_are_some():
    small = small_result()
    text = markdown(small.result, small.about, BOUNDS)
    means = tables(text)[0]
    assert means[1] == ["mIoU", "63.89 [40.12, 60.50]", "40.00 [1.00, 2.00]", "49.20"]
    assert means[2] == ["Boundary IoU", "63.89", "40.00", "49.20"]
    assert "95 % bootstrap intervals over images" in text
    assert "bootstrap" not in markdown(small.result, small.about, None)


def test_rules_stand_side_by_side_with_what_they_count_and_the_own_one_is_bold():
    small = small_result()
    rules = tables(markdown(small.result, small.about, None))[1]
    assert rules[0][1:4] == ["mIoU, seen", "mIoU, unseen", "mIoU, harmonic"]
    assert rules[0][-3:] == ["classes", "at 0", "pixels"]
    assert [row[0] for row in rules[1:]] == ["**ref-v2**", "full", "partclipseg", "ovparts", "partcatseg"]
    assert rules[4] == ["ovparts", "48.15", "50.00", "49.06", "63.89", "40.00", "49.20", "4", "1", "14"]


def test_the_round_trip_has_no_other_rules_beside_it():
    small = small_result(rule="ref-bug")
    text = markdown(small.result, small.about, None)
    assert len(tables(text)) == 2
    assert "rule ref-bug (partclipseg on targets that were scaled to another size and back): 3 classes" in text


def test_the_footnote_tells_what_the_figures_were_taken_from():
    small = small_result()
    text = markdown(small.result, {**small.about, "data_split": None, "boundary_ratio": 0.02}, None)
    assert text.startswith("### `set`, val, pred-all\n\n| %")
    assert text.endswith("</sub>  \n")
    notes = re.findall("<sub>(.*)</sub>", text)
    assert notes == [
        "Protocol pred-all, rule ref-v2 (pixels with a labelled part; classes with labelled pixels): 3 classes "
        "counted, 0 of them at 0; 16 labelled pixels in 2 samples (one for each photo, object by object, 2 "
        "images, boundary band 0.02 of the diagonal).",
        "Small parts have less than 1,024 pixels in their image, large ones 9,216 or more.",
        "split `val`; dataset `set`; checkpoint `set`; step `7`.",
        ", ".join(f"{name} {number}" for name, number in package_versions().items()) + ".",
    ]


@pytest.mark.parametrize("name", ["a|b\n| c |", "</sub><script>", "`tick` ``", "*x* [y](z)"])
def test_no_name_breaks_out_of_its_place(name):
    small = small_result(about=name)
    text = markdown(small.result, small.about, None)
    shown = " ".join(name.split())
    for line in (text.splitlines()[0], next(line for line in text.splitlines() if "dataset" in line)):
        fence, inside = next(
            (fence, inside)
            for fence, inside in re.findall(r"(?<!`)(`+)(?!`)(.*?)(?<!`)\1(?!`)", line)
            if shown in inside
        )
        assert inside.strip() == shown or "`" not in fence
    assert [len(table) for table in tables(text)] == [6, 6, 4]
