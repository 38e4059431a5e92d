"""Files appear whole or not at all, whatever happens on the way."""

import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from partseg_cli.errors import PartsegError
from partseg_cli.io.atomic import atomic_write, remove_leftovers, write_json, write_text


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def fail_half_way(path: Path, error: BaseException) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text("half")
        raise error


@pytest.fixture
def old(tmp_path) -> Path:
    path = tmp_path / "notes.txt"
    path.write_text("old")
    return path


def test_a_file_appears_when_the_block_ends(tmp_path):
    path = tmp_path / "new" / "folder" / "notes.txt"
    with atomic_write(path) as temporary:
        temporary.write_text("new")
        assert not path.exists()
        assert temporary.parent == path.parent
    assert path.read_text() == "new"
    assert names(path.parent) == ["notes.txt"]


def test_the_old_content_stays_until_the_block_ends(old):
    with atomic_write(old) as temporary:
        temporary.write_text("new")
        assert old.read_text() == "old"
    assert (old.read_text(), names(old.parent)) == ("new", ["notes.txt"])


@pytest.mark.parametrize("error", [ValueError("broken"), KeyboardInterrupt(), PartsegError("bad")])
def test_an_exception_keeps_the_old_content_and_leaves_nothing_else(old, error):
    with pytest.raises(type(error)) as caught:
        fail_half_way(old, error)
    assert caught.value is error
    assert (old.read_text(), names(old.parent)) == ("old", ["notes.txt"])


@pytest.mark.parametrize(
    ("number", "reason", "advice"),
    [
        (errno.ENOSPC, "No space left on device", "free some space or choose another --out"),
        (errno.EDQUOT, "Disk quota exceeded", "free some of your quota or choose another --out"),
        (errno.EFBIG, "File too large", "lift the file size limit or choose another --out"),
        (errno.EACCES, "Permission denied", "choose an --out that you may write to"),
        (errno.EROFS, "Read-only file system", "choose an --out that you may write to"),
        (errno.EIO, "Input/output error", "choose another --out"),
    ],
)
def test_a_failed_write_is_an_error_with_a_remedy(old, number, reason, advice):
    message = f"{old}: cannot be written ({reason}); {advice}"
    with pytest.raises(PartsegError, match=f"^{re.escape(message)}$") as caught:
        fail_half_way(old, OSError(number, os.strerror(number)))
    assert caught.value.exit_code == 1
    assert (old.read_text(), names(old.parent)) == ("old", ["notes.txt"])


def test_an_error_without_a_number_keeps_its_own_text(old):
    message = f"{old}: cannot be written (12 requested and 0 written); choose another --out"
    with pytest.raises(PartsegError, match=f"^{re.escape(message)}$"):
        fail_half_way(old, OSError("12 requested and 0 written"))


def test_a_disk_that_fills_when_the_file_is_flushed_keeps_the_old_content(old, monkeypatch):
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    message = f"{old}: cannot be written (No space left on device); free some space or choose another --out"
    with pytest.raises(PartsegError, match=f"^{re.escape(message)}$"):
        write_text(old, "new")
    assert (old.read_text(), names(old.parent)) == ("old", ["notes.txt"])


@pytest.mark.process
def test_a_full_disk_for_real_keeps_the_old_content(old):
    pytest.importorskip("resource")
    program = (
        "import resource, sys; from pathlib import Path; from partseg_cli.io.atomic import write_text\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try: write_text(Path(sys.argv[1]), 'x' * 1001)\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(old)], capture_output=True, text=True, check=True)
    advice = "lift the file size limit or choose another --out"
    assert done.stdout == f"PartsegError {old}: cannot be written (File too large); {advice}\n"
    assert (old.read_text(), names(old.parent)) == ("old", ["notes.txt"])


def test_a_folder_that_is_a_file_is_an_error(old):
    message = f"{old / 'deep' / 'a.txt'}: cannot be written (Not a directory); choose another --out"
    with pytest.raises(PartsegError, match=f"^{re.escape(message)}$"):
        write_text(old / "deep" / "a.txt", "text")


def test_a_folder_is_not_replaced_by_a_file(tmp_path):
    (tmp_path / "results" / "full").mkdir(parents=True)
    with pytest.raises(PartsegError, match=r"results: cannot be written \(Is a directory\); choose another --out$"):
        write_text(tmp_path / "results", "text")
    assert names(tmp_path) == ["results"]


def test_text_is_utf_8_and_json_readable(tmp_path):
    write_text(tmp_path / "a", "Köpfchen\n")
    write_json(tmp_path / "b", {"word": "cat’s ear", "score": None, "rows": [1]})
    assert (tmp_path / "a").read_bytes() == b"K\xc3\xb6pfchen\n"
    assert (tmp_path / "b").read_text(encoding="utf-8") == (
        '{\n "word": "cat’s ear",\n "score": null,\n "rows": [\n  1\n ]\n}\n'
    )


def test_leftovers_of_killed_processes_are_removed(tmp_path):
    (tmp_path / "images").mkdir()
    for name in (".a.json.123.part", "images/.b.jpg.7.part", ".hidden", "d.part"):
        (tmp_path / name).touch()
    remove_leftovers(tmp_path)
    assert names(tmp_path) == [".hidden", "d.part", "images"]
    assert names(tmp_path / "images") == []
