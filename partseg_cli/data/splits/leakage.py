"""Audit of a split: what training is fed, what the test covers, and which images are on both sides."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int, UInt16

from partseg_cli.data.loading.dataset import PartDataset
from partseg_cli.data.record import Record
from partseg_cli.data.rle import NONE
from partseg_cli.data.splits.split import Split
from partseg_cli.data.store import Store
from partseg_cli.io.hashing import file_digest
from partseg_cli.runtime.pool import Track, silent
from partseg_cli.vocabulary import Vocabulary


@dataclass(frozen=True)
class Leakage:
    """Content of the training batches, counted at the native size of the images.

    Attributes:
        images: Number of images fed.
        left_out: Images of the list without any seen part.
        labelled: Pixels fed with the label of a pair.
        leaked: Pixels of an unseen pair or object that are fed with the label of a pair or object; must be 0.
        unseen_images: Images fed that show an unseen object.
        unseen_pixels: Pixels of unseen objects in these images.
        unseen_as_background: Pixels of these whose target is the background; the others are left out.
        unseen_part_pixels: Pixels of unseen parts of seen objects, which are fed as the object without a part.
        untrained: Names of seen pairs without a pixel that is fed.
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


@dataclass(frozen=True)
class Audit:
    """Results of all checks of a split.

    Attributes:
        leakage: What training is fed.
        tested: Pixels of pairs that the test covers.
        untested: Names of pairs without such a pixel, which are left out of every mean.
        in_both: Image ids in both train and val; must be none.
        same_photo: Groups of image ids with the same file, byte by byte.
        across: Number of these groups with an image in train and one in val.
        missing: Images of the split that cannot be read.
    """

    leakage: Leakage
    tested: int
    untested: tuple[str, ...]
    in_both: tuple[str, ...]
    same_photo: tuple[tuple[str, ...], ...]
    across: int
    missing: int


def check_leakage(train: PartDataset, vocabulary: Vocabulary, track: Track = silent) -> Leakage:
    """Compare what the loader feeds, at native size, with the labels of the store; nothing must leak."""
    tables = _UnseenTables(train.store.info.objects, vocabulary)
    totals: Counter[str] = Counter()
    fed = np.zeros(len(vocabulary.pairs), np.int64)
    for record in track((train.store[key] for key in train.keys), "check train", len(train)):
        labels, counts = _count_fed(train, tables, record)
        fed += _count_pairs(labels, len(fed))
        totals.update(counts)
    untrained = tuple(p.name for p, count in zip(vocabulary.pairs, fed, strict=True) if p.is_seen and not count)
    return Leakage(len(train), train.skipped, untrained=untrained, **totals)


class _UnseenTables:
    """Look-up tables from the labels of a store: unseen pairs, those of seen objects alone, and unseen objects."""

    def __init__(self, objects: tuple[str, ...], vocabulary: Vocabulary) -> None:
        unseen, pairs = vocabulary.unseen_objects, list(enumerate(vocabulary.pairs))
        self.pair = _table(index for index, pair in pairs if not pair.is_seen)
        self.part_of_seen = _table(index for index, p in pairs if not p.is_seen and p.object not in unseen)
        self.object = _table(index for index, name in enumerate(objects) if name in unseen)


def _table(indices: Iterable[int]) -> Bool[np.ndarray, "65536"]:
    return np.isin(np.arange(NONE + 1), list(indices))


def _count_fed(
    train: PartDataset, tables: _UnseenTables, record: Record
) -> tuple[UInt16[np.ndarray, "N"], dict[str, int]]:
    """Return the store's labels where a pair is fed from an image, and counts under the names of `Leakage`."""
    mapper, pairs, objects = train.label_mapper, record.pair_map(), record.object_map()
    pair_fed, object_fed = mapper.pairs(pairs) >= 0, mapper.objects(objects) >= 0
    is_background = mapper.is_background(objects) & ~record.unlabelled_mask()
    shows_unseen = tables.object[objects]
    return pairs[pair_fed], {
        "labelled": int(pair_fed.sum()),
        "leaked": int((pair_fed & tables.pair[pairs]).sum() + (object_fed & shows_unseen).sum()),
        "unseen_images": int(shows_unseen.any()),
        "unseen_pixels": int(shows_unseen.sum()),
        "unseen_as_background": int((shows_unseen & is_background).sum()),
        "unseen_part_pixels": int((tables.part_of_seen[pairs] & object_fed).sum()),
    }


def _count_pairs(labels: UInt16[np.ndarray, "N"], pairs: int) -> Int[np.ndarray, "K"]:
    return np.bincount(labels[labels < pairs], minlength=pairs)


def audit(store: Store, split: Split, leakage: Leakage, track: Track = silent) -> Audit:
    """Check which pairs a split tests, and whether images or their files are on both sides."""
    vocabulary = split.vocabulary(store)
    of_unseen = np.array([pair.object in vocabulary.unseen_objects for pair in vocabulary.pairs])
    counts = np.zeros(len(vocabulary.pairs), np.int64)
    for ids, is_tested in ((split.val, np.ones_like(of_unseen)), (split.val_unseen, of_unseen)):
        for record in track((store[key] for key in store.record_keys(ids)), "check val", len(ids)):
            counts += _count_pairs(record.pair_map().ravel(), len(counts)) * is_tested
    train, val = set(split.train), set(split.val)
    records = (store[key] for key in store.record_keys(train | val))
    groups, missing = same_files({record.image_id: store.image_path(record) for record in records})
    return Audit(
        leakage,
        tested=int(counts.sum()),
        untested=tuple(pair.name for pair, count in zip(vocabulary.pairs, counts, strict=True) if not count),
        in_both=tuple(sorted(train & val)),
        same_photo=groups,
        across=sum(not train.isdisjoint(group) and not val.isdisjoint(group) for group in groups),
        missing=missing,
    )


def same_files(images: Mapping[str, Path]) -> tuple[tuple[tuple[str, ...], ...], int]:
    """Return the groups of image ids whose files are the same byte by byte, and the number of unreadable files.

    Only files of equal size are read. An image saved twice in different files is not found.
    """
    by_size, unreadable = _group(images, lambda name: images[name].stat().st_size)
    by_content: list[list[str]] = []
    for names in by_size:
        if len(names) > 1:
            groups, more = _group(names, lambda name: file_digest(images[name]))
            by_content += groups
            unreadable += more
    return tuple(sorted(tuple(sorted(names)) for names in by_content if len(names) > 1)), len(unreadable)


def _group(names: Iterable[str], key: Callable[[str], Hashable]) -> tuple[list[list[str]], list[str]]:
    """Group names by their key; also return the names whose key cannot be read."""
    groups: dict[Hashable, list[str]] = {}
    unreadable = []
    for name in names:
        try:
            groups.setdefault(key(name), []).append(name)
        except OSError:
            unreadable.append(name)
    return list(groups.values()), unreadable
