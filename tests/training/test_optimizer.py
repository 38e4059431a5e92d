"""Which weights decay, and how the learning rate falls."""

from dataclasses import asdict, replace

import pytest
import torch
from torch import nn

from partseg_cli.config.recipe import load_recipe
from partseg_cli.models.builder import init_model
from partseg_cli.training.optimizer import build_optimizer, poly_schedule


class Block(nn.Module):
    """One of each kind of weight that the optimizer tells apart."""

    def __init__(self):
        super().__init__()
        self.token_embedding = nn.Embedding(7, 3)
        self.positional_embedding = nn.Parameter(torch.ones(5, 3))
        self.class_embedding = nn.Parameter(torch.ones(3))
        self.layer = nn.Linear(3, 4)
        self.norm = nn.LayerNorm(4)
        self.frozen = nn.Linear(2, 2).requires_grad_(False)


def decays(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, float]:
    """Give the weight decay of each parameter by name; a parameter stands in one group at most."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found = [(names[id(p)], group["weight_decay"]) for group in optimizer.param_groups for p in group["params"]]
    assert len(dict(found)) == len(found)
    return dict(found)


def test_norms_and_tables_are_not_decayed_and_frozen_weights_not_held():
    model = Block()
    assert decays(model, build_optimizer(model, lr=0.1, weight_decay=0.3)) == {
        "token_embedding.weight": 0,
        "positional_embedding": 0,
        "class_embedding": 0.3,
        "layer.weight": 0.3,
        "layer.bias": 0.3,
        "norm.weight": 0,
        "norm.bias": 0,
    }


def test_weights_of_the_model_are_decayed_as_published():
    section = load_recipe("tiny").model
    model = init_model(**asdict(replace(section, background_embedding="frozen", trainable="published")))
    held = decays(model, build_optimizer(model, lr=1e-4, weight_decay=1e-4))
    assert set(held) == {name for name, p in model.named_parameters() if p.requires_grad}
    tables = {"clip.clip.token_embedding.weight", "clip.clip.positional_embedding"}
    norms = {f"decoder.layers.{i}.norm{n}.{kind}" for i in range(3) for n in (1, 2) for kind in ("weight", "bias")}
    assert {name for name, decay in held.items() if decay == 0} == tables | norms
    assert {decay for name, decay in held.items() if name not in tables | norms} == {1e-4}
    assert {"visual_adapter.up.weight", "compose.bias", "pair_head.layers.0.weight"} <= set(held)
    assert "background" not in held


def test_a_step_without_a_gradient_shrinks_decayed_weights_alone():
    model = Block()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = build_optimizer(model, lr=0.1, weight_decay=0.5)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, parameter in model.named_parameters():
        factor = 1 - 0.1 * 0.5 if name in {"class_embedding", "layer.weight", "layer.bias"} else 1
        torch.testing.assert_close(parameter.detach(), before[name] * factor)


@pytest.mark.parametrize(("iterations", "power"), [(10, 0.9), (4, 1.0), (7, 2.0), (5, 0.0)])
def test_the_rate_falls_as_a_power_of_what_is_left(iterations, power):
    optimizer = build_optimizer(nn.Linear(2, 3), lr=0.3, weight_decay=0)
    schedule = poly_schedule(optimizer, iterations=iterations, power=power)
    for step in range(iterations):
        rates = [group["lr"] for group in optimizer.param_groups]
        assert rates == pytest.approx([0.3 * (1 - step / iterations) ** power] * 2)
        optimizer.step()
        schedule.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.3 if power == 0 else 0)


def test_beyond_the_last_step_the_rate_stays_0():
    optimizer = build_optimizer(nn.Linear(2, 3), lr=0.3, weight_decay=0)
    schedule = poly_schedule(optimizer, iterations=3, power=0.9)
    for _ in range(5):
        optimizer.step()
        schedule.step()
    assert schedule.get_last_lr() == [0, 0]


@pytest.mark.parametrize(("iterations", "power", "warmup"), [(10, 0.9, 4), (6, 1.0, 1), (5, 0.0, 3), (4, 1.0, 9)])
def test_the_rate_rises_in_equal_steps_while_it_falls_as_a_power(iterations, power, warmup):
    optimizer = build_optimizer(nn.Linear(2, 3), lr=0.3, weight_decay=0)
    schedule = poly_schedule(optimizer, iterations=iterations, power=power, warmup=warmup)
    rates = []
    for _ in range(iterations):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    rises = [(step + 1) / (warmup + 1) if step < warmup else 1 for step in range(iterations)]
    falls = [(1 - step / iterations) ** power for step in range(iterations)]
    assert rates == pytest.approx([0.3 * rise * fall for rise, fall in zip(rises, falls, strict=True)])
    assert rates[0] == pytest.approx(0.3 / (warmup + 1))  # the first step trains, a little


def test_without_warmup_the_first_step_has_the_whole_rate():
    optimizer = build_optimizer(nn.Linear(2, 3), lr=0.3, weight_decay=0)
    assert poly_schedule(optimizer, iterations=7, power=0.9, warmup=0).get_last_lr() == pytest.approx([0.3, 0.3])
