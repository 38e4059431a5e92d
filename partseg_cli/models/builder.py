"""From a `model` section or a checkpoint to a model: the one place that knows every model by name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from partseg_cli.config.recipe import model_from_header
from partseg_cli.config.sections import STARTS, CLIPSegSection, ModelSection, PartCLIPSegSection
from partseg_cli.errors import CheckpointError, RecipeError
from partseg_cli.io.paths import cache_dir, packaged_weights
from partseg_cli.models.backbones import BACKBONES
from partseg_cli.models.checkpoints.checkpoint import Header, checkpoint_file, load_checkpoint
from partseg_cli.models.checkpoints.pretrained import (
    check_finite,
    init_from_checkpoint,
    init_pretrained,
    load_state_strict,
)
from partseg_cli.models.clip.model import check_words
from partseg_cli.models.clipseg.model import CLIPSeg
from partseg_cli.models.partclipseg.model import PartCLIPSeg
from partseg_cli.runtime.devices import InferenceConfig, choose_device
from partseg_cli.structures import Logits
from partseg_cli.vocabulary import Vocabulary


@dataclass(frozen=True)
class LoadedModel:
    """A model that is ready to segment; call it as DECISIONS "Model call" says.

    Attributes:
        model: in evaluation mode, on its device.
        section: what it was built from, with the switches that its weights were trained with.
        compute: how to run it.
    """

    model: nn.Module
    section: ModelSection
    compute: InferenceConfig

    @classmethod
    def ready(cls, model: CLIPSeg, section: ModelSection, compute: InferenceConfig) -> LoadedModel:
        """Bring a model to its device, in evaluation mode."""
        model.prompt_chunk = compute.prompt_chunk
        return cls(model.to(compute.device).eval(), section, compute)

    def __call__(self, images: Float[Tensor, "B 3 H W"], vocabulary: Vocabulary) -> Logits:
        """Give logits, in the precision asked for."""
        with self.compute.autocast():
            logits: Logits = self.model(images.to(self.compute.device), vocabulary)
            return logits

    def check_words(self, vocabulary: Vocabulary) -> None:
        """Refuse words that a model of few words has never seen.

        Raises:
            VocabularyError: there are some.
        """
        if isinstance(self.model, CLIPSeg):
            check_words((*vocabulary.parts, *vocabulary.objects), self.model.clip.words)


def build_inference_config(
    device: str = "auto", precision: str = "fp32", prompt_chunk: int | None = None, batch: int = 1
) -> InferenceConfig:
    """Read the options of a command: device is auto, cpu, cuda, cuda:N or mps.

    Raises:
        UsageError: the device is not there.
    """
    return InferenceConfig(choose_device(device), precision, prompt_chunk, batch)


def build_model(section: ModelSection) -> CLIPSeg:
    """Build the model of a section, weights as torch draws them.

    Raises:
        RecipeError: the section's values do not go together.
    """
    backbone = BACKBONES[section.backbone]
    match section:
        case PartCLIPSegSection():
            model: CLIPSeg = PartCLIPSeg(
                backbone,
                object_text_index=section.object_text_index,
                background_embedding=section.background_embedding,
                trainable=section.trainable,
            )
        case CLIPSegSection():
            model = CLIPSeg(
                backbone,
                visual_adapter=section.visual_adapter,
                background_embedding=section.background_embedding,
                trainable=section.trainable,
            )
        case _:
            raise TypeError(f"no model is built from {type(section).__name__}")
    if section.image_size % model.clip.patch_size:
        raise RecipeError(
            f"model.image_size must be a multiple of {model.clip.patch_size}, got {section.image_size}; "
            "the backbone cuts images into squares of that size"
        )
    return model


def init_model(section: ModelSection) -> CLIPSeg:
    """Build the model of a section at its start, `init`.

    Raises:
        CheckpointError: the start is not on this machine, or does not fit the backbone.
        RecipeError: as `build_model`.
    """
    model = build_model(section)
    if section.init in STARTS and section.init != "nano":
        init_pretrained(model, section.init, section.backbone)
    else:
        path = packaged_weights("nano-start") if section.init == "nano" else checkpoint_file(Path(section.init))
        header, tensors = load_checkpoint(path)
        if header.model.get("backbone") != section.backbone:
            raise CheckpointError(
                f"model.init: {path} holds a model on {header.model.get('backbone')}, got model.backbone "
                f"{section.backbone}; choose a start of the same backbone"
            )
        init_from_checkpoint(model, tensors, path)
    return model


def load_model(checkpoint: Path, compute: InferenceConfig) -> tuple[LoadedModel, Header]:
    """Build the model of a checkpoint, with the checkpoint's switches, in evaluation mode.

    Text embeddings are kept on disk from one command to the next.

    Raises:
        CheckpointError: as `load_checkpoint`, or it names a model that cannot be built.
    """
    path = checkpoint_file(checkpoint)
    check_finite(load_checkpoint(path)[1], path)
    header, tensors = load_checkpoint(path)  # opened anew: the model reads only the pages that it needs
    try:
        section = model_from_header(header.model, str(checkpoint))
        with torch.device("meta"):
            model = build_model(section)
    except RecipeError as error:
        raise CheckpointError(f"{checkpoint}: names a model that this version cannot build ({error})") from error
    load_state_strict(model, tensors, path)
    opened = LoadedModel.ready(model, section, compute)
    file = path.stat()  # a file that was edited by hand keeps its header's digest
    model.text_cache.keep_on_disk(cache_dir() / "text", f"{header.digest} {file.st_size} {file.st_mtime_ns}")
    return opened, header
