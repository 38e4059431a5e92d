"""The wording that all messages share: one line, lists cut short, the closest known name."""

import pytest

from partseg_cli.errors import closest_name, did_you_mean, format_list, one_line


@pytest.mark.parametrize(
    ("text", "line"),
    [("a\n  b\tc ", "a b c"), (ValueError("line 3:\n  odd"), "line 3: odd"), (OSError(), ""), (7, "7")],
)
def test_texts_and_errors_become_one_line(text, line):
    assert one_line(text) == line


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, ""), (1, "a"), (5, "a, b, c, d, e"), (6, "a, b, c, d, e and 1 more"), (7, "a, b, c, d, e and 2 more")],
)
def test_a_list_names_five_and_counts_the_others(count, text):
    assert format_list("abcdefg"[:count]) == text


def test_as_many_names_are_shown_as_wanted():
    assert format_list(["ear", "eye", "nose"], 1) == "ear and 2 more"


def test_the_closest_name_is_advised_and_otherwise_what_the_caller_says():
    known = {"train": 0, "test": 0, "val": 0}
    assert (closest_name("trian", known), closest_name("xyz", known)) == ("train", None)
    assert did_you_mean("trian", known) == "did you mean train?"
    assert did_you_mean("xyz", known) == "choose one of them"
    assert did_you_mean("xyz", known, "name a split") == "name a split"
