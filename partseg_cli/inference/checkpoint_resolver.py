"""Resolution of the options --checkpoint and --model: a file, a name, or the weights on this machine."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from partseg_cli.data.manifest import load_manifest
from partseg_cli.errors import CheckpointError, UsageError
from partseg_cli.io.paths import cache_dir, packaged_weights, weights_folders
from partseg_cli.models.checkpoints.checkpoint import read_header
from partseg_cli.runtime.devices import memory_watch

CLIPSEG = "clipseg-rd64-refined"
DATASET = "pascal-part-116"
"""Dataset whose vocabulary imported weights get by default."""
BUNDLED = "nano"
"""Name of the model that comes with the package."""


def find_checkpoint(
    checkpoint: Path | None = None, model: str | None = None, log: Callable[[str], None] = lambda line: None
) -> Path | None:
    """Return the checkpoint that the user names, else the only one on this machine, else None.

    Args:
        checkpoint: Path of a checkpoint or run directory.
        model: Name of a checkpoint in `$PARTSEG_WEIGHTS` or the user's cache; "clipseg-rd64-refined", which is
            imported to the user's cache; or "nano", which comes with the package.
        log: Callback for one-line status messages.

    Without either it is the only checkpoint in `$PARTSEG_WEIGHTS`, else in the user's cache, else CLIPSeg's published
    weights if they are on this machine.

    Raises:
        CheckpointError: There is none of that name, or there are several to choose from.
        UsageError: Both are given.
    """
    if checkpoint is not None and model is not None:
        raise UsageError(f"--checkpoint and --model: give one of them, got {checkpoint} and {model}")
    if checkpoint is not None:
        return checkpoint
    return _only_checkpoint(log) if model is None else _named_checkpoint(model, log)


def find_weights(
    checkpoint: Path | None = None, model: str | None = None, log: Callable[[str], None] = lambda line: None
) -> Path:
    """Return the checkpoint as `find_checkpoint` does.

    Raises:
        CheckpointError: Also if there is none on this machine.
    """
    found = find_checkpoint(checkpoint, model, log)
    if found is None:
        raise CheckpointError(
            f"trained weights are needed, got none (looked in {_searched()}): pass --checkpoint RUN_FOLDER after "
            "`partseg train`, bring published ones with `partseg weights import`, or, where there is a network, let "
            f"--model {CLIPSEG} fetch CLIPSeg's; --model {BUNDLED} is bundled, but knows cartoons only"
        )
    return found


def _named_checkpoint(name: str, log: Callable[[str], None]) -> Path:
    for home in weights_folders():
        for path in (home / f"{name}.safetensors", home / name):
            if path != _clipseg_copy() and _is_checkpoint(path):
                return path
    if name == CLIPSEG:
        return _import_clipseg(log)
    if name == BUNDLED:
        return packaged_weights(BUNDLED)
    names = [path.stem for home in weights_folders() for path in _checkpoints(home)]
    raise CheckpointError(
        f"--model must name a checkpoint in {_searched()} ({', '.join(names) or 'none there'}) or be {BUNDLED} or "
        f"{CLIPSEG}, got {name!r}; or pass a file to --checkpoint"
    )


def _only_checkpoint(log: Callable[[str], None]) -> Path | None:
    from partseg_cli.models.checkpoints.hub import HUB_WEIGHTS, find_local

    for home in weights_folders():
        found = _checkpoints(home)
        if len(found) > 1:
            names = ", ".join(path.name for path in found)
            raise CheckpointError(
                f"{home}: holds several checkpoints ({names}); choose one with --checkpoint or --model"
            )
        if found:
            return found[0] if found[0] != _clipseg_copy() else _import_clipseg(log)
    return _import_clipseg(log) if find_local(HUB_WEIGHTS["rd64-refined"]) else None


def _import_clipseg(log: Callable[[str], None]) -> Path:
    """Return CLIPSeg's weights as a checkpoint in the user's cache, imported again if the published file is newer."""
    # Most predictions do without the hub and the importer.
    from partseg_cli.models.checkpoints.hub import HUB_WEIGHTS, find_local, find_or_download
    from partseg_cli.models.checkpoints.importer import find_file, import_weights
    from partseg_cli.models.checkpoints.layouts import LAYOUTS

    weights = HUB_WEIGHTS["rd64-refined"]
    copy, source = _clipseg_copy(), find_local(weights)
    if _is_checkpoint(copy) and (source is None or source.stat().st_mtime < copy.stat().st_mtime):
        return copy
    copy.unlink(missing_ok=True)
    source = source or find_or_download(weights, f"--model {CLIPSEG}")
    log(f"{source}: copied to {copy}, {LAYOUTS[CLIPSEG].licence}")
    with memory_watch("import on a machine with more memory"):
        vocabulary = load_manifest(DATASET).vocabulary
        return import_weights(find_file(str(source)), copy, dataset=DATASET, vocabulary=vocabulary).path


def _clipseg_copy() -> Path:
    return cache_dir() / f"{CLIPSEG}.safetensors"


def _checkpoints(home: Path) -> list[Path]:
    """List the checkpoints of this tool at `home`: the file itself, or those right in the folder."""
    if _is_checkpoint(home):
        return [home]
    return [path for path in sorted(home.glob("*.safetensors")) if _is_checkpoint(path)]


def _is_checkpoint(path: Path) -> bool:
    with suppress(CheckpointError):
        read_header(path)
        return True
    return False


def _searched() -> str:
    return ", ".join(str(home) for home in weights_folders())
