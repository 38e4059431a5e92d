"""Attention control (Eq. 6-9) against plain loops over images, objects, parts and tokens."""

import itertools
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from partseg_cli.models.losses.attention import (
    AttentionTerms,
    attend,
    attention_losses,
    enhancement,
    part_attention,
    separation,
    smooth,
)
from partseg_cli.structures import Attention

NONE = -1
GAMMA, TAU = 0.3, 0.1
TERMS = ("separation_soft", "separation_hard", "enhancement")

# Prompts: parts 0-4, objects 0-2 in rows 5-7, background in row 8. Pairs 0 and 1 are of object 0, pairs 2, 3 and 4 of
# object 1, pair 5 of object 2. No pair has part 4, so that the number of parts cannot be guessed from `PART_OF`.
PARTS, OBJECTS = 5, 3
PROMPTS = PARTS + OBJECTS + 1
PART_OF = torch.tensor([3, 0, 0, 1, 2, 3])
OBJECT_OF = torch.tensor([0, 0, 1, 1, 1, 2])
GRID = (4, 5)

# Two images of 8 x 15 pixels on a grid of 4 x 5 tokens: token (i, j) reads pixel (2 i, 3 j).
IMAGE_SIZE = (8, 15)


def upsample(labels: list[list[int]]) -> Tensor:
    return torch.tensor(labels).repeat_interleave(2, dim=0).repeat_interleave(3, dim=1)


PAIR_LABELS = torch.stack(
    [
        upsample([[0, 0, -1, -1, -1], [0, 1, -1, 2, 2], [-1, 1, -1, 3, 2], [-1, -1, -1, -1, -1]]),
        upsample([[-1, -1, -1, -1, -1], [-1, 4, 4, -1, -1], [-1, 2, 4, 4, -1], [-1, -1, -1, -1, -1]]),
    ]
)
OBJECT_LABELS = torch.stack(
    [
        upsample([[0, 0, 0, -1, -1], [0, 0, -1, 1, 1], [0, 0, -1, 1, 1], [-1, -1, -1, 1, 1]]),
        upsample([[-1, -1, -1, -1, -1], [1, 1, 1, 1, -1], [1, 1, 1, 1, -1], [-1, -1, -1, -1, -1]]),
    ]
)


