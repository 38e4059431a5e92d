"""Figures of a store's images: tiles with a legend, and cards for HTML pages with the images as data URIs."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int, UInt8, UInt16
from PIL import Image

from partseg_cli.data.record import Record
from partseg_cli.data.rle import NONE, source_rows
from partseg_cli.data.store import Store
from partseg_cli.errors import DataError, one_line
from partseg_cli.io.label_maps import palette
from partseg_cli.reports.error_analysis import ImageScore
from partseg_cli.reports.overlay import add_legend, label_edges, overlay_labels
from partseg_cli.vocabulary import Pair, Vocabulary

TILE = 300
"""Longest edge in pixels of the image on a tile of the contact sheet."""
TITLE = 35
"""Characters of split and image id on a tile; a longer title loses its middle."""
STEPS = ((480, 75), (480, 60), (400, 50), (320, 45), (240, 40), (160, 30), (96, 30))
"""Longest edge in pixels and JPEG quality, tried in turn until the figure is small enough; the last one always is."""
LINE = 255
"""Palette index of the lines around the parts."""
GREY = (128, 128, 128)
"""Colour of an image that cannot be read."""
CARD_LIMIT = 60_000
"""Characters of the page that the figures of one prediction may take."""


@dataclass(frozen=True)
class LegendEntry:
    """One line of a legend.

    Attributes:
        object: Name of the object.
        part: Name of the part, empty for an object without a labelled part.
        name: Name of the pair, or of the object.
        is_seen: Whether training may use it.
        colour: Red, green, blue; None where nothing is drawn: an object, or a part that others cover.
    """

    object: str
    part: str
    name: str
    is_seen: bool
    colour: tuple[int, int, int] | None

    @classmethod
    def of_pair(cls, pair: Pair, colour: tuple[int, int, int] | None) -> LegendEntry:
        """Return the entry of a pair."""
        return cls(pair.object, pair.part, pair.name, pair.is_seen, colour)


@dataclass(frozen=True)
class SampleCard:
    """An image on the page of a dataset.

    Attributes:
        image_id: Id of the record.
        split: Split of the store.
        size: Width and height of the image in pixels.
        shown: Width and height of the figures.
        image: Data URI of a JPEG; all grey where the image cannot be read.
        parts: Data URI of a PNG that overlays it, transparent outside the parts.
        entries: Labelled pairs and objects, in the order of the vocabulary.
        problem: Reason why the image cannot be read; empty if it can.
    """

    image_id: str
    split: str
    size: tuple[int, int]
    shown: tuple[int, int]
    image: str
    parts: str
    entries: tuple[LegendEntry, ...]
    problem: str = ""


@dataclass(frozen=True)
class PredictionCard:
    """An image on a page, with its labels and its prediction.

    Attributes:
        split: Split of the store.
        size: Width and height of the image in pixels.
        score: Scores of the image.
        image: Data URI of a JPEG; all grey where the image cannot be read.
        labelled: Data URI of a PNG that overlays it: the labelled parts, transparent elsewhere.
        predicted: The same of the predicted parts, in the same colours.
        entries: Labelled or predicted pairs, in the order of the vocabulary.
        ious: IoU of each entry in percent; None where it is not labelled.
        problem: Reason why the image cannot be read; empty if it can.
    """

    split: str
    size: tuple[int, int]
    score: ImageScore
    image: str
    labelled: str
    predicted: str
    entries: tuple[LegendEntry, ...]
    ious: tuple[float | None, ...]
    problem: str = ""


@dataclass(frozen=True)
class LabelledImage:
    """An image with its parts as the store's paint order draws them.

    Attributes:
        image: Pixels; all grey where the image cannot be read.
        problem: Reason why it cannot be read; empty if it can.
        present: Indices of the pairs that are visible.
        labels: Position in `present` of each pixel's pair, -1 without one.
        colours: Colours of `present`.
    """

    image: Image.Image
    problem: str
    present: UInt16[np.ndarray, "C"]
    labels: Int[np.ndarray, "H W"]
    colours: UInt8[np.ndarray, "C 3"]

    @classmethod
    def read(cls, store: Store, record: Record) -> LabelledImage:
        """Read the image and the labels of a record."""
        image, problem = read_or_grey(store, record)
        flat = record.pair_map()
        present = np.unique(flat[flat != NONE])
        labels = np.where(flat == NONE, -1, np.searchsorted(present, flat))
        return cls(image, problem, present, labels, palette(len(present)))


def read_or_grey(store: Store, record: Record) -> tuple[Image.Image, str]:
    """Return the image of a record and "", or a grey one and the reason why it cannot be read."""
    try:
        return store.read_image(record), ""
    except DataError as error:
        return Image.new("RGB", (record.width, record.height), GREY), str(error)


def image_classes(record: Record, pairs: int) -> Int[np.ndarray, "C"]:
    """Return the classes of an image: its pairs, and its objects, which are numbered from `pairs` on."""
    classes = [part.pair for part in record.parts] + [pairs + obj.category for obj in record.objects]
    return np.unique(classes).astype(np.int64)


def choose_samples(classes: Sequence[Int[np.ndarray, "_"]], count: int) -> list[int]:
    """Choose images so that as many classes as possible appear; the remaining ones are evenly spaced.

    Args:
        classes: Classes of each image.
        count: Number of images to choose, all if there are fewer.

    Returns:
        Indices of the images, ascending.

    >>> choose_samples([np.array([0]), np.array([0]), np.array([0, 1]), np.array([2])], 2)
    [2, 3]
    """
    shows = np.zeros((len(classes), 1 + max((int(c.max()) for c in classes if c.size), default=0)), np.bool_)
    for row, present in zip(shows, classes, strict=True):
        row[present] = True
    chosen: list[int] = []
    missing = shows.any(0)
    while len(chosen) < count and missing.any():
        best = int(shows[:, missing].sum(1).argmax())
        chosen.append(best)
        missing &= ~shows[best]
    others = np.setdiff1d(np.arange(len(classes)), chosen).tolist()
    more = min(count - len(chosen), len(others))
    return sorted(chosen + [others[i] for i in evenly_spaced(len(others), more)])


def evenly_spaced(total: int, count: int) -> list[int]:
    """Return `count` indices below `total`, in the middle of as many equal stretches.

    >>> evenly_spaced(10, 2)
    [2, 7]
    """
    return [(2 * i + 1) * total // (2 * count) for i in range(count)]


def draw_sample(store: Store, split: str, record: Record, limit: int) -> tuple[SampleCard, Image.Image]:
    """Draw one image as a card, whose data URIs have at most `limit` characters, and as a tile."""
    drawn = LabelledImage.read(store, record)
    entries = _entries(store, record, drawn)
    shown, jpeg, (png,) = encode_figures(drawn.image, [drawn.labels], drawn.colours, limit)
    card = SampleCard(record.image_id, split, drawn.image.size, shown, jpeg, png, entries, drawn.problem)
    return card, _tile(drawn, entries, f"{split}: {record.image_id}")


def draw_tile(store: Store, split: str, record: Record) -> Image.Image:
    """Draw one image as a tile of a contact sheet: its parts in colour, and their names."""
    drawn = LabelledImage.read(store, record)
    return _tile(drawn, _entries(store, record, drawn), f"{split}: {record.image_id}")


def draw_prediction(
    store: Store,
    split: str,
    record: Record,
    prediction: Int[np.ndarray, "H W"],
    vocabulary: Vocabulary,
    score: ImageScore,
    limit: int = CARD_LIMIT,
) -> PredictionCard:
    """Draw one image with its labels and its prediction.

    Args:
        store: Store of the image.
        split: Split of the store.
        record: Record of the image.
        prediction: Index of the predicted pair at each pixel, -1 = none.
        vocabulary: Pairs with the seen flags of the evaluation.
        score: Scores of the image.
        limit: Maximum number of characters of its data URIs together.

    Raises:
        ValueError: the prediction has another size than the record.
    """
    if prediction.shape != (record.height, record.width):
        raise ValueError(f"prediction must be of size {(record.height, record.width)}, got {prediction.shape}")
    image, problem = read_or_grey(store, record)
    flat = record.pair_map().astype(np.int64)
    labels = np.where(flat == NONE, -1, flat)
    present = np.unique([labels, prediction])
    present = present[present >= 0]
    colours = palette(len(present))
    maps = [np.where(pairs < 0, -1, np.searchsorted(present, pairs)) for pairs in (labels, prediction)]
    _, jpeg, (labelled, predicted) = encode_figures(image, maps, colours, limit)
    entries = tuple(
        LegendEntry.of_pair(vocabulary.pairs[index], tuple(colour))
        for index, colour in zip(present.tolist(), colours.tolist(), strict=True)
    )
    ious = tuple(score.classes.get(index) for index in present.tolist())
    size = record.width, record.height
    return PredictionCard(split, size, score, jpeg, labelled, predicted, entries, ious, problem)


def encode_figures(
    image: Image.Image, maps: Sequence[Int[np.ndarray, "H W"]], colours: UInt8[np.ndarray, "C 3"], limit: int
) -> tuple[tuple[int, int], str, list[str]]:
    """Return the size and the data URIs of an image and its label maps, as large as `limit` characters allow."""
    for edge, quality in STEPS:
        small = _shrink(image, edge)
        jpeg = data_uri(small, "JPEG", quality=quality, optimize=True)
        layers = [_layer(_resize_labels(labels, small.size), colours) for labels in maps]
        if len(jpeg) + sum(map(len, layers)) <= limit:
            break
    return small.size, jpeg, layers


def data_uri(image: Image.Image, kind: str, **options: int) -> str:
    """Encode an image as a data URI; `kind` and options are those of Pillow."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(file.getvalue()).decode('ascii')}"


