"""A store as Parquet: `<split>.parquet`, a row for each image, with its objects and parts as lists of structs.

Masks stay COCO run-length codes. The key "partseg" of the schema's metadata says the rest as JSON: names of objects and
pairs with their seen flags, licence, published lists. No file holds a time, so the same store gives the same bytes.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

from partseg_cli.data.exporters.common import info_from_json, info_to_json
from partseg_cli.data.record import Instance, Part, Record
from partseg_cli.data.rle import Mask
from partseg_cli.data.store import DatasetInfo, Store
from partseg_cli.errors import DataError, UsageError, VocabularyError, one_line
from partseg_cli.io.atomic import atomic_write

FORMAT = "partseg-parquet-1"
KEY = b"partseg"
ROWS = 256
"""Images of a row group: all that is in memory at once."""


def export(store: Store, folder: Path, splits: Sequence[str]) -> Iterator[Path]:
    """Write `<split>.parquet` for each split; give each path when it is there.

    Raises:
        UsageError: pyarrow is not installed; said at once.
    """
    _pyarrow()
    return (_write(store, split, folder / f"{split}.parquet") for split in splits)


def read_records(path: Path) -> Iterator[Record]:
    """Read the records of an exported file, lazily.

    Raises:
        DataError: it is something else.
        UsageError: pyarrow is not installed.
    """
    file = _opened(path)
    for batch in file.iter_batches(batch_size=ROWS):
        for row in batch.to_pylist():
            yield _record(row)


def read_info(path: Path) -> DatasetInfo:
    """Read what an exported file says of its set; the photos' folder is not known, and empty.

    Raises:
        DataError: it is something else.
        UsageError: pyarrow is not installed.
    """
    return _info(path, _opened(path))


def _write(store: Store, split: str, path: Path) -> Path:
    schema = _schema(store.info, split)
    parquet = _pyarrow("parquet")
    with (
        atomic_write(path) as temporary,
        temporary.open("wb") as file,
        parquet.ParquetWriter(file, schema, compression="zstd") as writer,
    ):
        for rows in _groups(store.records(split)):
            writer.write_table(_pyarrow().Table.from_pylist(rows, schema), row_group_size=ROWS)
    return path


def _groups(records: Iterable[Record]) -> Iterator[list[dict[str, Any]]]:
    rows = (asdict(record) for record in records)
    while group := list(islice(rows, ROWS)):
        yield group


def _schema(info: DatasetInfo, split: str) -> Any:  # noqa: ANN401 - pyarrow.Schema
    arrow = _pyarrow()
    text, number, yes = arrow.string(), arrow.int32(), arrow.bool_()
    mask = arrow.struct({"rle": text, "bbox": arrow.list_(number, 4), "area": number})
    instance = {"id": number, "category": number, "mask": mask, "synthetic": yes}
    part = {"object": number, "pair": number, "raw": text, "level": number, "mask": mask}
    columns = {
        "image_id": text,
        "file_name": text,
        "width": number,
        "height": number,
        "source": text,
        "objects": arrow.list_(arrow.struct(instance)),
        "parts": arrow.list_(arrow.struct(part)),
        "upright": yes,
        "ignore": mask,
        "not_exhaustive": arrow.list_(number),
    }
    about = {"format": FORMAT, "split": split, **info_to_json(info)}
    return arrow.schema(columns, metadata={KEY: json.dumps(about, ensure_ascii=False, separators=(",", ":"))})


def _record(row: dict[str, Any]) -> Record:
    """Read a row: the fields of a record, with lists instead of tuples."""
    instances = tuple(Instance(**{**instance, "mask": _mask(instance["mask"])}) for instance in row.pop("objects"))
    parts = tuple(Part(**{**part, "mask": _mask(part["mask"])}) for part in row.pop("parts"))
    ignore = row.pop("ignore")
    row["not_exhaustive"] = tuple(row["not_exhaustive"])
    return Record(**row, objects=instances, parts=parts, ignore=None if ignore is None else _mask(ignore))


def _mask(value: dict[str, Any]) -> Mask:
    return Mask(value["rle"], tuple(value["bbox"]), value["area"])


def _opened(path: Path) -> Any:  # noqa: ANN401 - pyarrow.parquet.ParquetFile
    """Open an exported file."""
    parquet = _pyarrow("parquet")
    try:
        file = parquet.ParquetFile(path)
    except (OSError, ValueError) as error:
        why = one_line(error)
        raise DataError(f"{path}: must be an exported Parquet file, got none that can be read ({why})") from error
    _info(path, file)
    return file


def _info(path: Path, file: Any) -> DatasetInfo:  # noqa: ANN401 - pyarrow.parquet.ParquetFile
    text = (file.schema_arrow.metadata or {}).get(KEY)
    if text is None:
        raise DataError(f"{path}: must be an exported Parquet file, got one without partseg in its metadata")
    try:
        value = json.loads(text)
        if value["format"] != FORMAT:
            raise DataError(f"{path}: the format must be {FORMAT!r}, got {value['format']!r}; export it again")
        return info_from_json(value)
    except (ValueError, KeyError, TypeError, AttributeError, VocabularyError) as error:
        raise DataError(f"{path}: its metadata are broken ({error!r}); export it again") from error


def _pyarrow(module: str = "") -> Any:  # noqa: ANN401 - a module without types
    """Give pyarrow, which few need, or one of its modules."""
    try:
        return importlib.import_module(f"pyarrow.{module}" if module else "pyarrow")
    except ImportError as error:
        raise UsageError(
            f'Parquet needs pyarrow, got {error}; install it: pip install "partseg-cli[parquet]"'
        ) from error
