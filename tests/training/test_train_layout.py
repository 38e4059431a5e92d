"""The same run, whatever the number of processes and the size of their forward passes."""

import json
from pathlib import Path

import pytest
import torch
from command_line import tiny
from forked import start_team
from safetensors.torch import load_file

pytestmark = [pytest.mark.process, pytest.mark.training]

STEPS, BATCH = 20, 4


def settings(data: Path, micro: int) -> list[str]:
    steps = (f"train.iterations={STEPS}", f"train.batch_size={BATCH}", f"train.micro_batch_size={micro}")
    return [*tiny(data), *steps, "model.image_size=32", "train.lr=1e-4"]


@pytest.fixture(scope="module")
def runs(trained, tmp_path_factory) -> dict[tuple[int, int], Path]:
    """Train alike in several layouts: (processes, images of a forward pass) -> folder."""
    home, done = tmp_path_factory.mktemp("layouts"), {}
    for processes, micro in ((1, 4), (1, 1), (2, 1)):
        done[processes, micro] = run_of(trained.data, home, processes, micro)
    return done


def run_of(data: Path, home: Path, processes: int, micro: int) -> Path:
    """Train in so many processes, and give the folder."""
    out = home / f"{processes}x{micro}"
    team = start_team(settings(data, micro), out, processes)
    for process in team:
        process.join()
    assert [process.exitcode for process in team] == [0] * processes
    return out


def losses(run: Path) -> torch.Tensor:
    """Give every loss term of every step."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return torch.tensor([[line[name] for name in line if name not in {"seconds"}] for line in lines]).double()


def is_same(one: Path, other: Path) -> bool:
    """Tell whether two runs agree in every loss and every weight."""
    weights, others = (load_file(run / "checkpoints/last.safetensors") for run in (one, other))
    assert weights.keys() == others.keys()
    return losses(one).equal(losses(other)) and all(value.equal(others[name]) for name, value in weights.items())


def test_two_processes_train_the_same_bits_as_one(runs):
    assert is_same(runs[2, 1], runs[1, 1])


@pytest.mark.slow
def test_so_do_four_processes(runs, trained, tmp_path):
    assert is_same(run_of(trained.data, tmp_path, 4, 1), runs[1, 1])


def test_forward_passes_of_another_size_give_the_same_losses_up_to_rounding(runs):
    found, alone = losses(runs[2, 1]), losses(runs[1, 4])
    assert len(found) == STEPS
    assert float((found - alone)[:5, :-1].abs().max()) < 1e-6
    assert float((found - alone)[:, :-1].abs().max()) < 1e-4  # which AdamW lets grow from step to step
    torch.testing.assert_close(found[:, -1], alone[:, -1], rtol=1e-2, atol=1e-6)  # the gradient's norm


def test_one_process_of_a_team_writes_the_folder(runs):
    for run in runs.values():
        assert len((run / "metrics.jsonl").read_text().splitlines()) == STEPS
        assert (run / "checkpoints/selected.json").is_file()
