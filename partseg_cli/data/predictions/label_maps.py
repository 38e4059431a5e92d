"""Label PNGs: folders of any origin, `partseg export --to png`, and `partseg predict`.

The head of each file is checked when it is found, the values when it is read.
"""

from __future__ import annotations

import struct
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int, Int64, Shaped
from PIL import Image
from torch import Tensor

from partseg_cli.data.exporters.png import LABELS
from partseg_cli.data.predictions.matching import (
    ClassName,
    ImageFinder,
    PredictionClasses,
    Predictions,
    WantedImage,
    check_complete,
    check_size,
    list_files,
    match_files,
    spellings,
)
from partseg_cli.data.record import Record, unique_names
from partseg_cli.data.store import Store
from partseg_cli.errors import DataError, format_list
from partseg_cli.io.files import check_links, describe_file, read_json
from partseg_cli.io.images import FORMATS
from partseg_cli.io.label_maps import read_label_image

VOID = {8: 255, 16: 65535}
"""Bits of a label map -> value of no label."""
UNKNOWN = -2
HEAD = struct.Struct(">8s4x4sIIBB")
"""Head of a PNG: signature, "IHDR", width, height, bit depth, colour type (PNG specification, 5.2 and 11.2.2)."""
SIGNATURE = b"\x89PNG\r\n\x1a\n"
COLOURS = {0: "grey", 2: "RGB", 3: "palette", 4: "grey with alpha", 6: "RGBA"}
BITS = {("grey", 8): 8, ("grey", 16): 16} | {("palette", bits): 8 for bits in (1, 2, 4, 8)}
"""Kinds of PNG that hold labels -> bits of a label."""
SAVE_AS = "save labels as a grey PNG of 8 or 16 bits"
EXPORT_AGAIN = "export it again: partseg export --to png"
PREDICT_AGAIN = "predict it again: partseg predict"
PREDICTED = "_labels.png"
"""End of the names of label PNGs of `partseg predict`; their JSON has the rest of the name."""


@dataclass(frozen=True)
class ValueTable:
    """Meaning of the values of a label map.

    Attributes:
        kind: "pairs" or "objects".
        indices: Label that each value is read as, -1 = void.
        has_background: Whether the number of entries is a value too, which stands for void.
    """

    kind: str
    indices: tuple[int, ...]
    has_background: bool

    @classmethod
    def of_names(cls, classes: PredictionClasses, path: Path, names: Sequence[ClassName]) -> ValueTable:
        """Return the table of values that are positions in a list of class names, stored at `path`.

        Raises:
            DataError: The list has other classes than the dataset.
        """
        needed = [name for name, index in zip(classes.names, classes.indices, strict=True) if index >= 0]
        faults = {
            "unknown": [name for name in names if name not in classes.by_name],
            "missing": [name for name in needed if name not in names],
            "duplicate": [name for name in dict.fromkeys(names) if names.count(name) > 1],
        }
        got = [
            f"{fault} {len(wrong)} ({format_list([repr(spellings(*n)[0] if n[0] else n[1]) for n in wrong])})"
            for fault, wrong in faults.items()
            if wrong
        ]
        if got:
            raise DataError(
                f"{path}: its {classes.kind} must be those of {classes.dataset}, got {', '.join(got)}; "
                "predict with the classes of the dataset"
            )
        return cls(classes.kind, tuple(classes.indices[classes.by_name[name]] for name in names), has_background=False)

    def void_values(self, bits: int) -> tuple[int, ...]:
        """Return the values of a map of 8 or 16 bits that stand for void, ascending."""
        values = {VOID[bits]} | ({VOID[8]} if len(self.indices) <= VOID[8] else set())
        if self.has_background and len(self.indices) < 2**bits:
            values.add(len(self.indices))
        return tuple(sorted(values))

    def look_up(self, path: Path, values: Shaped[np.ndarray, "H W"], bits: int) -> Int64[np.ndarray, "H W"]:
        """Convert the values of a map of 8 or 16 bits to labels, -1 = void.

        Raises:
            DataError: A value has no meaning.
        """
        table = np.full(2**bits, UNKNOWN, np.int64)
        table[list(self.void_values(bits))] = -1
        table[: len(self.indices)] = self.indices
        labels: Int64[np.ndarray, "H W"] = table[values]
        unknown = labels == UNKNOWN
        if unknown.any():
            wrong = zip(*np.unique(values[unknown], return_counts=True), strict=True)
            got = format_list([f"{value} ({count} pixels)" for value, count in wrong])
            raise DataError(
                f"{path}: values must be 0 to {len(self.indices) - 1}, indices of {self.kind}, or "
                f"{' or '.join(map(str, self.void_values(bits)))} for void, got {got}; write such values"
            )
        return labels


