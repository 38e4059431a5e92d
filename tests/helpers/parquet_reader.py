"""Reader of the Parquet files of `partseg export`, which the package itself does not need."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from partseg_cli.data.record import Instance, Part, Record
from partseg_cli.data.rle import Mask


def read_records(path: Path) -> Iterator[Record]:
    """Read the records of an exported file."""
    from pyarrow import parquet

    for batch in parquet.ParquetFile(path).iter_batches():
        for row in batch.to_pylist():
            yield to_record(row)


def to_record(row: dict[str, Any]) -> Record:
    """Convert a row: the fields of a record, with lists instead of tuples."""
    instances = tuple(Instance(**{**instance, "mask": to_mask(instance["mask"])}) for instance in row.pop("objects"))
    parts = tuple(Part(**{**part, "mask": to_mask(part["mask"])}) for part in row.pop("parts"))
    ignore = row.pop("ignore")
    row["not_exhaustive"] = tuple(row["not_exhaustive"])
    return Record(**row, objects=instances, parts=parts, ignore=None if ignore is None else to_mask(ignore))


def to_mask(value: dict[str, Any]) -> Mask:
    return Mask(value["rle"], tuple(value["bbox"]), value["area"])
