"""Conversion report: counts of a source compared with those of its manifest, with the cause of each difference."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from partseg_cli.data.converters.conversion import Conversion, Outcome, Skipped
from partseg_cli.data.manifest import Manifest
from partseg_cli.errors import format_list
from partseg_cli.vocabulary import Vocabulary


@dataclass(frozen=True)
class CountCheck:
    """One count.

    Attributes:
        what: Counted quantity.
        expected: Count in a complete copy; None if unknown.
        found: Count in this source.
        why: Cause of a difference, as far as it is known.
    """

    what: str
    expected: int | None
    found: int
    why: str = ""

    @property
    def difference(self) -> int | None:
        """Found minus expected; None if nothing is expected."""
        return None if self.expected is None else self.found - self.expected


@dataclass
class ConversionStats:
    """Counts of a conversion.

    Attributes:
        images: Number of images by split.
        turned: Images rotated by EXIF orientation to match their masks.
        pairs: Indices of pairs with a part.
        skipped: Records left out of the store.
    """

    images: Counter[str]
    turned: int = 0
    pairs: set[int] = field(default_factory=set)
    skipped: list[Skipped] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        """Count one outcome."""
        if isinstance(outcome, Skipped):
            self.skipped.append(outcome)
            return
        self.images[outcome.split] += 1
        self.turned += outcome.record.upright
        self.pairs.update(part.pair for part in outcome.record.parts)


def audit(
    stats: ConversionStats, conversion: Conversion, vocabulary: Vocabulary, manifest: Manifest | None
) -> list[CountCheck]:
    """Compare images, objects and pairs with the manifest, if any.

    Args:
        stats: Counts of the conversion.
        conversion: Conversion that produced the store.
        vocabulary: Vocabulary of the store.
        manifest: Manifest of a published dataset; None for other data.
    """
    found, annotated = conversion.found, conversion.expected_total or (manifest.annotated if manifest else None)
    expected = manifest.expected if manifest else {}
    missing = "" if annotated is None or found >= annotated else f"the source holds {found:,} of {annotated:,}"
    defects = sum(item.is_defect for item in stats.skipped)
    broken = f"{defects:,} broken, see below" if defects else ""
    count = found - stats.images.total() if annotated == sum(expected.values()) else 0
    left_out = f"{count:,} of the annotated images left out, see below" if count else ""
    lines = [CountCheck("annotated images", annotated, found, missing)]
    for split, count in stats.images.items():
        why = "; ".join(text for text in (missing, left_out or broken) if text) or "not known: please report it"
        has_difference = split in expected and count != expected[split]
        lines.append(CountCheck(f"converted, {split}", expected.get(split), count, why if has_difference else ""))
    shown = {vocabulary.pairs[index].object for index in stats.pairs}
    objects = [name for name in vocabulary.objects if name not in shown]
    pairs = [pair.name for index, pair in enumerate(vocabulary.pairs) if index not in stats.pairs]
    return [
        *lines,
        CountCheck("objects with parts", len(vocabulary.objects), len(shown), _absent(objects, missing)),
        CountCheck("pairs", len(vocabulary.pairs), len(stats.pairs), _absent(pairs, missing)),
    ]


def _absent(names: list[str], missing: str) -> str:
    if not names or missing:
        return missing if names else ""
    return f"no part of {format_list(names)}"


def to_json(lines: Iterable[CountCheck]) -> list[dict[str, Any]]:
    """Return the counts as plain records."""
    return [{**vars(line), "difference": line.difference} for line in lines]
