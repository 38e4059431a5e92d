"""`partseg weights`: import published weights, list, verify and pack checkpoints."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from partseg_cli.data.manifest import load_manifest
from partseg_cli.errors import CheckpointError
from partseg_cli.io.hashing import file_digest
from partseg_cli.io.paths import weights_folders
from partseg_cli.models.builder import load_model
from partseg_cli.models.checkpoints import importer
from partseg_cli.models.checkpoints.checkpoint import (
    CheckpointHeader,
    checkpoint_file,
    load_checkpoint,
    read_header,
    save_checkpoint,
    weights_digest,
)
from partseg_cli.models.checkpoints.hub import HUB_WEIGHTS, find_local
from partseg_cli.models.checkpoints.importer import (
    TOLERANCE,
    ImportResult,
    check_new_file,
    find_file,
    reference_logits,
    relative_error,
)
from partseg_cli.models.checkpoints.layouts import CLIP_LICENCE, CLIPSEG_LICENCE
from partseg_cli.runtime.devices import memory_watch

PATTERNS = ("*.safetensors", "*.pth", "*.pt", "*.bin")
LICENCES = {
    "rd64-refined": CLIPSEG_LICENCE,
    "clip": CLIP_LICENCE,
    "nano": "MIT, drawn and trained by this project",
    "random": "that of the training data, no published weights are in it",
}
"""Value of `model.init` -> terms of what is trained from it."""


@dataclass(frozen=True)
class WeightsFile:
    """Weights on this machine.

    Attributes:
        name: Name of the file, or of the repository that it comes from.
        format: Layout of the import, "trained ...", "start: ..." (for `model.init`), or "not imported".
        bytes: Size of the file.
        sha256: SHA-256 of the file.
        licence: Terms in one line.
        path: Path of the file.
        is_checkpoint: Whether `predict` accepts it.
    """

    name: str
    format: str
    bytes: int
    sha256: str
    licence: str
    path: Path
    is_checkpoint: bool

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return vars(self) | {"path": str(self.path)}


@dataclass(frozen=True)
class VerifyResult:
    """Result of the checks of one checkpoint.

    Attributes:
        path: Path as given.
        format: As in `WeightsFile`.
        drift: Error of the reference logits relative to their largest magnitude; None if none are stored.
        tensors: Number of tensors.
        random: Number of tensors that the imported file lacked.
        problem: First check that fails, None if all pass.
    """

    path: Path
    format: str = "-"
    drift: float | None = None
    tensors: int = 0
    random: int = 0
    problem: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return vars(self) | {"path": str(self.path), "tolerance": TOLERANCE}


def import_weights(
    source: str, out: Path, *, layout: str | None = None, dataset: str = "pascal-part-116", allow_partial: bool = False
) -> ImportResult:
    """Convert published weights to a checkpoint.

    Args:
        source: A file, a folder that holds one, or `CIDAS/clipseg-rd64-refined`.
        out: New .safetensors file.
        layout: Name of the layout; None recognises it by the names in the file.
        dataset: Dataset whose vocabulary the weights were trained with.
        allow_partial: Whether random weights may replace missing or wrong ones.

    Raises:
        CheckpointError: The file is broken, of no known layout, does not fit, or holds NaN.
        DataError: There is no such dataset.
        UsageError: `out` exists, or is no .safetensors file.
    """
    check_new_file(out)
    vocabulary = load_manifest(dataset).vocabulary
    path = find_file(source)
    with memory_watch("import on a machine with more memory"):
        return importer.import_weights(
            path, out, dataset=dataset, vocabulary=vocabulary, layout_name=layout, allow_partial=allow_partial
        )


def list_weights() -> list[WeightsFile]:
    """List the weights in `$PARTSEG_WEIGHTS`, the user's cache and the Hugging Face cache, in this order."""
    paths = dict.fromkeys(path for home in weights_folders() for path in _weights_in(home))
    files = [_describe(path) for path in paths]
    for init, weights in HUB_WEIGHTS.items():
        if path := find_local(weights):
            about = (f"start: model.init={init}", path.stat().st_size, file_digest(path), LICENCES[init], path, False)
            files.append(WeightsFile(weights.repository, *about))
    return files


def _weights_in(home: Path) -> Iterator[Path]:
    """Yield `home` if it is a file, the checkpoint of a run, else the files of weights right in the folder."""
    if home.is_file():
        yield home
    elif home.is_dir():
        with suppress(CheckpointError):
            yield checkpoint_file(home)
            return
        yield from sorted(path for pattern in PATTERNS for path in home.glob(pattern) if path.is_file())


def _describe(path: Path) -> WeightsFile:
    kind, licence, is_checkpoint = "not imported", "see where it comes from", False
    with suppress(CheckpointError):
        header = read_header(path)
        init, is_checkpoint = str(header.model.get("init")), True
        trained_from = f"trained from model.init={init}: {LICENCES.get(init, 'unknown')}"
        kind, licence = _format(header), str(header.imported.get("licence") or trained_from)
    return WeightsFile(path.name, kind, path.stat().st_size, file_digest(path), licence, path, is_checkpoint)


def _format(header: CheckpointHeader) -> str:
    return str(header.imported.get("format") or f"trained {header.model.get('name')}, step {header.step}")


def verify_weights(paths: Sequence[Path] = ()) -> list[VerifyResult]:
    """Check the digest, names, shapes, finiteness and reference logits of checkpoints.

    Args:
        paths: Checkpoints or run directories; empty means every checkpoint that `list_weights` returns.
    """
    results = []
    for path in paths or [file.path for file in list_weights() if file.is_checkpoint]:
        try:
            results.append(_verify(path))
        except CheckpointError as error:
            results.append(VerifyResult(path, problem=str(error)))
    return results


def _verify(path: Path) -> VerifyResult:
    header, tensors = load_checkpoint(path)
    count, digest = len(tensors), weights_digest(tensors)
    del tensors  # `load_model` reads them again
    if digest != header.digest:
        raise CheckpointError(
            f"{path}: the SHA-256 of its tensors must be {header.digest}, got {digest}; the file was changed after it "
            "was written, get or import it again"
        )
    model, _ = load_model(path)
    golden = header.imported.get("golden")
    if golden is None:
        return VerifyResult(path, _format(header), None, count)
    model.text_cache.forget()  # the text encoder is checked, too
    try:
        drift = relative_error(golden["logits"], reference_logits(model, golden["image_size"]))
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: its reference logits are broken ({error!r}); import it again") from error
    if not drift <= TOLERANCE:
        raise CheckpointError(
            f"{path}: reference logits must agree to {TOLERANCE:g} of the largest magnitude, got {drift:.2g}; the "
            "model here computes something else than the one that imported it"
        )
    return VerifyResult(path, _format(header), drift, count, len(header.imported.get("missing") or ()))


def pack_weights(checkpoint: Path, out: Path) -> Path:
    """Write a copy of a checkpoint with 16-bit values.

    Raises:
        CheckpointError: As `load_model`.
        UsageError: `out` exists, or is no .safetensors file.
    """
    check_new_file(out)
    model, header = load_model(checkpoint)
    save_checkpoint(out, model, header, half=True)
    return out
