"""Files in which a training run logs its steps and its validation scores: one JSON object a line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

METRICS_FILE, SCORES_FILE = "metrics.jsonl", "val.jsonl"
"""Names in the run directory: one line per step, one line per validation."""


def read_log(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the complete lines that have a step; a missing file has none.

    A line that was cut off, such as by a kill, is skipped.
    """
    if not path.is_file():
        return
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                value = json.loads(line)
            except ValueError:
                continue
            if isinstance(value, dict) and type(value.get("step")) is int:
                yield value
