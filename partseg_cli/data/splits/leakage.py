"""What a split feeds to training and what it tests on: the figures by which a reviewer can trust it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int, UInt16

from partseg_cli.data.loading.dataset import PartDataset
from partseg_cli.data.record import Record
from partseg_cli.data.rle import NONE
from partseg_cli.data.splits.split import Split
from partseg_cli.data.store import Store
from partseg_cli.io.hashing import file_digest
from partseg_cli.vocabulary import Vocabulary

Walk = Callable[[Iterable[Record], str, int], Iterable[Record]]
"""Passes records through, and may show what is done and how many of so many have gone by."""


def quietly(records: Iterable[Record], what: str, total: int) -> Iterable[Record]:
    """Pass records through and show nothing."""
    return records


@dataclass(frozen=True)
class Leakage:
    """What a training run is fed, at the native size of the photos.

    Attributes:
        images: number of images fed.
        left_out: images of the list without any seen part.
        labelled: pixels fed with the label of a pair.
        leaked: pixels of an unseen pair or object that are fed with the label of a pair or object; must be 0.
        unseen_images: images fed that show an unseen object.
        unseen_pixels: their pixels of it.
        unseen_as_background: of these, pixels whose target is the background; the others are left out.
        unseen_part_pixels: pixels of unseen parts of seen objects: fed as the object, with no part.
        untrained: names of seen pairs that no pixel fed has.
    """

    images: int = 0
    left_out: int = 0
    labelled: int = 0
    leaked: int = 0
    unseen_images: int = 0
    unseen_pixels: int = 0
    unseen_as_background: int = 0
    unseen_part_pixels: int = 0
    untrained: tuple[str, ...] = ()


def check_leakage(train: PartDataset, vocabulary: Vocabulary, walk: Walk = quietly) -> Leakage:
    """Compare what the loader feeds, at native size, with what the store says there; nothing must leak."""
    flags = _flags(train, vocabulary)
    totals: Counter[str] = Counter()
    fed = np.zeros(len(vocabulary.pairs), np.int64)
    for record in walk((train.store[key] for key in train.keys), "check train", len(train)):
        labels, counts = _fed(train, flags, record)
        fed += _count(labels, len(fed))
        totals.update(counts)
    untrained = tuple(p.name for p, count in zip(vocabulary.pairs, fed, strict=True) if p.is_seen and not count)
    return Leakage(len(train), train.skipped, untrained=untrained, **totals)


class _Flags(NamedTuple):
    """Tables from the labels of a store to what they mean in a split."""

    of_unseen_pair: Bool[np.ndarray, "L"]
    of_lone_part: Bool[np.ndarray, "L"]
    """Unseen parts of seen objects."""
    of_unseen_object: Bool[np.ndarray, "L"]


def _flags(train: PartDataset, vocabulary: Vocabulary) -> _Flags:
    unseen = vocabulary.unseen_objects
    labels = np.arange(NONE + 1)
    pairs = [(index, pair.object in unseen) for index, pair in enumerate(vocabulary.pairs) if not pair.is_seen]
    return _Flags(
        np.isin(labels, [index for index, _ in pairs]),
        np.isin(labels, [index for index, is_whole in pairs if not is_whole]),
        np.isin(labels, [index for index, name in enumerate(train.store.info.objects) if name in unseen]),
    )


def _fed(train: PartDataset, flags: _Flags, record: Record) -> tuple[UInt16[np.ndarray, "N"], dict[str, int]]:
    """Give, for one image, the store's labels where a pair is fed, and counts under the names of `Leakage`."""
    pairs, objects = record.pair_map(), record.object_map()
    pair_fed, object_fed = train.label_mapper.pairs(pairs) >= 0, train.label_mapper.objects(objects) >= 0
    is_background = train.label_mapper.is_background(objects) & ~record.unlabelled_mask()
    shows_unseen = flags.of_unseen_object[objects]
    return pairs[pair_fed], {
        "labelled": int(pair_fed.sum()),
        "leaked": int((pair_fed & flags.of_unseen_pair[pairs]).sum() + (object_fed & shows_unseen).sum()),
        "unseen_images": int(shows_unseen.any()),
        "unseen_pixels": int(shows_unseen.sum()),
        "unseen_as_background": int((shows_unseen & is_background).sum()),
        "unseen_part_pixels": int((flags.of_lone_part[pairs] & object_fed).sum()),
    }


