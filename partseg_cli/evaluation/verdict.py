"""What is said of a result: published scores beside it, and the bounds that it must reach."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from partseg_cli.errors import BoundError
from partseg_cli.evaluation.metrics import EvalResult
from partseg_cli.evaluation.published_scores import Published, rows, table_rows
from partseg_cli.evaluation.spec import EvalSpec
from partseg_cli.evaluation.thresholds import Bounds, below, parse_bounds


@dataclass(frozen=True)
class Judge:
    """Made before the work, so that a mistake in its words costs nothing.

    Attributes:
        published: rows of published tables; None: not asked for.
        bounds: that means must reach.
    """

    published: tuple[Published, ...] | None
    bounds: Bounds

    def beside(self, result: EvalResult) -> list[dict[str, Any]] | None:
        """Lay the published rows and the result beside each other."""
        return None if self.published is None else table_rows(self.published, result)

    def check(self, result: EvalResult) -> None:
        """Compare the means with the bounds.

        Raises:
            BoundError: one is below.
        """
        if lines := below(result, self.bounds):
            raise BoundError("; ".join(lines))


def appoint(trial: EvalSpec, against: str | None, fail_under: str | None) -> Judge:
    """Read what the user wants to be told.

    Args:
        trial: what is tested.
        against: the name of a published system.
        fail_under: bounds such as "seen=40,recall.harmonic=30".

    Raises:
        UsageError: one of them is not known, or cannot be read.
    """
    published = rows(trial.store.info.name, trial.protocol, against) if against else None
    return Judge(published, parse_bounds(fail_under) if fail_under else {})
