"""The command `train`."""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from partseg_cli.cli import console as show
from partseg_cli.cli.options import Device, Gpus, Overrides
from partseg_cli.errors import UsageError

if TYPE_CHECKING:
    import torch

    from partseg_cli.config.recipe import AnyRecipe
    from partseg_cli.runtime.process_group import ProcessGroup
    from partseg_cli.runtime.signals import Stop
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
    from partseg_cli.runtime.devices import plan_devices
    from partseg_cli.runtime.launcher import launch
    from partseg_cli.runtime.signals import Stop
    from partseg_cli.training.batch_share import share_batch

    loaded = _recipe(recipe, overrides or [], resume)
    plan = plan_devices(device, gpus)
    names = tuple(name.strip() for name in loggers.split(",") if name.strip())
    command, stop = shlex.join(["partseg", *sys.argv[1:]]), Stop()
    work = partial(_train, recipe=loaded, out=out, resume=resume, command=command, loggers=names, stop=stop)
    if len(plan.devices) > 1:
        share_batch(loaded, len(plan.devices), loaded.name)
        with stop.listening():
            trained = launch(work, plan.devices, advice="resume with --resume auto")
    else:
        trained = work(plan.process_group, plan.devices[0])
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


def _train(
    group: ProcessGroup,
    device: torch.device,
    *,
    recipe: AnyRecipe,
    out: Path | None,
    resume: str | None,
    command: str,
    loggers: tuple[str, ...],
    stop: Stop,
) -> TrainResult:
    """Train in this process; the main one of a group shows the progress."""
    from partseg_cli.cli.live import TrainProgress
    from partseg_cli.pipeline.train import train_any
    from partseg_cli.training.engine import TrainOptions

    options = TrainOptions(out=out, resume=resume, device=str(device), command=command, loggers=loggers, stop=stop)
    if not group.is_main:
        return train_any(recipe, options)

    def start(folder: Path, images: int, step: int) -> None:
        steps.resume(step)
        steps.note(f"{folder}: training on {images:,} images{f', going on after step {step}' if step else ''}")

    with TrainProgress(recipe.train.iterations, images=recipe.train.batch_size) as steps:
        return train_any(recipe, replace(options, on_start=start, on_step=steps, on_score=steps.score, log=steps.note))


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
