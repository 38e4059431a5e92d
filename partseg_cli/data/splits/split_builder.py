"""Building of splits: unseen classes, val as a share of the images, few-shot lists, and what the test covers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from partseg_cli.data.splits.class_matching import ABSENT, ClassMapping
from partseg_cli.data.splits.split import VAL, VAL_AND_TRAIN_UNSEEN, Split, images_showing, pairs_of, published_split
from partseg_cli.data.store import Store, iterate
from partseg_cli.errors import UsageError
from partseg_cli.vocabulary import Vocabulary


@dataclass(frozen=True)
class UnseenClasses:
    """Choice of the unseen pairs.

    Attributes:
        rule: How they were chosen, in words.
        objects: Objects all of whose pairs are unseen.
        parts: Parts all of whose pairs are unseen.
        pairs: Further unseen pairs, (object, part).
        test: What a test covers by default, VAL or VAL_AND_TRAIN_UNSEEN; None: the published rule of the dataset.
    """

    rule: str
    objects: tuple[str, ...]
    parts: tuple[str, ...] = ()
    pairs: tuple[tuple[str, str], ...] = ()
    test: str | None = None


def unseen_by_name(vocabulary: Vocabulary, objects: Sequence[str] | None, parts: Sequence[str] = ()) -> UnseenClasses:
    """Choose unseen objects and parts by their names; objects None = the published ones.

    Raises:
        VocabularyError: A name is not in the vocabulary.
        UsageError: No pair stays seen.
    """
    chosen = vocabulary.unseen_objects if objects is None else sorted(set(objects))
    if not any(vocabulary.with_unseen(chosen).is_seen):
        raise UsageError("--unseen: at least one object must stay seen, got all of them; leave one out")
    if not any(vocabulary.with_unseen(chosen, parts).is_seen):
        raise UsageError("--unseen-parts: at least one pair must stay seen, got none of them; leave a part out")
    rules = []
    if chosen:
        rules.append("seen objects published" if objects is None else "seen objects chosen")
    if parts:
        rules.append(f"unseen parts {', '.join(sorted(set(parts)))}")
    return UnseenClasses(", ".join(rules) or "all seen", tuple(chosen), tuple(sorted(set(parts))))


def unseen_across(mappings: Sequence[ClassMapping], source: str) -> UnseenClasses:
    """Choose the pairs that the dataset called `source` does not have.

    The test then covers val alone: a published rule belongs to the published unseen objects.

    Raises:
        UsageError: The source has none of the pairs.
    """
    found = {mapping.target.object for mapping in mappings if mapping.relation != ABSENT}
    if not found:
        raise UsageError(
            f"--trained-on {source}: at least one pair of the two datasets must agree, got none of {len(mappings)}; "
            "name another dataset"
        )
    absent = [mapping.target for mapping in mappings if mapping.relation == ABSENT]
    return UnseenClasses(
        f"seen where {source} has the pair",
        objects=tuple(sorted({pair.object for pair in absent} - found)),
        pairs=tuple(sorted((pair.object, pair.part) for pair in absent if pair.object in found)),
        test=VAL,
    )


def build_split(
    store: Store,
    unseen: UnseenClasses,
    *,
    val_fraction: float | None = None,
    shots: int | None = None,
    seed: int = 0,
    test: str | None = None,
) -> Split:
    """Build a split of a store.

    Args:
        store: Prepared dataset.
        unseen: Choice of the unseen pairs.
        val_fraction: Share of *all* images (of train and val) drawn for val; None = the published lists. Images with
            and without unseen pairs are drawn separately, so that both groups can be scored.
        shots: Number of images with a seen part of each object that train keeps; None = all. Where the dataset was
            published with a list of that many shots, and its val is kept, that list is taken.
        seed: Seed of the random choices.
        test: What the test covers, VAL or VAL_AND_TRAIN_UNSEEN; None = the default of `unseen`.

    Raises:
        UsageError: A value is outside its range.
    """
    if val_fraction is not None and not 0 < val_fraction < 1:
        raise UsageError(f"--val-fraction must be between 0 and 1, got {val_fraction:g}")
    if shots is not None and shots < 1:
        raise UsageError(f"--shots must be >= 1, got {shots}")
    split = replace(
        published_split(store), unseen_objects=unseen.objects, unseen_parts=unseen.parts, unseen_pairs=unseen.pairs
    )
    vocabulary = split.vocabulary(store)
    rules = [unseen.rule]
    rng = np.random.default_rng(seed)
    if val_fraction is not None:
        split = _draw_val(store, split, vocabulary, val_fraction, rng)
        rules.append(f"val drawn as {val_fraction:g} of all images")
    tests_train = (test or unseen.test or store.info.test) == VAL_AND_TRAIN_UNSEEN
    tested = images_showing(store, split.train, vocabulary.unseen_objects) if tests_train else ()
    split = replace(split, val_unseen=tested)  # before the shots: few-shot lists do not change the test
    if tested:
        rules.append("tested on val and the unseen objects of train")
    if shots is not None:
        published = dict(store.info.lists).get(f"train_{shots}shot") if val_fraction is None else None
        split, rule = (
            _keep_listed(split, published, shots) if published else _draw_shots(store, split, vocabulary, shots, rng)
        )
        rules.append(rule)
    return replace(split, rule=", ".join(rules), seed=seed)


def _draw_val(store: Store, split: Split, vocabulary: Vocabulary, fraction: float, rng: np.random.Generator) -> Split:
    groups: dict[bool, list[str]] = {True: [], False: []}
    everything = []
    for _, record in iterate(store):
        everything.append(record.image_id)
        groups[any(not vocabulary.is_seen[part.pair] for part in record.parts)].append(record.image_id)
    val: set[str] = set()
    for ids in groups.values():
        val.update(rng.permutation(ids)[: round(fraction * len(ids))].tolist())
    return replace(
        split, train=tuple(i for i in everything if i not in val), val=tuple(i for i in everything if i in val)
    )


def _keep_listed(split: Split, listed: Sequence[str], shots: int) -> tuple[Split, str]:
    """Keep the train images of a published list, which may name images that could not be converted."""
    kept = tuple(image for image in split.train if image in set(listed))
    missing = len(set(listed)) - len(kept)
    less = f" ({missing} of its {len(set(listed))} images are not there)" if missing else ""
    return replace(split, train=kept), f"train is the published {shots}-shot list{less}"


def _draw_shots(
    store: Store, split: Split, vocabulary: Vocabulary, shots: int, rng: np.random.Generator
) -> tuple[Split, str]:
    """Keep, for each seen object in turn, images at random until `shots` of those kept show a seen part of it."""
    seen = {(pair.object, pair.part) for pair in vocabulary.pairs if pair.is_seen}
    train = set(split.train)
    shows = {
        record.image_id: {p.object for p in pairs_of(store, record) if (p.object, p.part) in seen}
        for _, record in iterate(store)
        if record.image_id in train
    }
    kept: set[str] = set()
    for name in sorted({name for name, _ in seen}):
        candidates = [image for image in split.train if name in shows[image]]
        missing = shots - sum(image in kept for image in candidates)
        fresh = [image for image in rng.permutation(candidates).tolist() if image not in kept]
        kept.update(fresh[: max(missing, 0)])
    drawn = replace(split, train=tuple(image for image in split.train if image in kept))
    return drawn, f"train drawn as {shots} images of each seen object"
