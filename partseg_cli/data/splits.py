"""Splits: which objects are seen and which images train and validate; a small file beside the store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from partseg_cli.data.record import Record
from partseg_cli.data.store import Store, iterate
from partseg_cli.errors import DataError, UsageError, VocabularyError
from partseg_cli.files import write_text
from partseg_cli.vocabulary import Vocabulary

FORMAT = "partseg-split-1"
PUBLISHED = "published"


@dataclass(frozen=True)
class Split:
    """A zero-shot split of one store.

    Attributes:
        dataset: name of the store it belongs to.
        rule: how it was made, in words.
        seed: that it was drawn with.
        unseen_objects: all pairs of these are unseen.
        train: image ids.
        val: image ids.
    """

    dataset: str
    rule: str
    seed: int
    unseen_objects: tuple[str, ...]
    train: tuple[str, ...]
    val: tuple[str, ...]

    def vocabulary(self, store: Store) -> Vocabulary:
        """Give the store's pairs with the seen flags of this split."""
        return store.info.vocabulary.with_unseen(self.unseen_objects)

    def images(self, name: str) -> tuple[str, ...]:
        """Give the image ids of "train" or "val".

        Raises:
            DataError: the list is empty.
        """
        ids = self.train if name == "train" else self.val
        if not ids:
            raise DataError(f"{self.dataset}: {name} must hold an image, got none; make a split with --val-fraction")
        return ids


def published_split(store: Store) -> Split:
    """Give the split that the data set was published with."""
    lists = {name: tuple(record.image_id for record in store.records(name)) for name in store.splits}
    unseen = store.info.vocabulary.unseen_objects
    return Split(store.info.name, "published", 0, unseen, lists.get("train", ()), lists.get("val", ()))


def draw_split(
    store: Store, *, unseen: Sequence[str] | None, val_fraction: float | None, shots: int | None, seed: int
) -> Split:
    """Make a split of a store.

    Args:
        store: the prepared data set.
        unseen: unseen objects; None = the published ones.
        val_fraction: share of *all* images (of train and val) drawn for val; None = the published lists. Images with
            and without unseen objects are drawn apart, so that both sides can be scored.
        shots: images with a part of each seen object that train keeps; None = all.
        seed: the same seed gives the same split.

    Raises:
        UsageError: a value is outside its rule.
    """
    split = published_split(store)
    rules = ["seen objects published" if unseen is None else "seen objects chosen"]
    if unseen is not None:
        split = replace(split, unseen_objects=_checked_unseen(store, unseen))
    rng = np.random.default_rng(seed)
    if val_fraction is not None:
        split = _draw_val(store, split, val_fraction, rng)
        rules.append(f"val drawn as {val_fraction:g} of all images")
    if shots is not None:
        split = _draw_shots(store, split, shots, rng)
        rules.append(f"train drawn as {shots} images of each seen object")
    return replace(split, rule=", ".join(rules), seed=seed)


def write_split(path: Path, split: Split) -> None:
    """Write `split` as YAML, whole or not at all."""
    value: dict[str, Any] = {"format": FORMAT, **vars(split)}
    text = yaml.safe_dump({k: list(v) if isinstance(v, tuple) else v for k, v in value.items()}, sort_keys=False)
    write_text(path, f"# Made by `partseg split`; recipes take it as data.split.\n{text}")


def load_split(store: Store, name: str) -> Split:
    """Give the published split, or the one in the file `name`.

    Raises:
        DataError: no such file, not a split, or one of another data set or with unknown images.
    """
    if name == PUBLISHED:
        return published_split(store)
    path = Path(name)
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DataError(
            f"{path}: no readable split file ({' '.join(str(error).split())}); make it: partseg split"
        ) from error
    if not isinstance(value, dict) or value.pop("format", None) != FORMAT:
        raise DataError(
            f"{path}: must be a split file of format {FORMAT!r}, got something else; make it: partseg split"
        )
    split = _parse(path, value)
    _check_belongs(path, split, store)
    return split


