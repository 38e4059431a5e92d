"""Pairs of one dataset looked up in another: names, synonyms, kinds, and the list that they come from."""

import csv
from collections import Counter

import pytest

from partseg_cli.data.manifest import load_manifest
from partseg_cli.data.splits.class_matching import (
    ABSENT,
    KIND,
    SAME,
    SYNONYM,
    WIDER,
    ClassMapping,
    find_relation,
    match_classes,
    unmatched_objects,
)
from partseg_cli.data.splits.split_builder import unseen_across
from partseg_cli.errors import UsageError
from partseg_cli.io.paths import packaged
from partseg_cli.vocabulary import Pair, Vocabulary


def words(*names: str) -> Vocabulary:
    return Vocabulary(tuple(Pair(*name.split(" ", 1)) for name in names))


def told(matches: tuple[ClassMapping, ...]) -> dict[str, tuple[str | None, str]]:
    return {m.target.name: (m.source and m.source.name, m.relation) for m in matches}


def between(target: str, source: str) -> tuple[ClassMapping, ...]:
    return match_classes(load_manifest(target).vocabulary, load_manifest(source).vocabulary)


# ---- the list


def lines() -> list[dict[str, str]]:
    text = (packaged("data_manifests") / "synonyms.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def test_every_line_is_whole_plain_and_says_why():
    assert len(lines()) > 40
    for line in lines():
        assert list(line) == ["what", "name", "relation", "other", "why"]
        assert line["what"] in {"object", "part"}
        assert line["relation"] in {"same as", "a kind of"}
        assert len(line["why"]) >= 6
        for name in (line["name"], line["other"]):
            assert name == " ".join(name.casefold().replace("_", " ").split())


def test_no_two_names_are_related_twice():
    pairs = [(line["what"], frozenset((line["name"], line["other"]))) for line in lines()]
    assert [pair for pair, count in Counter(pairs).items() if count > 1] == []
    assert all(len(names) == 2 for _, names in pairs)


@pytest.mark.parametrize(
    ("target", "source", "what", "how"),
    [
        ("cat", "cat", "object", SAME),
        ("Car_(automobile)", "car", "object", SYNONYM),
        ("table_top", "top", "part", SYNONYM),
        ("License  Plate", "license_plate", "part", SAME),
        ("aeroplane", "airplane", "object", SYNONYM),
        ("airplane", "aeroplane", "object", SYNONYM),
        ("aeroplane", "airliner", "object", KIND),
        ("airliner", "aeroplane", "object", WIDER),
        ("airliner", "warplane", "object", ABSENT),  # of one kind, but not the same
        ("tier", "wheel", "part", SYNONYM),
        ("wheel", "tier", "part", SYNONYM),
        ("wheel", "tier", "object", ABSENT),
        ("tvmonitor", "television receiver", "object", KIND),
        ("motorbike", "minibike", "object", SYNONYM),
        ("mirror", "side mirror", "part", KIND),
        ("torso", "fuselage", "part", ABSENT),  # both are called body, and yet are two things
        ("cat", "tiger", "object", ABSENT),
    ],
)
def test_relations_follow_the_list_and_are_not_chained(target, source, what, how):
    assert find_relation(target, source, what) == how


# ---- pairs


def test_a_pair_is_found_where_object_and_part_are():
    target = words("aeroplane body", "aeroplane stern", "cat ear", "car wheel")
    source = words("airplane fuselage", "airplane wing", "dog ear", "car wheel")
    assert told(match_classes(target, source)) == {
        "aeroplane's body": ("airplane's fuselage", SYNONYM),
        "aeroplane's stern": (None, ABSENT),
        "cat's ear": (None, ABSENT),
        "car's wheel": ("car's wheel", SAME),
    }


@pytest.mark.parametrize("source", [["jeep tier", "jeep wheel", "car tier"], ["car tier", "jeep wheel", "jeep tier"]])
def test_the_nearest_counterpart_is_taken_whatever_the_order(source):
    assert told(match_classes(words("car wheel"), words(*source))) == {"car's wheel": ("car's tier", SYNONYM)}


def test_a_kind_is_nearer_if_the_other_name_is():
    source = words("jeep tier", "jeep wheel", "van wheel")
    assert told(match_classes(words("car wheel"), source)) == {"car's wheel": ("jeep's wheel", KIND)}


def test_of_equals_the_first_of_the_source_is_taken():
    birds = ["goose wing", "albatross wing"]
    for order in (birds, birds[::-1]):
        assert told(match_classes(words("bird wing"), words(*order)))["bird's wing"] == (
            f"{order[0].split()[0]}'s wing",
            KIND,
        )


def test_the_relation_is_the_more_distant_of_object_and_part():
    matches = match_classes(words("airliner engine", "bus mirror"), words("airplane turbine engine", "bus side mirror"))
    assert [m.relation for m in matches] == [WIDER, KIND]


def test_seen_flags_play_no_part():
    target, source = words("cat ear", "car wheel"), words("cat ear", "car tier")
    plain = told(match_classes(target, source))
    assert told(match_classes(target.with_unseen(["cat"]), source.with_unseen(["car"]))) == plain


def test_objects_without_a_counterpart_are_named_even_where_a_part_matches():
    target, source = words("cat ear", "dog ear", "airplane door"), words("dog tail", "airliner wing")
    assert unmatched_objects(match_classes(target, source), source) == ("cat",)


# ---- whole datasets


def test_a_data_set_finds_itself():
    matches = between("pascal-part-116", "pascal-part-116")
    assert all(m.relation == SAME and m.source == m.target for m in matches)
    assert len(matches) == 116


def test_pascal_from_ade20k():
    matches = between("pascal-part-116", "ade20k-part-234")
    pairs = told(matches)
    assert Counter(m.relation for m in matches) == {SAME: 18, SYNONYM: 4, KIND: 2, ABSENT: 92}
    assert pairs["car's license plate"] == ("car's license plate", SAME)
    assert pairs["aeroplane's body"] == ("airplane's fuselage", SYNONYM)
    assert pairs["motorbike's saddle"] == ("minibike's seat", SYNONYM)
    assert pairs["tvmonitor's screen"] == ("television receiver's screen", KIND)
    assert pairs["bus's roof"] == (None, ABSENT)
    unmatched = ("bicycle", "bird", "bottle", "cat", "cow", "dog", "horse", "pottedplant", "sheep", "train")
    assert unmatched_objects(matches, load_manifest("ade20k-part-234").vocabulary) == unmatched


def test_pascal_from_partimagenet():
    matches = between("pascal-part-116", "partimagenet")
    pairs = told(matches)
    assert {m.relation for m in matches} == {KIND, ABSENT}  # ImageNet's classes are finer
    assert pairs["bicycle's wheel"] == ("mountain bike's tier", KIND)
    assert pairs["bird's torso"] == ("albatross's body", KIND)
    assert pairs["aeroplane's wing"][1] == KIND
    assert pairs["dog's leg"] == (None, ABSENT)
    unmatched = ("cat", "cow", "horse", "person", "pottedplant", "sheep", "train", "tvmonitor")
    assert unmatched_objects(matches, load_manifest("partimagenet").vocabulary) == unmatched


def test_the_way_matters():
    there, back = between("pascal-part-116", "partimagenet"), between("partimagenet", "pascal-part-116")
    assert sum(m.source is not None for m in there) < sum(m.source is not None for m in back)
    assert {m.relation for m in back} == {WIDER, ABSENT}
    assert told(back)["airliner's tail"] == ("aeroplane's tail", WIDER)


@pytest.mark.parametrize("source", ["ade20k-part-234", "partimagenet"])
def test_two_runs_agree(source):
    assert between("pascal-part-116", source) == between("pascal-part-116", source)


# ---- what is unseen then


def test_objects_are_unseen_as_a_whole_and_others_by_the_pair():
    target, source = words("cat ear", "bus wheel", "bus roof", "bus side"), words("bus wheel", "dog ear")
    unseen = unseen_across(match_classes(target, source), "other")
    assert (unseen.rule, unseen.objects, unseen.parts) == ("seen where other has the pair", ("cat",), ())
    assert unseen.pairs == (("bus", "roof"), ("bus", "side"))
    assert target.with_unseen(unseen.objects, unseen.parts, unseen.pairs).is_seen == (False, True, False, False)


def test_two_data_sets_without_a_pair_in_common_are_refused():
    matches = match_classes(words("cat ear", "dog ear"), words("bus wheel"))
    message = (
        "--trained-on other: at least one pair of the two datasets must agree, got none of 2; name another dataset"
    )
    with pytest.raises(UsageError, match=f"^{message}$"):
        unseen_across(matches, "other")
