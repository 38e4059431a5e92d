"""Captioned views of a store's photos, as CLIP is trained on: whole scenes, close-ups of objects, close-ups of parts.

Unseen objects are named as objects only, as in real captions. Parts are named in close-ups of parts alone, and those
are taken from photos without any unseen object.
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

from partseg_cli.data.loading.sampled import SampledDataset
from partseg_cli.data.loading.transforms import photo_tensor
from partseg_cli.data.record import Part, Record
from partseg_cli.data.store import Store
from partseg_cli.vocabulary import Vocabulary

SCENES = (0.7, 1.0)
"""Edge of a view of a scene, as a share of the photo's shorter one."""
OBJECTS = (0.6, 1.3)
"""... of a close-up of an object, as a share of the longer edge of its box."""
PARTS = (1.1, 1.9)
"""... of a close-up of a part, in the same way."""
SMALLEST = 8
"""Pixels of the longer edge of the smallest part that is shown in a close-up."""
VISIBLE = 0.03
"""An object is named from this share of a view on."""


@dataclass(frozen=True)
class CaptionViews:
    """How photos are turned into captioned views.

    Attributes:
        image_size: pixels, the square that the model reads.
        flip: probability of a left-right flip.
        objects: share of the views that are close-ups of an object.
        parts: share that are close-ups of a part, where a photo has one to show.
    """

    image_size: int
    flip: float
    objects: float
    parts: float


class View(NamedTuple):
    """One captioned view.

    Attributes:
        image: normalised RGB.
        caption: of the view.
        truths: all captions that would be true of it, `caption` among them.
        image_id: of the photo.
    """

    image: Float[Tensor, "3 H W"]
    caption: str
    truths: tuple[str, ...]
    image_id: str


class CaptionBatch(NamedTuple):
    """Views and the different captions among them.

    Attributes:
        images: normalised RGB.
        captions: the C different ones, sorted.
        truth: whether a caption is true of an image.
        image_ids: which photos these are.
    """

    images: Float[Tensor, "B 3 H W"]
    captions: tuple[str, ...]
    truth: Bool[Tensor, "B C"]
    image_ids: tuple[str, ...]

    @classmethod
    def of(cls, views: Sequence[View]) -> CaptionBatch:
        """Join views."""
        captions = tuple(sorted({view.caption for view in views}))
        truth = torch.tensor([[caption in view.truths for caption in captions] for view in views])
        images = torch.stack([view.image for view in views])
        return cls(images, captions, truth, tuple(view.image_id for view in views))


class CaptionDataset(SampledDataset[View, CaptionBatch]):
    """Captioned views by their number in the run.

    Photos and labels stay in memory once they were read: 60 kB for one of 128 x 128.
    """

    def __init__(
        self, store: Store, image_ids: Sequence[str], vocabulary: Vocabulary, views: CaptionViews, seed: int
    ) -> None:
        super().__init__(store, image_ids, vocabulary, seed, CaptionBatch.of)
        self.views = views
        self._kept: dict[int, tuple[Image.Image, UInt16[np.ndarray, "H W"]]] = {}

    def __getitem__(self, number: int) -> View:
        """Give view `number` of the run."""
        index, rng = self.draw(number)
        record = self.records[index]
        photo, objects = self._read(index)
        kind, parts = rng.random(), self._showable(record)
        if kind < self.views.parts and parts:
            box, caption, truths = self._part_view(record, parts, rng)
        elif kind < self.views.parts + self.views.objects:
            box, caption, truths = self._object_view(record, objects, rng)
        else:
            box, caption, truths = self._scene_view(record, objects, rng)
        view = photo.crop(box)
        if rng.random() < self.views.flip:
            view = view.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return View(photo_tensor(view, self.views.image_size), caption, truths, record.image_id)

    def _read(self, index: int) -> tuple[Image.Image, UInt16[np.ndarray, "H W"]]:
        if index not in self._kept:
            record = self.records[index]
            self._kept[index] = (self.store.read_photo(record), record.flat_objects())
        return self._kept[index]

    def _showable(self, record: Record) -> list[Part]:
        """List the parts that a close-up may show: none of a photo with an unseen object in it."""
        if any(self.names[instance.category] in self.unseen for instance in record.objects):
            return []
        pairs = self.vocabulary.pairs
        return [part for part in record.parts if pairs[part.pair].is_seen and max(part.mask.bbox[2:]) >= SMALLEST]

    def _part_view(
        self, record: Record, parts: list[Part], rng: np.random.Generator
    ) -> tuple[Box, str, tuple[str, ...]]:
        part = parts[rng.integers(len(parts))]
        name = self.vocabulary.pairs[part.pair].part
        truths = (self.vocabulary.pair_prompts[part.pair], name)
        box = square_around(part.mask.bbox, rng.uniform(*PARTS), SMALLEST, record, rng)
        return box, truths[rng.integers(2)], truths

    def _object_view(
        self, record: Record, objects: UInt16[np.ndarray, "H W"], rng: np.random.Generator
    ) -> tuple[Box, str, tuple[str, ...]]:
        instance = record.objects[rng.integers(len(record.objects))]
        box = square_around(instance.mask.bbox, rng.uniform(*OBJECTS), 2 * SMALLEST, record, rng)
        name = self.names[instance.category]
        return box, name, tuple(dict.fromkeys([name, *self._captions(objects, box)]))

    def _scene_view(
        self, record: Record, objects: UInt16[np.ndarray, "H W"], rng: np.random.Generator
    ) -> tuple[Box, str, tuple[str, ...]]:
        whole = (0, 0, record.width, record.height)
        edge = rng.uniform(*SCENES) * min(record.width, record.height) / max(record.width, record.height)
        box = square_around(whole, edge, 2 * SMALLEST, record, rng)
        captions = self._captions(objects, box) or self._captions(objects, whole) or [self._largest(record)]
        return box, captions[rng.integers(len(captions))], tuple(captions)

    def _captions(self, objects: UInt16[np.ndarray, "H W"], box: Box) -> list[str]:
        """List what can be said of the objects in a box: each by its name, and all together."""
        left, top, right, bottom = box
        inside = objects[top:bottom, left:right]
        counts = np.bincount(inside.ravel(), minlength=len(self.names))[: len(self.names)]
        names = [self.names[index] for index in np.flatnonzero(counts >= VISIBLE * inside.size)]
        return [*names, " and ".join(names)] if len(names) > 1 else names

    def _largest(self, record: Record) -> str:
        instance = max(record.objects, key=lambda instance: instance.mask.area)
        return self.names[instance.category]


Box = tuple[int, int, int, int]
"""Left, top, right and bottom edge in pixels."""


def square_around(bbox: Box, scale: float, smallest: int, record: Record, rng: np.random.Generator) -> Box:
    """Give a square around a box (x, y, width, height), shifted a little and kept inside the photo.

    Args:
        bbox: of what is shown.
        scale: of the square's edge, relative to the box's longer one.
        smallest: edge in pixels.
        record: of the photo.
        rng: shifts it by up to a tenth.
    """
    x, y, width, height = bbox
    edge = round(min(max(scale * max(width, height), smallest), record.width, record.height))
    shift = rng.uniform(-0.1, 0.1, 2) * edge
    left = min(max(round(x + (width - edge) / 2 + shift[0]), 0), record.width - edge)
    top = min(max(round(y + (height - edge) / 2 + shift[1]), 0), record.height - edge)
    return left, top, left + edge, top + edge
