"""Layouts of published weights: recognise a file, and rename its tensors."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from partseg_cli.errors import format_list

RENAMES = [
    (r"^non_object_embedding$", "background"),
    (r"^clip\.text_projection\.weight$", "clip.clip.text_projection"),
    (r"^clip\.visual_projection\.weight$", "clip.clip.visual.proj"),
    (r"^clip\.logit_scale$", "clip.clip.logit_scale"),
    (r"^clip\.(text|vision)_model\.", r"clip.clip.\1."),
    (r"\.embeddings\.token_embedding\.weight$", ".token_embedding.weight"),
    (r"\.embeddings\.position_embedding\.weight$", ".positional_embedding"),
    (r"\.embeddings\.class_embedding$", ".class_embedding"),
    (r"\.embeddings\.patch_embedding\.", ".conv1."),
    (r"\.pre_layrnorm\.", ".ln_pre."),
    (r"\.post_layernorm\.", ".ln_post."),
    (r"\.final_layer_norm\.", ".ln_final."),
    (r"\.encoder\.layers\.(\d+)\.layer_norm([12])\.", r".transformer.resblocks.\1.ln_\2."),
    (r"\.encoder\.layers\.(\d+)\.mlp\.fc1\.", r".transformer.resblocks.\1.mlp.c_fc."),
    (r"\.encoder\.layers\.(\d+)\.mlp\.fc2\.", r".transformer.resblocks.\1.mlp.c_proj."),
    (r"\.encoder\.layers\.(\d+)\.self_attn\.out_proj\.", r".transformer.resblocks.\1.attn.out_proj."),
    (r"\.encoder\.layers\.(\d+)\.self_attn\.([qkv])_proj\.(.+)$", r".transformer.resblocks.\1.attn.in_proj_\3:\2"),
    (r"^clip\.clip\.text\.", "clip.clip."),
    (r"^clip\.clip\.vision\.", "clip.clip.visual."),
    (r"^decoder\.film_(mul|add)\.", r"decoder.film.\1."),
    (r"^decoder\.cond_film_(mul|add)\.", r"pair_film.\1."),
    (r"^decoder\.transposed_convolution\.", "head.layers."),
    (r"^decoder\.part_obj_with_cond_embed\.", "pair_head.layers."),
    (r"^decoder\.part_obj_mlp\.0\.", "compose."),
    (r"^decoder\.reduce_cond_embed\.", "compose_text."),
    (r"^decoder\.layers\.(\d)\.self_attn\.out_proj\.", r"decoder.layers.\1.out_proj."),
    (r"^decoder\.layers\.(\d)\.self_attn\.([qkv])_proj\.(.+)$", r"decoder.layers.\1.in_proj.\3:\2"),
    (r"^decoder\.layers\.(\d)\.layer_norm([12])\.", r"decoder.layers.\1.norm\2."),
    (r"^decoder\.layers\.(\d)\.mlp\.", r"decoder.layers.\1."),
    (r"^visual_adapter\.fc\.0\.", "visual_adapter.down."),
    (r"^visual_adapter\.fc\.2\.", "visual_adapter.up."),
]
"""Renames of Hugging Face's CLIPSeg and its descendants, in this order; `:q`, `:k`, `:v` mark thirds of a tensor."""

TIMOJL_RENAMES = [
    (r"^film_(mul|add)\.", r"decoder.film.\1."),
    (r"^reduces\.", "decoder.reduces."),
    (r"^blocks\.(\d)\.self_attn\.in_proj_", r"decoder.layers.\1.in_proj."),
    (r"^blocks\.(\d)\.self_attn\.out_proj\.", r"decoder.layers.\1.out_proj."),
    (r"^blocks\.(\d)\.linear([12])\.", r"decoder.layers.\1.fc\2."),
    (r"^blocks\.(\d)\.norm([12])\.", r"decoder.layers.\1.norm\2."),
    (r"^trans_conv\.(\d)\.", r"head.layers.\1."),
]
"""Renames of timojl/clipseg, decoder only."""

UNUSED = {
    r"position_ids$": "consecutive numbers, not weights",
    r"^text_adapter\.": "the published code multiplies its output by 0",
    r"^tunable_linear\.": "the published code never reads it",
    r"^reduce\.": "the published code never reads it",
}
"""Patterns of names that no model needs, with the reason."""

