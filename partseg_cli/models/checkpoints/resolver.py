"""Which weights a command means: a file, a name, or what is on this machine."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from partseg_cli.errors import CheckpointError, UsageError
from partseg_cli.io.paths import cache_dir, packaged_weights
from partseg_cli.models.checkpoints.checkpoint import read_header
from partseg_cli.models.checkpoints.hub import SOURCES, on_this_machine, weights_folders
from partseg_cli.models.checkpoints.hub import find_weights as find_published
from partseg_cli.models.checkpoints.importer import FORMATS, import_weights

CLIPSEG = SOURCES["rd64-refined"]
BUNDLED = "nano"
"""The model that comes with the package."""
Log = Callable[[str], None]


def find_checkpoint(
    checkpoint: Path | None = None, model: str | None = None, log: Log = lambda line: None
) -> Path | None:
    """Give the checkpoint that a user means, None if there is nothing on this machine.

    Args:
        checkpoint: a file or run folder.
        model: name of a checkpoint in `$PARTSEG_WEIGHTS` or the user's cache, or "clipseg-rd64-refined", which is
            imported into the user's cache from wherever it is, or "nano", which comes with the package.
        log: Callback for one-line status messages.

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
    return _only_one(log) if model is None else _named(model, log)


def find_weights(checkpoint: Path | None = None, model: str | None = None, log: Log = lambda line: None) -> Path:
    """Give the checkpoint as `find_checkpoint`.

    Raises:
        CheckpointError: also where there is nothing.
    """
    found = find_checkpoint(checkpoint, model, log)
    if found is None:
        raise CheckpointError(
            f"trained weights are needed, got none (looked in {_looked()}): pass --checkpoint RUN_FOLDER after "
            "`partseg train`, bring published ones with `partseg weights import`, or, where there is a network, let "
            f"--model {CLIPSEG.folder} fetch CLIPSeg's; --model {BUNDLED} is bundled, but knows cartoons only"
        )
    return found


def _named(name: str, log: Log) -> Path:
    for home in weights_folders():
        for path in (home / f"{name}.safetensors", home / name):
            if path != _copy() and _is_checkpoint(path):
                return path
    if name == CLIPSEG.folder:
        return _clipseg(log)
    if name == BUNDLED:
        return packaged_weights(BUNDLED)
    names = [path.stem for home in weights_folders() for path in _checkpoints(home)]
    raise CheckpointError(
        f"--model must name a checkpoint in {_looked()} ({', '.join(names) or 'none there'}) or be {BUNDLED} or "
        f"{CLIPSEG.folder}, got {name!r}; or pass a file to --checkpoint"
    )


def _only_one(log: Log) -> Path | None:
    for home in weights_folders():
        found = _checkpoints(home)
        if len(found) > 1:
            names = ", ".join(path.name for path in found)
            raise CheckpointError(
                f"{home}: holds several checkpoints ({names}); choose one with --checkpoint or --model"
            )
        if found:
            return found[0] if found[0] != _copy() else _clipseg(log)
    return _clipseg(log) if on_this_machine(CLIPSEG) else None


def _clipseg(log: Log) -> Path:
    """Give CLIPSeg's weights as a checkpoint in the user's cache; made anew when the published file is newer."""
    copy, source = _copy(), on_this_machine(CLIPSEG)
    if _is_checkpoint(copy) and (source is None or source.stat().st_mtime < copy.stat().st_mtime):
        return copy
    copy.unlink(missing_ok=True)
    source = source or find_published(CLIPSEG, f"--model {CLIPSEG.folder}")
    log(f"{source}: copied to {copy}, {FORMATS[CLIPSEG.folder].licence}")
    return import_weights(str(source), copy).path


def _copy() -> Path:
    return cache_dir() / f"{CLIPSEG.folder}.safetensors"


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