@dataclass(frozen=True)
class LabelFile:
    """Label PNG, and the meaning of its values."""

    path: Path
    table: ValueTable

    def check(self, image: WantedImage | Record) -> int:
        """Check by the head of the file that it can hold the labels of an image, and return its bits.

        Raises:
            DataError: The file is missing, no PNG of labels, or of another size.
        """
        size, bits = _read_head(self.path)
        check_size(self.path, image, size)
        if len(self.table.indices) > VOID[bits]:
            raise DataError(
                f"{self.path}: a map of {len(self.table.indices)} {self.table.kind} must have 16 bits, got {bits}; "
                "save it as a grey PNG of 16 bits"
            )
        return bits


def _read_head(path: Path) -> tuple[tuple[int, int], int]:
    """Return (width, height) and the bits of a label."""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD.size)
    except OSError as error:
        raise DataError(f"{path}: must be a readable PNG, got {error.strerror}; check it") from error
    if len(head) < HEAD.size or head[:8] != SIGNATURE or head[12:16] != b"IHDR":
        try:
            with warnings.catch_warnings(action="ignore"), Image.open(path, formats=FORMATS) as image:
                got = f"{image.format} of mode {image.mode}"
        except Exception:  # whatever Pillow raises, it is no image
            got = describe_file(path)
        raise DataError(f"{path}: must be a PNG, got {got}; {SAVE_AS}")
    _, _, width, height, depth, colour = HEAD.unpack(head)
    kind = COLOURS.get(colour, f"colour {colour}")
    if (kind, depth) not in BITS:
        raise DataError(
            f"{path}: must be a grey PNG of 8 or 16 bits or one with a palette, got {kind} of {depth} bits; {SAVE_AS}"
        )
    return (width, height), BITS[kind, depth]


def open_label_files(
    kind: str, images: Sequence[WantedImage], files: Mapping[str, LabelFile], extra: tuple[str, ...]
) -> Predictions:
    """Return predictions of label PNGs, files by image id, after a check of their heads.

    Raises:
        DataError: A file cannot hold the labels of its image.
    """
    for image in images:
        files[image.image_id].check(image)
    return Predictions(kind, len(files), extra, partial(_read_labels, files))


def _read_labels(files: Mapping[str, LabelFile], record: Record) -> Int[Tensor, "H W"]:
    file = files[record.image_id]
    bits = file.check(record)
    try:
        _, values = read_label_image(file.path)
    except DataError as error:
        why = str(error).removeprefix(f"{file.path}: ")
        raise DataError(f"{file.path}: must be a whole PNG, got a broken one ({why}); write it again") from error
    return torch.from_numpy(file.table.look_up(file.path, values, bits))


def is_export(source: Path) -> bool:
    """Return whether a folder is an export to PNG: it holds a list of labels and folders of maps."""
    return (source / LABELS).is_file() and any((source / kind).is_dir() for kind in ("pairs", "objects"))


