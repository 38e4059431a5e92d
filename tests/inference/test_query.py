"""What is asked for -> what competes, and which word a pixel gets. Logits are built by hand, a pixel at a time."""

import itertools
import re

import pytest
import torch

from partseg_cli.errors import VocabularyError
from partseg_cli.inference.protocols import pred_all
from partseg_cli.inference.query import Query, read_query_terms, resolve_query
from partseg_cli.structures import Logits
from partseg_cli.vocabulary import Pair, Vocabulary, parse_term

# What the photo shows: a pixel is a pair (object, part) or nothing
EAR, HEAD, TAIL = ("cat", "ear"), ("cat", "head"), ("cat", "tail")
DOG_HEAD, DOG_TAIL, WHEEL = ("dog", "head"), ("dog", "tail"), ("bus", "wheel")
PHOTO = [[EAR, HEAD, TAIL, HEAD], [DOG_HEAD, DOG_TAIL, None, DOG_HEAD], [WHEEL, None, EAR, HEAD]]


def words_of(*names: str) -> Vocabulary:
    return Vocabulary(tuple(Pair(word.object, word.part) for word in map(parse_term, names)))


KNOWN = words_of("cat's ear", "cat's head", "cat's tail", "dog's head", "dog's tail", "bus's wheel")


def ask(*texts: str, others: tuple[Vocabulary, ...] = (), context: str | Vocabulary = "auto") -> Query:
    return resolve_query(read_query_terms(texts), KNOWN, others, context)


def silent(query: Query) -> set[str]:
    pairs = zip(query.vocabulary.pairs, query.pair_to_term, strict=True)
    return {pair.name for pair, word in pairs if word < 0}


def see(query: Query, photo=PHOTO) -> Logits:
    """Give logits of a model that is right: 5 for the pair that is shown, 3 for other parts of its object, else -5."""
    vocabulary = query.vocabulary
    pairs = torch.full((1, len(vocabulary.pairs) + 1, len(photo), len(photo[0])), -5.0)
    objects = torch.full((1, len(vocabulary.objects) + 1, len(photo), len(photo[0])), -4.0)
    for (y, row), x in itertools.product(enumerate(photo), range(len(photo[0]))):
        shown = row[x]
        for index, pair in enumerate(vocabulary.pairs):
            if shown and pair.object == shown[0]:
                pairs[0, index, y, x] = 5.0 if pair.part == shown[1] else 3.0
        known = shown is not None and shown[0] in vocabulary.objects
        pairs[0, -1, y, x] = -5.0 if known else 4.0
        objects[0, vocabulary.objects.index(shown[0]) if known else -1, y, x] = 2.0
    return Logits(pairs, objects)


def answer(query: Query, photo=PHOTO) -> list[list[str | None]]:
    """Give the text of each pixel's word."""
    labels, _ = query.to_label_map(pred_all(see(query, photo), query.vocabulary, (len(photo), len(photo[0]))))
    texts = [word.text for word in query.terms] + [None]
    return [[texts[label] for label in row] for row in labels.tolist()]


def shown_as(**texts: str) -> list[list[str | None]]:
    """Give the photo with `cat_ear="..."` for each pair and `cat="..."` for the rest of an object."""
    return [
        [texts.get("_".join(pair), texts.get(pair[0])) if pair is not None else None for pair in row] for row in PHOTO
    ]


# ---- one asked part never fills its object


def test_an_asked_part_gets_its_own_pixels_alone():
    query = ask("cat's ear")
    assert silent(query) == {"cat's head", "cat's tail"}
    assert answer(query) == shown_as(cat_ear="cat's ear")


def test_without_context_an_asked_part_fills_its_object():
    query = ask("cat's ear", context="none")
    assert silent(query) == set()
    assert answer(query) == shown_as(cat="cat's ear")


@pytest.mark.parametrize("texts", [["cat's ear"], ["dog's tail", "cat's head"], ["ear"], ["tail", "cat's ear"]])
def test_no_asked_part_ever_fills_its_object(texts):
    for row, shown in zip(answer(ask(*texts)), PHOTO, strict=True):
        for text, pair in zip(row, shown, strict=True):
            assert text in {None, f"{pair[0]}'s {pair[1]}", pair[1]} if pair else text is None


def test_only_objects_with_an_asked_part_get_silent_parts():
    assert silent(ask("cat's ear", "bus's wheel")) == {"cat's head", "cat's tail"}
    assert silent(ask("cat's ear", "dog")) == {"cat's head", "cat's tail"}


def test_a_complete_list_adds_none_and_every_pixel_is_answered():
    query = ask(*(pair.name for pair in KNOWN.pairs))
    assert silent(query) == set()
    assert query.pair_to_term == tuple(range(6))
    assert [(pair.object, pair.part) for pair in query.vocabulary.pairs] == [(p.object, p.part) for p in KNOWN.pairs]
    assert answer(query) == [[f"{pair[0]}'s {pair[1]}" if pair else None for pair in row] for row in PHOTO]


