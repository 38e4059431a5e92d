"""Published weights: found on this machine, or downloaded from the Hugging Face hub."""

from __future__ import annotations

import logging
import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

from huggingface_hub import (
    get_hf_file_metadata,
    hf_hub_download,
    hf_hub_url,
    try_to_load_from_cache,
)
from huggingface_hub.constants import HF_HUB_OFFLINE
from huggingface_hub.errors import EntryNotFoundError
from huggingface_hub.utils.tqdm import disable_progress_bars

from partseg_cli.errors import CheckpointError, one_line
from partseg_cli.io.paths import weights_folders

HUB_SECONDS = 4.0
"""Time limit of the hub's first answer, DNS included, so that the whole command reports a failure within 10 s."""


@dataclass(frozen=True)
class HubWeights:
    """Weights in a repository of the hub.

    Attributes:
        repository: Name of the repository.
        files: Names of the weights file in order of preference.
        settings: Name of the file with the settings that weights do not hold.
    """

    repository: str
    files: tuple[str, ...]
    settings: str

    @property
    def folder(self) -> str:
        """Name of their folder in `$PARTSEG_WEIGHTS` and in the user's cache."""
        return self.repository.split("/")[1]


HUB_WEIGHTS = {
    "rd64-refined": HubWeights("CIDAS/clipseg-rd64-refined", ("model.safetensors", "pytorch_model.bin"), "config.json"),
    "clip": HubWeights(
        "timm/vit_base_patch16_clip_224.openai",
        ("open_clip_model.safetensors", "open_clip_pytorch_model.bin"),
        "open_clip_config.json",
    ),
}
"""Value of `model.init` -> weights."""


def find_local(weights: HubWeights) -> Path | None:
    """Return the weights file in the weights folders, else in the Hugging Face cache, else None."""
    for folder in weights_folders():
        for name in weights.files:
            path = folder / weights.folder / name
            if path.is_file():
                return path
    for name in weights.files:
        cached = try_to_load_from_cache(weights.repository, name)
        if isinstance(cached, str):
            return Path(cached)
    return None


def find_or_download(weights: HubWeights, wanted_by: str, otherwise: str = "") -> Path:
    """Return the weights file on this machine, else from the hub.

    Args:
        weights: Weights to find.
        wanted_by: Start of the error message.
        otherwise: End of the error message: other choices of the user.

    Raises:
        CheckpointError: The file is not on this machine, and the download fails.
    """
    found = find_local(weights) or _download(weights)
    if isinstance(found, Path):
        return found
    folders = ", ".join(str(folder / weights.folder) for folder in weights_folders())
    raise CheckpointError(
        f"{wanted_by} needs {' or '.join(weights.files)} of {weights.repository}, not found in {folders}, the Hugging "
        f"Face cache or the hub ({found}); run `hf download {weights.repository}` where there is a network and copy "
        f"the files to $PARTSEG_WEIGHTS/{weights.folder}{otherwise}"
    )


def _download(weights: HubWeights) -> Path | str:
    """Return the file, downloaded to the Hugging Face cache, or the reason of the failure."""
    if HF_HUB_OFFLINE or os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
        return "HF_HUB_OFFLINE is set"
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # each retry would print a line
    if not sys.stderr.isatty():
        disable_progress_bars()
    name = _first_on_hub(weights)
    if isinstance(name, Exception):
        return _reason(name)
    try:
        with suppress(EntryNotFoundError):
            hf_hub_download(weights.repository, weights.settings, etag_timeout=HUB_SECONDS)
        return Path(hf_hub_download(weights.repository, name, etag_timeout=HUB_SECONDS))
    except Exception as error:  # the network library behind the hub's has errors of its own, and changes
        return f"the download broke off: {_reason(error)}"


def _first_on_hub(weights: HubWeights) -> str | Exception:
    """Return the name of the first file that the hub has, or the error; a request over `HUB_SECONDS` is abandoned.

    The time limit of the network library does not cover the DNS lookup, so the request runs in a thread.
    """
    results: list[str | Exception] = []

    def ask() -> None:
        try:
            for name in weights.files:
                with suppress(EntryNotFoundError):
                    get_hf_file_metadata(hf_hub_url(weights.repository, name), timeout=HUB_SECONDS)
                    results.append(name)
                    return
            results.append(EntryNotFoundError(f"the repository has no {' or '.join(weights.files)}"))
        except Exception as error:  # passed to the waiting thread
            results.append(error)

    thread = Thread(target=ask, daemon=True)
    thread.start()
    thread.join(HUB_SECONDS)
    return results[0] if results else TimeoutError(f"no answer within {HUB_SECONDS:g} s")


def _reason(error: Exception) -> str:
    return one_line(error)[:120] or type(error).__name__
