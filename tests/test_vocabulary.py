"""Names taken apart and put in order."""

import random
import re

import pytest

from partseg_cli.errors import VocabularyError
from partseg_cli.vocabulary import Pair, Vocabulary, Word, check_known, parse_word, read_words

RULE = "must be a list of entries or {object: ..., part: ...}, or map objects to lists of parts"
ADVICE = "put names that YAML reads as something else in quotes"


def words_of(*names: str, **flags: bool) -> Vocabulary:
    """Pairs from "object part" texts; `flags` say which objects are seen."""
    return Vocabulary(tuple(Pair(*name.split(maxsplit=1), flags.get(name.split()[0], True)) for name in names))


ZOO = words_of("dog head", "cat tail", "Ape head", "cat ear", "bus license plate", dog=False, bus=False)


def refused(message: str):
    return pytest.raises(VocabularyError, match=f"^{re.escape(message)}$")


# ---- order and indices


def test_lists_are_sorted_with_capitals_first_and_pairs_keep_their_order():
    assert ZOO.objects == ("Ape", "bus", "cat", "dog")
    assert ZOO.parts == ("ear", "head", "license plate", "tail")
    assert [pair.name for pair in ZOO.pairs][:2] == ["dog's head", "cat's tail"]


def test_prompts_are_the_bare_names_parts_first():
    assert ZOO.prompts == ("ear", "head", "license plate", "tail", "Ape", "bus", "cat", "dog")


def test_indices_lead_from_each_pair_to_its_part_and_its_object():
    assert ZOO.part_of == (1, 3, 1, 0, 2)
    assert ZOO.object_of == (3, 2, 0, 2, 1)


def test_bare_objects_are_sorted_in_among_the_others_and_shift_their_indices():
    vocabulary = Vocabulary(ZOO.pairs, ("apple", "cat"))
    assert vocabulary.objects == ("Ape", "apple", "bus", "cat", "dog")
    assert vocabulary.object_of == (4, 3, 0, 3, 2)
    assert vocabulary.parts == ZOO.parts


def test_permuting_pairs_permutes_indices_and_leaves_the_lists():
    order = list(range(len(ZOO.pairs)))
    random.Random(3).shuffle(order)
    shuffled = Vocabulary(tuple(ZOO.pairs[i] for i in order))
    assert (shuffled.objects, shuffled.parts) == (ZOO.objects, ZOO.parts)
    assert shuffled.part_of == tuple(ZOO.part_of[i] for i in order)
    assert shuffled.object_of == tuple(ZOO.object_of[i] for i in order)


def test_parts_of_an_object_stand_in_the_order_of_the_pairs():
    assert ZOO.parts_of("cat") == ("tail", "ear")
    assert ZOO.parts_of("fox") == ()


# ---- seen and unseen


def test_seen_pairs_alone_have_their_own_shorter_lists():
    seen = ZOO.seen()
    assert [pair.name for pair in seen.pairs] == ["cat's tail", "Ape's head", "cat's ear"]
    assert (seen.objects, seen.parts) == (("Ape", "cat"), ("ear", "head", "tail"))
    assert ZOO.is_seen == (False, True, True, True, False)
    assert ZOO.unseen_objects == ("bus", "dog")


def test_with_unseen_sets_every_flag_anew():
    changed = ZOO.with_unseen(["cat"])
    assert changed.is_seen == (True, False, True, False, True)
    assert changed.unseen_objects == ("cat",)
    assert ZOO.with_unseen([]).unseen_objects == ()


def test_an_unknown_unseen_object_is_refused_with_the_nearest_name():
    with refused("unseen objects: must be in the vocabulary, got 'dgo'; did you mean 'dog'?"):
        ZOO.with_unseen(["cat", "dgo"])


def test_a_name_unlike_all_others_is_refused_with_the_known_ones():
    with refused("here: must be in the vocabulary, got 'zzzz'; known are cat, dog"):
        check_known("zzzz", ["cat", "dog"], "here")


def test_a_vocabulary_without_a_seen_pair_gives_nothing_to_train():
    with refused('vocabulary: needs at least one entry, got none; name a part such as "cat\'s ear"'):
        ZOO.with_unseen(ZOO.objects).seen()


def test_a_pair_stands_once_even_if_its_seen_flag_differs():
    with refused('vocabulary: each pair must stand once, got "cat\'s ear" twice; drop one'):
        Vocabulary((Pair("cat", "ear"), Pair("dog", "ear"), Pair("cat", "ear", is_seen=False)))


def test_json_gives_the_same_vocabulary_back():
    assert Vocabulary.from_json(ZOO.to_json()) == ZOO
    assert ZOO.to_json()[0] == {"object": "dog", "part": "head", "seen": False}


# ---- entries


