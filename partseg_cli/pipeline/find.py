"""Which weights a command means: a file, a name, or what is on this machine."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from partseg_cli.errors import CheckpointError, UsageError
from partseg_cli.model.hub import SOURCES, on_this_machine, weights_folders
from partseg_cli.pipeline.weights import import_weights
from partseg_cli.places import cache_folder
from partseg_cli.training.checkpoint import read_header

CLIPSEG = SOURCES["rd64-refined"]


def find_checkpoint(checkpoint: Path | None = None, model: str | None = None) -> Path | None:
    """Give the checkpoint that a user means, None if there is nothing on this machine.

    Args:
        checkpoint: a file or run folder.
        model: name of a checkpoint in `$PARTSEG_WEIGHTS` or the user's cache, or "clipseg-rd64-refined", which is
            imported into the user's cache from wherever it is.

    Without either it is the one checkpoint in `$PARTSEG_WEIGHTS`, else in the user's cache, else CLIPSeg's published
    weights if they are on this machine.

    Raises:
        CheckpointError: there is none of that name, or there are several to choose from.
        UsageError: both are given.
    """
    if checkpoint is not None and model is not None:
        raise UsageError(f"--checkpoint and --model: give one of them, got {checkpoint} and {model}")
    if checkpoint is not None:
        return checkpoint
    return _only_one() if model is None else _named(model)


def find_weights(checkpoint: Path | None = None, model: str | None = None) -> Path:
    """Give the checkpoint as `find_checkpoint`.

    Raises:
        CheckpointError: also where there is nothing.
    """
    found = find_checkpoint(checkpoint, model)
    if found is None:
        raise CheckpointError(
            f"trained weights are needed, got none (looked in {_looked()}): pass --checkpoint RUN_FOLDER after "
            "`partseg train` or `partseg demo`, bring published ones with `partseg weights import`, or, where there is "
            f"a network, let --model {CLIPSEG.folder} fetch CLIPSeg's; `predict --allow-random` tries it without any"
        )
    return found


def _named(name: str) -> Path:
    for home in weights_folders():
        for path in (home / f"{name}.safetensors", home / name):
            if _is_checkpoint(path):
                return path
    if name == CLIPSEG.folder:
        return _import_clipseg()
    names = [path.stem for home in weights_folders() for path in _checkpoints(home)]
    raise CheckpointError(
        f"--model must name a checkpoint in {_looked()} ({', '.join(names) or 'none there'}) or be {CLIPSEG.folder}, "
        f"got {name!r}; or pass a file to --checkpoint"
    )


def _only_one() -> Path | None:
    for home in weights_folders():
        found = _checkpoints(home)
        if len(found) > 1:
            names = ", ".join(path.name for path in found)
            raise CheckpointError(
                f"{home}: holds several checkpoints ({names}); choose one with --checkpoint or --model"
            )
        if found:
            return found[0]
    return _import_clipseg() if on_this_machine(CLIPSEG) else None


def _import_clipseg() -> Path:
    path = cache_folder() / f"{CLIPSEG.folder}.safetensors"
    path.unlink(missing_ok=True)  # one of a former version
    return import_weights(CLIPSEG.repository, path).path


def _checkpoints(home: Path) -> list[Path]:
    """List the checkpoints of this tool at `home`: itself, or those right in the folder."""
    return (
        [home]
        if _is_checkpoint(home)
        else [path for path in sorted(home.glob("*.safetensors")) if _is_checkpoint(path)]
    )


def _is_checkpoint(path: Path) -> bool:
    with suppress(CheckpointError):
        read_header(path)
        return True
    return False


def _looked() -> str:
    return ", ".join(str(home) for home in weights_folders())
