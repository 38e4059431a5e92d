"""`partseg recipes list`, `show` and `copy`: the packaged recipes, and what their heads say of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from partseg_cli.config.recipe import find_recipe, load_any_recipe
from partseg_cli.errors import PartsegError, UsageError, one_line
from partseg_cli.io.paths import packaged


@dataclass(frozen=True)
class Listed:
    """A packaged recipe.

    Attributes:
        name: as `partseg train` takes it.
        task: "parts", "captions" or "phrases".
        dataset: name of the data set that it trains on.
        model: that it trains.
        purpose: the first sentence of its head.
        path: of its file.
    """

    name: str
    task: str
    dataset: str
    model: str
    purpose: str
    path: Path

    def to_json(self) -> dict[str, Any]:
        """Give plain values."""
        return vars(self) | {"path": str(self.path)}


def packaged_recipes() -> list[Path]:
    """Give the files of the packaged recipes, by name."""
    return sorted(packaged("recipes").glob("*.yaml"))


def list_recipes() -> list[Listed]:
    """Give the packaged recipes, by name."""
    return [_listed(path) for path in packaged_recipes()]


def _listed(path: Path) -> Listed:
    recipe = load_any_recipe(str(path))
    purpose = first_sentence(path.read_text(encoding="utf-8"))
    return Listed(recipe.name, recipe.task, recipe.data.dataset, recipe.model.name, purpose, path)


def first_sentence(text: str) -> str:
    r"""Give the first sentence of the comment that opens a recipe, its commands left out; empty where there is none.

    >>> first_sentence("# Cats, one\n# by one. Then dogs.\n#   partseg train cats.yaml\ndata:")
    'Cats, one by one.'
    """
    head = re.match(r"(#.*\n?)*", text)
    lines = [line[1:] for line in (head[0] if head else "").splitlines()]
    words = " ".join(line.strip() for line in lines if not line.startswith("   "))
    sentence = re.match(r".*?\.(?=\s|$)", words)
    return sentence[0] if sentence else words


def show_recipe(name: str, overrides: Sequence[str] = ()) -> str:
    """Give the text of a recipe's file as it is; with overrides, the whole recipe as they make it.

    Raises:
        RecipeError: there is no such recipe, or the overrides do not fit.
    """
    if overrides:
        return load_any_recipe(name, overrides).to_yaml()
    return _read(find_recipe(name))


def copy_recipe(name: str, to: Path | None = None) -> Path:
    """Copy the file of a recipe, and give the new file.

    Args:
        name: of a packaged recipe, or a file.
        to: the new file, or a folder for it; default `./<name>.yaml`.

    Raises:
        RecipeError: there is no such recipe.
        UsageError: the new file exists.
        PartsegError: it cannot be written.
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
        raise PartsegError(f"{path}: cannot be read ({one_line(error)}); mend it") from error
