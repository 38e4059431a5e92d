"""What a model starts from: published weights found on this machine or the hub, or chance."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from partseg_cli.errors import CheckpointError
from partseg_cli.models.checkpoints.hub import SOURCES, find_weights
from partseg_cli.models.checkpoints.layouts import LAYOUTS, match_tensors
from partseg_cli.models.checkpoints.readers import check_settings, read_published
from partseg_cli.models.clipseg.model import CLIPSeg
from partseg_cli.models.init_weights import copy_first_stage, init_clip, init_decoder, init_second_stage

FRESH = ("visual_adapter.", "background", "compose.", "compose_text.", "pair_film.", "pair_head.")
"""What no weights of the original CLIPSeg hold."""


def init_pretrained(model: CLIPSeg, init: str, backbone: str) -> None:
    """Let a model begin with the weights that a recipe's `model.init` names.

    Raises:
        CheckpointError: the start is nowhere to be found, or does not fit the backbone.
    """
    if init == "random":
        init_clip(model.clip)
        init_decoder(model)
    else:
        _start_from(model, init, backbone)


def find_start(init: str) -> Path:
    """Give the file of the weights `init`: see `find_weights`.

    Raises:
        CheckpointError: it is nowhere; there is no fall-back to another start.
    """
    others = " or ".join(f"model.init={other}" for other in ("rd64-refined", "clip", "random") if other != init)
    return find_weights(SOURCES[init], f"model.init: {init}", f", or choose {others}")


def _start_from(model: CLIPSeg, init: str, backbone: str) -> None:
    """Load `init`: CLIP alone, or CLIP and CLIPSeg's decoder; what it does not hold starts as in published training."""
    if backbone != "ViT-B-16-quickgelu":
        raise CheckpointError(f"model.init: {init} fits ViT-B-16-quickgelu, got {backbone}; choose model.init=random")
    path = find_start(init)
    check_settings(path)
    tensors = read_published(path).tensors
    if init == "clip":
        load_checked(model.clip.clip, tensors, path)
        init_decoder(model)
        return
    state = model.state_dict()
    wanted = {name: tuple(value.shape) for name, value in state.items() if not name.startswith(FRESH)}
    coverage = match_tensors(LAYOUTS["clipseg-rd64-refined"], tensors, wanted)
    if not coverage.is_whole:
        raise CheckpointError(f"{path}: is no clipseg-rd64-refined ({coverage.complaint()}); download it again")
    load_checked(model, {name: state[name] for name in state if name.startswith(FRESH)} | coverage.tensors, path)
    copy_first_stage(model)


def init_from_checkpoint(model: CLIPSeg, tensors: dict[str, Tensor], path: Path) -> None:
    """Let a model begin with the weights of another one of the same backbone.

    What the checkpoint lacks begins afresh: with CLIP alone the decoder, without a second stage that one. What only the
    checkpoint has is left out.

    Raises:
        CheckpointError: a shape differs, or a CLIP is missing.
    """
    check_finite(tensors, path)
    state = model.state_dict()
    if missing := [name for name in state if name.startswith("clip.") and name not in tensors]:
        raise CheckpointError(f"{path}: must hold a CLIP to start from, got none ({missing[0]} is missing)")
    for name in sorted(state.keys() & tensors.keys()):
        if state[name].shape != tensors[name].shape:
            raise CheckpointError(
                f"{path}: {name} must be {tuple(state[name].shape)}, got {tuple(tensors[name].shape)}; these weights "
                "belong to another model.backbone"
            )
    init_decoder(model)
    model.load_state_dict({name: value for name, value in tensors.items() if name in state}, strict=False)
    if not any(name.startswith("pair_head.") for name in tensors):
        init_second_stage(model)


def load_checked(module: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    """Load `tensors` into `module`; names and shapes must be exactly the module's, and values finite.

    Raises:
        CheckpointError: they are not.
    """
    check_finite(tensors, path)
    load_state_strict(module, tensors, path)


def load_state_strict(module: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    """Load `tensors` into `module`; names and shapes must be exactly the module's.

    A module on the meta device takes the tensors themselves, without a copy.

    Raises:
        CheckpointError: they are not.
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
    """Refuse NaN and infinity.

    Raises:
        CheckpointError: a value is not finite.
    """
    for name, value in tensors.items():
        if not bool(value.isfinite().all()):
            raise CheckpointError(f"{path}: {name} must be finite, got NaN or infinity; get the file again")
