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
        words: that the text tower knows, lower case; its token table has rows for these alone. None: all of CLIP's.
    """

    open_clip: str | dict[str, Any]
    taps: tuple[int, int, int]
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
"""All that is said of the scenes of `partseg prepare cartoon-part`."""

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
        taps=(1, 2, 3),
        width=48,
        heads=2,
        mlp=128,
        strides=(2, 4),
        words=tuple(CARTOON_WORDS.split()),
    ),
}
"""ViT-B/16 with quick-GELU is the published one; `tiny` (< 2 M parameters) is for tests and trials on a CPU; `nano` is
what we train on cartoons (1.8 M), so small and with patch tokens that are pooled by their mean, so that each token
itself is near the words for it."""
