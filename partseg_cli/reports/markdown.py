"""Results as Markdown, for a paper or a pull request."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from partseg_cli.errors import one_line
from partseg_cli.evaluation.metrics import ROUND_TRIP, SIZES, EvalResult
from partseg_cli.evaluation.rules import GROUPS, RULES
from partseg_cli.io.versions import package_versions
from partseg_cli.reports.results import NAMES, ConfidenceIntervals, percent, with_interval

ROUND_TRIP_DESCRIPTION = "partclipseg on targets that were scaled to another size and back"
IN_A_SENTENCE = ("images", "samples", "boundary_ratio")
"""Keys that the footnote words and does not list."""
SAMPLES = {"object": "photo, object by object", "image": "photo", "instance": "instance of an object"}
"""Unit of which there is one sample, by kind of sample."""


def markdown(result: EvalResult, about: Mapping[str, Any], intervals: ConfidenceIntervals | None) -> str:
    """Return tables of means, counting rules and sizes, in percent with two decimals, and a footnote on their source.

    Args:
        result: Scores; "-" stands for a missing one.
        about: Description of the evaluation; the footnote lists its plain values other than None.
        intervals: 95 % intervals of the means.
    """
    metrics = ("mIoU", "boundary_iou")
    means = _table(
        ("%", *GROUPS),
        (
            (name, *(with_interval(result, intervals, metric, group) for group in GROUPS))
            for metric, name in NAMES.items()
        ),
    )
    rules = _table(
        ("rule", *(f"{NAMES[metric]}, {group}" for metric in metrics for group in GROUPS), "classes", "at 0", "pixels"),
        (
            (
                f"**{name}**" if name == result.rule else name,
                *(percent(rule.means[metric][group]) for metric in metrics for group in GROUPS),
                str(rule.classes_counted),
                str(rule.classes_at_zero),
                f"{rule.pixels:,}",
            )
            for name, rule in result.rules.items()
        ),
    )
    sizes = _table(
        ("mIoU of parts by size", *GROUPS),
        ((name, *(percent(means[group]) for group in GROUPS)) for name, means in result.sizes.items()),
    )
    title = f"### {_code(about.get('dataset'))}, {_escape(about.get('split'))}, {result.protocol}"
    blocks = [title, means, *([rules] if result.rules else []), sizes, _footnote(result, about, intervals)]
    return "\n\n".join(blocks) + "\n"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table whose first column is text and the others are numbers."""
    lines = [header, ("---", *["---:"] * (len(header) - 1)), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _footnote(result: EvalResult, about: Mapping[str, Any], intervals: ConfidenceIntervals | None) -> str:
    medium, large = (SIZES[name][0] for name in ("medium", "large"))
    description = ROUND_TRIP_DESCRIPTION if result.rule == ROUND_TRIP else RULES[result.rule].description
    plain = {
        key: value for key, value in about.items() if key not in IN_A_SENTENCE and isinstance(value, str | int | float)
    }
    lines = [
        f"Protocol {result.protocol}, rule {result.rule} ({description}): {result.classes_counted:,} classes counted, "
        f"{result.classes_at_zero:,} of them at 0; {result.pixels:,} labelled pixels in {result.samples:,} samples"
        f"{_samples(about)}.",
        f"Small parts have less than {medium:,} pixels in their image, large ones {large:,} or more.",
        *(["[low, high]: 95 % bootstrap intervals over images."] if intervals else []),
        "; ".join(f"{_escape(key)} {_code(value)}" for key, value in plain.items()) + ".",
        ", ".join(f"{name} {number}" for name, number in package_versions().items()) + ".",
    ]
    return "\n".join(f"<sub>{line}</sub>  " for line in lines)


def _samples(about: Mapping[str, Any]) -> str:
    """Describe the samples, as far as `about` does."""
    words = [f"one for each {SAMPLES[about['samples']]}"] if about.get("samples") else []
    words += [f"{about['images']:,} images"] if about.get("images") is not None else []
    words += [f"boundary band {about['boundary_ratio']:g} of the diagonal"] if about.get("boundary_ratio") else []
    return f" ({', '.join(words)})" if words else ""


def _escape(value: object) -> str:
    r"""Return a text in one line, with the characters of Markdown escaped.

    >>> _escape("data_split"), _escape("<b>*")
    ('data split', '\\<b\\>\\*')
    """
    return re.sub(r"([\\`*\[\]<>#|~&])", r"\\\1", one_line(str(value).replace("_", " ")))


def _code(value: object) -> str:
    """Return a name as code, between more backticks than it has in a row.

    >>> _code("a_b"), _code("x`y")
    ('`a_b`', '`` x`y ``')
    """
    words = one_line(value)
    fence = "`" * (1 + max(map(len, re.findall("`+", words)), default=0))
    return f"{fence}{words}{fence}" if fence == "`" else f"{fence} {words} {fence}"
