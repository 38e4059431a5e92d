"""How untrained layers begin, so that a model without published weights learns in hundreds of steps.

Torch's defaults leave a decoder that is trained from scratch on a plateau where every prompt gets the same map. The
published start has none of that trouble, for its decoder is CLIPSeg's. These are our choices, from trials on 18 photos.
"""

from __future__ import annotations

import torch
from torch import nn

from partseg_cli.models.clip.model import Clip
from partseg_cli.models.clipseg.decoder import Decoder, FiLM, Head
from partseg_cli.models.clipseg.model import CLIPSeg
from partseg_cli.models.partclipseg.model import PartCLIPSeg

PRIOR_LOGIT = -3.5
"""Output bias: before anything is learned a word covers 3 % of the pixels."""
FILM_GAIN = 4.0
"""On torch's default FiLM weights: prompts must differ from the first step on."""


def init_decoder(model: CLIPSeg) -> None:
    """Begin the decoder: layers as identities, heads kept in scale; and a second stage."""
    with torch.no_grad():
        _start_layers(model.decoder)
        _start_film(model.decoder.film)
        _start_head(model.head)
    init_second_stage(model)


def init_second_stage(model: CLIPSeg) -> None:
    """Begin a second stage, if there is one: part and object composed by their average, FiLM and head copied."""
    if isinstance(model, PartCLIPSeg):
        with torch.no_grad():
            for layer in (model.compose, model.compose_text):
                half = torch.eye(layer.out_features) / 2
                layer.weight.copy_(torch.cat([half, half], dim=1))
    copy_first_stage(model)


def copy_first_stage(model: CLIPSeg) -> None:
    """Let FiLM and head of a second stage, if there is one, begin as copies of the first ones (published code)."""
    if not isinstance(model, PartCLIPSeg):
        return
    model.pair_film.load_state_dict(model.decoder.film.state_dict())
    model.pair_head.load_state_dict(model.head.state_dict())


def init_clip(clip: Clip) -> None:
    """Begin random towers: prompts differ by their words, tokens by their place.

    Start and end tokens are the same in every prompt, and the embedding is read at the end: they begin at 0.
    """
    tables = clip.clip
    with torch.no_grad():
        nn.init.normal_(tables.token_embedding.weight)
        tables.token_embedding.weight[[clip.start_token, clip.end_token]] = 0
        nn.init.zeros_(tables.positional_embedding)
        nn.init.normal_(tables.visual.positional_embedding)


def _start_layers(decoder: Decoder) -> None:
    for layer in decoder.layers:
        for branch in (layer.out_proj, layer.fc2):
            nn.init.zeros_(branch.weight)  # type: ignore[union-attr, arg-type]


def _start_film(film: FiLM) -> None:
    film.mul.weight *= FILM_GAIN
    film.add.weight *= FILM_GAIN
    nn.init.ones_(film.mul.bias)


def _start_head(head: Head) -> None:
    """Kaiming's rule by the inputs that reach one output; of a transposed convolution without overlap, its channels."""
    for layer in head.layers:
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            inputs = layer.weight[0].numel() if isinstance(layer, nn.Conv2d) else layer.in_channels
            nn.init.normal_(layer.weight, std=(2 / inputs) ** 0.5)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    nn.init.constant_(head.layers[-1].bias, PRIOR_LOGIT)  # type: ignore[arg-type]
