"""On-disk cache of equally shaped arrays by index, shared by processes and runs."""

from __future__ import annotations

import errno
import mmap
import os
import zlib
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from partseg_cli.errors import PartsegError
from partseg_cli.io.atomic import atomic_write, disk_error

CHECK = 4
"""Bytes of a row's checksum; 0 marks a missing row."""


class ArrayCache:
    """File of `count` rows, each an array of one shape and type or missing.

    The checksums are stored after all rows; each is written after its row and compared when a process first reads the
    row. A row cut off by a kill or a crash is therefore missing and is written again; every process writes the same.

    Args:
        path: Path of the sparse file, as large as all rows.
        count: Number of rows.
        shape: Shape of a row.
        dtype: Type of its values.

    Raises:
        PartsegError: The file cannot be written.
    """

    def __init__(self, path: Path, count: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.path, self._count, self._shape, self._dtype = path, count, shape, dtype
        self._bytes = prod(shape) * dtype.itemsize
        self._handle = -1
        self._map: mmap.mmap | None = None
        self._checked: set[int] = set()
        size = count * (self._bytes + CHECK)
        if not path.is_file() or path.stat().st_size != size:
            try:
                with atomic_write(path, is_durable=False) as temporary, temporary.open("wb") as file:
                    file.truncate(size)
            except PartsegError as error:
                raise _refused(str(error)) from error

    def get(self, index: int) -> Shaped[np.ndarray, "*row"] | None:
        """Return a read-only row, or None if it is missing."""
        whole = self._opened()
        start = index * self._bytes
        if index not in self._checked:
            check = self._count * self._bytes + index * CHECK
            wanted = int.from_bytes(whole[check : check + CHECK], "little")
            if not wanted or wanted != _checksum(memoryview(whole)[start : start + self._bytes]):
                return None
            self._checked.add(index)
        row: Shaped[np.ndarray, "*row"] = np.frombuffer(whole, self._dtype, prod(self._shape), start)
        return row.reshape(self._shape)

    def put(self, index: int, row: Shaped[np.ndarray, "*row"]) -> None:
        """Write a row.

        Raises:
            PartsegError: The file cannot be written.
        """
        if row.shape != self._shape or row.dtype != self._dtype:
            raise ValueError(f"a row must be {self._dtype} {self._shape}, got {row.dtype} {row.shape}")
        self._opened()
        content = np.ascontiguousarray(row).tobytes()
        try:
            # Written, not stored into the map: there a full disk would kill the process
            self._write(content, index * self._bytes)
            self._write(_checksum(content).to_bytes(CHECK, "little"), self._count * self._bytes + index * CHECK)
        except OSError as error:
            raise _refused(str(disk_error(self.path, error))) from error

    def _write(self, content: bytes, start: int) -> None:
        if os.pwrite(self._handle, content, start) != len(content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _opened(self) -> mmap.mmap:
        """Return the file's map, opened in this process on first use."""
        if self._map is None:
            try:
                self._handle = os.open(self.path, os.O_RDWR)
                self._map = mmap.mmap(self._handle, 0, access=mmap.ACCESS_READ)
            except OSError as error:
                raise _refused(str(disk_error(self.path, error))) from error
        return self._map

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_handle": -1, "_map": None, "_checked": set()}


def _checksum(content: bytes | memoryview) -> int:
    return zlib.crc32(content) or 1


def _refused(message: str) -> PartsegError:
    """Return the error with the remedies for a cache."""
    what = message.partition("; ")[0]
    return PartsegError(f"{what}; free some space, set XDG_CACHE_HOME to another disk, or use data.cache=none")
