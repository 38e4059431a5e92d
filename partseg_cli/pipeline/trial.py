"""What is tested, and how: the photos, their seen and unseen pairs, the protocol, and the counting."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

from partseg_cli.data.predictions import open_objects
from partseg_cli.data.splits import Split, load_split, select
from partseg_cli.data.store import Store
from partseg_cli.errors import DataError, UsageError
from partseg_cli.evaluators.boundary import RATIO
from partseg_cli.evaluators.rules import RULES
from partseg_cli.evaluators.runner import Maps, Place
from partseg_cli.evaluators.samples import Counting
from partseg_cli.evaluators.summary import DEFAULT_RULE, ROUND_TRIP
from partseg_cli.pipeline.shards import WHOLE, Shard, parse_shard
from partseg_cli.pipeline.stores import find_store
from partseg_cli.places import data_folder
from partseg_cli.recipe import DataSection, Recipe
from partseg_cli.vocabulary import Vocabulary


@dataclass(frozen=True)
class Trial:
    """What is tested, and how.

    Attributes:
        store: the labelled photos.
        division: which of them, and which pairs are unseen.
        split: "train" or "val".
        protocol: what the model is told.
        counting: what a sample is.
        rule: how pixels and classes count.
        limit: number of photos, the first ones; None = all.
        objects: folder of the object maps for pred-obj.
        shard: the share of the photos that is counted.
    """

    store: Store
    division: Split
    split: str
    protocol: str
    counting: Counting
    rule: str = DEFAULT_RULE
    limit: int | None = None
    objects: Path | None = None
    shard: Shard = WHOLE

    @property
    def vocabulary(self) -> Vocabulary:
        """The store's pairs with the seen flags of the split."""
        return self.division.vocabulary(self.store)

    def parts(self) -> list[tuple[list[Place], list[bool] | None]]:
        """Give photos and the pairs that are scored there: all on the split's, those of unseen objects on train's."""
        places = select(self.store, self.division.images(self.split))[: self.limit]
        left = None if self.limit is None else self.limit - len(places)
        beside = select(self.store, self.division.val_unseen)[:left] if self.split == "val" else []
        words = self.vocabulary
        return [(places, None), (beside, [pair.object in words.unseen_objects for pair in words.pairs])]

    def object_maps(self) -> Maps | None:
        """Open the maps of objects that pred-obj is told.

        Raises:
            DataError: one is missing.
        """
        if self.objects is None:
            return None
        places = [place for part, _ in self.parts() for place in part]
        return open_objects(self.objects, self.store, self.vocabulary, places).maps


def open_data(data: DataSection) -> tuple[Store, Split]:
    """Open the store and the split of a recipe's `data` section."""
    store = Store.open(Path(data.root) if data.root else data_folder() / data.dataset)
    return store, load_split(store, data.split)


def open_trial(
    recipe: Recipe | None,
    *,
    protocol: str,
    dataset: str | None = None,
    data_split: str | None = None,
    split: str = "val",
    rule: str = DEFAULT_RULE,
    samples: str | None = None,
    ratio: float = RATIO,
    limit: int | None = None,
    objects: Path | None = None,
    shard: str | None = None,
) -> Trial:
    """Find out what is to be tested.

    Args:
        recipe: its data are tested, unless `dataset` names others.
        dataset: folder or name of a prepared set; its published split unless `data_split`.
        data_split: file of `partseg split`, or "published".
        split: "train" or "val".
        protocol: "pred-all", "oracle-obj" or "pred-obj".
        rule: one of `RULES`, or "ref-bug".
        samples: what a sample is; None: as published for the set.
        ratio: width of the boundary band, as a share of the diagonal.
        limit: number of photos; None = all.
        objects: maps of objects, for pred-obj.
        shard: "2/4": the second of four shares of the photos; None: all.

    Raises:
        UsageError: an option is missing or outside its rule.
        DataError: there is no such set or split.
    """
    if rule not in {*RULES, ROUND_TRIP}:
        raise UsageError(f"--rule must be one of {', '.join([*RULES, ROUND_TRIP])}, got {rule!r}")
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
        division = load_split(store, data_split or "published")
    elif recipe is not None:
        data = replace(recipe.data, split=data_split) if data_split else recipe.data
        store, division = open_data(data)
    else:
        raise UsageError("evaluate needs a recipe or --dataset, got neither; name the data that are to be scored")
    if rule == ROUND_TRIP and store.info.sample == "image":
        raise DataError(
            f"{store.info.name}: {ROUND_TRIP} is for sets whose published targets are scaled, got one without"
        )
    counting = Counting(samples or store.info.sample, ratio, rule == ROUND_TRIP)
    return Trial(store, division, split, protocol, counting, rule, limit, objects, part)


def data_hash(trial: Trial) -> str:
    """Give a digest of what is tested: names of the photos and their labels, pairs, seen flags, samples."""
    digest = hashlib.sha256(repr([trial.vocabulary.to_json(), trial.counting, trial.split]).encode())
    for places, scored in trial.parts():
        digest.update(repr(scored).encode())
        stored = {split: trial.store.records(split) for split in trial.store.splits}
        for split, index in places:
            digest.update(stored[split][index].to_json().encode())
    return digest.hexdigest()[:16]
