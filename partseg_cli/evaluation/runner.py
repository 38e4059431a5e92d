"""Walks through labelled photos, predicts under a protocol, and counts pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from partseg_cli.data.loading.transforms import image_to_tensor
from partseg_cli.data.record import Record, RecordKey
from partseg_cli.data.store import Store
from partseg_cli.evaluation.counts import ConfusionCounts, count
from partseg_cli.evaluation.samples import Sample, SampleConfig, samples
from partseg_cli.inference.protocols import oracle_obj, pred_all, segment_parts
from partseg_cli.structures import Logits
from partseg_cli.vocabulary import Vocabulary


@runtime_checkable
class Model(Protocol):
    """Anything that segments; see DECISIONS "Model call"."""

    def __call__(self, images: Float[Tensor, "B 3 H W"], vocabulary: Vocabulary) -> Logits: ...  # noqa: D102


Maps = Callable[[Record], Int[Tensor, "H W"]]
"""Gives a map of the size of a record's photo: pairs or objects by index, -1 = none."""


@dataclass(frozen=True)
class ImageCounts:
    """One photo that was counted.

    Attributes:
        image_id: of its record.
        samples: counts of each of its samples; none where no pixel is labelled.
        prediction: the predicted pairs, all samples laid over each other; -1 = none.
    """

    image_id: str
    samples: tuple[ConfusionCounts, ...]
    prediction: Int[Tensor, "H W"]


def evaluate_images(
    model: Model,
    store: Store,
    keys: Sequence[RecordKey],
    vocabulary: Vocabulary,
    *,
    protocol: str,
    counting: SampleConfig,
    image_size: int,
    batch: int = 1,
    scored: Sequence[bool] | None = None,
    objects: Maps | None = None,
) -> Iterator[ImageCounts]:
    """Let a model predict each photo in turn, and count it at its own size.

    Args:
        model: in evaluation mode.
        store: the labelled photos.
        keys: Records of the photos, in the order in which they are counted.
        vocabulary: the store's pairs, in the store's order.
        protocol: "pred-all", "oracle-obj" or "pred-obj".
        counting: what a sample is.
        image_size: pixels, the square that the model reads.
        batch: photos in one forward pass; groups follow the order of `keys` alone.
        scored: for each pair whether its labelled pixels count; None: all do.
        objects: for "pred-obj" the predicted object at each pixel, an index into the vocabulary's objects.
    """
    for start in range(0, len(keys), batch):
        group = [store[key] for key in keys[start : start + batch]]
        photos = [store.read_image(record) for record in group]
        with torch.inference_mode():
            logits = model(torch.stack([image_to_tensor(photo, image_size) for photo in photos]), vocabulary)
            for index, record in enumerate(group):
                predict = _Predictor(logits.image(index), vocabulary, protocol, record, objects)
                yield _count(record, store, vocabulary, counting, scored, predict)


def evaluate_label_maps(
    maps: Maps,
    store: Store,
    keys: Sequence[RecordKey],
    vocabulary: Vocabulary,
    *,
    counting: SampleConfig,
    scored: Sequence[bool] | None = None,
) -> Iterator[ImageCounts]:
    """Count label maps that are there already, as `evaluate_images` counts a model's."""
    for key in keys:
        record = store[key]
        yield _count(record, store, vocabulary, counting, scored, _Given(maps(record)))


def _count(
    record: Record,
    store: Store,
    vocabulary: Vocabulary,
    counting: SampleConfig,
    scored: Sequence[bool] | None,
    predict: Callable[[Sample], Int[Tensor, "H W"]],
) -> ImageCounts:
    """Count all samples of a photo."""
    whole = torch.full((record.height, record.width), -1)
    found = []
    for sample in samples(record, store.info.objects, vocabulary, counting, scored):
        prediction = predict(sample)
        inside = sample.inside.to(prediction.device)
        prediction = torch.where(inside, prediction, -1)
        target, apart = sample.target.to(prediction.device), [area.to(prediction.device) for area in sample.areas()]
        found.append(count(prediction, target, len(vocabulary.pairs), counting.ratio, apart))
        whole = torch.where(sample.inside, prediction.cpu(), whole)
    return ImageCounts(record.image_id, tuple(found), whole)


@dataclass(frozen=True)
class _Given:
    """A map that is the same for every sample of its photo."""

    labels: Int[Tensor, "H W"]

    def __call__(self, sample: Sample) -> Int[Tensor, "H W"]:
        return self.labels


class _Predictor:
    """Decides the samples of one photo under a protocol; what does not depend on the sample is decided once."""

    def __init__(
        self, logits: Logits, vocabulary: Vocabulary, protocol: str, record: Record, objects: Maps | None
    ) -> None:
        self.logits, self.vocabulary, self.size = logits, vocabulary, (record.height, record.width)
        self.whole: Int[Tensor, "H W"] | None = None
        if protocol == "pred-all":
            self.whole = pred_all(logits, vocabulary, self.size).pairs.labels
        elif protocol == "pred-obj":
            if objects is None:
                raise ValueError("pred-obj needs maps of objects, got none")
            self.whole = segment_parts(logits, vocabulary, objects(record).to(logits.pairs.device))

    def __call__(self, sample: Sample) -> Int[Tensor, "H W"]:
        if self.whole is not None:
            return self.whole
        if sample.oracle_object is None:
            return oracle_obj(self.logits, self.vocabulary, self.size, sample.objects)
        return segment_parts(self.logits, self.vocabulary, sample.oracle_object.to(self.logits.pairs.device))
