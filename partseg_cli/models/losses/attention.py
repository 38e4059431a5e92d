"""Attention control: parts of an object must not overlap, and none may vanish (Eq. 6-9).

Axes: T prompts (parts, then objects, then the background), n = h*w patch tokens, N = 1 + n with CLS first, M maps of
the parts in question, G heads of width d.

Attention comes as queries and keys. Only rows inside masks of parts that are there are ever multiplied out: at most n
rows of two maps an image, where all maps would be T n rows.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from partseg_cli.structures import Attention

SIGMA = 0.5
"""Of the 3x3 Gaussian, in tokens (published code)."""
EPSILON = 1e-9
"""Added to the two denominators of the separation term (published code)."""


class AttentionTerms(NamedTuple):
    """The attention losses of a batch.

    Attributes:
        separation_soft: Eq. 7-8 with a sigmoid in place of the threshold; has a gradient.
        separation_hard: Eq. 7-8 as published, in [0, 1]; has no gradient and only tells.
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
    """Give the attention losses, averaged over the objects of the batch that have a part; 0 without any.

    Args:
        attention: of the decoder's last layer.
        pairs: labels at full size, -1 = none.
        objects: labels at full size, -1 = none.
        grid: h, w of the patch tokens.
        part_of: for each pair its row among the prompts.
        object_of: for each pair its object.
        parts: number of generalised parts, so of rows before the objects'.
        gamma: threshold of Eq. 7.
        tau: width of the sigmoid that softens the threshold.
        mask_mean: "paper" or "published", see `part_attention`.
        parts_per_object: "own": an object has its own parts. "published" bookkeeping is "image": every object has all
            parts of the image, the last entry of the label list is dropped in the belief that it means "ignore", and
            the sum is divided by images x objects.
    """
    total = [attention.queries.new_zeros((), dtype=torch.float32) for _ in AttentionTerms._fields]
    count = 0
    for index, (labels, things) in enumerate(zip(pairs, objects, strict=True)):
        present = labels[labels >= 0].unique()
        if present.numel() == 0:
            continue
        coarse, coarse_things = (_nearest(value, grid) for value in (labels, things))
        masks = (coarse.flatten() == present[:, None]).view(len(present), -1)
        prompts = (part_of[present], parts + object_of[present])
        rows = part_attention(attention.of_image(index), masks, *prompts, mask_mean=mask_mean)
        activation = rows.unflatten(1, grid)
        for thing, own in _objects_and_parts(things, object_of[present], parts_per_object):
            count += 1
            inside = coarse_things == thing
            total[0] = total[0] + separation(activation[own], inside, gamma=gamma, tau=tau)
            total[1] = total[1] + separation(activation[own].detach(), inside, gamma=gamma, tau=None)
            total[2] = total[2] + enhancement(activation[own])
    divisor = max(count, 1) * (len(pairs) if parts_per_object == "image" else 1)
    return AttentionTerms(*(term / divisor for term in total))


def _objects_and_parts(
    objects: Int[Tensor, "H W"], object_of_present: Int[Tensor, "M"], parts_per_object: str
) -> list[tuple[int, Bool[Tensor, "M"]]]:
    """List the objects of one image that count, each with the present parts that it is given."""
    if parts_per_object == "own":
        return [(int(thing), object_of_present == thing) for thing in object_of_present.unique()]
    listed = objects[objects >= 0].unique().tolist()
    if not (objects < 0).any():
        listed = listed[:-1]
    everything = torch.ones_like(object_of_present, dtype=torch.bool)
    return [(thing, everything) for thing in listed]


def part_attention(
    attention: Attention,
    masks: Bool[Tensor, "M n"],
    part_rows: Int[Tensor, "M"],
    object_rows: Int[Tensor, "M"],
    *,
    mask_mean: str,
) -> Float[Tensor, "M n"]:
    """Give each part's attention: rows inside its mask, averaged, of the mean of part and object map (Eq. 6).

    Args:
        attention: of one image, queries and keys [T, G, N, d].
        masks: of each part.
        part_rows: prompt of each part.
        object_rows: prompt of each part's object.
        mask_mean: "paper" (divide by the mask's size) or "published" (divide by all n tokens).

    Eq. 6 does not halve the sum of the two maps; the published code does, and so do we. An empty mask gives zeros.
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
    """Give the attention that some tokens pay to all, averaged over heads, in float32 or better."""
    precise = torch.promote_types(queries.dtype, torch.float32)
    scores = queries.to(precise) @ keys.to(precise).transpose(1, 2) * queries.shape[-1] ** -0.5
    maps: Float[Tensor, "m N"] = scores.softmax(-1).mean(0)
    return maps


def separation(
    maps: Float[Tensor, "M h w"], inside: Bool[Tensor, "h w"], *, gamma: float, tau: float | None
) -> Float[Tensor, ""]:
    """Give the share of active pixels of one object on which more than one part is active (Eq. 7-8).

    A part is active where its map, min-max normalised over the whole image and then smoothed, exceeds `gamma`, inside
    the object. `tau` None counts so (no gradient). Otherwise activity is sigmoid((x - gamma) / tau), read as a
    probability, and the pixels with more than one and with any active part are counted by expectation.
    """
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    level = smooth((maps - low) / (high - low + EPSILON))
    active = (level > gamma).to(maps.dtype) if tau is None else torch.sigmoid((level - gamma) / tau)
    none, one = torch.ones_like(active[0]), torch.zeros_like(active[0])
    for part in active * inside:
        none, one = none * (1 - part), one * (1 - part) + none * part
    return (1 - none - one).sum() / ((1 - none).sum() + EPSILON)


def enhancement(maps: Float[Tensor, "M h w"]) -> Float[Tensor, ""]:
    """Give 1 minus the peak of the part whose smoothed map peaks lowest (Eq. 9).

    The peak is sought over the whole map as in the published code; Eq. 9 seeks it inside the part's mask.
    """
    return 1 - smooth(maps).flatten(1).amax(1).amin()


def smooth(maps: Float[Tensor, "M h w"]) -> Float[Tensor, "M h w"]:
    """Smooth with a 3x3 Gaussian, reflecting at the border."""
    offset = torch.arange(3, dtype=maps.dtype, device=maps.device) - 1
    line = torch.exp(-((offset / (2 * SIGMA)) ** 2))
    kernel = torch.outer(line, line) / line.sum() ** 2
    return F.conv2d(F.pad(maps[:, None], (1, 1, 1, 1), mode="reflect"), kernel[None, None])[:, 0]


def _nearest(labels: Int[Tensor, "H W"], grid: tuple[int, int]) -> Int[Tensor, "h w"]:
    """Resize labels by the floor rule: token (i, j) reads pixel (floor(i H / h), floor(j W / w))."""
    return F.interpolate(labels[None, None].float(), size=grid, mode="nearest")[0, 0].to(labels.dtype)
