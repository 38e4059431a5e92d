"""What a model starts from: published weights found on this machine, or chance."""

from __future__ import annotations

import os
from pathlib import Path

from huggingface_hub import try_to_load_from_cache
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from partseg_cli.errors import CheckpointError
from partseg_cli.model.backbones import BACKBONES
from partseg_cli.model.partclipseg import PartCLIPSeg
from partseg_cli.model.published import from_published
from partseg_cli.model.start import copy_first_stage, start_clip, start_decoder

SOURCES = {
    "rd64-refined": ("CIDAS/clipseg-rd64-refined", "model.safetensors"),
    "clip": ("timm/vit_base_patch16_clip_224.openai", "open_clip_model.safetensors"),
}
"""Start -> repository and file on the Hugging Face hub."""

FRESH = ("visual_adapter.", "background", "compose.", "compose_text.", "pair_film.", "pair_head.")
"""What no CLIPSeg weights hold."""


def build_model(
    *,
    name: str,
    backbone: str,
    init: str,
    image_size: int,
    object_text_index: str,
    background_embedding: str,
    trained: str,
) -> PartCLIPSeg:
    """Build the model of a recipe's `model` section, at its start.

    Raises:
        CheckpointError: the start is not on this machine, or does not fit the backbone.
        ValueError: `name` is no model, or `image_size` no multiple of the patch size.
    """
    if name != "partclipseg":
        raise ValueError(f"model.name must be partclipseg, got {name}")
    model = PartCLIPSeg(
        BACKBONES[backbone],
        object_text_index=object_text_index,
        background_embedding=background_embedding,
        trained=trained,
    )
    if image_size % model.clip.patch_size:
        raise ValueError(f"model.image_size must be a multiple of {model.clip.patch_size}, got {image_size}")
    if init == "random":
        start_clip(model.clip)
        start_decoder(model)
    else:
        _start_from(model, init, backbone)
    return model


def find_start(init: str) -> Path:
    """Give the file of the weights `init`: in `$PARTSEG_WEIGHTS`, then in the Hugging Face cache.

    Raises:
        CheckpointError: it is in neither.
    """
    repository, name = SOURCES[init]
    places = []
    if home := os.environ.get("PARTSEG_WEIGHTS"):
        places.append(Path(home) / repository.split("/")[1] / name)
        if places[0].is_file():
            return places[0]
    cached = try_to_load_from_cache(repository, name)
    if isinstance(cached, str):
        return Path(cached)
    others = ", ".join(f"model.init={other}" for other in ("rd64-refined", "clip", "random") if other != init)
    looked = "".join(f"{place}, " for place in places)
    raise CheckpointError(
        f"model.init: {init} needs {name} of {repository}, not found in {looked}$PARTSEG_WEIGHTS or the Hugging Face "
        f"cache; run `hf download {repository}` where there is a network, or choose {others}"
    )


def _start_from(model: PartCLIPSeg, init: str, backbone: str) -> None:
    """Load `init`: CLIP alone, or CLIP and CLIPSeg's decoder; what it does not hold starts as in published training."""
    if backbone != "ViT-B-16-quickgelu":
        raise CheckpointError(f"model.init: {init} fits ViT-B-16-quickgelu, got {backbone}; choose model.init=random")
    path = find_start(init)
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: is not a whole safetensors file ({error}); download it again") from error
    if init == "clip":
        load_checked(model.clip.clip, tensors, path)
        start_decoder(model)
        return
    fresh = {name: value for name, value in model.state_dict().items() if name.startswith(FRESH)}
    load_checked(model, fresh | from_published(tensors), path)
    copy_first_stage(model)


def load_checked(module: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    """Load `tensors` into `module`; names and shapes must be exactly the module's.

    Raises:
        CheckpointError: they are not, or a value is not finite.
    """
    wanted = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    got = {name: tuple(value.shape) for name, value in tensors.items()}
    for name in sorted(wanted.keys() | got.keys()):
        if wanted.get(name) != got.get(name):
            raise CheckpointError(
                f"{path}: {name} must be {wanted.get(name, 'absent')}, got {got.get(name, 'nothing')}; "
                "these weights belong to another model"
            )
    for name, value in tensors.items():
        if not bool(value.isfinite().all()):
            raise CheckpointError(f"{path}: {name} must be finite, got NaN or infinity; get the file again")
    module.load_state_dict(tensors)
