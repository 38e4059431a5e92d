"""Which images of a store show it best, and their pictures: tiles with a legend, and data URIs for a page."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int, UInt8, UInt16
from PIL import Image

from partseg_cli.data.record import Record
from partseg_cli.data.rle import NONE, rows_under
from partseg_cli.data.store import DatasetInfo, Store
from partseg_cli.errors import DataError, one_line
from partseg_cli.io.label_maps import palette
from partseg_cli.reports.overlay import colour, edges, with_legend

TILE = 300
"""Longest edge in pixels of the photo on a tile of the contact sheet."""
TITLE = 35
"""Characters of split and name on a tile; a longer one loses its middle."""
STEPS = ((480, 75), (480, 60), (400, 50), (320, 45), (240, 40), (160, 30), (96, 30))
"""Longest edge in pixels and JPEG quality, one after the other until the picture is small enough; the last one is."""
LINE = 255
"""Colour index of the lines around the parts."""
GREY = (128, 128, 128)


@dataclass(frozen=True)
class Word:
    """One line of a legend.

    Attributes:
        object: its name.
        part: its name, empty for an object without a labelled part.
        name: of the pair, or of the object.
        is_seen: whether training may use it.
        colour: red, green, blue; None for an object, which is not coloured.
    """

    object: str
    part: str
    name: str
    is_seen: bool
    colour: tuple[int, int, int] | None


@dataclass(frozen=True)
class Sample:
    """One image as a page shows it.

    Attributes:
        image_id: of the record.
        split: of the store.
        size: width and height of the photo in pixels.
        shown: width and height of the pictures.
        photo: data URI of a JPEG; all grey where the photo cannot be read.
        parts: data URI of a PNG to lay over it, transparent where no part is.
        words: what is labelled, in the order of the vocabulary.
        problem: why the photo cannot be read; empty if it can.
    """

    image_id: str
    split: str
    size: tuple[int, int]
    shown: tuple[int, int]
    photo: str
    parts: str
    words: tuple[Word, ...]
    problem: str = ""


def classes_of(record: Record, pairs: int) -> Int[np.ndarray, "C"]:
    """Give the classes of an image: its pairs, and its objects, which are counted on from the number of pairs."""
    return np.unique(
        [part.pair for part in record.parts] + [pairs + instance.category for instance in record.objects]
    ).astype(np.int64)


def choose(present: Sequence[Int[np.ndarray, "_"]], count: int) -> list[int]:
    """Choose images so that every class appears, as far as `count` images can show all; the others evenly.

    Args:
        present: the classes of each image.
        count: how many to choose, or all if there are fewer.

    Returns:
        Positions of images, ascending.

    >>> choose([np.array([0]), np.array([0]), np.array([0, 1]), np.array([2])], 2)
    [2, 3]
    """
    shows = np.zeros((len(present), 1 + max((int(c.max()) for c in present if c.size), default=0)), np.bool_)
    for row, classes in zip(shows, present, strict=True):
        row[classes] = True
    chosen: list[int] = []
    missing = shows.any(0)
    while len(chosen) < count and missing.any():
        best = int(shows[:, missing].sum(1).argmax())
        chosen.append(best)
        missing &= ~shows[best]
    others = np.setdiff1d(np.arange(len(present)), chosen).tolist()
    more = min(count - len(chosen), len(others))
    return sorted(chosen + [others[(2 * i + 1) * len(others) // (2 * more)] for i in range(more)])


@dataclass(frozen=True)
class Painting:
    """A photo, all grey where it cannot be read, and its parts as the store's rule paints them.

    Attributes:
        photo: of the size of the record.
        problem: why it cannot be read; empty if it can.
        present: indices of the pairs that show.
        labels: of each pixel its place in `present`, -1 where no part is.
        colours: of `present`.
    """

    photo: Image.Image
    problem: str
    present: UInt16[np.ndarray, "C"]
    labels: Int[np.ndarray, "H W"]
    colours: UInt8[np.ndarray, "C 3"]

    @classmethod
    def of(cls, store: Store, record: Record) -> Painting:
        """Paint a record."""
        try:
            photo, problem = store.read_image(record), ""
        except DataError as error:
            photo, problem = Image.new("RGB", (record.width, record.height), GREY), str(error)
        flat = record.pair_map()
        present = np.unique(flat[flat != NONE])
        labels = np.where(flat == NONE, -1, np.searchsorted(present, flat))
        return cls(photo, problem, present, labels, palette(len(present)))


def draw(store: Store, split: str, record: Record, limit: int) -> tuple[Sample, Image.Image]:
    """Draw one image: as a sample for a page, with data URIs of at most `limit` characters, and as a tile."""
    painting = Painting.of(store, record)
    words = _words(record, store.info, painting.present, painting.colours)
    shown, jpeg, (png,) = fit(painting.photo, [painting.labels], painting.colours, limit)
    sample = Sample(record.image_id, split, painting.photo.size, shown, jpeg, png, words, painting.problem)
    return sample, _tile(painting, words, f"{split}: {record.image_id}")


def draw_tile(store: Store, split: str, record: Record) -> Image.Image:
    """Draw one image as a tile of a contact sheet: the photo with its parts in colour, and their names."""
    painting = Painting.of(store, record)
    words = _words(record, store.info, painting.present, painting.colours)
    return _tile(painting, words, f"{split}: {record.image_id}")


def _words(
    record: Record, info: DatasetInfo, present: UInt16[np.ndarray, "C"], colours: UInt8[np.ndarray, "C 3"]
) -> tuple[Word, ...]:
    """Name what is painted, what other parts cover, and the objects without a part."""
    painted = dict(zip(present.tolist(), colours.tolist(), strict=True))
    pairs = {index: info.vocabulary.pairs[index] for index in sorted({part.pair for part in record.parts})}
    words = [
        Word(pair.object, pair.part, pair.name, pair.is_seen, tuple(painted[index]) if index in painted else None)
        for index, pair in pairs.items()
    ]
    bare = {info.objects[instance.category] for instance in record.objects} - {pair.object for pair in pairs.values()}
    unseen = info.vocabulary.unseen_objects
    return (*words, *(Word(name, "", name, name not in unseen, None) for name in sorted(bare)))


def fit(
    photo: Image.Image, maps: Sequence[Int[np.ndarray, "H W"]], colours: UInt8[np.ndarray, "C 3"], limit: int
) -> tuple[tuple[int, int], str, list[str]]:
    """Give the size and the data URIs of a photo and its label maps, as large and good as `limit` characters allow."""
    for edge, quality in STEPS:
        small = _shrink(photo, edge)
        jpeg = _uri(small, "JPEG", quality=quality, optimize=True)
        layers = [_layer(_sampled(labels, small.size), colours) for labels in maps]
        if len(jpeg) + sum(map(len, layers)) <= limit:
            break
    return small.size, jpeg, layers


def _shrink(photo: Image.Image, edge: int) -> Image.Image:
    """Bring the longest edge down to `edge` pixels."""
    scale = min(1.0, edge / max(photo.size))
    width, height = (max(1, round(side * scale)) for side in photo.size)
    return photo.resize((width, height), Image.Resampling.LANCZOS)


def _sampled(labels: Int[np.ndarray, "H W"], size: tuple[int, int]) -> Int[np.ndarray, "h w"]:
    """Give the nearest label at each pixel of a picture of `size` (width, height)."""
    width, height = size
    chosen = np.ix_(rows_under(labels.shape[0], height), rows_under(labels.shape[1], width))
    nearest: Int[np.ndarray, "h w"] = labels[chosen]
    return nearest


def _layer(labels: Int[np.ndarray, "h w"], colours: UInt8[np.ndarray, "C 3"]) -> str:
    """Give a data URI of the labels in their colours, with lines around them, the rest transparent."""
    indices = np.where(labels < 0, 0, 1 + labels % (LINE - 1))
    indices[edges(labels)] = LINE
    picture = Image.fromarray(indices.astype(np.uint8))
    used = np.zeros((LINE + 1, 3), np.uint8)
    used[1 : 1 + len(colours)] = colours[: LINE - 1]
    used[LINE] = 255
    picture.putpalette(used.tobytes())
    return _uri(picture, "PNG", transparency=0, optimize=True)


def _uri(picture: Image.Image, kind: str, **options: int) -> str:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(file.getvalue()).decode('ascii')}"


def _tile(painting: Painting, words: Sequence[Word], title: str) -> Image.Image:
    small = _shrink(painting.photo, TILE)
    entries = [(word.colour, word.name) for word in words if word.colour is not None]
    title = one_line(title)
    title = title if len(title) <= TITLE else f"{title[:7]}...{title[10 - TITLE :]}"
    return with_legend(colour(small, _sampled(painting.labels, small.size), painting.colours), entries, title)
