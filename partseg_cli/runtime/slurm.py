"""`partseg launch slurm`: a training run as a SLURM job, which outlives time limits and pre-emption."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from partseg_cli.config.recipe import Recipe, load_recipe
from partseg_cli.errors import PartsegError, UsageError, one_line
from partseg_cli.training.batch_share import share_batch

NOTICE = 120
"""Seconds before the time limit at which every process is told to save."""
FIRST_PORT, PORTS = 20_000, 10_000
"""Ports for the meeting of all machines: below those that systems hand out by themselves."""
TIME = re.compile(r"\d+(-\d+(:\d+){0,2}|(:\d+){0,2})")
"""As sbatch reads it: minutes, minutes:seconds, hours:minutes:seconds, days-hours[:minutes[:seconds]]."""


@dataclass(frozen=True)
class Job:
    """What a job asks for.

    Attributes:
        nodes: machines.
        gpus: of each machine, a process each.
        time: limit, as sbatch reads it; None: the cluster's.
        partition: of the cluster; None: its usual one.
        account: that pays; None: the user's usual one.
        cpus: processor cores of each machine; None: one a process and one for each of its readers of photos.
        memory: of each machine, such as "200G"; None: the cluster's.
        name: of the job; None: that of the recipe.
        setup: shell line that makes `torchrun` and partseg known, such as "source .venv/bin/activate".
        out: run folder; None: runs/train/RECIPE-slurm-ID, the same one whenever the job is started again.
    """

    nodes: int = 1
    gpus: int = 1
    time: str | None = None
    partition: str | None = None
    account: str | None = None
    cpus: int | None = None
    memory: str | None = None
    name: str | None = None
    setup: str | None = None
    out: Path | None = None


def check_division(recipe: str, overrides: Sequence[str], job: Job) -> None:
    """Refuse a job whose processes cannot share the recipe's batch.

    Raises:
        RecipeError: they cannot.
    """
    share_batch(load_recipe(recipe, overrides), job.nodes * job.gpus, recipe)


def slurm_script(recipe: str, overrides: Sequence[str], job: Job) -> str:
    """Write the script of a job, once the recipe and its overrides are good.

    Raises:
        RecipeError: they are not.
        UsageError: a value of the job cannot stand in a script.
    """
    loaded = load_recipe(recipe, overrides)
    _check(job)
    cores = job.cpus or job.gpus * (1 + loaded.data.workers)
    lines = ["#!/usr/bin/env bash", *_wishes(job, loaded, cores), "", "set -euo pipefail", *_setup(job)]
    lines += _meeting()
    lines += [f"run={_run_folder(loaded, job)}", *_start(recipe, overrides, job, cores)]
    return "\n".join(lines) + "\n"


def _check(job: Job) -> None:
    if job.time is not None and not TIME.fullmatch(job.time):
        raise UsageError(f"--time must be minutes, HH:MM:SS or D-HH:MM:SS, got {job.time!r}; for example 12:00:00")
    for option in ("partition", "account", "memory", "name"):
        value = getattr(job, option)
        if value is not None and not (value and value.isprintable()):
            shown = {"memory": "mem", "name": "job-name"}.get(option, option)
            raise UsageError(
                f"--{shown} must be a word that SLURM knows, got {value!r}; leave it out for the usual one"
            )


def _wishes(job: Job, recipe: Recipe, cores: int) -> Iterator[str]:
    """Give the #SBATCH lines: one task a machine, in which torchrun starts a process for each GPU."""
    wishes: dict[str, object] = {
        "job-name": job.name or recipe.name,
        "nodes": job.nodes,
        "ntasks-per-node": 1,
        "gpus-per-node": job.gpus,
        "cpus-per-task": cores,
        "mem": job.memory,
        "time": job.time,
        "partition": job.partition,
        "account": job.account,
        "output": "slurm-%j.log",
        "open-mode": "append",
        "signal": f"USR1@{NOTICE}",
    }
    yield from (f"#SBATCH --{key}={shlex.quote(str(value))}" for key, value in wishes.items() if value is not None)
    yield "#SBATCH --requeue"


def _setup(job: Job) -> list[str]:
    """Run the user's line without -u: what activates an environment often reads variables that are not set."""
    return ["set +u", job.setup, "set -u"] if job.setup else []


def _meeting() -> list[str]:
    return [
        "",
        "# All machines meet at the first one.",
        'hosts=$(scontrol show hostnames "$SLURM_JOB_NODELIST")',
        "host=${hosts%%$'\\n'*}",
        f"port=$(({FIRST_PORT} + SLURM_JOB_ID % {PORTS}))",
    ]


def _run_folder(recipe: Recipe, job: Job) -> str:
    if job.out is not None:
        return shlex.quote(str(job.out))
    return shlex.quote(f"runs/train/{recipe.name}-slurm-") + '"$SLURM_JOB_ID"'


def _start(recipe: str, overrides: Sequence[str], job: Job, cores: int) -> list[str]:
    """Give the command of all machines; SLURM signals torchrun too, which would die of USR1 and end the others."""
    train = shlex.join(["train", recipe, *overrides])
    inner = """trap "" USR1; exec torchrun --rdzv-conf "is_host=$((SLURM_NODEID == 0))" "$@\""""
    return [
        "",
        f"# USR1, {NOTICE} s before the end, is for the processes that train; torchrun itself has to outlive it.",
        f"srun --kill-on-bad-exit=1 --cpus-per-task={cores} bash -c '{inner}' torchrun \\",
        f"  --nnodes {job.nodes} --nproc-per-node {job.gpus} \\",
        '  --rdzv-id "$SLURM_JOB_ID" --rdzv-backend c10d --rdzv-endpoint "$host:$port" \\',
        f"  -m partseg_cli {train} \\",
        '  --out "$run" --resume auto --requeue',
    ]


def submit(script: str) -> str:
    """Hand a script to sbatch, and give its answer.

    Raises:
        UsageError: there is no sbatch here.
        PartsegError: it refuses the job.
    """
    sbatch = shutil.which("sbatch")
    if sbatch is None:
        raise UsageError("launch slurm needs sbatch, got none on PATH; run it on the cluster, or add --dry-run")
    done = subprocess.run([sbatch], input=script, capture_output=True, text=True, check=False)
    if done.returncode:
        said = one_line(done.stderr) or "nothing"
        raise PartsegError(f"sbatch must take the job, got exit {done.returncode} and {said!r}; see --dry-run")
    return done.stdout.strip()
