"""TensorBoard and W&B: logged values, and errors where a package is missing."""

import re
import sys
from importlib.machinery import ModuleSpec

import pytest

from partseg_cli.errors import UsageError
from partseg_cli.training import loggers
from partseg_cli.training.loggers import Loggers, Step, Validation, open_loggers

RECIPE = {"train": {"lr": 0.001}}


def step(number: int, total: float) -> Step:
    return Step(number, 0.001, {"total": total, "part": total / 2}, 1.5)


class Told:
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.lines: list[tuple[int, dict]] = []
        self.closed = 0

    def log(self, step, values):
        self.lines.append((step, dict(values)))

    def close(self):
        self.closed += 1


def test_all_are_told_the_same():
    both = Told(), Told()
    with Loggers(both) as told:
        told.log_step(step(3, 2.0))
        told.log_validation(Validation(3, "oracle-obj", {"seen": 40.0, "unseen": None}, "seen"))
    assert both[0].lines == both[1].lines
    assert both[0].lines == [
        (3, {"loss/total": 2.0, "loss/part": 1.0, "train/lr": 0.001, "train/grad_norm": 1.5}),
        (3, {"val/oracle-obj/mIoU_seen": 40.0}),
    ]
    told.close()
    assert [one.closed for one in both] == [1, 1]


def test_none_is_fine(tmp_path):
    with open_loggers([], tmp_path, RECIPE) as told:
        told.log_step(step(1, 2.0))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "advice"),
    [("tensorbord", "did you mean tensorboard?"), ("WandB", "did you mean wandb?"), ("x", "choose one of them")],
)
def test_an_unknown_name_is_refused(tmp_path, name, advice):
    with pytest.raises(UsageError, match=f"^loggers are tensorboard and wandb, got '{name}'; {re.escape(advice)}$"):
        open_loggers([name], tmp_path, RECIPE)


@pytest.mark.parametrize("spec", [None, ModuleSpec("wandb", None)])
@pytest.mark.parametrize("name", ["tensorboard", "wandb"])
def test_a_missing_package_is_told_with_its_extra(tmp_path, monkeypatch, name, spec):
    monkeypatch.setattr(loggers, "find_spec", lambda name: spec)
    told = re.escape(f'logger {name} needs its package, got none; pip install "partseg-cli[{name}]"')
    with pytest.raises(UsageError, match=f"^{told}$"):
        open_loggers([name], tmp_path, RECIPE)
    assert list(tmp_path.iterdir()) == []


def test_tensorboard_has_every_value_and_what_came_after_the_step_of_a_resume_is_void(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    with open_loggers(["tensorboard", "tensorboard"], tmp_path, RECIPE) as told:
        for number in range(1, 6):
            told.log_step(step(number, 10.0 - number))
            told.log_validation(Validation(number, "oracle-obj", {"seen": 1.0 * number, "unseen": None}, "seen"))
    with open_loggers(["tensorboard"], tmp_path, RECIPE, resumed_at=3) as told:
        for number in range(4, 6):
            told.log_step(step(number, 100.0 + number))
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    values = {name: [(e.step, e.value) for e in events.Scalars(name)] for name in events.Tags()["scalars"]}
    assert values["loss/total"] == [(1, 9), (2, 8), (3, 7), (4, 104), (5, 105)]
    assert values["loss/part"][0] == (1, 4.5)
    assert values["val/oracle-obj/mIoU_seen"] == [(1, 1), (2, 2), (3, 3)]
    assert values["train/lr"][-1] == (5, pytest.approx(0.001))
    assert values["train/grad_norm"][-1] == (5, 1.5)
    assert b"lr: 0.001" in events.Tensors("recipe/text_summary")[0].tensor_proto.string_val[0]


class FakeWandB:
    """Stands for the package: remembers how it is opened."""

    class Error(Exception):
        pass

    def __init__(self) -> None:
        self.opened: list[dict] = []
        self.lines: list[dict] = []

    def Settings(self, **values):  # noqa: N802 - the package's own name
        return values

    def init(self, **values):
        self.opened.append(values)
        return self

    def define_metric(self, name, step_metric):
        assert (name, step_metric) == ("*", "step")

    def log(self, values):
        self.lines.append(values)

    def finish(self):
        self.lines.append({})


@pytest.fixture
def fake(monkeypatch) -> FakeWandB:
    fake = FakeWandB()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    monkeypatch.setattr(loggers, "find_spec", lambda name: ModuleSpec(name, None, origin="here"))
    return fake


def test_wandb_goes_on_with_the_run_of_the_folder(tmp_path, fake):
    folder = tmp_path / "cartoon-1"
    for resumed_at in (0, 3):
        with open_loggers(["wandb"], folder, RECIPE, resumed_at=resumed_at) as told:
            told.log_step(step(resumed_at + 1, 2.0))
    first, second = fake.opened
    assert first == second
    assert (first["project"], first["name"], first["resume"]) == ("partseg", "cartoon-1", "allow")
    assert first["id"] == (folder / "wandb.id").read_text().strip()
    assert first["config"] == RECIPE
    assert [line.get("step") for line in fake.lines] == [1, None, 4, None]


def test_another_folder_is_another_run(tmp_path, fake):
    for name in ("a", "b"):
        open_loggers(["wandb"], tmp_path / name, RECIPE).close()
    assert fake.opened[0]["id"] != fake.opened[1]["id"]


def test_a_server_that_refuses_is_told_in_a_line(tmp_path, fake, monkeypatch):
    def refuse(**values):
        raise fake.Error("No API key\nconfigured.")

    monkeypatch.setattr(fake, "init", refuse)
    told = "logger wandb must reach its server, got 'No API key configured.'; wandb login, or set WANDB_MODE=offline"
    with pytest.raises(UsageError, match=f"^{re.escape(told)}$"):
        open_loggers(["wandb"], tmp_path, RECIPE)


def test_wandb_itself_writes_offline(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    with open_loggers(["wandb"], tmp_path, RECIPE) as told:
        told.log_step(step(1, 2.0))
        told.log_validation(Validation(1, "oracle-obj", {"seen": 40.0}, "seen"))
    (file,) = tmp_path.glob(f"wandb/offline-run-*/run-{(tmp_path / 'wandb.id').read_text().strip()}.wandb")
    assert b"loss/total" in file.read_bytes()
