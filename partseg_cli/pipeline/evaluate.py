"""`partseg evaluate`: a checkpoint and labelled photos -> scores."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from partseg_cli.data.splits import Split, load_split, select
from partseg_cli.data.store import Store
from partseg_cli.devices import choose_device, memory_watch
from partseg_cli.errors import CheckpointError, RecipeError
from partseg_cli.evaluators.runner import Result, count_images, summarise
from partseg_cli.model.weights import build_model, load_checked
from partseg_cli.pipeline.progress import Track, silent
from partseg_cli.places import data_folder, new_run
from partseg_cli.recipe import DataSection, Recipe, check_model
from partseg_cli.report import write_result
from partseg_cli.training.checkpoint import Header, checkpoint_file, load_checkpoint


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
    checkpoint: Path,
    protocol: str,
    split: str = "val",
    per_image: bool = False,
    out: Path | None = None,
    device: str = "auto",
    track: Track = silent,
) -> Evaluated:
    """Score a checkpoint on the data of a recipe; the model and its switches are the checkpoint's."""
    where = choose_device(device)
    model, header = open_model(checkpoint, where)
    _check_model(checkpoint, header, recipe)
    store, division = open_data(recipe.data)
    result = score(model, store, division, header.model["image_size"], where, protocol, split, per_image, track)
    about = {
        "split": split,
        "dataset": store.info.name,
        "data_split": recipe.data.split,
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
    model: nn.Module,
    store: Store,
    division: Split,
    image_size: int,
    device: torch.device,
    protocol: str,
    split: str = "val",
    per_image: bool = False,
    track: Track = silent,
) -> Result:
    """Score a model on one split of a store."""
    vocabulary = division.vocabulary(store)
    places = select(store, division.images(split))
    counts = torch.zeros(len(vocabulary.pairs) + 1, len(vocabulary.pairs) + 1, dtype=torch.long)
    model.eval()
    images = count_images(
        model,
        store,
        places,
        vocabulary,
        protocol=protocol,
        per_image=per_image,
        image_size=image_size,
        device=device,
    )
    with memory_watch("close other programs or choose another --device"):
        for image in track(images, f"evaluate {protocol}", len(places)):
            counts += image
    return summarise(counts, vocabulary, protocol)


def open_data(data: DataSection) -> tuple[Store, Split]:
    """Open the store and the split of a recipe's `data` section."""
    store = Store.open(Path(data.root) if data.root else data_folder() / data.dataset)
    return store, load_split(store, data.split)


def open_model(checkpoint: Path, device: torch.device) -> tuple[nn.Module, Header]:
    """Build the model of a checkpoint, with the checkpoint's switches, in evaluation mode."""
    header, tensors = load_checkpoint(checkpoint)
    try:
        section = check_model(header.model, str(checkpoint))
        model = build_model(**{**asdict(section), "init": "random"})
    except (RecipeError, ValueError) as error:
        raise CheckpointError(f"{checkpoint}: names a model that this version cannot build ({error})") from error
    load_checked(model, tensors, checkpoint)
    return model.to(device).eval(), header


def _check_model(checkpoint: Path, header: Header, recipe: Recipe) -> None:
    for key in ("name", "backbone", "image_size"):
        wanted, got = getattr(recipe.model, key), header.model.get(key)
        if wanted != got:
            raise CheckpointError(
                f"{checkpoint}: model.{key} must be {wanted!r} as the recipe {recipe.name} says, got {got!r}; "
                f"name the recipe that it was trained with ({header.recipe})"
            )