TRANSPOSED = ("clip.text_projection.weight", "clip.visual_projection.weight")

Shape = tuple[int, ...]

CLIPSEG_LICENCE = "not MIT: the README of timojl/clipseg says that the MIT licence of its code excludes the weights"
CLIP_LICENCE = "OpenAI's CLIP, from a repository under MIT (openai/CLIP)"


@dataclass(frozen=True)
class PublishedLayout:
    """Layout of published weights, and the model that they belong to.

    Attributes:
        name: Value of `partseg weights import --as`.
        origin: Repository that publishes such weights.
        licence: Terms of the weights in one line.
        model: `model` record of the checkpoint's header, with the switches that the weights were trained with.
        prefix: Prefix of every name in the authors' own files; a bare state dict has none.
        marks: Prefixes of names that no layout further down in `LAYOUTS` has.
        renames: Patterns of published names, with their replacements.
        holds_clip: False if CLIP comes from another file.
    """

    name: str
    origin: str
    licence: str
    model: dict[str, Any]
    prefix: str
    marks: tuple[str, ...]
    renames: list[tuple[str, str]]
    holds_clip: bool = True


CLIPSEG = {
    "name": "clipseg",
    "backbone": "ViT-B-16-quickgelu",
    "init": "rd64-refined",
    "image_size": 352,
    "background_embedding": "none",
    "trained": "published",
    "visual_adapter": False,
}
PARTCLIPSEG = {
    "name": "partclipseg",
    "backbone": "ViT-B-16-quickgelu",
    "init": "rd64-refined",
    "image_size": 352,
    "background_embedding": "frozen",
    "trained": "published",
    "object_text_index": "published",
}

LAYOUTS = {
    layout.name: layout
    for layout in (
        PublishedLayout(
            name="partclipseg",
            origin="kaist-cvml/part-clipseg",
            licence="terms not stated (the repository's code is MIT); derived from CLIPSeg's weights, which are not "
            "under MIT",
            model=PARTCLIPSEG,
            prefix="partclipseg_model.",
            marks=("decoder.cond_film_", "decoder.part_obj_", "decoder.reduce_cond_embed."),
            renames=RENAMES,
        ),
        PublishedLayout(
            name="ovparts-clipseg",
            origin="InternRobotics/OV_PARTS",
            licence="none stated (the repository has no licence); derived from CLIPSeg's weights, which are not under "
            "MIT",
            model=CLIPSEG | {"background_embedding": "frozen", "visual_adapter": True},
            prefix="clipseg_model.",
            marks=("visual_adapter.", "non_object_embedding"),
            renames=RENAMES,
        ),
        PublishedLayout(
            name="clipseg-rd64-refined",
            origin="CIDAS/clipseg-rd64-refined",
            licence=CLIPSEG_LICENCE,
            model=CLIPSEG,
            prefix="",
            marks=("decoder.film_", "decoder.layers."),
            renames=RENAMES,
        ),
        PublishedLayout(
            name="timojl-clipseg",
            origin="timojl/clipseg",
            licence=f"{CLIPSEG_LICENCE}; CLIP: {CLIP_LICENCE}",
            model=CLIPSEG,
            prefix="",
            marks=("film_", "trans_conv."),
            renames=TIMOJL_RENAMES,
            holds_clip=False,
        ),
    )
}
"""Known layouts, in the order in which files are compared with them."""


@dataclass(frozen=True)
class TensorMatch:
    """Match of the tensors of a file with those of a model.

    Attributes:
        tensors: Our names -> complete float32 tensors of the right shape.
        used: Number of tensors of the file that they are made of.
        ignored: Names in the file that are not needed, with the reason.
        unknown: Names in the file that no layout has.
        wrong: Names in the file whose shape or type is wrong, with the expected and the given one.
        missing: Our names that the file does not fill.
    """

    tensors: dict[str, Tensor]
    used: int
    ignored: dict[str, str]
    unknown: list[str]
    wrong: dict[str, str]
    missing: list[str]

    @property
    def is_whole(self) -> bool:
        """True if everything in the file is known and nothing is missing."""
        return not (self.unknown or self.wrong or self.missing)

    def complaint(self) -> str:
        """Describe what does not fit, with a few names of each kind."""
        wrong = [f"{name} {why}" for name, why in self.wrong.items()]
        kinds = ((wrong, "wrong"), (self.missing, "missing"), (self.unknown, "unknown"))
        return "; ".join(f"{len(names)} {kind}: {format_list(names, 3)}" for names, kind in kinds if names)


