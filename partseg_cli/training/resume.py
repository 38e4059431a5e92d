"""Which folder a run has, and whether it may go on there: `--out` and `--resume`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from partseg_cli.config.recipe import AnyRecipe, load_any_recipe
from partseg_cli.errors import DataError, RecipeError, UsageError
from partseg_cli.io.paths import check_new_folder
from partseg_cli.training.run_dir import RunDir

FREE = frozenset(
    {
        "data.root",
        "data.workers",
        "data.cache",
        "train.micro_batch_size",
        "train.compile",
        "train.save_interval",
        "train.keep_checkpoints",
    }
)
"""Keys that may change when a run goes on: they say where and how it computes, not what."""


def find_run(recipe: AnyRecipe, out: Path | None, resume: str | None) -> Path | None:
    """Give the folder of the run that goes on; None: a new one begins.

    Args:
        recipe: of the run.
        out: its folder, if it was named.
        resume: "auto": `out`, else the newest run of this recipe that is not done, if there is one; or a run folder.

    Raises:
        UsageError: the folder holds something else.
        RecipeError: it holds a run of another recipe; names the keys that differ.
    """
    folder = _wanted(recipe, out, resume)
    if folder is None:
        if out is not None:
            check_new_folder(out)
        return None
    _check_same(recipe, folder)
    return folder


def _wanted(recipe: AnyRecipe, out: Path | None, resume: str | None) -> Path | None:
    if resume is None:
        return None
    if resume == "auto":
        return (out if _is_run(out) else None) if out is not None else _newest(recipe)
    folder = Path(resume)
    if not _is_run(folder):
        raise UsageError(f"--resume must be auto or the folder of a training run, got {folder}; check the path")
    if out is not None and out.resolve() != folder.resolve():
        raise UsageError(f"--out and --resume must name one folder, got {out} and {folder}; leave --out out")
    return folder


def _is_run(folder: Path) -> bool:
    return (folder / "recipe.yaml").is_file()


def _newest(recipe: AnyRecipe) -> Path | None:
    """Give the newest run of a recipe where runs are by default, unless it is done."""
    own = re.compile(rf"{re.escape(recipe.name)}-[0-9]+")
    runs = [run for run in Path("runs/train").glob("*") if own.fullmatch(run.name) and _is_run(run)]
    newest = max(runs, key=lambda run: (run / "recipe.yaml").stat().st_mtime_ns, default=None)
    return None if newest is None or is_done(newest) else newest


def is_done(folder: Path) -> bool:
    """Tell whether all steps of a run were done."""
    return (folder / "checkpoints" / "selected.json").is_file()


def _check_same(recipe: AnyRecipe, folder: Path) -> None:
    """Refuse to go on with another recipe than the run began with."""
    before = flat(load_any_recipe(str(folder / "recipe.yaml")).to_dict())
    now = flat(recipe.to_dict())
    keys = [key for key in sorted(before.keys() | now.keys()) if before.get(key) != now.get(key) and key not in FREE]
    if keys:
        told = ", ".join(f"{key} {before.get(key)!r} there and {now.get(key)!r} here" for key in keys)
        raise RecipeError(f"{folder}: a run goes on with its own recipe, got another: {told}; begin a new run")


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Give nested values by dotted keys.

    >>> flat({"train": {"lr": 1}})
    {'train.lr': 1}
    """
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return found


def recipe_of(folder: Path, overrides: list[str]) -> AnyRecipe:
    """Give the recipe of a run folder, under the name that it had.

    Raises:
        UsageError: there is none.
    """
    if not _is_run(folder):
        raise UsageError(f"--resume must be the folder of a training run, got {folder}; check the path")
    return replace(load_any_recipe(str(folder / "recipe.yaml"), overrides), name=_name(folder))


def _name(folder: Path) -> str:
    """Give the name of a run's recipe."""
    try:
        name: str = json.loads((folder / "env.json").read_text(encoding="utf-8"))["recipe"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{folder}/env.json: must name the recipe, got {error!r}; name the recipe itself") from error
    return name


def check_state(run: RunDir, log: Callable[[str], None]) -> None:
    """Refuse to go on with other data, and tell where another machine gives other last bits.

    Raises:
        DataError: the data have changed.
    """
    if not run.step:
        return
    before, now = run.state["data_hash"], run.setting.data_hash
    if before != now:
        raise DataError(
            f"{run.folder}: the training data must be those of the checkpoint ({before}), got others ({now}); bring "
            "them back, or begin a new run"
        )
    then, here = run.state["machine"], run.setting.machine
    if changed := [f"{key} {then.get(key)} before, {here[key]} now" for key in here if then.get(key) != here[key]]:
        log(f"{run.folder}: goes on up to rounding, not bit for bit: {', '.join(changed)}")