@pytest.mark.parametrize(
    ("text", "name", "part"),
    [
        ("cat's ear", "cat", "ear"),
        ("cat’s ear", "cat", "ear"),
        ("bus' wheel", "bus", "wheel"),
        ("bus’ wheel", "bus", "wheel"),
        ("bus's license plate", "bus", "license plate"),
        ("chest of drawers' drawer", "chest of drawers", "drawer"),
        ("  pool   table's \t leg ", "pool table", "leg"),
        ("man's friend's ear", "man", "friend's ear"),
    ],
)
def test_an_entry_with_a_possessive_is_a_pair(text, name, part):
    assert parse_word(text) == Word(" ".join(text.split()), name, part)


@pytest.mark.parametrize("text", ["ear", "license plate", "class", "cats ear", "o'clock", "cat'sear", "cat' ear"])
def test_an_entry_without_a_possessive_is_one_undecided_word(text):
    assert parse_word(text) == Word(text)
    assert parse_word(text).is_undecided


@pytest.mark.parametrize("text", ["", "  ", "cat's", "cat’s ", "'s ear", "bus'", "’s", "cat's bus'"])
def test_half_an_entry_is_refused(text):
    with refused(f'vocabulary: an entry reads "object\'s part", "object" or "part", got {text!r}; complete it'):
        parse_word(text)


def test_every_published_name_is_read_as_the_pair_that_wrote_it():
    for pair in (*ZOO.pairs, Pair("chest of drawers", "front leg"), Pair("bus", "wheel")):
        word = parse_word(pair.name)
        assert (word.object, word.part) == (pair.object, pair.part)


def test_entries_are_taken_apart_at_commas_and_keep_their_order():
    words = read_words(["dog's tail, cat", " ear ,", "bus' wheel"])
    assert [word.text for word in words] == ["dog's tail", "cat", "ear", "bus' wheel"]


@pytest.mark.parametrize("entries", [[], [""], [" , ", ","]])
def test_no_entry_at_all_is_refused(entries):
    with refused('vocabulary: needs at least one entry, got none; pass --vocab "cat\'s ear"'):
        read_words(entries)


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
        read_words(entries)
    first = {"cat’s ear": "cat's ear", "bus's wheel": "bus' wheel"}.get(text, text)
    assert str(caught.value) == f"vocabulary: each entry must stand once, got {first!r} twice; drop one"


def test_a_bare_object_beside_its_part_is_no_double():
    assert [word.text for word in read_words(["cat", "cat's ear", "ear"])] == ["cat", "cat's ear", "ear"]


# ---- files


def written(tmp_path, name: str, content: str | bytes) -> str:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def names_in(file: str) -> list[tuple[str | None, str | None, str]]:
    return [(word.object, word.part, word.text) for word in read_words([file])]


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
    assert [word.text for word in read_words(["ear", file, "horse"])] == ["ear", "dog", "cat", "horse"]


def test_a_double_is_found_across_files(tmp_path):
    file = written(tmp_path, "words.txt", "dog\n")
    with refused("vocabulary: each entry must stand once, got 'dog' twice; drop one"):
        read_words(["dog", file])


def test_a_file_of_comments_alone_is_empty(tmp_path):
    with refused('vocabulary: needs at least one entry, got none; pass --vocab "cat\'s ear"'):
        read_words([written(tmp_path, "words.txt", "# nothing\n\n")])


@pytest.mark.parametrize("text", ["5", "", "'cat'"])
def test_a_yaml_file_of_one_value_is_refused(tmp_path, text):
    file = written(tmp_path, "words.yaml", text)
    got = {"5": "5", "": "None", "'cat'": "'cat'"}[text]
    with refused(f"{file}: {RULE}, got {got}; {ADVICE}"):
        read_words([file])


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
        read_words([file])


@pytest.mark.parametrize("text", ["cat: ear", "cat: 5", "cat: {ear: 1}", "cat: [5]", "no: [ear]", "'': [ear]"])
def test_a_yaml_mapping_to_anything_but_lists_of_parts_is_refused(tmp_path, text):
    with pytest.raises(VocabularyError, match=re.escape(str(tmp_path / "words.yaml"))):
        read_words([written(tmp_path, "words.yaml", text)])


def test_a_broken_yaml_file_is_refused_in_one_line(tmp_path):
    file = written(tmp_path, "words.yaml", "cat: [ear\ndog: x")
    with pytest.raises(VocabularyError, match=rf"^{re.escape(file)}: is not YAML \(.+\); mend it$") as caught:
        read_words([file])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["words.txt", "words.yaml"])
def test_a_missing_or_binary_file_is_refused(tmp_path, name):
    for file in (str(tmp_path / "none" / name), written(tmp_path, name, b"\xff\xfe\x00")):
        with pytest.raises(
            VocabularyError,
            match=rf"^{re.escape(file)}: cannot be read as a vocabulary file \(.+\); name a UTF-8 text or YAML file$",
        ):
            read_words([file])


def test_a_line_of_a_text_file_may_hold_several_entries(tmp_path):
    file = written(tmp_path, "words.txt", "cat's ear, dog's ear\nbus # whole\n")
    assert names_in(file) == [("cat", "ear", "cat's ear"), ("dog", "ear", "dog's ear"), (None, None, "bus")]
