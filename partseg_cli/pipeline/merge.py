"""`partseg merge`: all shards of an evaluation -> the files that one run of it writes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from partseg_cli.errors import DataError
from partseg_cli.evaluation.shard_files import ReadShard, read_shard
from partseg_cli.evaluation.shards import Shard
from partseg_cli.evaluation.tally import Tally
from partseg_cli.io.paths import create_run_dir
from partseg_cli.io.versions import PACKAGES, package_versions
from partseg_cli.pipeline.evaluate import EvaluateResult, conclude
from partseg_cli.vocabulary import Vocabulary

PATHS = ("checkpoint", "predictions")
"""Of `about`: may differ, as shards may come from several machines; the digest tells what lies there."""


def merge(folders: Sequence[Path], out: Path | None = None) -> EvaluateResult:
    """Put shards together; neither the data nor the model need to be there.

    Paths in results.json are those of the first shard.

    Args:
        folders: of the shards, in any order.
        out: folder of the results.

    Raises:
        DataError: a shard is missing, there twice, broken, or of another evaluation.
    """
    shards = sorted((read_shard(folder) for folder in folders), key=lambda shard: shard.shard.index)
    _check_same(shards)
    _check_complete(shards)
    first = shards[0].trial
    tally = Tally.joined([shard.tally for shard in shards])
    _check_photos(shards, tally)
    return conclude(
        Vocabulary.from_json(first["vocabulary"]),
        first["protocol"],
        first["rule"],
        tally.table,
        first["about"],
        out or create_run_dir("merge", str(first["about"]["dataset"])),
        first["draws"],
    )


def _check_same(shards: Sequence[ReadShard]) -> None:
    """Refuse shards of several evaluations."""
    first = shards[0]
    ours = {"number of shards": first.shard.of, **_flat(first.trial)}
    for other in shards[1:]:
        theirs = {"number of shards": other.shard.of, **_flat(other.trial)}
        for key in sorted({*ours, *theirs}):
            if ours.get(key) != theirs.get(key):
                values = "another one" if key == "vocabulary" else f"{theirs.get(key)!r} beside {ours.get(key)!r}"
                raise DataError(
                    f"{other.folder}: must be of the same evaluation as {first.folder}, got {key}: {values}; "
                    "leave it out, or evaluate it again"
                )
    here = package_versions()
    for name in PACKAGES:
        if ours[f"versions.{name}"] != here[name]:
            raise DataError(
                f"{first.folder}: must be merged with the {name} that it was evaluated with, "
                f"{ours[f'versions.{name}']}, got {here[name]}; merge on a machine that has it"
            )


def _flat(trial: dict[str, Any]) -> dict[str, Any]:
    """Give all values but paths in one level."""
    inner = {f"{name}.{key}": value for name in ("about", "versions") for key, value in trial[name].items()}
    outer = {key: value for key, value in trial.items() if key not in {"about", "versions"}}
    return {**outer, **{key: value for key, value in inner.items() if key.removeprefix("about.") not in PATHS}}


def _check_complete(shards: Sequence[ReadShard]) -> None:
    """Refuse a set in which a shard is doubled or missing."""
    found: dict[Shard, Path] = {}
    for shard in shards:
        if shard.shard in found:
            raise DataError(
                f"{shard.folder}: each shard must be there once, got {shard.shard} also in {found[shard.shard]}; "
                "leave one out"
            )
        found[shard.shard] = shard.folder
    of = shards[0].shard.of
    missing = [str(shard) for shard in (Shard(index, of) for index in range(of)) if shard not in found]
    if missing:
        raise DataError(
            f"all {of} shards must be there, got {len(found)} without {', '.join(missing)}; "
            f"name their folders too, or run partseg evaluate --shard {missing[0]}"
        )


def _check_photos(shards: Sequence[ReadShard], tally: Tally) -> None:
    """Refuse counts that leave a photo out."""
    expected = shards[0].trial["about"]["images"]
    if tally.photos != expected:
        raise DataError(
            f"the shards must hold {expected} photos together, got {tally.photos}; evaluate them again with one --batch"
        )
