"""The command line in the test process, and a tiny trained model for it; conftest.py takes the fixtures over."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from partseg_cli.cli import app


class Ended(NamedTuple):
    """How a command ended: its exit code and what it printed."""

    code: object
    out: str
    err: str


class Trained(NamedTuple):
    """A tiny model after two steps, with what it was trained on."""

    data: Path
    run: Path
    photos: list[Path]


@pytest.fixture
def partseg(monkeypatch, capsys) -> Callable[..., Ended]:
    """Give `partseg(*words)`: the command line run in this process, on a terminal of 100 columns."""
    monkeypatch.setenv("COLUMNS", "100")

    def run(*words: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["partseg", *map(str, words)])
        capsys.readouterr()
        try:
            app.main()
        except SystemExit as end:
            return Ended(end.code or 0, *capsys.readouterr())
        return Ended(0, *capsys.readouterr())

    return run


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> Trained:
    """Draw 20 scenes of 64 pixels and train two steps on them."""
    from partseg_cli.config.recipe import load_recipe
    from partseg_cli.data.converters.plan import CartoonOptions
    from partseg_cli.pipeline import prepare, split, train
    from partseg_cli.pipeline.train import TrainOptions

    home = tmp_path_factory.mktemp("trained")
    data = home / "cartoon-part"
    prepare.prepare("cartoon-part", out=data, drawing=CartoonOptions(images=20, seed=0, size=64))
    split.split(data)
    train.train(load_recipe("tiny", tiny(data)), TrainOptions(out=home / "run", device="cpu"))
    return Trained(data, home / "run", sorted((data / "images").glob("*.png")))


def tiny(data: Path) -> list[str]:
    """Overrides that make the recipe `tiny` a matter of seconds."""
    return [
        "data.dataset=cartoon-part",
        f"data.root={data}",
        f"data.split={data / 'split.yaml'}",
        "model.image_size=48",
        "train.iterations=2",
        "train.batch_size=2",
        "train.micro_batch_size=2",
    ]
