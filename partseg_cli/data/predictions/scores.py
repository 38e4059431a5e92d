"""Score stacks, a NumPy file for each image, read a few planes at a time so that a large stack does not fill memory."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from io import BufferedIOBase
from math import prod
from pathlib import Path
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from partseg_cli.data.predictions.matching import PredictionClasses, Predictions, WantedImage, check_size
from partseg_cli.data.record import Record
from partseg_cli.errors import DataError, one_line
from partseg_cli.io.files import describe_file
from partseg_cli.io.images import MAX_MEGAPIXELS

SCORES = "scores"
"""Name of the array that counts where an NPZ holds several."""
SCORES_AT_ONCE = 2**20
"""Most scores in planes resized together, as in `inference`: PyTorch rounds stacks otherwise than single planes."""
HEADS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
"""Versions of the format whose heads hold no more than a shape and a type: nothing that is read can run code."""
ZIP, NPY = b"PK\x03\x04", b"\x93NUMPY"
SAVE_AGAIN = "save it again with numpy.save"


def open_scores(
    images: Sequence[WantedImage], files: Mapping[str, Path], extra: tuple[str, ...], classes: PredictionClasses
) -> Predictions:
    """Open the score stacks of images, files by image id, after a check of their heads.

    Raises:
        DataError: A file is no stack of scores of these classes.
    """
    for image in images:
        path = files[image.image_id]
        with _open_npy(path) as file:
            _read_head(path, file, classes, image)
    return Predictions("score stacks (NPY, NPZ)", len(files), extra, partial(_read_best_classes, files, classes))


def _read_best_classes(files: Mapping[str, Path], classes: PredictionClasses, record: Record) -> Int[Tensor, "H W"]:
    """Return the class with the highest score at each pixel of a record; ties go to the lowest index.

    Scores are resized as logits are, and compared in float32 without activation.
    """
    path, size = files[record.image_id], (record.height, record.width)
    winner = torch.zeros(size)  # its channel, counted from 1
    best = torch.full(size, -torch.inf)
    wins = torch.empty_like(best)
    with _open_npy(path) as file:
        stack = _read_head(path, file, classes, record)
        channel = 0
        for planes in stack.read_planes(path, file, max(1, SCORES_AT_ONCE // prod(size))):
            if planes.shape[1:] != size:
                planes = F.interpolate(planes[None], size=size, mode="bilinear", align_corners=False)[0]
            for plane in planes:
                channel += 1
                torch.gt(plane, best, out=wins)  # floats and maxima: much faster than writing through a mask
                torch.maximum(best, plane, out=best)
                torch.maximum(winner, wins.mul_(channel), out=winner)
    return torch.tensor([*classes.indices, -1])[winner.long() - 1]


@dataclass(frozen=True)
class ScoreStack:
    """Head of a NumPy file: number of channels, height and width, and the type of the scores."""

    shape: tuple[int, int, int]
    dtype: np.dtype[np.floating]

    def read_planes(self, path: Path, file: BufferedIOBase, at_once: int) -> Iterator[Float[Tensor, "C h w"]]:
        """Yield groups of at most `at_once` planes from a file that is read up to the end of its head."""
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
                    f"{first + channel}; fix the model"
                )
            yield planes
        if file.read(1):
            raise DataError(f"{path}: must end with the last of {channels} planes, got more; {SAVE_AGAIN}")


@contextmanager
def _open_npy(path: Path) -> Iterator[BufferedIOBase]:
    """Open the NPY in a file; an error that zipfile or NumPy raises within the block becomes a `DataError`."""
    try:
        with path.open("rb") as file:
            if file.read(len(ZIP)) != ZIP:
                file.seek(0)
                yield file
                return
            with zipfile.ZipFile(file) as archive:
                names = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
                if len(names) != 1 and SCORES not in names:
                    got = ", ".join(sorted(names)) or "none"
                    raise DataError(f"{path}: must hold one array, or one called {SCORES}, got {got}; {SAVE_AGAIN}z")
                with archive.open(f"{SCORES if SCORES in names else names[0]}.npy") as member:
                    yield cast(BufferedIOBase, member)
    except DataError:
        raise
    except OSError as error:
        raise DataError(f"{path}: must be a readable file, got {error.strerror or error}; check it") from error
    except Exception as error:  # they raise whatever broken bytes lead them to
        why = one_line(error) or type(error).__name__
        raise DataError(f"{path}: must be a whole NumPy file, got a broken one ({why}); {SAVE_AGAIN}") from error


def _read_head(path: Path, file: BufferedIOBase, classes: PredictionClasses, image: WantedImage | Record) -> ScoreStack:
    """Read the head of an NPY, and check that it is a stack of scores of these classes for this image."""
    if file.read(len(NPY)) != NPY:
        raise DataError(f"{path}: must be NPY or NPZ, got {describe_file(path)}; {SAVE_AGAIN}")
    version = tuple(file.read(2))
    if version not in HEADS:
        raise DataError(f"{path}: must be NPY of version 1.0 or 2.0, got {version}; {SAVE_AGAIN}")
    shape, is_fortran, dtype = HEADS[version](file)
    count = len(classes.names)
    if len(shape) != 3 or shape[0] not in (count, count + 1) or min(shape) < 1:
        last = ", the classes last" if len(shape) == 3 and shape[2] in (count, count + 1) else ""
        raise DataError(
            f"{path}: must be [{count},h,w], a plane for each of the {classes.kind}, or [{count + 1},h,w] with the "
            f"background last, got {list(shape)}{last}; save this shape"
        )
    if dtype.kind != "f" or dtype.itemsize not in (2, 4, 8):
        raise DataError(f"{path}: scores must be float16, float32 or float64, got {dtype}; save one of these types")
    _, height, width = shape
    if is_fortran or height * width > MAX_MEGAPIXELS * 10**6:
        got = "Fortran's" if is_fortran else f"{width}x{height}"
        raise DataError(
            f"{path}: must be in C order, of at most {MAX_MEGAPIXELS} megapixels, got {got}; "
            "save numpy.ascontiguousarray of it"
        )
    if (width, height) == (image.height, image.width):
        check_size(path, image, (width, height))
    return ScoreStack(shape, dtype)
