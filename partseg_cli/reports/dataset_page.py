"""Figures and samples of a data set as one HTML page that needs nothing else: no network, no other file.

Every name is escaped where it enters the page, and the page's own policy lets no script but its own run.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from partseg_cli.reports.figures import Sample, Word
from partseg_cli.reports.html import fill, options, swatch, table

WIDTH, ROW, LABEL, COUNT = 440, 22, 180, 60
"""Of a histogram, in its own units: its width, the height of a bar, the room for a label and for a number."""


def render(document: dict[str, Any], samples: Sequence[Sample]) -> str:
    """Give the page.

    Args:
        document: the figures, as `partseg inspect --json` prints them.
        samples: in the order in which they are shown.
    """
    words = [word for sample in samples for word in sample.words]
    values = {
        "title": escape(document["dataset"]),
        "about": escape(f"licence: {document['licence'] or 'not stated'}. {document['homepage']}".strip()),
        "summary": _summary(document),
        "suspicious": _suspicious(document["suspicious"]),
        "objects": options(word.object for word in words),
        "parts": options(word.part for word in words if word.part),
        "splits": options(sample.split for sample in samples),
        "count": str(len(samples)),
        "samples": "\n".join(map(_sample, samples)),
        "sizes": _sizes(document["sizes"]),
        "overlap": _overlap(document["overlap"]),
        "object_table": _classes("object", document["objects"], "object"),
        "pair_table": _classes("object-specific part", document["pairs"], "name"),
        "absent": _absent(document),
    }
    return fill("dataset_page", values)


def _summary(document: dict[str, Any]) -> str:
    splits = document["splits"]
    names = [name for name in next(iter(splits.values()), {}) if name not in document["overlap"]]
    return table(
        ("", *splits), ((name.replace("_", " "), *(totals[name] for totals in splits.values())) for name in names)
    )


def _suspicious(findings: Sequence[dict[str, Any]]) -> str:
    if not findings:
        return "<p>Nothing suspicious was found.</p>"
    return "\n".join(map(_finding, findings))


def _finding(finding: dict[str, Any]) -> str:
    cases = "".join(
        f"<li>{escape(' '.join((case['split'], case['image_id'])).strip())}: {escape(case['text'])}</li>"
        for case in finding["examples"]
    )
    more = finding["count"] - len(finding["examples"])
    rest = f'<p class="dim">... and {more:,} more</p>' if more else ""
    title = f"{finding['count']:,} x {escape(finding['what'])}"
    return f'<details class="odd"><summary>{title}</summary><ul>{cases}</ul>{rest}</details>'


def _sample(sample: Sample) -> str:
    width, height = sample.shown
    size = f'width="{width}" height="{height}" loading="lazy"'
    names = ", ".join(word.name for word in sample.words)
    problem = f'<p class="problem">{escape(sample.problem)}</p>' if sample.problem else ""
    return (
        f'<article class="sample" data-split="{escape(sample.split)}">'
        f'<h3>{escape(sample.image_id)} <span class="dim">{escape(sample.split)}, '
        f"{sample.size[0]} x {sample.size[1]} px</span></h3>"
        f'<button type="button" aria-pressed="false" aria-label="photo alone">'
        f'<img src="{sample.photo}" {size} alt="photo {escape(sample.image_id)}">'
        f'<img class="parts" src="{sample.parts}" {size} alt="its parts: {escape(names)}"></button>{problem}'
        f'<ul class="words">{"".join(map(_word, sample.words))}</ul></article>'
    )


def _word(word: Word) -> str:
    if word.colour is not None:
        mark = swatch(word.colour)
        text = escape(word.name)
    else:
        mark = ""
        text = escape(f"{word.name} ({'covered' if word.part else 'no part'})")
    return (
        f'<li data-object="{escape(word.object)}" data-part="{escape(word.part)}" '
        f'data-seen="{"seen" if word.is_seen else "unseen"}">{mark}{text}</li>'
    )


def _sizes(sizes: dict[str, Any]) -> str:
    titles = {"coco": "by COCO's bounds", "pixels": "in pixels", "percent_of_photo": "share of the photo"}
    return "\n".join(_histogram(title, sizes[name]) for name, title in titles.items())


def _histogram(title: str, bins: Sequence[dict[str, Any]]) -> str:
    """Draw a bar for each bin."""
    most = max((row["parts"] for row in bins), default=0) or 1
    room = WIDTH - LABEL - COUNT
    bars = "".join(
        f'<text x="{LABEL - 8}" y="{ROW * line + 15}" text-anchor="end">{escape(row["label"])}</text>'
        f'<rect x="{LABEL}" y="{ROW * line + 3}" width="{room * row["parts"] / most:.1f}" height="{ROW - 6}"></rect>'
        f'<text x="{LABEL + room * row["parts"] / most + 6:.1f}" y="{ROW * line + 15}">{row["parts"]:,}</text>'
        for line, row in enumerate(bins)
    )
    told = ", ".join(f"{row['label']}: {row['parts']:,}" for row in bins) or "no part"
    box = f'viewBox="0 0 {WIDTH} {max(1, len(bins)) * ROW}"'
    return (
        f"<figure><figcaption>{escape(title)}, number of parts</figcaption>"
        f'<svg {box} role="img" aria-label="{escape(told)}">{bars}</svg></figure>'
    )


def _overlap(overlap: dict[str, Any]) -> str:
    return table(("", "pixels", "percent"), ((row["what"], row["pixels"], _percent(row)) for row in overlap.values()))


def _percent(row: dict[str, Any]) -> str:
    value = row.get("percent")
    return "" if value is None else f"{value:.2f}"


def _classes(title: str, rows: Sequence[dict[str, Any]], name: str) -> str:
    """Give the counts of each class and split."""
    splits = list(rows[0]["splits"]) if rows else []
    fields = ("images", "instances", "parts", "pixels")
    return table(
        (title, "training", *(f"{split}: {field}" for split in splits for field in fields)),
        (
            (
                row[name],
                "seen" if row["seen"] else "unseen",
                *(row["splits"][split][field] for split in splits for field in fields),
            )
            for row in rows
        ),
    )


def _absent(document: dict[str, Any]) -> str:
    items = []
    for split, absent in document["absent"].items():
        for what, names in (("objects", absent["objects"]), ("object-specific parts", absent["pairs"])):
            text = escape(", ".join(names)) or "none"
            items.append(f"<details><summary>{escape(split)}: {len(names):,} {what}</summary><p>{text}</p></details>")
    return "\n".join(items)
