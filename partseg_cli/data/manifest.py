"""Manifests of datasets: source, licence, classes, and counts of a complete copy."""

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
        name: Name of the dataset in commands.
        title: Published name.
        homepage: Address to get it from.
        licence: Terms in one line.
        source: Archives to get and folders that `--source` must hold, in words.
        objects: All object names, also those without parts.
        unseen_objects: Unseen objects of the published zero-shot split.
        parts: Object name -> its parts, in the published order of the pairs.
        expected: Number of images of each split of a complete copy; empty if the number is an option.
        raw_codes: Object name -> part -> patterns of the original codes (`wheel_N` stands for wheel_1, wheel_2, ...).
        aliases: Name or number of an object in the original annotation -> our name.
        val_list: File that lists the images of val, beside the manifest or with an absolute path; None without a list.
        val_images: Content of that list if it has been read.
        annotated: Number of annotated images of a complete source; None if unknown.
        archives: Files to download: name, content, and size and checksum if known.
        notes: Oddities that explain differences of counts.
        stored: Measured bytes of the masks of an image in the store; None for those of a usual image.
        test: Images of the published test, as in `DatasetInfo`.
        sample: Unit of the published test, as in `DatasetInfo`.
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

    @cached_property
    def object_indices(self) -> dict[str, int]:
        """Index of each object by its name."""
        return {name: index for index, name in enumerate(self.objects)}

    @cached_property
    def alias_indices(self) -> dict[str, int]:
        """Index of each object by its name or number in the original annotation."""
        return {alias: self.object_indices[name] for alias, name in self.aliases.items()}

    @cached_property
    def pair_indices(self) -> dict[tuple[str, str], int]:
        """Index of each pair by the names of its object and part."""
        return {(pair.object, pair.part): index for index, pair in enumerate(self.vocabulary.pairs)}

    @cached_property
    def pair_objects(self) -> tuple[int, ...]:
        """Index of the object of each pair."""
        return tuple(self.object_indices[pair.object] for pair in self.vocabulary.pairs)

    @cached_property
    def code_pairs(self) -> dict[tuple[int, str], int]:
        """Index of each pair by the index of its object and an original code or pattern."""
        return {
            (self.object_indices[pair.object], code): index
            for index, pair in enumerate(self.vocabulary.pairs)
            for code in self.raw_codes[pair.object][pair.part]
        }

    def val_stems(self) -> frozenset[str]:
        """Return the stems of the val images.

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
    """Return the names of all packaged manifests, sorted."""
    return sorted(path.stem.replace("_", "-") for path in packaged("data_manifests").glob("*.yaml"))


def load_manifests() -> list[Manifest]:
    """Load all packaged manifests, by name."""
    return [load_manifest(name) for name in manifest_names()]


def load_manifest(name: str) -> Manifest:
    """Load the packaged manifest of a dataset.

    Raises:
        DataError: No dataset has this name.
    """
    path: Path = packaged("data_manifests") / f"{name.replace('-', '_')}.yaml"
    if not path.is_file():
        known = manifest_names()
        longer = next((other for other in known if name in other), name)
        advice = did_you_mean(longer, known, "for a set of your own write partseg prepare coco DIR")
        raise DataError(f"dataset must be one of {', '.join(known)}, got {name!r}; {advice}")
    value: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    lists = ("objects", "unseen_objects", "archives", "notes")
    return Manifest(**value | {key: tuple(value.get(key, ())) for key in lists})
