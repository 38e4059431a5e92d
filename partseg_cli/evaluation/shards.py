"""Shards of an evaluation: each is counted by itself into a folder of its own, and all are merged into the whole."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from partseg_cli.errors import DataError, UsageError, one_line
from partseg_cli.evaluation.counts import ConfusionTable
from partseg_cli.evaluation.evaluator import EvalCounts
from partseg_cli.evaluation.spec import Shard, parse_shard
from partseg_cli.io.atomic import atomic_write, write_json
from partseg_cli.io.paths import COUNTS_FILE, RESULTS_FILE
from partseg_cli.io.versions import PACKAGES, package_versions

NOTE = "one shard of an evaluation: counts without means; partseg merge puts all shards together"
PATHS = ("about.checkpoint", "about.predictions")
"""Values that may differ, as shards may come from several machines; the digest identifies what the paths hold."""


@dataclass(frozen=True)
class ShardResult:
    """A shard in its folder.

    Attributes:
        folder: Folder of its files.
        shard: Which shard it is.
        trial: What was evaluated, and how: the same in all shards of an evaluation.
        counts: Counts of its images.
    """

    folder: Path
    shard: Shard
    trial: dict[str, Any]
    counts: EvalCounts

    def to_json(self) -> dict[str, Any]:
        """Return the content of `results.json`, which has no means: those of some images would mislead."""
        return {
            "shard": str(self.shard),
            "note": NOTE,
            "images_counted": self.counts.images,
            "samples_counted": len(self.counts.table),
            "trial": self.trial,
        }


def refuse_other_shard(folder: Path, shard: Shard) -> None:
    """Check that a folder holds no other shard, as when all machines of a cluster are given one folder.

    Raises:
        UsageError: There is one.
    """
    try:
        other = json.loads((folder / RESULTS_FILE).read_text(encoding="utf-8"))["shard"]
    except (OSError, ValueError, KeyError, TypeError):
        return
    if other != str(shard):
        raise UsageError(f"{folder}: holds shard {other}, got --shard {shard}; each shard needs an --out of its own")


def write_shard(result: ShardResult) -> None:
    """Write `counts.npz` and `results.json`."""
    folder, counts = result.folder, result.counts
    (folder / RESULTS_FILE).unlink(missing_ok=True)  # of a former run, which had other counts
    with atomic_write(folder / COUNTS_FILE) as temporary, temporary.open("wb") as file:
        numbers, photos = np.array(counts.positions, np.int64), np.array(counts.images)
        np.savez_compressed(file, allow_pickle=False, **counts.table.to_arrays(), numbers=numbers, photos=photos)
    write_json(folder / RESULTS_FILE, result.to_json())


def read_shard(folder: Path) -> ShardResult:
    """Read what `write_shard` wrote.

    Raises:
        DataError: There is no complete shard.
    """
    try:
        document = json.loads((folder / RESULTS_FILE).read_text(encoding="utf-8"))
        if "shard" not in document:
            raise DataError(
                f"{folder}: must hold a shard of partseg evaluate --shard, got a whole evaluation; leave it out"
            )
        with (folder / COUNTS_FILE).open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = dict(file)
        counts = EvalCounts(ConfusionTable.from_arrays(arrays), arrays["numbers"].tolist(), int(arrays["photos"]))
        result = ShardResult(folder, parse_shard(document["shard"]), document["trial"], counts)
        counted = (document["images_counted"], document["samples_counted"])
    except (OSError, ValueError, KeyError, TypeError, BadZipFile, UsageError) as error:
        reason = "nothing there" if isinstance(error, FileNotFoundError) else one_line(repr(error))
        raise DataError(
            f"{folder}: must hold a shard of partseg evaluate --shard, got {reason}; evaluate it again"
        ) from error
    if counted != (counts.images, len(counts.table)):
        raise DataError(f"{folder}: {RESULTS_FILE} and {COUNTS_FILE} must be of one run, got others; evaluate it again")
    return result


def merge_shards(folders: Sequence[Path]) -> tuple[dict[str, Any], EvalCounts]:
    """Read all shards of an evaluation, in any order, and join their counts.

    Returns:
        What was evaluated, with the paths of the first shard, and the counts of all images.

    Raises:
        DataError: A shard is missing, doubled, broken, or of another evaluation.
    """
    shards = sorted((read_shard(folder) for folder in folders), key=lambda result: result.shard.index)
    _check_same_evaluation(shards)
    _check_complete(shards)
    trial, counts = shards[0].trial, EvalCounts.merge([result.counts for result in shards])
    if counts.images != (expected := trial["about"]["images"]):
        raise DataError(
            f"the shards must hold {expected} images together, got {counts.images}; "
            "evaluate them again with one --batch"
        )
    return trial, counts


def _check_same_evaluation(shards: Sequence[ShardResult]) -> None:
    """Refuse shards of several evaluations, or of other package versions than those of this machine."""
    first = shards[0]
    expected = _comparable(first)
    for other in shards[1:]:
        found = _comparable(other)
        for key in sorted({*expected, *found}):
            if expected.get(key) != found.get(key):
                values = "another one" if key == "vocabulary" else f"{found.get(key)!r} beside {expected.get(key)!r}"
                raise DataError(
                    f"{other.folder}: must be of the same evaluation as {first.folder}, got {key}: {values}; "
                    "leave it out, or evaluate it again"
                )
    installed = package_versions()
    for name in PACKAGES:
        if expected[f"versions.{name}"] != installed[name]:
            raise DataError(
                f"{first.folder}: must be merged with the {name} that it was evaluated with, "
                f"{expected[f'versions.{name}']}, got {installed[name]}; merge on a machine that has it"
            )


def _comparable(result: ShardResult) -> dict[str, Any]:
    """Return all values that must be the same in all shards, nested ones as "about.key"."""
    flat = {"number of shards": result.shard.of}
    for key, value in result.trial.items():
        if key in {"about", "versions"}:
            flat |= {f"{key}.{inner}": inner_value for inner, inner_value in value.items()}
        else:
            flat[key] = value
    return {key: value for key, value in flat.items() if key not in PATHS}


def _check_complete(shards: Sequence[ShardResult]) -> None:
    """Refuse a set in which a shard is doubled or missing."""
    folders: dict[Shard, Path] = {}
    for result in shards:
        if result.shard in folders:
            raise DataError(
                f"{result.folder}: each shard must be there once, got {result.shard} also in {folders[result.shard]}; "
                "leave one out"
            )
        folders[result.shard] = result.folder
    of = shards[0].shard.of
    missing = [str(shard) for shard in (Shard(index, of) for index in range(of)) if shard not in folders]
    if missing:
        raise DataError(
            f"all {of} shards must be there, got {len(folders)} without {', '.join(missing)}; "
            f"name their folders too, or run partseg evaluate --shard {missing[0]}"
        )
