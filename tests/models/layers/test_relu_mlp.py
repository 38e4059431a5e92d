"""The decoder's MLP by blocks against the same MLP written plainly."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from partseg_cli.models.layers import chunked
from partseg_cli.models.layers.chunked import relu_mlp

TOKENS, WIDTH, HIDDEN = 7, 3, 5


def draw(dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """Tokens, then weight and bias of both layers."""
    generator = torch.Generator().manual_seed(0)
    sizes = ((TOKENS, WIDTH), (HIDDEN, WIDTH), (HIDDEN,), (WIDTH, HIDDEN), (WIDTH,))
    return [torch.randn(size, generator=generator, dtype=torch.float64).to(dtype).requires_grad_() for size in sizes]


def plain(x: Tensor, weight1: Tensor, bias1: Tensor, weight2: Tensor, bias2: Tensor) -> Tensor:
    return F.linear(F.relu(F.linear(x, weight1, bias1)), weight2, bias2)


@pytest.mark.parametrize("tokens", [1, 2, 6, 7, 100])
def test_blocks_of_any_size_give_the_same_output_and_gradients(tokens, monkeypatch):
    monkeypatch.setattr(chunked, "CPU_TOKENS", tokens)
    inputs = draw()
    ours, theirs = relu_mlp(*inputs), plain(*inputs)
    assert torch.allclose(ours, theirs, atol=1e-14)
    weights = torch.arange(TOKENS * WIDTH, dtype=torch.float64).view(TOKENS, WIDTH)
    expected = torch.autograd.grad((theirs * weights).sum(), inputs)
    for got, wanted in zip(torch.autograd.grad((ours * weights).sum(), inputs), expected, strict=True):
        assert torch.allclose(got, wanted, atol=1e-12)


def test_gradients_agree_with_finite_differences(monkeypatch):
    monkeypatch.setattr(chunked, "CPU_TOKENS", 3)
    assert torch.autograd.gradcheck(relu_mlp, draw())


def test_a_hidden_value_of_0_has_no_gradient():
    x = torch.zeros(1, 1, requires_grad=True)
    one, nothing = torch.ones(1, 1), torch.zeros(1)
    relu_mlp(x, one, nothing, one, nothing).backward()
    assert x.grad.item() == 0


def test_half_precision_is_taken_from_autocast():
    inputs = draw(torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours, theirs = relu_mlp(*inputs), plain(*inputs)
    assert ours.dtype == theirs.dtype == torch.bfloat16
    assert torch.allclose(ours.float(), theirs.float(), rtol=0.02, atol=0.05)
    ours.float().sum().backward()
    assert all(value.grad.dtype == torch.float32 for value in inputs)


def test_nothing_is_kept_without_gradients():
    with torch.no_grad():
        assert relu_mlp(*draw()).grad_fn is None
