"""Work on slices of a long axis of prompts: the same result, in bounded memory and from the processor's cache."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

CPU_VALUES = 2**22
"""In the widest layer: 4 prompts of ViT-B/16 at 352 px. Of 1 to 59 at once, 2 to 4 were the fastest on two cores."""
GPU_VALUES = 2**29


def default_chunk(images: Tensor, values: int) -> int:
    """Give the number of prompts to take at once for a batch of images on its device.

    Args:
        images: the batch.
        values: in the widest layer, for one image and prompt.
    """
    most = CPU_VALUES if images.device.type == "cpu" else GPU_VALUES
    return max(1, most // (values * len(images)))


def in_slices(
    function: Callable[[slice], tuple[Tensor, ...]], count: int, size: int, *, recompute: bool = False
) -> tuple[Tensor, ...]:
    """Call `function` on slices of `count` prompts and join what it gives along axis 1.

    Args:
        function: rows of prompts -> tensors of shape [B, rows, ...].
        count: number of prompts, at least 1.
        size: of a slice.
        recompute: forget what gradients need and compute it again on the way back; slower, in less memory.
    """
    call = partial(checkpoint, function, use_reentrant=False, preserve_rng_state=False) if recompute else function
    pieces = (call(slice(start, min(start + size, count))) for start in range(0, count, size))
    if torch.is_grad_enabled():
        return tuple(torch.cat(tensors, dim=1) for tensors in zip(*pieces, strict=True))
    return _collected(pieces, count, size)


def _collected(pieces: Iterator[tuple[Tensor, ...]], count: int, size: int) -> tuple[Tensor, ...]:
    """Join slices as they come, so that they are never all there beside the whole."""
    wholes: tuple[Tensor, ...] = ()
    for start, tensors in zip(range(0, count, size), pieces, strict=True):
        wholes = wholes or tuple(part.new_empty(len(part), count, *part.shape[2:]) for part in tensors)
        for whole, part in zip(wholes, tensors, strict=True):
            whole[:, start : start + size] = part
    return wholes
