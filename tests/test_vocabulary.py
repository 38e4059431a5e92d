"""Names taken apart and put in order."""

import random
import re

import pytest

from partseg_cli.errors import VocabularyError
from partseg_cli.vocabulary import Pair, QueryTerm, Vocabulary, check_known, parse_term


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


def test_parts_of_an_object_are_in_the_order_of_the_pairs():
    assert ZOO.parts_of("cat") == ("tail", "ear")
    assert ZOO.parts_of("fox") == ()


# ---- seen and unseen


def test_seen_pairs_alone_have_their_own_shorter_lists():
    seen = ZOO.seen()
    assert [pair.name for pair in seen.pairs] == ["cat's tail", "Ape's head", "cat's ear"]
    assert (seen.objects, seen.parts) == (("Ape", "cat"), ("ear", "head", "tail"))
    assert ZOO.is_seen == (False, True, True, True, False)
    assert ZOO.unseen_objects == ("bus", "dog")


def test_with_unseen_sets_every_flag_again():
    changed = ZOO.with_unseen(["cat"])
    assert changed.is_seen == (True, False, True, False, True)
    assert changed.unseen_objects == ("cat",)
    assert ZOO.with_unseen([]).unseen_objects == ()


def test_an_unknown_unseen_object_is_refused_with_the_nearest_name():
    with refused("unseen objects: must be in the vocabulary, got 'dgo'; did you mean dog?"):
        ZOO.with_unseen(["cat", "dgo"])


def test_a_name_unlike_all_others_is_refused_with_the_known_ones():
    with refused("here: must be in the vocabulary, got 'zzzz'; known are cat, dog"):
        check_known("zzzz", ["cat", "dog"], "here")


def test_a_vocabulary_without_a_seen_pair_gives_nothing_to_train():
    with refused('vocabulary: needs at least one entry, got none; name a part such as "cat\'s ear"'):
        ZOO.with_unseen(ZOO.objects).seen()


def test_a_duplicate_pair_is_refused_even_if_its_seen_flag_differs():
    with refused('vocabulary: duplicate pair, got "cat\'s ear" twice; remove one'):
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
    assert parse_term(text) == QueryTerm(" ".join(text.split()), name, part)


@pytest.mark.parametrize("text", ["ear", "license plate", "class", "cats ear", "o'clock", "cat'sear", "cat' ear"])
def test_an_entry_without_a_possessive_is_ambiguous(text):
    assert parse_term(text) == QueryTerm(text)
    assert parse_term(text).is_ambiguous


@pytest.mark.parametrize("text", ["", "  ", "cat's", "cat’s ", "'s ear", "bus'", "’s", "cat's bus'"])
def test_half_an_entry_is_refused(text):
    with refused(f'vocabulary: an entry reads "object\'s part", "object" or "part", got {text!r}; complete it'):
        parse_term(text)


def test_every_published_name_is_read_as_the_pair_that_wrote_it():
    for pair in (*ZOO.pairs, Pair("chest of drawers", "front leg"), Pair("bus", "wheel")):
        word = parse_term(pair.name)
        assert (word.object, word.part) == (pair.object, pair.part)
