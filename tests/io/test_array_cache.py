"""Rows on disk: whole or not there, whoever writes them and whatever stops it."""

import errno
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from partseg_cli.errors import PartsegError
from partseg_cli.io.array_cache import ArrayCache

COUNT, SHAPE, DTYPE = 5, (3, 4), np.dtype(np.uint16)


def opened(folder: Path) -> ArrayCache:
    return ArrayCache(folder / "a.rows", COUNT, SHAPE, DTYPE)


def row(number: int) -> np.ndarray:
    return (np.arange(12, dtype=np.uint16).reshape(SHAPE) + 1) * (number + 1)


def test_a_row_comes_back_in_this_process_and_in_others(tmp_path):
    file = opened(tmp_path)
    assert file.get(3) is None
    file.put(3, row(3))
    for reader in (file, opened(tmp_path), pickle.loads(pickle.dumps(file))):
        assert np.array_equal(reader.get(3), row(3))
        assert [reader.get(number) is None for number in range(COUNT)] == [True, True, True, False, True]
        with pytest.raises(ValueError, match="read-only"):
            reader.get(3)[0] = 0


def test_rows_do_not_overlap(tmp_path):
    file = opened(tmp_path)
    for number in range(COUNT):
        file.put(number, row(number))
    assert all(np.array_equal(opened(tmp_path).get(number), row(number)) for number in range(COUNT))


def test_a_row_of_nothing_but_zeros_is_a_row(tmp_path):
    file = opened(tmp_path)
    file.put(0, np.zeros(SHAPE, DTYPE))
    assert np.array_equal(opened(tmp_path).get(0), np.zeros(SHAPE, DTYPE))


@pytest.mark.parametrize("place", [2 * 24, 2 * 24 + 23, COUNT * 24 + 2 * 4])
def test_a_row_that_was_not_written_to_its_end_is_not_there(tmp_path, place):
    opened(tmp_path).put(2, row(2))
    content = bytearray((tmp_path / "a.rows").read_bytes())
    content[place] ^= 1
    (tmp_path / "a.rows").write_bytes(content)
    file = opened(tmp_path)
    assert file.get(2) is None
    file.put(2, row(2))
    assert np.array_equal(file.get(2), row(2))


def test_a_file_of_another_size_is_replaced(tmp_path):
    (tmp_path / "a.rows").write_bytes(b"something else")
    assert opened(tmp_path).get(0) is None


def test_only_rows_of_the_shape_and_type_are_taken(tmp_path):
    with pytest.raises(ValueError, match=r"^a row must be uint16 \(3, 4\), got int64 \(3, 4\)$"):
        opened(tmp_path).put(0, row(0).astype(np.int64))


def test_a_full_disk_is_an_error_with_a_remedy(tmp_path, monkeypatch):
    def refuse(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    file = opened(tmp_path)
    monkeypatch.setattr(os, "pwrite", refuse)
    with pytest.raises(PartsegError) as caught:
        file.put(0, row(0))
    assert str(caught.value) == (
        f"{tmp_path}/a.rows: cannot be written (No space left on device); free some space, set XDG_CACHE_HOME to "
        "another disk, or use data.cache=none"
    )
    assert opened(tmp_path).get(0) is None


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(PartsegError, match=r"a\.rows: cannot be written \(File exists\); free some space, set XDG"):
        opened(tmp_path / "file")
