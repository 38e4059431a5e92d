"""Data set manifests: what a data set is, where it comes from, what a whole copy of it holds."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from partseg_cli.errors import DataError, did_you_mean
from partseg_cli.io.paths import packaged
from partseg_cli.vocabulary import Pair, Vocabulary


@dataclass(frozen=True)
class Manifest:
    """One file of `data_manifests/`.

    Attributes:
        name: as in `partseg prepare NAME`.
        title: the data set's own name.
        homepage: where to get it.
        licence: its terms, in a line.
        source: archives to get and the folders that `--source` must hold, in words.
        objects: every object name, also those without parts.
        unseen_objects: the published zero-shot split.
        parts: object name -> its parts, in the published order of the pairs.
        expected: number of images of each split of a whole copy; empty when it is drawn to order.
        raw_codes: object name -> part -> patterns of the original codes (`wheel_N` stands for wheel_1, wheel_2, ...).
        aliases: names in the original annotation -> ours.
        val_list: file that lists the images of val, if membership is given by a list: beside the manifest, or absolute.
        val_images: what that list holds, where it has been read.
        annotated: number of annotated images of a whole source; None if it is drawn to order, or not known.
        archives: what to download: its name, what it is, and size and checksum where they are known.
        notes: oddities that explain differences of counts.
        stored: bytes of the masks of an image in the store, as measured; None: those of a usual photo.
        test: what the published test runs over, as in `DatasetInfo`.
        sample: what a published test sample is, as in `DatasetInfo`.
    """

    name: str
    title: str
    homepage: str
    licence: str
    source: str
    objects: tuple[str, ...]
    unseen_objects: tuple[str, ...]
    parts: dict[str, list[str]]
    expected: dict[str, int]
    raw_codes: dict[str, dict[str, list[str]]]
    aliases: dict[str, str]
    val_list: str | None = None
    val_images: tuple[str, ...] = ()
    annotated: int | None = None
    archives: tuple[dict[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    stored: int | None = None
    test: str = "val"
    sample: str = "object"

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The pairs in the published order, with the published seen flags."""
        return Vocabulary(
            tuple(
                Pair(name, part, name not in self.unseen_objects)
                for name, parts in self.parts.items()
                for part in parts
            )
        )

    def val_stems(self) -> frozenset[str]:
        """Give the stems of the val images.

        Raises:
            DataError: `val_list` cannot be read.
        """
        if self.val_images or self.val_list is None:
            return frozenset(self.val_images)
        path = packaged("data_manifests") / self.val_list
        try:
            return frozenset(path.read_text(encoding="utf-8").split())
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{path}: must be a text file of image names, got {error}; check --split-list") from error


def manifest_names() -> list[str]:
    """Give the names of all packaged manifests, sorted."""
    return sorted(path.stem.replace("_", "-") for path in packaged("data_manifests").glob("*.yaml"))


def load_manifests() -> list[Manifest]:
    """Load all packaged manifests, by name."""
    return [load_manifest(name) for name in manifest_names()]


def load_manifest(name: str) -> Manifest:
    """Read the packaged manifest of the data set `name`.

    Raises:
        DataError: there is none.
    """
    path: Path = packaged("data_manifests") / f"{name.replace('-', '_')}.yaml"
    if not path.is_file():
        known = manifest_names()
        longer = next((other for other in known if name in other), name)
        advice = did_you_mean(longer, known, "for a set of your own write partseg prepare coco DIR")
        raise DataError(f"data set must be one of {', '.join(known)}, got {name!r}; {advice}")
    value: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    lists = ("objects", "unseen_objects", "archives", "notes")
    return Manifest(**value | {key: tuple(value.get(key, ())) for key in lists})
