"""Published weights on this machine, or from the Hugging Face hub."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
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
from partseg_cli.io.paths import cache_dir

HUB_SECONDS = 4.0
"""How long the hub has for its first answer, looking up its address included; the whole command then says so in 10."""


@dataclass(frozen=True)
class Source:
    """A repository on the hub.

    Attributes:
        repository: its name.
        files: of its weights; the first one that is there is taken.
        settings: file that says what weights do not tell.
    """

    repository: str
    files: tuple[str, ...]
    settings: str

    @property
    def folder(self) -> str:
        """What its folder is called in `$PARTSEG_WEIGHTS` and in the user's cache."""
        return self.repository.split("/")[1]


SOURCES = {
    "rd64-refined": Source("CIDAS/clipseg-rd64-refined", ("model.safetensors", "pytorch_model.bin"), "config.json"),
    "clip": Source(
        "timm/vit_base_patch16_clip_224.openai",
        ("open_clip_model.safetensors", "open_clip_pytorch_model.bin"),
        "open_clip_config.json",
    ),
}
"""Start of a training -> where it comes from."""


def weights_folders() -> list[Path]:
    """Give `$PARTSEG_WEIGHTS`, if it is set, and the user's cache: where weights are looked for, in this order."""
    home = os.environ.get("PARTSEG_WEIGHTS")
    return [*([Path(home).expanduser()] if home else []), cache_dir()]


def on_this_machine(source: Source) -> Path | None:
    """Give the weights file of `source` in the weights folders, else in the Hugging Face cache."""
    for folder in weights_folders():
        for name in source.files:
            path = folder / source.folder / name
            if path.is_file():
                return path
    for name in source.files:
        cached = try_to_load_from_cache(source.repository, name)
        if isinstance(cached, str):
            return Path(cached)
    return None


def find_weights(source: Source, wanted_by: str, otherwise: str = "") -> Path:
    """Give the weights file of `source`: on this machine, else from the hub.

    Args:
        source: which.
        wanted_by: opens the message if it is nowhere.
        otherwise: what the user can do besides.

    Raises:
        CheckpointError: it is not on this machine, and the hub does not give it.
    """
    found = on_this_machine(source) or _download(source)
    if isinstance(found, Path):
        return found
    folders = ", ".join(str(folder / source.folder) for folder in weights_folders())
    raise CheckpointError(
        f"{wanted_by} needs {' or '.join(source.files)} of {source.repository}, not found in {folders}, the Hugging "
        f"Face cache or the hub ({found}); run `hf download {source.repository}` where there is a network and copy the "
        f"files to $PARTSEG_WEIGHTS/{source.folder}{otherwise}"
    )


def _download(source: Source) -> Path | str:
    """Give the file, downloaded to the Hugging Face cache, or why that failed; a part of it is never taken for it."""
    if HF_HUB_OFFLINE or os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
        return "HF_HUB_OFFLINE is set"
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # each retry would be a line of its own
    if not sys.stderr.isatty():
        disable_progress_bars()
    name = _within(HUB_SECONDS, lambda: _offered(source))
    if isinstance(name, Exception):
        return _reason(name)
    try:
        with suppress(EntryNotFoundError):
            hf_hub_download(source.repository, source.settings, etag_timeout=HUB_SECONDS)
        return Path(hf_hub_download(source.repository, name, etag_timeout=HUB_SECONDS))
    except Exception as error:  # the network library behind the hub's has errors of its own, and changes
        return f"the download broke off: {_reason(error)}"


def _offered(source: Source) -> str:
    """Give the first of the files that the hub has."""
    for name in source.files:
        with suppress(EntryNotFoundError):
            get_hf_file_metadata(hf_hub_url(source.repository, name), timeout=HUB_SECONDS)
            return name
    raise EntryNotFoundError(f"the repository has no {' or '.join(source.files)}")


def _within(seconds: float, work: Callable[[], str]) -> str | Exception:
    """Give what `work` gives, or how it failed; after so many seconds it is left behind.

    A time limit of the network library would not do: it does not hold while an address is looked up.
    """
    results: list[str | Exception] = []

    def run() -> None:
        try:
            results.append(work())
        except Exception as error:  # handed over to the thread that waits
            results.append(error)

    thread = Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    return results[0] if results else TimeoutError(f"no answer within {seconds:g} s")


def _reason(error: Exception) -> str:
    return one_line(error)[:120] or type(error).__name__
