"""What is tested, and how: the photos, their seen and unseen pairs, the protocol, and the counting."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from partseg_cli.config.recipe import Recipe
from partseg_cli.config.sections import CaptionDataSection, DataSection, PhraseDataSection
from partseg_cli.data.predictions.reader import open_objects
from partseg_cli.data.record import RecordKey
from partseg_cli.data.resolver import find_store
from partseg_cli.data.splits.split import Split, load_split
from partseg_cli.data.store import Store
from partseg_cli.errors import DataError, UsageError, did_you_mean
from partseg_cli.evaluation.boundary import RATIO
from partseg_cli.evaluation.metrics import DEFAULT_RULE, ROUND_TRIP
from partseg_cli.evaluation.rules import RULES
from partseg_cli.evaluation.runner import Maps
from partseg_cli.evaluation.samples import SampleConfig
from partseg_cli.evaluation.shards import WHOLE, Shard, parse_shard
from partseg_cli.io.hashing import digest
from partseg_cli.io.paths import data_dir
from partseg_cli.vocabulary import Vocabulary

TEST = "test"
"""A split that some stores have of their own, which no training and no `partseg split` is made for."""


@dataclass(frozen=True)
class EvalSpec:
    """What is tested, and how.

    Attributes:
        store: the labelled photos.
        split: which of them, and which pairs are unseen.
        split_name: "train", "val", or "test" where the store has one.
        protocol: what the model is told.
        counting: what a sample is.
        rule: how pixels and classes count.
        limit: number of photos, the first ones; None = all.
        objects: folder of the object maps for pred-obj.
        shard: the share of the photos that is counted.
    """

    store: Store
    split: Split
    split_name: str
    protocol: str
    counting: SampleConfig
    rule: str = DEFAULT_RULE
    limit: int | None = None
    objects: Path | None = None
    shard: Shard = WHOLE

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The store's pairs with the seen flags of the split."""
        return self.split.vocabulary(self.store)

    @cached_property
    def parts(self) -> list[tuple[list[RecordKey], list[bool] | None]]:
        """Give photos and the pairs that are scored there: all on the split's, those of unseen objects on train's.

        Raises:
            DataError: there is no such split, or no photo in it.
        """
        ids = _test_images(self.store, self.split) if self.split_name == TEST else self.split.images(self.split_name)
        keys = self.store.record_keys(ids)[: self.limit]
        left = None if self.limit is None else self.limit - len(keys)
        beside = self.store.record_keys(self.split.val_unseen)[:left] if self.split_name == "val" else []
        words = self.vocabulary
        return [(keys, None), (beside, [pair.object in words.unseen_objects for pair in words.pairs])]

    @property
    def keys(self) -> list[RecordKey]:
        """Give all photos, in the order in which they are counted."""
        return [key for keys, _ in self.parts for key in keys]

    @cached_property
    def data_hash(self) -> str:
        """Give a digest of what is tested: names of the photos and their labels, pairs, seen flags, samples."""

        def chunks() -> Iterator[str]:
            yield repr([self.vocabulary.to_json(), self.counting, self.split_name])
            for keys, scored in self.parts:
                yield repr(scored)
                yield from (self.store[key].to_json() for key in keys)

        return digest(chunks())[:16]

    def object_maps(self) -> Maps | None:
        """Open the maps of objects that pred-obj is told.

        Raises:
            DataError: one is missing.
        """
        if self.objects is None:
            return None
        return open_objects(self.objects, self.store, self.vocabulary, self.keys).maps


def _test_images(store: Store, split: Split) -> tuple[str, ...]:
    """Give the image ids of the store's own test split."""
    ids = tuple(record.image_id for record in store.records(TEST)) if TEST in store.splits else ()
    if not ids:
        raise DataError(
            f"{store.info.name}: --split {TEST} needs a store with photos in it, got {', '.join(store.splits)}; "
            "choose train or val"
        )
    if both := sorted({*split.train, *split.val_unseen} & set(ids)):
        raise DataError(
            f"{store.info.name}: no image may be in {TEST} and train, got {len(both)} such as {both[0]}; "
            "choose another --data-split"
        )
    return ids


def open_data(data: DataSection | CaptionDataSection | PhraseDataSection) -> tuple[Store, Split]:
    """Open the store and the split of a recipe's `data` section."""
    store = Store.open(Path(data.root) if data.root else data_dir() / data.dataset)
    return store, load_split(store, data.split)


def build_eval_spec(
    recipe: Recipe | None,
    *,
    protocol: str,
    dataset: str | None = None,
    data_split: str | None = None,
    split_name: str = "val",
    rule: str = DEFAULT_RULE,
    samples: str | None = None,
    ratio: float = RATIO,
    limit: int | None = None,
    objects: Path | None = None,
    shard: str | None = None,
) -> EvalSpec:
    """Find out what is to be tested.

    Args:
        recipe: its data are tested, unless `dataset` names others.
        dataset: folder or name of a prepared set; its published split unless `data_split`.
        data_split: file of `partseg split`, or "published".
        split_name: "train", "val", or "test" where the store has one.
        protocol: "pred-all", "oracle-obj" or "pred-obj".
        rule: one of `RULES`, or "ref-bug".
        samples: what a sample is; None: as published for the set.
        ratio: width of the boundary band, as a share of the diagonal.
        limit: number of photos; None = all.
        objects: maps of objects, for pred-obj.
        shard: "2/4": the second of four shares of the photos; None: all.

    Raises:
        UsageError: an option is missing or outside its rule.
        DataError: there is no such set or split; of its photos `EvalSpec.parts` tells.
    """
    if rule not in {*RULES, ROUND_TRIP}:
        known = [*RULES, ROUND_TRIP]
        advice = did_you_mean(rule.lower(), known)
        raise UsageError(f"--rule must be one of {', '.join(known)}, got {rule!r}; {advice}")
    if not 0 < ratio <= 1:
        raise UsageError(f"--boundary-ratio must be above 0 and at most 1, got {ratio:g}; the usual one is {RATIO}")
    if limit is not None and limit < 1:
        raise UsageError(f"--limit must be >= 1, got {limit}")
    if (protocol == "pred-obj") != (objects is not None):
        raise UsageError(
            f"--objects DIR belongs to --protocol pred-obj, got {objects or 'none'} with {protocol}; give both or none"
        )
    part = parse_shard(shard) if shard else WHOLE
    if dataset is not None:
        store = find_store(dataset)
        split = load_split(store, data_split or "published")
    elif recipe is not None:
        data = replace(recipe.data, split=data_split) if data_split else recipe.data
        store, split = open_data(data)
    else:
        raise UsageError("evaluate needs a recipe or --dataset, got neither; name the data that are to be scored")
    if rule == ROUND_TRIP and store.info.sample == "image":
        raise DataError(
            f"{store.info.name}: {ROUND_TRIP} is for sets whose published targets are scaled, got one without"
        )
    counting = SampleConfig(samples or store.info.sample, ratio, rule == ROUND_TRIP)
    return EvalSpec(store, split, split_name, protocol, counting, rule, limit, objects, part)