def draw(*size: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(*size, generator=generator, dtype=torch.float64)


def draw_attention(images: int = 2, grid: tuple[int, int] = GRID, seed: int = 0) -> Tensor:
    """Rows that sum to one over the tokens, far from symmetric."""
    tokens = grid[0] * grid[1]
    return (6 * draw(images, PROMPTS, tokens, tokens, seed=seed)).softmax(dim=-1)


def to_attention(maps: Tensor) -> Attention:
    """One head whose softmax gives exactly the rows of `maps` [..., n, n]; what a row lacks to 1 is paid to CLS."""
    tokens = maps.shape[-1] + 1
    rows = torch.cat([1 - maps.sum(-1, keepdim=True), maps], dim=-1)
    logs = torch.where(rows > 1e-12, rows.clamp(min=1e-12).log(), -1e4)
    queries = tokens**0.5 * F.pad(logs, (0, 0, 1, 0))  # what CLS pays is never read
    keys = torch.eye(tokens, dtype=maps.dtype).expand_as(queries)
    return Attention(queries.unsqueeze(-3), keys.unsqueeze(-3))


def part_maps(maps: Tensor, masks: Tensor, part_rows: Tensor, object_rows: Tensor, mask_mean: str) -> Tensor:
    return part_attention(to_attention(maps), masks, part_rows, object_rows, mask_mean=mask_mean)


def losses(attention: Tensor | Attention, pairs: Tensor = PAIR_LABELS, objects: Tensor = OBJECT_LABELS, **changes: Any):
    """Of maps [B, T, n, n], or of queries and keys."""
    attention = to_attention(attention) if isinstance(attention, Tensor) else attention
    keywords = {
        "grid": GRID,
        "part_of": PART_OF,
        "object_of": OBJECT_OF,
        "parts": PARTS,
        "gamma": GAMMA,
        "tau": TAU,
        "mask_mean": "paper",
        "parts_per_object": "own",
    }
    return attention_losses(attention, pairs, objects, **(keywords | changes))


def values(terms: AttentionTerms) -> dict[str, float]:
    return {name: getattr(terms, name).item() for name in TERMS}


# ---- the independent reference: lists and loops

Map = list[list[float]]


def mirror(index: int, size: int) -> int:
    """Reflect without repeating the border."""
    return -index if index < 0 else 2 * (size - 1) - index if index >= size else index


def loop_smooth(values: Map) -> Map:
    sigma = 0.5
    line = [math.exp(-(((i - 1) / (2 * sigma)) ** 2)) for i in range(3)]
    total = sum(a * b for a in line for b in line)
    height, width = len(values), len(values[0])
    return [
        [
            sum(
                line[i] * line[j] * values[mirror(y + i - 1, height)][mirror(x + j - 1, width)]
                for i in range(3)
                for j in range(3)
            )
            / total
            for x in range(width)
        ]
        for y in range(height)
    ]


def loop_normalise(values: Map) -> Map:
    low, high = min(map(min, values)), max(map(max, values))
    return [[(value - low) / (high - low + 1e-9) for value in row] for row in values]


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def chances(actives: list[float]) -> tuple[float, float]:
    """The chance that at least one, and that more than one, of independent events happens: by trying all outcomes."""
    some = more = 0.0
    for outcome in itertools.product([False, True], repeat=len(actives)):
        chance = math.prod(a if happens else 1 - a for a, happens in zip(actives, outcome, strict=True))
        some += chance if sum(outcome) >= 1 else 0
        more += chance if sum(outcome) > 1 else 0
    return some, more


def loop_active_share(maps: list[Map], inside: list[list[bool]], gamma: float, tau: float | None) -> float:
    smoothed = [loop_smooth(loop_normalise(values)) for values in maps]
    some = more = 0.0
    for y, row in enumerate(inside):
        for x, is_inside in enumerate(row):
            if not is_inside:
                continue
            if tau is None:
                actives = [float(values[y][x] > gamma) for values in smoothed]
            else:
                actives = [sigmoid((values[y][x] - gamma) / tau) for values in smoothed]
            some_here, more_here = chances(actives)
            some, more = some + some_here, more + more_here
    return more / (some + 1e-9)


def loop_weakest_part(maps: list[Map]) -> float:
    return 1 - min(max(map(max, loop_smooth(values))) for values in maps)


def loop_part_attention(attention: Tensor, mask: list[int], part_row: int, object_row: int, mask_mean: str) -> list:
    tokens = attention.shape[-1]
    divisor = {"paper": len(mask), "published": tokens}[mask_mean]
    return [
        sum((attention[part_row, t, u].item() + attention[object_row, t, u].item()) / 2 for t in mask) / max(divisor, 1)
        for u in range(tokens)
    ]


def at_grid(labels: Tensor, grid: tuple[int, int]) -> list[list[int]]:
    """Nearest, by the floor rule."""
    height, width = labels.shape
    return [[int(labels[i * height // grid[0], j * width // grid[1]]) for j in range(grid[1])] for i in range(grid[0])]


def loop_map(attention: Tensor, pair_grid: list[list[int]], pair: int, parts: int, mask_mean: str) -> Map:
    height, width = len(pair_grid), len(pair_grid[0])
    mask = [y * width + x for y in range(height) for x in range(width) if pair_grid[y][x] == pair]
    flat = loop_part_attention(attention, mask, int(PART_OF[pair]), parts + int(OBJECT_OF[pair]), mask_mean)
    return [flat[y * width : (y + 1) * width] for y in range(height)]


def own_groups(pairs: Tensor, objects: Tensor) -> list[tuple[int, list[int]]]:
    """(object, its pairs) of one image."""
    present = sorted(set(pairs.flatten().tolist()) - {NONE})
    return [(o, [k for k in present if OBJECT_OF[k] == o]) for o in sorted({int(OBJECT_OF[k]) for k in present})]


def published_groups(pairs: Tensor, objects: Tensor) -> list[tuple[int, list[int]]]:
    """(object, all pairs of the image) of one image: none sorts last, and whatever sorts last is dropped."""
    present = sorted(set(pairs.flatten().tolist()) - {NONE})
    listed = sorted(math.inf if o == NONE else o for o in set(objects.flatten().tolist()))[:-1]
    return [(int(o), present) for o in listed] if present else []


def loop_losses(
    attention: Tensor,
    pairs: Tensor = PAIR_LABELS,
    objects: Tensor = OBJECT_LABELS,
    *,
    grid: tuple[int, int] = GRID,
    gamma: float = GAMMA,
    tau: float = TAU,
    mask_mean: str = "paper",
    parts_per_object: str = "own",
) -> dict[str, float]:
    find_groups = {"own": own_groups, "image": published_groups}[parts_per_object]
    sums, counted = dict.fromkeys(TERMS, 0.0), 0
    for b in range(len(attention)):
        pair_grid, object_grid = at_grid(pairs[b], grid), at_grid(objects[b], grid)
        for o, present in find_groups(pairs[b], objects[b]):
            maps = [loop_map(attention[b], pair_grid, k, PARTS, mask_mean) for k in present]
            inside = [[value == o for value in row] for row in object_grid]
            sums["separation_soft"] += loop_active_share(maps, inside, gamma, tau)
            sums["separation_hard"] += loop_active_share(maps, inside, gamma, None)
            sums["enhancement"] += loop_weakest_part(maps)
            counted += 1
    divisor = max(counted, 1) * (len(attention) if parts_per_object == "image" else 1)
    return {name: total / divisor for name, total in sums.items()}


# ---- smoothing


def test_smoothing_agrees_with_loops_over_pixels():
    maps = draw(3, 4, 5)
    expected = [loop_smooth(values) for values in maps.tolist()]
    assert torch.allclose(smooth(maps), torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-7)


def test_smoothing_spreads_a_point_as_the_kernel_says():
    point = torch.zeros(1, 5, 6)
    point[0, 2, 3] = 1
    side, total = math.exp(-1), 1 + 2 * math.exp(-1)
    around = smooth(point)[0, 1:4, 2:5] * total**2
    expected = torch.tensor([[side**2, side, side**2], [side, 1, side], [side**2, side, side**2]])
    assert torch.allclose(around, expected, atol=1e-6)
    assert smooth(point).sum().item() == pytest.approx(1)


def test_smoothing_keeps_a_constant_map_up_to_its_border():
    assert torch.allclose(smooth(torch.full((2, 4, 5), 0.7)), torch.full((2, 4, 5), 0.7))


def test_smoothing_mirrors_the_border_without_repeating_it():
    column = torch.zeros(1, 4, 5)
    column[0, :, 1] = 1
    side, total = math.exp(-1), 1 + 2 * math.exp(-1)
    assert smooth(column)[0, 2, 0].item() == pytest.approx(2 * side / total)


def test_smoothing_treats_maps_apart():
    maps = draw(3, 4, 5)
    apart = torch.cat([smooth(one.unsqueeze(0)) for one in maps])
    assert torch.allclose(smooth(maps), apart)


def test_smoothing_gradient_agrees_with_finite_differences():
    assert torch.autograd.gradcheck(smooth, (draw(2, 4, 5).requires_grad_(),))


# ---- the attention of a part


PART_ROWS, OBJECT_ROWS = torch.tensor([3, 0, 1, 3]), torch.tensor([5, 5, 6, 7])
MASKS = torch.zeros(4, 20, dtype=torch.bool)
MASKS[0, [0, 1, 7]] = True
MASKS[1, [4, 19]] = True
MASKS[2] = True
MASKS[3, 13] = True


@pytest.mark.parametrize("mask_mean", ["paper", "published"])
def test_part_attention_agrees_with_loops_over_tokens(mask_mean: str):
    attention = draw_attention(images=1)[0]
    maps = part_maps(attention, MASKS, PART_ROWS, OBJECT_ROWS, mask_mean)
    assert maps.shape == MASKS.shape
    for m, mask in enumerate(MASKS):
        row = loop_part_attention(
            attention, mask.nonzero()[:, 0].tolist(), int(PART_ROWS[m]), int(OBJECT_ROWS[m]), mask_mean
        )
        assert maps[m].tolist() == pytest.approx(row)


def test_part_attention_of_one_token_is_that_tokens_row_of_part_and_object():
    attention = draw_attention(images=1)[0]
    maps = part_maps(attention, MASKS, PART_ROWS, OBJECT_ROWS, "paper")
    assert torch.allclose(maps[3], (attention[3, 13] + attention[7, 13]) / 2)


def test_part_attention_stays_a_distribution_with_the_papers_mean_alone():
    attention = draw_attention(images=1)[0]
    paper = part_maps(attention, MASKS, PART_ROWS, OBJECT_ROWS, "paper")
    published = part_maps(attention, MASKS, PART_ROWS, OBJECT_ROWS, "published")
    assert paper.sum(dim=1).tolist() == pytest.approx([1, 1, 1, 1])
    assert published.sum(dim=1).tolist() == pytest.approx([3 / 20, 2 / 20, 20 / 20, 1 / 20])


@pytest.mark.parametrize("mask_mean", ["paper", "published"])
def test_part_attention_of_an_empty_mask_is_0(mask_mean: str):
    attention = draw_attention(images=1)[0].requires_grad_()
    masks = torch.zeros(4, 20, dtype=torch.bool)
    maps = part_maps(attention, masks, PART_ROWS, OBJECT_ROWS, mask_mean)
    assert torch.equal(maps, torch.zeros(4, 20, dtype=torch.float64))
    (gradient,) = torch.autograd.grad((maps + 0 * attention.sum()).sum(), attention)
    assert torch.equal(gradient, torch.zeros_like(attention))


@pytest.mark.parametrize("mask_mean", ["paper", "published"])
def test_part_attention_gradient_agrees_with_finite_differences(mask_mean: str):
    attention = (0.9 * (6 * draw(4, 6, 6)).softmax(dim=-1)).requires_grad_()
    masks = torch.tensor([[1, 0, 1, 0, 0, 0], [0, 0, 0, 1, 0, 0], [0, 0, 0, 0, 0, 0]]).bool()
    rows = torch.tensor([0, 1, 0]), torch.tensor([2, 3, 3])
    assert torch.autograd.gradcheck(lambda attention: part_maps(attention, masks, *rows, mask_mean), (attention,))


# ---- separation of one object


INSIDE = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 0], [1, 1, 1, 1, 0], [0, 1, 1, 0, 0]]).bool()


@pytest.mark.parametrize("tau", [None, 1.0, 0.1, 0.01])
@pytest.mark.parametrize("gamma", [0.1, 0.3, 0.5, 0.8])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_separation_agrees_with_loops_over_pixels_and_outcomes(count: int, gamma: float, tau: float | None):
    maps = draw(count, 4, 5, seed=count)
    expected = loop_active_share(maps.tolist(), INSIDE.tolist(), gamma, tau)
    assert separation(maps, INSIDE, gamma=gamma, tau=tau).item() == pytest.approx(expected, abs=1e-7)


def test_separation_of_a_case_worked_out_by_hand():
    """Two flat halves, 3 of 5 columns each, that share a column; smoothing lifts no other column over 0.3."""
    maps = torch.zeros(2, 4, 5, dtype=torch.float64)
    maps[0, :, :3] = 7
    maps[1, :, 2:] = 0.2
    everywhere = torch.ones(4, 5, dtype=torch.bool)
    assert separation(maps, everywhere, gamma=0.3, tau=None).item() == pytest.approx(4 / 20)
    assert separation(maps, ~everywhere, gamma=0.3, tau=None).item() == 0
    left = everywhere.clone()
    left[:, 3:] = False
    assert separation(maps, left, gamma=0.3, tau=None).item() == pytest.approx(4 / 12)
    assert separation(maps, ~left, gamma=0.3, tau=None).item() == 0


def test_separation_normalises_over_the_whole_map_and_not_over_the_object():
    maps = torch.ones(2, 4, 5, dtype=torch.float64)
    maps[:, 0, :] = 0  # outside
    maps[0, 1, 0] = 0.9  # the lowest inside, yet high; the other map is flat inside, yet active
    inside = torch.ones(4, 5, dtype=torch.bool)
    inside[:1] = False
    assert separation(maps, inside, gamma=0.3, tau=None).item() == pytest.approx(1)


def test_separation_normalises_before_it_smooths():
    """Of a lone point smoothing leaves 0.33; were the map normalised afterwards, the point would be 1 again."""
    maps = torch.zeros(2, 4, 5, dtype=torch.float64)
    maps[:, 2, 2] = 3
    everywhere = torch.ones(4, 5, dtype=torch.bool)
    peak = 1 / (1 + 2 * math.exp(-1)) ** 2
    assert separation(maps, everywhere, gamma=peak + 0.01, tau=None).item() == 0
    assert separation(maps, everywhere, gamma=peak - 0.01, tau=None).item() == pytest.approx(1)


def test_separation_counts_pixels_above_the_threshold_and_not_at_it():
    """The paper's Eq. 7 writes >=; at gamma 0 the flat half is then active in both maps."""
    maps = torch.zeros(2, 4, 6, dtype=torch.float64)
    maps[:, :, 0] = 1
    inside = torch.ones(4, 6, dtype=torch.bool)
    maps[1, :, :2] = 1
    # Smoothed, map 0 is positive in columns 0-1 and map 1 in columns 0-2.
    assert separation(maps, inside, gamma=0.0, tau=None).item() == pytest.approx(2 / 3)


def test_separation_ignores_what_is_active_outside_the_object():
    maps, moved = draw(3, 4, 5), draw(3, 4, 5, seed=9)
    inside = torch.zeros(4, 5, dtype=torch.bool)
    inside[:, :2] = True
    for m in range(3):  # the extremes stay where they are, so that both normalise alike
        maps[m, 0, :2] = moved[m, 0, :2] = torch.tensor([-1.0, 2.0])
    moved[:, :, :3] = maps[:, :, :3]  # smoothing reaches one token beyond the object
    assert not torch.equal(maps, moved)
    for tau in (None, TAU):
        value = separation(maps, inside, gamma=GAMMA, tau=tau).item()
        assert separation(moved, inside, gamma=GAMMA, tau=tau).item() == pytest.approx(value)


@pytest.mark.parametrize("tau", [None, TAU])
def test_separation_does_not_care_about_the_order_or_the_scale_of_maps(tau: float | None):
    maps = draw(3, 4, 5)
    scale = torch.tensor([3.0, 50.0, 0.5], dtype=torch.float64).view(3, 1, 1)
    value = separation(maps, INSIDE, gamma=GAMMA, tau=tau).item()
    assert separation((maps * scale + 4)[[2, 0, 1]], INSIDE, gamma=GAMMA, tau=tau).item() == pytest.approx(value)


@pytest.mark.parametrize("tau", [None, TAU])
def test_one_part_alone_is_separate(tau: float | None):
    assert separation(draw(1, 4, 5), INSIDE, gamma=GAMMA, tau=tau).item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("tau", [None, TAU])
def test_separation_of_an_object_that_vanishes_at_grid_size_is_0(tau: float | None):
    value = separation(draw(3, 4, 5), torch.zeros(4, 5, dtype=torch.bool), gamma=GAMMA, tau=tau)
    assert value.item() == 0


@pytest.mark.parametrize("level", [0.0, 0.9])
def test_flat_maps_are_not_active_and_give_no_nan(level: float):
    maps = torch.full((2, 4, 5), level, dtype=torch.float64).requires_grad_()
    assert separation(maps, INSIDE, gamma=GAMMA, tau=None).item() == 0
    soft = separation(maps, INSIDE, gamma=GAMMA, tau=TAU)
    active = sigmoid(-GAMMA / TAU)
    assert soft.item() == pytest.approx(active**2 / (1 - (1 - active) ** 2))
    (gradient,) = torch.autograd.grad(soft, maps)
    assert torch.isfinite(gradient).all()


def test_soft_separation_becomes_the_hard_one_as_tau_goes_to_0():
    maps = draw(3, 4, 5, seed=4)
    smoothed = torch.tensor([loop_smooth(loop_normalise(values)) for values in maps.tolist()])
    assert (smoothed - GAMMA).abs().min() > 1e-3  # no pixel stands at the threshold
    hard = separation(maps, INSIDE, gamma=GAMMA, tau=None).item()
    assert 0 < hard < 1
    gaps = [abs(separation(maps, INSIDE, gamma=GAMMA, tau=tau).item() - hard) for tau in (0.3, 0.03, 0.003, 1e-5)]
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[0] > 0.01
    assert gaps[-1] < 1e-6


def test_soft_separation_has_a_gradient_in_every_map_and_the_hard_one_has_none():
    maps = draw(3, 4, 5).requires_grad_()
    (gradient,) = torch.autograd.grad(separation(maps, INSIDE, gamma=GAMMA, tau=TAU), maps)
    assert torch.isfinite(gradient).all()
    assert gradient.abs().amax(dim=(1, 2)).min() > 1e-6
    assert not separation(maps, INSIDE, gamma=GAMMA, tau=None).requires_grad


def test_a_step_down_the_soft_gradient_separates_the_parts():
    maps = draw(3, 4, 5).requires_grad_()
    before = separation(maps, INSIDE, gamma=GAMMA, tau=TAU)
    (gradient,) = torch.autograd.grad(before, maps)
    after = separation(maps.detach() - 0.01 * gradient, INSIDE, gamma=GAMMA, tau=TAU)
    assert after.item() < before.item()


def test_soft_separation_gradient_agrees_with_finite_differences():
    assert torch.autograd.gradcheck(
        lambda maps: separation(maps, INSIDE, gamma=GAMMA, tau=TAU), (draw(3, 4, 5).requires_grad_(),)
    )


# ---- enhancement of one object


def test_enhancement_agrees_with_loops_over_pixels():
    maps = draw(3, 4, 5)
    assert enhancement(maps).item() == pytest.approx(loop_weakest_part(maps.tolist()))


def test_enhancement_of_a_case_worked_out_by_hand():
    maps = torch.zeros(3, 4, 5, dtype=torch.float64)
    maps[0] = 0.6
    maps[1, 1, 2] = 0.9  # a point: smoothing leaves 0.9 times the middle of the kernel
    maps[2] = 0.4
    middle = 1 / (1 + 2 * math.exp(-1)) ** 2
    assert enhancement(maps).item() == pytest.approx(1 - 0.9 * middle)
    assert enhancement(maps[[0, 2]]).item() == pytest.approx(1 - 0.4)
    assert enhancement(maps[[0]]).item() == pytest.approx(1 - 0.6)


def test_enhancement_does_not_care_about_the_order_of_parts():
    maps = draw(3, 4, 5)
    assert enhancement(maps[[2, 0, 1]]).item() == pytest.approx(enhancement(maps).item())


def test_a_part_that_vanishes_at_grid_size_makes_enhancement_1():
    maps = draw(3, 4, 5)
    maps[1] = 0
    assert enhancement(maps).item() == 1


def test_enhancement_has_a_gradient_in_the_weakest_part_alone():
    maps = draw(3, 4, 5)
    maps[2] *= 0.1
    (gradient,) = torch.autograd.grad(enhancement(maps.requires_grad_()), maps)
    assert gradient[2].min() < 0
    assert gradient[:2].abs().max() == 0


def test_enhancement_gradient_agrees_with_finite_differences():
    assert torch.autograd.gradcheck(enhancement, (draw(3, 4, 5).requires_grad_(),))


# ---- queries and keys of several heads

HEADS, WIDTH = 3, 7


def draw_heads(images: int = 2, grid: tuple[int, int] = GRID, seed: int = 0) -> Attention:
    """Queries and keys of several heads, far from symmetric."""
    size = (images, PROMPTS, HEADS, 1 + grid[0] * grid[1], WIDTH)
    return Attention(*(6 * draw(*size, seed=2 * seed + offset) - 3 for offset in (0, 1)))


def all_maps(attention: Attention) -> Tensor:
    """Softmax over all tokens, mean over heads, then without row and column of CLS: [B, T, n, n]."""
    scores = torch.einsum("...gid,...gjd->...gij", *attention) / math.sqrt(WIDTH)
    return (scores.exp() / scores.exp().sum(dim=-1, keepdim=True)).mean(dim=-3)[..., 1:, 1:]


def plain_losses(
    attention: Attention, pairs: Tensor, objects: Tensor, mask_mean: str, parts_per_object: str
) -> tuple[Tensor, Tensor]:
    """Soft separation and enhancement from all maps of all prompts, with their graph."""
    maps, sums, counted = all_maps(attention), [0, 0], 0
    for b in range(len(maps)):
        pair_grid, object_grid = (torch.tensor(at_grid(labels[b], GRID)) for labels in (pairs, objects))
        for o, present in {"own": own_groups, "image": published_groups}[parts_per_object](pairs[b], objects[b]):
            masks = torch.stack([pair_grid == k for k in present]).flatten(1).to(maps.dtype)
            both = torch.stack([maps[b, PART_OF[k]] + maps[b, PARTS + OBJECT_OF[k]] for k in present]) / 2
            divisor = masks.sum(dim=1).clamp(min=1) if mask_mean == "paper" else masks.new_full((1,), masks.shape[1])
            rows = (torch.einsum("mt,mtu->mu", masks, both) / divisor[:, None]).unflatten(1, GRID)
            sums[0] = sums[0] + separation(rows, object_grid == o, gamma=GAMMA, tau=TAU)
            sums[1] = sums[1] + enhancement(rows)
            counted += 1
    divisor = counted * (len(maps) if parts_per_object == "image" else 1)
    return sums[0] / divisor, sums[1] / divisor


def test_crafted_queries_and_keys_give_the_maps_that_were_asked_for():
    """Guards every case on crafted maps: the helper is right."""
    maps = draw_attention(images=1)[0] * torch.tensor([1.0, 0.3] * 10)
    queries, keys = to_attention(maps)
    found = torch.stack([attend(queries[t], keys[t]) for t in range(PROMPTS)])
    assert torch.allclose(found[:, 1:, 1:], maps, rtol=0, atol=1e-12)
    assert torch.allclose(found.sum(dim=-1), torch.ones(PROMPTS, 21, dtype=torch.float64))


def test_attention_of_several_heads_is_their_mean_over_all_tokens_without_cls():
    attention = draw_heads(images=1).of_image(0)
    maps = all_maps(attention)
    for t in (0, 4, 8):
        found = attend(attention.queries[t], attention.keys[t])
        assert torch.allclose(found[1:, 1:], maps[t], rtol=0, atol=1e-12)
        assert found[1:, 0].mean() > 0.01  # CLS takes its share
        some = attend(attention.queries[t][:, [5, 2]], attention.keys[t])
        assert torch.allclose(some[:, 1:], maps[t][[4, 1]], rtol=0, atol=1e-12)


@pytest.mark.parametrize("mask_mean", ["paper", "published"])
def test_part_attention_of_several_heads_agrees_with_loops_over_all_maps(mask_mean: str):
    attention = draw_heads(images=1).of_image(0)
    found = part_attention(attention, MASKS, PART_ROWS, OBJECT_ROWS, mask_mean=mask_mean)
    for m, mask in enumerate(MASKS):
        tokens = mask.nonzero()[:, 0].tolist()
        row = loop_part_attention(all_maps(attention), tokens, int(PART_ROWS[m]), int(OBJECT_ROWS[m]), mask_mean)
        assert found[m].tolist() == pytest.approx(row)


@pytest.mark.parametrize("parts_per_object", ["own", "image"])
@pytest.mark.parametrize("mask_mean", ["paper", "published"])
def test_batch_of_several_heads_agrees_with_loops_over_all_maps(mask_mean: str, parts_per_object: str):
    attention, switches = draw_heads(), {"mask_mean": mask_mean, "parts_per_object": parts_per_object}
    expected = loop_losses(all_maps(attention), **switches)
    assert all(value > 1e-3 for value in expected.values())
    assert values(losses(attention, **switches)) == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("parts_per_object", ["own", "image"])
@pytest.mark.parametrize("mask_mean", ["paper", "published"])
def test_queries_and_keys_get_the_gradients_that_all_maps_would_give_them(mask_mean: str, parts_per_object: str):
    attention = Attention(*(value.requires_grad_() for value in draw_heads(seed=4)))
    terms = losses(attention, mask_mean=mask_mean, parts_per_object=parts_per_object)
    plain = plain_losses(attention, PAIR_LABELS, OBJECT_LABELS, mask_mean, parts_per_object)
    for ours, theirs in zip((terms.separation_soft, terms.enhancement), plain, strict=True):
        assert ours.item() == pytest.approx(theirs.item())
        found, expected = (torch.autograd.grad(term, attention, retain_graph=True) for term in (ours, theirs))
        for one, other in zip(found, expected, strict=True):
            assert other.abs().max() > 1e-6
            assert torch.allclose(one, other, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("term", ["separation_soft", "enhancement"])
def test_gradients_in_queries_and_keys_agree_with_finite_differences(term: str):
    grid = (2, 3)
    attention = [value.requires_grad_() for value in draw_heads(grid=grid, seed=2)]
    pairs = torch.tensor([[[0, 1, -1], [2, 3, 3]], [[-1, 4, 4], [-1, 2, -1]]])
    objects = torch.tensor([[[0, 0, -1], [1, 1, 1]], [[-1, 1, 1], [1, 1, -1]]])
    assert torch.autograd.gradcheck(
        lambda *attention: getattr(losses(Attention(*attention), pairs, objects, grid=grid), term),
        attention,
        fast_mode=True,
    )


def test_only_queries_inside_the_masks_of_present_parts_get_a_gradient():
    attention = Attention(*(value.requires_grad_() for value in draw_heads(images=1)))
    pairs, objects = torch.full((1, *IMAGE_SIZE), NONE), torch.full((1, *IMAGE_SIZE), NONE)
    objects[:, :4] = 0
    pairs[:, :2, :6] = 1  # tokens 0 and 1; part 0, object 0
    queries, keys = torch.autograd.grad(losses(attention, pairs, objects).enhancement, attention)
    prompts, heads, rows = queries[0].abs().sum(dim=-1).nonzero(as_tuple=True)
    places = set(zip(prompts.tolist(), heads.tolist(), rows.tolist(), strict=True))
    assert places == set(itertools.product((0, PARTS), range(HEADS), (1, 2)))  # CLS is row 0
    assert set(keys[0].abs().sum(dim=-1).nonzero()[:, 0].tolist()) == {0, PARTS}


# ---- a batch


@pytest.mark.parametrize("parts_per_object", ["own", "image"])
@pytest.mark.parametrize("mask_mean", ["paper", "published"])
@pytest.mark.parametrize("gamma", [0.3, 0.5])
def test_batch_agrees_with_loops_over_images_objects_and_parts(gamma: float, mask_mean: str, parts_per_object: str):
    attention = draw_attention()
    switches = {"gamma": gamma, "mask_mean": mask_mean, "parts_per_object": parts_per_object}
    assert values(losses(attention, **switches)) == pytest.approx(loop_losses(attention, **switches), abs=1e-6)


@pytest.mark.parametrize(
    ("given", "expected"),
    [(torch.float64, torch.float64), (torch.float32, torch.float32), (torch.bfloat16, torch.float32)],
)
def test_terms_are_single_numbers_in_float32_at_least(given: torch.dtype, expected: torch.dtype):
    terms = losses(Attention(*(value.to(given) for value in draw_heads())))
    assert all(getattr(terms, name).shape == () for name in TERMS)
    assert all(getattr(terms, name).dtype == expected for name in TERMS)


def test_switches_make_a_difference_in_the_case_at_hand():
    """Guards the comparisons above: a switch that changes nothing is not tested by them."""
    attention = draw_attention()
    own, image = values(losses(attention)), values(losses(attention, parts_per_object="image"))
    assert all(abs(own[name] - image[name]) > 1e-3 for name in TERMS)
    paper, published = values(losses(attention)), values(losses(attention, mask_mean="published"))
    assert abs(paper["enhancement"] - published["enhancement"]) > 1e-3


def test_published_mask_mean_scales_the_maps_and_leaves_separation_as_it_is():
    """Min-max normalising takes a common factor out again."""
    attention = draw_attention()
    paper, published = values(losses(attention)), values(losses(attention, mask_mean="published"))
    assert published["separation_soft"] == pytest.approx(paper["separation_soft"], abs=1e-6)
    assert published["separation_hard"] == pytest.approx(paper["separation_hard"], abs=1e-6)
    pairs, objects = torch.full((1, *IMAGE_SIZE), NONE), torch.full((1, *IMAGE_SIZE), NONE)
    pairs[:, :4, :6], objects[:, :4, :6] = 0, 0  # 2 x 2 tokens
    paper = losses(attention[:1], pairs, objects).enhancement.item()
    published = losses(attention[:1], pairs, objects, mask_mean="published").enhancement.item()
    assert 1 - published == pytest.approx((1 - paper) * 4 / 20)


def test_object_rows_follow_all_parts_also_those_that_no_pair_has():
    attention = draw_attention()
    before = values(losses(attention))
    moved = attention.clone()
    moved[:, [4, PARTS + 2, PROMPTS - 1]] = moved[:, [4, PARTS + 2, PROMPTS - 1]].flip(-1)  # rows of nobody here
    assert values(losses(moved)) == pytest.approx(before, abs=1e-12)
    moved[:, PARTS] = moved[:, PARTS].flip(-1)
    assert values(losses(moved)) != pytest.approx(before, abs=1e-4)


def test_own_parts_of_an_object_do_not_feel_the_other_object():
    attention, alone = draw_attention(), []
    for o in range(2):
        is_object = OBJECT_LABELS[:1] == o
        pairs, objects = torch.where(is_object, PAIR_LABELS[:1], NONE), torch.where(is_object, o, NONE)
        alone.append(values(losses(attention[:1], pairs, objects)))
    together = values(losses(attention[:1], PAIR_LABELS[:1], OBJECT_LABELS[:1]))
    for name in TERMS:
        assert together[name] == pytest.approx((alone[0][name] + alone[1][name]) / 2)


def test_own_mean_is_over_image_and_object_and_not_over_images():
    attention = draw_attention()
    first = values(losses(attention[:1], PAIR_LABELS[:1], OBJECT_LABELS[:1]))
    second = values(losses(attention[1:], PAIR_LABELS[1:], OBJECT_LABELS[1:]))
    together = values(losses(attention))
    for name in TERMS:  # two objects in the first image, one in the second
        assert together[name] == pytest.approx((2 * first[name] + second[name]) / 3)


def test_an_image_without_parts_changes_nothing_in_own_and_divides_once_more_in_image():
    attention = draw_attention(images=3)
    pairs = torch.cat([PAIR_LABELS, torch.full((1, *IMAGE_SIZE), NONE)])
    objects = torch.cat([OBJECT_LABELS, OBJECT_LABELS[:1]])  # objects, but no part of them
    for parts_per_object, factor in (("own", 1), ("image", 2 / 3)):
        two = values(losses(attention[:2], parts_per_object=parts_per_object))
        three = values(losses(attention, pairs, objects, parts_per_object=parts_per_object))
        assert three == pytest.approx({name: factor * value for name, value in two.items()})


def test_an_object_without_a_labelled_part_counts_in_image_and_not_in_own():
    attention, objects = draw_attention(), OBJECT_LABELS.clone()
    objects[1, 6:, :] = 2
    assert values(losses(attention, objects=objects)) == pytest.approx(values(losses(attention)))
    image = values(losses(attention, objects=objects, parts_per_object="image"))
    assert image == pytest.approx(loop_losses(attention, objects=objects, parts_per_object="image"), abs=1e-6)
    assert image != pytest.approx(values(losses(attention, parts_per_object="image")), abs=1e-4)


def test_published_bookkeeping_drops_the_highest_object_where_no_pixel_is_none():
    attention, objects = draw_attention(images=1), OBJECT_LABELS[:1].clone()
    objects[objects == NONE] = 1
    terms = values(losses(attention, PAIR_LABELS[:1], objects, parts_per_object="image"))
    expected = loop_losses(attention, PAIR_LABELS[:1], objects, parts_per_object="image")
    assert terms == pytest.approx(expected, abs=1e-6)
    # Object 0 alone is left: the same as if object 1 had been none all along.
    without = torch.where(objects == 1, NONE, objects)
    assert terms == pytest.approx(values(losses(attention, PAIR_LABELS[:1], without, parts_per_object="image")))


def test_published_bookkeeping_keeps_the_highest_object_where_a_single_pixel_is_none():
    attention, objects = draw_attention(images=1), OBJECT_LABELS[:1].clone()
    objects[objects == NONE] = 1
    objects[0, 7, 14] = NONE  # a pixel that no token reads
    terms = values(losses(attention, PAIR_LABELS[:1], objects, parts_per_object="image"))
    expected = loop_losses(attention, PAIR_LABELS[:1], objects, parts_per_object="image")
    assert terms == pytest.approx(expected, abs=1e-6)
    full = torch.where(objects == NONE, 1, objects)
    assert terms != pytest.approx(values(losses(attention, PAIR_LABELS[:1], full, parts_per_object="image")), abs=1e-4)


def test_published_bookkeeping_gives_0_for_one_object_that_fills_the_image():
    objects = torch.zeros(1, *IMAGE_SIZE, dtype=torch.int64)
    terms = losses(draw_attention(images=1), PAIR_LABELS[:1] * 0, objects, parts_per_object="image")
    assert values(terms) == dict.fromkeys(TERMS, 0.0)


def test_own_parts_count_also_where_no_pixel_is_none():
    attention, objects = draw_attention(images=1), OBJECT_LABELS[:1].clone()
    objects[objects == NONE] = 1
    terms = values(losses(attention, PAIR_LABELS[:1], objects))
    assert terms == pytest.approx(loop_losses(attention, PAIR_LABELS[:1], objects), abs=1e-6)


@pytest.mark.parametrize("parts_per_object", ["own", "image"])
def test_a_part_that_no_token_reads_makes_enhancement_1_without_a_gradient(parts_per_object: str):
    """Presence is judged on the full-size labels: pixel (1, 1) belongs to token (0, 0), which reads pixel (0, 0)."""
    attention = draw_attention(images=1).requires_grad_()
    pairs, objects = torch.full((1, *IMAGE_SIZE), NONE), torch.full((1, *IMAGE_SIZE), NONE)
    objects[:, :6, :9] = 0
    pairs[:, 2:6, :9] = 1
    pairs[:, 1, 1] = 0
    terms = losses(attention, pairs, objects, parts_per_object=parts_per_object)
    assert terms.enhancement.item() == 1
    (gradient,) = torch.autograd.grad(terms.enhancement + 0 * attention.sum(), attention)
    assert gradient.abs().max() == 0
    expected = loop_losses(attention.detach(), pairs, objects, parts_per_object=parts_per_object)
    assert values(terms) == pytest.approx(expected, abs=1e-6)


def test_masks_are_taken_at_grid_size_by_the_floor_rule():
    """7 x 11 pixels on 2 x 3 tokens: they read rows 0 and 3, columns 0, 3 and 7; every other pixel says otherwise."""
    grid, rows, columns = (2, 3), [0, 3], [0, 3, 7]
    attention = draw_attention(images=1, grid=grid)
    pairs, objects = torch.full((1, 7, 11), 1), torch.full((1, 7, 11), NONE)
    for y, x in itertools.product(rows, columns):
        pairs[0, y, x], objects[0, y, x] = int(x == 3), 0
    terms = losses(attention, pairs, objects, grid=grid)
    assert values(terms) == pytest.approx(loop_losses(attention, pairs, objects, grid=grid), abs=1e-6)
    small = losses(
        attention, torch.tensor([[[0, 1, 0], [0, 1, 0]]]), torch.zeros(1, 2, 3, dtype=torch.int64), grid=grid
    )
    assert values(terms) == pytest.approx(values(small))


def test_permuting_pairs_changes_nothing():
    attention = draw_attention()
    order = torch.tensor([4, 0, 5, 2, 1, 3])
    labels = torch.where(PAIR_LABELS >= 0, order.argsort()[PAIR_LABELS.clamp(min=0)], NONE)
    for parts_per_object in ("own", "image"):
        before = values(losses(attention, parts_per_object=parts_per_object))
        moved = losses(
            attention,
            labels,
            part_of=PART_OF[order],
            object_of=OBJECT_OF[order],
            parts_per_object=parts_per_object,
        )
        assert values(moved) == pytest.approx(before)


@pytest.mark.parametrize("parts_per_object", ["own", "image"])
@pytest.mark.parametrize("objects", [torch.full((2, *IMAGE_SIZE), NONE), OBJECT_LABELS], ids=["no_object", "objects"])
def test_a_batch_without_parts_costs_nothing_and_can_be_added_to_other_terms(objects: Tensor, parts_per_object: str):
    attention = draw_attention().requires_grad_()
    terms = losses(attention, torch.full((2, *IMAGE_SIZE), NONE), objects, parts_per_object=parts_per_object)
    assert values(terms) == dict.fromkeys(TERMS, 0.0)
    total = terms.separation_soft + terms.enhancement + 2 * attention.sum()
    (gradient,) = torch.autograd.grad(total, attention)
    assert torch.equal(gradient, torch.full_like(attention, 2))


@pytest.mark.parametrize("mask_mean", ["paper", "published"])
@pytest.mark.parametrize("parts_per_object", ["own", "image"])
def test_soft_separation_and_enhancement_train_and_the_hard_monitor_does_not(parts_per_object: str, mask_mean: str):
    attention = draw_attention().requires_grad_()
    terms = losses(attention, parts_per_object=parts_per_object, mask_mean=mask_mean)
    for term in (terms.separation_soft, terms.enhancement):
        (gradient,) = torch.autograd.grad(term, attention, retain_graph=True)
        assert torch.isfinite(gradient).all()
        assert gradient.abs().max() > 1e-6
    assert not terms.separation_hard.requires_grad


def test_gradients_reach_only_the_rows_of_part_and_object_at_tokens_inside_the_part():
    attention = draw_attention(images=1).requires_grad_()
    pairs, objects = torch.full((1, *IMAGE_SIZE), NONE), torch.full((1, *IMAGE_SIZE), NONE)
    objects[:, :4] = 0
    pairs[:, :2, :6] = 1  # tokens 0 and 1; part 0, object 0
    (gradient,) = torch.autograd.grad(losses(attention, pairs, objects).enhancement, attention)
    prompt, token = gradient[0].abs().sum(dim=2).nonzero(as_tuple=True)
    assert set(zip(prompt.tolist(), token.tolist(), strict=True)) == {(0, 0), (0, 1), (PARTS, 0), (PARTS, 1)}


@pytest.mark.parametrize("term", ["separation_soft", "enhancement"])
@pytest.mark.parametrize("parts_per_object", ["own", "image"])
def test_batch_gradient_agrees_with_finite_differences(parts_per_object: str, term: str):
    grid = (2, 3)
    attention = (0.9 * draw_attention(grid=grid, seed=3)).requires_grad_()
    pairs = torch.tensor([[[0, 1, -1], [2, 3, 3]], [[-1, 4, 4], [-1, 2, -1]]])
    objects = torch.tensor([[[0, 0, -1], [1, 1, 1]], [[-1, 1, 1], [1, 1, -1]]])
    assert torch.autograd.gradcheck(
        lambda attention: getattr(
            losses(attention, pairs, objects, grid=grid, parts_per_object=parts_per_object), term
        ),
        (attention,),
        fast_mode=True,
    )
