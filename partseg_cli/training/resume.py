"""Resuming: which run directory a run has (`--out` and `--resume`), and the training state to resume from."""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from partseg_cli.errors import CheckpointError, DataError, RecipeError, UsageError, one_line
from partseg_cli.io.atomic import atomic_write, write_error
from partseg_cli.io.paths import check_new_folder
from partseg_cli.io.versions import refuse_newer_format
from partseg_cli.runtime.process_group import Layout

STATE_FORMAT = "partseg-state-1"
STATE_NAME = re.compile(r"step-([0-9]+)\.state")
FREE_KEYS = frozenset(
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
"""Recipe keys that may change in a resumed run: they set where and how it computes, not what."""


def find_run(name: str, out: Path | None, resume: str | None) -> Path | None:
    """Return the directory of the run to resume; None starts a new run.

    Args:
        name: Name of the recipe.
        out: Directory of the run; None chooses one.
        resume: "auto": `out`, else the latest run of this recipe unless it is finished; or a run directory.

    Raises:
        UsageError: The directory holds something else.
    """
    if resume == "auto":
        found = (out if is_run_dir(out) else None) if out is not None else _latest_unfinished(name)
    else:
        found = None if resume is None else check_run_dir(Path(resume), "auto or the folder")
        if out is not None and found is not None and out.resolve() != found.resolve():
            raise UsageError(f"--out and --resume must name one folder, got {out} and {found}; leave --out out")
    if found is None and out is not None:
        check_new_folder(out)
    return found


def is_run_dir(folder: Path) -> bool:
    """Check whether a folder holds a training run."""
    return (folder / "recipe.yaml").is_file()


def check_run_dir(folder: Path, wanted: str = "the folder") -> Path:
    """Return a folder given as `--resume`.

    Raises:
        UsageError: It holds no training run.
    """
    if not is_run_dir(folder):
        raise UsageError(f"--resume must be {wanted} of a training run, got {folder}; check the path")
    return folder


def _latest_unfinished(name: str) -> Path | None:
    """Return the latest run of a recipe in the default folder, unless it is finished."""
    own = re.compile(rf"{re.escape(name)}-[0-9]+")
    runs = [run for run in Path("runs/train").glob("*") if own.fullmatch(run.name) and is_run_dir(run)]
    latest = max(runs, key=lambda run: (run / "recipe.yaml").stat().st_mtime_ns, default=None)
    return None if latest is None or (latest / "checkpoints" / "selected.json").is_file() else latest


def read_recipe_name(folder: Path) -> str:
    """Return the name of the recipe of a run.

    Raises:
        UsageError: The run does not tell.
    """
    try:
        name: str = json.loads((folder / "env.json").read_text(encoding="utf-8"))["recipe"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{folder}/env.json: must name the recipe, got {error!r}; name the recipe itself") from error
    return name


def check_same_recipe(folder: Path, saved: Mapping[str, Any], current: Mapping[str, Any]) -> None:
    """Check that a resumed run has the recipe it was started with, `FREE_KEYS` apart.

    Raises:
        RecipeError: It has another one; the message names the keys that differ.
    """
    before, now = flatten(saved), flatten(current)
    keys = [key for key in sorted({*before, *now} - FREE_KEYS) if before.get(key) != now.get(key)]
    if keys:
        changes = ", ".join(f"{key} {before.get(key)!r} there and {now.get(key)!r} here" for key in keys)
        raise RecipeError(f"{folder}: a run is resumed with its own recipe, got another: {changes}; start a new run")


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested values by dotted keys.

    >>> flatten({"train": {"lr": 1}})
    {'train.lr': 1}
    """
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return flat


@dataclass(frozen=True)
class RunSignature:
    """Everything besides its recipe that a run depends on.

    Attributes:
        data_hash: Digest of the training data, see `Store.fingerprint`.
        layout: Distribution of a step's images over processes and forward passes.
        device: Kind of device, such as "cuda".
    """

    data_hash: str
    layout: Layout
    device: str

    @property
    def machine(self) -> dict[str, Any]:
        """Settings that must stay the same for a resumed run to give the same bits."""
        return {
            "processes": self.layout.group.size,
            "images in a forward pass": self.layout.micro,
            "device": self.device,
            "torch": str(torch.__version__),
        }


def check_state(folder: Path, state: Mapping[str, Any], signature: RunSignature, log: Callable[[str], None]) -> None:
    """Check that the training data are those of the state; log where another machine gives other last bits.

    Raises:
        DataError: The data have changed.
    """
    if state["data_hash"] != signature.data_hash:
        raise DataError(
            f"{folder}: the training data must be those of the checkpoint ({state['data_hash']}), got others "
            f"({signature.data_hash}); restore them, or start a new run"
        )
    before, now = state["machine"], signature.machine
    if changed := [f"{key} {before.get(key)} before, {now[key]} now" for key in now if before.get(key) != now[key]]:
        log(f"{folder}: resumes up to rounding, not bit for bit: {', '.join(changed)}")


def latest_state(folder: Path) -> Path | None:
    """Return the latest training state of a run that has its weights."""
    steps = {
        int(match[1]): path
        for path in (folder / "checkpoints").glob("*")
        if (match := STATE_NAME.fullmatch(path.name)) and path.with_suffix(".safetensors").is_file()
    }
    return steps[max(steps)] if steps else None


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write a training state, whole or not at all."""
    with atomic_write(path) as temporary:
        try:
            torch.save({"format": STATE_FORMAT, **state}, temporary)
        except RuntimeError as error:
            raise write_error(path, error) from error


def load_state(path: Path) -> dict[str, Any]:
    """Load a file of `save_state`; no code in it is run.

    Raises:
        CheckpointError: The file is missing or broken.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path}: is no readable training state (it holds more than tensors and plain values); train again"
        ) from error
    except (OSError, RuntimeError, EOFError, ValueError, LookupError) as error:
        reason = one_line(error)[:200] or "it is cut off"
        raise CheckpointError(f"{path}: is no readable training state ({reason}); train again") from error
    given = state.pop("format", None) if isinstance(state, dict) else type(state).__name__
    if given != STATE_FORMAT:
        refuse_newer_format(path, given, STATE_FORMAT)
        raise CheckpointError(f"{path}: must be a training state of format {STATE_FORMAT}, got {given!r}; train again")
    return state