def _count(labels: UInt16[np.ndarray, "N"], pairs: int) -> Int[np.ndarray, "K"]:
    """Count the pixels of each pair, whatever is no pair left aside."""
    return np.bincount(labels[labels < pairs], minlength=pairs)


@dataclass(frozen=True)
class Audit:
    """All that is checked of a split.

    Attributes:
        leakage: what training is fed.
        tested: pixels of pairs that the test runs over.
        untested: names of pairs without such a pixel: they are in no mean.
        in_both: ids that are in train and in val; must be none.
        same_photo: groups of ids whose photos are the same file, byte by byte.
        across: how many of these groups have one in train and one in val.
        missing: photos of the split that cannot be read.
    """

    leakage: Leakage
    tested: int
    untested: tuple[str, ...]
    in_both: tuple[str, ...]
    same_photo: tuple[tuple[str, ...], ...]
    across: int
    missing: int


def audit(store: Store, split: Split, leakage: Leakage, walk: Walk = quietly) -> Audit:
    """Check a split: what it tests on, and whether images or photos are on both sides."""
    counts = _tested(store, split, walk)
    train, val = set(split.train), set(split.val)
    groups, missing = same_photos({r.image_id: store.image_path(r) for r in _records(store, train | val)})
    names = [pair.name for pair in store.info.vocabulary.pairs]
    return Audit(
        leakage,
        tested=int(counts.sum()),
        untested=tuple(name for name, count in zip(names, counts, strict=True) if not count),
        in_both=tuple(sorted(train & val)),
        same_photo=groups,
        across=sum(not train.isdisjoint(group) and not val.isdisjoint(group) for group in groups),
        missing=missing,
    )


def _tested(store: Store, split: Split, walk: Walk) -> Int[np.ndarray, "K"]:
    """Count the pixels of each pair that the test runs over."""
    vocabulary = split.vocabulary(store)
    of_unseen = np.array([pair.object in vocabulary.unseen_objects for pair in vocabulary.pairs])
    counts = np.zeros(len(vocabulary.pairs), np.int64)
    for ids, wanted in ((split.val, np.ones_like(of_unseen)), (split.val_unseen, of_unseen)):
        for record in walk(_records(store, ids), "check val", len(ids)):
            counts += _count(record.pair_map().ravel(), len(counts)) * wanted
    return counts


def _records(store: Store, ids: Collection[str]) -> Iterator[Record]:
    return (store[key] for key in store.record_keys(ids))


def same_photos(photos: Mapping[str, Path]) -> tuple[tuple[tuple[str, ...], ...], int]:
    """Give the groups of image ids whose photos are the same file byte by byte, and the number of unreadable photos.

    Only photos of the same size are read. The same picture saved twice is not found.
    """
    sizes = _groups(photos, lambda name: photos[name].stat().st_size)
    contents: list[list[str]] = []
    for names in sizes[0]:
        if len(names) > 1:
            groups, unreadable = _groups(names, lambda name: file_digest(photos[name]))
            contents += groups
            sizes[1].extend(unreadable)
    return tuple(sorted(tuple(sorted(names)) for names in contents if len(names) > 1)), len(sizes[1])


def _groups(names: Iterable[str], key: Callable[[str], Hashable]) -> tuple[list[list[str]], list[str]]:
    """Give the names of the same key together, and those whose key cannot be read."""
    groups: dict[Hashable, list[str]] = {}
    unreadable = []
    for name in names:
        try:
            groups.setdefault(key(name), []).append(name)
        except OSError:
            unreadable.append(name)
    return list(groups.values()), unreadable
