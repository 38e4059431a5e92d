"""`--device` and `--gpus`: which processes there are, and on which devices."""

import pytest
import torch
from command_line import tiny

from partseg_cli.errors import UsageError
from partseg_cli.runtime import devices
from partseg_cli.runtime.devices import choose_precision, plan_devices
from partseg_cli.runtime.process_group import ProcessGroup

CPU = torch.device("cpu")


@pytest.mark.parametrize(("gpus", "number"), [("1", 1), ("4", 4), ("all", 3)])
def test_gpus_on_a_cpu_is_a_number_of_processes(monkeypatch, gpus, number):
    monkeypatch.setattr(devices, "usable_cores", lambda: 3)
    assert plan_devices("cpu", gpus).devices == (CPU,) * number


@pytest.mark.parametrize(("gpus", "indices"), [("1", [0]), ("2", [0, 1]), ("all", [0, 1, 2]), ("0,2", [0, 2])])
def test_gpus_name_devices(monkeypatch, gpus, indices):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert plan_devices("auto", gpus).devices == tuple(torch.device("cuda", index) for index in indices)


PRESENT = "ask for what is there, or --device cpu"


@pytest.mark.parametrize(
    ("device", "gpus", "message"),
    [
        ("auto", "4", f"--gpus: this machine has 3 CUDA devices, got 4; {PRESENT}"),
        ("cuda", "0,3", f"--gpus: this machine has 3 CUDA devices, got 0,3; {PRESENT}"),
        ("cuda", "0", f"--gpus: this machine has 3 CUDA devices, got 0; {PRESENT}"),
        ("auto", "1,1", "--gpus must name each device once, got 1,1"),
        ("auto", "two", "--gpus must be a number, all, or a list such as 0,2, got 'two'"),
        ("auto", "-1", "--gpus must be a number, all, or a list such as 0,2, got '-1'"),
        ("cuda:1", "2", "--gpus goes with --device auto, cuda or cpu, got cuda:1; leave one of them out"),
        ("cpu", "0", "--gpus with --device cpu must be a number of processes from 1 to 64, or all, got 0"),
        ("cpu", "0,1", "--gpus with --device cpu must be a number of processes from 1 to 64, or all, got 0,1"),
        ("cpu", "400", "--gpus with --device cpu must be a number of processes from 1 to 64, or all, got 400"),
    ],
)
def test_gpus_that_are_not_there_are_refused(monkeypatch, device, gpus, message):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    with pytest.raises(UsageError) as caught:
        plan_devices(device, gpus)
    assert str(caught.value) == message


def test_no_gpu_at_all_is_told_with_exit_code_2(partseg, monkeypatch, trained):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    ended = partseg("evaluate", "tiny", *tiny(trained.data), "--checkpoint", trained.run, "--gpus", "all")
    assert ended == (2, "", f"error: --gpus: this machine has 0 CUDA devices, got all; {PRESENT}\n")


def test_a_team_that_nobody_has_connected_is_refused(monkeypatch):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    message = r"^RANK and WORLD_SIZE 2 need MASTER_ADDR and MASTER_PORT, got none; use torchrun$"
    with pytest.raises(UsageError, match=message):
        plan_devices("cpu")


def test_torchrun_says_which_process_this_is(monkeypatch):
    monkeypatch.setenv("RANK", "2")
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    plan = plan_devices("cpu")
    assert (plan.devices, plan.process_group, plan.is_main) == ((CPU,), ProcessGroup(2, 3), False)
    with pytest.raises(UsageError, match=r"^--gpus: torchrun has started the processes already, got 2; leave it out$"):
        plan_devices("cpu", "2")


@pytest.mark.parametrize("name", ["fp32", "bf16", "fp16"])
def test_a_precision_that_is_named_is_taken(name):
    assert choose_precision(name, CPU) == name


def test_auto_is_full_precision_on_a_cpu():
    assert choose_precision("auto", CPU) == "fp32"
