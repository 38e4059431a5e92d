"""Splits: which pairs are seen and which images train and validate, in a small file for a store."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from partseg_cli.data.record import Record
from partseg_cli.data.store import Store, iterate
from partseg_cli.errors import DataError, VocabularyError, one_line
from partseg_cli.io.atomic import write_text
from partseg_cli.vocabulary import Pair, Vocabulary

FORMAT = "partseg-split-1"
PUBLISHED = "published"

VAL, VAL_AND_TRAIN_UNSEEN = "val", "val+train-unseen"
"""Images of a test: val alone, or also the unseen objects of the training images (published for ADE20K)."""

FIELDS = {
    "dataset": str,
    "rule": str,
    "seed": int,
    "unseen_objects": list,
    "unseen_parts": list,
    "unseen_pairs": dict,
    "train": list,
    "val": list,
    "val_unseen": list,
}
OPTIONAL = {"unseen_parts", "unseen_pairs", "val_unseen"}
REQUIRED = [key for key in FIELDS if key not in OPTIONAL]
TYPES = {str: "text", int: "a whole number", list: "a list of texts", dict: "objects with lists of parts"}


@dataclass(frozen=True)
class Split:
    """Split of one store.

    Attributes:
        dataset: Name of the store.
        rule: How the split was made, in words.
        seed: Seed of its random choices.
        unseen_objects: Objects all of whose pairs are unseen.
        train: Image ids.
        val: Image ids.
        unseen_parts: Parts all of whose pairs are unseen.
        unseen_pairs: Further unseen pairs, (object, part).
        val_unseen: Ids of train images of which the test covers the unseen objects, and nothing else.
    """

    dataset: str
    rule: str
    seed: int
    unseen_objects: tuple[str, ...]
    train: tuple[str, ...]
    val: tuple[str, ...]
    unseen_parts: tuple[str, ...] = ()
    unseen_pairs: tuple[tuple[str, str], ...] = ()
    val_unseen: tuple[str, ...] = ()

    def vocabulary(self, store: Store) -> Vocabulary:
        """Return the store's pairs with the seen flags of this split."""
        return store.info.vocabulary.with_unseen(self.unseen_objects, self.unseen_parts, self.unseen_pairs)

    def images(self, name: str) -> tuple[str, ...]:
        """Return the image ids of "train" or "val".

        Raises:
            DataError: The list is empty.
        """
        ids = self.train if name == "train" else self.val
        if not ids:
            raise DataError(f"{self.dataset}: {name} must hold an image, got none; make a split with --val-fraction")
        return ids


def published_split(store: Store) -> Split:
    """Return the split that the dataset was published with, and its published rule of what the test covers."""
    lists = {name: tuple(record.image_id for record in store.records(name)) for name in store.splits}
    unseen = store.info.vocabulary.unseen_objects
    train = lists.get("train", ())
    tested = images_showing(store, train, unseen) if store.info.test == VAL_AND_TRAIN_UNSEEN else ()
    return Split(store.info.name, "published", 0, unseen, train, lists.get("val", ()), val_unseen=tested)


def images_showing(store: Store, ids: Collection[str], objects: Collection[str]) -> tuple[str, ...]:
    """Return those of the images that show a part of one of the objects, in the order of the store."""
    wanted, names = set(ids), set(objects)
    return tuple(
        record.image_id
        for _, record in iterate(store)
        if record.image_id in wanted and not names.isdisjoint(pair.object for pair in pairs_of(store, record))
    )


def pairs_of(store: Store, record: Record) -> set[Pair]:
    """Return the pairs that an image shows, with the store's own seen flags."""
    return {store.info.vocabulary.pairs[part.pair] for part in record.parts}


def write_split(path: Path, split: Split) -> None:
    """Write `split` as YAML, atomically; optional fields are written only where they are set."""
    value: dict[str, Any] = {"format": FORMAT}
    for key in FIELDS:
        content = getattr(split, key)
        if key not in OPTIONAL or content:
            value[key] = list(content) if isinstance(content, tuple) else content
    if split.unseen_pairs:
        objects = dict.fromkeys(name for name, _ in split.unseen_pairs)
        value["unseen_pairs"] = {
            name: [part for other, part in split.unseen_pairs if other == name] for name in objects
        }
    text = yaml.safe_dump(value, sort_keys=False)
    write_text(path, f"# Made by `partseg split`; recipes take it as data.split.\n{text}")


def load_split(store: Store, name: str) -> Split:
    """Return the published split, or load the one in the file `name`.

    Raises:
        DataError: The file is missing, no split, or one of another dataset or with unknown images.
    """
    if name == PUBLISHED:
        return published_split(store)
    path = Path(name)
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DataError(f"{path}: no readable split file ({one_line(error)}); make it: partseg split") from error
    if not isinstance(value, dict) or value.pop("format", None) != FORMAT:
        raise DataError(
            f"{path}: must be a split file of format {FORMAT!r}, got something else; make it: partseg split"
        )
    split = _parse(path, value)
    _check_belongs(path, split, store)
    return split


def _parse(path: Path, value: dict[Any, Any]) -> Split:
    for key in sorted({*REQUIRED, *value}, key=str):
        if key not in FIELDS or key not in value:
            raise DataError(
                f"{path}: must hold exactly {', '.join(REQUIRED)}, got {key!r} wrong; make it: partseg split"
            )
        if not _has_type(value[key], FIELDS[key]):
            raise DataError(
                f"{path}: {key} must be {TYPES[FIELDS[key]]}, got {value[key]!r}; make it again: partseg split"
            )
    fields: dict[str, Any] = {key: tuple(got) if isinstance(got, list) else got for key, got in value.items()}
    if "unseen_pairs" in fields:
        fields["unseen_pairs"] = tuple((name, part) for name, parts in value["unseen_pairs"].items() for part in parts)
    split = Split(**fields)
    if both := sorted({*split.train, *split.val_unseen} & set(split.val)):
        raise DataError(f"{path}: no image may be in train and val, got {len(both)} such as {both[0]}; make it again")
    return split


def _has_type(value: object, kind: type) -> bool:
    """Return whether a value has a type of `FIELDS`; lists and keys must be texts."""
    if type(value) is not kind:
        return False
    if isinstance(value, dict):
        return _has_type(list(value), list) and all(_has_type(parts, list) for parts in value.values())
    return not isinstance(value, list) or all(isinstance(text, str) for text in value)


def _check_belongs(path: Path, split: Split, store: Store) -> None:
    if split.dataset != store.info.name:
        raise DataError(f"{path}: must belong to {store.info.name}, got a split of {split.dataset}; make it again")
    known = {record.image_id for _, record in iterate(store)}
    unknown = [image for image in (*split.train, *split.val, *split.val_unseen) if image not in known]
    if unknown:
        raise DataError(
            f"{path}: every image must be in {store.folder}, got {len(unknown)} others such as {unknown[0]}; "
            "make it again"
        )
    try:
        split.vocabulary(store)
    except VocabularyError as error:
        raise DataError(f"{path}: {error}") from error
