"""Folders beside the checkout that some tests read (without them those tests skip and say so), and a small dataset."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

os.environ["OMP_NUM_THREADS"] = "1"  # threads of several test processes would wait for each other
os.environ["MKL_CBWR"] = "AUTO,STRICT"  # as commands set it, before MKL is first used and has rounded otherwise

import numpy as np
import pytest
from command_line import partseg, trained  # noqa: F401 - fixtures
from PIL import Image

from partseg_cli.data.record import Instance, Part, Record
from partseg_cli.data.rle import Mask
from partseg_cli.data.store import DatasetInfo, Store, StoreWriter
from partseg_cli.vocabulary import Pair, Vocabulary

PROJECT = Path(__file__).parent.parent


def folder_or_skip(variable: str, default: str) -> Path:
    folder = Path(os.environ.get(variable) or PROJECT / default).resolve()
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there; set {variable} to run this test")
    return folder


@pytest.fixture(autouse=True)
def _no_page(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the page of each training run, a second's work that has tests of its own; marker `page` keeps it."""
    if "page" not in request.keywords and "partseg_cli.pipeline.train" in sys.modules:
        monkeypatch.setattr("partseg_cli.pipeline.train.write_training_page", lambda *_, **__: None)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the tests out of the user's cache and off the network."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield


@pytest.fixture(scope="session")
def samples() -> Path:
    """Real photos and annotations in the original formats."""
    return folder_or_skip("PARTSEG_SAMPLES", "../shared/samples")


@pytest.fixture(scope="session")
def reference() -> Path:
    """Numbers and arrays that the published code gave."""
    return folder_or_skip("PARTSEG_REFERENCE", "../shared/reference")


class SmallData(NamedTuple):
    """Twelve photos of cats, dogs, foxes (unseen) and a boat (without parts), no two of one size, none square."""

    info: DatasetInfo
    records: dict[str, list[Record]]
    photos: dict[str, Image.Image]

    def write(self, folder: Path) -> Store:
        for name, photo in self.photos.items():
            (folder / "images").mkdir(parents=True, exist_ok=True)
            photo.save(folder / "images" / name)
        with StoreWriter(folder, self.info, list(self.records)) as writer:
            for split, records in self.records.items():
                for record in records:
                    writer.add(split, record)
        return Store.open(folder)


SHOWN = {
    "train": [("cat",), ("dog",), ("fox",), ("cat", "fox"), ("fox", "dog"), ("boat",), ("cat",), ("dog", "cat")],
    "val": [("cat", "dog"), ("fox",), ("dog",), ("fox", "boat")],
}


@pytest.fixture(scope="session")
def small_data() -> SmallData:
    pairs = ("cat ear", "cat head", "dog head", "dog tail", "fox ear", "fox tail")
    vocabulary = Vocabulary(tuple(Pair(*pair.split(), not pair.startswith("fox")) for pair in pairs))
    info = DatasetInfo("small", "images", ("boat", "cat", "dog", "fox"), vocabulary, "public domain", "nowhere")
    rng = np.random.default_rng(7)
    records: dict[str, list[Record]] = {"train": [], "val": []}
    photos = {}
    shown = [(split, objects) for split, scenes in SHOWN.items() for objects in scenes]
    for number, (split, names) in enumerate(shown):
        name, height, width = f"photo_{number:02}", 14 + 3 * number, 41 - 2 * number
        pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        photos[f"{name}.png"] = Image.fromarray(pixels)
        objects, parts = _draw(names, height, width, info)
        records[split].append(Record(name, f"{name}.png", width, height, f"drawn {number}", objects, parts))
    return SmallData(info, records, photos)


def _draw(
    names: tuple[str, ...], height: int, width: int, info: DatasetInfo
) -> tuple[tuple[Instance, ...], tuple[Part, ...]]:
    """Put each object into its own columns: the first part fills its upper half, the second overlaps it in a corner."""
    objects, parts = [], []
    for number, name in enumerate(names, start=1):
        left, right = ((number - 1) * width // 2 + 1, number * width // 2 - 1)
        pixels = np.zeros((height, width), bool)
        pixels[2:-3, left:right] = True
        objects.append(Instance(number, info.objects.index(name), Mask.encode(pixels)))
        for index, part in enumerate(info.vocabulary.parts_of(name)):
            pixels = np.zeros((height, width), bool)
            pixels[2 : height // 2 + index, left : right - index * (right - left) // 2] = True
            pixels[: 3 * index] = False
            pair = [(p.object, p.part) for p in info.vocabulary.pairs].index((name, part))
            parts.append(Part(number, pair, part, 1, Mask.encode(pixels)))
    return tuple(objects), tuple(parts)


@pytest.fixture(scope="session")
def small_store(small_data: SmallData, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Read it, leave it as it is."""
    return small_data.write(tmp_path_factory.mktemp("small"))


@contextmanager
def limit_file_size(size: int) -> Iterator[None]:
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def file_size_limit():
    """A context in which the system lets no file of this process grow beyond so many bytes, as on a full disk."""
    return limit_file_size


@pytest.fixture(scope="session")
def cartoon_store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Sixty drawn scenes of 96 x 96 pixels; read it, leave it as it is."""
    from partseg_cli.data.converters.plan import CartoonOptions
    from partseg_cli.pipeline.prepare import prepare

    folder = tmp_path_factory.mktemp("cartoon") / "store"
    prepare("cartoon-part", out=folder, drawing=CartoonOptions(images=60, seed=3, size=96), workers=1)
    return Store.open(folder)
