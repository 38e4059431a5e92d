"""Walks through labelled photos, predicts under a protocol, counts pixels, and sums up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from partseg_cli.data.record import Record
from partseg_cli.data.rle import NONE
from partseg_cli.data.store import Store
from partseg_cli.data.transforms import photo_tensor
from partseg_cli.evaluators.confusion import confusion
from partseg_cli.evaluators.metrics import class_scores, group_mean, harmonic_mean
from partseg_cli.inference import oracle_obj, pred_all
from partseg_cli.records import Logits
from partseg_cli.vocabulary import Vocabulary

RULE = "ref-v2"


@runtime_checkable
class Model(Protocol):
    """Anything that segments; see DECISIONS "Model call"."""

    def __call__(self, images: Float[Tensor, "B 3 H W"], vocabulary: Vocabulary) -> Logits: ...  # noqa: D102


@dataclass(frozen=True)
class Result:
    """Scores of one evaluation, in percent; None where no class can be scored.

    Attributes:
        protocol: what the model was told.
        rule: how pixels and classes were counted.
        miou: mean IoU by group: "seen", "unseen", "harmonic".
        recall: mean recall by group.
        classes_counted: classes with labelled pixels, those that the means run over.
        classes_at_zero: of these, with an IoU of 0.
        pixels: labelled pixels.
        per_class: one record a pair: name, seen, iou, recall, target_pixels, predicted_pixels.
    """

    protocol: str
    rule: str
    miou: dict[str, float | None]
    recall: dict[str, float | None]
    classes_counted: int
    classes_at_zero: int
    pixels: int
    per_class: tuple[dict[str, Any], ...]


def count_images(
    model: Model,
    store: Store,
    places: Sequence[tuple[str, int]],
    vocabulary: Vocabulary,
    *,
    protocol: str,
    per_image: bool,
    image_size: int,
    batch: int = 1,
    scored: Sequence[bool] | None = None,
) -> Iterator[Int[Tensor, "K1 K1"]]:
    """Give the confusion counts of each photo in turn, at its own size.

    Args:
        model: in evaluation mode.
        store: the labelled photos.
        places: (store split, index) of each.
        vocabulary: the store's pairs, in the store's order.
        protocol: "pred-all" or "oracle-obj".
        per_image: in Oracle-Obj tell the model all objects of a photo at once; else one class after the other, as
            published (a sample is a photo and an object class).
        image_size: pixels, the square that the model reads.
        batch: photos in one forward pass; groups follow the order of `places` alone.
        scored: for each pair whether its labelled pixels count; None: all do.
    """
    stored = {split: store.records(split) for split in store.splits}
    for start in range(0, len(places), batch):
        records: list[Record] = [stored[split][index] for split, index in places[start : start + batch]]
        photos = [store.read_photo(record) for record in records]
        with torch.inference_mode():
            logits = model(torch.stack([photo_tensor(photo, image_size) for photo in photos]), vocabulary)
            for index, record in enumerate(records):
                target = _target(record, scored).to(logits.pairs.device)
                prediction = _predict(logits.image(index), target, vocabulary, protocol, per_image)
                yield confusion(prediction, target, len(vocabulary.pairs)).cpu()


def _target(record: Record, scored: Sequence[bool] | None) -> Int[Tensor, "H W"]:
    """Paint the pairs, -1 where there is none or one that is not scored."""
    labels = torch.from_numpy(record.flat_pairs().astype("int64"))
    labels = labels.masked_fill(labels == NONE, -1)
    if scored is None:
        return labels
    return torch.where(torch.tensor([*scored, False])[labels], labels, -1)


def _predict(
    logits: Logits, target: Int[Tensor, "H W"], vocabulary: Vocabulary, protocol: str, per_image: bool
) -> Int[Tensor, "H W"]:
    """Predict under `protocol`; in Oracle-Obj each labelled pixel is decided in the sample of its own object."""
    size = (target.shape[0], target.shape[1])
    if protocol == "pred-all":
        return pred_all(logits, vocabulary, size).pairs.labels
    owner = torch.tensor([*vocabulary.object_of, -1], device=target.device)[target]
    present = [int(index) for index in owner.unique() if index >= 0]
    if per_image:
        return oracle_obj(logits, vocabulary, size, present)
    prediction = torch.full_like(target, -1)
    for index in present:
        prediction = torch.where(owner == index, oracle_obj(logits, vocabulary, size, [index]), prediction)
    return prediction


def summarise(counts: Int[Tensor, "K1 K1"], vocabulary: Vocabulary, protocol: str) -> Result:
    """Turn summed counts into scores by the rule `ref-v2`."""
    scores = class_scores(counts)
    per_class = tuple(
        {
            "name": pair.name,
            "seen": pair.is_seen,
            "iou": _number(scores.iou[index]),
            "recall": _number(scores.recall[index]),
            "target_pixels": int(scores.target_pixels[index]),
            "predicted_pixels": int(scores.predicted_pixels[index]),
        }
        for index, pair in enumerate(vocabulary.pairs)
    )
    return Result(
        protocol=protocol,
        rule=RULE,
        miou=_groups(scores.iou, vocabulary),
        recall=_groups(scores.recall, vocabulary),
        classes_counted=int((scores.target_pixels > 0).sum()),
        classes_at_zero=int((scores.iou == 0).sum()),
        pixels=int(scores.target_pixels.sum()),
        per_class=per_class,
    )


def _groups(values: Float[Tensor, "K"], vocabulary: Vocabulary) -> dict[str, float | None]:
    seen = group_mean(values, vocabulary.is_seen)
    unseen = group_mean(values, [not flag for flag in vocabulary.is_seen])
    return {"seen": seen, "unseen": unseen, "harmonic": harmonic_mean(seen, unseen)}


def _number(value: Float[Tensor, ""]) -> float | None:
    return None if value.isnan() else float(value)
