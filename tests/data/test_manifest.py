import re
from collections import Counter
from itertools import pairwise

import pytest

from partseg_cli.data.manifest import load_manifest, manifest_names
from partseg_cli.errors import DataError
from partseg_cli.io.paths import packaged

VOC = [
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
]


@pytest.fixture(scope="module")
def pascal():
    return load_manifest("pascal-part-116")


def test_every_manifest_is_found_under_its_name():
    files = list(packaged("data_manifests").rglob("*.yaml"))
    assert "pascal-part-116" in manifest_names()
    assert len(files) == len(manifest_names())
    assert [load_manifest(name).name for name in manifest_names()] == manifest_names()


@pytest.mark.parametrize("name", manifest_names())
def test_unseen_objects_and_parts_belong_to_known_objects(name):
    manifest = load_manifest(name)
    assert len(set(manifest.objects)) == len(manifest.objects)
    assert set(manifest.unseen_objects) <= set(manifest.objects)
    assert set(manifest.parts) <= set(manifest.objects)


@pytest.mark.parametrize("name", manifest_names())
def test_every_manifest_opens_with_what_it_is(name):
    path = packaged("data_manifests") / f"{name.replace('-', '_')}.yaml"
    assert path.read_text(encoding="utf-8").startswith("# ")


def test_an_unknown_data_set_is_refused_with_the_known_ones():
    message = f"dataset must be one of {', '.join(manifest_names())}, got 'pascal'; did you mean pascal-part-116?"
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        load_manifest("pascal")


def test_pascal_has_the_objects_of_voc_in_its_order(pascal):
    assert list(pascal.objects) == VOC


def test_pascal_has_116_pairs_of_16_objects(pascal):
    vocabulary = pascal.vocabulary
    assert len(vocabulary.pairs) == 116
    assert len(vocabulary.objects) == 16
    assert set(VOC) - set(vocabulary.objects) == {"boat", "chair", "diningtable", "sofa"}


def test_pascal_has_74_seen_and_42_unseen_pairs(pascal):
    assert Counter(pascal.vocabulary.is_seen) == {True: 74, False: 42}
    assert pascal.vocabulary.unseen_objects == ("bird", "car", "dog", "motorbike", "sheep")


def test_pascal_has_42_generalised_parts_and_only_the_beak_is_never_seen(pascal):
    vocabulary = pascal.vocabulary
    assert len(vocabulary.parts) == 42
    assert set(vocabulary.parts) - set(vocabulary.seen().parts) == {"beak"}


@pytest.mark.parametrize(
    ("index", "name"),
    [
        (0, "aeroplane's body"),
        (5, "aeroplane's wheel"),
        (6, "bicycle's wheel"),
        (15, "bird's beak"),
        (21, "bottle's cap"),
        (22, "bus's wheel"),
        (29, "bus's license plate"),
        (31, "bus's window"),
        (32, "car's wheel"),
        (42, "cat's tail"),
        (115, "tvmonitor's screen"),
    ],
)
def test_pascal_pairs_have_their_published_ids(pascal, index, name):
    assert pascal.vocabulary.pairs[index].name == name


def test_pascal_pairs_of_one_object_are_consecutive(pascal):
    objects = [pair.object for pair in pascal.vocabulary.pairs]
    changes = sum(before != after for before, after in pairwise(objects))
    assert changes == 15


def test_pascal_lists_850_val_images(pascal):
    stems = pascal.val_stems()
    assert len(stems) == pascal.expected["val"] == 850
    assert all(re.fullmatch(r"20(08|09|10)_\d{6}", stem) for stem in stems)
    assert pascal.expected["train"] == 8431


def test_pascal_aliases_lead_to_its_objects(pascal):
    assert pascal.aliases["table"] == "diningtable"
    assert set(pascal.aliases.values()) <= set(pascal.objects)


def test_every_pascal_pair_has_raw_codes_and_no_code_has_two_pairs(pascal):
    codes = [
        (name, pattern, part)
        for name, parts in pascal.raw_codes.items()
        for part, patterns in parts.items()
        for pattern in patterns
    ]
    assert {(name, part) for name, _, part in codes} == {(pair.object, pair.part) for pair in pascal.vocabulary.pairs}
    assert len({code[:2] for code in codes}) == len(codes) == 193
