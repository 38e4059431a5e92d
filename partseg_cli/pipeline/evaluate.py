"""`partseg evaluate`: a checkpoint and labelled photos -> scores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from partseg_cli.data.splits import Split, load_split, select
from partseg_cli.data.store import Store
from partseg_cli.devices import Compute, memory_watch
from partseg_cli.evaluators.runner import Result, count_images, summarise
from partseg_cli.pipeline.find import find_weights
from partseg_cli.pipeline.models import Opened, open_model
from partseg_cli.pipeline.progress import Track, silent
from partseg_cli.places import data_folder, new_run
from partseg_cli.recipe import DataSection, Recipe
from partseg_cli.report import write_result
from partseg_cli.training.checkpoint import checkpoint_file


@dataclass(frozen=True)
class Evaluated:
    """An evaluation that is done.

    Attributes:
        folder: with results.json and results.csv.
        result: the scores.
        about: what was evaluated, for reports.
    """

    folder: Path
    result: Result
    about: dict[str, Any]


def evaluate(
    recipe: Recipe,
    *,
    checkpoint: Path | None = None,
    model: str | None = None,
    protocol: str,
    split: str = "val",
    per_image: bool = False,
    out: Path | None = None,
    compute: Compute,
    track: Track = silent,
    tell: Callable[[str], None] = lambda line: None,
) -> Evaluated:
    """Score a checkpoint on the data of a recipe; the model and its switches are the checkpoint's.

    Which checkpoint `checkpoint` and `model` mean is told in `find_checkpoint`.
    """
    checkpoint = find_weights(checkpoint, model, tell)
    opened, header = open_model(checkpoint, compute)
    store, division = open_data(recipe.data)
    result = score(opened, store, division, protocol, split, per_image, track)
    about = {
        "split": split,
        "dataset": store.info.name,
        "data_split": recipe.data.split,
        "train_images_for_unseen": len(division.val_unseen) if split == "val" else 0,
        "model": header.model["name"],
        "backbone": header.model["backbone"],
        "checkpoint": str(checkpoint_file(checkpoint)),
        "step": header.step,
        "samples": "image" if per_image else "image x object",
    }
    folder = out or new_run("evaluate", recipe.name)
    write_result(folder, result, about)
    return Evaluated(folder, result, about)


def score(
    model: Opened,
    store: Store,
    division: Split,
    protocol: str,
    split: str = "val",
    per_image: bool = False,
    track: Track = silent,
) -> Result:
    """Score a model on one split of a store; the test may take the unseen objects of train images as well."""
    vocabulary = division.vocabulary(store)
    places = select(store, division.images(split))
    beside = select(store, division.val_unseen) if split == "val" else []
    count = partial(
        count_images,
        model,
        store,
        vocabulary=vocabulary,
        protocol=protocol,
        per_image=per_image,
        image_size=model.section.image_size,
        batch=model.compute.batch,
    )
    of_unseen = [pair.object in vocabulary.unseen_objects for pair in vocabulary.pairs]
    images = chain(count(places), count(beside, scored=of_unseen))
    counts = torch.zeros(len(vocabulary.pairs) + 1, len(vocabulary.pairs) + 1, dtype=torch.long)
    with memory_watch("lower --batch or --prompt-chunk, or choose another --device"):
        for image in track(images, f"evaluate {protocol}", len(places) + len(beside)):
            counts += image
    return summarise(counts, vocabulary, protocol)


def open_data(data: DataSection) -> tuple[Store, Split]:
    """Open the store and the split of a recipe's `data` section."""
    store = Store.open(Path(data.root) if data.root else data_folder() / data.dataset)
    return store, load_split(store, data.split)
