"""Parquet files of a store, read back by our own reader and by pyarrow alone."""

import importlib
import json
import re
import sys

import pytest
from random_store import OBJECTS, records_of, write_random

from partseg_cli.data.exporters import parquet as export_parquet
from partseg_cli.data.exporters.parquet import export, read_info, read_records
from partseg_cli.errors import DataError, PartsegError, UsageError

parquet = pytest.importorskip("pyarrow.parquet")


@pytest.fixture
def store(tmp_path):
    return write_random(tmp_path, 3, {"train": 11, "val": 0})


def refused(message: str, kind: type[Exception] = DataError):
    return pytest.raises(kind, match=f"^{re.escape(message)}$")


@pytest.mark.parametrize("seed", range(6))
def test_the_records_come_back_as_they_were(tmp_path, seed):
    store = write_random(tmp_path, seed, {"train": 9, "val": 0 if seed % 2 else 4})
    paths = list(export(store, tmp_path / "out", store.splits))
    assert paths == [tmp_path / "out" / "train.parquet", tmp_path / "out" / "val.parquet"]
    assert {path.stem: list(read_records(path)) for path in paths} == records_of(store)


def test_the_set_is_told_in_each_file(store, tmp_path):
    for path in export(store, tmp_path / "out", store.splits):
        info = read_info(path)
        assert (info.name, info.objects, info.vocabulary) == ("random-parts", OBJECTS, store.info.vocabulary)
        assert (info.licence, info.homepage) == (store.info.licence, store.info.homepage)
        assert (info.lists, info.test) == (store.info.lists, store.info.test)
        assert [name for name, _ in info.images] == ["train", "val"]


def test_the_same_store_gives_the_same_bytes(store, tmp_path):
    (first,) = export(store, tmp_path / "a", ["train"])
    (second,) = export(store, tmp_path / "b", ["train"])
    assert first.read_bytes() == second.read_bytes()


def test_pyarrow_alone_reads_columns_and_words(store, tmp_path):
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
    groups = export_parquet._groups
    monkeypatch.setattr(
        export_parquet, "_groups", lambda records: (sizes.append(len(rows)) or rows for rows in groups(records))
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


def test_something_else_is_no_exported_file(tmp_path):
    arrow = importlib.import_module("pyarrow")
    path = tmp_path / "a.parquet"
    path.write_text("nothing")
    start = re.escape(f"{path}: must be an exported Parquet file, got none that can be read (")
    with pytest.raises(DataError, match=f"^{start}.*\\)$"):
        list(read_records(path))
    parquet.write_table(arrow.table({"a": [1]}), path)
    with refused(f"{path}: must be an exported Parquet file, got one without partseg in its metadata"):
        list(read_records(path))
    table = arrow.table({"a": [1]})
    parquet.write_table(table.replace_schema_metadata({"partseg": json.dumps({"format": "x"})}), path)
    with refused(f"{path}: the format must be 'partseg-parquet-1', got 'x'; export it again"):
        read_info(path)
    parquet.write_table(table.replace_schema_metadata({"partseg": "{}"}), path)
    with refused(f"{path}: its metadata are broken (KeyError('format')); export it again"):
        read_info(path)


def test_a_full_disk_leaves_no_half_file(tmp_path, file_size_limit):
    store = write_random(tmp_path, 0, {"train": 40})
    out = tmp_path / "out"
    message = (
        f"{out}/train.parquet: cannot be written (File too large); lift the file size limit or choose another --out"
    )
    with file_size_limit(4000), refused(message, PartsegError):
        list(export(store, out, ["train"]))
    assert list(out.iterdir()) == []
