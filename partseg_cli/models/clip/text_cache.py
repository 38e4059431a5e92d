"""Text embeddings that were computed before: in memory, and on disk for the next command."""

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
KEPT = 256
"""Files that stay on disk; a vocabulary of 58 prompts takes 120 kB."""


class TextCache:
    """Embeddings by prompts, of one text tower with one set of weights."""

    def __init__(self) -> None:
        self._memory: dict[Prompts, Tensor] = {}
        self._folder: Path | None = None
        self._weights = ""

    def keep_on_disk(self, folder: Path, weights: str) -> None:
        """Read and write files in `folder` too; `weights` is a digest of the weights that the tower has now."""
        self._folder, self._weights = folder, weights

    def forget(self) -> None:
        """Drop everything, because the weights change; nothing is written to disk from here on."""
        self._memory.clear()
        self._folder = None

    def get(
        self, prompts: Prompts, device: torch.device, encode: Callable[[Prompts], Float[Tensor, "M E"]]
    ) -> Float[Tensor, "M E"]:
        """Give the embeddings of `prompts`, from the nearest place that has them."""
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
        """Name the file by weights, prompts and kind of device, whose last bits differ."""
        if self._folder is None:
            return None
        key = json.dumps([self._weights, device.type, prompts], ensure_ascii=False)
        return self._folder / f"{digest([key])[:32]}.safetensors"


def _read(path: Path, count: int) -> Tensor | None:
    """Give the embeddings in a file; None where there is none, or it is broken (it is then written anew)."""
    if not path.is_file():
        return None
    with suppress(SafetensorError, OSError), safe_open(path, framework="pt") as file:
        embeddings: Tensor = file.get_tensor("embeddings").clone()
        if len(embeddings) == count and (file.metadata() or {}).get("sha256") == _digest(embeddings):
            return embeddings
    return None


def _write(path: Path, embeddings: Tensor) -> None:
    """Write a file and drop the oldest ones; a disk that refuses only makes the next command slower."""
    with suppress(PartsegError, SafetensorError, OSError):
        with atomic_write(path) as temporary:
            embeddings = embeddings.cpu().contiguous()
            save_file({"embeddings": embeddings}, temporary, {"sha256": _digest(embeddings)})
        files = sorted(path.parent.glob("*.safetensors"), key=lambda file: file.stat().st_mtime)
        for old in files[:-KEPT]:
            old.unlink(missing_ok=True)


def _digest(embeddings: Tensor) -> str:
    return digest([embeddings.view(torch.uint8).numpy().tobytes()])
