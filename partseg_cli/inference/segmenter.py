"""Segmentation of images with a trained model: load, preprocess, forward, decide."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from PIL import Image
from torch import Tensor, nn

from partseg_cli.data.loading.transforms import image_to_tensor
from partseg_cli.errors import DataError
from partseg_cli.inference.protocols import pred_all
from partseg_cli.inference.query import Query
from partseg_cli.io.images import find_images, open_image
from partseg_cli.models.builder import load_model
from partseg_cli.models.checkpoints.checkpoint import CheckpointHeader
from partseg_cli.models.clip.model import check_words
from partseg_cli.runtime.devices import InferenceConfig, memory_watch
from partseg_cli.structures import Logits
from partseg_cli.vocabulary import Vocabulary


class Segmentation(NamedTuple):
    """Segmentation of one image.

    Attributes:
        labels: Index of each pixel's query term, -1 = none.
        scores: Scores of these terms in [0, 1].
    """

    labels: Int[Tensor, "H W"]
    scores: Float[Tensor, "H W"]


@dataclass(frozen=True)
class Segmenter:
    """A model that is ready to segment images.

    Attributes:
        model: Model in evaluation mode on its device.
        image_size: Edge in pixels of the square images that the model is run on.
        compute: Device, precision and batch size.
        words: Words that the model's text encoder knows; None: any.
    """

    model: nn.Module
    image_size: int
    compute: InferenceConfig
    words: tuple[str, ...] | None = None

    def __call__(self, images: Float[Tensor, "B 3 H W"], vocabulary: Vocabulary) -> Logits:
        """Compute logits in the configured precision."""
        with self.compute.autocast():
            logits: Logits = self.model(images.to(self.compute.device), vocabulary)
            return logits

    def check_words(self, vocabulary: Vocabulary) -> None:
        """Check that the model's text encoder knows all words of a vocabulary.

        Raises:
            VocabularyError: It does not.
        """
        check_words((*vocabulary.parts, *vocabulary.objects), self.words)

    def segment(self, images: Sequence[Image.Image], query: Query) -> Iterator[Segmentation]:
        """Segment images in one forward pass; yield label maps at the images' own sizes.

        Raises:
            OutOfMemoryError: The pass needs more memory than the device has.
        """
        with torch.inference_mode(), memory_watch("lower --batch or --prompt-chunk, or choose another --device"):
            batch = torch.stack([image_to_tensor(image, self.image_size) for image in images])
            logits = self(batch, query.vocabulary)
        for index, image in enumerate(images):
            with torch.inference_mode():
                decision = pred_all(logits.image(index), query.vocabulary, (image.height, image.width))
                labels, scores = (plane.cpu() for plane in query.to_label_map(decision))
            yield Segmentation(labels, scores)


def load_segmenter(checkpoint: Path, compute: InferenceConfig) -> tuple[Segmenter, CheckpointHeader]:
    """Load the model of a checkpoint onto its device.

    Raises:
        CheckpointError: As `load_model`.
    """
    model, header = load_model(checkpoint)
    model.prompt_chunk = compute.prompt_chunk
    return Segmenter(model.to(compute.device), header.model["image_size"], compute, model.clip.words), header


def read_images(paths: Sequence[Path]) -> Iterator[tuple[Path, Image.Image | DataError]]:
    """Read each image once, rotated by its EXIF orientation; yield the error instead of one that cannot be read.

    Args:
        paths: Files, folders and patterns.
    """
    seen: set[str] = set()
    for given in paths:
        try:
            found = find_images([given])
        except DataError as error:
            yield given, error
            continue
        for path in found:
            key = os.path.abspath(path)  # noqa: PTH100 - resolve() would follow links
            if key in seen:
                continue
            seen.add(key)
            try:
                yield path, open_image(path, upright=True)
            except DataError as error:
                yield path, error
