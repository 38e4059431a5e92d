"""Score stacks, a NumPy file of each photo, read a few planes at a time: no size of a stack fills the memory."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from partseg_cli.data.predictions.labels import Classes
from partseg_cli.data.predictions.matching import Predictions, Wanted, check_size
from partseg_cli.data.record import Record
from partseg_cli.errors import DataError, one_line
from partseg_cli.io.files import describe_file
from partseg_cli.io.images import MAX_MEGAPIXELS

SUFFIXES = (".npy", ".npz")
SCORES = "scores"
"""Name of the array that counts where an NPZ holds several."""
SCORES_AT_ONCE = 2**20
"""Planes are enlarged together up to so many scores, as in `inference`: PyTorch rounds stacks otherwise than planes."""
HEADS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
"""Versions of the format whose heads hold no more than a shape and a type: nothing that is read can run code."""
ZIP, NPY = b"PK\x03\x04", b"\x93NUMPY"
SAVE_AGAIN = "save it again with numpy.save"


@runtime_checkable
class Stream(Protocol):
    """A file that is read from its beginning to its end."""

    def read(self, size: int = -1, /) -> bytes:
        """Give so many bytes, fewer at the end; all that are left by default."""


@dataclass(frozen=True)
class ScoreStacks:
    """Reads the scores of each photo, by image id, and takes the best class at each pixel of the photo.

    Attributes:
        files: NPY or NPZ of each photo.
        classes: what the channels are.
    """

    files: Mapping[str, Path]
    classes: Classes

    def __call__(self, record: Record) -> Int[Tensor, "H W"]:
        """Give the labels of a record: scores are enlarged as logits are, the first of equals wins.

        They are compared as they stand, in float32.
        """
        path, size = self.files[record.image_id], (record.height, record.width)
        winner = torch.zeros(size)  # its number, counted from 1
        best = torch.full(size, -torch.inf)
        wins = torch.empty_like(best)
        with _opened(path) as file:
            stack = _head(path, file, self.classes, record)
            number = 0
            for planes in stack.planes(path, file, max(1, SCORES_AT_ONCE // prod(size))):
                for plane in _enlarged(planes, size):
                    number += 1
                    torch.gt(plane, best, out=wins)  # floats and maxima: much faster than writing through a mask
                    torch.maximum(best, plane, out=best)
                    torch.maximum(winner, wins.mul_(number), out=winner)
        return torch.tensor([*self.classes.indices, -1])[winner.long() - 1]


def _enlarged(planes: Float[Tensor, "C h w"], size: tuple[int, int]) -> Float[Tensor, "C H W"]:
    """Give planes of the size of the photo; those that have it are already what enlarging would give."""
    if planes.shape[1:] == size:
        return planes
    return F.interpolate(planes[None], size=size, mode="bilinear", align_corners=False)[0]


@dataclass(frozen=True)
class Stack:
    """What the head of a NumPy file says: channels, height and width, and the type of its numbers."""

    shape: tuple[int, int, int]
    dtype: np.dtype[np.floating]

    def planes(self, path: Path, file: Stream, at_once: int) -> Iterator[Float[Tensor, "C h w"]]:
        """Give the planes in groups of at most `at_once`; the file stands behind its head, and is read to its end."""
        channels, height, width = self.shape
        for first in range(0, channels, at_once):
            count = min(at_once, channels - first)
            size = count * height * width * self.dtype.itemsize
            content = file.read(size)
            if len(content) < size:
                raise EOFError(f"it ends in the planes {first} to {first + count - 1} of {channels}")
            values = np.frombuffer(content, self.dtype).reshape(count, height, width)
            with np.errstate(over="ignore"):
                planes = torch.from_numpy(values.astype(np.float32))
            wrong = ~planes.isfinite()
            if wrong.any():
                channel = int(wrong.flatten(1).any(dim=1).nonzero()[0])
                raise DataError(
                    f"{path}: scores must be finite in float32, got {planes[channel][wrong[channel]][0]} in channel "
                    f"{first + channel}; mend the model"
                )
            yield planes
        if file.read(1):
            raise DataError(f"{path}: must end with the last of {channels} planes, got more; {SAVE_AGAIN}")


def open_scores(
    source: Path, images: Sequence[Wanted], files: Mapping[str, str], extra: tuple[str, ...], classes: Classes
) -> Predictions:
    """Open the scores of photos, files by image id, whose heads are checked.

    Raises:
        DataError: one is no stack of scores of these classes.
    """
    paths = {image: source / name for image, name in files.items()}
    for image in images:
        path = paths[image.image_id]
        with _opened(path) as file:
            _head(path, file, classes, image)
    return Predictions("score stacks (NPY, NPZ)", len(files), extra, ScoreStacks(paths, classes))


@contextmanager
def _opened(path: Path) -> Iterator[Stream]:
    """Hand out the NPY in a file; what zipfile and NumPy raise from here to the end of the block is a `DataError`."""
    try:
        with path.open("rb") as file:
            if file.read(len(ZIP)) != ZIP:
                file.seek(0)
                yield file
                return
            with zipfile.ZipFile(file) as archive, archive.open(_member(path, archive)) as member:
                yield member
    except DataError:
        raise
    except OSError as error:
        raise DataError(f"{path}: must be a readable file, got {error.strerror or error}; check it") from error
    except Exception as error:  # they raise whatever broken bytes lead them to
        why = one_line(error) or type(error).__name__
        raise DataError(f"{path}: must be a whole NumPy file, got a broken one ({why}); {SAVE_AGAIN}") from error


def _member(path: Path, archive: zipfile.ZipFile) -> str:
    """Give the array of an NPZ that counts: the only one, or the one called "scores"."""
    names = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
    if len(names) != 1 and SCORES not in names:
        got = ", ".join(sorted(names)) or "none"
        raise DataError(f"{path}: must hold one array, or one called {SCORES}, got {got}; {SAVE_AGAIN}z")
    return f"{SCORES if SCORES in names else names[0]}.npy"


def _head(path: Path, file: Stream, classes: Classes, image: Wanted | Record) -> Stack:
    """Read the head of an NPY, and prove that it is a stack of scores of these classes in this photo."""
    if file.read(len(NPY)) != NPY:
        raise DataError(f"{path}: must be NPY or NPZ, got {describe_file(path)}; {SAVE_AGAIN}")
    version = tuple(file.read(2))
    if version not in HEADS:
        raise DataError(f"{path}: must be NPY of version 1.0 or 2.0, got {version}; {SAVE_AGAIN}")
    shape, is_fortran, dtype = HEADS[version](file)
    count = len(classes.words)
    if len(shape) != 3 or shape[0] not in (count, count + 1) or min(shape) < 1:
        last = ", the classes last" if len(shape) == 3 and shape[2] in (count, count + 1) else ""
        raise DataError(
            f"{path}: must be [{count},h,w], a plane for each of the {classes.what}, or [{count + 1},h,w] with the "
            f"background last, got {list(shape)}{last}; save it so"
        )
    if dtype.kind != "f" or dtype.itemsize not in (2, 4, 8):
        raise DataError(f"{path}: scores must be float16, float32 or float64, got {dtype}; save them so")
    _, height, width = shape
    if is_fortran or height * width > MAX_MEGAPIXELS * 10**6:
        got = "Fortran's" if is_fortran else f"{width}x{height}"
        raise DataError(
            f"{path}: must be in C order, of at most {MAX_MEGAPIXELS} megapixels, got {got}; "
            "save numpy.ascontiguousarray of it"
        )
    if (width, height) == (image.height, image.width):
        check_size(path, image, (width, height))
    return Stack(shape, dtype)
