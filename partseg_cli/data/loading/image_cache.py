"""The photos of a store at the size that a model reads, from their files or from a cache."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import PIL
from jaxtyping import UInt8
from PIL import Image

from partseg_cli.data.loading.transforms import shortest_edge_size, square
from partseg_cli.data.record import Record
from partseg_cli.data.store import Store
from partseg_cli.io.array_cache import ArrayCache


class Photos:
    """Photos as pixels of a square.

    Attributes:
        store: that holds them.
        size: pixels, of the square.
        shortest_edge: pixels, of a first resize; None: none.
        longest_edge: pixels, its limit.
    """

    def __init__(self, store: Store, size: int, shortest_edge: int | None, longest_edge: int) -> None:
        self.store, self.size = store, size
        self.shortest_edge, self.longest_edge = shortest_edge, longest_edge

    def __call__(self, record: Record) -> UInt8[np.ndarray, "S S 3"]:
        """Give a photo's pixels, which must not be changed.

        Raises:
            DataError: it is missing or broken.
        """
        photo = self.store.read_photo(record)
        if self.shortest_edge is not None:
            height, width = shortest_edge_size(record.height, record.width, self.shortest_edge, self.longest_edge)
            photo = photo.resize((width, height), Image.Resampling.BILINEAR)
        return np.asarray(square(photo, self.size))


class CachedPhotos:
    """Photos that are read once and kept as uint8 in a file, whose name says what decides their pixels."""

    def __init__(self, photos: Photos, records: Sequence[Record], folder: Path) -> None:
        """Open the cache of these photos in a folder.

        Raises:
            PartsegError: the disk refuses.
        """
        self._photos = photos
        self._rows = {record.image_id: row for row, record in enumerate(records)}
        shape = (photos.size, photos.size, 3)
        name = stamp(photos.store, records, photos.size, photos.shortest_edge, photos.longest_edge, PIL.__version__)
        path = folder / f"{name}.rows"
        self.file = ArrayCache(path, len(self._rows), shape, np.dtype(np.uint8))

    def __call__(self, record: Record) -> UInt8[np.ndarray, "S S 3"]:
        """Give a photo's pixels, from the cache where it has them."""
        row = self._rows[record.image_id]
        found = self.file.get(row)
        if found is None:
            found = self._photos(record)
            self.file.put(row, found)
        return found


def stamp(store: Store, records: Sequence[Record], *done: object) -> str:
    """Give a digest of photos by their files' names, sizes and times, and of what is done with them."""
    digest = hashlib.sha256(repr(done).encode())
    for record in records:
        photo = store.photo(record)
        state = (photo.stat().st_size, photo.stat().st_mtime_ns) if photo.is_file() else None
        digest.update(repr((str(photo.absolute()), record.upright, state)).encode())
    return digest.hexdigest()[:24]
