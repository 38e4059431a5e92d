"""Naming objects by their names alone."""

import re

import pytest
import torch

from partseg_cli.errors import DataError
from partseg_cli.models.clip.contrastive import ContrastiveClip
from partseg_cli.pipeline.zero_shot import ZeroShot, zero_shot


class Oracle(ContrastiveClip):
    """Sees the mean red of a picture, and holds each name for a level of red."""

    def __init__(self, names: tuple[str, ...], right: dict[float, str]) -> None:
        torch.nn.Module.__init__(self)
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.names, self.right = names, right

    @property
    def clip(self) -> "Oracle":
        return self

    def text_embeddings(self, captions: tuple[str, ...]) -> torch.Tensor:
        assert captions == self.names
        return torch.eye(len(captions))

    def image_embeddings(self, images: torch.Tensor) -> torch.Tensor:
        names = [self.right[round(float(image[0].mean()), 4)] for image in images]
        return torch.stack([torch.eye(len(self.names))[self.names.index(name)] for name in names])


def answers(store, size: int, change: dict[str, str]) -> tuple[dict[float, str], dict[str, int]]:
    """Give what the oracle answers for each picture of one object, and how many of each object there are."""
    from partseg_cli.data.loading.transforms import image_to_tensor

    right, shown = {}, {}
    for split in store.splits:
        for record in store.records(split):
            if len(record.objects) == 1:
                name = store.info.objects[record.objects[0].category]
                shown[name] = shown.get(name, 0) + 1
                level = round(float(image_to_tensor(store.read_image(record), size)[0].mean()), 4)
                right[level] = change.get(name, name)
    return right, shown


def everyone(store) -> list[str]:
    return [record.image_id for split in store.splits for record in store.records(split)]


def test_accuracy_counts_photos_of_one_object(small_store):
    right, shown = answers(small_store, 16, {"cat": "dog"})
    found = zero_shot(Oracle(small_store.info.objects, right), small_store, everyone(small_store), 16)
    assert found.shown == shown
    assert sum(shown.values()) == 7
    assert found.per_object["cat"] == 0
    assert {found.per_object[name] for name in shown if name != "cat"} == {100.0}
    assert found.accuracy == pytest.approx(100 * (7 - shown["cat"]) / 7)


def test_the_percentages_of_objects_and_of_photos():
    found = ZeroShot({"dog": 4, "cat": 1}, {"dog": 3})
    assert found.to_json() == {"accuracy": 60.0, "per_object": {"cat": 0.0, "dog": 75.0}, "photos": 5}


def test_photos_of_several_objects_alone_are_refused(small_store):
    message = f"{small_store.folder}: zero-shot classification needs photos of one object each, got none"
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        zero_shot(Oracle(small_store.info.objects, {}), small_store, ["photo_03"], 16)