def _parse(path: Path, value: dict[Any, Any]) -> Split:
    """Check the type of every field."""
    kinds = {"dataset": str, "rule": str, "seed": int, "unseen_objects": list, "train": list, "val": list}
    for key in sorted(kinds.keys() | value.keys(), key=str):
        if key not in kinds or key not in value:
            raise DataError(f"{path}: must hold exactly {', '.join(kinds)}, got {key!r} wrong; make it: partseg split")
        got = value[key]
        texts = got if isinstance(got, list) else []
        if type(got) is not kinds[key] or not all(isinstance(text, str) for text in texts):
            raise DataError(f"{path}: {key} must be {_KINDS[kinds[key]]}, got {got!r}; make it again: partseg split")
    fields: dict[str, Any] = {key: tuple(got) if isinstance(got, list) else got for key, got in value.items()}
    split = Split(**fields)
    if both := sorted(set(split.train) & set(split.val)):
        raise DataError(f"{path}: no image may be in train and val, got {len(both)} such as {both[0]}; make it again")
    return split


_KINDS = {str: "text", int: "a whole number", list: "a list of texts"}


def select(store: Store, ids: Sequence[str]) -> list[tuple[str, int]]:
    """Give (store split, index) of each image id, in the order of the store."""
    wanted = set(ids)
    return [
        (name, index)
        for name in store.splits
        for index, record in enumerate(store.records(name))
        if record.image_id in wanted
    ]


def _checked_unseen(store: Store, unseen: Sequence[str]) -> tuple[str, ...]:
    chosen = store.info.vocabulary.with_unseen(unseen)
    if not any(chosen.is_seen):
        raise UsageError("--unseen: at least one object must stay seen, got all of them; leave one out")
    return chosen.unseen_objects


def _draw_val(store: Store, split: Split, fraction: float, rng: np.random.Generator) -> Split:
    if not 0 < fraction < 1:
        raise UsageError(f"--val-fraction must lie between 0 and 1, got {fraction:g}")
    groups: dict[bool, list[str]] = {True: [], False: []}
    everything = []
    for _, record in iterate(store):
        everything.append(record.image_id)
        groups[not _objects_with_parts(store, record).isdisjoint(split.unseen_objects)].append(record.image_id)
    val: set[str] = set()
    for ids in groups.values():
        val.update(rng.permutation(ids)[: round(fraction * len(ids))].tolist())
    return replace(
        split, train=tuple(i for i in everything if i not in val), val=tuple(i for i in everything if i in val)
    )


def _draw_shots(store: Store, split: Split, shots: int, rng: np.random.Generator) -> Split:
    """Keep, for each seen object in turn, images at random until `shots` of those kept show a part of it."""
    if shots < 1:
        raise UsageError(f"--shots must be >= 1, got {shots}")
    train = set(split.train)
    shows = {r.image_id: _objects_with_parts(store, r) for _, r in iterate(store) if r.image_id in train}
    seen = [name for name in store.info.vocabulary.objects if name not in split.unseen_objects]
    kept: set[str] = set()
    for name in seen:
        candidates = [image for image in split.train if name in shows[image]]
        missing = shots - sum(image in kept for image in candidates)
        fresh = [image for image in rng.permutation(candidates).tolist() if image not in kept]
        kept.update(fresh[: max(missing, 0)])
    return replace(split, train=tuple(image for image in split.train if image in kept))


def _objects_with_parts(store: Store, record: Record) -> set[str]:
    return {store.info.vocabulary.pairs[part.pair].object for part in record.parts}


def _check_belongs(path: Path, split: Split, store: Store) -> None:
    if split.dataset != store.info.name:
        raise DataError(f"{path}: must belong to {store.info.name}, got a split of {split.dataset}; make it again")
    known = {record.image_id for _, record in iterate(store)}
    strange = [image for image in (*split.train, *split.val) if image not in known]
    if strange:
        raise DataError(
            f"{path}: every image must be in {store.folder}, got {len(strange)} others such as {strange[0]}; "
            "make it again"
        )
    try:
        split.vocabulary(store)
    except VocabularyError as error:
        raise DataError(f"{path}: {error}") from error
