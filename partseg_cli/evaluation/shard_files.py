"""The folder of one shard of an evaluation: its counts, and what must be the same in all shards that are merged."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from partseg_cli.errors import DataError, UsageError, one_line
from partseg_cli.evaluation.confusion_table import ConfusionTable
from partseg_cli.evaluation.evaluator import Job
from partseg_cli.evaluation.shards import Shard, parse_shard
from partseg_cli.evaluation.tally import Tally
from partseg_cli.io.atomic import atomic_write, write_json
from partseg_cli.io.paths import COUNTS_FILE, RESULTS_FILE
from partseg_cli.io.versions import package_versions

NOTE = "one shard of an evaluation: counts without means; partseg merge puts all shards together"


@dataclass(frozen=True)
class WrittenShard:
    """A shard in its folder.

    Attributes:
        folder: with its files.
        document: results.json.
    """

    folder: Path
    document: dict[str, Any]


@dataclass(frozen=True)
class ReadShard:
    """A shard as it was written.

    Attributes:
        folder: that it was read from.
        shard: which one it is.
        trial: what was tested, and how: the same in all shards.
        tally: its counts.
    """

    folder: Path
    shard: Shard
    trial: dict[str, Any]
    tally: Tally


def refuse_other_shard(folder: Path, shard: Shard) -> None:
    """Do not overwrite another shard, as when all machines of a cluster are given one folder.

    Raises:
        UsageError: there is one.
    """
    try:
        other = json.loads((folder / RESULTS_FILE).read_text(encoding="utf-8"))["shard"]
    except (OSError, ValueError, KeyError, TypeError):
        return
    if other != str(shard):
        raise UsageError(f"{folder}: holds shard {other}, got --shard {shard}; each shard needs an --out of its own")


def write_shard(job: Job, tally: Tally, about: dict[str, Any], bootstrap_samples: int) -> WrittenShard:
    """Write `counts.npz`, and `results.json` without means: those of some photos would be wrong for the trial."""
    trial, model = job.trial, job.source.is_model
    document = {
        "shard": str(trial.shard),
        "note": NOTE,
        "images_counted": tally.photos,
        "samples_counted": len(tally.table),
        "trial": {
            "protocol": trial.protocol,
            "rule": trial.rule,
            "digest": job.source.digest,
            "batch": job.compute.batch if model else 1,
            "precision": job.compute.precision,
            "draws": bootstrap_samples,
            "vocabulary": trial.vocabulary.to_json(),
            "about": about,
            "versions": package_versions(),
        },
    }
    (job.folder / RESULTS_FILE).unlink(missing_ok=True)  # of a former run: it must not stand beside other counts
    with atomic_write(job.folder / COUNTS_FILE) as temporary, temporary.open("wb") as file:
        numbers, photos = np.array(tally.numbers, np.int64), np.array(tally.photos)
        np.savez_compressed(file, allow_pickle=False, **tally.table.to_arrays(), numbers=numbers, photos=photos)
    write_json(job.folder / RESULTS_FILE, document)
    return WrittenShard(job.folder, document)


def read_shard(folder: Path) -> ReadShard:
    """Read what `write_shard` wrote.

    Raises:
        DataError: there is no whole shard.
    """
    try:
        document = json.loads((folder / RESULTS_FILE).read_text(encoding="utf-8"))
        if "shard" not in document:
            raise DataError(
                f"{folder}: must hold a shard of partseg evaluate --shard, got a whole evaluation; leave it out"
            )
        with (folder / COUNTS_FILE).open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = dict(file)
        tally = Tally(ConfusionTable.from_arrays(arrays), arrays["numbers"].tolist(), int(arrays["photos"]))
        shard, trial = parse_shard(document["shard"]), document["trial"]
        counted = (document["images_counted"], document["samples_counted"])
    except (OSError, ValueError, KeyError, TypeError, BadZipFile, UsageError) as error:
        reason = "nothing there" if isinstance(error, FileNotFoundError) else one_line(repr(error))
        raise DataError(
            f"{folder}: must hold a shard of partseg evaluate --shard, got {reason}; evaluate it again"
        ) from error
    if counted != (tally.photos, len(tally.table)):
        raise DataError(f"{folder}: {RESULTS_FILE} and {COUNTS_FILE} must be of one run, got others; evaluate it again")
    return ReadShard(folder, shard, trial, tally)
