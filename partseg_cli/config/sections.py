"""Sections of recipes: every key with its type and bounds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

STARTS = ("rd64-refined", "clip", "nano", "random")
"""Names that `model.init` accepts besides the path of a checkpoint or run directory."""

RENAMED = {
    "data.cache taps": "data.cache features",
    "data.cache photos": "data.cache images",
    "model.trained": "model.trainable",
    "train.absent_objects": "train.negative_objects",
    "train.best_by": "train.monitor",
    "train.clip_norm": "train.clip_grad_norm",
    "train.evaluate_every": "train.eval_interval",
    "train.keep": "train.keep_checkpoints",
    "train.micro_batch": "train.micro_batch_size",
    "train.power": "train.poly_power",
    "train.recompute_decoder": "train.activation_checkpointing",
    "train.save_every": "train.save_interval",
}
"""Former key, or key and value, of a recipe -> its current name."""


def number(at_least: float | None = None, above: float | None = None, at_most: float | None = None) -> Any:  # noqa: ANN401
    """Return the field of a key whose value is a number within bounds."""
    return field(metadata={">=": at_least, ">": above, "<=": at_most})


def one_of_or_path(*choices: str) -> Any:  # noqa: ANN401
    """Return the field of a key whose value is one of `choices` or a path (with a slash or the suffix .safetensors)."""
    return field(metadata={"choices": choices})


@dataclass(frozen=True, kw_only=True)
class DataSection:
    """Training and validation data."""

    dataset: str
    root: str | None
    split: str
    shortest_edge: int | None = number(at_least=1)
    longest_edge: int = number(at_least=1)
    flip: float = number(at_least=0, at_most=1)
    train_channel_order: Literal["rgb", "bgr"]
    unlabelled_objects: Literal["background", "ignore"]
    workers: int = number(at_least=0)
    cache: Literal["none", "images", "features"]


@dataclass(frozen=True, kw_only=True)
class ModelSection:
    """Keys shared by all models; `name` selects one of the sections below."""

    name: str
    backbone: Literal["ViT-B-16-quickgelu", "tiny", "nano"]
    init: str = one_of_or_path(*STARTS)
    image_size: int = number(at_least=32)
    background_embedding: str
    trainable: Literal["published", "decoder", "all"]


@dataclass(frozen=True, kw_only=True)
class PartCLIPSegSection(ModelSection):
    """Architecture of PartCLIPSeg."""

    name: Literal["partclipseg"]
    background_embedding: Literal["frozen", "learned"]
    object_text_index: Literal["paper", "published"]


@dataclass(frozen=True, kw_only=True)
class CLIPSegSection(ModelSection):
    """Architecture of CLIPSeg. The original has neither adapter nor background embedding, OV-PARTS has both."""

    name: Literal["clipseg"]
    background_embedding: Literal["frozen", "learned", "none"]
    visual_adapter: bool


@dataclass(frozen=True, kw_only=True)
class LossSection:
    """Loss of PartCLIPSeg."""

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
    """Loss of CLIPSeg."""

    background_weight: float = number(at_least=0)
    loss_mean: Literal["image", "batch"]


@dataclass(frozen=True, kw_only=True)
class TrainSection:
    """Optimisation, checkpoints and validation."""

    seed: int = number(at_least=0)
    iterations: int = number(at_least=1)
    batch_size: int = number(at_least=1)
    micro_batch_size: int = number(at_least=1)
    negative_objects: int | None = number(at_least=0)
    lr: float = number(above=0)
    weight_decay: float = number(at_least=0)
    poly_power: float = number(at_least=0)
    clip_grad_norm: float = number(above=0)
    precision: Literal["auto", "fp32", "bf16", "fp16"]
    activation_checkpointing: bool
    compile: bool
    save_interval: int = number(at_least=1)
    keep_checkpoints: int = number(at_least=1)
    eval_interval: int = number(at_least=0)
    select: Literal["last", "best"]
    monitor: Literal[
        "oracle-obj harmonic",
        "oracle-obj seen",
        "oracle-obj unseen",
        "pred-all harmonic",
        "pred-all seen",
        "pred-all unseen",
    ]


@dataclass(frozen=True, kw_only=True)
class CaptionDataSection:
    """Captioned views for training CLIP."""

    dataset: str
    root: str | None
    split: str
    flip: float = number(at_least=0, at_most=1)
    objects: float = number(at_least=0, at_most=1)
    parts: float = number(at_least=0, at_most=1)
    workers: int = number(at_least=0)


@dataclass(frozen=True, kw_only=True)
class ClipSection:
    """Architecture of CLIP on its own."""

    name: Literal["clip"]
    backbone: Literal["ViT-B-16-quickgelu", "tiny", "nano"]
    image_size: int = number(at_least=32)
    drop_tokens: float = number(at_least=0, at_most=0.95)


@dataclass(frozen=True, kw_only=True)
class ContrastSection:
    """Contrastive loss of CLIP."""

    scale: float = number(above=0)
    max_scale: float = number(above=0)


@dataclass(frozen=True, kw_only=True)
class PhraseDataSection:
    """Phrases and their masks for pretraining a decoder."""

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
    """Loss of a decoder's pretraining."""

    overlap: float = number(at_least=0)


@dataclass(frozen=True, kw_only=True)
class PretrainSection:
    """Optimisation and checkpoints of pretraining."""

    seed: int = number(at_least=0)
    iterations: int = number(at_least=1)
    batch_size: int = number(at_least=1)
    lr: float = number(above=0)
    warmup: int = number(at_least=0)
    weight_decay: float = number(at_least=0)
    poly_power: float = number(at_least=0)
    clip_grad_norm: float = number(above=0)
    precision: Literal["auto", "fp32", "bf16", "fp16"]
    save_interval: int = number(at_least=1)
    keep_checkpoints: int = number(at_least=1)
