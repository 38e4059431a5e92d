"""Commands and training in processes of their own that start in no time: forked from the server of the package."""

import os
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NamedTuple

from partseg_cli.config.recipe import load_recipe
from partseg_cli.pipeline.train import TrainOptions
from partseg_cli.runtime.pool import process_context


class Started(NamedTuple):
    """A command that runs, and the files that take its output."""

    process: BaseProcess
    out: Path
    err: Path

    def end(self) -> tuple[int, str, str]:
        """Wait for its end; give the exit code and what it printed."""
        self.process.join()
        return self.process.exitcode, self.out.read_text(), self.err.read_text()


def start_command(
    words: Sequence[object],
    folder: Path,
    *,
    environment: Mapping[str, str] | None = None,
    change: Callable[[], None] | None = None,
) -> Started:
    """Run the command line; `change`, a function of a module, alters the package first."""
    number = len(list(folder.glob("out-*")))
    out, err = (folder / f"{name}-{number}" for name in ("out", "err"))
    out.touch()
    arguments = ([*map(str, words)], out, err, {**os.environ, **(environment or {})}, change)
    process = process_context().Process(target=_command, args=arguments)
    process.start()
    return Started(process, out, err)


def _command(
    words: list[str], out: Path, err: Path, environment: dict[str, str], change: Callable[[], None] | None
) -> None:
    from partseg_cli.cli import app

    os.environ |= environment
    for path, number in ((out, 1), (err, 2)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    if change:
        change()
    sys.argv = ["partseg", *words]
    app.main()


def start(overrides: list[str], out: Path, *, rank: int = 0, processes: int = 1, port: int = 0) -> BaseProcess:
    """Begin, or go on with, a run of the recipe `tiny`, in one process of several."""
    process = process_context().Process(target=_train, args=(overrides, out, rank, processes, port))
    process.start()
    return process


def start_team(overrides: list[str], out: Path, processes: int) -> list[BaseProcess]:
    """Begin a run in several processes, as torchrun would."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return [start(overrides, out, rank=rank, processes=processes, port=port) for rank in range(processes)]


def _train(overrides: list[str], out: Path, rank: int, processes: int, port: int) -> None:
    import torch

    from partseg_cli.pipeline import train as story

    torch.set_num_threads(1)
    if processes > 1:
        os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(processes), "LOCAL_RANK": str(rank)}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    story.write_training_page = lambda *args, **kwargs: None  # the page has tests of its own
    story.train(load_recipe("tiny", overrides), TrainOptions(out=out, resume="auto", device="cpu"))
