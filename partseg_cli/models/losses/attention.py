"""Attention losses: parts of an object must not overlap, and none may vanish (Eq. 6-9).

Axes: T prompts (parts, then objects, then the background), n = h*w patch tokens, N = 1 + n with CLS first, M parts, G
heads of width d.

Attention is given as queries and keys. Only rows inside the masks of present parts are multiplied out: at most n rows
of two maps per image, where all maps would be T n rows.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from partseg_cli.structures import Attention

SIGMA = 0.5
"""Standard deviation of the 3x3 Gaussian in tokens (published code)."""
EPSILON = 1e-9
"""Added to the two denominators of the separation term (published code)."""


class AttentionTerms(NamedTuple):
    """Attention losses of a batch.

    Attributes:
        separation_soft: Eq. 7-8 with a sigmoid in place of the threshold; has a gradient.
        separation_hard: Eq. 7-8 as published, in [0, 1]; has no gradient and is only reported.
        enhancement: Eq. 9.
    """

    separation_soft: Float[Tensor, ""]
    separation_hard: Float[Tensor, ""]
    enhancement: Float[Tensor, ""]


def attention_losses(
    attention: Attention,
    pairs: Int[Tensor, "B H W"],
    objects: Int[Tensor, "B H W"],
    *,
    grid: tuple[int, int],
    part_of: Int[Tensor, "K"],
    object_of: Int[Tensor, "K"],
    parts: int,
    gamma: float,
    tau: float,
    mask_mean: str,
    parts_per_object: str,
) -> AttentionTerms:
    """Compute the attention losses, averaged over the objects of the batch that have a part; 0 if none has.

    Args:
        attention: Attention of the decoder's last layer.
        pairs: Pair labels at full size, -1 = none.
        objects: Object labels at full size, -1 = none.
        grid: h, w of the patch tokens.
        part_of: For each pair its row among the prompts.
        object_of: For each pair its object.
        parts: Number of generalised parts, whose rows precede those of the objects.
        gamma: Threshold of Eq. 7.
        tau: Width of the sigmoid that softens the threshold.
        mask_mean: "paper" or "published", see `part_attention`.
        parts_per_object: "own": an object has its own parts. "image" is the published bookkeeping: every object has all
            parts of the image, the last entry of the label list is dropped in the belief that it means "ignore", and
            the sum is divided by images x objects.
    """
    total = [attention.queries.new_zeros((), dtype=torch.float32) for _ in AttentionTerms._fields]
    count = 0
    for index, (pair_labels, object_labels) in enumerate(zip(pairs, objects, strict=True)):
        present = pair_labels[pair_labels >= 0].unique()
        if present.numel() == 0:
            continue
        coarse_pairs, coarse_objects = (_resize_labels(value, grid) for value in (pair_labels, object_labels))
        masks = (coarse_pairs.flatten() == present[:, None]).view(len(present), -1)
        prompts = (part_of[present], parts + object_of[present])
        rows = part_attention(attention.of_image(index), masks, *prompts, mask_mean=mask_mean)
        activation = rows.unflatten(1, grid)
        for obj, own in _objects_and_parts(object_labels, object_of[present], parts_per_object):
            count += 1
            inside = coarse_objects == obj
            total[0] = total[0] + separation(activation[own], inside, gamma=gamma, tau=tau)
            total[1] = total[1] + separation(activation[own].detach(), inside, gamma=gamma, tau=None)
            total[2] = total[2] + enhancement(activation[own])
    divisor = max(count, 1) * (len(pairs) if parts_per_object == "image" else 1)
    return AttentionTerms(*(term / divisor for term in total))


def _objects_and_parts(
    objects: Int[Tensor, "H W"], object_of_present: Int[Tensor, "M"], parts_per_object: str
) -> list[tuple[int, Bool[Tensor, "M"]]]:
    """List the counted objects of one image, each with the present parts that are attributed to it."""
    if parts_per_object == "own":
        return [(int(obj), object_of_present == obj) for obj in object_of_present.unique()]
    listed = objects[objects >= 0].unique().tolist()
    if not (objects < 0).any():
        listed = listed[:-1]
    every_part = torch.ones_like(object_of_present, dtype=torch.bool)
    return [(obj, every_part) for obj in listed]


def part_attention(
    attention: Attention,
    masks: Bool[Tensor, "M n"],
    part_rows: Int[Tensor, "M"],
    object_rows: Int[Tensor, "M"],
    *,
    mask_mean: str,
) -> Float[Tensor, "M n"]:
    """Compute each part's attention: the mean row inside its mask of the mean of part and object map (Eq. 6).

    Eq. 6 does not halve the sum of the two maps; the published code does, and so do we. An empty mask yields zeros.

    Args:
        attention: Attention of one image, queries and keys [T, G, N, d].
        masks: Mask of each part.
        part_rows: Prompt of each part.
        object_rows: Prompt of each part's object.
        mask_mean: "paper" (divide by the mask's size) or "published" (divide by all n tokens).
    """
    queries, keys = (value.unbind(0) for value in attention)
    rows = []
    for mask, *prompts in zip(masks, part_rows.tolist(), object_rows.tolist(), strict=True):
        inside = 1 + mask.nonzero()[:, 0]
        maps = [attend(queries[prompt][:, inside], keys[prompt]) for prompt in prompts]
        rows.append(torch.stack(maps).mean(0).sum(0)[1:])
    size = masks.sum(1, keepdim=True).clamp(min=1) if mask_mean == "paper" else masks.shape[1]
    return torch.stack(rows) / size


def attend(queries: Float[Tensor, "G m d"], keys: Float[Tensor, "G N d"]) -> Float[Tensor, "m N"]:
    """Compute the attention of m tokens to all N, averaged over heads, in float32 or better."""
    precise = torch.promote_types(queries.dtype, torch.float32)
    scores = queries.to(precise) @ keys.to(precise).transpose(1, 2) * queries.shape[-1] ** -0.5
    maps: Float[Tensor, "m N"] = scores.softmax(-1).mean(0)
    return maps


def separation(
    maps: Float[Tensor, "M h w"], inside: Bool[Tensor, "h w"], *, gamma: float, tau: float | None
) -> Float[Tensor, ""]:
    """Compute the share of an object's active pixels on which more than one part is active (Eq. 7-8).

    A part is active where its map, min-max normalised over the whole image and then smoothed, exceeds `gamma` inside
    the object.

    Args:
        maps: Attention maps of the object's parts.
        inside: Pixels of the object.
        gamma: Activity threshold.
        tau: None counts active pixels, without a gradient. Otherwise sigmoid((x - gamma) / tau) is the probability that
            a part is active, and the pixels with more than one and with any active part are counted by expectation.

    Example:
        >>> left, right = torch.zeros(2, 4, 6)
        >>> left[:, :3], right[:, 3:] = 1, 1
        >>> everywhere = torch.ones(4, 6, dtype=torch.bool)
        >>> [round(separation(torch.stack(maps), everywhere, gamma=0.3, tau=None).item(), 3)
        ...  for maps in ((left, right), (left, left))]
        [0.0, 1.0]
    """
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    level = smooth((maps - low) / (high - low + EPSILON))
    active = (level > gamma).to(maps.dtype) if tau is None else torch.sigmoid((level - gamma) / tau)
    none, one = torch.ones_like(active[0]), torch.zeros_like(active[0])
    for part in active * inside:
        none, one = none * (1 - part), one * (1 - part) + none * part
    return (1 - none - one).sum() / ((1 - none).sum() + EPSILON)


def enhancement(maps: Float[Tensor, "M h w"]) -> Float[Tensor, ""]:
    """Compute 1 minus the lowest of the peaks of the parts' smoothed maps (Eq. 9).

    The peak is taken over the whole map as in the published code; Eq. 9 takes it inside the part's mask.

    Example:
        >>> enhancement(torch.stack([torch.full((3, 3), 0.75), torch.full((3, 3), 0.25)])).item()
        0.75
    """
    return 1 - smooth(maps).flatten(1).amax(1).amin()


def smooth(maps: Float[Tensor, "M h w"]) -> Float[Tensor, "M h w"]:
    """Smooth with a 3x3 Gaussian, reflecting at the border."""
    offset = torch.arange(3, dtype=maps.dtype, device=maps.device) - 1
    line = torch.exp(-((offset / (2 * SIGMA)) ** 2))
    kernel = torch.outer(line, line) / line.sum() ** 2
    return F.conv2d(F.pad(maps[:, None], (1, 1, 1, 1), mode="reflect"), kernel[None, None])[:, 0]


def _resize_labels(labels: Int[Tensor, "H W"], grid: tuple[int, int]) -> Int[Tensor, "h w"]:
    """Resize labels by the floor rule: token (i, j) reads pixel (floor(i H / h), floor(j W / w))."""
    return F.interpolate(labels[None, None].float(), size=grid, mode="nearest")[0, 0].to(labels.dtype)
