"""The sum of gradients: one mean, whatever the order."""

import pytest
import torch
from torch import nn

from partseg_cli.training.gradients import GradientSum


def passes(order: list[int], values: list[torch.Tensor]) -> torch.Tensor:
    parameter, unused = nn.Parameter(torch.zeros(3, 5)), nn.Parameter(torch.zeros(2))
    gradients = GradientSum([parameter, unused], len(values))
    for turn, index in enumerate(order):
        parameter.grad = values[index].clone()
        if turn < len(order) - 1:
            gradients.take()
            assert parameter.grad is None
    gradients.finish()
    assert unused.grad is None
    return parameter.grad


def drawn(count: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [torch.randn(3, 5, generator=generator) * 10.0 ** (index - 3) for index in range(count)]


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_the_mean_is_that_of_exact_arithmetic(count):
    values = drawn(count)
    expected = (torch.stack(values).double().sum(0) / count).float()
    assert passes(list(range(count)), values).equal(expected)


def test_the_order_does_not_show_where_sums_in_float32_show_it():
    values, orders = drawn(8), [list(range(8)), list(range(7, -1, -1)), [3, 1, 4, 0, 5, 7, 2, 6]]
    means = [passes(order, values) for order in orders]
    assert all(mean.equal(means[0]) for mean in means)
    naive = [sum((values[index] for index in order[1:]), values[order[0]]) for order in orders]
    assert not naive[0].equal(naive[1])


def test_a_parameter_without_a_gradient_in_the_last_pass_keeps_the_others():
    parameter = nn.Parameter(torch.zeros(2))
    gradients = GradientSum([parameter], 2)
    parameter.grad = torch.tensor([2.0, 4.0])
    gradients.take()
    gradients.finish()
    assert parameter.grad.tolist() == [1.0, 2.0]


def test_a_step_leaves_nothing_for_the_next_one():
    parameter = nn.Parameter(torch.zeros(1))
    gradients = GradientSum([parameter], 2)
    for value in (1.0, 5.0):
        for turn in range(2):
            parameter.grad = torch.tensor([value])
            if not turn:
                gradients.take()
        gradients.finish()
        assert parameter.grad.tolist() == [value]
        parameter.grad = None
