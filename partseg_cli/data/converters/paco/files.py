"""The files of PACO-LVIS: where they lie, and what of them is read; checked against the manifest's words."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from partseg_cli.data.converters.coco.categories import LINK
from partseg_cli.data.converters.coco.converter import Index
from partseg_cli.data.converters.coco.files import LISTS, Category, CocoFile, choose
from partseg_cli.data.manifest import Manifest
from partseg_cli.errors import DataError, format_list
from partseg_cli.io.files import describe_folder, read_json

ARCHIVE = "paco_lvis_v1.zip"
SPLITS = {f"paco_lvis_v1_{split}.json": split for split in ("train", "val", "test")}
"""File of annotations -> split."""
EGO4D = "paco_ego4d_v1_*.json"
FOLDERS = ("", "annotations", "paco", "paco/annotations", "paco_lvis_v1", "annotations/paco_lvis_v1")
"""Places of the annotations below the source folder."""
KEYS = frozenset(
    {*LISTS, "id", "name", "supercategory", "file_name", "width", "height", "image_id", "category_id", LINK, "iscrowd"}
    | {"neg_category_ids", "not_exhaustive_category_ids", "segmentation", "size", "counts"}
)
"""What is read; the rest (boxes, attributes, colours, queries) is dropped while a file is parsed."""


@dataclass(frozen=True)
class Words:
    """What categories can be called.

    Attributes:
        index: places of objects and pairs in the manifest's lists.
        pairs: object and part of each pair by the name of its category.
    """

    index: Index
    pairs: dict[str, tuple[str, str]]

    @classmethod
    def of(cls, manifest: Manifest) -> Words:
        """Give the words of the manifest."""
        index = Index.of(manifest.objects, manifest.vocabulary)
        return cls(index, {f"{name}:{part}": (name, part) for name, part in index.pairs})

    def known(self, category: Category) -> bool:
        """Tell whether a category is an object or a part of the manifest."""
        names = {"OBJECT": self.index.objects.keys(), "PART": self.pairs.keys()}
        return category.name in names.get(category.kind, ())

    def object_of(self, category: Category) -> str:
        """Give the object that a known category is, or that it is a part of."""
        return category.name if category.kind == "OBJECT" else self.pairs[category.name][0]


def find_annotations(source: Path) -> list[Path]:
    """Give the paths of the files of annotations below `source`, train first.

    Raises:
        DataError: there is none, or a link leads out of `source`, or nowhere.
    """
    places = ([source / folder / name for folder in FOLDERS] for name in SPLITS)
    first = (next(filter(os.path.lexists, place), None) for place in places)
    paths = [path for path in first if path is not None]
    if paths:
        choose(source, [path.absolute() for path in paths], ["train"] * len(paths))  # proves where links lead
        return paths
    looked = f"{source}: must hold {', '.join(SPLITS)} or one of them (looked there and in {', '.join(FOLDERS[1:])})"
    ego4d = find_ego4d(source)
    if ego4d:
        name = ego4d[0].relative_to(source).as_posix()
        raise DataError(
            f"{looked}, got {name}, which is PACO-EGO4D; partseg prepare coco {source} --annotations {name} reads it "
            "beside its frames"
        )
    raise DataError(f"{looked}, got {describe_folder(source)}; unpack {ARCHIVE} there")


def find_ego4d(source: Path) -> list[Path]:
    """Give the files of PACO-EGO4D, which is a set of its own."""
    return sorted(path for folder in FOLDERS for path in (source / folder).glob(EGO4D))


def missing_files(source: Path, paths: Collection[Path]) -> Iterator[str]:
    """Tell, a sentence each, of files that are not there, or not read."""
    there = {path.name for path in paths}
    for name, split in SPLITS.items():
        if name not in there:
            why = f"the first {ARCHIVE} lacked it, download it again" if split == "test" else f"{ARCHIVE} holds it"
            yield f"{name} is not there: {why}"
    for path in find_ego4d(source):
        yield f"{path.name} is left aside: it is PACO-EGO4D, a set of its own, which partseg prepare coco reads"


def read_file(source: Path, path: Path, words: Words) -> CocoFile:
    """Read one file of annotations.

    Raises:
        DataError: it is something else, has categories of other names, or objects alone.
    """
    value = read_json(path, f"download {ARCHIVE} again", _lean)
    if not isinstance(value, dict) or not all(isinstance(value.get(key), list) for key in LISTS):
        raise DataError(f"{path}: must hold the lists {', '.join(LISTS)}, got other JSON; download {ARCHIVE} again")
    categories = read_categories(path, value["categories"], words)
    annotations = value["annotations"]
    kinds = (category_of(categories, annotation) for annotation in annotations)
    if not any(category is not None and category.kind == "PART" for category in kinds):
        raise DataError(
            f"{path}: must hold annotations of parts (supercategory PART), got {len(annotations):,} of objects alone, "
            f"as in a first release; download {ARCHIVE} again"
        )
    return CocoFile(
        path, path.relative_to(source).as_posix(), SPLITS[path.name], value["images"], annotations, categories
    )


def read_categories(path: Path, values: list[Any], words: Words) -> dict[int | str, Category]:
    """Give the categories by their id in this file, which need not be the published one.

    Raises:
        DataError: one has no id and name, an id stands for two, or a name is none of the manifest's.
    """
    found: dict[int | str, Category] = {}
    for value in values:
        number, name = (value.get("id"), value.get("name")) if isinstance(value, dict) else (None, None)
        if type(number) is not int or not isinstance(name, str):
            raise DataError(f"{path}: a category must have an id and a name, got {value!r}; download {ARCHIVE} again")
        category = Category(name, str(value.get("supercategory")).upper())
        if found.setdefault(number, category) != category:
            raise DataError(
                f"{path}: a category's id must be its own, got {number} for {found[number].name!r} and {name!r}; "
                f"download {ARCHIVE} again"
            )
    unknown = [repr(category.name) for category in found.values() if not words.known(category)]
    if unknown:
        raise DataError(
            f"{path}: categories must be the {len(words.index.objects)} objects and {len(words.pairs)} parts of PACO, "
            f"of supercategory OBJECT and PART, got {format_list(unknown)}; "
            "a set of your own is for partseg prepare coco"
        )
    return found


def category_of(categories: dict[int | str, Category], annotation: object) -> Category | None:
    """Give the category of an annotation that may be broken."""
    number = annotation.get("category_id") if isinstance(annotation, dict) else None
    return categories.get(number) if type(number) is int else None


def _lean(value: dict[str, Any]) -> dict[str, Any]:
    return {key: content for key, content in value.items() if key in KEYS}
