"""PartImageNet on disk: where photos, COCO JSON and part maps of each split lie.

The Seg archive holds images/<split>/nXXXXXXXX_N.JPEG (the number is the ImageNet class, its *synset*), and beside it
annotations/<split>/ with <split>.json and a part map nXXXXXXXX_N.png for each photo. The JSON files of single photos
there, and the maps of whole objects in annotations/<split>_whole/, say nothing more and are not read.
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
    "json/n[0-9]*.json": "PartImageNet++ (a JSON of all photos of a class)",
    "annotations_detectron2_part": "an OV-PARTS repack",
    "n[0-9]*": "folders of ImageNet classes without annotations",
    "train/n[0-9]*": "folders of ImageNet classes without annotations",
    "images": "photos without annotations",
    "annotations": "annotations without photos",
}
"""What is found in a source, or in a folder of it -> what it is; the first that fits."""


@dataclass(frozen=True)
class SplitFiles:
    """The files of one split.

    Attributes:
        split: its name.
        json: path of its COCO JSON, if there is one.
        maps: image -> path of its part map.
        photos: image -> path of its photo.
    """

    split: str
    json: Path | None
    maps: dict[str, Path]
    photos: dict[str, Path]


@dataclass(frozen=True)
class PartImageNetFiles:
    """The data set on disk.

    Attributes:
        source: the folder that the user named.
        root: the folder that holds images and annotations, in it.
    """

    source: Path
    root: Path

    @classmethod
    def find(cls, source: Path) -> PartImageNetFiles:
        """Find the data set below `source`.

        Raises:
            DataError: it is not there, or a link leads out of `source` or to itself.
        """
        for folder in folders_at(source, ROOTS):
            if _is_root(source, folder):
                return cls(source, folder)
        raise DataError(
            f"{source}: must hold PartImageNet: photos in images/<split>, and annotations/<split>/<split>.json or part "
            f"maps annotations/<split>/*.png, split being {', '.join(SPLITS)} (looked for there and in "
            f"{', '.join(ROOTS[1:])}), got {_content(source)}; unpack {ARCHIVE} there"
        )

    def item(self, path: Path) -> str:
        """Give the name of a file below the source folder."""
        return path.relative_to(self.source).as_posix()

    def photo(self, files: SplitFiles, image: str) -> str:
        """Give the path of a photo below the root; where it is missing, the one that it should have."""
        path = files.photos.get(image, self.root / IMAGE_PLACES[0].format(files.split) / f"{image}.JPEG")
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
        """Raise a `DataError` if the name of a photo in a JSON file leads out of the source folder."""
        folder = self.root / IMAGE_PLACES[0].format(split)
        if not absolute(folder / file_name.replace("\\", "/")).is_relative_to(absolute(self.source)):
            raise DataError(f"{json}: a photo must be inside {self.source}, got {file_name!r}; unpack {ARCHIVE} again")

    def _places(self, places: tuple[str, ...], split: str) -> list[Path]:
        paths = [self.root / place.format(split) for place in places]
        return [path for path in paths if is_inside(self.source, path)]

    def _listed(self, places: tuple[str, ...], split: str, suffixes: tuple[str, ...]) -> dict[str, Path]:
        """Give image -> path of the files of a split: those right in its folder, then those in folders of a synset."""
        found: dict[str, Path] = {}
        for folder in self._places(places, split):
            for path in _list_images(self.source, folder):
                if path.suffix.lower() in suffixes and STEM.fullmatch(path.stem):
                    found.setdefault(path.stem, path)
        return found


def synset_of(image: str) -> str:
    """Give the synset in an image's name, empty where there is none.

    >>> synset_of("n01440764_36")
    'n01440764'
    """
    found = STEM.fullmatch(image)
    return found[1] if found else ""


def _is_root(source: Path, folder: Path) -> bool:
    """Tell whether a folder holds photos and annotations of some split."""

    def has(places: tuple[str, ...]) -> bool:
        return any(is_inside(source, folder / place.format(split)) for place in places for split in SPLITS)

    return has(IMAGE_PLACES) and has((*JSON_PLACES, *MAP_PLACES))


def _list_images(source: Path, folder: Path) -> Iterator[Path]:
    """Give the files right in a folder, then those in its folders of a synset, sorted, without hidden ones."""
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
    """Say what `folder` holds instead."""
    if not folder.is_dir():
        return "a file" if folder.exists() else "no such folder"
    for parent in (folder.absolute().parent, folder.absolute().parent.parent):
        if _is_root(parent, parent):
            return f"a folder inside of {parent}, which is the one to name"
    for pattern, name in OTHER_CONTENT.items():
        if any(folder.glob(pattern)) or any(folder.glob(f"*/{pattern}")):
            return name
    return describe_folder(folder)
