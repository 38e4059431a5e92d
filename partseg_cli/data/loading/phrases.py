"""Phrases and their masks, as PhraseCut is to CLIPSeg: what teaches a decoder that a phrase has a place in a photo.

Objects of all classes have phrases. Parts and pairs have them on photos without any unseen object alone.
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

from partseg_cli.data.loading.sampled import SampledDataset
from partseg_cli.data.loading.transforms import nearest_rows, photo_tensor
from partseg_cli.data.record import Record
from partseg_cli.data.store import Store
from partseg_cli.vocabulary import Vocabulary


@dataclass(frozen=True)
class PhraseViews:
    """How photos are turned into phrases and masks.

    Attributes:
        image_size: pixels, the square that the model reads.
        flip: probability of a left-right flip.
        phrases: of one photo.
        parts: share of the phrases that name parts or pairs, where a photo may show them.
        absent: share of the phrases that name what is not there; their mask is empty.
    """

    image_size: int
    flip: float
    phrases: int
    parts: float
    absent: float


class PhraseBatch(NamedTuple):
    """Photos, and S phrases about them.

    Attributes:
        images: normalised RGB.
        phrases: about the images.
        owner: for each phrase its image.
        masks: the phrases' pixels.
        image_ids: which photos these are.
    """

    images: Float[Tensor, "B 3 H W"]
    phrases: tuple[str, ...]
    owner: Int[Tensor, "S"]
    masks: Bool[Tensor, "S H W"]
    image_ids: tuple[str, ...]

    @classmethod
    def of(cls, batches: Sequence[PhraseBatch]) -> PhraseBatch:
        """Join batches."""
        before = np.cumsum([0, *(len(batch.images) for batch in batches)])
        return cls(
            torch.cat([batch.images for batch in batches]),
            tuple(phrase for batch in batches for phrase in batch.phrases),
            torch.cat([batch.owner + int(first) for first, batch in zip(before, batches, strict=False)]),
            torch.cat([batch.masks for batch in batches]),
            tuple(name for batch in batches for name in batch.image_ids),
        )


Labels = UInt16[np.ndarray, "H W"]


class PhraseDataset(SampledDataset[PhraseBatch, PhraseBatch]):
    """Photos with phrases by their number in the run."""

    def __init__(
        self, store: Store, image_ids: Sequence[str], vocabulary: Vocabulary, views: PhraseViews, seed: int
    ) -> None:
        super().__init__(store, image_ids, vocabulary, seed, PhraseBatch.of)
        self.views = views
        seen = vocabulary.seen()
        self.part_phrases = [*seen.parts, *seen.pair_prompts]

    def __getitem__(self, number: int) -> PhraseBatch:
        """Give photo `number` of the run with its phrases, as a batch of one photo."""
        index, rng = self.draw(number)
        record, size, count = self.records[index], self.views.image_size, self.views.phrases
        photo = self.store.read_photo(record)
        shown = {self.names[instance.category] for instance in record.objects}
        there = [] if shown & self.unseen else self._seen_pairs(record)
        pairs, objects = record.flat_pairs(), record.flat_objects()
        drawn = [self._phrase(shown, there, pairs, objects, rng) for _ in range(count)]
        rows, columns = nearest_rows(record.height, size), nearest_rows(record.width, size)
        if rng.random() < self.views.flip:
            photo, columns = photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT), record.width - 1 - columns
        masks = np.stack([mask[np.ix_(rows, columns)] for _, mask in drawn])
        return PhraseBatch(
            photo_tensor(photo, size)[None],
            tuple(phrase for phrase, _ in drawn),
            torch.zeros(count, dtype=torch.int64),
            torch.from_numpy(masks),
            (record.image_id,),
        )

    def _phrase(
        self, shown: set[str], there: list[int], pairs: Labels, objects: Labels, rng: np.random.Generator
    ) -> tuple[str, Bool[np.ndarray, "H W"]]:
        """Draw a phrase about the objects that are shown or the pairs that are there, and give the pixels it means."""
        of_parts = rng.random() < self.views.parts and bool(there)
        if rng.random() < self.views.absent and (absent := self._absent(shown, there if of_parts else [])):
            return absent[rng.integers(len(absent))], np.zeros(objects.shape, np.bool_)
        if of_parts:
            return self._part(there, pairs, rng)
        name = sorted(shown)[rng.integers(len(shown))]
        return name, objects == self.names.index(name)

    def _seen_pairs(self, record: Record) -> list[int]:
        """List the pairs that show, if all of them are seen: a phrase could mean one that is not."""
        there = sorted({part.pair for part in record.parts})
        return there if all(self.vocabulary.pairs[pair].is_seen for pair in there) else []

    def _part(self, there: list[int], pairs: Labels, rng: np.random.Generator) -> tuple[str, Bool[np.ndarray, "H W"]]:
        """Draw a pair that shows, or its part alone: then of every object in the photo."""
        pair = there[rng.integers(len(there))]
        if rng.random() < 0.5:
            return self.vocabulary.pair_prompts[pair], pairs == pair
        name = self.vocabulary.pairs[pair].part
        alike = [index for index in there if self.vocabulary.pairs[index].part == name]
        return name, np.isin(pairs, alike)

    def _absent(self, shown: set[str], there: list[int]) -> list[str]:
        """List phrases that are true of nothing in the photo: of parts where some are there, else of objects."""
        if not there:
            return [name for name in self.names if name not in shown]
        said = {self.vocabulary.pair_prompts[pair] for pair in there}
        said |= {self.vocabulary.pairs[pair].part for pair in there}
        return [phrase for phrase in self.part_phrases if phrase not in said]
