"""The journal gives back what was finished, whoever wrote it and however the run ended."""

import pytest

from partseg_cli.errors import PartsegError
from partseg_cli.io.journal import Journal, clear_journals


def written(folder, number, value, **options):
    with Journal(folder, "about") as journal:
        journal.add(number, value, **options)


def test_a_journal_gives_back_what_any_process_wrote(tmp_path):
    written(tmp_path, 3, ["a", []])
    written(tmp_path, 0, ["b", [[1]]])
    journal = Journal(tmp_path, "about")
    assert dict(journal) == {3: ["a", []], 0: ["b", [[1]]]}
    assert (len(journal), 0 in journal, 1 in journal) == (2, True, False)


def test_another_job_has_a_journal_of_its_own(tmp_path):
    written(tmp_path, 0, "a")
    assert dict(Journal(tmp_path, "something else")) == {}


def test_what_is_added_is_there_at_once(tmp_path):
    with Journal(tmp_path, "about") as journal:
        journal.add(0, "a")
        assert journal[0] == "a"


def test_of_two_entries_the_newest_counts(tmp_path):
    for value in range(12):  # by the number in a name, 10 follows 9
        written(tmp_path, 0, value)
    assert Journal(tmp_path, "about")[0] == 11
    with Journal(tmp_path, "about") as journal:
        journal.add(0, "newest")
        assert journal[0] == "newest"


@pytest.mark.parametrize(
    "rest",
    [
        b'[1, ["st',
        b"\x00\xff\x00",
        b"{}\n",
        b"[]\n",
        b"[1]\n",
        b'["1", 2]\n',
        b"[1, 2]",
        b'{"number": 1, "st',
        b'{"number": 1}',
    ],
)
def test_a_line_that_is_not_whole_does_not_count(tmp_path, rest):
    written(tmp_path, 0, "whole")
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes() + rest)
    assert dict(Journal(tmp_path, "about")) == {0: "whole"}
    written(tmp_path, 1, "next")
    assert dict(Journal(tmp_path, "about")) == {0: "whole", 1: "next"}


def test_a_journal_of_nothing_is_no_file(tmp_path):
    with Journal(tmp_path / "out", "about") as journal:
        assert dict(journal) == {}
    assert not (tmp_path / "out").exists()


def test_a_journal_that_no_later_run_can_use_is_removed(tmp_path):
    written(tmp_path, 0, "a", is_final=False)
    assert list(tmp_path.iterdir()) == []


def test_clearing_takes_journals_alone(tmp_path):
    written(tmp_path, 0, "a")
    (tmp_path / "results.json").write_text("{}")
    clear_journals(tmp_path)
    assert list(tmp_path.iterdir()) == [tmp_path / "results.json"]


def test_a_full_disk_is_told(tmp_path, file_size_limit):
    with (
        pytest.raises(PartsegError, match=r"cannot be written \(File too large\); lift the file size limit"),
        file_size_limit(100),
    ):
        written(tmp_path, 0, "a" * 200)
