"""How the samples of a run are spread: whatever the layout, each step reads the same ones."""

import os

import pytest
import torch

from partseg_cli.runtime.process_group import SINGLE_PROCESS, Layout, ProcessGroup, limit_threads

BATCH = 12


def steps_of(layouts: list[Layout], first: int, last: int) -> list[list[int]]:
    """Put together, step by step, what the processes of a team read."""
    shares = [list(layout.sample_ids(first=first, last=last)) for layout in layouts]
    size = layouts[0].share
    return [
        [number for share in shares for number in share[step * size : (step + 1) * size]]
        for step in range(last - first + 1)
    ]


@pytest.mark.parametrize("processes", [1, 2, 3, 4, 6, 12])
def test_each_step_reads_the_same_samples_whatever_the_layout(processes):
    layouts = [Layout(BATCH, 1, ProcessGroup(index, processes)) for index in range(processes)]
    assert steps_of(layouts, 3, 5) == [list(range(step * BATCH, (step + 1) * BATCH)) for step in (2, 3, 4)]
    for layout in layouts:
        assert layout.micro * layout.accumulate * processes == BATCH


def test_a_team_of_one_needs_no_other():
    values, model = torch.tensor([1.0, 3.0]), torch.nn.Linear(2, 2)
    with SINGLE_PROCESS.connected(torch.device("cpu")):
        assert SINGLE_PROCESS.mean(values).equal(values)
        assert (SINGLE_PROCESS.broadcast("a"), SINGLE_PROCESS.gather("a")) == ("a", ["a"])
        assert SINGLE_PROCESS.wrap_ddp(model, torch.device("cpu"), is_all_used=True) is model
    assert not torch.distributed.is_initialized()


@pytest.mark.parametrize(
    ("local", "wish", "threads"), [(None, None, 2), ("4", None, 2), ("8", None, 1), (None, "5", 3)]
)
def test_processes_of_a_machine_share_its_cores_unless_told(monkeypatch, local, wish, threads):
    for name, value in (("LOCAL_WORLD_SIZE", local), ("OMP_NUM_THREADS", wish)):
        monkeypatch.delenv(name, raising=False)
        if value:
            monkeypatch.setenv(name, value)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        limit_threads(ProcessGroup(0, 4), 8)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert "LOCAL_WORLD_SIZE" in os.environ or local is None
