"""Entries of a vocabulary as users write them, on the command line and in files."""

import re

import pytest

from partseg_cli.errors import VocabularyError
from partseg_cli.inference.query import read_query_terms

RULE = "must be a list of entries or {object: ..., part: ...}, or map objects to lists of parts"
ADVICE = "put names that YAML reads as something else in quotes"


def refused(message: str):
    return pytest.raises(VocabularyError, match=f"^{re.escape(message)}$")


def test_entries_are_taken_apart_at_commas_and_keep_their_order():
    words = read_query_terms(["dog's tail, cat", " ear ,", "bus' wheel"])
    assert [word.text for word in words] == ["dog's tail", "cat", "ear", "bus' wheel"]


@pytest.mark.parametrize("entries", [[], [""], [" , ", ","]])
def test_no_entry_at_all_is_refused(entries):
    with refused('vocabulary: needs at least one entry, got none; pass --vocab "cat\'s ear"'):
        read_query_terms(entries)


@pytest.mark.parametrize(
    ("entries", "text"),
    [
        (["cat's ear", "dog", "cat’s  ear"], "cat’s ear"),
        (["bus' wheel, bus's wheel"], "bus's wheel"),
        (["ear", "cat, ear"], "ear"),
    ],
)
def test_an_entry_stands_once_however_it_is_spelled(entries, text):
    with pytest.raises(VocabularyError) as caught:
        read_query_terms(entries)
    first = {"cat’s ear": "cat's ear", "bus's wheel": "bus' wheel"}.get(text, text)
    assert str(caught.value) == f"vocabulary: duplicate entry, got {first!r} twice; remove one"


def test_a_bare_object_beside_its_part_is_no_double():
    assert [word.text for word in read_query_terms(["cat", "cat's ear", "ear"])] == ["cat", "cat's ear", "ear"]


# ---- files


def written(tmp_path, name: str, content: str | bytes) -> str:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def names_in(file: str) -> list[tuple[str | None, str | None, str]]:
    return [(word.object, word.part, word.text) for word in read_query_terms([file])]


def test_a_text_file_holds_an_entry_a_line_with_comments_and_blanks(tmp_path):
    file = written(tmp_path, "words.TXT", "# my words\ncat’s ear\n\n  bus' wheel  # round\r\ndog\n#\n")
    assert names_in(file) == [("cat", "ear", "cat’s ear"), ("bus", "wheel", "bus' wheel"), (None, None, "dog")]


def test_a_text_file_of_windows_may_open_with_a_byte_order_mark(tmp_path):
    assert names_in(written(tmp_path, "words.txt", "cat's ear\n".encode("utf-8-sig"))) == [("cat", "ear", "cat's ear")]


@pytest.mark.parametrize("suffix", [".yaml", ".yml"])
def test_a_yaml_list_holds_texts_and_mappings(tmp_path, suffix):
    text = "- cat's ear\n- {object: chest of drawers, part: leg}\n- {object: dog}\n- {part: tail}\n- horse\n"
    assert names_in(written(tmp_path, f"words{suffix}", text)) == [
        ("cat", "ear", "cat's ear"),
        ("chest of drawers", "leg", "chest of drawers's leg"),
        ("dog", None, "dog"),
        (None, "tail", "tail"),
        (None, None, "horse"),
    ]


def test_a_yaml_mapping_holds_objects_with_their_parts(tmp_path):
    text = "cat: [ear, left leg]\nboat:\ndog: []\nbus: [wheel]\n"
    assert names_in(written(tmp_path, "words.yaml", text)) == [
        ("cat", "ear", "cat's ear"),
        ("cat", "left leg", "cat's left leg"),
        ("boat", None, "boat"),
        ("dog", None, "dog"),
        ("bus", "wheel", "bus's wheel"),
    ]


def test_files_and_entries_stand_in_one_list(tmp_path):
    file = written(tmp_path, "words.txt", "dog\ncat\n")
    assert [word.text for word in read_query_terms(["ear", file, "horse"])] == ["ear", "dog", "cat", "horse"]


def test_a_double_is_found_across_files(tmp_path):
    file = written(tmp_path, "words.txt", "dog\n")
    with refused("vocabulary: duplicate entry, got 'dog' twice; remove one"):
        read_query_terms(["dog", file])


def test_a_file_of_comments_alone_is_empty(tmp_path):
    with refused('vocabulary: needs at least one entry, got none; pass --vocab "cat\'s ear"'):
        read_query_terms([written(tmp_path, "words.txt", "# nothing\n\n")])


@pytest.mark.parametrize("text", ["5", "", "'cat'"])
def test_a_yaml_file_of_one_value_is_refused(tmp_path, text):
    file = written(tmp_path, "words.yaml", text)
    got = {"5": "5", "": "None", "'cat'": "'cat'"}[text]
    with refused(f"{file}: {RULE}, got {got}; {ADVICE}"):
        read_query_terms([file])


@pytest.mark.parametrize(
    ("text", "got"),
    [
        ("- 5", "5"),
        ("- {objekt: cat}", "{'objekt': 'cat'}"),
        ("- [cat]", "['cat']"),
        ("- {}", "{}"),
        ("- ", "None"),
        # readable YAML, but no words: neither may become a word of the vocabulary
        ("- {object: , part: }", "{'object': None, 'part': None}"),
        ("- {object: 5, part: ear}", "{'object': 5, 'part': 'ear'}"),
        ("- {object: cat, part: [ear]}", "{'object': 'cat', 'part': ['ear']}"),
    ],
)
def test_a_yaml_entry_that_is_no_word_is_refused(tmp_path, text, got):
    file = written(tmp_path, "words.yaml", text)
    with refused(f"{file}: {RULE}, got {got}; {ADVICE}"):
        read_query_terms([file])


@pytest.mark.parametrize("text", ["cat: ear", "cat: 5", "cat: {ear: 1}", "cat: [5]", "no: [ear]", "'': [ear]"])
def test_a_yaml_mapping_to_anything_but_lists_of_parts_is_refused(tmp_path, text):
    with pytest.raises(VocabularyError, match=re.escape(str(tmp_path / "words.yaml"))):
        read_query_terms([written(tmp_path, "words.yaml", text)])


def test_a_broken_yaml_file_is_refused_in_one_line(tmp_path):
    file = written(tmp_path, "words.yaml", "cat: [ear\ndog: x")
    with pytest.raises(VocabularyError, match=rf"^{re.escape(file)}: invalid YAML \(.+\); fix the file$") as caught:
        read_query_terms([file])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["words.txt", "words.yaml"])
def test_a_missing_or_binary_file_is_refused(tmp_path, name):
    for file in (str(tmp_path / "none" / name), written(tmp_path, name, b"\xff\xfe\x00")):
        with pytest.raises(
            VocabularyError,
            match=rf"^{re.escape(file)}: cannot be read as a vocabulary file \(.+\); name a UTF-8 text or YAML file$",
        ):
            read_query_terms([file])


def test_a_line_of_a_text_file_may_hold_several_entries(tmp_path):
    file = written(tmp_path, "words.txt", "cat's ear, dog's ear\nbus # whole\n")
    assert names_in(file) == [("cat", "ear", "cat's ear"), ("dog", "ear", "dog's ear"), (None, None, "bus")]
