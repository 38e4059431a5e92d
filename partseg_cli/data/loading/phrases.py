"""Phrases and their masks, as PhraseCut is to CLIPSeg: from them a decoder learns to locate a phrase in an image.

Objects of all classes have phrases. Parts and pairs have phrases only in images without any unseen object.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt16
from PIL import Image
from torch import Tensor

from partseg_cli.data.loading.dataloader import SampledDataset
from partseg_cli.data.loading.transforms import image_to_tensor, nearest_indices
from partseg_cli.data.record import Record
from partseg_cli.data.store import Store
from partseg_cli.vocabulary import Vocabulary

LabelMap = UInt16[np.ndarray, "H W"]
Mask = Bool[np.ndarray, "H W"]


@dataclass(frozen=True)
class PhraseViews:
    """Transform from images to phrases and masks.

    Attributes:
        image_size: Edge in pixels of the square that the model reads.
        flip: Probability of a left-right flip.
        phrases: Number of phrases of an image.
        parts: Fraction of the phrases that name parts or pairs, where an image may show them.
        absent: Fraction of the phrases that name what the image does not show; their mask is empty.
    """

    image_size: int
    flip: float
    phrases: int
    parts: float
    absent: float


class PhraseBatch(NamedTuple):
    """Images, and S phrases about them.

    Attributes:
        images: Normalised RGB.
        phrases: Phrases about the images.
        owner: Index of the image of each phrase.
        masks: Pixels of each phrase.
        image_ids: Ids of the images.
    """

    images: Float[Tensor, "B 3 H W"]
    phrases: tuple[str, ...]
    owner: Int[Tensor, "S"]
    masks: Bool[Tensor, "S H W"]
    image_ids: tuple[str, ...]

    @classmethod
    def collate(cls, batches: Sequence[PhraseBatch]) -> PhraseBatch:
        """Join batches."""
        before = np.cumsum([0, *(len(batch.images) for batch in batches)])
        return cls(
            torch.cat([batch.images for batch in batches]),
            tuple(phrase for batch in batches for phrase in batch.phrases),
            torch.cat([batch.owner + int(first) for first, batch in zip(before, batches, strict=False)]),
            torch.cat([batch.masks for batch in batches]),
            tuple(name for batch in batches for name in batch.image_ids),
        )


class PhraseDataset(SampledDataset[PhraseBatch, PhraseBatch]):
    """Images with phrases by their id in the run."""

    def __init__(
        self, store: Store, image_ids: Sequence[str], vocabulary: Vocabulary, views: PhraseViews, seed: int
    ) -> None:
        super().__init__(store, image_ids, vocabulary, seed, PhraseBatch.collate)
        self.views = views
        seen = vocabulary.seen()
        self.part_phrases = [*seen.parts, *seen.pair_prompts]

    def __getitem__(self, sample_id: int) -> PhraseBatch:
        """Return an image of the run with its phrases, as a batch of one image."""
        index, rng = self.draw(sample_id)
        record, size = self.records[index], self.views.image_size
        image = self.store.read_image(record)
        shown, pairs = self.objects_in(record), self._nameable_pairs(record)
        pair_map, object_map = record.pair_map(), record.object_map()
        drawn = [self._draw_phrase(shown, pairs, pair_map, object_map, rng) for _ in range(self.views.phrases)]
        rows, columns = nearest_indices(record.height, size), nearest_indices(record.width, size)
        if rng.random() < self.views.flip:
            image, columns = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), record.width - 1 - columns
        masks = np.stack([mask[np.ix_(rows, columns)] for _, mask in drawn])
        return PhraseBatch(
            image_to_tensor(image, size)[None],
            tuple(phrase for phrase, _ in drawn),
            torch.zeros(len(drawn), dtype=torch.int64),
            torch.from_numpy(masks),
            (record.image_id,),
        )

    def _nameable_pairs(self, record: Record) -> list[int]:
        """List the pairs in an image, unless it shows an unseen object or pair, which a phrase could mean."""
        pairs = sorted({part.pair for part in record.parts})
        is_seen = not self.shows_unseen(record) and all(self.vocabulary.pairs[pair].is_seen for pair in pairs)
        return pairs if is_seen else []

    def _draw_phrase(
        self, shown: set[str], pairs: list[int], pair_map: LabelMap, object_map: LabelMap, rng: np.random.Generator
    ) -> tuple[str, Mask]:
        """Draw a phrase about the objects or the nameable pairs of an image; return it with its pixels."""
        of_parts = rng.random() < self.views.parts and bool(pairs)
        if rng.random() < self.views.absent and (absent := self._absent_phrases(shown, pairs if of_parts else [])):
            return absent[rng.integers(len(absent))], np.zeros(object_map.shape, np.bool_)
        if not of_parts:
            name = sorted(shown)[rng.integers(len(shown))]
            return name, object_map == self.names.index(name)
        pair = pairs[rng.integers(len(pairs))]
        if rng.random() < 0.5:
            return self.vocabulary.pair_prompts[pair], pair_map == pair
        part = self.vocabulary.pairs[pair].part  # alone, it means the part of every object in the image
        return part, np.isin(pair_map, [index for index in pairs if self.vocabulary.pairs[index].part == part])

    def _absent_phrases(self, shown: set[str], pairs: list[int]) -> list[str]:
        """List phrases that are true of nothing in an image: about parts where `pairs` has some, else about objects."""
        if not pairs:
            return [name for name in self.names if name not in shown]
        true = {self.vocabulary.pair_prompts[pair] for pair in pairs}
        true |= {self.vocabulary.pairs[pair].part for pair in pairs}
        return [phrase for phrase in self.part_phrases if phrase not in true]
