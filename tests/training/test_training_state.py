"""Training states: what is written is read, what is broken is refused, and nothing in a file is run."""

import os
import pickle
import re
from pathlib import Path

import pytest
import torch
from torch import nn

from partseg_cli.errors import CheckpointError, PartsegError
from partseg_cli.training.resume import load_state, save_state


def trained_state() -> dict:
    model = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    model(torch.ones(4, 3)).sum().backward()
    optimizer.step()
    return {"step": 7, "optimizer": optimizer.state_dict(), "schedule": {"last_epoch": 7}}


def test_a_training_state_comes_back(tmp_path):
    state = trained_state()
    save_state(tmp_path / "last.state", state)
    loaded = load_state(tmp_path / "last.state")
    assert (loaded["step"], loaded["schedule"]) == (7, {"last_epoch": 7})
    model = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=9)
    optimizer.load_state_dict(loaded["optimizer"])
    assert optimizer.param_groups[0]["lr"] == 0.1
    for index, values in state["optimizer"]["state"].items():
        assert torch.equal(loaded["optimizer"]["state"][index]["exp_avg"], values["exp_avg"])


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


def plain_pickle(value: object, path: Path) -> None:
    path.write_bytes(pickle.dumps(value, protocol=2))


@pytest.mark.parametrize("write", [torch.save, plain_pickle])
def test_a_state_that_would_run_code_is_refused_and_runs_none(tmp_path, write):
    path = tmp_path / "last.state"
    write({"step": Trap(tmp_path / "sprung")}, path)
    with pytest.raises(
        CheckpointError, match=rf"^{re.escape(str(path))}: is no readable training state \([^\n]+\); train again$"
    ):
        load_state(path)
    assert not (tmp_path / "sprung").exists()


def test_the_trap_springs_where_pickle_is_trusted(tmp_path):
    torch.save({"step": Trap(tmp_path / "sprung")}, tmp_path / "last.state")
    torch.load(tmp_path / "last.state", weights_only=False)
    assert (tmp_path / "sprung").exists()


@pytest.mark.parametrize("kept", [0, 1, 60, -30])
def test_a_truncated_state_is_refused(tmp_path, kept):
    path = tmp_path / "last.state"
    save_state(path, trained_state())
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(
        CheckpointError, match=rf"^{re.escape(str(path))}: is no readable training state \([^\n]+\); train again$"
    ):
        load_state(path)


@pytest.mark.parametrize("content", [b"text\n", b"\x80\x02.", b"}q\x00.", bytes(range(256)), b"(lp0\n."])
def test_a_file_of_something_else_is_no_state(tmp_path, content):
    path = tmp_path / "last.state"
    path.write_bytes(content)
    with pytest.raises(
        CheckpointError, match=rf"^{re.escape(str(path))}: is no readable training state \([^\n]+\); train again$"
    ):
        load_state(path)


def test_a_missing_state_is_refused(tmp_path):
    with pytest.raises(
        CheckpointError, match=r"last\.state: is no readable training state \(.*No such file.*\); train again$"
    ):
        load_state(tmp_path / "last.state")


def test_a_disk_that_fills_keeps_the_old_state(tmp_path, file_size_limit):
    path = tmp_path / "last.state"
    save_state(path, {"step": 1})
    with pytest.raises(PartsegError, match=rf"^{re.escape(str(path))}: cannot be written \("), file_size_limit(500):
        save_state(path, trained_state())
    assert (load_state(path), list(tmp_path.iterdir())) == ({"step": 1}, [path])
