"""Evaluation specification: images, seen and unseen pairs, protocol, samples and counting rule."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from jaxtyping import Int
from torch import Tensor

from partseg_cli.data.predictions.reader import open_objects
from partseg_cli.data.record import Record, RecordKey
from partseg_cli.data.splits.split import Split
from partseg_cli.data.store import Store
from partseg_cli.errors import DataError, UsageError
from partseg_cli.evaluation.metrics import DEFAULT_RULE
from partseg_cli.evaluation.samples import SampleConfig
from partseg_cli.io.hashing import digest
from partseg_cli.vocabulary import Vocabulary

LabelMaps = Callable[[Record], Int[Tensor, "H W"]]
"""Returns a map of the size of a record's image: index of the pair or object at each pixel, -1 = none."""
TEST = "test"
"""Split that some stores have of their own; neither training nor `partseg split` uses it."""


@dataclass(frozen=True)
class Shard:
    """Every n-th batch of an evaluation.

    Attributes:
        index: Index of its first batch, from 0.
        of: Number of shards, n.
    """

    index: int = 0
    of: int = 1

    def __str__(self) -> str:
        return f"{self.index + 1}/{self.of}"


WHOLE = Shard()


def parse_shard(text: str) -> Shard:
    """Parse "2/4", the second of four.

    >>> parse_shard("2/4")
    Shard(index=1, of=4)

    Raises:
        UsageError: The text has another form, or there is no such shard.
    """
    match = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise UsageError(f"--shard must be I/N with I from 1 to N, such as 2/4, got {text!r}")
    return Shard(int(match[1]) - 1, int(match[2]))


@dataclass(frozen=True)
class EvalSubset:
    """Images in which the same pairs are scored.

    Attributes:
        keys: Records of the images.
        scored_pairs: Whether the labelled pixels of each pair count; None counts all.
    """

    keys: Sequence[RecordKey]
    scored_pairs: Sequence[bool] | None = None


@dataclass(frozen=True)
class EvalBatch:
    """Images that pass through the model together.

    Attributes:
        positions: Positions of the images in the evaluation.
        subset: The images.
    """

    positions: range
    subset: EvalSubset


def make_batches(subsets: Sequence[EvalSubset], size: int) -> list[EvalBatch]:
    """Cut the images of each subset, in their order, into batches; the last one of a subset may be smaller.

    Batches depend on the positions of the images alone, and shards and processes take whole ones: a model may round an
    image otherwise among other images, so whoever counts a batch gets the same bits.

    Args:
        subsets: Images in the order in which they are counted.
        size: Images of a batch.
    """
    batches, first = [], 0
    for subset in subsets:
        for start in range(0, len(subset.keys), size):
            keys = subset.keys[start : start + size]
            positions = range(first + start, first + start + len(keys))
            batches.append(EvalBatch(positions, EvalSubset(keys, subset.scored_pairs)))
        first += len(subset.keys)
    return batches


@dataclass(frozen=True)
class EvalSpec:
    """Evaluation specification: images, classes, protocol, counting rule.

    Attributes:
        store: Labelled images.
        split: Images of train and val, and unseen pairs.
        split_name: "train", "val", or "test" where the store has one.
        protocol: "pred-all", "oracle-obj" or "pred-obj".
        sample_config: What a sample is.
        rule: Counting rule of the main result.
        limit: Number of images, the first ones; None takes all.
        objects: Folder of the object maps for pred-obj.
        shard: Share of the images that is counted.
    """

    store: Store
    split: Split
    split_name: str
    protocol: str
    sample_config: SampleConfig
    rule: str = DEFAULT_RULE
    limit: int | None = None
    objects: Path | None = None
    shard: Shard = WHOLE

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The store's pairs with the seen flags of the split."""
        return self.split.vocabulary(self.store)

    @cached_property
    def subsets(self) -> tuple[EvalSubset, EvalSubset]:
        """The images of the split, and the train images of which only pairs of unseen objects are scored.

        Raises:
            DataError: There is no such split, or no image in it.
        """
        ids = self._test_images() if self.split_name == TEST else self.split.images(self.split_name)
        keys = self.store.record_keys(ids)[: self.limit]
        left = None if self.limit is None else self.limit - len(keys)
        train_keys = self.store.record_keys(self.split.val_unseen)[:left] if self.split_name == "val" else []
        is_unseen = [pair.object in self.vocabulary.unseen_objects for pair in self.vocabulary.pairs]
        return EvalSubset(keys), EvalSubset(train_keys, is_unseen)

    def _test_images(self) -> tuple[str, ...]:
        """Return the image ids of the store's own test split."""
        name, splits = self.store.info.name, self.store.splits
        ids = tuple(record.image_id for record in self.store.records(TEST)) if TEST in splits else ()
        if not ids:
            raise DataError(
                f"{name}: --split {TEST} needs a store with such images, got {', '.join(splits)}; choose train or val"
            )
        if both := sorted({*self.split.train, *self.split.val_unseen} & set(ids)):
            raise DataError(
                f"{name}: no image may be in {TEST} and train, got {len(both)} such as {both[0]}; "
                "choose another --data-split"
            )
        return ids

    @property
    def keys(self) -> list[RecordKey]:
        """Records of all images, in the order in which they are counted."""
        return [key for subset in self.subsets for key in subset.keys]

    @cached_property
    def data_hash(self) -> str:
        """Digest of what is evaluated: image names and labels, pairs, seen flags, samples."""
        config = self.sample_config
        # Spelt as in the first version: evaluations are compared and merged by this digest.
        samples = f"Counting(kind={config.unit!r}, ratio={config.ratio!r}, round_trip={config.round_trip!r})"

        def chunks() -> Iterator[str]:
            yield f"[{self.vocabulary.to_json()!r}, {samples}, {self.split_name!r}]"
            for subset in self.subsets:
                yield repr(subset.scored_pairs)
                yield from (self.store[key].to_json() for key in subset.keys)

        return digest(chunks())[:16]

    def object_maps(self) -> LabelMaps | None:
        """Open the object maps that pred-obj is given; None under another protocol.

        Raises:
            DataError: One is missing.
        """
        if self.objects is None:
            return None
        return open_objects(self.objects, self.store, self.vocabulary, self.keys).maps
