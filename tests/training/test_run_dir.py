"""Run directory: the best checkpoint by the monitored score, and compiled models that train alike."""

import json
from pathlib import Path

import pytest
import torch
from command_line import tiny

from partseg_cli.config.recipe import load_recipe
from partseg_cli.io.journal import read_log
from partseg_cli.pipeline.train import TrainOptions, train
from partseg_cli.runtime.process_group import SINGLE_PROCESS, Layout
from partseg_cli.training.loggers import Validation
from partseg_cli.training.resume import RunSignature
from partseg_cli.training.run_dir import RunDir, WeightsFormat

NOWHERE = {"seen": None, "unseen": None, "harmonic": None}


def best_steps(tmp_path: Path, group: str, scores: list[dict]) -> list[int]:
    """Return the steps after which the best weights were written."""
    written: list[int] = []
    weights_format = WeightsFormat(lambda path, model, step: written.append(step) or "", lambda path: ("", {}))
    signature = RunSignature("0", Layout(1, 1, SINGLE_PROCESS), "cpu")
    run = RunDir(tmp_path, "tiny", {}, signature, weights_format, keep_checkpoints=1)
    for step, score in enumerate(scores, start=1):
        run.update_best(torch.nn.Linear(1, 1), Validation(step, "pred-all", {**NOWHERE, **score}, group))
    assert [line["mIoU"] for line in read_log(tmp_path / "val.jsonl")] == [{**NOWHERE, **score} for score in scores]
    return written


SCORES = [
    {"seen": 10.0, "unseen": 9.0, "harmonic": 9.5},
    {"seen": 12.0, "unseen": 3.0, "harmonic": 4.8},
    {"seen": 11.0, "unseen": 9.5, "harmonic": 10.2},
    {"seen": 12.0, "unseen": 9.5, "harmonic": 10.2},
]


@pytest.mark.parametrize(("group", "best"), [("seen", [1, 2]), ("unseen", [1, 3]), ("harmonic", [1, 3])])
def test_the_best_is_by_the_group_that_the_recipe_names(tmp_path, group, best):
    assert best_steps(tmp_path, group, SCORES) == best


def test_where_no_pair_is_unseen_seen_ones_decide(tmp_path):
    scores = [{"seen": 3.0}, {"seen": 2.0}, {"seen": 4.0}]
    assert best_steps(tmp_path, "harmonic", scores) == [1, 3]


@pytest.mark.parametrize("rest", ["", '{"step": 3, "tot', "\x00\x00"])
def test_a_line_that_was_cut_off_ends_a_file(tmp_path, rest):
    (tmp_path / "a.jsonl").write_text('{"step": 1}\n{"step": 2}\n' + rest)
    assert [line["step"] for line in read_log(tmp_path / "a.jsonl")] == [1, 2]


@pytest.mark.slow
def test_a_compiled_model_trains_alike(trained, tmp_path):
    found = {}
    for name in ("false", "true"):
        recipe = load_recipe("tiny", [*tiny(trained.data), f"train.compile={name}", "train.lr=1e-4"])
        train(recipe, TrainOptions(out=tmp_path / name, device="cpu"))
        lines = (tmp_path / name / "metrics.jsonl").read_text().splitlines()
        found[name] = torch.tensor([json.loads(line)["total"] for line in lines])
    torch.testing.assert_close(found["true"], found["false"], rtol=1e-5, atol=1e-5)


@pytest.mark.training
def test_the_report_is_updated_once_after_each_validation(trained, tmp_path, monkeypatch):
    drawn: list[int] = []

    def count(folder: Path, **_: object) -> None:
        drawn.append(len((folder / "metrics.jsonl").read_text().splitlines()))

    monkeypatch.setattr("partseg_cli.pipeline.train.write_training_page", count)
    recipe = load_recipe("tiny", [*tiny(trained.data), "model.image_size=32", "train.eval_interval=1"])
    train(recipe, TrainOptions(out=tmp_path / "run", device="cpu"))
    assert drawn == [1, 2]
