"""The sections of recipes: every key with its type and bounds. Recipes themselves are read in `recipe.py`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

STARTS = ("rd64-refined", "clip", "nano", "random")
"""What `model.init` can name; besides, a checkpoint or the folder of a training run."""


def number(at_least: float | None = None, above: float | None = None, at_most: float | None = None) -> Any:  # noqa: ANN401
    """Declare a key that holds a number with bounds."""
    return field(metadata={">=": at_least, ">": above, "<=": at_most})


def one_of_or_path(*choices: str) -> Any:  # noqa: ANN401
    """Declare a key that holds one of `choices`, or a path, told by its slash or its suffix .safetensors."""
    return field(metadata={"choices": choices})


@dataclass(frozen=True, kw_only=True)
class DataSection:
    """What the model reads."""

    dataset: str
    root: str | None
    split: str
    shortest_edge: int | None = number(at_least=1)
    longest_edge: int = number(at_least=1)
    flip: float = number(at_least=0, at_most=1)
    train_channel_order: Literal["rgb", "bgr"]
    unlabelled_objects: Literal["background", "ignore"]
    workers: int = number(at_least=0)
    cache: Literal["none", "photos", "taps"]


@dataclass(frozen=True, kw_only=True)
class ModelSection:
    """What every model is built from; `name` decides which of the sections below it is."""

    name: str
    backbone: Literal["ViT-B-16-quickgelu", "tiny", "nano"]
    init: str = one_of_or_path(*STARTS)
    image_size: int = number(at_least=32)
    background_embedding: str
    trained: Literal["published", "decoder", "all"]


@dataclass(frozen=True, kw_only=True)
class PartCLIPSegSection(ModelSection):
    """What PartCLIPSeg is built from."""

    name: Literal["partclipseg"]
    background_embedding: Literal["frozen", "learned"]
    object_text_index: Literal["paper", "published"]


@dataclass(frozen=True, kw_only=True)
class CLIPSegSection(ModelSection):
    """What CLIPSeg is built from; the original has neither adapter nor background embedding, OV-PARTS has both."""

    name: Literal["clipseg"]
    background_embedding: Literal["frozen", "learned", "none"]
    visual_adapter: bool


@dataclass(frozen=True, kw_only=True)
class LossSection:
    """What training minimises."""

    lambda_obj: float = number(at_least=0)
    lambda_part: float = number(at_least=0)
    lambda_sep: float = number(at_least=0)
    lambda_enh: float = number(at_least=0)
    gamma: float = number(at_least=0, at_most=1)
    tau: float = number(above=0)
    background_weight: float = number(at_least=0)
    mask_mean: Literal["paper", "published"]
    separation: Literal["soft", "hard"]
    parts_per_object: Literal["own", "image"]
    loss_mean: Literal["image", "batch"]


@dataclass(frozen=True, kw_only=True)
class CLIPSegLossSection:
    """What training CLIPSeg minimises."""

    background_weight: float = number(at_least=0)
    loss_mean: Literal["image", "batch"]


@dataclass(frozen=True, kw_only=True)
class TrainSection:
    """How training runs."""

    seed: int = number(at_least=0)
    iterations: int = number(at_least=1)
    batch_size: int = number(at_least=1)
    micro_batch: int = number(at_least=1)
    absent_objects: int | None = number(at_least=0)
    lr: float = number(above=0)
    weight_decay: float = number(at_least=0)
    power: float = number(at_least=0)
    clip_norm: float = number(above=0)
    precision: Literal["auto", "fp32", "bf16", "fp16"]
    recompute_decoder: bool
    compile: bool
    save_every: int = number(at_least=1)
    keep: int = number(at_least=1)
    evaluate_every: int = number(at_least=0)
    select: Literal["last", "best"]
    best_by: Literal[
        "oracle-obj harmonic",
        "oracle-obj seen",
        "oracle-obj unseen",
        "pred-all harmonic",
        "pred-all seen",
        "pred-all unseen",
    ]


@dataclass(frozen=True, kw_only=True)
class CaptionDataSection:
    """What CLIP reads: captioned views."""

    dataset: str
    root: str | None
    split: str
    flip: float = number(at_least=0, at_most=1)
    objects: float = number(at_least=0, at_most=1)
    parts: float = number(at_least=0, at_most=1)
    workers: int = number(at_least=0)


@dataclass(frozen=True, kw_only=True)
class ClipSection:
    """What CLIP alone is built from."""

    name: Literal["clip"]
    backbone: Literal["ViT-B-16-quickgelu", "tiny", "nano"]
    image_size: int = number(at_least=32)
    drop_tokens: float = number(at_least=0, at_most=0.95)


@dataclass(frozen=True, kw_only=True)
class ContrastSection:
    """What CLIP's training minimises."""

    scale: float = number(above=0)
    max_scale: float = number(above=0)


@dataclass(frozen=True, kw_only=True)
class PhraseDataSection:
    """What a decoder's start reads: phrases and their masks."""

    dataset: str
    root: str | None
    split: str
    flip: float = number(at_least=0, at_most=1)
    phrases: int = number(at_least=1)
    parts: float = number(at_least=0, at_most=1)
    absent: float = number(at_least=0, at_most=1)
    workers: int = number(at_least=0)


@dataclass(frozen=True, kw_only=True)
class PhraseLossSection:
    """What the start of a decoder minimises."""

    overlap: float = number(at_least=0)


@dataclass(frozen=True, kw_only=True)
class PretrainSection:
    """How a CLIP, or the start of a decoder, is trained."""

    seed: int = number(at_least=0)
    iterations: int = number(at_least=1)
    batch_size: int = number(at_least=1)
    lr: float = number(above=0)
    warmup: int = number(at_least=0)
    weight_decay: float = number(at_least=0)
    power: float = number(at_least=0)
    clip_norm: float = number(above=0)
    precision: Literal["auto", "fp32", "bf16", "fp16"]
    save_every: int = number(at_least=1)
    keep: int = number(at_least=1)
