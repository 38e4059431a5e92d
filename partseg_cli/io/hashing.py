"""SHA-256 digests of values and files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path


def digest(chunks: Iterable[str | bytes | memoryview]) -> str:
    """Return the digest of all chunks as one text, in hexadecimal digits; text counts as UTF-8.

    >>> digest(["cat", b"'s ear"]) == digest(["cat's ear"])
    True
    """
    total = hashlib.sha256()
    for chunk in chunks:
        total.update(chunk.encode() if isinstance(chunk, str) else chunk)
    return total.hexdigest()


def file_digest(path: Path) -> str:
    """Return the digest of a file's bytes, in hexadecimal digits.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
