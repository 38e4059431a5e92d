"""Shared parts of the benchmarks: fair timing, peak memory, and a full-size model with random weights."""

import multiprocessing
import resource
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory


def rounds(jobs: Mapping[str, Callable[[], object]], repeats: int = 5) -> dict[str, float]:
    """Return each job's best time in seconds after one warm-up round.

    Jobs take turns, so that a busy machine slows all of them alike.
    """
    best = dict.fromkeys(jobs, float("inf"))
    for turn in range(repeats + 1):
        for name, job in jobs.items():
            start = time.perf_counter()
            job()
            if turn:
                best[name] = min(best[name], time.perf_counter() - start)
    return best


def peak_memory() -> float:
    """Return the peak memory of this process in GB, including libraries."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


@contextmanager
def random_checkpoint(**model: object) -> Iterator[Path]:
    """Write a full-size checkpoint with random weights, in another process, so that its memory does not count."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "random.safetensors"
        process = multiprocessing.get_context("spawn").Process(target=_write, args=(path, model))
        process.start()
        process.join()
        yield path


def _write(path: Path, model: dict[str, object]) -> None:
    from partseg_cli.data.manifest import load_manifest
    from partseg_cli.models.builder import build_from_header
    from partseg_cli.models.checkpoints.checkpoint import CheckpointHeader, save_checkpoint

    section = {"backbone": "ViT-B-16-quickgelu", "init": "random", "image_size": 352, "trainable": "published", **model}
    words = load_manifest("pascal-part-116").vocabulary
    header = CheckpointHeader(section, words, "pascal-part-116", "benchmark", 0)
    save_checkpoint(path, build_from_header(section), header)
