"""`partseg bench data`: what reading training samples costs on this machine, and where the time goes."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Any

from partseg_cli.config.recipe import Recipe
from partseg_cli.data.loading.dataset import PartDataset
from partseg_cli.data.store import Store
from partseg_cli.errors import DataError, UsageError
from partseg_cli.evaluation.spec import open_data
from partseg_cli.pipeline.bench import Timing, data_setting, split_json
from partseg_cli.pipeline.train import training_set
from partseg_cli.runtime.pool import Track, silent
from partseg_cli.runtime.process_group import SINGLE_PROCESS
from partseg_cli.runtime.stopwatch import Hook, Part, Stopwatch, parts
from partseg_cli.training.engine import layout_of

READ, LABELS, RESIZE, HAND_OVER = "read and decode", "labels", "resize and tensor", "hand over"


@dataclass(frozen=True)
class Reading:
    """What reading training samples costs.

    Attributes:
        setting: what was read, and how.
        first: the photos for the first time; a cache is filled, and the clock begins when workers have started.
        later: the same photos again.
        split: what a photo takes of the later pass, in a worker's time.
    """

    setting: dict[str, Any]
    first: Timing
    later: Timing
    split: tuple[Part, ...]

    def to_json(self) -> dict[str, Any]:
        """Give it as a JSON document."""
        passes = {"first_pass": self.first, "later_passes": self.later}
        told = {
            name: {"images": one.images, "seconds": round(one.seconds, 4), "images_per_second": round(one.rate, 3)}
            for name, one in passes.items()
        }
        return {**self.setting, **told, "split": split_json(self.split)}


def bench_data(recipe: Recipe, *, images: int = 200, track: Track = silent) -> Reading:
    """Read training samples twice as training does, and once more in this process for the split.

    Args:
        recipe: as for `partseg train`; batches are of `train.micro_batch_size`.
        images: photos that are read, no more than there are.
        track: shows progress.

    Raises:
        UsageError: fewer than two batches are asked for.
        DataError: fewer than two batches are there, or a photo cannot be read.
    """
    store, split = open_data(recipe.data)
    layout, samples = layout_of(recipe, SINGLE_PROCESS), training_set(recipe, store, split)
    least = 2 * layout.micro
    if images < least:
        raise UsageError(
            f"--images must be >= {least}, two batches of train.micro_batch_size {layout.micro}, got {images}"
        )
    if len(samples) < least:
        raise DataError(
            f"{store.folder}: reading is measured on two batches or more, {least} photos, got {len(samples)}; "
            f"lower train.micro_batch_size ({layout.micro})"
        )
    count = min(images, len(samples)) // layout.micro * layout.micro
    first, later = _two_passes(samples, count, layout.micro, recipe.data.workers, track)
    setting = {**data_setting(recipe, store, samples, layout), "images": count}
    return Reading(setting, first, later, _reading_split(samples, later, recipe.data.workers))


def _two_passes(samples: PartDataset, images: int, micro: int, workers: int, track: Track) -> tuple[Timing, Timing]:
    """Read the first photos of a run twice, in one go as a run's epochs are."""
    sample_ids = [*range(images), *range(images)]
    batches = samples.batches(images=micro, sample_ids=sample_ids, workers=workers)
    half = images // micro
    ends = [time.perf_counter() for _ in track(batches, "reading", 2 * half)]
    return Timing(images - micro, ends[half - 1] - ends[0]), Timing(images, ends[-1] - ends[half - 1])


def _reading_split(samples: PartDataset, later: Timing, workers: int) -> tuple[Part, ...]:
    """Say what a photo takes of a worker's time: its parts as measured in this process, and what is left to the pass.

    Joining, handing over and waiting for a turn on the processor are what is left.
    """
    watch = Stopwatch((READ, LABELS, RESIZE))
    with watch.running((Hook(Store, "read_image", READ), Hook(samples, "_labels", LABELS))):
        for number in range(later.images):
            samples[number]
    hands = max(1, min(workers, os.cpu_count() or 1))  # as the loader has it
    left = max(0.0, later.seconds * hands - sum(watch.seconds.values()))
    return parts({**watch.seconds, HAND_OVER: left}, later.images)
