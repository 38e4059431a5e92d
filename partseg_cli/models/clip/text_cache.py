"""Cache of text embeddings: in memory, and on disk for the next command."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from partseg_cli.errors import PartsegError
from partseg_cli.io.atomic import atomic_write
from partseg_cli.io.hashing import digest

Prompts = tuple[str, ...]
MOST_FILES = 256
"""Most files on disk; a vocabulary of 58 prompts takes 120 kB."""


class TextCache:
    """Cache of the embeddings of one text encoder with one set of weights."""

    def __init__(self) -> None:
        self._memory: dict[Prompts, Tensor] = {}
        self._folder: Path | None = None
        self._weights = ""

    def keep_on_disk(self, folder: Path, weights: str) -> None:
        """Also read and write files in `folder`; `weights` is a digest of the encoder's current weights."""
        self._folder, self._weights = folder, weights

    def forget(self) -> None:
        """Clear the cache because the weights change; from now on nothing is written to disk."""
        self._memory.clear()
        self._folder = None

    def get(
        self, prompts: Prompts, device: torch.device, encode: Callable[[Prompts], Float[Tensor, "M E"]]
    ) -> Float[Tensor, "M E"]:
        """Return the embeddings of `prompts` from memory, from disk, or from `encode`."""
        if prompts not in self._memory:
            path = self._path(prompts, device)
            found = _read(path, len(prompts)) if path else None
            if found is None:
                found = encode(prompts)
                if path:
                    _write(path, found)
            self._memory[prompts] = found.to(device)
        return self._memory[prompts]

    def _path(self, prompts: Prompts, device: torch.device) -> Path | None:
        """Return the file for weights, prompts and kind of device, whose last bits differ."""
        if self._folder is None:
            return None
        key = json.dumps([self._weights, device.type, prompts], ensure_ascii=False)
        return self._folder / f"{digest([key])[:32]}.safetensors"


def _read(path: Path, count: int) -> Tensor | None:
    """Return the embeddings in a file; None if there is none, or it is broken and will be replaced."""
    if not path.is_file():
        return None
    with suppress(SafetensorError, OSError), safe_open(path, framework="pt") as file:
        embeddings: Tensor = file.get_tensor("embeddings").clone()
        if len(embeddings) == count and (file.metadata() or {}).get("sha256") == _digest(embeddings):
            return embeddings
    return None


def _write(path: Path, embeddings: Tensor) -> None:
    """Write a file and remove the oldest ones; a failure only makes the next command slower."""
    with suppress(PartsegError, SafetensorError, OSError):
        with atomic_write(path) as temporary:
            embeddings = embeddings.cpu().contiguous()
            save_file({"embeddings": embeddings}, temporary, {"sha256": _digest(embeddings)})
        files = sorted(path.parent.glob("*.safetensors"), key=lambda file: file.stat().st_mtime)
        for old in files[:-MOST_FILES]:
            old.unlink(missing_ok=True)


def _digest(embeddings: Tensor) -> str:
    return digest([embeddings.view(torch.uint8).numpy().tobytes()])
