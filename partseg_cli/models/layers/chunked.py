"""Computation in chunks: the same result in bounded memory, with hidden values that stay in the processor's cache.

`map_chunks` splits the axis of prompts. `relu_mlp` splits the tokens of a two-layer MLP: the decoder's hidden layer is
32 times as wide as its tokens and would take 0.6 GB for one image and 53 prompts in three layers. A block of tokens
passes both layers before the next one, and the backward pass recomputes hidden activations (one more product in six).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.utils.checkpoint import checkpoint

CPU_VALUES = 2**22
"""Values per chunk in the widest layer: 4 prompts of ViT-B/16 at 352 px. Of 1 to 59 prompts, 2 to 4 were the fastest
on two cores."""
GPU_VALUES = 2**29
CPU_TOKENS = 512
"""Tokens per block of the MLP: 4 MB of hidden values at width 2048. Of 128 to 1940 the fastest on two cores."""
GPU_TOKENS = 32768

Gradients = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


def default_chunk(images: Tensor, values: int) -> int:
    """Return the number of prompts per chunk that suits a batch of images and its device.

    Args:
        images: Batch of images.
        values: Number of values in the widest layer for one image and prompt.
    """
    most = CPU_VALUES if images.device.type == "cpu" else GPU_VALUES
    return max(1, most // (values * len(images)))


def map_chunks(
    function: Callable[[slice], tuple[Tensor, ...]], count: int, size: int, *, activation_checkpointing: bool = False
) -> tuple[Tensor, ...]:
    """Call a function on chunks of prompts and join the results along axis 1.

    Args:
        function: Rows of prompts -> tensors of shape [B, rows, ...].
        count: Number of prompts, at least 1.
        size: Number of prompts per chunk.
        activation_checkpointing: Recompute activations in the backward pass: slower, in less memory.
    """
    if activation_checkpointing:
        function = partial(checkpoint, function, use_reentrant=False, preserve_rng_state=False)
    starts = range(0, count, size)
    chunks = (function(slice(start, min(start + size, count))) for start in starts)
    if torch.is_grad_enabled():
        return tuple(torch.cat(tensors, dim=1) for tensors in zip(*chunks, strict=True))
    results: tuple[Tensor, ...] = ()
    for start, tensors in zip(starts, chunks, strict=True):  # joined one by one: never all chunks next to the whole
        results = results or tuple(chunk.new_empty(len(chunk), count, *chunk.shape[2:]) for chunk in tensors)
        for whole, chunk in zip(results, tensors, strict=True):
            whole[:, start : start + size] = chunk
    return results


def relu_mlp(
    x: Float[Tensor, "M R"],
    weight1: Float[Tensor, "F R"],
    bias1: Float[Tensor, "F"],
    weight2: Float[Tensor, "R F"],
    bias2: Float[Tensor, "R"],
) -> Float[Tensor, "M R"]:
    """Compute weight2 relu(weight1 x + bias1) + bias2, under autocast in its precision, as linear layers do.

    Example:
        >>> eye, zero = torch.eye(2), torch.zeros(2)
        >>> relu_mlp(torch.tensor([[1.0, -2.0]]), eye, zero, 3 * eye, torch.ones(2)).tolist()
        [[4.0, 1.0]]
    """
    inputs = [x, weight1, bias1, weight2, bias2]
    if torch.is_autocast_enabled(x.device.type):
        half = torch.get_autocast_dtype(x.device.type)
        inputs = [value.to(half) for value in inputs]
    output: Float[Tensor, "M R"] = _ReluMLP.apply(*inputs)
    return output


class _ReluMLP(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, weight1: Tensor, bias1: Tensor, weight2: Tensor, bias2: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight1, bias1, weight2)
        size = _block_size(x)
        output, hidden = torch.empty_like(x), x.new_empty(min(size, len(x)), len(weight1))
        for tokens, result in zip(x.split(size), output.split(size), strict=True):
            torch.addmm(bias2, _hidden(tokens, weight1, bias1, hidden), weight2.T, out=result)
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad_output: Tensor) -> Gradients:
        x, weight1, bias1, weight2 = ctx.saved_tensors  # type: ignore[attr-defined]
        size = _block_size(x)
        grad_x, grad_weight1, grad_bias1 = torch.empty_like(x), torch.zeros_like(weight1), torch.zeros_like(bias1)
        grad_weight2 = torch.zeros_like(weight2)
        hidden, grad_hidden = (x.new_empty(min(size, len(x)), len(weight1)) for _ in range(2))
        blocks = (x.split(size), grad_output.split(size), grad_x.split(size))
        for tokens, grad_out, grad_in in zip(*blocks, strict=True):
            active = _hidden(tokens, weight1, bias1, hidden)
            grad_weight2.addmm_(grad_out.T, active)
            grad = torch.mm(grad_out, weight2, out=grad_hidden[: len(tokens)])
            grad.mul_(active.sign_())  # gradient of ReLU: 1 where its input was positive
            grad_weight1.addmm_(grad.T, tokens)
            grad_bias1 += grad.sum(0)
            torch.mm(grad, weight1, out=grad_in)
        return grad_x, grad_weight1, grad_bias1, grad_weight2, grad_output.sum(0)


def _hidden(tokens: Tensor, weight: Tensor, bias: Tensor, buffer: Tensor) -> Tensor:
    """Compute a block's hidden values in `buffer`."""
    return torch.addmm(bias, tokens, weight.T, out=buffer[: len(tokens)]).relu_()


def _block_size(x: Tensor) -> int:
    return CPU_TOKENS if x.device.type == "cpu" else GPU_TOKENS
