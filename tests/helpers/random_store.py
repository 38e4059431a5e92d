"""Random stores in which everything occurs that a record can hold, with photos that fit them."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from partseg_cli.data.record import Instance, Part, Record
from partseg_cli.data.rle import Mask
from partseg_cli.data.store import DatasetInfo, Store, StoreWriter
from partseg_cli.vocabulary import Pair, Vocabulary

OBJECTS = ("lion's mane", "cat", "boat", "car_(automobile)", "chest of drawers", "été: neuf")
PAIRS = [(0, "stem"), (4, "drawer"), (1, "head"), (3, "side mirror"), (1, "ear"), (5, "a:b"), (3, "wheel")]
"""Not sorted, and without a part of the boat."""
CODES = ("lwing", "wheel_2", "", "rear")


def write_random(folder: Path, seed: int, images: dict[str, int]) -> Store:
    """Write a store of so many images of each split below `folder`, photos and records apart."""
    rng = np.random.default_rng(seed)
    pairs = tuple(Pair(OBJECTS[thing], part, bool(rng.integers(2))) for thing, part in PAIRS)
    ids = [f"{split} {number}" for split, count in images.items() for number in range(count)]
    info = DatasetInfo(
        name="random-parts",
        image_root=str(folder / "photos"),
        objects=OBJECTS,
        vocabulary=Vocabulary(pairs),
        licence="CC BY 4.0, “quoted”",
        homepage="https://example.org/?a=1&b=2",
        lists=(("train_16shot", tuple(ids[::2])), ("none", ())),
        test="val+train-unseen" if seed % 2 else "val",
    )
    with StoreWriter(folder / "store", info, list(images)) as writer:
        for split, count in images.items():
            for number in range(count):
                writer.add(split, draw(rng, folder / "photos", split, number))
    return Store.open(folder / "store")


def draw(rng: np.random.Generator, folder: Path, split: str, number: int) -> Record:
    """Draw a record, and save its photo; each third is stored turned, each fourth is square and marked as turned."""
    width, height = int(rng.integers(9, 40)), int(rng.integers(41, 70))
    is_turned, is_square = number % 3 == 1, number % 4 == 3
    stored = (width, width) if is_square else (width, height)
    name = f"{split}/{number % 2}/same name {number // 2}.{'jpg' if number % 5 else 'png'}"
    save_photo(rng, folder / name, stored, is_turned)
    width, height = stored[::-1] if is_turned else stored
    ids = rng.permutation(50)[: rng.integers(0, 5)].tolist() if number % 2 else list(range(int(rng.integers(0, 4))))
    objects = tuple(
        Instance(number, int(rng.integers(len(OBJECTS))), blob(rng, height, width), bool(rng.integers(2)))
        for number in ids
    )
    return Record(
        image_id=f"{split} {number}",
        file_name=name,
        width=width,
        height=height,
        source=f"annotations/{number}.mat",
        objects=objects,
        parts=tuple(draw_parts(rng, objects, height, width)),
        upright=is_turned,
        ignore=blob(rng, height, width) if number % 3 == 0 else None,
        not_exhaustive=tuple(sorted(rng.permutation(6)[: rng.integers(0, 4)].tolist())),
    )


def draw_parts(rng: np.random.Generator, objects: tuple[Instance, ...], height: int, width: int) -> Iterator[Part]:
    for number in rng.integers(0, len(objects), 2 * len(objects)).tolist():
        own = [index for index, (name, _) in enumerate(PAIRS) if name == objects[number].category]
        if own:
            pair = int(rng.choice(own))
            raw = PAIRS[pair][1] if rng.integers(2) else str(rng.choice(CODES))
            yield Part(objects[number].id, pair, raw, int(rng.integers(1, 4)), blob(rng, height, width))


def blob(rng: np.random.Generator, height: int, width: int) -> Mask:
    """Give speckles inside a random box: they overlap others, have holes, and are sometimes nothing at all."""
    pixels = np.zeros((height, width), bool)
    (top, bottom), (left, right) = (sorted(rng.integers(0, size + 1, 2)) for size in (height, width))
    pixels[top:bottom, left:right] = rng.random((bottom - top, right - left)) < rng.choice([0.3, 0.9, 1.0])
    return Mask.encode(pixels)


def save_photo(rng: np.random.Generator, path: Path, size: tuple[int, int], is_turned: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    photo = Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
    exif = Image.Exif()
    if is_turned:
        exif[274] = 6
    photo.save(path, exif=exif)


def records_of(store: Store) -> dict[str, list[Record]]:
    return {split: list(store.records(split)) for split in store.splits}
