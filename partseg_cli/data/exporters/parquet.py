"""Export to Parquet: `<split>.parquet`, a row for each image, with its objects and parts as lists of structs.

Masks stay COCO run-length codes. The key "partseg" of the schema's metadata is a JSON of the dataset: names of objects
and pairs with their seen flags, licence, published lists. No file holds a time, so the same store gives the same bytes.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

from partseg_cli.data.record import Record
from partseg_cli.data.store import DatasetInfo, Store
from partseg_cli.errors import UsageError
from partseg_cli.io.atomic import atomic_write

FORMAT = "partseg-parquet-1"
KEY = b"partseg"
ROWS = 256
"""Images of a row group, the most that are in memory at a time."""


def export(store: Store, folder: Path, splits: Sequence[str]) -> Iterator[Path]:
    """Write `<split>.parquet` for each split, and yield each path once it is written.

    Raises:
        UsageError: pyarrow is not installed; raised before the first path.
    """
    _import_pyarrow()
    return (_write(store, split, folder / f"{split}.parquet") for split in splits)


def _write(store: Store, split: str, path: Path) -> Path:
    schema = _schema(store.info, split)
    arrow, parquet = _import_pyarrow(), _import_pyarrow("parquet")
    with (
        atomic_write(path) as temporary,
        temporary.open("wb") as file,
        parquet.ParquetWriter(file, schema, compression="zstd") as writer,
    ):
        for rows in _group_rows(store.records(split)):
            writer.write_table(arrow.Table.from_pylist(rows, schema), row_group_size=ROWS)
    return path


def _group_rows(records: Iterable[Record]) -> Iterator[list[dict[str, Any]]]:
    rows = (asdict(record) for record in records)
    while group := list(islice(rows, ROWS)):
        yield group


def _schema(info: DatasetInfo, split: str) -> Any:  # noqa: ANN401 - pyarrow.Schema
    arrow = _import_pyarrow()
    text, number, flag = arrow.string(), arrow.int32(), arrow.bool_()
    mask = arrow.struct({"rle": text, "bbox": arrow.list_(number, 4), "area": number})
    instance = {"id": number, "category": number, "mask": mask, "synthetic": flag}
    part = {"object": number, "pair": number, "raw": text, "level": number, "mask": mask}
    columns = {
        "image_id": text,
        "file_name": text,
        "width": number,
        "height": number,
        "source": text,
        "objects": arrow.list_(arrow.struct(instance)),
        "parts": arrow.list_(arrow.struct(part)),
        "upright": flag,
        "ignore": mask,
        "not_exhaustive": arrow.list_(number),
    }
    about = {"format": FORMAT, "split": split, **info.to_portable_json()}
    return arrow.schema(columns, metadata={KEY: json.dumps(about, ensure_ascii=False, separators=(",", ":"))})


def _import_pyarrow(module: str = "") -> Any:  # noqa: ANN401 - a module without types
    """Import pyarrow, an optional dependency, or one of its modules."""
    try:
        return importlib.import_module(f"pyarrow.{module}" if module else "pyarrow")
    except ImportError as error:
        raise UsageError(
            f'Parquet needs pyarrow, got {error}; install it: pip install "partseg-cli[parquet]"'
        ) from error
