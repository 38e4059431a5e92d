"""Training in processes of its own that start in no time: forked from a server that has the libraries in memory."""

import multiprocessing
import os
import socket
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from partseg_cli.config.recipe import load_recipe
from partseg_cli.training.engine import TrainOptions

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["partseg_cli.pipeline.train"])


def start(overrides: list[str], out: Path, *, rank: int = 0, processes: int = 1, port: int = 0) -> ForkServerProcess:
    """Begin, or go on with, a run of the recipe `tiny`, in one process of several."""
    process = CONTEXT.Process(target=_train, args=(overrides, out, rank, processes, port))
    process.start()
    return process


def start_team(overrides: list[str], out: Path, processes: int) -> list[ForkServerProcess]:
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
