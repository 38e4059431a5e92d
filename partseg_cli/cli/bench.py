"""The commands `bench train`, `bench predict` and `bench data`."""

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

    from partseg_cli.pipeline.bench import BenchmarkResult, LoadingResult
    from partseg_cli.runtime.profiling import SectionTime

GIGABYTE = 1e9

app = typer.Typer(no_args_is_help=True, help="Measure the cost of training, predicting and loading on this machine.")

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")]


@app.command()
def train(
    recipe: RecipeName,
    overrides: Overrides = None,
    steps: Annotated[int, typer.Option(min=1, help="Measured steps.")] = 20,
    warmup: Annotated[int, typer.Option(min=0, help="Steps before the measured ones.")] = 3,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Train for some steps, keep nothing, and print images per second, memory, and the time of each section of a step.

    One process, with the recipe's own data, model, loss and loader. On a GPU a second pass measures the sections:
    waiting for the GPU at their ends costs some speed, and images per second are from the pass without.

    Example: **partseg bench train pascal_zeroshot train.precision=bf16 train.batch_size=8**
    """
    from partseg_cli.config.recipe import load_recipe
    from partseg_cli.pipeline import bench as story

    loaded = load_recipe(recipe, overrides or [])
    track = partial(show.track, unit="step")
    result = story.bench_train(loaded, steps=steps, warmup=warmup, device=device, track=track)
    _show_result(result, f"training: {loaded.name}", as_json)


@app.command()
def predict(
    paths: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Images, folders of images, or patterns.")],
    vocab: Annotated[list[str], typer.Option(help="Query terms, as for partseg predict.", show_default=False)] = ...,  # type: ignore[assignment]
    checkpoint: Checkpoint = None,
    model: Model = None,
    context: Annotated[
        str, typer.Option(help="Further parts that compete for pixels, as for partseg predict.")
    ] = "auto",
    images: Annotated[
        int, typer.Option(min=1, metavar="N", help="Measured images; those given are repeated if they are fewer.")
    ] = 20,
    warmup: Annotated[
        int,
        typer.Option(
            min=0, metavar="N", help="Images before the measured ones; the first one also encodes the prompts."
        ),
    ] = 1,
    device: Device = "auto",
    precision: Precision = PrecisionName.FP32,
    batch: Batch = 1,
    prompt_chunk: PromptChunk = None,
    as_json: AsJson = False,
) -> None:
    """Predict images, write nothing, and print images per second, memory, and the time of each section.

    Reading images counts, writing overlays and JSON does not.

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
    result = story.bench_predict(predictor, paths, images=images, warmup=warmup, track=track)
    _show_result(result, f"predicting: {result.setting['pairs']} pairs", as_json)


@app.command()
def data(
    recipe: RecipeName,
    overrides: Overrides = None,
    images: Annotated[
        int, typer.Option(min=1, metavar="N", help="Images to load, at most those of the training set.")
    ] = 200,
    workers: Annotated[
        int | None,
        typer.Option(
            min=0, metavar="N", help="Data-loading processes, instead of the recipe's data.workers.", show_default=False
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Load training samples as train does, without a model, and print images per second and the time of each section.

    The images are loaded twice: the first pass fills a cache, the system's or that of data.cache, later ones use it.

    Example: **partseg bench data pascal_zeroshot --workers 8**
    """
    from partseg_cli.config.recipe import load_recipe
    from partseg_cli.pipeline import bench as story

    changed = [] if workers is None else [f"data.workers={workers}"]
    loaded = load_recipe(recipe, [*(overrides or []), *changed])
    result = story.bench_data(loaded, images=images, track=partial(show.track, unit="batch"))
    _show_loading(result, loaded.name, as_json)


def _show_result(result: BenchmarkResult, what: str, as_json: bool) -> None:
    if as_json:
        show.document(result.to_json())
        return
    setting, memory = result.setting, result.memory
    micro = setting.get("micro_batch", setting["batch_size"])
    on_cpu = setting["device"] == "cpu"
    name = f"threads: {setting['threads']}" if on_cpu else setting["device_name"]
    peak = "-" if memory.peak_bytes is None else f"{memory.peak_bytes / GIGABYTE:.2f} GB"
    per = {"photo": "image"}.get(result.per, result.per)
    rows = [
        ("device", ", ".join(filter(None, (setting["device"], name, setting["precision"])))),
        ("images", f"{setting['image_size']} px, batch {setting['batch_size']}, {micro} in a forward pass"),
        ("images per second", f"{result.whole.rate:,.2f}"),
        (f"ms per {per}", f"{result.ms:,.1f} (mean of {result.rounds})"),
        ("peak memory", f"{peak} ({memory.of})"),
    ]
    if result.busy is not None:
        rows.append(("GPU busy", f"{result.busy:.0f} %"))
    _show_figures(what, rows)
    _show_split(result.split, f"time per {per}")
    if not on_cpu:
        show.note("sections are from a second pass, which waits for the device at their ends")


def _show_loading(result: LoadingResult, recipe: str, as_json: bool) -> None:
    if as_json:
        show.document(result.to_json())
        return
    setting = result.setting
    _show_figures(
        f"loading: {recipe}",
        [
            ("images", f"{setting['images']} of {setting['photos']:,}, {setting['image_size']} px"),
            ("batches", f"of {setting['micro_batch']}, by {setting['workers']} workers, cache {setting['cache']}"),
            ("images per second, first pass", f"{result.first.rate:,.1f}"),
            ("images per second, later passes", f"{result.later.rate:,.1f}"),
        ],
    )
    _show_split(result.split, "time per image of a worker in later passes")


def _show_figures(title: str, rows: Sequence[tuple[str, str]]) -> None:
    from rich.table import Table

    table = Table(title=title, show_header=False)
    for row in rows:
        table.add_row(*row)
    show.table(table)


def _show_split(split: Sequence[SectionTime], title: str) -> None:
    from rich.table import Table

    table = Table(title=title)
    for column in ("section", "ms", "%"):
        table.add_column(column, justify="left" if column == "section" else "right")
    for one in split:
        table.add_row(one.section, f"{one.ms:,.2f}", f"{one.percent:.1f}")
    show.table(table)
