"""What a source gave against what its manifest expects."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np

from partseg_cli.data.converters.conversion import Conversion, Converted, Skipped, SourceImage
from partseg_cli.data.manifest import load_manifest
from partseg_cli.data.quality.conversion_report import ConversionStats, CountCheck, audit, to_json
from partseg_cli.data.record import Instance, Part, Record
from partseg_cli.data.rle import Mask

MANIFEST = replace(load_manifest("pascal-part-116"), expected={"train": 2, "val": 1}, annotated=4)
MASK = Mask.encode(np.ones((2, 3), bool))


def conversion(found: int, expected_total: int | None = None) -> Conversion:
    return Conversion(
        Path(), [SourceImage(str(i), None) for i in range(found)], lambda _: [], ".", expected_total=expected_total
    )


def tally(
    *splits: str, pairs: tuple[int, ...] = tuple(range(116)), skipped: tuple[Skipped, ...] = ()
) -> ConversionStats:
    """Count an image of each of the splits, which shows all of the pairs."""
    made = ConversionStats(Counter(train=0, val=0))
    parts = tuple(Part(0, pair, "x", 1, MASK) for pair in pairs)
    record = Record("a", "a.jpg", 3, 2, "a.mat", (Instance(0, 0, MASK),), parts)
    for outcome in (*(Converted(split, record) for split in splits), *skipped):
        made.add(outcome)
    return made


def lines(made: ConversionStats, found: int, expected_total: int | None = None) -> dict[str, CountCheck]:
    return {line.what: line for line in audit(made, conversion(found, expected_total), MANIFEST.vocabulary, MANIFEST)}


def test_a_whole_copy_differs_nowhere():
    found = lines(tally("train", "train", "val"), 4)
    assert {line.difference for line in found.values()} == {0}
    assert {line.why for line in found.values()} == {""}


def test_part_of_a_source_explains_every_difference():
    found = lines(tally("train", pairs=(0,)), 2)
    assert found["annotated images"] == CountCheck("annotated images", 4, 2, "the source holds 2 of 4")
    assert found["converted, val"] == CountCheck("converted, val", 1, 0, "the source holds 2 of 4")
    assert found["pairs"] == CountCheck("pairs", 116, 1, "the source holds 2 of 4")


def test_broken_files_explain_missing_images():
    broken = Skipped("a.mat", "image is missing", is_defect=True)
    found = lines(tally("train", "val", skipped=(broken,)), 4)
    assert found["converted, train"] == CountCheck("converted, train", 2, 1, "1 broken, see below")
    assert found["converted, val"].why == ""


def test_a_difference_without_a_reason_is_not_explained_away():
    found = lines(tally("train", "val", "val"), 4)
    assert found["converted, train"].why == "not known: please report it"
    assert found["converted, val"] == CountCheck("converted, val", 1, 2, "not known: please report it")


def test_classes_that_nothing_shows_are_named():
    absent = [index for index, pair in enumerate(MANIFEST.vocabulary.pairs) if pair.object == "bottle"]
    shown = tuple(index for index in range(116) if index not in absent)
    found = lines(tally("train", "train", "val", pairs=shown), 4)
    assert found["objects with parts"] == CountCheck("objects with parts", 16, 15, "no part of bottle")
    assert found["pairs"] == CountCheck("pairs", 116, 114, "no part of bottle's body, bottle's cap")


def test_another_form_of_the_source_may_have_another_size():
    assert lines(tally("train", "train", "val"), 3, expected_total=3)["annotated images"] == CountCheck(
        "annotated images", 3, 3
    )


def test_where_all_annotated_images_are_expected_those_without_parts_explain_the_difference():
    manifest = replace(MANIFEST, expected={"train": 3, "val": 1})
    nothing = Skipped("a.mat", "no part", is_defect=False)
    made = audit(tally("train", "train", "val", skipped=(nothing,)), conversion(4), manifest.vocabulary, manifest)
    assert made[1] == CountCheck("converted, train", 3, 2, "1 of the annotated images left out, see below")
    assert made[2].why == ""


def test_a_set_without_a_manifest_is_just_counted():
    made = audit(tally("train"), conversion(1), MANIFEST.vocabulary, None)
    assert to_json(made)[:2] == [
        {"what": "annotated images", "expected": None, "found": 1, "why": "", "difference": None},
        {"what": "converted, train", "expected": None, "found": 1, "why": "", "difference": None},
    ]


def test_photos_read_upright_are_counted():
    made = ConversionStats(Counter())
    record = Record("a", "a.jpg", 3, 2, "a.mat", (), (), upright=True)
    made.add(Converted("train", record))
    assert made.turned == 1
