"""Names of tensors in published files (Hugging Face's CLIPSeg layout and its descendants) -> our names."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

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
    (r"^decoder\.transposed_convolution\.", "guidance_head.layers."),
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
"""Applied in this order; `:q`, `:k`, `:v` mark thirds that are joined to one tensor."""

UNUSED = re.compile(r"position_ids$|^text_adapter\.|^tunable_linear\.")
"""Counters, and layers whose output the published code multiplies by 0 or never reads."""

TRANSPOSED = ("clip.text_projection.weight", "clip.visual_projection.weight")


def our_name(name: str) -> str:
    """Give our name of a published tensor; a third of a joined tensor ends in :q, :k or :v.

    >>> our_name("clip.vision_model.encoder.layers.3.self_attn.k_proj.bias")
    'clip.clip.visual.transformer.resblocks.3.attn.in_proj_bias:k'
    """
    for pattern, replacement in RENAMES:
        name = re.sub(pattern, replacement, name)
    return name


def from_published(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give the tensors of a published state dict under our names; unused ones are left out."""
    ours: dict[str, Tensor] = {}
    thirds: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if UNUSED.search(name):
            continue
        target, _, third = our_name(name).partition(":")
        if third:
            thirds.setdefault(target, {})[third] = tensor
        else:
            ours[target] = tensor.T if name in TRANSPOSED else tensor
    return ours | {name: torch.cat([third[key] for key in "qkv"]) for name, third in thirds.items()}
