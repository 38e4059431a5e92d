"""How fast scenes are drawn: alone, and as `partseg prepare` writes them with their masks, in one process and two.

python tests/benchmarks/cartoon.py [SIZE]
"""

import sys
import tempfile
import time
from pathlib import Path

from partseg_cli.data.cartoon import draw_scene
from partseg_cli.pipeline.prepare import prepare
from partseg_cli.pipeline.sources import Drawing

DRAWN, PREPARED = 300, 2000


def main() -> None:
    size = int(sys.argv[1]) if len(sys.argv) > 1 else 96
    draw_scene(0, 0, size)
    started = time.perf_counter()
    for index in range(DRAWN):
        draw_scene(0, index, size)
    alone = DRAWN / (time.perf_counter() - started)
    print(f"drawing alone at {size} px, one process: {alone:.0f} scenes/s")
    for workers in (1, 2):
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            prepare("cartoon-part", out=Path(folder) / "set", drawing=Drawing(PREPARED, 0, size), workers=workers)
            rate = PREPARED / (time.perf_counter() - started)
        print(f"partseg prepare, {workers} process(es): {rate:.0f} scenes/s, {rate / alone:.2f} times drawing alone")


if __name__ == "__main__":
    main()
