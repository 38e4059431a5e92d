"""The command `train`."""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from partseg_cli.cli import console as show
from partseg_cli.cli.options import Device, Gpus, Overrides
from partseg_cli.errors import UsageError

if TYPE_CHECKING:
    from partseg_cli.config.recipe import AnyRecipe
    from partseg_cli.runtime.processes import DevicePlan
    from partseg_cli.training.run_dir import TrainResult


def train(
    recipe: Annotated[
        str | None,
        typer.Argument(
            help="A recipe file, or the name of a packaged one; with --resume DIR it may be left out.",
            show_default=False,
        ),
    ] = None,
    overrides: Overrides = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Run folder, new or empty. [default: runs/train/RECIPE-N]", show_default=False),
    ] = None,
    resume: Annotated[
        str | None,
        typer.Option(
            metavar="auto|DIR",
            help="Go on with the run in DIR. auto: with the run in --out, else the newest of this recipe that is not "
            "done, else begin.",
            show_default=False,
        ),
    ] = None,
    device: Device = "auto",
    gpus: Gpus = None,
    loggers: Annotated[
        str, typer.Option(metavar="NAMES", help="Also tell tensorboard, wandb or both (tensorboard,wandb).")
    ] = "",
    requeue: Annotated[
        bool,
        typer.Option("--requeue", help="Under SLURM: when asked to stop, save and put the job in the queue again."),
    ] = False,
) -> None:
    """Train a model by a recipe, on one device or many.

    The recipe's batch is that of all devices together, and the same run comes out of any number of them. The run folder
    holds recipe.yaml, env.json, metrics.jsonl and checkpoints/.

    SIGTERM and SIGUSR1 save after the step and exit 0; after any stop, kill -9 included, the run goes on with --resume.

    Example: **partseg train recipes/tiny.yaml data.root=data/pascal-part-116 train.iterations=200**

    Many: **partseg train recipes/ade_zeroshot.yaml --gpus 8 --resume auto**
    """
    from partseg_cli.runtime.launcher import launch, report
    from partseg_cli.runtime.processes import plan_devices
    from partseg_cli.training.batch_share import share_batch

    loaded = _recipe(recipe, overrides or [], resume)
    plan = plan_devices(device, gpus)
    if len(plan.devices) > 1:
        share_batch(loaded, len(plan.devices), loaded.name)
        launch(_without_gpus(sys.argv[1:]), plan.devices)
        return
    try:
        trained = _train(loaded, plan, out=out, resume=resume, loggers=_names(loggers))
    except Exception as error:
        if not report(error):
            raise
        raise typer.Exit(getattr(error, "exit_code", 1)) from None
    if plan.is_main:
        _tell(loaded, trained)
        if requeue and not trained.is_done:
            _requeue()


def _recipe(name: str | None, overrides: list[str], resume: str | None) -> AnyRecipe:
    """Give the recipe, that of the run folder where none is named."""
    from partseg_cli.config.recipe import load_any_recipe

    if name is not None and "=" not in name:
        return load_any_recipe(name, overrides)
    if resume is None or resume == "auto":
        raise UsageError(f"train needs a recipe, got {name or 'none'}; name one, or --resume the folder of a run")
    from partseg_cli.training.resume import recipe_of

    return recipe_of(Path(resume), [*([name] if name else []), *overrides])


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _without_gpus(words: list[str]) -> list[str]:
    """Give the words of this command without --gpus and its value."""
    kept, skip = [], False
    for word in words:
        if not skip and word != "--gpus" and not word.startswith("--gpus="):
            kept.append(word)
        skip = word == "--gpus" and not skip
    return kept


def _train(
    loaded: AnyRecipe,
    plan: DevicePlan,
    *,
    out: Path | None,
    resume: str | None,
    loggers: tuple[str, ...],
) -> TrainResult:
    """Train in this process; the first one of a team shows how it goes."""
    from partseg_cli.pipeline.train import train_any
    from partseg_cli.runtime.launcher import command_line, join_launcher, stop_request
    from partseg_cli.training.engine import TrainOptions

    join_launcher()
    options = TrainOptions(
        out=out,
        resume=resume,
        device=str(plan.devices[0]),
        command=command_line(),
        loggers=loggers,
        stop=stop_request(),
    )
    if not plan.is_main:
        return train_any(loaded, options)

    def start(folder: Path, images: int, step: int) -> None:
        steps.done = step
        steps.note(f"{folder}: training on {images:,} images{f', going on after step {step}' if step else ''}")

    with show.Steps(loaded.train.iterations, images=loaded.train.batch_size) as steps:
        told = replace(options, on_start=start, on_step=steps, on_score=steps.score, log=steps.note)
        return train_any(loaded, told)


def _tell(loaded: AnyRecipe, trained: TrainResult) -> None:
    from partseg_cli.config.recipe import Recipe

    if not trained.is_done:
        show.note(
            f"stopped after step {trained.step} of {loaded.train.iterations}, which is saved; go on with "
            f"partseg train --resume {shlex.quote(str(trained.folder))}"
        )
    elif isinstance(loaded, Recipe) and loaded.train.select == "best":
        show.note("the checkpoint was picked on val; where val is the test set, its score there is optimistic")
    typer.echo(str(trained.checkpoint))


def _requeue() -> None:
    """Put this SLURM job in the queue again."""
    import subprocess

    job = os.environ.get("SLURM_JOB_ID")
    if job is None:
        raise UsageError("--requeue needs a SLURM job, got none (SLURM_JOB_ID is not set); leave it out")
    subprocess.run(["scontrol", "requeue", job], check=True)
