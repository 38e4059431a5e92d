"""Weights that a training starts from: published files, another checkpoint, or a scheme for random ones.

The scheme lets a model without published weights learn in hundreds of steps. Torch's defaults leave a decoder trained
from scratch on a plateau where every prompt gets the same map; published weights avoid that, for their decoder is
CLIPSeg's. The constants are our choices, from trials on 18 images.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from partseg_cli.errors import CheckpointError
from partseg_cli.io.paths import packaged_weights
from partseg_cli.models.checkpoints.checkpoint import check_finite, checkpoint_file, load_checked, load_checkpoint
from partseg_cli.models.checkpoints.hub import HUB_WEIGHTS, find_or_download
from partseg_cli.models.checkpoints.layouts import LAYOUTS, match_tensors
from partseg_cli.models.checkpoints.readers import check_settings, read_published
from partseg_cli.models.clip.model import Clip
from partseg_cli.models.clipseg.model import CLIPSeg
from partseg_cli.models.partclipseg.model import PartCLIPSeg

PRIOR_LOGIT = -3.5
"""Bias of the output: before training, a prompt covers 3 % of the pixels."""
FILM_GAIN = 4.0
"""Factor on torch's default FiLM weights: prompts must differ from the first step on."""
NOT_IN_CLIPSEG = ("visual_adapter.", "background", "compose.", "compose_text.", "pair_film.", "pair_head.")
"""Prefixes of weights that the original CLIPSeg lacks."""


def init_weights(model: CLIPSeg, init: str, backbone: str) -> None:
    """Load the weights that the recipe key `model.init` names; there is no fallback to others.

    Args:
        model: Model with randomly drawn weights.
        init: "rd64-refined", "clip", "nano", "random", or the path of a checkpoint or run directory.
        backbone: Name of the model's backbone.

    Raises:
        CheckpointError: The weights are not found, or do not fit the backbone.
    """
    if init == "random":
        init_clip(model.clip)
        init_decoder(model)
    elif init in HUB_WEIGHTS:
        _load_published(model, init, backbone)
    else:
        path = packaged_weights("nano-start") if init == "nano" else checkpoint_file(Path(init))
        header, tensors = load_checkpoint(path)
        if header.model.get("backbone") != backbone:
            raise CheckpointError(
                f"model.init: {path} holds a model on {header.model.get('backbone')}, got model.backbone {backbone}; "
                "choose a start of the same backbone"
            )
        init_from_checkpoint(model, tensors, path)


def find_start(init: str) -> Path:
    """Return the file of the published weights `init`, downloaded if it is not on this machine.

    Raises:
        CheckpointError: It is nowhere to be found; the message names the other starts.
    """
    others = " or ".join(f"model.init={other}" for other in ("rd64-refined", "clip", "random") if other != init)
    return find_or_download(HUB_WEIGHTS[init], f"model.init: {init}", f", or choose {others}")


def _load_published(model: CLIPSeg, init: str, backbone: str) -> None:
    """Load CLIP alone, or CLIP and CLIPSeg's decoder; the rest starts as in published training."""
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
    wanted = {name: tuple(value.shape) for name, value in state.items() if not name.startswith(NOT_IN_CLIPSEG)}
    match = match_tensors(LAYOUTS["clipseg-rd64-refined"], tensors, wanted)
    if not match.is_whole:
        raise CheckpointError(f"{path}: is no clipseg-rd64-refined ({match.complaint()}); download it again")
    load_checked(model, {name: state[name] for name in state if name not in wanted} | match.tensors, path)
    copy_first_stage(model)


def init_from_checkpoint(model: CLIPSeg, tensors: dict[str, Tensor], path: Path) -> None:
    """Load the weights of another model of the same backbone.

    Weights that the checkpoint lacks are initialised: the decoder if it holds CLIP alone, the second stage if it holds
    none. Weights that only the checkpoint has are left out.

    Raises:
        CheckpointError: A shape differs, or the checkpoint lacks a CLIP.
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


def init_clip(clip: Clip) -> None:
    """Initialise random encoders such that prompts differ by their words, and tokens by their position.

    Start and end tokens are the same in every prompt, and the embedding is read at the end: they start at 0.
    """
    tables = clip.clip
    with torch.no_grad():
        nn.init.normal_(tables.token_embedding.weight)
        tables.token_embedding.weight[[clip.start_token, clip.end_token]] = 0
        nn.init.zeros_(tables.positional_embedding)
        nn.init.normal_(tables.visual.positional_embedding)


def init_decoder(model: CLIPSeg) -> None:
    """Initialise the decoder, with layers as identities and heads that keep the scale, and a second stage."""
    film = model.decoder.film
    with torch.no_grad():
        for layer in model.decoder.layers:
            nn.init.zeros_(layer.get_parameter("out_proj.weight"))
            nn.init.zeros_(layer.get_parameter("fc2.weight"))
        film.mul.weight *= FILM_GAIN
        film.add.weight *= FILM_GAIN
        nn.init.ones_(film.mul.bias)
        for layer in model.head.layers:
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                # Kaiming's rule by the inputs of one output: without overlap, a transposed convolution's channels.
                inputs = layer.weight[0].numel() if isinstance(layer, nn.Conv2d) else layer.in_channels
                nn.init.normal_(layer.weight, std=(2 / inputs) ** 0.5)
                nn.init.zeros_(layer.get_parameter("bias"))
        nn.init.constant_(model.head.layers[-1].get_parameter("bias"), PRIOR_LOGIT)
    init_second_stage(model)


def init_second_stage(model: CLIPSeg) -> None:
    """Initialise a second stage, if any: part and object composed by their mean, FiLM and head copied."""
    if isinstance(model, PartCLIPSeg):
        with torch.no_grad():
            for layer in (model.compose, model.compose_text):
                half = torch.eye(layer.out_features) / 2
                layer.weight.copy_(torch.cat([half, half], dim=1))
    copy_first_stage(model)


def copy_first_stage(model: CLIPSeg) -> None:
    """Copy FiLM and head of the first stage to the second one, if any (published code)."""
    if isinstance(model, PartCLIPSeg):
        model.pair_film.load_state_dict(model.decoder.film.state_dict())
        model.pair_head.load_state_dict(model.head.state_dict())
