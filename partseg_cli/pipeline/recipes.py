"""`partseg recipes`: list, show and copy recipes, and check whether they can be trained on this machine."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from partseg_cli.config.recipe import AnyRecipe, CaptionRecipe, find_recipe, load_any_recipe
from partseg_cli.errors import CheckpointError, PartsegError, RecipeError, UsageError, one_line
from partseg_cli.io.paths import data_dir, packaged, packaged_weights


@dataclass(frozen=True)
class RecipeEntry:
    """Entry of the list of packaged recipes.

    Attributes:
        name: Name for `partseg train`.
        task: "parts", "captions" or "phrases".
        dataset: Name of the training dataset.
        model: Name of the model.
        purpose: First sentence of the recipe's head comment.
        path: Path of the recipe.
    """

    name: str
    task: str
    dataset: str
    model: str
    purpose: str
    path: Path

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return vars(self) | {"path": str(self.path)}


@dataclass(frozen=True)
class RecipeCheck:
    """Result of the check of a recipe.

    Attributes:
        recipe: Name as given.
        problem: Reason why the recipe cannot be trained anywhere, or not by that number of processes; None if it can.
        missing: What is absent here ("data", "split" or "weights") -> its name, and how to get it.
        share: "8 x 1": forward passes per step and process, and images in each; None if there is a problem.
    """

    recipe: str
    problem: str | None
    missing: dict[str, str]
    share: str | None

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return vars(self)


def packaged_recipes() -> list[Path]:
    """Return the files of the packaged recipes, sorted by name."""
    return sorted(packaged("recipes").glob("*.yaml"))


def list_recipes() -> list[RecipeEntry]:
    """List the packaged recipes, sorted by name."""
    entries = []
    for path in packaged_recipes():
        recipe = load_any_recipe(str(path))
        purpose = first_sentence(path.read_text(encoding="utf-8"))
        entries.append(RecipeEntry(recipe.name, recipe.task, recipe.data.dataset, recipe.model.name, purpose, path))
    return entries


def first_sentence(text: str) -> str:
    r"""Return the first sentence of a recipe's head comment without its commands; empty if there is no comment.

    >>> first_sentence("# Cats, one\n# by one. Then dogs.\n#   partseg train cats.yaml\ndata:")
    'Cats, one by one.'
    """
    head = re.match(r"(#.*\n?)*", text)
    lines = [line[1:] for line in (head[0] if head else "").splitlines()]
    words = " ".join(line.strip() for line in lines if not line.startswith("   "))
    sentence = re.match(r".*?\.(?=\s|$)", words)
    return sentence[0] if sentence else words


def show_recipe(name: str, overrides: Sequence[str] = ()) -> str:
    """Return the text of a recipe's file; with overrides, the complete recipe after they are applied.

    Raises:
        RecipeError: There is no such recipe, or the overrides do not fit.
    """
    if overrides:
        return load_any_recipe(name, overrides).to_yaml()
    return _read(find_recipe(name))


def copy_recipe(name: str, to: Path | None = None) -> Path:
    """Copy the file of a recipe; return the new file.

    Args:
        name: Name of a packaged recipe, or a file.
        to: New file, or a folder for it; default `./<name>.yaml`.

    Raises:
        RecipeError: There is no such recipe.
        UsageError: The new file exists.
        PartsegError: The new file cannot be written.
    """
    source = find_recipe(name)
    path = source.name if to is None else to / source.name if to.is_dir() else to
    path = Path(path)
    if path.exists() or path.is_symlink():
        raise UsageError(f"{path}: a copy must be a new file, got one that exists; name another, or remove it")
    text = _read(source)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise PartsegError(f"{path}: cannot be written ({error.strerror or error}); name another file") from error
    return path


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PartsegError(f"{path}: cannot be read ({one_line(error)}); fix the file") from error


def check_recipes(names: Sequence[str] = (), processes: int = 1) -> list[RecipeCheck]:
    """Check whether recipes load, and whether what they name is on this machine; reads neither data nor weights.

    Args:
        names: Names of packaged recipes, or files; empty means all packaged ones.
        processes: Number of processes that share a batch.
    """
    from partseg_cli.pipeline.train import check_batch  # needs torch, which the other commands start without

    checks = []
    for name in names or [path.stem for path in packaged_recipes()]:
        try:
            recipe = load_any_recipe(name)
            layout = check_batch(recipe, processes, name)
        except RecipeError as error:
            checks.append(RecipeCheck(name, str(error), {}, None))
        else:
            checks.append(RecipeCheck(name, None, _missing(recipe, name), f"{layout.accumulate} x {layout.micro}"))
    return checks


def _missing(recipe: AnyRecipe, name: str) -> dict[str, str]:
    """Return what a recipe names and this machine lacks, with advice on how to get it."""
    from partseg_cli.data.manifest import manifest_names
    from partseg_cli.data.resolver import MARK
    from partseg_cli.data.splits.split import PUBLISHED

    see = f"see `partseg recipes show {name}`"
    missing: dict[str, str] = {}
    data = recipe.data
    folder = Path(data.root) if data.root else data_dir() / data.dataset
    if not (folder / MARK).is_file():
        known = data.dataset in manifest_names()
        advice = f"see `partseg prepare {data.dataset} --explain`" if known else see
        missing["data"] = f"{folder} is no prepared dataset; {advice}"
    if data.split != PUBLISHED and not Path(data.split).is_file():
        missing["split"] = f"{data.split} is no file; make it with `partseg split`, {see}"
    init = "random" if isinstance(recipe, CaptionRecipe) else recipe.model.init
    if weights := _missing_weights(init, see):
        missing["weights"] = weights
    return missing


def _missing_weights(init: str, see: str) -> str | None:
    """Return the advice on start weights that are not on this machine, None if they are; the network is not used."""
    from partseg_cli.models.checkpoints.checkpoint import checkpoint_file
    from partseg_cli.models.checkpoints.hub import HUB_WEIGHTS, find_local

    if init == "random" or (init in HUB_WEIGHTS and find_local(HUB_WEIGHTS[init])):
        return None
    if init in HUB_WEIGHTS:
        repository = HUB_WEIGHTS[init].repository
        return f"{repository} is not on this machine; run `hf download {repository}`"
    try:
        path = packaged_weights("nano-start") if init == "nano" else checkpoint_file(Path(init))
    except CheckpointError as error:
        return str(error)
    return None if path.is_file() else f"{path} is no checkpoint; train it, {see}"
