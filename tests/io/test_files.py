"""What lies in a folder that a user names, and proof that nothing leads out of it."""

import re
from pathlib import Path

import pytest

from partseg_cli.errors import DataError
from partseg_cli.io.files import check_links, describe_folder, folders_at, is_inside, read_json


def refused(message: str):
    return pytest.raises(DataError, match=f"^{re.escape(message)}$")


def test_folders_come_place_by_place_and_sorted_without_litter_and_files(tmp_path):
    for name in ("b/x", "a/x", "x", "__MACOSX/x", ".hidden/x"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "c").mkdir()
    (tmp_path / "c/x").touch()
    found = [path.relative_to(tmp_path).as_posix() for path in folders_at(tmp_path, (".", "x", "*/x"))]
    assert found == [".", "x", "a/x", "b/x"]


def test_a_source_in_a_hidden_folder_is_no_litter(tmp_path):
    (tmp_path / ".cache/x").mkdir(parents=True)
    assert list(folders_at(tmp_path / ".cache", ["x"])) == [tmp_path / ".cache/x"]


@pytest.mark.parametrize(
    ("names", "said"),
    [((), "an empty folder"), (("b", "a"), "a, b"), (tuple("gfedcba"), "a, b, c, d, e and 2 more")],
)
def test_the_content_of_a_folder_is_told_in_a_few_words(tmp_path, names, said):
    for name in names:
        (tmp_path / name).touch()
    assert describe_folder(tmp_path) == said


def test_what_is_no_folder_is_told(tmp_path):
    (tmp_path / "file").touch()
    assert (describe_folder(tmp_path / "file"), describe_folder(tmp_path / "none")) == ("a file", "no such folder")


@pytest.fixture
def source(tmp_path) -> Path:
    """A folder with a file, beside a file outside of it."""
    (tmp_path / "source").mkdir()
    (tmp_path / "source/inside").touch()
    (tmp_path / "outside").touch()
    return tmp_path / "source"


def test_what_is_there_is_inside_and_what_is_missing_is_not(source):
    assert is_inside(source, source / "inside")
    assert not is_inside(source, source / "none")
    assert not is_inside(source, source / "nu\0ll")
    (source / "dangling").symlink_to(source / "none")
    assert not is_inside(source, source / "dangling")


def test_links_that_stay_inside_are_fine_also_where_the_source_is_a_link(source, tmp_path, monkeypatch):
    (source / "link").symlink_to(source / "inside")
    (tmp_path / "again").symlink_to(source)
    monkeypatch.chdir(tmp_path)
    for folder in (source, tmp_path / "again", Path("again"), Path("source/../source")):
        assert is_inside(folder, folder / "link")


def test_a_link_out_of_the_source_is_refused_even_where_names_begin_alike(source):
    (source.with_name("source-2")).touch()
    for outside in (source.with_name("outside"), source.with_name("source-2")):
        path = source / f"to {outside.name}"
        path.symlink_to(outside)
        message = f"{path}: must be inside {source}, got a link to {outside}; copy the files there"
        for check in (lambda path: is_inside(source, path), lambda path: check_links(source, (), [path])):
            with refused(message):
                check(path)


def test_links_that_lead_to_each_other_are_refused(source):
    (source / "a").symlink_to(source / "b")
    (source / "b").symlink_to(source / "a")
    with refused(f"{source / 'a'}: must lead to a file, got a loop of links; fix them"):
        check_links(source, (), [source / "a"])


def test_a_folder_above_that_leads_out_is_refused(source, tmp_path):
    (tmp_path / "elsewhere/inner").mkdir(parents=True)
    (source / "folder").symlink_to(tmp_path / "elsewhere")
    with refused(
        f"{source}/folder/inner: must be inside {source}, got a link to {tmp_path}/elsewhere/inner; "
        "copy the files there"
    ):
        check_links(source, [source / "folder/inner"], ())


def test_json_may_begin_with_a_byte_order_mark(tmp_path):
    (tmp_path / "a.json").write_bytes(b"\xef\xbb\xbf[1]")
    assert read_json(tmp_path / "a.json", "mend it") == [1]


@pytest.mark.parametrize(
    ("content", "got"),
    [
        (None, "must be a readable file, got No such file or directory; get it again"),
        (b"", "must be JSON, got an empty file (Expecting value: line 1 column 1 (char 0)); get it again"),
        (
            b"<!DOCTYPE html>",
            "must be JSON, got an HTML page (Expecting value: line 1 column 1 (char 0)); get it again",
        ),
    ],
)
def test_what_is_no_json_is_refused(tmp_path, content, got):
    path = tmp_path / "a.json"
    if content is not None:
        path.write_bytes(content)
    with refused(f"{path}: {got}"):
        read_json(path, "get it again")
