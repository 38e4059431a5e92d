"""Speed of reading training samples, relative to a plain loader with the same workers, in one run.

    python tests/benchmarks/loader.py [--images 96]

Photos of 500x375 pixels (JPEG, quality 90) made from those in $PARTSEG_SAMPLES, resized to 352. The plain loader opens
a image with Pillow, resizes it and makes it a normalised float tensor: no labels. Ours gives the same numbers, bit for
bit, from the files and from the cache (`data.cache: images`). It hands over uint8, which the training process
normalises on its device; "normalised here" does that on this processor, too. "Photo and labels" is what training reads.
Targets, images alone: exact >= 1.2 times, from the cache >= 5 times the plain loader.

The physical limit of the exact path is decoding and resizing, which Pillow does in C.
"""

import argparse
import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from timing import rounds
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from partseg_cli.data.loading.dataset import ImageTransform, PartDataset
from partseg_cli.data.loading.transforms import IMAGENET_MEAN, IMAGENET_STD, normalise
from partseg_cli.data.manifest import load_manifest
from partseg_cli.data.record import Instance, Part, Record
from partseg_cli.data.rle import Mask
from partseg_cli.data.store import DatasetInfo, Store, StoreWriter
from partseg_cli.runtime.devices import keep_freed_memory

WIDTH, HEIGHT, SIZE, BATCH = 500, 375, 352, 8
PASSES = 6
"""Over the images in one measurement, so that starting workers does not count."""
SAMPLES = Path(os.environ.get("PARTSEG_SAMPLES") or Path(__file__).parents[3] / "shared/samples")
MEAN, STD = (torch.tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))


def blob(rng: np.random.Generator) -> np.ndarray:
    """Draw a mask with an uneven border, 20 to 120 pixels wide."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    (top, left), (tall, wide) = rng.integers((60, 60), (HEIGHT - 60, WIDTH - 60)), rng.integers(10, 60, 2)
    angle = np.arctan2(rows - top, columns - left)
    edge = 1 + 0.2 * np.sin(5 * angle + 6 * rng.random())
    return ((rows - top) / tall) ** 2 + ((columns - left) / wide) ** 2 < edge


def make_store(folder: Path, count: int) -> Store:
    """Write images of persons with 2 to 10 parts."""
    manifest, rng = load_manifest("pascal-part-116"), np.random.default_rng(0)
    info = DatasetInfo("pascal-part-116", "images", manifest.objects, manifest.vocabulary)
    pairs = [index for index, pair in enumerate(manifest.vocabulary.pairs) if pair.object == "person"]
    images = sorted(SAMPLES.rglob("*.jpg"))[:60]
    (folder / "images").mkdir()
    with StoreWriter(folder, info, ["train", "val"]) as writer:
        for number in range(count):
            image = Image.open(images[number % len(images)]).convert("RGB").resize((WIDTH, HEIGHT))
            image.save(folder / "images" / f"{number}.jpg", quality=90)
            masks = [blob(rng) for _ in range(rng.integers(2, 11))]
            parts = [Part(1, pair, "x", 1, Mask.encode(mask)) for pair, mask in zip(pairs, masks, strict=False)]
            person = Instance(1, info.objects.index("person"), Mask.encode(np.logical_or.reduce(masks)))
            name = f"{number}.jpg"
            writer.add("train", Record(str(number), name, WIDTH, HEIGHT, name, (person,), tuple(parts)))
    return Store.open(folder)


class Plain(Dataset[Tensor]):
    """Pillow and torch as everyone writes it."""

    def __init__(self, files: Sequence[Path]) -> None:
        self.files = files

    def __len__(self) -> int:
        return PASSES * len(self.files)

    def __getitem__(self, index: int) -> Tensor:
        image = (
            Image.open(self.files[index % len(self.files)])
            .convert("RGB")
            .resize((SIZE, SIZE), Image.Resampling.BILINEAR)
        )
        return (torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255 - MEAN) / STD


class Photos(Dataset[Tensor]):
    """Images of the training samples, without labels."""

    def __init__(self, samples: PartDataset) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return PASSES * len(self.samples)

    def __getitem__(self, number: int) -> Tensor:
        key = self.samples.keys[number % len(self.samples)]
        return self.samples.image(self.samples.store[key], is_flipped=False)


def decode(files: Sequence[Path]) -> Iterable[Tensor]:
    """Decode and resize alone, which no exact loader can do without."""
    for file in PASSES * list(files):
        with Image.open(file) as image:
            image.resize((SIZE, SIZE), Image.Resampling.BILINEAR)
        yield torch.empty(0)


def read(batches: Callable[[], Iterable[Tensor]], *, is_raw: bool) -> Callable[[], None]:
    """Return a job that reads all batches as the floats of a model's input."""

    def job() -> None:
        for images in batches():
            _ = normalise(images) if is_raw else images

    return job


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=96)
    count = parser.parse_args().images
    torch.set_num_threads(1)
    keep_freed_memory()  # as training does
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home) / "store"
        folder.mkdir()
        store, views = make_store(folder, count), ImageTransform(SIZE, None, 1333, 0.0, "rgb", "background")
        files, ids = [folder / "images" / f"{n}.jpg" for n in range(count)], [str(n) for n in range(count)]
        exact = PartDataset(store, ids, store.info.vocabulary, views, 0)
        cached = PartDataset(store, ids, store.info.vocabulary, views, 0, Path(home) / "cache")
        sample_ids = [files.index(store.image_path(exact.store[key])) for key in exact.keys]
        assert all(normalise(Photos(cached)[i]).equal(Plain(files)[n]) for i, n in enumerate(sample_ids))
        for workers in (0, 1, 2):
            compare(files, exact, cached, workers)


def compare(files: Sequence[Path], exact: PartDataset, cached: PartDataset, workers: int) -> None:
    """Time the loaders with a number of workers, in turns."""

    def loaded(dataset: Dataset[Tensor]) -> Callable[[], Iterable[Tensor]]:
        return lambda: DataLoader(dataset, batch_size=BATCH, num_workers=workers)

    def trained(samples: PartDataset) -> Callable[[], Iterable[Tensor]]:
        sample_ids = range(PASSES * len(samples))
        return lambda: (b.images for b in samples.batches(images=BATCH, sample_ids=sample_ids, workers=workers))

    alone = {"exact": loaded(Photos(exact)), "cache": loaded(Photos(cached))}
    whole = {"exact": trained(exact), "cache": trained(cached)}
    jobs = {
        "plain loader": read(loaded(Plain(files)), is_raw=False),
        **{f"{name}, image as uint8": read(batches, is_raw=False) for name, batches in alone.items()},
        **{f"{name}, image, normalised here": read(batches, is_raw=True) for name, batches in alone.items()},
        **{f"{name}, image and labels": read(batches, is_raw=False) for name, batches in whole.items()},
        "decode and resize, one process": read(lambda: decode(files), is_raw=False),
    }
    times = rounds(jobs, repeats=3)
    plain = times["plain loader"]
    print(f"{workers} workers")
    for name, seconds in times.items():
        each = 1000 * seconds / PASSES / len(files)
        print(f"  {name:32}{each:8.2f} ms an image {plain / seconds:6.2f} x the plain loader")


if __name__ == "__main__":
    main()
