"""The unified part-mask store: `<split>.jsonl` of COCO-RLE records, `<split>.idx.npy`, `dataset.json`.

One line of a `.jsonl` file is one image with its object instances and their parts; parts may overlap. The index holds
the byte offset of each line and the end of the last one, so that any record is read from a memory map. `dataset.json`
names objects, pairs and the image folder. No file holds a time or an output path: the same input gives the same bytes.
"""

from __future__ import annotations

import json
import mmap
import os
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from partseg_cli.data.record import Record, RecordKey
from partseg_cli.errors import DataError, PartsegError, VocabularyError, one_line
from partseg_cli.io.atomic import atomic_write, disk_error, write_json
from partseg_cli.io.hashing import digest
from partseg_cli.io.images import open_image
from partseg_cli.vocabulary import Vocabulary

FORMAT = "partseg-store-1"
OWN_FILE = re.compile(r"\..*|images|\w+\.jsonl|\w+\.idx\.npy")
"""Names that an interrupted conversion may have left in the folder of a store."""
PAINT_ORDER = "level, then area from large to small, then place in the record; the later one covers the earlier"


@dataclass(frozen=True)
class DatasetInfo:
    """Description of a whole store, the content of `dataset.json`.

    Attributes:
        name: Name, as in `partseg prepare NAME`.
        image_root: Folder of the images; a relative path starts at the store.
        objects: All object names that instances refer to, also those without parts.
        vocabulary: Pairs that parts refer to, with the published seen flags.
        licence: Terms of the original data.
        homepage: Origin of the original data.
        images: Number of records of each split.
        lists: Published lists of image ids by name, such as "train_16shot".
        test: Images of the published test: "val", or "val+train-unseen", which adds the unseen objects of the training
            images.
        sample: Unit of the published test: an "object" class of an image, an "image", or an "instance".
    """

    name: str
    image_root: str
    objects: tuple[str, ...]
    vocabulary: Vocabulary
    licence: str = ""
    homepage: str = ""
    images: tuple[tuple[str, int], ...] = ()
    lists: tuple[tuple[str, tuple[str, ...]], ...] = ()
    test: str = "val"
    sample: str = "object"

    def to_json(self) -> dict[str, Any]:
        """Return the content of `dataset.json`."""
        return {
            "format": FORMAT,
            "name": self.name,
            "homepage": self.homepage,
            "licence": self.licence,
            "image_root": self.image_root,
            "images": dict(self.images),
            "paint_order": PAINT_ORDER,
            "objects": list(self.objects),
            "pairs": self.vocabulary.to_json(),
            "lists": dict(self.lists),
            "test": self.test,
            "sample": self.sample,
        }

    def to_portable_json(self) -> dict[str, Any]:
        """Return the description without paths and numbers of images, for a file of another format."""
        return {
            "name": self.name,
            "homepage": self.homepage,
            "licence": self.licence,
            "splits": [name for name, _ in self.images],
            "objects": list(self.objects),
            "pairs": self.vocabulary.to_json(),
            "lists": dict(self.lists),
            "test": self.test,
            "sample": self.sample,
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> DatasetInfo:
        """Parse the content of `dataset.json`, or the result of `to_portable_json`, whose splits have 0 images.

        Raises:
            KeyError, TypeError, AttributeError, VocabularyError: The value is incomplete or broken.
        """
        is_portable = "splits" in value
        return cls(
            name=value["name"],
            image_root="" if is_portable else value["image_root"],
            objects=tuple(value["objects"]),
            vocabulary=Vocabulary.from_json(value["pairs"]),
            licence=value["licence"],
            homepage=value["homepage"],
            images=tuple((dict.fromkeys(value["splits"], 0) if is_portable else value["images"]).items()),
            lists=tuple((name, tuple(ids)) for name, ids in value.get("lists", {}).items()),
            test=value.get("test", "val"),
            sample=value.get("sample", "object"),
        )


class Records(Sequence[Record]):
    """Records of one split, read on demand from a memory map; cheap to pickle for other processes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._map: mmap.mmap | None = None
        self.offsets = np.load(path.with_suffix(".idx.npy"), mmap_mode="r", allow_pickle=False)
        if int(self.offsets[-1]) != path.stat().st_size:
            raise DataError(
                f"{path}: its index must end at byte {path.stat().st_size}, got {self.offsets[-1]}; prepare again"
            )

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: Any) -> Any:  # noqa: ANN401 - an int gives a Record, a slice a list
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"record {index} of {len(self)}")
        try:
            return Record.from_json(self.line(int(index)))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{self.path}: line {index + 1} must be a record, got {error!r}; prepare again") from error

    def line(self, index: int) -> bytes:
        """Return the line of a record, as it is stored."""
        start, end = (int(offset) for offset in self.offsets[index % len(self) :][:2])
        return self._bytes()[start:end]

    def _bytes(self) -> mmap.mmap:
        if self._map is None:
            with self.path.open("rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return self._map

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_map": None}


@dataclass(frozen=True)
class Store:
    """Open store.

    Attributes:
        folder: Folder of the store.
        info: Content of `dataset.json`.
    """

    folder: Path
    info: DatasetInfo
    _opened: dict[str, Records] = field(default_factory=dict, init=False, repr=False, compare=False)

    @classmethod
    def open(cls, folder: Path) -> Store:
        """Open the store in `folder`.

        Raises:
            DataError: The folder holds no complete store of this format.
        """
        path = folder / "dataset.json"
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
            raise DataError(
                f"{folder}: no prepared dataset (dataset.json: {_why(error)}); run partseg prepare first"
            ) from error
        if not isinstance(value, dict) or value.get("format") != FORMAT:
            got = value.get("format") if isinstance(value, dict) else value
            raise DataError(f"{path}: format must be {FORMAT!r}, got {got!r}; prepare it again with this version")
        try:
            info = DatasetInfo.from_json(value)
        except (KeyError, TypeError, AttributeError, VocabularyError) as error:
            raise DataError(f"{path}: is incomplete or broken ({error!r}); prepare it again") from error
        return cls(folder, info)

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits."""
        return tuple(name for name, _ in self.info.images)

    def records(self, split: str) -> Records:
        """Open the records of `split`.

        Raises:
            DataError: The split is unknown, or its files are broken.
        """
        if split not in self.splits:
            raise DataError(f"{self.folder}: split must be one of {', '.join(self.splits)}, got {split!r}")
        path = self.folder / f"{split}.jsonl"
        try:
            return Records(path)
        except (OSError, ValueError, EOFError) as error:
            raise DataError(f"{path}: cannot be read ({_why(error)}); prepare it again") from error

    def __getitem__(self, key: RecordKey) -> Record:
        """Return the record of a key; the files of its split stay open."""
        if key.split not in self._opened:
            self._opened[key.split] = self.records(key.split)
        record: Record = self._opened[key.split][key.index]
        return record

    def record_keys(self, image_ids: Collection[str] | None = None) -> list[RecordKey]:
        """Return the keys of all records, or of the images named, in the order of the store."""
        if image_ids is None:
            return [RecordKey(split, index) for split in self.splits for index in range(len(self.records(split)))]
        wanted = set(image_ids)
        return [
            RecordKey(split, index)
            for split in self.splits
            for index, record in enumerate(self.records(split))
            if record.image_id in wanted
        ]

    def fingerprint(self, image_ids: Collection[str], vocabulary: Vocabulary) -> str:
        """Return a digest of the data of a training run: labels, pairs, and the size of each image file.

        A missing image file has no size; the error comes when the image is read.
        """

        def chunks() -> Iterator[str | bytes]:
            yield repr([self.info.name, self.info.objects, vocabulary.to_json()])
            for key in self.record_keys(image_ids):
                line = self.records(key.split).line(key.index)
                image = self.folder / self.info.image_root / json.loads(line)["file_name"]
                yield line
                yield str(image.stat().st_size if image.is_file() else None)

        return digest(chunks())[:16]

    def image_path(self, record: Record) -> Path:
        """Return the path of the record's image."""
        return self.folder / self.info.image_root / record.file_name

    def read_image(self, record: Record) -> Image.Image:
        """Read the record's image as 8-bit RGB, at the size of the record.

        Raises:
            DataError: The image is missing or broken, or has another size than when it was prepared.
        """
        image = open_image(self.image_path(record), upright=record.upright)
        if image.size != (record.width, record.height):
            raise DataError(
                f"{record.file_name}: must be {record.width}x{record.height} as prepared, "
                f"got {image.width}x{image.height}; prepare again"
            )
        return image


class StoreWriter:
    """Writer of a store, whose files appear, `dataset.json` last, when the `with` block ends without an error."""

    def __init__(self, folder: Path, info: DatasetInfo, splits: Sequence[str]) -> None:
        check_store_name(folder, info.name)
        self.folder, self.info = folder, info
        self.offsets: dict[str, list[int]] = {split: [0] for split in splits}
        self._files: dict[str, BinaryIO] = {}
        self._stack = ExitStack()

    def __enter__(self) -> StoreWriter:
        for split in self.offsets:
            temporary = self._stack.enter_context(atomic_write(self.folder / f"{split}.jsonl"))
            try:
                self._files[split] = self._stack.enter_context(temporary.open("wb"))
            except OSError as error:
                self._stack.close()
                raise disk_error(self.folder, error) from error
        return self

    def add(self, split: str, record: Record) -> None:
        """Append `record` to `split`."""
        line = record.to_json().encode() + b"\n"
        self._files[split].write(line)
        self.offsets[split].append(self.offsets[split][-1] + len(line))

    def __exit__(self, *error: Any) -> None:  # noqa: ANN401 - the three arguments of the protocol
        if error[0] is not None:
            self._stack.__exit__(*error)
            return
        self._flush()
        (self.folder / "dataset.json").unlink(missing_ok=True)
        self._stack.close()
        for split, offsets in self.offsets.items():
            with atomic_write(self.folder / f"{split}.idx.npy") as temporary, temporary.open("wb") as file:
                np.save(file, np.asarray(offsets, np.int64))
        images = {split: len(offsets) - 1 for split, offsets in self.offsets.items()}
        write_json(self.folder / "dataset.json", {**self.info.to_json(), "images": images})

    def _flush(self) -> None:
        """Flush every line to the disk while the former store can still be kept."""
        for split, file in self._files.items():
            try:
                file.flush()
                os.fsync(file.fileno())
            except OSError as error:
                with suppress(PartsegError):
                    self._stack.__exit__(OSError, error, None)
                raise disk_error(self.folder / f"{split}.jsonl", error) from error


def check_store_name(folder: Path, name: str) -> None:
    """Check that no store of another name is overwritten; a broken one, or one of an older format, may be replaced.

    Raises:
        DataError: `folder` holds a store of another name.
    """
    try:
        other = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))["name"]
    except (OSError, ValueError, KeyError, TypeError):
        return
    if other != name:
        raise DataError(f"{folder}: must be empty or hold {name}, got a store of {other}; choose another --out")


def check_store_folder(folder: Path, name: str) -> None:
    """Check that a folder holds nothing but a store of this name, or what an interrupted conversion has left.

    Raises:
        DataError: `folder` holds other files, or a store of another name.
    """
    check_store_name(folder, name)
    if folder.is_dir() and not (folder / "dataset.json").exists():
        foreign = sorted(file.name for file in folder.iterdir() if not OWN_FILE.fullmatch(file.name))
        if foreign:
            raise DataError(f"{folder}: must be empty or hold {name}, got {foreign[0]}; choose another --out")


def iterate(store: Store, splits: Sequence[str] | None = None) -> Iterator[tuple[str, Record]]:
    """Yield (split, record) of the splits named, or of all."""
    for split in splits or store.splits:
        for record in store.records(split):
            yield split, record


def image_root(folder: Path) -> str:
    """Return the absolute path of a folder with forward slashes, as an image root is stored."""
    return Path(os.path.abspath(folder)).as_posix()  # noqa: PTH100 - resolve() would follow links


def _why(error: Exception) -> str:
    return "not found" if isinstance(error, FileNotFoundError) else one_line(error)
