"""HTML page of a dataset: counts, quality checks, samples, sizes of parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from partseg_cli.reports.figures import SampleCard
from partseg_cli.reports.pages import render_page

SIZES = {"coco": "by COCO's bounds", "pixels": "in pixels", "percent_of_photo": "share of the image"}
"""Histograms of part sizes and their titles."""


def dataset_page(document: Mapping[str, Any], samples: Sequence[SampleCard]) -> str:
    """Render the page.

    Args:
        document: Statistics as `partseg inspect --json` prints them.
        samples: Images to show, in this order.
    """
    splits, overlap = document["splits"], document["overlap"]
    counts = [name for name in next(iter(splits.values()), {}) if name not in overlap]
    return render_page(
        "dataset_page",
        title=document["dataset"],
        about=f"licence: {document['licence'] or 'not stated'}. {document['homepage']}".strip(),
        splits=list(splits),
        summary=[(name.replace("_", " "), *(totals[name] for totals in splits.values())) for name in counts],
        issues=document["suspicious"],
        samples=samples,
        entries=[entry for sample in samples for entry in sample.entries],
        sizes=[(title, document["sizes"][name]) for name, title in SIZES.items()],
        overlap=[
            (row["what"], row["pixels"], "" if row.get("percent") is None else f"{row['percent']:.2f}")
            for row in overlap.values()
        ],
        class_tables=[
            ("Objects", *_class_table("object", document["objects"], "object")),
            ("Object-specific parts", *_class_table("object-specific part", document["pairs"], "name")),
        ],
        absent=[
            (split, kind, names[key])
            for split, names in document["absent"].items()
            for kind, key in (("objects", "objects"), ("object-specific parts", "pairs"))
        ],
    )


def _class_table(title: str, rows: Sequence[Mapping[str, Any]], key: str) -> tuple[list[str], list[list[object]]]:
    """Return the header and the rows of the counts of each class by split."""
    splits = list(rows[0]["splits"]) if rows else []
    columns = [(split, field) for split in splits for field in ("images", "instances", "parts", "pixels")]
    header = [title, "training", *(f"{split}: {field}" for split, field in columns)]
    return header, [
        [row[key], "seen" if row["seen"] else "unseen", *(row["splits"][split][field] for split, field in columns)]
        for row in rows
    ]