def _entries(store: Store, record: Record, drawn: LabelledImage) -> tuple[LegendEntry, ...]:
    """Return the pairs that are labelled, also those that others cover, and the objects without a part."""
    vocabulary = store.info.vocabulary
    colours = dict(zip(drawn.present.tolist(), map(tuple, drawn.colours.tolist()), strict=True))
    pairs = {index: vocabulary.pairs[index] for index in sorted({part.pair for part in record.parts})}
    bare = {store.info.objects[obj.category] for obj in record.objects} - {pair.object for pair in pairs.values()}
    return (
        *(LegendEntry.of_pair(pair, colours.get(index)) for index, pair in pairs.items()),
        *(LegendEntry(name, "", name, name not in vocabulary.unseen_objects, None) for name in sorted(bare)),
    )


def _tile(drawn: LabelledImage, entries: Sequence[LegendEntry], title: str) -> Image.Image:
    small = _shrink(drawn.image, TILE)
    title = one_line(title)
    title = title if len(title) <= TITLE else f"{title[:7]}...{title[10 - TITLE :]}"
    figure = overlay_labels(small, _resize_labels(drawn.labels, small.size), drawn.colours)
    return add_legend(figure, [(entry.colour, entry.name) for entry in entries if entry.colour is not None], title)


def _shrink(image: Image.Image, edge: int) -> Image.Image:
    """Return the image with a longest edge of at most `edge` pixels."""
    scale = min(1.0, edge / max(image.size))
    width, height = (max(1, round(side * scale)) for side in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS)


def _resize_labels(labels: Int[np.ndarray, "H W"], size: tuple[int, int]) -> Int[np.ndarray, "h w"]:
    """Return the nearest label at each pixel of a figure of `size` (width, height)."""
    chosen = np.ix_(source_rows(labels.shape[0], size[1]), source_rows(labels.shape[1], size[0]))
    nearest: Int[np.ndarray, "h w"] = labels[chosen]
    return nearest


def _layer(labels: Int[np.ndarray, "h w"], colours: UInt8[np.ndarray, "C 3"]) -> str:
    """Return a data URI of the labels in their colours, with lines around them, transparent elsewhere."""
    indices = np.where(labels < 0, 0, 1 + labels % (LINE - 1))
    indices[label_edges(labels)] = LINE
    figure = Image.fromarray(indices.astype(np.uint8))
    used = np.zeros((LINE + 1, 3), np.uint8)
    used[1 : 1 + len(colours)] = colours[: LINE - 1]
    used[LINE] = 255
    figure.putpalette(used.tobytes())
    return data_uri(figure, "PNG", transparency=0, optimize=True)
