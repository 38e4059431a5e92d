"""Cost of counting one label map, relative to label-map counting and a loop over classes, in one run.

    python tests/benchmarks/evaluation.py

375 x 500 pixels, 116 classes, about 12 of them in an image. Target on two idle CPU cores: all counts (confusion, true
and published boundary, those of the image kept apart) in 2 ms an image; 10,000 images in 1 GB.

"label maps" counts as detectron2 does: a confusion of the classes, and one of the maps minus their local minimum, the
published boundary. "class by class" erodes each class of both maps and counts what is left: true boundaries, with
nothing else. All are checked against each other. Both use SciPy, which is slower here than OpenCV would be: OpenCV's
erosion would take 1.8 ms and 12.3 ms.
"""

import resource
import time
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import binary_erosion, minimum_filter
from timing import rounds

from partseg_cli.evaluation.bootstrap import confidence_intervals
from partseg_cli.evaluation.boundary import band_width
from partseg_cli.evaluation.counts import FIELDS, ConfusionCounts, ConfusionTable, count_pixels

CLASSES, SIZE, IMAGES, MANY = 116, (375, 500), 8, 10_000
WIDTH = band_width(*SIZE)


def draw(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw a target of three objects with four parts each, and a prediction that is near it and spills over."""
    target = np.full(SIZE, -1)
    rows, columns = np.ogrid[: SIZE[0], : SIZE[1]]
    for index in range(3):
        numbers, middle = rng.choice(CLASSES, 4, replace=False), (rng.integers(60, 315), 80 + 160 * index)
        for place, number in enumerate(numbers):
            height, width = rng.integers(25, 90, 2) / (1 + place / 2)
            top, left = middle[0] + rng.integers(-50, 50), middle[1] + rng.integers(-60, 60)
            target[((rows - top) / height) ** 2 + ((columns - left) / width) ** 2 < 1] = number
    prediction = np.roll(target, (6, -4), (0, 1))
    prediction[rng.random(SIZE) < 0.002] = np.unique(target)[2]
    wrong = np.unique(target)[-1]
    prediction[target == wrong] = (wrong + 1) % CLASSES
    prediction[300:, :120] = np.unique(target)[1]
    return prediction, target


def label_maps(prediction: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    guess = np.where(target < 0, CLASSES, prediction).astype(np.uint8)  # 255, none, is beyond the classes
    guess[prediction < 0] = CLASSES
    labels = np.where(target < 0, CLASSES, target).astype(np.uint8)
    return _confusion(guess, labels), _confusion(_border(guess), _border(labels))


def _confusion(guess: np.ndarray, labels: np.ndarray) -> np.ndarray:
    size = CLASSES + 1
    return np.bincount(size * guess.astype(np.int64).ravel() + labels.ravel(), minlength=size**2).reshape(size, size)


def _border(labels: np.ndarray) -> np.ndarray:
    padded = np.pad(labels, 1)
    return (padded - minimum_filter(padded, size=2 * WIDTH + 1, mode="constant", cval=255))[1:-1, 1:-1]


def class_by_class(prediction: np.ndarray, target: np.ndarray) -> dict[int, tuple[int, int, int]]:
    """Return hit, labelled and predicted boundary pixels of each class."""
    guess = np.where(target < 0, -1, prediction)
    bands = {}
    for number in np.union1d(target, guess):
        if number >= 0:
            labelled, predicted = (_band(labels == number) for labels in (target, guess))
            bands[int(number)] = (int((labelled & predicted).sum()), int(labelled.sum()), int(predicted.sum()))
    return bands


def _band(mask: np.ndarray) -> np.ndarray:
    padded = np.pad(mask, 1)
    return (padded & ~binary_erosion(padded, np.ones((3, 3)), iterations=WIDTH))[1:-1, 1:-1]


def check(prediction: np.ndarray, target: np.ndarray, found: ConfusionCounts) -> None:
    """Stop unless all three count the same."""
    table = ConfusionTable(CLASSES)
    table.add("", found)
    totals = table.totals()
    confusion, borders = label_maps(prediction, target)
    hit, map_hit, *bands = (
        totals[:CLASSES, FIELDS.index(name)] for name in ("tp", "map_tp", "band_tp", "band_target", "band_pred")
    )
    same = np.array_equal(hit, confusion.diagonal()[:CLASSES]) and np.array_equal(map_hit, borders.diagonal()[:CLASSES])
    ours = {number: tuple(int(band[number]) for band in bands) for number in class_by_class(prediction, target)}
    if not same or ours != class_by_class(prediction, target):
        raise SystemExit("the three ways of counting differ")


def compare(cases: list[tuple[np.ndarray, np.ndarray]]) -> None:
    """Time the three ways with one thread and with two."""
    tensors = [tuple(torch.from_numpy(labels) for labels in case) for case in cases]
    for threads in (1, 2):
        torch.set_num_threads(threads)
        times = rounds(
            {
                "all counts": lambda: [count_pixels(*maps, CLASSES) for maps in tensors],
                "label maps": lambda: [label_maps(*case) for case in cases],
                "class by class": lambda: [class_by_class(*case) for case in cases],
            },
            repeats=15,
        )
        print(f"{threads} thread{'s' * (threads > 1)}:")
        for name, seconds in times.items():
            ratio = seconds / times["all counts"]
            print(f"  {name:15} {1e3 * seconds / len(cases):6.2f} ms an image; this / ours = {ratio:5.2f}")


def keep_many(samples: list[ConfusionCounts]) -> None:
    """Print the size of the counts of many images and the cost of their scores."""
    before = resident()
    table = ConfusionTable(CLASSES)
    for number in range(MANY):
        sample = samples[number % len(samples)]
        table.add(f"image {number:05}", ConfusionCounts(*(values.copy() for values in vars(sample).values())))
    print(f"{MANY:,} images: {resident() - before:.0f} MB of counts")
    is_seen = [number % 3 > 0 for number in range(CLASSES)]
    jobs = {
        "totals": table.totals,
        "by image": table.by_image,
        "intervals": lambda: confidence_intervals(table, "ref-v2", "pred-all", is_seen, bootstrap_samples=1000),
    }
    for name, job in jobs.items():
        start = time.perf_counter()
        job()
        print(
            f"  {name:10} {time.perf_counter() - start:5.2f} s; {resident() - before:.0f} MB more than before counting"
        )
    print(f"  in all the process had {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3:.0f} MB at most")


def resident() -> float:
    """Return the memory of this process now, in MB (Linux)."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize() / 1e6


def main() -> None:
    """Measure and print."""
    rng = np.random.default_rng(0)
    cases = [draw(rng) for _ in range(IMAGES)]
    samples = [count_pixels(*(torch.from_numpy(labels) for labels in case), CLASSES) for case in cases]
    for case, sample in zip(cases, samples, strict=True):
        check(*case, sample)
    shown = np.mean([len(np.union1d(*case)) - 1 for case in cases])
    print(f"{shown:.1f} classes an image; counts agree")
    compare(cases)
    keep_many(samples)


if __name__ == "__main__":
    main()
