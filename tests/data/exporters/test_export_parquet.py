"""Parquet files of a store, read back by pyarrow."""

import json
import re
import sys

import pytest
from parquet_reader import read_records
from random_store import OBJECTS, records_of, write_random

from partseg_cli.data.exporters import parquet as export_parquet
from partseg_cli.data.exporters.parquet import export
from partseg_cli.data.store import DatasetInfo
from partseg_cli.errors import PartsegError, UsageError

parquet = pytest.importorskip("pyarrow.parquet")


@pytest.fixture
def store(tmp_path):
    return write_random(tmp_path, 3, {"train": 11, "val": 0})


def refused(message: str, kind: type[Exception]):
    return pytest.raises(kind, match=f"^{re.escape(message)}$")


@pytest.mark.parametrize("seed", range(6))
def test_the_records_come_back_as_they_were(tmp_path, seed):
    store = write_random(tmp_path, seed, {"train": 9, "val": 0 if seed % 2 else 4})
    paths = list(export(store, tmp_path / "out", store.splits))
    assert paths == [tmp_path / "out" / "train.parquet", tmp_path / "out" / "val.parquet"]
    assert {path.stem: list(read_records(path)) for path in paths} == records_of(store)


def test_each_file_describes_the_data_set(store, tmp_path):
    for path in export(store, tmp_path / "out", store.splits):
        about = json.loads(parquet.ParquetFile(path).schema_arrow.metadata[b"partseg"])
        info = DatasetInfo.from_json(about)
        assert (info.name, info.objects, info.vocabulary) == ("random-parts", OBJECTS, store.info.vocabulary)
        assert (info.licence, info.homepage) == (store.info.licence, store.info.homepage)
        assert (info.lists, info.test) == (store.info.lists, store.info.test)
        assert [name for name, _ in info.images] == ["train", "val"]


def test_the_same_store_gives_the_same_bytes(store, tmp_path):
    (first,) = export(store, tmp_path / "a", ["train"])
    (second,) = export(store, tmp_path / "b", ["train"])
    assert first.read_bytes() == second.read_bytes()


def test_pyarrow_alone_reads_columns_and_classes(store, tmp_path):
    (path,) = export(store, tmp_path / "out", ["train"])
    table = parquet.read_table(path, columns=["file_name", "parts"])
    record = next(record for record in store.records("train") if record.parts)
    row = next(row for row in table.to_pylist() if row["file_name"] == record.file_name)
    assert [part["mask"]["rle"] for part in row["parts"]] == [part.mask.rle for part in record.parts]
    about = json.loads(table.schema.metadata[b"partseg"])
    assert (about["format"], about["split"]) == ("partseg-parquet-1", "train")
    assert about["pairs"] == store.info.vocabulary.to_json()


def test_rows_are_compressed_by_zstd_in_groups(store, tmp_path, monkeypatch):
    monkeypatch.setattr(export_parquet, "ROWS", 4)
    (path,) = export(store, tmp_path / "out", ["train"])
    metadata = parquet.ParquetFile(path).metadata
    assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [4, 4, 3]
    assert metadata.row_group(0).column(0).compression == "ZSTD"
    assert list(read_records(path)) == list(store.records("train"))


def test_only_a_group_of_rows_is_in_memory(store, tmp_path, monkeypatch):
    monkeypatch.setattr(export_parquet, "ROWS", 3)
    sizes = []
    groups = export_parquet._group_rows
    monkeypatch.setattr(
        export_parquet, "_group_rows", lambda records: (sizes.append(len(rows)) or rows for rows in groups(records))
    )
    list(export(store, tmp_path / "out", ["train"]))
    assert sizes == [3, 3, 3, 2]


def test_without_pyarrow_it_is_said_at_once_what_to_install(store, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    message = (
        "Parquet needs pyarrow, got import of pyarrow halted; None in sys.modules; install it: "
        'pip install "partseg-cli[parquet]"'
    )
    with refused(message, UsageError):
        export(store, tmp_path, ["train"])


def test_a_full_disk_leaves_no_half_file(tmp_path, file_size_limit):
    store = write_random(tmp_path, 0, {"train": 40})
    out = tmp_path / "out"
    message = (
        f"{out}/train.parquet: cannot be written (File too large); lift the file size limit or choose another --out"
    )
    with file_size_limit(4000), refused(message, PartsegError):
        list(export(store, out, ["train"]))
    assert list(out.iterdir()) == []
