"""Checkpoints: weights as safetensors, with a header that describes them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from partseg_cli.errors import CheckpointError, PartsegError
from partseg_cli.io.atomic import atomic_write, write_error
from partseg_cli.io.hashing import digest
from partseg_cli.io.versions import refuse_newer_format
from partseg_cli.vocabulary import Vocabulary

FORMAT = "partseg-checkpoint-2"
PUBLISHED = (".pth", ".pt", ".bin")
"""Suffixes of published weights that are no safetensors."""


@dataclass(frozen=True)
class CheckpointHeader:
    """Header of a checkpoint.

    Attributes:
        model: Settings of the model, with the switches that its weights were trained with.
        vocabulary: Vocabulary of the training dataset, with seen flags.
        dataset: Name of that dataset.
        recipe: Name of the recipe.
        step: Number of training steps.
        digest: SHA-256 of the tensors, see `weights_digest`; `save_checkpoint` sets it.
        imported: Origin of imported weights: format, file, SHA-256, licence, notes; empty after training.
    """

    model: dict[str, Any]
    vocabulary: Vocabulary
    dataset: str
    recipe: str
    step: int
    digest: str = ""
    imported: dict[str, Any] = field(default_factory=dict)


def weights_digest(tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of names, shapes, types and values, which depends on neither their order nor the file."""

    def chunks() -> Iterator[str | memoryview]:
        for name in sorted(tensors):
            tensor = tensors[name].detach().cpu().contiguous()
            yield f"{name} {tuple(tensor.shape)} {tensor.dtype} "
            yield tensor.view(-1).view(torch.uint8).numpy().data

    return digest(chunks())


def save_checkpoint(path: Path, model: nn.Module, header: CheckpointHeader, *, half: bool = False) -> None:
    """Write weights and header atomically; the same weights and header give the same bytes.

    Args:
        path: Path of the checkpoint.
        model: Model whose weights are written.
        header: Header without a digest.
        half: Round the values to 16 bits, in half the space; they are read as 32 bits again.
    """
    tensors = {name: value.contiguous() for name, value in model.state_dict().items()}
    if half:
        tensors = {name: value.half() for name, value in tensors.items()}
    header = replace(header, digest=weights_digest({name: _to_float32(value) for name, value in tensors.items()}))
    about = {"format": FORMAT, **vars(header), "vocabulary": header.vocabulary.to_json()}
    with atomic_write(path) as temporary:
        try:
            save_file(tensors, temporary, {"partseg": json.dumps(about, ensure_ascii=False)})
        except SafetensorError as error:
            raise write_error(path, error) from error
        temporary.chmod(0o644)  # safetensors writes files that only their owner may read


def read_header(path: Path) -> CheckpointHeader:
    """Read the header of a checkpoint without its weights.

    Raises:
        CheckpointError: As `load_checkpoint`.
    """
    return _load(path, weights=False)[0]


def load_checkpoint(path: Path) -> tuple[CheckpointHeader, dict[str, Tensor]]:
    """Read a file of `save_checkpoint`; a run directory stands for its selected checkpoint.

    Raises:
        CheckpointError: The file is missing, incomplete, or no checkpoint of this tool.
    """
    return _load(path, weights=True)


def _load(path: Path, *, weights: bool) -> tuple[CheckpointHeader, dict[str, Tensor]]:
    path = checkpoint_file(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint; name a .safetensors file or the folder of a training run")
    try:
        with safe_open(path, framework="pt") as file:
            header = _header(path, file.metadata() or {})
            return header, {name: _to_float32(file.get_tensor(name)) for name in (file.keys() if weights else ())}
    except (SafetensorError, OSError) as error:
        if path.suffix in PUBLISHED:
            raise CheckpointError(
                f"{path}: must be a checkpoint of this tool, got a file of torch.save; bring it here with "
                "`partseg weights import`"
            ) from error
        raise CheckpointError(f"{path}: is not a whole safetensors file ({error}); copy or train it again") from error


def _to_float32(tensor: Tensor) -> Tensor:
    """Return 16-bit values in 32 bits."""
    return tensor.float() if tensor.dtype is torch.float16 else tensor


def checkpoint_file(path: Path) -> Path:
    """Return the path itself, or the selected checkpoint of a run directory.

    Raises:
        CheckpointError: The folder has no checkpoint.
    """
    if not path.is_dir():
        return path
    folder = path
    for parent in (folder / "checkpoints", folder):
        for name in ("selected.json", "last.safetensors"):
            path = parent / name
            if path.is_file():
                return _chosen(path) if path.suffix == ".json" else path
    raise CheckpointError(
        f"{folder}: no checkpoint in it; name a .safetensors file or the folder of a training run, and bring published "
        "weights here with `partseg weights import`"
    )


def _chosen(path: Path) -> Path:
    try:
        name: str = json.loads(path.read_text(encoding="utf-8"))["file"]
        return path.parent / name
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path}: must name the selected file, got {error!r}; name the checkpoint itself"
        ) from error


def _header(path: Path, metadata: dict[str, str]) -> CheckpointHeader:
    try:
        about = json.loads(metadata.get("partseg", "{}"))
        given = about.pop("format", None) or metadata.get("format")
    except (ValueError, TypeError, AttributeError) as error:
        raise _broken_header(path, error) from error
    if given != FORMAT:
        refuse_newer_format(path, given, FORMAT)
        raise CheckpointError(
            f"{path}: must be a checkpoint of format {FORMAT!r}, got {given!r}; name one that `partseg train` or "
            "`partseg weights import` wrote"
        )
    try:
        for key in ("model", "imported"):
            if not isinstance(about.get(key, {}), dict):
                raise TypeError(f"{key} must be a record, got {about[key]!r}")
        return CheckpointHeader(**{**about, "vocabulary": Vocabulary.from_json(about["vocabulary"])})
    except (KeyError, TypeError, ValueError, PartsegError) as error:
        raise _broken_header(path, error) from error


def _broken_header(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(f"{path}: its header is broken ({error!r}); train or import it again")


def load_checked(module: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Load `tensors` as `load_state_strict` does, and check that all values are finite.

    Raises:
        CheckpointError: A name or a shape differs, or a value is NaN or infinite.
    """
    check_finite(tensors, path)
    load_state_strict(module, tensors, path)


def load_state_strict(module: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Load `tensors` into `module`; names and shapes must be exactly those of the module.

    A module on the meta device takes the tensors themselves, without a copy.

    Raises:
        CheckpointError: A name or a shape differs.
    """
    wanted = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    got = {name: tuple(value.shape) for name, value in tensors.items()}
    for name in sorted(wanted.keys() | got.keys()):
        if wanted.get(name) != got.get(name):
            raise CheckpointError(
                f"{path}: {name} must be {wanted.get(name, 'absent')}, got {got.get(name, 'nothing')}; "
                "these weights belong to another model"
            )
    module.load_state_dict(tensors, assign=any(value.is_meta for value in module.state_dict().values()))


def check_finite(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Check that all values are finite.

    Raises:
        CheckpointError: A value is NaN or infinite.
    """
    for name, value in tensors.items():
        if not bool(value.isfinite().all()):
            raise CheckpointError(f"{path}: {name} must be finite, got NaN or infinity; get the file again")
