"""PartImageNet on disk: images, COCO JSON and part maps of each split.

The Seg archive holds images/<split>/nXXXXXXXX_N.JPEG (the number is the ImageNet class, its *synset*), and beside it
annotations/<split>/ with <split>.json and a part map nXXXXXXXX_N.png for each image. The JSON files of single images
there, and the maps of whole objects in annotations/<split>_whole/, hold nothing more and are not read.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from partseg_cli.errors import DataError
from partseg_cli.io.files import absolute, describe_folder, folders_at, is_ignored_file, is_inside

SPLITS = ("train", "val", "test")
ARCHIVE = "PartImageNet_Seg.zip of https://huggingface.co/datasets/turkeyju/PartImageNet"
ROOTS = (".", "PartImageNet", "PartImageNet_Seg", "PartImageNet_Seg/PartImageNet", "*", "*/PartImageNet")
JSON_PLACES = ("annotations/{0}/{0}.json", "annotations/{0}.json", "{0}.json")
"""The last one is where the preprocessing of PartCLIPSeg moves them, and where the OOD archive has them."""
MAP_PLACES = ("annotations/{0}",)
IMAGE_PLACES = ("images/{0}", "{0}")
SYNSET = re.compile(r"n\d{8}")
STEM = re.compile(r"(n\d{8})_\w+")
"""Name of an image without suffix: its synset, and a number."""

OTHER_CONTENT = {
    "PartImageNet_Seg.zip": "PartImageNet_Seg.zip, still packed",
    "PartImageNet_OOD.zip": "PartImageNet_OOD.zip, whose splits share no class",
    "train.zip": "the zip files inside PartImageNet_OOD.zip, whose splits share no class",
    "json/n[0-9]*.json": "PartImageNet++ (a JSON of all images of a class)",
    "annotations_detectron2_part": "an OV-PARTS repack",
    "n[0-9]*": "folders of ImageNet classes without annotations",
    "train/n[0-9]*": "folders of ImageNet classes without annotations",
    "images": "images without annotations",
    "annotations": "annotations without images",
}
"""Pattern in a source, or in a folder of it -> what it is; the first match counts."""


@dataclass(frozen=True)
class SplitFiles:
    """The files of one split.

    Attributes:
        split: its name.
        json: path of its COCO JSON, if there is one.
        maps: image -> path of its part map.
        images: Image -> path of its file.
    """

    split: str
    json: Path | None
    maps: dict[str, Path]
    images: dict[str, Path]


@dataclass(frozen=True)
class PartImageNetFiles:
    """The dataset on disk.

    Attributes:
        source: the folder that the user named.
        root: the folder that holds images and annotations, in it.
    """

    source: Path
    root: Path

    @classmethod
    def find(cls, source: Path) -> PartImageNetFiles:
        """Find the dataset below `source`.

        Raises:
            DataError: it is not there, or a link leads out of `source` or to itself.
        """
        for folder in folders_at(source, ROOTS):
            if _is_root(source, folder):
                return cls(source, folder)
        raise DataError(
            f"{source}: must hold PartImageNet: images in images/<split>, and annotations/<split>/<split>.json or part "
            f"maps annotations/<split>/*.png, split being {', '.join(SPLITS)} (looked for there and in "
            f"{', '.join(ROOTS[1:])}), got {_content(source)}; unpack {ARCHIVE} there"
        )

    def item(self, path: Path) -> str:
        """Return the name of a file below the source folder."""
        return path.relative_to(self.source).as_posix()

    def image_path(self, files: SplitFiles, image: str) -> str:
        """Return the path of an image below the root; the expected one if it is missing."""
        path = files.images.get(image, self.root / IMAGE_PLACES[0].format(files.split) / f"{image}.JPEG")
        return path.relative_to(self.root).as_posix()

    def files(self, split: str) -> SplitFiles | None:
        """List the files of a split; None if it has no annotation.

        Raises:
            DataError: there are two of its JSON files, a folder cannot be read, or a link leads out or to itself.
        """
        jsons = [path for path in self._places(JSON_PLACES, split) if path.is_file()]
        if len(jsons) > 1:
            names = " and ".join(self.item(path) for path in jsons)
            raise DataError(f"{self.source}: {split} must have one JSON file, got {names}; leave the right one alone")
        maps = self._listed(MAP_PLACES, split, (".png",))
        if not jsons and not maps:
            return None
        return SplitFiles(
            split, jsons[0] if jsons else None, maps, self._listed(IMAGE_PLACES, split, (".jpeg", ".jpg"))
        )

    def check_inside(self, json: Path, split: str, file_name: str) -> None:
        """Raise a `DataError` if the name of an image in a JSON file leads out of the source folder."""
        folder = self.root / IMAGE_PLACES[0].format(split)
        if not absolute(folder / file_name.replace("\\", "/")).is_relative_to(absolute(self.source)):
            raise DataError(f"{json}: an image must be inside {self.source}, got {file_name!r}; unpack {ARCHIVE} again")

    def _places(self, places: tuple[str, ...], split: str) -> list[Path]:
        paths = [self.root / place.format(split) for place in places]
        return [path for path in paths if is_inside(self.source, path)]

    def _listed(self, places: tuple[str, ...], split: str, suffixes: tuple[str, ...]) -> dict[str, Path]:
        """Return image -> path of the files of a split: those in its folder, then those in folders of a synset."""
        found: dict[str, Path] = {}
        for folder in self._places(places, split):
            for path in _list_images(self.source, folder):
                if path.suffix.lower() in suffixes and STEM.fullmatch(path.stem):
                    found.setdefault(path.stem, path)
        return found


def synset_of(image: str) -> str:
    """Return the synset in an image's name, empty if there is none.

    >>> synset_of("n01440764_36")
    'n01440764'
    """
    found = STEM.fullmatch(image)
    return found[1] if found else ""


def _is_root(source: Path, folder: Path) -> bool:
    """Return whether a folder holds images and annotations of some split."""

    def has(places: tuple[str, ...]) -> bool:
        return any(is_inside(source, folder / place.format(split)) for place in places for split in SPLITS)

    return has(IMAGE_PLACES) and has((*JSON_PLACES, *MAP_PLACES))


def _list_images(source: Path, folder: Path) -> Iterator[Path]:
    """Yield the files in a folder, then those in its folders of a synset, sorted, without hidden ones."""
    folders = []
    for entry in _scan(folder):
        path = Path(entry.path)
        if entry.is_symlink() and not is_inside(source, path):
            continue
        if not entry.is_dir():
            yield path
        elif SYNSET.fullmatch(entry.name):
            folders.append(path)
    for inner in folders:
        for entry in _scan(inner):
            if not entry.is_symlink() or is_inside(source, Path(entry.path)):
                yield Path(entry.path)


def _scan(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted((entry for entry in entries if not is_ignored_file(entry.name)), key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"{folder}: must be a readable folder, got {error.strerror}; check it") from error


def _content(folder: Path) -> str:
    """Describe what `folder` holds instead."""
    if not folder.is_dir():
        return "a file" if folder.exists() else "no such folder"
    for parent in (folder.absolute().parent, folder.absolute().parent.parent):
        if _is_root(parent, parent):
            return f"a folder inside of {parent}, which is the one to name"
    for pattern, name in OTHER_CONTENT.items():
        if any(folder.glob(pattern)) or any(folder.glob(f"*/{pattern}")):
            return name
    return describe_folder(folder)
