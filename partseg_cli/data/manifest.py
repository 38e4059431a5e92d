"""Data set manifests: what a data set is, where it comes from, what a whole copy of it holds."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from partseg_cli.errors import DataError
from partseg_cli.places import packaged
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
        val_list: file beside the manifest that lists the images of val, if membership is given by a list.
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
        """Give the stems of the val images that `val_list` names."""
        if self.val_list is None:
            return frozenset()
        return frozenset((packaged("data_manifests") / self.val_list).read_text(encoding="utf-8").split())


def manifest_names() -> list[str]:
    """Give the names of all packaged manifests, sorted."""
    return sorted(path.stem.replace("_", "-") for path in packaged("data_manifests").glob("*.yaml"))


def load_manifest(name: str) -> Manifest:
    """Read the packaged manifest of the data set `name`.

    Raises:
        DataError: there is none.
    """
    path: Path = packaged("data_manifests") / f"{name.replace('-', '_')}.yaml"
    if not path.is_file():
        raise DataError(f"data set must be one of {', '.join(manifest_names())}, got {name!r}")
    value: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    value["objects"], value["unseen_objects"] = tuple(value["objects"]), tuple(value["unseen_objects"])
    return Manifest(**value)
