"""Label PNGs: the head is checked when they are found, the values when they are read."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Int
from PIL import Image
from torch import Tensor

from partseg_cli.data.converters.conversion import InvalidAnnotationError
from partseg_cli.data.predictions.labels import NOTHING, Legend
from partseg_cli.data.predictions.matching import Predictions, Wanted, check_size
from partseg_cli.data.record import Record
from partseg_cli.errors import DataError
from partseg_cli.io.files import describe_file
from partseg_cli.io.images import FORMATS
from partseg_cli.io.label_maps import read_numbers

HEAD = struct.Struct(">8s4x4sIIBB")
"""Of a PNG: signature, "IHDR", width, height, bits of a channel, kind of colour (PNG specification, 5.2 and 11.2.2)."""
SIGNATURE = b"\x89PNG\r\n\x1a\n"
COLOURS = {0: "grey", 2: "RGB", 3: "palette", 4: "grey with alpha", 6: "RGBA"}
BITS = {("grey", 8): 8, ("grey", 16): 16} | {("palette", bits): 8 for bits in (1, 2, 4, 8)}
"""Kinds of PNG that hold labels -> bits of a label."""
SAVE_SO = "save labels as a grey PNG of 8 or 16 bits"


@dataclass(frozen=True)
class LabelFile:
    """A label PNG and what its values mean."""

    path: Path
    legend: Legend

    def check(self, image: Wanted | Record) -> int:
        """Prove by the head of the file that it can hold the labels of a photo, and give its bits.

        Raises:
            DataError: it is missing, no PNG of labels, or of another size.
        """
        size, bits = _head(self.path)
        check_size(self.path, image, size)
        if len(self.legend.indices) > NOTHING[bits]:
            raise DataError(
                f"{self.path}: a map of {len(self.legend.indices)} {self.legend.what} must have 16 bits, got {bits}; "
                "save it as a grey PNG of 16 bits"
            )
        return bits


@dataclass(frozen=True)
class LabelPictures:
    """Reads the label PNG of each photo, by image id."""

    files: Mapping[str, LabelFile]

    def __call__(self, record: Record) -> Int[Tensor, "H W"]:
        """Give the labels of a record."""
        file = self.files[record.image_id]
        bits = file.check(record)
        try:
            _, values = read_numbers(file.path, "PNG", "broken")
        except InvalidAnnotationError as defect:
            why = defect.detail.removeprefix(f"{file.path.name}: ")
            raise DataError(f"{file.path}: must be a whole PNG, got a broken one ({why}); write it again") from defect
        return torch.from_numpy(file.legend.read(file.path, values, bits))


def label_pictures(
    kind: str, images: Sequence[Wanted], files: Mapping[str, LabelFile], extra: tuple[str, ...]
) -> Predictions:
    """Give predictions of label PNGs, one of each photo by image id, whose heads are checked.

    Raises:
        DataError: one cannot hold the labels of its photo.
    """
    for image in images:
        files[image.image_id].check(image)
    return Predictions(kind, len(files), extra, LabelPictures(files))


def _head(path: Path) -> tuple[tuple[int, int], int]:
    """Give width and height, and the bits of a label."""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD.size)
    except OSError as error:
        raise DataError(f"{path}: must be a readable PNG, got {error.strerror}; check it") from error
    if len(head) < HEAD.size or head[:8] != SIGNATURE or head[12:16] != b"IHDR":
        raise DataError(f"{path}: must be a PNG, got {_instead(path)}; {SAVE_SO}")
    _, _, width, height, depth, colour = HEAD.unpack(head)
    kind = COLOURS.get(colour, f"colour {colour}")
    if (kind, depth) not in BITS:
        raise DataError(
            f"{path}: must be a grey PNG of 8 or 16 bits or one with a palette, got {kind} of {depth} bits; {SAVE_SO}"
        )
    return (width, height), BITS[kind, depth]


def _instead(path: Path) -> str:
    """Say what a file is that is no PNG."""
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(path, formats=FORMATS) as image:
            return f"{image.format} of mode {image.mode}"
    except Exception:  # whatever Pillow raises, it is no picture
        return describe_file(path)
