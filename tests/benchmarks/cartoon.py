"""Speed of drawing scenes: alone, and as `partseg prepare` writes them with their masks, in one process and two.

python tests/benchmarks/cartoon.py [SIZE]
"""

import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from partseg_cli.data.cartoon.scene import draw_scene
from partseg_cli.data.converters.plan import CartoonOptions
from partseg_cli.pipeline.prepare import prepare

SCENES = 2000


def draw(numbers: Iterable[int], size: int) -> None:
    for number in numbers:
        draw_scene(0, number, size)


def draw_all(size: int, workers: int) -> None:
    with ProcessPoolExecutor(workers) as pool:
        list(pool.map(partial(draw, size=size), [range(start, SCENES, workers) for start in range(workers)]))


def write_all(size: int, workers: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        prepare("cartoon-part", out=Path(folder) / "set", drawing=CartoonOptions(SCENES, 0, size), workers=workers)


def rate(work: Callable[[int, int], None], size: int, workers: int) -> float:
    """Return scenes per second, including the start of processes."""
    started = time.perf_counter()
    work(size, workers)
    return SCENES / (time.perf_counter() - started)


def main() -> None:
    size = int(sys.argv[1]) if len(sys.argv) > 1 else 96
    alone = rate(draw_all, size, 1)
    print(f"drawing at {size} px, one process: {alone:.0f} scenes/s")
    print(f"drawing, two processes: {rate(draw_all, size, 2) / alone:.2f} times that")
    for workers in (1, 2):
        print(f"partseg prepare, {workers} process(es): {rate(write_all, size, workers) / alone:.2f} times that")


if __name__ == "__main__":
    main()
