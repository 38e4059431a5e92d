"""`partseg weights list` and `verify`: which weights are on this machine, and whether they are whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from partseg_cli.errors import CheckpointError
from partseg_cli.models.builder import build_inference_config, load_model
from partseg_cli.models.checkpoints.checkpoint import (
    Header,
    checkpoint_file,
    load_checkpoint,
    read_header,
    weights_digest,
)
from partseg_cli.models.checkpoints.hub import SOURCES, on_this_machine, weights_folders
from partseg_cli.models.checkpoints.importer import CLIP_LICENCE, CLIPSEG_LICENCE, file_digest
from partseg_cli.models.checkpoints.reference_logits import TOLERANCE, drift, golden_logits
from partseg_cli.models.clipseg.model import CLIPSeg

KINDS = ("*.safetensors", "*.pth", "*.pt", "*.bin")
LICENCES = {
    "rd64-refined": CLIPSEG_LICENCE,
    "clip": CLIP_LICENCE,
    "nano": "MIT, drawn and trained by this project",
    "random": "that of the training data, no published weights are in it",
}
"""Start -> terms of what is trained from it."""


@dataclass(frozen=True)
class Entry:
    """Weights on this machine.

    Attributes:
        name: of the file, or of the repository that it comes from.
        format: of the import, or "trained ...", or "start: ..." (for `model.init`), or "not imported".
        bytes: of the file.
        sha256: of the file.
        licence: its terms, in a line.
        path: of the file.
        is_checkpoint: whether `predict` takes it.
    """

    name: str
    format: str
    bytes: int
    sha256: str
    licence: str
    path: Path
    is_checkpoint: bool

    def to_json(self) -> dict[str, Any]:
        """Give plain values."""
        return vars(self) | {"path": str(self.path)}


@dataclass(frozen=True)
class Verified:
    """A checkpoint that was looked through.

    Attributes:
        path: as asked.
        format: as in `Entry`.
        drift: of the golden logits, as a share of their largest magnitude; None where none are stored.
        tensors: how many it has.
        random: how many of them were not in the imported file.
        problem: what is wrong, None if nothing is.
    """

    path: Path
    format: str = "-"
    drift: float | None = None
    tensors: int = 0
    random: int = 0
    problem: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Give plain values."""
        return vars(self) | {"path": str(self.path), "tolerance": TOLERANCE}


def list_weights() -> list[Entry]:
    """Give the weights in `$PARTSEG_WEIGHTS`, the user's cache and the Hugging Face cache, in this order."""
    entries = [_entry(path) for path in dict.fromkeys(path for home in weights_folders() for path in _files(home))]
    for init, source in SOURCES.items():
        if path := on_this_machine(source):
            about = (f"start: model.init={init}", path.stat().st_size, file_digest(path), LICENCES[init], path, False)
            entries.append(Entry(source.repository, *about))
    return entries


def _files(home: Path) -> Iterator[Path]:
    """Give `home` if it is a file, the checkpoint of a run, else the files of weights right in the folder."""
    if home.is_file():
        yield home
    elif home.is_dir():
        with suppress(CheckpointError):
            yield checkpoint_file(home)
            return
        yield from sorted(path for kind in KINDS for path in home.glob(kind) if path.is_file())


def _entry(path: Path) -> Entry:
    try:
        header = read_header(path)
        about = (_format(header), _licence(header), True)
    except CheckpointError:
        about = ("not imported", "see where it comes from", False)
    kind, licence, is_checkpoint = about
    return Entry(path.name, kind, path.stat().st_size, file_digest(path), licence, path, is_checkpoint)


def _format(header: Header) -> str:
    return str(header.imported.get("format") or f"trained {header.model.get('name')}, step {header.step}")


def _licence(header: Header) -> str:
    licence = header.imported.get("licence")
    init = str(header.model.get("init"))
    return str(licence) if licence else f"trained from model.init={init}: {LICENCES.get(init, 'unknown')}"


def verify(paths: Sequence[Path]) -> list[Verified]:
    """Check the digest, names, shapes, finiteness and golden logits of checkpoints.

    Args:
        paths: files or run folders; none = every checkpoint that `list_weights` gives.
    """
    return [_verified(path) for path in paths or [entry.path for entry in list_weights() if entry.is_checkpoint]]


def _verified(path: Path) -> Verified:
    try:
        return _check(path)
    except CheckpointError as error:
        return Verified(path, problem=str(error))


def _check(path: Path) -> Verified:
    header, tensors = load_checkpoint(path)
    count, digest = len(tensors), weights_digest(tensors)
    del tensors  # `open_model` reads them again
    if digest != header.digest:
        raise CheckpointError(
            f"{path}: the SHA-256 of its tensors must be {header.digest}, got {digest}; the file was changed after it "
            "was written, get or import it again"
        )
    opened, _ = load_model(path, build_inference_config("cpu"))
    golden = header.imported.get("golden")
    if golden is None:
        return Verified(path, _format(header), None, count)
    if isinstance(opened.model, CLIPSeg):
        opened.model.text_cache.forget()  # the text tower is to be checked, too
    try:
        moved = drift(golden["logits"], golden_logits(opened.model, golden["image_size"]))
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: its golden logits are broken ({error!r}); import it again") from error
    if not moved <= TOLERANCE:
        raise CheckpointError(
            f"{path}: golden logits must agree to {TOLERANCE:g} of the largest magnitude, got {moved:.2g}; the model "
            "here computes something else than the one that imported it"
        )
    return Verified(path, _format(header), moved, count, len(header.imported.get("missing") or ()))