def open_export(source: Path, store: Store, images: Sequence[WantedImage], classes: PredictionClasses) -> Predictions:
    """Open the maps of an export, which may list pairs and objects in another order than the store.

    Raises:
        DataError: Maps or classes are missing, or classes are unknown.
    """
    path, folder = source / LABELS, source / classes.kind
    check_links(source, [path, folder], ())
    value = read_json(path, EXPORT_AGAIN)
    rows = value.get(classes.kind) if isinstance(value, dict) else None
    table = ValueTable.of_names(classes, path, _parse_classes(path, classes.kind, rows, EXPORT_AGAIN))
    if not folder.is_dir():
        raise DataError(f"{source}: must hold the folder {classes.kind}, got none; {EXPORT_AGAIN}")
    exported = {split: unique_names(store.records(split)) for split in dict.fromkeys(one.key.split for one in images)}
    keys = {image.image_id: image.key for image in images}
    finder = ImageFinder(images, {id: f"{key.split}/{exported[key.split][key.index]}" for id, key in keys.items()})
    found = [name for name in list_files(folder) if name.lower().endswith(".png")]
    files, extra = match_files(folder, ((name, finder.find(name[:-4])) for name in found))
    check_complete(folder, images, files, extra)
    labels = {image_id: LabelFile(folder / name, table) for image_id, name in files.items()}
    return open_label_files("label PNGs of partseg export", images, labels, extra)


def find_predicted(names: Sequence[str]) -> dict[str, str]:
    """Return the label PNGs among files that `partseg predict` wrote, and the JSON of each."""
    known = set(names)
    documents = {name: f"{name.removesuffix(PREDICTED)}.json" for name in names if name.endswith(PREDICTED)}
    return {name: document for name, document in documents.items() if document in known}


def open_predicted(
    source: Path, found: dict[str, str], finder: ImageFinder, images: Sequence[WantedImage], classes: PredictionClasses
) -> Predictions:
    """Open label PNGs, given with the JSON of each, that `partseg predict` wrote for the classes of the dataset.

    Raises:
        DataError: An image lacks its prediction, a JSON is broken, or classes are missing or unknown.
    """
    named, tables = [], {}
    known: dict[tuple[ClassName, ...], ValueTable] = {}
    for name, document in found.items():
        path = source / document
        value = read_json(path, PREDICT_AGAIN)
        image_path = value.get("image") if isinstance(value, dict) else None
        if not isinstance(image_path, str):
            raise DataError(f"{path}: image must be the path of an image, got {image_path!r}; {PREDICT_AGAIN}")
        names = _parse_classes(path, "classes", value.get("classes"), PREDICT_AGAIN)
        image = finder.find_path(image_path)
        named.append((name, image))
        if image is not None:
            known[names] = known.get(names) or ValueTable.of_names(classes, path, names)
            tables[name] = known[names]
    files, extra = match_files(source, named)
    check_complete(source, images, files, extra)
    labels = {image_id: LabelFile(source / name, tables[name]) for image_id, name in files.items()}
    return open_label_files("label PNGs of partseg predict", images, labels, extra)


def _parse_classes(path: Path, key: str, rows: Any, advice: str) -> tuple[ClassName, ...]:  # noqa: ANN401 - any JSON
    """Return the classes of a JSON list, each of which states its index."""
    found = [_parse_class(row, index) for index, row in enumerate(rows)] if isinstance(rows, list) else []
    names = tuple(name for name in found if name is not None)
    if not names or len(names) < len(found):
        got = rows[found.index(None)] if names or found else rows
        raise DataError(
            f"{path}: {key} must be a list of classes in the order of their index, from 0, got {got!r:.80}; {advice}"
        )
    return names


def _parse_class(row: Any, index: int) -> ClassName | None:  # noqa: ANN401
    """Return an object {name} or {object}, a pair {object, part} or a bare part {part}; None if it is none of them."""
    if not isinstance(row, dict) or row.get("index") != index:
        return None
    name, part = row.get("object", row.get("name")), row.get("part")
    is_class = all(isinstance(text, str | None) for text in (name, part)) and (name or part)
    return (name or "", part) if is_class else None
