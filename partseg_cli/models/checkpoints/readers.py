"""Readers of published weights; no code in a file is ever run."""

from __future__ import annotations

import json
import pickle
import re
import warnings
import zipfile
from collections import abc
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from partseg_cli.errors import CheckpointError, one_line

STATE_KEYS = ("model", "state_dict")
"""Keys of the weights in a training state: of detectron2, of others."""

_SCALAR, _ARRAY = np.float64(0).__reduce__()[0], np.zeros(1).__reduce__()[0]
SAFE_GLOBALS: list[Any] = [
    *((_SCALAR, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
    *((_ARRAY, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")),
    *(np.dtype, np.ndarray),
    *{type(np.dtype(code)) for code in "?bhilqfd"},
]
"""Numbers and arrays of numpy (1 and 2), which detectron2's hooks may store with the weights."""

NOT_WEIGHTS = {
    b"version https://git-lfs": "is a pointer of Git LFS, not the weights; run `git lfs pull` where it comes from",
    b"<": "is a web page, not the weights; open its address in a browser and confirm the download",
    b"\xff\xd8\xff": "is a JPEG image, not weights; name a file of weights",
    b"\x89PNG": "is a PNG image, not weights; name a file of weights",
}
"""First bytes of what is often saved in place of a download -> end of the error message."""


class PublishedFile(NamedTuple):
    """Content of a published file.

    Attributes:
        tensors: Tensors by their names in the file.
        step: Number of training steps, 0 if unknown.
    """

    tensors: dict[str, Tensor]
    step: int


def read_published(path: Path) -> PublishedFile:
    """Read a .safetensors file, or one of `torch.save`: a state dict, or one under "model" or "state_dict".

    Tensors of a file of `torch.save` stay on disk until they are used.

    Raises:
        CheckpointError: The file cannot be read, or holds something else.
    """
    try:
        with path.open("rb") as file:
            head = file.read(64)
        for start, complaint in NOT_WEIGHTS.items():
            if head.lstrip().startswith(start):
                raise CheckpointError(f"{path}: {complaint}")
        if path.suffix == ".safetensors":
            return PublishedFile(_safetensors(path), 0)
        return _pickled(path, _torch_load(path, head))
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror or error}); name another file") from error


def _safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except SafetensorError as error:
        raise CheckpointError(f"{path}: is not a whole safetensors file ({error}); download it again") from error


def _torch_load(path: Path, head: bytes) -> Any:  # noqa: ANN401 - any saved object
    is_zip = head.startswith(b"PK")
    if is_zip and not zipfile.is_zipfile(path):
        raise CheckpointError(f"{path}: is cut off at {path.stat().st_size:,} bytes; download it again")
    try:
        with torch.serialization.safe_globals(SAFE_GLOBALS), warnings.catch_warnings(action="ignore"):  # of odd files
            return torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    except pickle.UnpicklingError as error:
        is_pickle = is_zip or head.startswith(pickle.PROTO)
        if not is_pickle or "unsupported" not in str(error).lower():
            raise _unreadable(path, error) from error
        raise CheckpointError(
            f"{path}: holds code or objects besides tensors and is not loaded ({_objects(error)}); ask its authors for "
            "the tensors alone"
        ) from error
    except (RuntimeError, EOFError, ValueError, LookupError, AttributeError, TypeError) as error:
        raise _unreadable(path, error) from error


def _objects(error: Exception) -> str:
    """Return the refused object or the reason from torch's long message."""
    text = one_line(error)
    if found := re.search(r"GLOBAL (\S+)", text):
        return found[1]
    _, _, reason = text.partition("WeightsUnpickler error: ")
    return (reason or text).split(" Please ")[0].split(" was not an allowed")[0][:120]


def _unreadable(path: Path, error: Exception) -> CheckpointError:
    reason = one_line(error)[:120] or "it is cut off"
    return CheckpointError(f"{path}: is not a whole file of torch.save or safetensors ({reason}); download it again")


def _pickled(path: Path, saved: Any) -> PublishedFile:  # noqa: ANN401 - any saved object
    step, state = 0, saved
    if isinstance(saved, abc.Mapping):
        step = _step(saved)
        state = next((saved[key] for key in STATE_KEYS if isinstance(saved.get(key), abc.Mapping)), saved)
    if not isinstance(state, abc.Mapping) or not state:
        raise CheckpointError(f"{path}: must hold tensors by name, got {type(state).__name__}; name a file of weights")
    for name, value in state.items():
        if not isinstance(value, Tensor) or value.layout is not torch.strided:
            got = value.layout if isinstance(value, Tensor) else type(value).__name__
            raise CheckpointError(f"{path}: {name} must be a plain tensor, got {got}; name a file of weights")
    return PublishedFile({str(name): value for name, value in state.items()}, step)


def _step(saved: abc.Mapping[str, Any]) -> int:
    """Return the number of steps; detectron2 stores the last one, from 0, next to the weights or under "trainer"."""
    trainer = saved.get("trainer")
    for record in (saved, trainer if isinstance(trainer, abc.Mapping) else {}):
        iteration = record.get("iteration")
        if isinstance(iteration, int) and not isinstance(iteration, bool) and iteration >= 0:
            return iteration + 1
    return 0


def check_settings(path: Path) -> None:
    """Check configuration files next to `path` for what weights do not hold: the activation, layers and heads.

    Without such a file nothing is refused.

    Raises:
        CheckpointError: The weights were trained with other settings.
    """
    for name, read in (("config.json", _transformers_settings), ("open_clip_config.json", _open_clip_settings)):
        config = path.with_name(name)
        if not config.is_file():
            continue
        try:
            settings = read(dict(json.loads(config.read_text(encoding="utf-8"))))
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise CheckpointError(f"{config}: must be a JSON object ({error}); get it again or remove it") from error
        for key, wanted, got in settings:
            if got != wanted:
                raise CheckpointError(
                    f"{config}: {key} must be {json.dumps(wanted)}, got {json.dumps(got)}; weights trained with "
                    "another setting give wrong masks, so get those of CLIPSeg rd64-refined or OpenAI's CLIP"
                )


Setting = tuple[str, object, object]
"""Key, value of our models, value in the file."""


def _transformers_settings(config: dict[str, Any]) -> list[Setting]:
    """Read a CLIPSegConfig; absent keys have the defaults of transformers, which are our values."""
    if "vision_config" not in config and "text_config" not in config:
        return []
    wanted = {"extract_layers": [3, 6, 9], "conditional_layer": 0, "decoder_num_attention_heads": 4}
    found: list[Setting] = [(key, value, config.get(key, value)) for key, value in wanted.items()]
    for tower, heads in (("text_config", 8), ("vision_config", 12)):
        for section in (tower, f"{tower}_dict"):
            given = config.get(section) or {}
            for key, value in (("hidden_act", "quick_gelu"), ("num_attention_heads", heads)):
                found.append((f"{section}.{key}", value, given.get(key, value)))
    return found


def _open_clip_settings(config: dict[str, Any]) -> list[Setting]:
    """Read an open_clip configuration, which means the exact GELU unless quick_gelu is set."""
    return [("model_cfg.quick_gelu", True, config.get("model_cfg", {}).get("quick_gelu", False))]
