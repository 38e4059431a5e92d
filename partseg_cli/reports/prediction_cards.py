"""One image of a report: its photo, what is labelled, and what was predicted, as small data URIs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from partseg_cli.data.record import Record
from partseg_cli.data.rle import NONE
from partseg_cli.data.store import Store
from partseg_cli.io.label_maps import palette
from partseg_cli.reports.error_analysis import ImageScore
from partseg_cli.reports.figures import Painting, Word, fit
from partseg_cli.vocabulary import Vocabulary

PICTURE_SIZE = 60_000
"""Characters of the page that the pictures of one image may take."""


@dataclass(frozen=True)
class PredictionCard:
    """One image as a report shows it.

    Attributes:
        split: of the store.
        size: width and height of the photo in pixels.
        score: of the image.
        photo: data URI of a JPEG; all grey where the photo cannot be read.
        labelled: data URI of a PNG to lay over it: the labelled parts, the rest transparent.
        predicted: the same of the predicted parts, in the same colours.
        words: what is labelled or predicted, in the order of the vocabulary.
        ious: of each word its IoU in percent; None where it is not labelled.
        problem: why the photo cannot be read; empty if it can.
    """

    split: str
    size: tuple[int, int]
    score: ImageScore
    photo: str
    labelled: str
    predicted: str
    words: tuple[Word, ...]
    ious: tuple[float | None, ...]
    problem: str = ""


def compare(
    store: Store,
    split: str,
    record: Record,
    prediction: Int[np.ndarray, "H W"],
    vocabulary: Vocabulary,
    score: ImageScore,
    limit: int = PICTURE_SIZE,
) -> PredictionCard:
    """Draw one image.

    Args:
        store: of the photo.
        split: of the store.
        record: of the photo.
        prediction: index of the predicted pair at each pixel, -1 = none.
        vocabulary: the pairs, with the seen flags of the test.
        score: of the image.
        limit: characters that its pictures may take together.

    Raises:
        ValueError: the prediction has another size than the record.
    """
    if prediction.shape != (record.height, record.width):
        raise ValueError(f"prediction must be of size {(record.height, record.width)}, got {prediction.shape}")
    painting = Painting.of(store, record)
    flat = record.pair_map().astype(np.int64)
    labels = np.where(flat == NONE, -1, flat)
    present = np.unique([labels, prediction])
    present = present[present >= 0]
    colours = palette(len(present))
    maps = [np.where(pairs < 0, -1, np.searchsorted(present, pairs)) for pairs in (labels, prediction)]
    _, photo, (labelled, predicted) = fit(painting.photo, maps, colours, limit)
    words = (
        Word(pair.object, pair.part, pair.name, pair.is_seen, tuple(colour))
        for pair, colour in zip((vocabulary.pairs[index] for index in present), colours.tolist(), strict=True)
    )
    ious = tuple(score.classes.get(index) for index in present.tolist())
    size = (record.width, record.height)
    return PredictionCard(split, size, score, photo, labelled, predicted, tuple(words), ious, painting.problem)
