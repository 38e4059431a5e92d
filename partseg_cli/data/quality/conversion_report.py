"""What a source gave, against what its manifest expects: expected, found, difference, why."""

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
        what: is counted.
        expected: in a whole copy; None where no number is known.
        found: in this source.
        why: they differ, as far as can be told.
    """

    what: str
    expected: int | None
    found: int
    why: str = ""

    @property
    def difference(self) -> int | None:
        """What was found more than expected."""
        return None if self.expected is None else self.found - self.expected


@dataclass
class ConversionStats:
    """Counts what goes into a store.

    Attributes:
        images: of each split.
        turned: images read upright, as their EXIF data ask, because only so their masks fit.
        pairs: indices of pairs with a part.
        skipped: what does not go in.
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
    tally: ConversionStats, conversion: Conversion, vocabulary: Vocabulary, manifest: Manifest | None
) -> list[CountCheck]:
    """Compare images, objects and pairs with the manifest, if there is one.

    Args:
        tally: what went into the store.
        conversion: that it came from.
        vocabulary: of the store.
        manifest: of a published data set.
    """
    found, annotated = conversion.found, conversion.expected_total or (manifest.annotated if manifest else None)
    expected = manifest.expected if manifest else {}
    missing = "" if annotated is None or found >= annotated else f"the source holds {found:,} of {annotated:,}"
    defects = sum(item.is_defect for item in tally.skipped)
    broken = f"{defects:,} broken, see below" if defects else ""
    count = found - tally.images.total() if annotated == sum(expected.values()) else 0
    left_out = f"{count:,} of the annotated images left out, see below" if count else ""
    lines = [CountCheck("annotated images", annotated, found, missing)]
    for split, count in tally.images.items():
        line = CountCheck(f"converted, {split}", expected.get(split), count)
        why = "; ".join(text for text in (missing, left_out or broken) if text) or "not known: please report it"
        lines.append(CountCheck(line.what, line.expected, count, why if line.difference else ""))
    return [*lines, *_classes(tally, vocabulary, missing)]


def _classes(tally: ConversionStats, vocabulary: Vocabulary, missing: str) -> list[CountCheck]:
    """Count the objects with parts and the pairs that some image shows."""
    shown = {vocabulary.pairs[index].object for index in tally.pairs}
    objects = [name for name in vocabulary.objects if name not in shown]
    pairs = [pair.name for index, pair in enumerate(vocabulary.pairs) if index not in tally.pairs]
    return [
        CountCheck("objects with parts", len(vocabulary.objects), len(shown), _absent(objects, missing)),
        CountCheck("pairs", len(vocabulary.pairs), len(tally.pairs), _absent(pairs, missing)),
    ]


def _absent(names: list[str], missing: str) -> str:
    if not names or missing:
        return missing if names else ""
    return f"no part of {format_list(names)}"


def to_json(lines: Iterable[CountCheck]) -> list[dict[str, Any]]:
    """Give plain records."""
    return [{**vars(line), "difference": line.difference} for line in lines]
