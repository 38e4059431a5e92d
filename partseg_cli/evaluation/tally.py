"""Counts of a trial's photos, or of a share of them, each with the number of its photo in the trial."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from partseg_cli.data.record import RecordKey
from partseg_cli.errors import PartsegError
from partseg_cli.evaluation.confusion_table import ConfusionTable
from partseg_cli.evaluation.counts import FIELDS, ConfusionCounts
from partseg_cli.evaluation.runner import ImageCounts
from partseg_cli.evaluation.shards import Group, groups
from partseg_cli.evaluation.spec import EvalSpec
from partseg_cli.io.journal import Journal
from partseg_cli.runtime.devices import memory_watch
from partseg_cli.runtime.pool import Track, silent
from partseg_cli.runtime.process_group import SINGLE_PROCESS, ProcessGroup

ADVICE = "lower --batch or --prompt-chunk, or choose another --device"
COUNTS = ("classes", "values", "cells", "pixels")

Count = Callable[[Sequence[RecordKey], Sequence[bool] | None], Iterator[ImageCounts]]
"""Counts photos in turn, in groups of the trial's batch: their keys, and which pairs are scored there."""

Photo = tuple[str, tuple[ConfusionCounts, ...]]
"""A photo's image id, and the counts of its samples."""


@dataclass(frozen=True)
class Tally:
    """What was counted.

    Attributes:
        table: the counts of every sample, in the order of the trial's photos.
        numbers: of each sample's photo in the trial.
        photos: how many were counted, also those without a sample.
    """

    table: ConfusionTable
    numbers: list[int]
    photos: int

    @classmethod
    def joined(cls, tallies: Sequence[Tally]) -> Tally:
        """Put shares together in the order of the trial's photos.

        Raises:
            PartsegError: a photo is in two of them.
        """
        table = ConfusionTable.joined([tally.table for tally in tallies])
        numbers = [number for tally in tallies for number in tally.numbers]
        if sum(len(set(tally.numbers)) for tally in tallies) > len(set(numbers)):
            raise PartsegError("every photo must be counted once, got one in two shards; evaluate again")
        order = sorted(range(len(numbers)), key=numbers.__getitem__)
        ordered = ConfusionTable(table.classes, [table.images[i] for i in order], [table.samples[i] for i in order])
        return cls(ordered, [numbers[i] for i in order], sum(tally.photos for tally in tallies))


def gather_counts(tally: Tally, group: ProcessGroup) -> Tally | None:
    """Return the joined counts of all processes in the main one, None in the others."""
    tallies = group.gather(tally)
    return Tally.joined(tallies) if group.is_main else None


def count_trial(
    trial: EvalSpec,
    count: Count,
    track: Track = silent,
    *,
    batch: int = 1,
    group: ProcessGroup = SINGLE_PROCESS,
    journal: Journal | None = None,
    keep: Callable[[ImageCounts], None] | None = None,
) -> Tally:
    """Count the samples of a trial's shard, or the share of it that one of several processes takes.

    Args:
        trial: what is tested.
        count: predicts and counts photos.
        track: shows progress.
        batch: photos in one forward pass; a group of which a photo is missing in the journal is counted anew.
        group: Processes that share the work, and which of them this is.
        journal: holds what former runs have counted, and takes what is counted now.
        keep: is handed every photo that is counted now, before the journal knows of it.
    """
    parts = trial.parts
    chosen = trial.shard.choose(groups([keys for keys, _ in parts], batch))[group.index :: group.size]
    numbers = [number for group in chosen for number in group.numbers]
    stored: Mapping[int, Any] = journal or {}
    done = {number: _photo(stored[number]) for number in numbers if number in stored}
    left = [group for group in chosen if not all(number in done for number in group.numbers)]
    images = _count_groups(left, count, [scored for _, scored in parts])
    with memory_watch(ADVICE):
        for number, counted in track(images, f"evaluate {trial.protocol}", sum(len(group.numbers) for group in left)):
            if keep:
                keep(counted)
            if journal is not None:
                journal.add(number, _plain(counted))
            done[number] = (counted.image_id, counted.samples)
    table = ConfusionTable(len(trial.vocabulary.pairs))
    for number in numbers:
        name, samples = done[number]
        for sample in samples:
            table.add(name, sample)
    return Tally(table, [number for number in numbers for _ in done[number][1]], len(numbers))


def _count_groups(
    chosen: Sequence[Group], count: Count, scored: Sequence[Sequence[bool] | None]
) -> Iterator[tuple[int, ImageCounts]]:
    """Count groups, with each photo's number; all but a part's last are of one size, so their photos group alike."""
    for part, members in groupby(chosen, lambda group: group.part):
        together = list(members)
        keys = [key for group in together for key in group.keys]
        numbers = [number for group in together for number in group.numbers]
        yield from zip(numbers, count(keys, scored[part]), strict=True)


def _plain(counted: ImageCounts) -> list[Any]:
    """Give what JSON can hold of a photo's counts."""
    return [counted.image_id, [[getattr(sample, name).tolist() for name in COUNTS] for sample in counted.samples]]


def _photo(value: list[Any]) -> Photo:
    """Read what `_plain` gave."""
    shapes = {"values": (-1, len(FIELDS))}
    samples = (dict(zip(COUNTS, sample, strict=True)) for sample in value[1])
    return value[0], tuple(
        ConfusionCounts(**{name: np.array(row[name], np.int64).reshape(shapes.get(name, -1)) for name in COUNTS})
        for row in samples
    )
