"""Builds models by name: the only place that lists all models."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from partseg_cli.errors import CheckpointError, RecipeError
from partseg_cli.io.paths import cache_dir
from partseg_cli.models.backbones import BACKBONES
from partseg_cli.models.checkpoints.checkpoint import (
    CheckpointHeader,
    check_finite,
    checkpoint_file,
    load_checkpoint,
    load_state_strict,
)
from partseg_cli.models.clipseg.model import CLIPSeg
from partseg_cli.models.clipseg.objective import CLIPSegLoss
from partseg_cli.models.partclipseg.model import PartCLIPSeg
from partseg_cli.models.partclipseg.objective import PartCLIPSegLoss
from partseg_cli.structures import Labels, Logits
from partseg_cli.vocabulary import Vocabulary

MODELS: dict[str, type[CLIPSeg]] = {"clipseg": CLIPSeg, "partclipseg": PartCLIPSeg}


def build_model(*, name: str, backbone: str, image_size: int, **switches: Any) -> CLIPSeg:  # noqa: ANN401
    """Build a model with randomly drawn weights.

    Args:
        name: Key of `MODELS`.
        backbone: Key of `BACKBONES`.
        image_size: Edge in pixels of the square images that the model is run on.
        switches: Keyword arguments of the model's class.

    Raises:
        RecipeError: The image size is no multiple of the patch size.
        ValueError: A name or a switch is unknown.
    """
    for key, value, known in (("name", name, MODELS), ("backbone", backbone, BACKBONES)):
        if value not in known:
            raise ValueError(f"model.{key} must be one of {', '.join(known)}, got {value!r}")
    model = MODELS[name](BACKBONES[backbone], **switches)
    if image_size <= 0 or image_size % model.clip.patch_size:
        raise RecipeError(
            f"model.image_size must be a multiple of {model.clip.patch_size}, got {image_size}; "
            "the backbone cuts images into squares of that size"
        )
    return model


def init_model(*, init: str, backbone: str, **settings: Any) -> CLIPSeg:  # noqa: ANN401
    """Build a model and load the weights that its training starts from.

    Args:
        init: As in `init_weights`.
        backbone: As in `build_model`.
        settings: Further arguments of `build_model`.

    Raises:
        CheckpointError: The start weights are not on this machine, or do not fit the backbone.
        RecipeError: As `build_model`.
    """
    from partseg_cli.models.init_weights import init_weights  # needs the readers of published files

    model = build_model(backbone=backbone, **settings)
    init_weights(model, init, backbone)
    return model


def build_loss(
    name: str,
    vocabulary: Vocabulary,
    device: torch.device,
    **settings: Any,  # noqa: ANN401
) -> Callable[[Logits, Labels], dict[str, Float[Tensor, ""]]]:
    """Build the loss of the model called `name`.

    Args:
        name: Key of `MODELS`.
        vocabulary: Training vocabulary.
        device: Device of the logits.
        settings: Keyword arguments of the loss's class.

    Returns:
        Function from logits and labels to the loss terms, unweighted, and their weighted sum `total`.
    """
    if name == "clipseg":
        return CLIPSegLoss(**settings)
    part_of, object_of = (torch.tensor(index, device=device) for index in (vocabulary.part_of, vocabulary.object_of))
    return PartCLIPSegLoss(part_of, object_of, **settings)


def build_from_header(settings: Mapping[str, Any]) -> CLIPSeg:
    """Build the model that the `model` record of a checkpoint's header describes.

    Raises:
        RecipeError, ValueError, TypeError: As `build_model`, or a setting is missing, unknown or of another type.
    """
    adapter = settings.get("visual_adapter", False)
    if not isinstance(adapter, bool):
        raise ValueError(f"model.visual_adapter must be true or false, got {adapter!r}")
    renamed = {"trainable" if key == "trained" else key: value for key, value in settings.items() if key != "init"}
    return build_model(**renamed)


def load_model(checkpoint: Path) -> tuple[CLIPSeg, CheckpointHeader]:
    """Load a model in evaluation mode on the CPU, with the switches that its weights were trained with.

    Text embeddings are cached on disk between commands.

    Raises:
        CheckpointError: As `load_checkpoint`, or the checkpoint names a model that cannot be built.
    """
    path = checkpoint_file(checkpoint)
    check_finite(load_checkpoint(path)[1], path)
    header, tensors = load_checkpoint(path)  # opened again: only the pages that the model needs are read
    try:
        with torch.device("meta"):
            model = build_from_header(header.model)
    except (RecipeError, ValueError, TypeError) as error:
        raise CheckpointError(f"{checkpoint}: names a model that this version cannot build ({error})") from error
    load_state_strict(model, tensors, path)
    file = path.stat()  # a file edited by hand keeps the digest in its header
    model.text_cache.keep_on_disk(cache_dir() / "text", f"{header.digest} {file.st_size} {file.st_mtime_ns}")
    return model.eval(), header