def recognise(names: Iterable[str]) -> PublishedLayout | None:
    """Return the layout of a file with these names: by their prefix, else by names that only that layout has."""
    names = list(names)
    for layout in LAYOUTS.values():
        if layout.prefix and any(name.startswith(layout.prefix) for name in names):
            return layout
    for layout in LAYOUTS.values():
        if any(name.startswith(layout.marks) for name in names):
            return layout
    return None


def our_name(name: str, layout: PublishedLayout = LAYOUTS["partclipseg"]) -> str:
    """Return our name of a published tensor; a third of a joined tensor ends in :q, :k or :v.

    >>> our_name("clip.vision_model.encoder.layers.3.self_attn.k_proj.bias")
    'clip.clip.visual.transformer.resblocks.3.attn.in_proj_bias:k'
    """
    for pattern, replacement in layout.renames:
        name = re.sub(pattern, replacement, name)
    return name


def from_published(
    tensors: Mapping[str, Tensor], layout: PublishedLayout = LAYOUTS["partclipseg"]
) -> dict[str, Tensor]:
    """Return the tensors of a published state dict under our names, without unused ones."""
    ours: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if _unused(name) is None:
            ours[our_name(name, layout)] = tensor.T if name in TRANSPOSED else tensor
    thirds = {name.partition(":")[0] for name in ours if ":" in name}
    joined = {name: torch.cat([ours[f"{name}:{third}"] for third in "qkv"]) for name in sorted(thirds)}
    return {name: tensor for name, tensor in ours.items() if ":" not in name} | joined


def match_tensors(layout: PublishedLayout, tensors: Mapping[str, Tensor], wanted: Mapping[str, Shape]) -> TensorMatch:
    """Match a published state dict with the tensors that a model needs.

    Args:
        layout: Layout of the file.
        tensors: Tensors of the file, with or without the layout's prefix.
        wanted: Our names -> shapes.
    """
    good: dict[str, Tensor] = {}
    ignored: dict[str, str] = {}
    unknown: list[str] = []
    wrong: dict[str, str] = {}
    prefixed = bool(layout.prefix) and any(name.startswith(layout.prefix) for name in tensors)
    for full, tensor in tensors.items():
        name = full.removeprefix(layout.prefix)
        reason = _unused(name)
        want = _shape_in_file(name, our_name(name, layout), wanted)
        if (prefixed and name == full) or (reason is None and want is None):
            unknown.append(full)
        elif reason is not None:
            ignored[full] = reason
        elif want != tuple(tensor.shape):
            wrong[full] = f"must be {want}, got {tuple(tensor.shape)}"
        elif not tensor.is_floating_point():
            wrong[full] = f"must hold floats, got {tensor.dtype}"
        else:
            good[name] = tensor
    ours = {our_name(name, layout): name for name in good}
    filled = {target: _sources(target, ours) for target in wanted}
    missing = [target for target, sources in filled.items() if not sources]
    whole = {name: good[name].float() for sources in filled.values() for name in sources}
    return TensorMatch(from_published(whole, layout), len(whole), ignored, unknown, wrong, missing)


def _unused(name: str) -> str | None:
    return next((reason for pattern, reason in UNUSED.items() if re.search(pattern, name)), None)


def _shape_in_file(name: str, ours: str, wanted: Mapping[str, Shape]) -> Shape | None:
    """Return the shape that a tensor of the file must have, None if the model does not need it."""
    target, _, third = ours.partition(":")
    shape = wanted.get(target)
    if shape is None:
        return None
    if third:
        return (shape[0] // len("qkv"), *shape[1:])
    return shape[::-1] if name in TRANSPOSED else shape


def _sources(target: str, ours: Mapping[str, str]) -> list[str]:
    """Return the names in the file that make up one of our tensors; empty if one of them is missing."""
    if target in ours:
        return [ours[target]]
    thirds = [f"{target}:{third}" for third in "qkv"]
    return [ours[third] for third in thirds] if all(third in ours for third in thirds) else []
