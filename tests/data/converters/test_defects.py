"""What every converter must survive, whichever dataset it reads: left-overs of archives, and words in paths."""

import shutil
from collections.abc import Callable
from pathlib import Path

import ade20k_tree
import cityscapes_tree
import ovparts_tree
import paco_tree
import partimagenet_tree
import pytest

from partseg_cli.data.converters.conversion import Converted, Outcome
from partseg_cli.data.converters.plan import (
    CartoonOptions,
    CocoOptions,
    plan_coco_conversion,
    plan_published_conversion,
)

BOX = partimagenet_tree.Box("Quadruped Head", 1, 1, 5, 4)
TIGER = partimagenet_tree.Photo("n02129604_12", [BOX])


def write_partimagenet_maps(source: Path) -> None:
    partimagenet_tree.write_photos(source, [TIGER])
    partimagenet_tree.write_maps(source, [TIGER])


WRITERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "ADE20K": ("ade20k-part-234", lambda source: ade20k_tree.write_image(source, ade20k_tree.FIRST)),
    "ADE20K repack": ("ade20k-part-234", ovparts_tree.ade_tree),
    "Cityscapes": ("cityscapes-panoptic-parts", cityscapes_tree.write_image),
    "PACO": ("paco", paco_tree.write),
    "PACO as a set of one's own": ("coco", paco_tree.write),
    "PartImageNet": ("partimagenet", lambda source: partimagenet_tree.write_split(source, [TIGER])),
    "PartImageNet maps": ("partimagenet", write_partimagenet_maps),
    "Pascal repack": ("pascal-part-116", ovparts_tree.pascal_tree),
}
ALL = pytest.mark.parametrize(("name", "write"), WRITERS.values(), ids=WRITERS)


def outcomes(name: str, source: Path) -> list[Outcome]:
    if name == "coco":
        return list(plan_coco_conversion(source, None, CocoOptions()).conversion.outcomes)
    return list(plan_published_conversion(name, source, None, drawing=CartoonOptions()).conversion.outcomes)


def add_litter(source: Path) -> None:
    """Add what macOS leaves: `._X` beside each file X, `.DS_Store` in each folder, and a copy of all under __MACOSX."""
    places = sorted(source.rglob("*"))
    shutil.copytree(source, source / "__MACOSX" / source.name)
    shutil.copytree(source, source / "__MACOSX", dirs_exist_ok=True, ignore=shutil.ignore_patterns("__MACOSX"))
    for path in (source, *places):
        (path / ".DS_Store" if path.is_dir() else path.with_name(f"._{path.name}")).write_bytes(b"\0\5\26\7")


@ALL
def test_what_macos_leaves_in_archives_changes_nothing(tmp_path, name, write):
    write(tmp_path / "source")
    plain = outcomes(name, tmp_path / "source")
    assert any(isinstance(outcome, Converted) for outcome in plain)
    add_litter(tmp_path / "source")
    assert outcomes(name, tmp_path / "source") == plain


@ALL
def test_words_of_the_published_code_in_paths_change_nothing(tmp_path, name, write):
    write(tmp_path / "plain")
    odd = tmp_path / "part_images.jpg" / "annotations_detectron2_obj's train" / "JPEG val"
    write(odd)
    assert outcomes(name, odd) == outcomes(name, tmp_path / "plain")


@ALL
def test_a_source_behind_a_link_is_read_as_itself(tmp_path, name, write):
    write(tmp_path / "source")
    (tmp_path / "link").symlink_to(tmp_path / "source")
    assert outcomes(name, tmp_path / "link") == outcomes(name, tmp_path / "source")
