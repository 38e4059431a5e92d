"""Weights in the layouts of published files, made from a model of ours; the names are written down, not derived."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from torch import Tensor

CLIP = {
    "clip.logit_scale": "clip.clip.logit_scale",
    "clip.text_model.embeddings.token_embedding.weight": "clip.clip.token_embedding.weight",
    "clip.text_model.embeddings.position_embedding.weight": "clip.clip.positional_embedding",
    "clip.text_model.final_layer_norm.weight": "clip.clip.ln_final.weight",
    "clip.text_model.final_layer_norm.bias": "clip.clip.ln_final.bias",
    "clip.vision_model.embeddings.class_embedding": "clip.clip.visual.class_embedding",
    "clip.vision_model.embeddings.patch_embedding.weight": "clip.clip.visual.conv1.weight",
    "clip.vision_model.embeddings.position_embedding.weight": "clip.clip.visual.positional_embedding",
    "clip.vision_model.pre_layrnorm.weight": "clip.clip.visual.ln_pre.weight",
    "clip.vision_model.pre_layrnorm.bias": "clip.clip.visual.ln_pre.bias",
    "clip.vision_model.post_layernorm.weight": "clip.clip.visual.ln_post.weight",
    "clip.vision_model.post_layernorm.bias": "clip.clip.visual.ln_post.bias",
}
TURNED = {
    "clip.text_projection.weight": "clip.clip.text_projection",
    "clip.visual_projection.weight": "clip.clip.visual.proj",
}
BLOCK = {
    "self_attn.out_proj": "attn.out_proj",
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}
DECODER_LAYER = {
    "self_attn.out_proj": "out_proj",
    "layer_norm1": "norm1",
    "layer_norm2": "norm2",
    "mlp.fc1": "fc1",
    "mlp.fc2": "fc2",
}
DECODER = {
    "film_mul": "decoder.film.mul",
    "film_add": "decoder.film.add",
    **{f"reduces.{i}": f"decoder.reduces.{i}" for i in range(3)},
    **{f"transposed_convolution.{i}": f"head.layers.{i}" for i in (0, 2, 4)},
}
SECOND_STAGE = {
    "decoder.cond_film_mul": "pair_film.mul",
    "decoder.cond_film_add": "pair_film.add",
    **{f"decoder.part_obj_with_cond_embed.{i}": f"pair_head.layers.{i}" for i in (0, 2, 4)},
    "decoder.part_obj_mlp.0": "compose",
    "decoder.reduce_cond_embed": "compose_text",
}
ADAPTER = {
    "visual_adapter.fc.0.weight": "visual_adapter.down.weight",
    "visual_adapter.fc.2.weight": "visual_adapter.up.weight",
    "non_object_embedding": "background",
}
LARGE = 1_000_000
TIMOJL_LAYER = {
    "self_attn.out_proj": "out_proj",
    "norm1": "norm1",
    "norm2": "norm2",
    "linear1": "fc1",
    "linear2": "fc2",
}


def remove_large(folder: Path) -> None:
    """Remove the files of weights below a folder, which pytest would keep for its next three runs."""
    for path in folder.rglob("*"):
        if path.is_file() and path.stat().st_size > LARGE:
            path.unlink()


def huggingface(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give Hugging Face's CLIPSeg layout, which also the authors of PartCLIPSeg and OV-PARTS use, of what there is."""
    pairs = {name: state[ours] for name, ours in {**CLIP, **ADAPTER}.items() if ours in state}
    pairs |= {name: state[ours].T for name, ours in TURNED.items()}
    pairs |= dict(_thirds(state))
    for kind in ("weight", "bias"):
        for name, ours in {**{f"decoder.{key}": value for key, value in DECODER.items()}, **SECOND_STAGE}.items():
            if f"{ours}.{kind}" in state:
                pairs[f"{name}.{kind}"] = state[f"{ours}.{kind}"]
    return {name: tensor.detach().clone().contiguous() for name, tensor in pairs.items()}


def _thirds(state: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Give the layers of both towers and the decoder, attention in three pieces."""
    towers = (
        ("clip.text_model.encoder.layers", "clip.clip.transformer.resblocks", "attn.in_proj_", BLOCK),
        ("clip.vision_model.encoder.layers", "clip.clip.visual.transformer.resblocks", "attn.in_proj_", BLOCK),
        ("decoder.layers", "decoder.layers", "in_proj.", DECODER_LAYER),
    )
    for theirs, ours, joined, names in towers:
        for layer in range(12):
            for kind in ("weight", "bias"):
                if f"{ours}.{layer}.{joined}{kind}" not in state:
                    continue
                for third, tensor in zip("qkv", state[f"{ours}.{layer}.{joined}{kind}"].chunk(3), strict=True):
                    yield f"{theirs}.{layer}.self_attn.{third}_proj.{kind}", tensor
                for name, our in names.items():
                    yield f"{theirs}.{layer}.{name}.{kind}", state[f"{ours}.{layer}.{our}.{kind}"]


def timojl(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give the layout of timojl/clipseg: the decoder alone."""
    pairs = {}
    for kind in ("weight", "bias"):
        for name, ours in DECODER.items():
            pairs[f"{name.replace('transposed_convolution', 'trans_conv')}.{kind}"] = state[f"{ours}.{kind}"]
        for layer in range(3):
            pairs[f"blocks.{layer}.self_attn.in_proj_{kind}"] = state[f"decoder.layers.{layer}.in_proj.{kind}"]
            for name, ours in TIMOJL_LAYER.items():
                pairs[f"blocks.{layer}.{name}.{kind}"] = state[f"decoder.layers.{layer}.{ours}.{kind}"]
        pairs[f"reduce.{kind}"] = state[f"decoder.reduces.0.{kind}"] * 2
    return {name: tensor.detach().clone().contiguous() for name, tensor in pairs.items()}


def open_clip(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give CLIP alone in open_clip's layout."""
    return {
        name.removeprefix("clip.clip."): tensor.detach().clone().contiguous()
        for name, tensor in state.items()
        if name.startswith("clip.")
    }
