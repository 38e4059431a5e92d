"""`partseg bench train` and `predict`: what they cost on this machine, and where the time goes.

The pieces are those of a real run. A stopwatch watches some of their functions from outside and takes itself off again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from partseg_cli.config.recipe import Recipe
from partseg_cli.data.loading.dataset import PartDataset
from partseg_cli.data.store import Store
from partseg_cli.evaluation.spec import open_data
from partseg_cli.inference import segmenter as inference
from partseg_cli.io.images import find_images, open_image
from partseg_cli.models.clipseg.objective import CLIPSegLoss
from partseg_cli.models.partclipseg.objective import PartCLIPSegLoss
from partseg_cli.pipeline.predict import Predictor
from partseg_cli.pipeline.train import build_loop, training_set
from partseg_cli.runtime.devices import choose_device, keep_freed_memory, memory_watch
from partseg_cli.runtime.gauges import Memory, busy_percent, device_name, forget_peak, peak_memory, waiter
from partseg_cli.runtime.pool import Track, silent
from partseg_cli.runtime.process_group import SINGLE_PROCESS, Layout
from partseg_cli.runtime.signals import Stop
from partseg_cli.runtime.stopwatch import Hook, Part, Stopwatch, parts
from partseg_cli.structures import Batch
from partseg_cli.training.engine import layout_of, memory_advice
from partseg_cli.training.loop import Loop

DATA, TOWER, TEXT, DECODER = "waiting for data", "image tower", "text tower", "decoder and heads"
LOSS, BACKWARD, OPTIMIZER, REST = "loss", "backward", "optimizer and clipping", "rest"
PHOTO, LABEL_MAP = "read and resize", "logits to label map"

BUSY_ROUNDS = 5
"""At most so many steps or forward passes are profiled for a GPU's busy share; each gives thousands of events."""

Work = Callable[[int, str], None]
"""Does so many steps or photos, and tells what for."""


class Timing(NamedTuple):
    """Some photos, and how long they took.

    Attributes:
        images: number of them.
        seconds: for all.
    """

    images: int
    seconds: float

    @property
    def rate(self) -> float:
        """Photos per second."""
        return self.images / self.seconds


@dataclass(frozen=True)
class BenchmarkResult:
    """What training or predicting costs.

    Attributes:
        setting: what was run, and how.
        per: what a round is, "step" or "photo".
        rounds: that were measured.
        whole: photos and seconds of all of them, not slowed down by the stopwatch.
        memory: the most in use.
        busy: percent of the time in which the GPU computed; None: it is no CUDA device.
        split: where the time of a round goes.
    """

    setting: dict[str, Any]
    per: str
    rounds: int
    whole: Timing
    memory: Memory
    busy: float | None
    split: tuple[Part, ...]

    @property
    def ms(self) -> float:
        """Milliseconds of a round."""
        return 1000 * self.whole.seconds / self.rounds

    def to_json(self) -> dict[str, Any]:
        """Give it as a JSON document."""
        return {
            **self.setting,
            "images": self.whole.images,
            "images_per_second": round(self.whole.rate, 3),
            f"ms_per_{self.per}": round(self.ms, 3),
            "memory": self.memory._asdict(),
            "gpu_busy_percent": None if self.busy is None else round(self.busy, 1),
            "split": split_json(self.split),
        }


def split_json(split: tuple[Part, ...]) -> list[dict[str, Any]]:
    """Give where the time goes as a JSON list."""
    return [{"section": part.section, "ms": round(part.ms, 3), "percent": part.percent} for part in split]


def bench_train(
    recipe: Recipe, *, steps: int = 20, warmup: int = 3, device: str = "auto", track: Track = silent
) -> BenchmarkResult:
    """Train for some steps, in this process alone, and throw the weights away.

    Args:
        recipe: as for `partseg train`.
        steps: that are measured.
        warmup: steps before them.
        device: auto, cpu, cuda, cuda:N or mps.
        track: shows progress.

    Raises:
        PartsegError: as `train`.
    """
    place = choose_device(device)
    keep_freed_memory()
    with memory_watch(memory_advice(recipe)):
        store, split = open_data(recipe.data)
        layout = layout_of(recipe, SINGLE_PROCESS)
        samples = training_set(recipe, store, split)
        loop = build_loop(recipe, samples, layout, place, None, Stop())
        watch = Stopwatch((DATA, TOWER, TEXT, DECODER, LOSS, BACKWARD, OPTIMIZER, REST), waiter(place))
        batches = samples.batches(
            images=layout.micro,
            sample_ids=layout.sample_ids(first=1, last=warmup + 2 * steps + BUSY_ROUNDS),
            workers=recipe.data.workers,
        )
        work = _Steps(loop, watch.each(batches, DATA), track)
        seconds, memory, busy = _measure(work, watch, _training_hooks(loop), steps, warmup, place)
    setting = {
        **data_setting(recipe, store, samples, layout),
        **_machine(place, loop.precision),
        "steps": steps,
        "warmup": warmup,
    }
    return BenchmarkResult(
        setting, "step", steps, Timing(steps * layout.batch, seconds), memory, busy, parts(watch.seconds, steps)
    )


