"""Cost of a sample of the store, and speed-up of `prepare` by workers, in one run.

    python tests/benchmarks/store.py

A sample is one line of JSON -> both flat label maps. Targets on two idle cores: at most 1.5 ms at 500x375 with 10 parts
(the plain way, pycocotools' full frames, takes several times as long) and 20 ms at 2048x1024 with 100 parts; a loader
worker grows by less than 5 MB of its own memory after touching 10,000 records.

The physical limit is writing both maps once and reading the text once: about 0.05 ms at 500x375.
"""

import json
import multiprocessing
import os
import shutil
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from pycocotools import mask as coco
from timing import rounds

from partseg_cli.data.record import Instance, Part, Record
from partseg_cli.data.rle import NONE, Mask
from partseg_cli.data.store import DatasetInfo, Store, StoreWriter
from partseg_cli.io.images import open_image
from partseg_cli.pipeline.prepare import prepare
from partseg_cli.vocabulary import Pair, Vocabulary

SAMPLES = Path(os.environ.get("PARTSEG_SAMPLES") or Path(__file__).parents[2] / "../shared/samples")
RECORDS = 10_000
LABELS = 100
COPIES = 40


def blob(rng: np.random.Generator, height: int, width: int, radius: float) -> Mask:
    """Draw an ellipse with a ragged edge, as annotators do."""
    y, x = np.ogrid[:height, :width]
    top, left = rng.uniform(0.2, 0.8) * height, rng.uniform(0.2, 0.8) * width
    flat = rng.uniform(0.5, 2)
    angle = np.arctan2(y - top, x - left)
    edge = radius * (1 + 0.1 * np.sin(9 * angle) + 0.05 * np.sin(23 * angle))
    return Mask.encode((y - top) ** 2 * flat + (x - left) ** 2 / flat <= edge**2)


def draw(height: int, width: int, objects: int, parts: int, number: int = 0) -> Record:
    """Draw a record with the given numbers of objects and parts."""
    rng = np.random.default_rng([height, number])
    size = min(height, width)
    things = [Instance(i, i % 20, blob(rng, height, width, 0.3 * size / objects**0.5)) for i in range(objects)]
    pieces = [
        Part(i % objects, i % LABELS, "part", 1, blob(rng, height, width, rng.uniform(0.05, 0.2) * size / objects**0.5))
        for i in range(parts)
    ]
    return Record(f"{number:08}", f"{number:08}.jpg", width, height, "drawn", tuple(things), tuple(pieces))


def load(line: str) -> None:
    """Load a sample as we do."""
    record = Record.from_json(line)
    record.pair_map()
    record.object_map()


def load_plain(line: str) -> None:
    """Load the same sample through full frames."""
    value = json.loads(line)
    size = [value["height"], value["width"]]
    for key, label in (("parts", "pair"), ("objects", "category")):
        flat = np.full(size, NONE, np.uint16)
        for item in sorted(value[key], key=lambda item: (item.get("level", 0), -item["area"])):
            flat[coco.decode({"size": size, "counts": item["rle"].encode()}).astype(bool)] = item[label]


def own_memory() -> float:
    """Return the memory of this process in MB: pages that it has written; those of a mapped file are the system's."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty")) / 1e3


def touch(folder: Path, result: "multiprocessing.Queue[tuple[float, float]]") -> None:
    """Read all records in a worker, and give the growth of its memory, and that of holding them in a list."""
    records = Store.open(folder).records("train")
    records[0].pair_map()
    before = own_memory()
    for index in range(len(records)):
        records[index].pair_map()
    grown = own_memory() - before
    before = own_memory()
    held = [json.loads(records[index].to_json()) for index in range(len(records))]
    result.put((grown, own_memory() - before + 0 * len(held)))


def growth() -> tuple[float, float]:
    """Write a store of many records and touch them in a worker, as a DataLoader starts it."""
    words = Vocabulary(tuple(Pair("object", f"part {i}") for i in range(LABELS)))
    info = DatasetInfo("benchmark", ".", tuple(f"object {i}" for i in range(20)), words)
    drawn = [draw(375, 500, 2, 10, number) for number in range(50)]
    with TemporaryDirectory() as folder:
        with StoreWriter(Path(folder), info, ["train"]) as writer:
            for number in range(RECORDS):
                writer.add("train", drawn[number % len(drawn)])
        context = multiprocessing.get_context("fork")
        result: multiprocessing.Queue[tuple[float, float]] = context.Queue()
        process = context.Process(target=touch, args=(Path(folder), result))
        process.start()
        grown = result.get()
        process.join()
    return grown


def prepare_pascal(workers: int) -> float:
    """Return images per second of `prepare` on repeated real images of PASCAL-Part."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        for kind in ("Annotations_Part", "JPEGImages"):
            (folder / kind).mkdir()
            for path in sorted((SAMPLES / "pascal_part" / kind).iterdir()):
                for copy in range(COPIES):
                    shutil.copyfile(path, folder / kind / f"{path.stem}_{copy}{path.suffix}")
        start = time.perf_counter()
        prepared = prepare("pascal-part-116", source=folder, out=folder / "store", workers=workers)
        return prepared.found / (time.perf_counter() - start)


def main() -> None:
    """Measure and print."""
    for height, width, objects, parts, target in ((375, 500, 2, 10, 1.5), (1024, 2048, 10, 100, 20)):
        line = draw(height, width, objects, parts).to_json()
        best = rounds({"ours": lambda line=line: load(line), "plain": lambda line=line: load_plain(line)}, repeats=20)
        print(
            f"sample {width}x{height}, {parts} parts: {1e3 * best['ours']:.2f} ms (target {target}); "
            f"full frames {1e3 * best['plain']:.1f} ms, {best['plain'] / best['ours']:.1f} x"
        )
    if SAMPLES.is_dir():
        image = next((SAMPLES / "pascal_part/JPEGImages").glob("*.jpg"))
        line = draw(375, 500, 2, 10).to_json()
        best = rounds({"ours": lambda: load(line), "image": lambda: open_image(image, upright=False)}, repeats=20)
        print(f"the same against decoding a image of that size: {best['ours'] / best['image']:.2f} x")
    grown, held = growth()
    print(f"a worker after {RECORDS:,} records: {grown:+.1f} MB (target < 5); holding them: {held:+.0f} MB")
    if SAMPLES.is_dir():
        rates = {workers: prepare_pascal(workers) for workers in (1, 2)}
        print(
            f"prepare, {18 * COPIES} images: {rates[1]:.0f} images/s with one process, {rates[2]:.0f} with two: "
            f"{rates[2] / rates[1]:.2f} x"
        )


if __name__ == "__main__":
    main()
