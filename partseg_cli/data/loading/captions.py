"""Captioned views of images, as CLIP is trained on: whole scenes, close-ups of objects, close-ups of parts.

Unseen objects are named as objects only, as in real captions. Parts are named only in close-ups of parts, and those are
taken from images without any unseen object.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt16
from PIL import Image
from torch import Tensor

from partseg_cli.data.loading.dataloader import SampledDataset
from partseg_cli.data.loading.transforms import image_to_tensor
from partseg_cli.data.record import Part, Record
from partseg_cli.data.store import Store
from partseg_cli.vocabulary import Vocabulary

SCENE_SCALE = (0.7, 1.0)
"""Range of the edge of a scene's view, as a fraction of the shorter edge of the image."""
OBJECT_SCALE = (0.6, 1.3)
"""Range of the edge of an object's close-up, as a fraction of the longer edge of the object's box."""
PART_SCALE = (1.1, 1.9)
"""Range of the edge of a part's close-up, as a fraction of the longer edge of the part's box."""
MIN_PART_SIZE = 8
"""Longer edge in pixels of the smallest part that has a close-up."""
VISIBLE = 0.03
"""Fraction of a view from which on an object in it is named."""

Box = tuple[int, int, int, int]
"""Left, top, right and bottom edge in pixels."""
CaptionedBox = tuple[Box, str, tuple[str, ...]]
"""Box of a view, its caption and all captions that are true of it."""


@dataclass(frozen=True)
class CaptionViews:
    """Transform from images to captioned views.

    Attributes:
        image_size: Edge in pixels of the square that the model reads.
        flip: Probability of a left-right flip.
        objects: Fraction of the views that are close-ups of an object.
        parts: Fraction of the views that are close-ups of a part, where an image has a part to show.
    """

    image_size: int
    flip: float
    objects: float
    parts: float


class View(NamedTuple):
    """Captioned view.

    Attributes:
        image: Normalised RGB.
        caption: Caption of the view.
        truths: All captions that are true of the view, `caption` among them.
        image_id: Id of the image.
    """

    image: Float[Tensor, "3 H W"]
    caption: str
    truths: tuple[str, ...]
    image_id: str


class CaptionBatch(NamedTuple):
    """Views, and the different captions among them.

    Attributes:
        images: Normalised RGB.
        captions: The C different captions, sorted.
        truth: Whether a caption is true of an image.
        image_ids: Ids of the images.
    """

    images: Float[Tensor, "B 3 H W"]
    captions: tuple[str, ...]
    truth: Bool[Tensor, "B C"]
    image_ids: tuple[str, ...]

    @classmethod
    def collate(cls, views: Sequence[View]) -> CaptionBatch:
        """Join views."""
        captions = tuple(sorted({view.caption for view in views}))
        truth = torch.tensor([[caption in view.truths for caption in captions] for view in views])
        images = torch.stack([view.image for view in views])
        return cls(images, captions, truth, tuple(view.image_id for view in views))


class CaptionDataset(SampledDataset[View, CaptionBatch]):
    """Captioned views by their id in the run.

    Images and labels stay in memory once they are read: 60 kB for an image of 128 x 128.
    """

    def __init__(
        self, store: Store, image_ids: Sequence[str], vocabulary: Vocabulary, views: CaptionViews, seed: int
    ) -> None:
        super().__init__(store, image_ids, vocabulary, seed, CaptionBatch.collate)
        self.views = views
        self._kept: dict[int, tuple[Image.Image, UInt16[np.ndarray, "H W"]]] = {}

    def __getitem__(self, sample_id: int) -> View:
        """Return a view of the run."""
        index, rng = self.draw(sample_id)
        record = self.records[index]
        if index not in self._kept:
            self._kept[index] = self.store.read_image(record), record.object_map()
        image, objects = self._kept[index]
        kind, parts = rng.random(), self._showable_parts(record)
        if kind < self.views.parts and parts:
            box, caption, truths = self._part_view(record, parts, rng)
        elif kind < self.views.parts + self.views.objects:
            box, caption, truths = self._object_view(record, objects, rng)
        else:
            box, caption, truths = self._scene_view(record, objects, rng)
        view = image.crop(box)
        if rng.random() < self.views.flip:
            view = view.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return View(image_to_tensor(view, self.views.image_size), caption, truths, record.image_id)

    def _showable_parts(self, record: Record) -> list[Part]:
        """List the parts that may have a close-up: none in an image with an unseen object."""
        if self.shows_unseen(record):
            return []
        pairs = self.vocabulary.pairs
        return [part for part in record.parts if pairs[part.pair].is_seen and max(part.mask.bbox[2:]) >= MIN_PART_SIZE]

    def _part_view(self, record: Record, parts: list[Part], rng: np.random.Generator) -> CaptionedBox:
        part = parts[rng.integers(len(parts))]
        truths = (self.vocabulary.pair_prompts[part.pair], self.vocabulary.pairs[part.pair].part)
        box = square_around(part.mask.bbox, rng.uniform(*PART_SCALE), MIN_PART_SIZE, record, rng)
        return box, truths[rng.integers(2)], truths

    def _object_view(
        self, record: Record, objects: UInt16[np.ndarray, "H W"], rng: np.random.Generator
    ) -> CaptionedBox:
        instance = record.objects[rng.integers(len(record.objects))]
        box = square_around(instance.mask.bbox, rng.uniform(*OBJECT_SCALE), 2 * MIN_PART_SIZE, record, rng)
        name = self.names[instance.category]
        return box, name, tuple(dict.fromkeys([name, *self._captions(objects, box)]))

    def _scene_view(self, record: Record, objects: UInt16[np.ndarray, "H W"], rng: np.random.Generator) -> CaptionedBox:
        whole = (0, 0, record.width, record.height)
        edge = rng.uniform(*SCENE_SCALE) * min(record.width, record.height) / max(record.width, record.height)
        box = square_around(whole, edge, 2 * MIN_PART_SIZE, record, rng)
        captions = self._captions(objects, box) or self._captions(objects, whole)
        if not captions:
            captions = [self.names[max(record.objects, key=lambda instance: instance.mask.area).category]]
        return box, captions[rng.integers(len(captions))], tuple(captions)

    def _captions(self, objects: UInt16[np.ndarray, "H W"], box: Box) -> list[str]:
        """List the captions of the objects in a box: the name of each, and all names joined by "and"."""
        left, top, right, bottom = box
        inside = objects[top:bottom, left:right]
        counts = np.bincount(inside.ravel(), minlength=len(self.names))[: len(self.names)]
        names = [self.names[index] for index in np.flatnonzero(counts >= VISIBLE * inside.size)]
        return [*names, " and ".join(names)] if len(names) > 1 else names


def square_around(bbox: Box, scale: float, min_size: int, record: Record, rng: np.random.Generator) -> Box:
    """Return a square around a box (x, y, width, height), shifted by up to a tenth of its edge, inside the image.

    Args:
        bbox: Box of the part, object or scene.
        scale: Edge of the square relative to the longer edge of the box.
        min_size: Smallest edge in pixels.
        record: Record of the image.
        rng: Random generator of the shift.
    """
    x, y, width, height = bbox
    edge = round(min(max(scale * max(width, height), min_size), record.width, record.height))
    shift = rng.uniform(-0.1, 0.1, 2) * edge
    left = min(max(round(x + (width - edge) / 2 + shift[0]), 0), record.width - edge)
    top = min(max(round(y + (height - edge) / 2 + shift[1]), 0), record.height - edge)
    return left, top, left + edge, top + edge
