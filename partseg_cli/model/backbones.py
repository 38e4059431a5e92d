"""The CLIP models to build on, with the decoder size that goes with each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Backbone:
    """A CLIP model and the decoder on top of it.

    Attributes:
        open_clip: name of open_clip's configuration, or a configuration of the same form.
        taps: blocks of the image tower whose tokens are kept, 0-based, shallow first.
        width: of the decoder.
        heads: of the decoder's attention.
        mlp: hidden width of the decoder's MLP.
        strides: of the two transposed convolutions of a head; their product brings tokens to pixels.
    """

    open_clip: str | dict[str, Any]
    taps: tuple[int, int, int]
    width: int
    heads: int
    mlp: int
    strides: tuple[int, int]


BACKBONES = {
    "ViT-B-16-quickgelu": Backbone(
        open_clip="ViT-B-16-quickgelu", taps=(3, 6, 9), width=64, heads=4, mlp=2048, strides=(4, 4)
    ),
    "tiny": Backbone(
        open_clip={
            "embed_dim": 64,
            "quick_gelu": True,
            "vision_cfg": {"image_size": 96, "layers": 4, "width": 96, "head_width": 32, "patch_size": 8},
            "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 24, "heads": 2, "layers": 2},
        },
        taps=(1, 2, 3),
        width=64,
        heads=2,
        mlp=128,
        strides=(2, 4),
    ),
}
"""ViT-B/16 with quick-GELU is the published one; `tiny` (< 2 M parameters) is for tests and trials on a CPU."""
