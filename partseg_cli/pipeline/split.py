"""`partseg split`: seen and unseen pairs, train and val images, and a check that nothing leaks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from partseg_cli.data.loading.dataset import ImageTransform, PartDataset
from partseg_cli.data.manifest import load_manifest, manifest_names
from partseg_cli.data.resolver import find_store
from partseg_cli.data.splits.class_matching import ClassMapping, match_classes, unmatched_objects
from partseg_cli.data.splits.leakage import Audit, Leakage, audit, check_leakage
from partseg_cli.data.splits.split import Split, write_split
from partseg_cli.data.splits.split_builder import build_split, unseen_across, unseen_by_name
from partseg_cli.data.store import Store
from partseg_cli.errors import DataError, PartsegError, UsageError
from partseg_cli.io.atomic import write_json
from partseg_cli.runtime.pool import Track, silent
from partseg_cli.vocabulary import Vocabulary

NATIVE_SIZE = ImageTransform(
    image_size=32,
    shortest_edge=None,
    longest_edge=1,
    flip=0.0,
    train_channel_order="rgb",
    unlabelled_objects="background",
)
"""Transform for the check of leakage, which reads labels at native size: sizes and flips do not matter."""


@dataclass(frozen=True)
class CrossDatasetMatch:
    """Pairs that a target shares with the dataset that a model was trained on.

    Attributes:
        source: Name of that dataset.
        mappings: One for each pair of the target.
        unmatched: Objects of the target without a counterpart.
    """

    source: str
    mappings: tuple[ClassMapping, ...]
    unmatched: tuple[str, ...]

    @property
    def unseen_in_source(self) -> tuple[str, ...]:
        """Matched pairs whose counterpart is unseen in the source's own split."""
        return tuple(m.target.name for m in self.mappings if m.source and not m.source.is_seen)


@dataclass(frozen=True)
class SplitResult:
    """Split that was written.

    Attributes:
        path: Path of the split file.
        split: The split.
        vocabulary: Pairs of the store with the split's seen flags.
        audit: Results of the checks.
        matched: Mapping to the dataset of `trained_on`; None without it.
    """

    path: Path
    split: Split
    vocabulary: Vocabulary
    audit: Audit
    matched: CrossDatasetMatch | None = None

    def to_json(self) -> dict[str, Any]:
        """Return all results, for a report."""
        value: dict[str, Any] = {
            "dataset": self.split.dataset,
            "rule": self.split.rule,
            "seed": self.split.seed,
            "seen": [pair.name for pair in self.vocabulary.pairs if pair.is_seen],
            "unseen": [pair.name for pair in self.vocabulary.pairs if not pair.is_seen],
            "images": {key: len(getattr(self.split, key)) for key in ("train", "val", "val_unseen")},
            "audit": asdict(self.audit),
        }
        if self.matched is not None:
            value["trained_on"] = self.matched.source
            value["mapping"] = [
                {"target": m.target.name, "source": m.source and m.source.name, "how": m.relation}
                for m in self.matched.mappings
            ]
        return value


def split(
    dataset: str | Path,
    *,
    out: Path | None = None,
    report: Path | None = None,
    unseen: Sequence[str] | None = None,
    unseen_parts: Sequence[str] = (),
    trained_on: str | None = None,
    val_fraction: float | None = None,
    shots: int | None = None,
    test: str | None = None,
    seed: int = 0,
    track: Track = silent,
) -> SplitResult:
    """Make a split of a store and check it on what the loader would feed.

    Args:
        dataset: Folder of the store, or its name below $PARTSEG_DATA.
        out: File to write; default split.yaml in the store's folder.
        report: JSON file for the results of all checks; None: none.
        unseen: Unseen objects; None = the published ones.
        unseen_parts: Parts that are unseen whatever their object.
        trained_on: Name of a manifest, or a store: its pairs are seen, the others not.
        val_fraction: See `build_split`.
        shots: See `build_split`.
        test: See `build_split`.
        seed: See `build_split`.
        track: Progress display.

    Raises:
        PartsegError: A label of an unseen pair would be fed.
    """
    store, matched = find_store(str(dataset)), None
    if trained_on is None:
        choice = unseen_by_name(store.info.vocabulary, unseen, unseen_parts)
    else:
        option = "--unseen" if unseen is not None else "--unseen-parts" if unseen_parts else None
        if option:
            raise UsageError(f"--trained-on decides what is unseen, got {option} as well; leave one out")
        matched = _match_datasets(store, trained_on)
        choice = unseen_across(matched.mappings, matched.source)
    made = build_split(store, choice, val_fraction=val_fraction, shots=shots, seed=seed, test=test)
    vocabulary, leakage = made.vocabulary(store), Leakage()
    if made.train or matched is None:  # a mapping may serve for testing alone
        train = PartDataset(store, made.images("train"), vocabulary, NATIVE_SIZE, made.seed)
        leakage = check_leakage(train, vocabulary, track)
    if leakage.leaked:
        got = f"{leakage.leaked} pixels"
        raise PartsegError(f"{store.folder}: training must be fed no label of an unseen pair, got {got}")
    checked = audit(store, made, leakage, track)
    result = SplitResult(out or store.folder / "split.yaml", made, vocabulary, checked, matched)
    write_split(result.path, made)
    if report is not None:
        write_json(report, result.to_json())
    return result


def _match_datasets(store: Store, trained_on: str) -> CrossDatasetMatch:
    """Match the pairs of a store with those of a packaged manifest or of another store."""
    if trained_on in manifest_names():
        name, vocabulary = trained_on, load_manifest(trained_on).vocabulary
    else:
        try:
            info = find_store(trained_on).info
        except DataError as error:
            raise DataError(f"--trained-on: {error}; or name one of {', '.join(manifest_names())}") from error
        name, vocabulary = info.name, info.vocabulary
    if name == store.info.name:
        raise UsageError(f"--trained-on must name another dataset than {name}, got {trained_on}; leave it out")
    mappings = match_classes(store.info.vocabulary, vocabulary)
    return CrossDatasetMatch(name, mappings, unmatched_objects(mappings, vocabulary))
