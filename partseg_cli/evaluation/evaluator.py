"""Evaluation of a model or of label maps: predict each sample under the protocol, and count its pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from partseg_cli.data.loading.transforms import image_to_tensor
from partseg_cli.data.record import Record
from partseg_cli.errors import PartsegError
from partseg_cli.evaluation.counts import FIELDS, ConfusionCounts, ConfusionTable, count_pixels
from partseg_cli.evaluation.samples import Sample, samples
from partseg_cli.evaluation.spec import EvalSpec, EvalSubset, LabelMaps, make_batches
from partseg_cli.inference.protocols import oracle_obj, pred_all, segment_parts
from partseg_cli.io.journal import Journal
from partseg_cli.runtime.devices import memory_watch
from partseg_cli.runtime.pool import Track, silent
from partseg_cli.runtime.process_group import SINGLE_PROCESS, ProcessGroup
from partseg_cli.structures import Logits
from partseg_cli.vocabulary import Vocabulary

MEMORY_ADVICE = "lower --batch or --prompt-chunk, or choose another --device"


@runtime_checkable
class Model(Protocol):
    """Model call: normalised images and a vocabulary to logits."""

    def __call__(self, images: Float[Tensor, "B 3 H W"], vocabulary: Vocabulary) -> Logits: ...  # noqa: D102


@dataclass(frozen=True)
class ImageCounts:
    """Counts of one image.

    Attributes:
        image_id: Id of its record.
        samples: Counts of each of its samples; none where no pixel is labelled.
        prediction: Predicted pairs, all samples laid over each other; -1 = void.
    """

    image_id: str
    samples: tuple[ConfusionCounts, ...]
    prediction: Int[Tensor, "H W"]


Evaluator = Callable[[EvalSubset], Iterator[ImageCounts]]
"""Predicts and counts the images of a subset, which fit into one forward pass."""


@dataclass(frozen=True)
class EvalCounts:
    """Counts of an evaluation, or of a share of it.

    Attributes:
        table: Counts of every sample, in the order of the images.
        positions: Position in the evaluation of each sample's image.
        images: Number of images, those without a sample included.
    """

    table: ConfusionTable
    positions: list[int]
    images: int

    @classmethod
    def merge(cls, shares: Sequence[EvalCounts]) -> EvalCounts:
        """Join shares in the order of the images.

        Raises:
            PartsegError: An image is in two of them.
        """
        names = [name for share in shares for name in share.table.images]
        samples = [sample for share in shares for sample in share.table.samples]
        positions = [position for share in shares for position in share.positions]
        if sum(len(set(share.positions)) for share in shares) > len(set(positions)):
            raise PartsegError("every image must be counted once, got one in two shards; evaluate again")
        order = sorted(range(len(positions)), key=positions.__getitem__)
        table = ConfusionTable(shares[0].table.classes, [names[i] for i in order], [samples[i] for i in order])
        return cls(table, [positions[i] for i in order], sum(share.images for share in shares))


def evaluate_spec(
    spec: EvalSpec,
    evaluator: Evaluator,
    *,
    batch: int = 1,
    group: ProcessGroup = SINGLE_PROCESS,
    journal: Journal | None = None,
    on_image: Callable[[ImageCounts], None] = lambda counts: None,
    track: Track = silent,
) -> EvalCounts | None:
    """Count the samples of a specification's shard; each process of a group counts its share.

    Args:
        spec: What is evaluated.
        evaluator: Predicts and counts the images of a batch.
        batch: Images in one forward pass; a batch of which the journal lacks an image is counted as a whole.
        group: Connected processes.
        journal: Counts of former runs by position of the image; receives the new ones.
        on_image: Called with each new image, before its entry in the journal.
        track: Progress of the images.

    Returns:
        The counts of all processes in the main one, None in the others.
    """
    shard = spec.shard
    batches = make_batches(spec.subsets, batch)[shard.index :: shard.of][group.index :: group.size]
    positions = [position for each in batches for position in each.positions]
    done = {position: _from_json(journal[position]) for position in positions if journal and position in journal}
    remaining = [each for each in batches if not all(position in done for position in each.positions)]
    images = (
        pair for each in remaining for pair in zip(each.positions, evaluator(each.subset), strict=True)
    )  # counted when the loop asks for it
    with memory_watch(MEMORY_ADVICE):
        total = sum(len(each.positions) for each in remaining)
        for position, counts in track(images, f"evaluate {spec.protocol}", total):
            on_image(counts)
            if journal is not None:
                journal.add(position, _to_json(counts))
            done[position] = counts.image_id, counts.samples
    share = EvalCounts(ConfusionTable(len(spec.vocabulary.pairs)), [], len(positions))
    for position in positions:
        image_id, image_samples = done[position]
        for sample in image_samples:
            share.table.add(image_id, sample)
            share.positions.append(position)
    shares = group.gather(share)
    return EvalCounts.merge(shares) if group.is_main else None


def evaluate_images(
    model: Model, spec: EvalSpec, subset: EvalSubset, *, image_size: int, objects: LabelMaps | None = None
) -> Iterator[ImageCounts]:
    """Predict images in one forward pass, and count each at its own size.

    Args:
        model: Model in evaluation mode.
        spec: What is evaluated.
        subset: Images of the forward pass, and the pairs scored there.
        image_size: Edge of the square that the model reads, in pixels.
        objects: For pred-obj the predicted object at each pixel, an index into the vocabulary's objects.
    """
    records = [spec.store[key] for key in subset.keys]
    images = [spec.store.read_image(record) for record in records]
    with torch.inference_mode():
        logits = model(torch.stack([image_to_tensor(image, image_size) for image in images]), spec.vocabulary)
        for index, record in enumerate(records):
            predict = _build_predictor(logits.image(index), record, spec, objects)
            yield _count_image(record, spec, subset, predict)


def evaluate_label_maps(maps: LabelMaps, spec: EvalSpec, subset: EvalSubset) -> Iterator[ImageCounts]:
    """Count label maps of any model, as `evaluate_images` counts predictions."""
    for key in subset.keys:
        record = spec.store[key]
        yield _count_image(record, spec, subset, _same_for_all(maps(record)))


def _build_predictor(
    logits: Logits, record: Record, spec: EvalSpec, objects: LabelMaps | None
) -> Callable[[Sample], Int[Tensor, "H W"]]:
    """Return the label map of each sample of an image under the protocol; only that of Oracle-Obj depends on it."""
    vocabulary, size, device = spec.vocabulary, (record.height, record.width), logits.pairs.device
    if spec.protocol == "pred-all":
        return _same_for_all(pred_all(logits, vocabulary, size).pairs.labels)
    if spec.protocol == "pred-obj":
        if objects is None:
            raise ValueError("pred-obj needs maps of objects, got none")
        return _same_for_all(segment_parts(logits, vocabulary, objects(record).to(device)))

    def predict(sample: Sample) -> Int[Tensor, "H W"]:
        if sample.oracle_object is None:
            return oracle_obj(logits, vocabulary, size, sample.objects)
        return segment_parts(logits, vocabulary, sample.oracle_object.to(device))

    return predict


def _same_for_all(labels: Int[Tensor, "H W"]) -> Callable[[Sample], Int[Tensor, "H W"]]:
    return lambda sample: labels


def _count_image(
    record: Record, spec: EvalSpec, subset: EvalSubset, predict: Callable[[Sample], Int[Tensor, "H W"]]
) -> ImageCounts:
    """Predict and count all samples of an image."""
    overlay = torch.full((record.height, record.width), -1)
    counts = []
    config, vocabulary = spec.sample_config, spec.vocabulary
    for sample in samples(record, spec.store.info.objects, vocabulary, config, subset.scored_pairs):
        prediction = predict(sample)
        device = prediction.device
        prediction = torch.where(sample.inside.to(device), prediction, -1)
        areas = [area.to(device) for area in sample.object_areas()]
        counts.append(count_pixels(prediction, sample.target.to(device), len(vocabulary.pairs), config.ratio, areas))
        overlay = torch.where(sample.inside, prediction.cpu(), overlay)
    return ImageCounts(record.image_id, tuple(counts), overlay)


def _to_json(counts: ImageCounts) -> list[Any]:
    """Return what the journal stores of an image: its id, and the arrays of each sample."""
    return [counts.image_id, [[array.tolist() for array in vars(sample).values()] for sample in counts.samples]]


def _from_json(value: list[Any]) -> tuple[str, tuple[ConfusionCounts, ...]]:
    """Parse what `_to_json` returned."""
    shapes = (-1, (-1, len(FIELDS)), -1, -1)
    return value[0], tuple(
        ConfusionCounts(
            *(np.array(array, np.int64).reshape(shape) for array, shape in zip(sample, shapes, strict=True))
        )
        for sample in value[1]
    )
