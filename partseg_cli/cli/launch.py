"""Commands that start runs elsewhere: launch slurm."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from partseg_cli.cli import console as show
from partseg_cli.cli.options import Overrides, RecipeName

app = typer.Typer(no_args_is_help=True, help="Start a training run on a cluster.")


@app.callback()
def launch() -> None:
    """Start a training run on a cluster."""


@app.command()
def slurm(
    recipe: RecipeName,
    overrides: Overrides = None,
    nodes: Annotated[int, typer.Option(min=1, help="Machines.")] = 1,
    gpus: Annotated[int, typer.Option(min=1, help="GPUs of each machine, a process each.")] = 1,
    time: Annotated[
        str | None,
        typer.Option(help="Limit, such as 12:00:00 or 1-12. [default: the cluster's]", show_default=False),
    ] = None,
    partition: Annotated[str | None, typer.Option(help="Of the cluster.", show_default=False)] = None,
    account: Annotated[str | None, typer.Option(help="That pays.", show_default=False)] = None,
    cpus: Annotated[
        int | None,
        typer.Option(
            min=1, help="Cores of each machine. [default: one a process, one for each data.workers]", show_default=False
        ),
    ] = None,
    mem: Annotated[
        str | None,
        typer.Option(help="Memory of each machine, such as 200G. [default: the cluster's]", show_default=False),
    ] = None,
    job_name: Annotated[
        str | None, typer.Option(help="Name of the job. [default: the recipe's]", show_default=False)
    ] = None,
    setup: Annotated[
        str | None,
        typer.Option(help='Shell line before the run, such as "source .venv/bin/activate".', show_default=False),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Run folder, for the first start and all later ones. [default: runs/train/RECIPE-slurm-ID]",
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the script, submit nothing.")] = False,
) -> None:
    """Train on machines of a SLURM cluster: writes an sbatch script, and submits it.

    torchrun on each machine, all of them in one run with the recipe's global batch. Two minutes before the time limit
    the run saves and puts itself back into the queue; started again, it goes on where it was.

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
