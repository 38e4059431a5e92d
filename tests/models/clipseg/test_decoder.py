"""The decoder's heads against torch's general convolutions."""

import pytest
import torch
from torch import Tensor

from partseg_cli.models.clipseg.model import Head

GRID = (3, 5)


def head_and_features(strides: tuple[int, int]) -> tuple[Head, Tensor]:
    torch.manual_seed(0)
    head = Head(6, strides).double()
    return head, torch.randn(2, 4, 15, 6, dtype=torch.float64, requires_grad=True)


def general(head: Head, features: Tensor) -> Tensor:
    planes = features.flatten(0, 1).transpose(1, 2).unflatten(2, GRID)
    return head.layers(planes)[:, 0].unflatten(0, features.shape[:2])


@pytest.mark.parametrize("strides", [(4, 4), (2, 4), (3, 2), (1, 1)])
def test_a_head_gives_what_transposed_convolutions_give(strides):
    head, features = head_and_features(strides)
    product = strides[0] * strides[1]
    with torch.no_grad():
        logits = head(features, GRID)
        assert logits.shape == (2, 4, GRID[0] * product, GRID[1] * product)
        assert torch.allclose(logits, general(head, features), atol=1e-12)


def test_the_gradients_of_a_head_are_those_of_transposed_convolutions():
    head, features = head_and_features((2, 4))
    inputs = [features, *head.parameters()]
    weights = torch.randn(2, 4, 24, 40, dtype=torch.float64)
    ours = torch.autograd.grad((head(features, GRID) * weights).sum(), inputs)
    theirs = torch.autograd.grad((general(head, features) * weights).sum(), inputs)
    for got, wanted in zip(ours, theirs, strict=True):
        assert torch.allclose(got, wanted, atol=1e-10)
