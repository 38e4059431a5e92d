"""Commands that measure: bench train, bench predict, bench data."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from partseg_cli.cli import console as show
from partseg_cli.cli.options import (
    Batch,
    Checkpoint,
    Device,
    Model,
    Overrides,
    Precision,
    PrecisionName,
    PromptChunk,
    RecipeName,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from partseg_cli.pipeline.bench import BenchmarkResult
    from partseg_cli.pipeline.bench_data import Reading
    from partseg_cli.runtime.stopwatch import Part

GIGABYTE = 1e9

app = typer.Typer(no_args_is_help=True, help="Measure what training, predicting and reading cost on this machine.")

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")]


@app.command()
def train(
    recipe: RecipeName,
    overrides: Overrides = None,
    steps: Annotated[int, typer.Option(min=1, help="Steps to measure.")] = 20,
    warmup: Annotated[int, typer.Option(min=0, help="Steps before them.")] = 3,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Train for some steps, keep nothing, and tell images per second, memory, and where the time of a step goes.

    One process, with the recipe's own data, model, loss and loader. On a GPU a second pass finds where the time goes:
    waiting for the GPU at the ends of sections costs some speed, and images per second are those without.

    Example: **partseg bench train pascal_zeroshot train.precision=bf16 train.batch_size=8**
    """
    from partseg_cli.config.recipe import load_recipe
    from partseg_cli.pipeline import bench as story

    loaded = load_recipe(recipe, overrides or [])
    track = partial(show.track, unit="step")
    costs = story.bench_train(loaded, steps=steps, warmup=warmup, device=device, track=track)
    _show_costs(costs, f"training: {loaded.name}", as_json)


@app.command()
def predict(
    photos: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Photos, folders of photos, or patterns.")],
    vocab: Annotated[list[str], typer.Option(help="Words, as for partseg predict.", show_default=False)] = ...,  # type: ignore[assignment]
    checkpoint: Checkpoint = None,
    model: Model = None,
    context: Annotated[str, typer.Option(help="Parts that compete unasked, as for partseg predict.")] = "auto",
    images: Annotated[
        int, typer.Option(min=1, metavar="N", help="Photos to measure: those given, again and again if they are fewer.")
    ] = 20,
    warmup: Annotated[
        int, typer.Option(min=0, metavar="N", help="Photos before them; the words are encoded with the first.")
    ] = 1,
    device: Device = "auto",
    precision: Precision = PrecisionName.FP32,
    batch: Batch = 1,
    prompt_chunk: PromptChunk = None,
    as_json: AsJson = False,
) -> None:
    """Predict photos as partseg predict does, write nothing, and tell photos per second, memory, and the time's split.

    Reading counts, writing overlays and JSON does not.

    Example: **partseg bench predict photos/ --vocab "cat's ear" --checkpoint runs/train/pascal_zeroshot-1 --batch 8**
    """
    from partseg_cli.pipeline import bench as story
    from partseg_cli.pipeline.predict import open_predictor

    predictor = open_predictor(
        vocab,
        checkpoint=checkpoint,
        model=model,
        context=context,
        device=device,
        precision=precision.value,
        batch=batch,
        prompt_chunk=prompt_chunk,
        log=show.note,
    )
    for line in predictor.query.notes:
        show.note(line)
    track = partial(show.track, unit="pass")
    costs = story.bench_predict(predictor, photos, images=images, warmup=warmup, track=track)
    _show_costs(costs, f"predicting: {costs.setting['pairs']} pairs", as_json)


@app.command()
def data(
    recipe: RecipeName,
    overrides: Overrides = None,
    images: Annotated[
        int, typer.Option(min=1, metavar="N", help="Photos to read; no more than the training set has.")
    ] = 200,
    workers: Annotated[
        int | None,
        typer.Option(min=0, metavar="N", help="In place of the recipe's data.workers.", show_default=False),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Read training samples as train does, without a model, and tell images per second and what a photo takes.

    The photos are read twice: the first pass fills a cache, the system's own or that of data.cache, later ones use it.

    Example: **partseg bench data pascal_zeroshot --workers 8**
    """
    from partseg_cli.config.recipe import load_recipe
    from partseg_cli.pipeline import bench_data as story

    changed = [] if workers is None else [f"data.workers={workers}"]
    loaded = load_recipe(recipe, [*(overrides or []), *changed])
    reading = story.bench_data(loaded, images=images, track=partial(show.track, unit="batch"))
    _show_reading(reading, loaded.name, as_json)


def _show_costs(costs: BenchmarkResult, what: str, as_json: bool) -> None:
    if as_json:
        show.document(costs.to_json())
        return
    setting, memory = costs.setting, costs.memory
    micro = setting.get("micro_batch", setting["batch_size"])
    on_processor = setting["device"] == "cpu"
    name = f"threads: {setting['threads']}" if on_processor else setting["device_name"]
    rows = [
        ("device", ", ".join(filter(None, (setting["device"], name, setting["precision"])))),
        ("images", f"{setting['image_size']} px, batch {setting['batch_size']}, {micro} in a forward pass"),
        ("images per second", f"{costs.whole.rate:,.2f}"),
        (f"ms a {costs.per}", f"{costs.ms:,.1f} (mean of {costs.rounds})"),
        ("peak memory", f"{_gigabytes(memory.peak_bytes)} ({memory.of})"),
    ]
    if costs.busy is not None:
        rows.append(("GPU busy", f"{costs.busy:.0f} %"))
    _show_figures(what, rows)
    _show_split(costs.split, f"where the time of a {costs.per} goes")
    if not on_processor:
        show.note("the split is from a second pass, which waits for the device at the ends of sections")


def _show_reading(reading: Reading, recipe: str, as_json: bool) -> None:
    if as_json:
        show.document(reading.to_json())
        return
    setting = reading.setting
    _show_figures(
        f"reading: {recipe}",
        [
            ("photos", f"{setting['images']} of {setting['photos']:,}, {setting['image_size']} px"),
            ("batches", f"of {setting['micro_batch']}, by {setting['workers']} workers, cache {setting['cache']}"),
            ("images per second, first pass", f"{reading.first.rate:,.1f}"),
            ("images per second, later passes", f"{reading.later.rate:,.1f}"),
        ],
    )
    _show_split(reading.split, "what a photo takes of a worker's time in later passes")


def _gigabytes(size: int | None) -> str:
    return "-" if size is None else f"{size / GIGABYTE:.2f} GB"


def _show_figures(title: str, rows: Sequence[tuple[str, str]]) -> None:
    from rich.table import Table

    table = Table(title=title, show_header=False)
    for row in rows:
        table.add_row(*row)
    show.table(table)


def _show_split(split: Sequence[Part], title: str) -> None:
    from rich.table import Table

    table = Table(title=title)
    for column in ("section", "ms", "%"):
        table.add_column(column, justify="left" if column == "section" else "right")
    for part in split:
        table.add_row(part.section, f"{part.ms:,.2f}", f"{part.percent:.1f}")
    show.table(table)
