"""How well a CLIP tells objects apart that it was never trained to tell apart: by their names alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from partseg_cli.data.loading.transforms import image_to_tensor
from partseg_cli.data.store import Store
from partseg_cli.errors import DataError
from partseg_cli.models.clip.contrastive import ContrastiveClip

AT_ONCE = 128


@dataclass(frozen=True)
class ZeroShot:
    """Photos of one object each, and how many were given its name.

    Attributes:
        shown: object -> photos.
        right: object -> those that were named right.
    """

    shown: dict[str, int]
    right: dict[str, int]

    @property
    def accuracy(self) -> float:
        """Top-1 over all photos, in percent."""
        return 100 * sum(self.right.values()) / sum(self.shown.values())

    @property
    def per_object(self) -> dict[str, float]:
        """Top-1 of each object, in percent."""
        return {name: 100 * self.right.get(name, 0) / count for name, count in sorted(self.shown.items())}

    def to_json(self) -> dict[str, Any]:
        """Give plain values."""
        return {"accuracy": self.accuracy, "per_object": self.per_object, "photos": sum(self.shown.values())}


def zero_shot(model: ContrastiveClip, store: Store, image_ids: Sequence[str], size: int) -> ZeroShot:
    """Name the object of each photo that shows just one, among all objects of the store.

    Args:
        model: both towers; it is set to evaluation.
        store: the photos.
        image_ids: which of them; those with several objects are left out.
        size: pixels, the square that the model reads.

    Raises:
        DataError: no photo shows just one object.
    """
    model.eval()
    device = next(model.parameters()).device
    names = store.info.objects
    records = [store[key] for key in store.record_keys(image_ids)]
    records = [record for record in records if len(record.objects) == 1]
    if not records:
        raise DataError(f"{store.folder}: zero-shot classification needs photos of one object each, got none")
    right: Counter[str] = Counter()
    with torch.inference_mode():
        texts = model.text_embeddings(names)
        for start in range(0, len(records), AT_ONCE):
            group = records[start : start + AT_ONCE]
            images = torch.stack([image_to_tensor(store.read_image(record), size) for record in group]).to(device)
            found = (model.clip.image_embeddings(images).float() @ texts.T).argmax(1).tolist()
            truth = [record.objects[0].category for record in group]
            right.update(names[name] for name, best in zip(truth, found, strict=True) if name == best)
    return ZeroShot(dict(Counter(names[record.objects[0].category] for record in records)), dict(right))
