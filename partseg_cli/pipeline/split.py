"""`partseg split`: seen and unseen pairs, train and val images, and proof that nothing leaks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from partseg_cli.data.loading.dataset import ImageTransform, PartDataset
from partseg_cli.data.manifest import load_manifest, manifest_names
from partseg_cli.data.resolver import find_store
from partseg_cli.data.splits.class_matching import Match, match, unmatched_pairs
from partseg_cli.data.splits.leakage import Audit, Leakage, audit, check_leakage
from partseg_cli.data.splits.split import Split, write_split
from partseg_cli.data.splits.split_builder import build_split, unseen_across, unseen_by_name
from partseg_cli.data.store import Store
from partseg_cli.errors import DataError, PartsegError, UsageError
from partseg_cli.io.atomic import write_json
from partseg_cli.runtime.pool import Track, silent
from partseg_cli.vocabulary import Vocabulary


@dataclass(frozen=True)
class CrossDatasetMatch:
    """What a target has in common with the data set that a model was trained on.

    Attributes:
        source: name of that data set.
        matches: one a pair of the target.
        lonely: objects of the target without a counterpart.
    """

    source: str
    matches: tuple[Match, ...]
    lonely: tuple[str, ...]

    @property
    def unseen_there(self) -> tuple[str, ...]:
        """The pairs found of which the counterpart is unseen in the source's own split."""
        return tuple(m.target.name for m in self.matches if m.source and not m.source.is_seen)


@dataclass(frozen=True)
class SplitResult:
    """A split that was written.

    Attributes:
        path: of its file.
        split: itself.
        vocabulary: the store's pairs with its seen flags.
        audit: what was checked.
        crossed: the mapping, if it was made by one.
    """

    path: Path
    split: Split
    vocabulary: Vocabulary
    audit: Audit
    crossed: CrossDatasetMatch | None = None

    def to_json(self) -> dict[str, Any]:
        """Give all that was found, for a report."""
        value: dict[str, Any] = {
            "dataset": self.split.dataset,
            "rule": self.split.rule,
            "seed": self.split.seed,
            "seen": [pair.name for pair in self.vocabulary.pairs if pair.is_seen],
            "unseen": [pair.name for pair in self.vocabulary.pairs if not pair.is_seen],
            "images": {key: len(getattr(self.split, key)) for key in ("train", "val", "val_unseen")},
            "audit": asdict(self.audit),
        }
        if self.crossed is not None:
            value["trained_on"] = self.crossed.source
            value["mapping"] = [
                {"target": m.target.name, "source": m.source and m.source.name, "how": m.how}
                for m in self.crossed.matches
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
        dataset: folder of the store, or its name below $PARTSEG_DATA.
        out: file to write; default split.yaml in the store's folder.
        report: JSON file for all that was checked.
        unseen: unseen objects; None = the published ones.
        unseen_parts: parts that are unseen whatever their object.
        trained_on: a manifest's name or a store: its pairs are seen, the others not.
        val_fraction: as in `build_split`.
        shots: as in `build_split`.
        test: as in `build_split`.
        seed: as in `build_split`.
        track: shows progress.

    Raises:
        PartsegError: a label of an unseen pair would be fed.
    """
    store = find_store(str(dataset))
    crossed = None
    if trained_on is None:
        choice = unseen_by_name(store.info.vocabulary, unseen, unseen_parts)
    else:
        _refuse_names(unseen, unseen_parts)
        crossed = _cross(store, trained_on)
        choice = unseen_across(crossed.matches, crossed.source)
    made = build_split(store, choice, val_fraction=val_fraction, shots=shots, seed=seed, test=test)
    checked = _check(store, made, crossed is not None, track)
    path = out or store.folder / "split.yaml"
    divided = SplitResult(path, made, made.vocabulary(store), checked, crossed)
    write_split(path, made)
    if report is not None:
        write_json(report, divided.to_json())
    return divided


def _refuse_names(unseen: Sequence[str] | None, unseen_parts: Sequence[str]) -> None:
    option = "--unseen" if unseen is not None else "--unseen-parts" if unseen_parts else None
    if option:
        raise UsageError(f"--trained-on decides what is unseen, got {option} as well; leave one out")


def _cross(store: Store, trained_on: str) -> CrossDatasetMatch:
    name, vocabulary = _source(trained_on)
    if name == store.info.name:
        raise UsageError(f"--trained-on must name another data set than {name}, got {trained_on}; leave it out")
    matches = match(store.info.vocabulary, vocabulary)
    return CrossDatasetMatch(name, matches, unmatched_pairs(matches, vocabulary))


def _source(text: str) -> tuple[str, Vocabulary]:
    """Give name and vocabulary of a packaged manifest or of a prepared data set."""
    if text in manifest_names():
        return text, load_manifest(text).vocabulary
    try:
        info = find_store(text).info
    except DataError as error:
        raise DataError(f"--trained-on: {error}; or name one of {', '.join(manifest_names())}") from error
    return info.name, info.vocabulary


def _check(store: Store, made: Split, is_across: bool, track: Track) -> Audit:
    """Check what is fed and tested; a mapping may serve to test alone, and then nothing is fed."""
    vocabulary = made.vocabulary(store)
    fed = Leakage()
    if made.train or not is_across:
        # Leakage is judged at native size, so the views of a recipe do not matter here.
        views = ImageTransform(
            image_size=32,
            shortest_edge=None,
            longest_edge=1,
            flip=0.0,
            train_channel_order="rgb",
            unlabelled_objects="background",
        )
        train = PartDataset(store, made.images("train"), vocabulary, views, made.seed)
        fed = check_leakage(train, vocabulary, track)
    if fed.leaked:
        raise PartsegError(f"{store.folder}: training must be fed no label of an unseen pair, got {fed.leaked} pixels")
    return audit(store, made, fed, track)