class _Steps:
    """Does some more steps of a run each time it is called."""

    def __init__(self, loop: Loop[Batch], batches: Iterator[Batch], track: Track) -> None:
        self.loop, self.batches, self.track = loop, batches, track
        self.done = 0

    def __call__(self, steps: int, what: str) -> None:
        first, self.done = self.done + 1, self.done + steps
        for _ in self.track(self.loop.run(self.batches, first=first, last=self.done), what, steps):
            pass


def _model_hooks(model: nn.Module) -> tuple[Hook, ...]:
    """Name the functions of a model that belong to sections; what is left of a forward pass is decoder and heads."""
    return (Hook(model.clip, "image_tokens", TOWER), Hook(model, "text", TEXT), Hook(model, "forward", DECODER))


def _training_hooks(loop: Loop[Batch]) -> tuple[Hook, ...]:
    """Name the functions of a step that belong to sections."""
    optimizing = (
        (nn.utils, "clip_grad_norm_"),
        (loop.scaler, "unscale_"),
        (loop.scaler, "step"),
        (loop.scaler, "update"),
        (loop.optimizer, "zero_grad"),
        (loop.schedule, "step"),
    )
    return (
        *_model_hooks(loop.model),
        *(Hook(loss, "__call__", LOSS) for loss in (PartCLIPSegLoss, CLIPSegLoss)),
        Hook(Tensor, "backward", BACKWARD),
        *(Hook(owner, name, OPTIMIZER) for owner, name in optimizing),
    )


def _measure(
    work: Work, watch: Stopwatch, hooks: Sequence[Hook], rounds: int, warmup: int, device: torch.device
) -> tuple[float, Memory, float | None]:
    """Give the seconds of some rounds, the most memory in use and a GPU's busy share, and fill the stopwatch.

    Where a device works on its own, waiting for it at the ends of sections costs speed: there the rounds are done once
    without the stopwatch, for the seconds, and once with it. On a processor both are one.
    """
    forget_peak(device)
    if warmup:
        work(warmup, "warming up")
    seconds = None if device.type == "cpu" else _seconds(work, rounds, device)
    with watch.running(hooks):
        work(rounds, "measuring")
    memory = peak_memory(device)
    busy = busy_percent(device, lambda: work(min(rounds, BUSY_ROUNDS), "profiling"))
    return sum(watch.seconds.values()) if seconds is None else seconds, memory, busy


def _seconds(work: Work, rounds: int, device: torch.device) -> float:
    wait = waiter(device)
    wait()
    start = time.perf_counter()
    work(rounds, "measuring")
    wait()
    return time.perf_counter() - start


def data_setting(recipe: Recipe, store: Store, samples: PartDataset, layout: Layout) -> dict[str, Any]:
    """Say what is trained on, and in which batches."""
    return {
        "recipe": recipe.name,
        "dataset": store.info.name,
        "photos": len(samples),
        "image_size": recipe.model.image_size,
        "batch_size": layout.batch,
        "micro_batch": layout.micro,
        "workers": recipe.data.workers,
        "cache": recipe.data.cache,
    }


def _machine(device: torch.device, precision: str) -> dict[str, Any]:
    return {
        "device": str(device),
        "device_name": device_name(device),
        "threads": torch.get_num_threads(),
        "precision": precision,
    }


def bench_predict(
    predictor: Predictor, photos: Sequence[Path], *, images: int = 20, warmup: int = 1, track: Track = silent
) -> BenchmarkResult:
    """Predict photos, again and again if there are too few, and write nothing.

    Args:
        predictor: model and question.
        photos: files, folders and patterns.
        images: photos that are measured.
        warmup: photos before them; the words are encoded with the first.
        track: shows progress.

    Raises:
        DataError: a photo is missing or cannot be read.
        OutOfMemoryError: a forward pass takes too much.
    """
    segmenter, found = predictor.segmenter, find_images(photos)
    compute, turns = segmenter.compute, cycle(found)
    watch = Stopwatch((PHOTO, TOWER, TEXT, DECODER, LABEL_MAP, REST), waiter(compute.device))

    def group(size: int) -> None:
        with watch.section(PHOTO):
            pictures = [open_image(path, upright=True) for path in islice(turns, size)]
        for _ in watch.each(segmenter.segment(pictures, predictor.query), LABEL_MAP):
            pass

    def work(count: int, what: str) -> None:
        sizes = [min(compute.batch, count - done) for done in range(0, count, compute.batch)]
        for size in track(sizes, what, len(sizes)):
            group(size)

    hooks = (*_model_hooks(segmenter.model), Hook(inference, "image_to_tensor", PHOTO))
    seconds, memory, busy = _measure(work, watch, hooks, images, warmup, compute.device)
    setting = {
        "checkpoint": str(predictor.checkpoint),
        "photos": len(found),
        "pairs": len(predictor.query.vocabulary.pairs),
        "image_size": segmenter.image_size,
        "batch_size": compute.batch,
        **_machine(compute.device, compute.precision),
        "warmup": warmup,
    }
    return BenchmarkResult(
        setting, "photo", images, Timing(images, seconds), memory, busy, parts(watch.seconds, images)
    )
