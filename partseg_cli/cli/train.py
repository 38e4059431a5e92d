"""The commands `train`, and `launch slurm` for a training run on a cluster."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from partseg_cli.cli import console as show
from partseg_cli.cli.options import Device, Gpus, Overrides, RecipeName
from partseg_cli.config.recipe import AnyRecipe, Recipe, load_any_recipe
from partseg_cli.errors import UsageError

if TYPE_CHECKING:
    from partseg_cli.pipeline.train import TrainOptions
    from partseg_cli.training.run_dir import TrainResult

launch_app = typer.Typer(no_args_is_help=True, help="Start a training run on a cluster.")


def train(
    recipe: Annotated[
        str | None,
        typer.Argument(
            help="Recipe file, or name of a packaged recipe; may be left out with --resume DIR.",
            show_default=False,
        ),
    ] = None,
    overrides: Overrides = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Run directory, new or empty. [default: runs/train/RECIPE-N]", show_default=False),
    ] = None,
    resume: Annotated[
        str | None,
        typer.Option(
            metavar="auto|DIR",
            help="Resume the run in DIR. auto: --out, else the latest unfinished run of this recipe, else a new run.",
            show_default=False,
        ),
    ] = None,
    device: Device = "auto",
    gpus: Gpus = None,
    loggers: Annotated[
        str, typer.Option(metavar="NAMES", help="Also log to tensorboard, wandb or both (tensorboard,wandb).")
    ] = "",
    requeue: Annotated[
        bool,
        typer.Option("--requeue", help="Under SLURM: requeue the job after a stop request is saved."),
    ] = False,
) -> None:
    """Train a model by a recipe, on one device or many.

    The recipe's batch is the global batch of all devices; the result is the same for any number of them. The run
    directory holds recipe.yaml, env.json, metrics.jsonl and checkpoints/.

    SIGTERM and SIGUSR1 save after the step and exit 0; after any stop, kill -9 included, --resume continues the run.

    Example: **partseg train recipes/tiny.yaml data.root=data/pascal-part-116 train.iterations=200**

    Many: **partseg train recipes/ade_zeroshot.yaml --gpus 8 --resume auto**
    """
    from partseg_cli.pipeline.train import TrainOptions, train_on_devices

    loaded = _load_recipe(recipe, overrides or [], resume)
    names = tuple(name.strip() for name in loggers.split(",") if name.strip())
    command = shlex.join(["partseg", *sys.argv[1:]])
    options = TrainOptions(out=out, resume=resume, device=device, command=command, loggers=names)
    result = train_on_devices(loaded, options, gpus=gpus, train_in_main=_train_with_progress)
    if result is None:
        return
    if not result.is_done:
        show.note(
            f"stopped after step {result.step} of {loaded.train.iterations}, which is saved; resume with "
            f"partseg train --resume {shlex.quote(str(result.folder))}"
        )
    elif isinstance(loaded, Recipe) and loaded.train.select == "best":
        show.note("the checkpoint was selected on val; where val is the test set, its score there is optimistic")
    typer.echo(str(result.checkpoint))
    if requeue and not result.is_done:
        job = os.environ.get("SLURM_JOB_ID")
        if job is None:
            raise UsageError("--requeue needs a SLURM job, got none (SLURM_JOB_ID is not set); leave it out")
        subprocess.run(["scontrol", "requeue", job], check=True)


def _load_recipe(name: str | None, overrides: list[str], resume: str | None) -> AnyRecipe:
    """Load a recipe, or that of the run directory if none is named."""
    if name is not None and "=" not in name:
        return load_any_recipe(name, overrides)
    if resume is None or resume == "auto":
        raise UsageError(f"train needs a recipe, got {name or 'none'}; name one, or --resume the folder of a run")
    from partseg_cli.pipeline.train import load_run_recipe

    return load_run_recipe(Path(resume), [*([name] if name else []), *overrides])


def _train_with_progress(recipe: AnyRecipe, options: TrainOptions) -> TrainResult:
    from partseg_cli.cli.live import TrainProgress
    from partseg_cli.pipeline.train import train

    def start(folder: Path, images: int, step: int) -> None:
        progress.resume(step)
        progress.note(f"{folder}: training on {images:,} images{f', resuming after step {step}' if step else ''}")

    with TrainProgress(recipe.train.iterations, images=recipe.train.batch_size) as progress:
        return train(
            recipe,
            replace(options, on_start=start, on_step=progress, on_validation=progress.validated, log=progress.note),
        )


@launch_app.callback()
def launch() -> None:
    """Start a training run on a cluster."""


@launch_app.command()
def slurm(
    recipe: RecipeName,
    overrides: Overrides = None,
    nodes: Annotated[int, typer.Option(min=1, help="Number of machines.")] = 1,
    gpus: Annotated[int, typer.Option(min=1, help="GPUs per machine, with a process each.")] = 1,
    time: Annotated[
        str | None,
        typer.Option(help="Time limit, such as 12:00:00 or 1-12. [default: the cluster's]", show_default=False),
    ] = None,
    partition: Annotated[str | None, typer.Option(help="SLURM partition.", show_default=False)] = None,
    account: Annotated[str | None, typer.Option(help="Account to charge.", show_default=False)] = None,
    cpus: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="CPU cores per machine. [default: one per process and one per worker of data.workers]",
            show_default=False,
        ),
    ] = None,
    mem: Annotated[
        str | None,
        typer.Option(help="Memory per machine, such as 200G. [default: the cluster's]", show_default=False),
    ] = None,
    job_name: Annotated[
        str | None, typer.Option(help="Job name. [default: name of the recipe]", show_default=False)
    ] = None,
    setup: Annotated[
        str | None,
        typer.Option(help='Shell line before the run, such as "source .venv/bin/activate".', show_default=False),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Run directory, for the first start and all later ones. [default: runs/train/RECIPE-slurm-ID]",
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the script, submit nothing.")] = False,
) -> None:
    """Train on machines of a SLURM cluster: write an sbatch script and submit it.

    torchrun on each machine, all in one run with the recipe's global batch. Two minutes before the time limit the run
    is saved and its job requeued; the next start resumes it.

    Example: **partseg launch slurm pascal_zeroshot --nodes 4 --gpus 2 --time 12:00:00 --dry-run**
    """
    from partseg_cli.pipeline.launch import SlurmJob, launch_slurm

    job = SlurmJob(
        nodes=nodes,
        gpus=gpus,
        time=time,
        partition=partition,
        account=account,
        cpus=cpus,
        memory=mem,
        name=job_name,
        setup=setup,
        out=out,
    )
    typer.echo(launch_slurm(recipe, overrides or [], job, dry_run=dry_run, log=show.note).rstrip("\n"))
