"""What `partseg demo` did, as one HTML page that needs nothing else."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from partseg_cli.evaluation.metrics import EvalResult
from partseg_cli.evaluation.rules import GROUPS
from partseg_cli.reports.html import fill, table
from partseg_cli.reports.results import percent

ABOUT = (
    "Cartoon scenes with exact part masks. The model was trained on the parts of eleven objects; it has never been "
    "shown a part of a bird, a car, a dog, a motorbike or a sheep. Its CLIP and the start of its decoder come with the "
    "package: both know all sixteen objects by name, and parts of the eleven alone."
)


def demo_page(
    *,
    command: str,
    results: Mapping[str, Sequence[EvalResult]],
    words: Sequence[str],
    preview: Path,
    predictions: Path,
) -> str:
    """Give the page.

    Args:
        command: that trained the model.
        results: name of a model -> its results, one a protocol.
        words: that were asked for.
        preview: picture of scenes and masks.
        predictions: picture of what was found.
    """
    first = next(iter(results.values()))[0]
    values = {
        "title": "partseg demo",
        "about": escape(ABOUT),
        "drawn": "Each part in its own colour, with its object; small parts lie on top.",
        "preview": _picture(preview, "scenes and their parts"),
        "scored": escape(f"mIoU in percent on new scenes. The first model was trained just now: {command}."),
        "scores": table(("model", "protocol", *GROUPS), _rows(results)),
        "asked": escape(f"Asked for: {', '.join(words)}. Other parts compete silently and stay uncoloured."),
        "predictions": _picture(predictions, "what was found"),
        "classes": table(
            ("object-specific part", "training", f"IoU, {first.protocol}"),
            ((row["name"], "seen" if row["seen"] else "unseen", percent(row["iou"])) for row in first.per_class),
        ),
    }
    return fill("demo_page", values)


def _rows(results: Mapping[str, Sequence[EvalResult]]) -> list[tuple[str, ...]]:
    return [
        (name, result.protocol, *(percent(result.miou[group]) for group in GROUPS))
        for name, each in results.items()
        for result in each
    ]


def _picture(path: Path, told: str) -> str:
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    return f'<img src="data:image/png;base64,{data}" alt="{escape(told)}">'