def test_context_changes_nothing_for_a_complete_list():
    complete = [pair.name for pair in KNOWN.pairs]
    assert ask(*complete) == ask(*complete, context="none") == ask(*complete, context=KNOWN)


def test_labels_are_positions_in_the_words_as_given():
    texts = ["dog's tail", "cat's ear", "bus", "cat's tail"]
    expected = answer(ask(*texts))
    for order in itertools.permutations(texts):
        query = ask(*order)
        assert [word.text for word in query.terms] == list(order)
        assert answer(query) == expected


# ---- where the silent parts come from


def test_a_vocabulary_as_context_gives_its_parts_and_no_others():
    context = words_of("cat's paw", "cat's ear", "dog's nose")
    query = ask("cat's ear", "bus's wheel", context=context)
    assert silent(query) == {"cat's paw"}


def test_a_vocabulary_as_context_is_read_in_any_case():
    assert silent(ask("cat's ear", context=words_of("Cat's Ear", "CAT's paw"))) == {"cat's paw"}


def test_the_checkpoints_own_parts_come_before_those_of_a_manifest():
    wider = words_of("cat's ear", "cat's paw", "cat's whisker")
    assert silent(ask("cat's ear", others=(wider,))) == {"cat's head", "cat's tail"}


def test_a_part_that_the_checkpoint_does_not_know_competes_with_those_that_it_knows_of_the_object():
    assert silent(ask("cat's paw", others=(words_of("cat's paw", "cat's eye"),))) == {
        "cat's ear",
        "cat's head",
        "cat's tail",
    }


def test_an_unknown_object_takes_its_parts_from_the_first_manifest_that_holds_all_asked_pairs():
    lacks = words_of("fox's ear", "fox's brush")
    holds = words_of("fox's ear", "fox's snout", "fox's paw", "owl's wing", "owl's beak")
    later = words_of("fox's ear", "fox's snout", "fox's fur", "owl's wing")
    query = ask("fox's snout", "fox's ear", "owl's wing", others=(lacks, holds, later))
    assert silent(query) == {"fox's paw", "owl's beak"}


def test_an_unknown_object_that_no_manifest_holds_competes_with_all_generalised_parts():
    others = (words_of("fox's ear", "fox's brush"), words_of("owl's wing"))
    query = ask("fox's ear", "owl's wing", others=others)
    assert silent(query) == {
        *(f"fox's {part}" for part in ("head", "tail", "wheel")),
        *(f"owl's {part}" for part in ("ear", "head", "tail", "wheel")),
    }


def test_a_known_and_an_unknown_object_are_each_given_theirs():
    query = ask("cat's ear", "fox's snout", others=(words_of("cat's ear", "fox's snout", "fox's paw"),))
    assert silent(query) == {"cat's head", "cat's tail", "fox's paw"}


@pytest.mark.parametrize("context", ["auto", "none", KNOWN])
def test_no_pair_competes_twice(context):
    query = ask("cat's ear", "ear", "tail", "dog's tail", "dog", context=context)
    names = [pair.name for pair in query.vocabulary.pairs]
    assert len(set(names)) == len(names) == len(query.pair_to_term)
    assert len(query.object_to_term) == len(query.vocabulary.objects)


# ---- bare objects


def test_a_bare_object_alone_gets_its_whole_gate_and_no_pair_competes():
    query = ask("cat", "bus")
    assert query.vocabulary.pairs == ()
    assert answer(query) == shown_as(cat="cat", bus="bus")


def test_a_bare_object_gets_what_no_asked_part_of_it_takes():
    query = ask("cat", "cat's ear")
    assert silent(query) == {"cat's head", "cat's tail"}
    assert answer(query) == shown_as(cat_ear="cat's ear", cat="cat")


def test_a_bare_object_gets_nothing_where_all_its_parts_are_asked():
    query = ask("cat", "cat's ear", "cat's head", "cat's tail")
    assert answer(query) == shown_as(cat_ear="cat's ear", cat_head="cat's head", cat_tail="cat's tail")


def test_a_bare_object_leaves_its_part_to_a_bare_part():
    assert answer(ask("dog", "head")) == shown_as(cat_head="head", dog_head="head", dog="dog")


def test_the_score_of_a_bare_object_is_the_gates_and_that_of_a_part_its_pairs():
    query = ask("cat", "cat's ear")
    decision = pred_all(see(query), query.vocabulary, (3, 4))
    labels, scores = query.to_label_map(decision)
    assert {-1, 0, 1} == set(labels.unique().tolist())
    assert torch.equal(scores[labels == 0], torch.tensor(2.0).sigmoid().expand(int((labels == 0).sum())))
    assert torch.equal(scores[labels == 1], torch.tensor(5.0).sigmoid().expand(int((labels == 1).sum())))
    assert (scores[labels < 0] == 0).all()


