"""`partseg split`: seen and unseen objects, train and val images, and proof that nothing leaks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from partseg_cli.data.loader import Leakage, TrainSet, Views, check_leakage
from partseg_cli.data.splits import Split, draw_split, write_split
from partseg_cli.data.store import Store
from partseg_cli.errors import PartsegError
from partseg_cli.vocabulary import Vocabulary


@dataclass(frozen=True)
class Divided:
    """A split that was written.

    Attributes:
        path: of its file.
        split: itself.
        vocabulary: the store's pairs with its seen flags.
        leakage: what a training run with it is fed.
    """

    path: Path
    split: Split
    vocabulary: Vocabulary
    leakage: Leakage


def split(
    folder: Path,
    *,
    out: Path | None = None,
    unseen: Sequence[str] | None = None,
    val_fraction: float | None = None,
    shots: int | None = None,
    seed: int = 0,
) -> Divided:
    """Make a split of the store in `folder` and check it on what the loader would feed.

    Raises:
        PartsegError: a label of an unseen pair would be fed.
    """
    store = Store.open(folder)
    made = draw_split(store, unseen=unseen, val_fraction=val_fraction, shots=shots, seed=seed)
    vocabulary = made.vocabulary(store)
    # Leakage is judged at native size, so the views of a recipe do not matter here.
    views = Views(
        image_size=32,
        shortest_edge=None,
        longest_edge=1,
        flip=0.0,
        train_channel_order="rgb",
        unlabelled_objects="background",
    )
    leakage = check_leakage(TrainSet(store, made.images("train"), vocabulary, views, seed), vocabulary)
    if leakage.leaked:
        raise PartsegError(f"{folder}: training must be fed no label of an unseen pair, got {leakage.leaked} pixels")
    path = out or folder / "split.yaml"
    write_split(path, made)
    return Divided(path, made, vocabulary, leakage)
