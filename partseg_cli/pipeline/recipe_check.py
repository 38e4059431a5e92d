"""`partseg recipes check`: whether recipes can be trained here, without reading data or weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from partseg_cli.config.recipe import AnyRecipe, CaptionRecipe, load_any_recipe
from partseg_cli.data.manifest import manifest_names
from partseg_cli.data.resolver import MARK
from partseg_cli.data.splits.split import PUBLISHED
from partseg_cli.errors import CheckpointError, RecipeError
from partseg_cli.io.paths import data_dir, packaged_weights
from partseg_cli.models.checkpoints.checkpoint import checkpoint_file
from partseg_cli.models.checkpoints.hub import SOURCES, on_this_machine
from partseg_cli.pipeline.recipes import packaged_recipes
from partseg_cli.training.batch_share import share_batch


@dataclass(frozen=True)
class Checked:
    """What was found out about a recipe.

    Attributes:
        recipe: as it was named.
        problem: why it cannot be trained on any machine, or not by so many processes; None: it can.
        missing: what is not there yet ("data", "split" or "weights") -> what is wanted, and how to get it.
        share: "8 x 1": forward passes of a step in each process, and their images; None where it is broken.
    """

    recipe: str
    problem: str | None
    missing: dict[str, str]
    share: str | None

    def to_json(self) -> dict[str, Any]:
        """Give plain values."""
        return vars(self)


def check_recipes(names: Sequence[str] = (), processes: int = 1) -> list[Checked]:
    """Look whether recipes load, and whether what they name is on this machine.

    Args:
        names: of packaged recipes, or files; none = all packaged.
        processes: that a batch is to be shared out to.
    """
    return [_check(name, processes) for name in names or [path.stem for path in packaged_recipes()]]


def _check(name: str, processes: int) -> Checked:
    try:
        recipe = load_any_recipe(name)
        share = share_batch(recipe, processes, name)
    except RecipeError as error:
        return Checked(name, str(error), {}, None)
    see = f"see `partseg recipes show {name}`"
    found = {"data": _data(recipe, see), "split": _split(recipe, see), "weights": _weights(recipe, see)}
    missing = {what: text for what, text in found.items() if text is not None}
    return Checked(name, None, missing, f"{share.accumulate} x {share.micro_batch}")


def _data(recipe: AnyRecipe, see: str) -> str | None:
    """Say which data set is missing; None: it is there."""
    data = recipe.data
    folder = Path(data.root) if data.root else data_dir() / data.dataset
    if (folder / MARK).is_file():
        return None
    known = data.dataset in manifest_names()
    advice = f"see `partseg prepare {data.dataset} --explain`" if known else see
    return f"{folder} is no prepared data set; {advice}"


def _split(recipe: AnyRecipe, see: str) -> str | None:
    """Say which split file is missing; None: it is there, or none is needed."""
    split = recipe.data.split
    if split == PUBLISHED or Path(split).is_file():
        return None
    return f"{split} is no file; make it with `partseg split`, {see}"


def _weights(recipe: AnyRecipe, see: str) -> str | None:
    """Say which start is missing; None: it is there, or none is needed. The network is not asked."""
    init = "random" if isinstance(recipe, CaptionRecipe) else recipe.model.init
    if init == "random" or (init in SOURCES and on_this_machine(SOURCES[init])):
        return None
    if init in SOURCES:
        return f"{SOURCES[init].repository} is not on this machine; run `hf download {SOURCES[init].repository}`"
    try:
        path = packaged_weights("nano-start") if init == "nano" else checkpoint_file(Path(init))
    except CheckpointError as error:
        return str(error)
    return None if path.is_file() else f"{path} is no checkpoint; train it, {see}"
