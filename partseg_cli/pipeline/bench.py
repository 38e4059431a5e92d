"""`partseg bench train`, `predict` and `data`: their cost on this machine, by sections.

The pieces are those of a real run. A stopwatch replaces some of their functions while it runs, and restores them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from partseg_cli.config.recipe import Recipe
from partseg_cli.data.loading.dataset import PartDataset
from partseg_cli.data.resolver import open_data
from partseg_cli.data.store import Store
from partseg_cli.errors import DataError, UsageError
from partseg_cli.inference import segmenter as inference
from partseg_cli.io.images import find_images, open_image
from partseg_cli.models.clipseg.objective import CLIPSegLoss
from partseg_cli.models.partclipseg.objective import PartCLIPSegLoss
from partseg_cli.pipeline.predict import Predictor
from partseg_cli.pipeline.train import batch_layout, build_engine, memory_advice
from partseg_cli.pipeline.train_setup import build_part_dataset, build_training
from partseg_cli.runtime.devices import choose_device, keep_freed_memory, memory_watch
from partseg_cli.runtime.pool import Track, silent
from partseg_cli.runtime.process_group import SINGLE_PROCESS, Layout
from partseg_cli.runtime.profiling import (
    Hook,
    Memory,
    SectionTime,
    Stopwatch,
    busy_percent,
    peak_memory,
    section_times,
    waiter,
)
from partseg_cli.runtime.signals import Stop
from partseg_cli.training.engine import Engine

DATA, IMAGE_ENCODER, TEXT_ENCODER, DECODER = "waiting for data", "image encoder", "text encoder", "decoder and heads"
LOSS, BACKWARD, OPTIMIZER, REST = "loss", "backward", "optimizer and clipping", "rest"
READ_RESIZE, LABEL_MAP = "read and resize", "logits to label map"
READ, LABELS, RESIZE, TRANSFER = "read and decode", "labels", "resize and tensor", "transfer"

BUSY_ROUNDS = 5
"""Limit of profiled steps or forward passes for a GPU's busy share; each gives thousands of events."""

Work = Callable[[int, str], None]
"""Runs a number of steps or images, with a description of the purpose."""


class Timing(NamedTuple):
    """Time of a number of images.

    Attributes:
        images: Number of images.
        seconds: Seconds of all of them.
    """

    images: int
    seconds: float

    @property
    def rate(self) -> float:
        """Images per second."""
        return self.images / self.seconds


@dataclass(frozen=True)
class BenchmarkResult:
    """Cost of training or predicting.

    Attributes:
        setting: Description of what was run.
        per: Name of a round, "step" or "photo".
        rounds: Number of measured rounds.
        whole: Images and seconds of all rounds, without the overhead of the stopwatch on a GPU.
        memory: Peak memory.
        busy: Percent of the time in which the GPU computed; None without a CUDA device.
        split: Time of each section.
    """

    setting: dict[str, Any]
    per: str
    rounds: int
    whole: Timing
    memory: Memory
    busy: float | None
    split: tuple[SectionTime, ...]

    @property
    def ms(self) -> float:
        """Milliseconds of a round."""
        return 1000 * self.whole.seconds / self.rounds

    def to_json(self) -> dict[str, Any]:
        """Return the result as a JSON document."""
        return {
            **self.setting,
            "images": self.whole.images,
            "images_per_second": round(self.whole.rate, 3),
            f"ms_per_{self.per}": round(self.ms, 3),
            "memory": self.memory._asdict(),
            "gpu_busy_percent": None if self.busy is None else round(self.busy, 1),
            "split": _split_json(self.split),
        }