def test_pixels_of_silent_parts_are_nothing_with_score_0():
    query = ask("cat's ear")
    labels, scores = query.to_label_map(pred_all(see(query), query.vocabulary, (3, 4)))
    taken = torch.tensor([[pair == EAR for pair in row] for row in PHOTO])
    assert torch.equal(labels, torch.where(taken, 0, -1))
    assert torch.equal(scores > 0, taken)


def test_without_a_gate_parts_are_answered_and_bare_objects_are_not():
    query = ask("cat", "cat's ear")
    decision = pred_all(Logits(see(query).pairs), query.vocabulary, (3, 4))
    labels, _ = query.to_label_map(decision)
    assert torch.equal(labels, torch.tensor([[1 if pair == EAR else -1 for pair in row] for row in PHOTO]))


# ---- bare parts


def test_a_bare_part_is_that_part_of_every_object_that_has_it_as_one_label():
    query = ask("head")
    assert [pair.name for pair, word in zip(query.vocabulary.pairs, query.pair_to_term, strict=True) if word == 0] == [
        "cat's head",
        "dog's head",
    ]
    assert silent(query) == {"cat's ear", "cat's tail", "dog's tail"}
    assert answer(query) == shown_as(cat_head="head", dog_head="head")


@pytest.mark.parametrize("texts", [("head", "dog's head"), ("dog's head", "head")])
def test_a_pair_asked_for_by_its_full_name_wins_over_a_bare_part(texts):
    assert answer(ask(*texts)) == shown_as(cat_head="head", dog_head="dog's head")


def test_a_pair_of_an_unknown_object_is_not_the_bare_parts():
    query = ask("ear", "fox's ear")
    assert [(p.name, w) for p, w in zip(query.vocabulary.pairs, query.pair_to_term, strict=True) if w >= 0] == [
        ("fox's ear", 1),
        ("cat's ear", 0),
    ]


def test_a_word_that_is_object_and_part_is_the_object():
    known = words_of("wheel's rim", "bus's wheel")
    (word,) = resolve_query(read_query_terms(["wheel"]), known, (), "auto").terms
    assert (word.object, word.part) == ("wheel", None)


def test_a_part_marked_as_such_in_a_file_is_one_even_if_an_object_has_its_name(tmp_path):
    (tmp_path / "words.yaml").write_text("- {part: wheel}")
    known = words_of("wheel's rim", "bus's wheel")
    query = resolve_query(read_query_terms([str(tmp_path / "words.yaml")]), known, (), "auto")
    assert [pair.name for pair in query.vocabulary.pairs] == ["bus's wheel"]


# ---- spelling


@pytest.mark.parametrize(
    ("text", "same"), [("CAT's Ear", "cat's ear"), ("Dog", "dog"), ("HEAD", "head"), ("Bus' Wheel", "bus's wheel")]
)
def test_case_does_not_matter_and_the_users_spelling_stays_the_text(text, same):
    query, plain = ask(text), ask(same)
    assert query.vocabulary == plain.vocabulary
    assert (query.pair_to_term, query.object_to_term) == (plain.pair_to_term, plain.object_to_term)
    assert query.notes == ()
    assert [word.text for word in query.terms] == [" ".join(text.split())]


def test_an_exact_spelling_comes_before_one_that_differs_in_case():
    known = words_of("Cat's ear", "cat's ear")
    assert [p.name for p in resolve_query(read_query_terms(["cat's ear"]), known, (), "none").vocabulary.pairs] == [
        "cat's ear"
    ]
    assert [p.name for p in resolve_query(read_query_terms(["Cat's ear"]), known, (), "none").vocabulary.pairs] == [
        "Cat's ear"
    ]


def test_an_unknown_bare_word_is_an_object_with_a_note():
    query = ask("zebra", "cat's ear")
    assert query.notes == ("'zebra' is no known object or part: taken as an object",)
    assert query.vocabulary.bare_objects == ("zebra",)
    assert (query.terms[0].object, query.terms[0].part) == ("zebra", None)
    photo = [[("zebra", "leg"), EAR, None]]
    assert answer(query, photo) == [["zebra", "cat's ear", None]]


def test_known_words_and_pairs_get_no_note():
    assert ask("cat", "head", "dog's ear", "fox's ear").notes == ()


@pytest.mark.parametrize(
    ("texts", "first", "second"),
    [
        (["cat's ear", "dog", "Cat's EAR"], "cat's ear", "Cat's EAR"),
        (["cat", "CAT"], "cat", "CAT"),
        (["ear", "head", "Ear"], "ear", "Ear"),
    ],
)
def test_two_words_that_mean_the_same_are_refused(texts, first, second):
    message = f"vocabulary: each entry must ask for something else, got {first!r} and {second!r}; remove one"
    with pytest.raises(VocabularyError, match=f"^{re.escape(message)}$"):
        ask(*texts)
