"""CLIP models to build on, each with the sizes of its decoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Backbone:
    """CLIP model and the decoder on top of it.

    Attributes:
        open_clip: Name of an open_clip configuration, or a configuration of the same form.
        layers: Indices of the image encoder's blocks whose tokens the decoder reads, shallow first.
        width: Width of the decoder.
        heads: Number of heads of the decoder's attention.
        mlp: Hidden width of the decoder's MLP.
        strides: Strides of a head's two transposed convolutions; their product is the patch size.
        words: Words in lower case that the text encoder knows; its token table has rows for these alone. None: all of
            CLIP's.
    """

    open_clip: str | dict[str, Any]
    layers: tuple[int, int, int]
    width: int
    heads: int
    mlp: int
    strides: tuple[int, int]
    words: tuple[str, ...] | None = None


CARTOON_WORDS = """
aeroplane and arm back beak bicycle bird body bottle bus cap car cat chainwheel coach cow dog door ear engine eye
eyebrow foot front hair hand handlebar head headlight hoof horn horse leg license lower mirror motorbike mouth muzzle
neck nose paw person plant plate pot pottedplant roof saddle screen sheep side stern tail torso train tvmonitor upper
wheel window wing
"""
"""All words of the scenes of `partseg prepare cartoon-part`."""

BACKBONES = {
    "ViT-B-16-quickgelu": Backbone(
        open_clip="ViT-B-16-quickgelu", layers=(3, 6, 9), width=64, heads=4, mlp=2048, strides=(4, 4)
    ),
    "tiny": Backbone(
        open_clip={
            "embed_dim": 64,
            "quick_gelu": True,
            "vision_cfg": {"image_size": 96, "layers": 4, "width": 96, "head_width": 32, "patch_size": 8},
            "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 24, "heads": 2, "layers": 2},
        },
        layers=(1, 2, 3),
        width=64,
        heads=2,
        mlp=128,
        strides=(2, 4),
    ),
    "nano": Backbone(
        open_clip={
            "embed_dim": 128,
            "quick_gelu": True,
            "vision_cfg": {
                "image_size": 96,
                "layers": 4,
                "width": 160,
                "head_width": 32,
                "patch_size": 8,
                "pool_type": "avg",
            },
            "text_cfg": {"context_length": 16, "width": 96, "heads": 3, "layers": 2},
        },
        layers=(1, 2, 3),
        width=48,
        heads=2,
        mlp=128,
        strides=(2, 4),
        words=tuple(CARTOON_WORDS.split()),
    ),
}
"""ViT-B/16 with quick-GELU is the published backbone. `tiny` (< 2 M parameters) is for tests and trials on a CPU.
`nano` (1.8 M) is trained on cartoons; its image embedding is the mean of its patch tokens, so that each token is near
its own words."""