@dataclass(frozen=True)
class LoadingResult:
    """Cost of loading training samples.

    Attributes:
        setting: Description of what was loaded.
        first: First pass, which fills a cache; starts when the worker processes run.
        later: Second pass over the same images.
        split: Time of each section per image of the second pass, in a worker's time.
    """

    setting: dict[str, Any]
    first: Timing
    later: Timing
    split: tuple[SectionTime, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the result as a JSON document."""
        passes = {
            name: {
                "images": timing.images,
                "seconds": round(timing.seconds, 4),
                "images_per_second": round(timing.rate, 3),
            }
            for name, timing in (("first_pass", self.first), ("later_passes", self.later))
        }
        return {**self.setting, **passes, "split": _split_json(self.split)}


def _split_json(split: tuple[SectionTime, ...]) -> list[dict[str, Any]]:
    return [{"section": time.section, "ms": round(time.ms, 3), "percent": time.percent} for time in split]


def bench_train(
    recipe: Recipe, *, steps: int = 20, warmup: int = 3, device: str = "auto", track: Track = silent
) -> BenchmarkResult:
    """Train for some steps, in this process alone, and discard the weights.

    Args:
        recipe: Recipe, as for `partseg train`.
        steps: Number of measured steps.
        warmup: Number of steps before them.
        device: auto, cpu, cuda, cuda:N or mps.
        track: Progress display.

    Raises:
        PartsegError: As `train`.
    """
    chosen = choose_device(device)
    keep_freed_memory()
    with memory_watch(memory_advice(recipe)):
        store, split = open_data(recipe.data.dataset, root=recipe.data.root, split=recipe.data.split)
        layout = batch_layout(recipe, SINGLE_PROCESS, recipe.name)
        training = build_training(recipe, store, split, layout, chosen)
        engine = build_engine(recipe, training, layout, chosen, Stop())
        sections = (DATA, IMAGE_ENCODER, TEXT_ENCODER, DECODER, LOSS, BACKWARD, OPTIMIZER, REST)
        watch = Stopwatch(sections, waiter(chosen))
        batches = training.samples.batches(
            images=layout.micro,
            sample_ids=layout.sample_ids(first=1, last=warmup + 2 * steps + BUSY_ROUNDS),
            workers=recipe.data.workers,
        )
        watched, done = watch.each(batches, DATA), 0

        def work(count: int, what: str) -> None:
            nonlocal done
            first, done = done + 1, done + count
            for _ in track(engine.steps(watched, first=first, last=done), what, count):
                pass

        seconds, memory, busy = _measure(work, watch, _training_hooks(engine), steps, warmup, chosen)
    setting = {
        **_data_setting(recipe, store, len(training.samples), layout),
        **_device_setting(chosen, engine.precision),
        "steps": steps,
        "warmup": warmup,
    }
    whole = Timing(steps * layout.batch, seconds)
    return BenchmarkResult(setting, "step", steps, whole, memory, busy, section_times(watch.seconds, steps))


def _model_hooks(model: nn.Module) -> tuple[Hook, ...]:
    """Return the functions of a model that belong to sections; the rest of a forward pass is decoder and heads."""
    return (
        Hook(model.clip, "image_tokens", IMAGE_ENCODER),
        Hook(model, "text", TEXT_ENCODER),
        Hook(model, "forward", DECODER),
    )


def _training_hooks(engine: Engine[Any]) -> tuple[Hook, ...]:
    """Return the functions of a step that belong to sections."""
    optimizing = (
        (nn.utils, "clip_grad_norm_"),
        (engine.scaler, "unscale_"),
        (engine.scaler, "step"),
        (engine.scaler, "update"),
        (engine.optimizer, "zero_grad"),
        (engine.schedule, "step"),
    )
    return (
        *_model_hooks(engine.model),
        *(Hook(loss, "__call__", LOSS) for loss in (PartCLIPSegLoss, CLIPSegLoss)),
        Hook(Tensor, "backward", BACKWARD),
        *(Hook(owner, name, OPTIMIZER) for owner, name in optimizing),
    )


def _measure(
    work: Work, watch: Stopwatch, hooks: Sequence[Hook], rounds: int, warmup: int, device: torch.device
) -> tuple[float, Memory, float | None]:
    """Return the seconds of some rounds, the peak memory and a GPU's busy share, and fill the stopwatch.

    A device that works asynchronously is slowed down by waiting at the ends of sections: the rounds run once without
    the stopwatch, for the seconds, and once with it. On a CPU one pass gives both.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    if warmup:
        work(warmup, "warming up")
    seconds = None
    if device.type != "cpu":
        wait = waiter(device)
        wait()
        start = time.perf_counter()
        work(rounds, "measuring")
        wait()
        seconds = time.perf_counter() - start
    with watch.running(hooks):
        work(rounds, "measuring")
    memory = peak_memory(device)
    busy = busy_percent(device, lambda: work(min(rounds, BUSY_ROUNDS), "profiling"))
    return sum(watch.seconds.values()) if seconds is None else seconds, memory, busy


def _data_setting(recipe: Recipe, store: Store, images: int, layout: Layout) -> dict[str, Any]:
    return {
        "recipe": recipe.name,
        "dataset": store.info.name,
        "photos": images,
        "image_size": recipe.model.image_size,
        "batch_size": layout.batch,
        "micro_batch": layout.micro,
        "workers": recipe.data.workers,
        "cache": recipe.data.cache,
    }


def _device_setting(device: torch.device, precision: str) -> dict[str, Any]:
    return {
        "device": str(device),
        "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "threads": torch.get_num_threads(),
        "precision": precision,
    }


def bench_predict(
    predictor: Predictor, paths: Sequence[Path], *, images: int = 20, warmup: int = 1, track: Track = silent
) -> BenchmarkResult:
    """Predict images, repeatedly if there are too few, and write nothing.

    Args:
        predictor: Model and query.
        paths: Files, folders and patterns.
        images: Number of measured images.
        warmup: Number of images before them; the first one also encodes the prompts.
        track: Progress display.

    Raises:
        DataError: An image is missing or cannot be read.
        OutOfMemoryError: A forward pass takes too much.
    """
    segmenter, found = predictor.segmenter, find_images(paths)
    compute, turns = segmenter.compute, cycle(found)
    sections = (READ_RESIZE, IMAGE_ENCODER, TEXT_ENCODER, DECODER, LABEL_MAP, REST)
    watch = Stopwatch(sections, waiter(compute.device))

    def work(count: int, what: str) -> None:
        sizes = [min(compute.batch, count - done) for done in range(0, count, compute.batch)]
        for size in track(sizes, what, len(sizes)):
            with watch.section(READ_RESIZE):
                opened = [open_image(path, upright=True) for path in islice(turns, size)]
            for _ in watch.each(segmenter.segment(opened, predictor.query), LABEL_MAP):
                pass

    hooks = (*_model_hooks(segmenter.model), Hook(inference, "image_to_tensor", READ_RESIZE))
    seconds, memory, busy = _measure(work, watch, hooks, images, warmup, compute.device)
    setting = {
        "checkpoint": str(predictor.checkpoint),
        "photos": len(found),
        "pairs": len(predictor.query.vocabulary.pairs),
        "image_size": segmenter.image_size,
        "batch_size": compute.batch,
        **_device_setting(compute.device, compute.precision),
        "warmup": warmup,
    }
    whole = Timing(images, seconds)
    return BenchmarkResult(setting, "photo", images, whole, memory, busy, section_times(watch.seconds, images))


def bench_data(recipe: Recipe, *, images: int = 200, track: Track = silent) -> LoadingResult:
    """Load training samples twice as training does, and once more in this process for the split.

    Args:
        recipe: Recipe, as for `partseg train`; batches have `train.micro_batch_size` images.
        images: Number of images, limited by the training set.
        track: Progress display.

    Raises:
        UsageError: `images` is less than two batches.
        DataError: The training set has less than two batches, or an image cannot be read.
    """
    store, split = open_data(recipe.data.dataset, root=recipe.data.root, split=recipe.data.split)
    layout = batch_layout(recipe, SINGLE_PROCESS, recipe.name)
    samples = build_part_dataset(recipe, store, split)
    micro, workers = layout.micro, recipe.data.workers
    least = 2 * micro
    if images < least:
        raise UsageError(f"--images must be >= {least}, two batches of train.micro_batch_size {micro}, got {images}")
    if len(samples) < least:
        raise DataError(
            f"{store.folder}: reading is measured on two batches or more, {least} photos, got {len(samples)}; "
            f"lower train.micro_batch_size ({micro})"
        )
    count = min(images, len(samples)) // micro * micro
    numbers = [*range(count), *range(count)]  # in one go, as the epochs of a run are
    batches = samples.batches(images=micro, sample_ids=numbers, workers=workers)
    ends = [time.perf_counter() for _ in track(batches, "loading", len(numbers) // micro)]
    half = count // micro
    first = Timing(count - micro, ends[half - 1] - ends[0])
    later = Timing(count, ends[-1] - ends[half - 1])
    setting = {**_data_setting(recipe, store, len(samples), layout), "images": count}
    return LoadingResult(setting, first, later, _loading_split(samples, later, workers))


def _loading_split(samples: PartDataset, later: Timing, workers: int) -> tuple[SectionTime, ...]:
    """Return the sections of a worker's time per image, as measured in this process.

    Collating, transferring and waiting for a CPU are the rest of the pass.
    """
    watch = Stopwatch((READ, LABELS, RESIZE))
    with watch.running((Hook(Store, "read_image", READ), Hook(samples, "_labels", LABELS))):
        for number in range(later.images):
            samples[number]
    processes = max(1, min(workers, os.cpu_count() or 1))  # as in build_dataloader
    rest = max(0.0, later.seconds * processes - sum(watch.seconds.values()))
    return section_times({**watch.seconds, TRANSFER: rest}, later.images)
