"""Training samples from a store: each one a pure function of the seed and its id in the run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from partseg_cli.data.loading.dataloader import build_dataloader, image_index
from partseg_cli.data.loading.labels import LabelMapper, source_pixels
from partseg_cli.data.loading.transforms import resize_to_square, shortest_edge_size
from partseg_cli.data.record import Record
from partseg_cli.data.store import Store
from partseg_cli.errors import DataError
from partseg_cli.io.array_cache import ArrayCache
from partseg_cli.io.hashing import digest
from partseg_cli.structures import Batch, Labels
from partseg_cli.vocabulary import Vocabulary


@dataclass(frozen=True)
class ImageTransform:
    """Transform from images to training samples.

    Attributes:
        image_size: Edge in pixels of the square that the model reads.
        shortest_edge: Shorter edge in pixels after a first resize; None: no first resize.
        longest_edge: Limit in pixels of the longer edge after that resize.
        flip: Probability of a left-right flip.
        train_channel_order: "rgb", or "bgr" as in published training.
        unlabelled_objects: "background" trains unseen objects as background, "ignore" leaves their pixels out.
    """

    image_size: int
    shortest_edge: int | None
    longest_edge: int
    flip: float
    train_channel_order: str
    unlabelled_objects: str


class PartDataset(Dataset[Batch]):
    """Training samples by their id in the run; images without a seen part are skipped.

    Sample g shows the image `image_index(g)` (a new order every epoch) with a flip drawn from [seed, g]. So samples do
    not depend on how a run is spread over processes, interrupted and resumed.
    """

    def __init__(
        self,
        store: Store,
        image_ids: Sequence[str],
        vocabulary: Vocabulary,
        transform: ImageTransform,
        seed: int,
        cache: Path | None = None,
    ) -> None:
        """Choose the images; `cache` is a folder that keeps them at the size of the model.

        Raises:
            DataError: None of the images has a seen part.
            PartsegError: The disk refuses to keep images.
        """
        self.store, self.transform, self.seed = store, transform, seed
        self.label_mapper = LabelMapper(store, vocabulary, transform.unlabelled_objects)
        listed = store.record_keys(image_ids)
        self.keys = [key for key in listed if self._has_seen_part(store[key])]
        self.skipped = len(listed) - len(self.keys)
        if not self.keys:
            raise DataError(
                f"{store.folder}: training needs an image with a seen part, got none among {len(listed)} images; "
                "split again"
            )
        reader = ImageReader(store, transform.image_size, transform.shortest_edge, transform.longest_edge)
        self.read: Callable[[Record], UInt8[np.ndarray, "S S 3"]] = (
            reader if cache is None else ImageCache(reader, [store[key] for key in self.keys], cache)
        )

    def __len__(self) -> int:
        return len(self.keys)

    def _has_seen_part(self, record: Record) -> bool:
        pairs = np.array([part.pair for part in record.parts], np.uint16)
        return bool((self.label_mapper.pairs(pairs) >= 0).any())

    def __getitem__(self, sample_id: int) -> Batch:
        """Return a sample as a batch of one; an image whose labels vanish in the resize gives way to the next."""
        is_flipped = bool(np.random.default_rng([self.seed, sample_id]).random() < self.transform.flip)
        for offset in range(len(self)):
            record = self.store[self.keys[image_index(sample_id, self.seed, len(self), offset)]]
            labels = self._labels(record, is_flipped)
            if (labels.pairs >= 0).any():
                return Batch(self.image(record, is_flipped)[None], labels, (record.image_id,))
        raise DataError(
            f"{self.store.folder}: no seen part is left at {self.transform.image_size} px; raise model.image_size"
        )

    def image(self, record: Record, is_flipped: bool) -> UInt8[Tensor, "3 S S"]:
        """Return an image at the size of the model, before it is normalised."""
        pixels = torch.from_numpy(self.read(record).copy())
        flips = [1] * is_flipped + [2] * (self.transform.train_channel_order == "bgr")
        return torch.flip(pixels, flips).permute(2, 0, 1)  # pixels are the same, flipped before a resize or after it

    def _labels(self, record: Record, is_flipped: bool) -> Labels:
        transform = self.transform
        pixels = source_pixels(
            record.height,
            record.width,
            transform.image_size,
            transform.shortest_edge,
            transform.longest_edge,
            is_flipped,
        )
        pairs, objects = (np.take(plane.T, pixels) for plane in self.label_mapper.label_maps(record))
        background = objects == -1
        if record.not_exhaustive or record.ignore is not None:
            background &= ~np.take(record.unlabelled_mask().T, pixels)
        planes = (pairs, np.maximum(objects, -1), background)
        return Labels(*(torch.from_numpy(plane)[None] for plane in planes))

    def batches(self, *, images: int, sample_ids: Sequence[int], workers: int) -> Iterator[Batch]:
        """Load batches of `images` samples each, see `build_dataloader`."""
        return build_dataloader(self, collate, images=images, sample_ids=sample_ids, workers=workers)


def collate(samples: Sequence[Batch]) -> Batch:
    """Join batches."""
    images = torch.cat([sample.images for sample in samples])
    labels = Labels(*(torch.cat(planes) for planes in zip(*(sample.labels for sample in samples), strict=True)))
    return Batch(images, labels, tuple(name for sample in samples for name in sample.image_ids))


class ImageReader:
    """Reader of a store's images as squares of 8-bit RGB.

    Args:
        store: Images and their records.
        size: Edge of the square in pixels.
        shortest_edge: Shorter edge in pixels after a first resize; None: no first resize.
        longest_edge: Limit in pixels of the longer edge after that resize.
    """

    def __init__(self, store: Store, size: int, shortest_edge: int | None, longest_edge: int) -> None:
        self.store, self.size = store, size
        self.shortest_edge, self.longest_edge = shortest_edge, longest_edge

    def __call__(self, record: Record) -> UInt8[np.ndarray, "S S 3"]:
        """Read an image; its array must not be changed.

        Raises:
            DataError: The file is missing or broken.
        """
        image = self.store.read_image(record)
        if self.shortest_edge is not None:
            height, width = shortest_edge_size(record.height, record.width, self.shortest_edge, self.longest_edge)
            image = image.resize((width, height), Image.Resampling.BILINEAR)
        return np.asarray(resize_to_square(image, self.size))


class ImageCache:
    """Reader that keeps images as uint8 in a file, whose name holds a digest of all that decides the pixels."""

    def __init__(self, reader: ImageReader, records: Sequence[Record], folder: Path) -> None:
        """Open the cache of these images in a folder.

        Raises:
            PartsegError: The disk refuses.
        """
        self._reader = reader
        self._rows = {record.image_id: row for row, record in enumerate(records)}
        resizes = (reader.size, reader.shortest_edge, reader.longest_edge, PIL.__version__)
        path = folder / f"{images_digest(reader.store, records, *resizes)}.rows"
        self.file = ArrayCache(path, len(self._rows), (reader.size, reader.size, 3), np.dtype(np.uint8))

    def __call__(self, record: Record) -> UInt8[np.ndarray, "S S 3"]:
        """Return an image, from the cache where it holds the image."""
        row = self._rows[record.image_id]
        found = self.file.get(row)
        if found is None:
            found = self._reader(record)
            self.file.put(row, found)
        return found


def images_digest(store: Store, records: Sequence[Record], *transforms: object) -> str:
    """Return a digest of images by their files' names, sizes and times, and of the transforms applied to them."""
    chunks = [repr(transforms)]
    for record in records:
        path = store.image_path(record)
        state = (path.stat().st_size, path.stat().st_mtime_ns) if path.is_file() else None
        chunks.append(repr((str(path.absolute()), record.upright, state)))
    return digest(chunks)[:24]
