"""SLURM jobs: a script that trains on many machines, and outlives time limits and pre-emption."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from partseg_cli.errors import PartsegError, UsageError, one_line

NOTICE = 120
"""Seconds before the time limit at which every process is asked to save."""
FIRST_PORT, PORTS = 20_000, 10_000
"""Ports of the meeting point: below those that systems assign by themselves."""
TIME = re.compile(r"\d+(-\d+(:\d+){0,2}|(:\d+){0,2})")
"""Formats of sbatch: minutes, minutes:seconds, hours:minutes:seconds, days-hours[:minutes[:seconds]]."""


@dataclass(frozen=True)
class SlurmJob:
    """Resources of a job.

    Attributes:
        nodes: Number of machines.
        gpus: GPUs of each machine, one process each.
        time: Time limit in a format of sbatch; None: the cluster's.
        partition: SLURM partition; None: the default one.
        account: Account to charge; None: the user's default.
        cpus: CPU cores of each machine; None: one for each process and one for each of its data-loading processes.
        memory: Memory of each machine, such as "200G"; None: the cluster's default.
        name: Job name; None: name of the recipe.
        setup: Shell line that puts `torchrun` and partseg on PATH, such as "source .venv/bin/activate".
        out: Run directory; None: runs/train/RECIPE-slurm-ID, the same whenever the job starts again.
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


def job_script(command: Sequence[str], job: SlurmJob, *, name: str, workers: int) -> str:
    """Build the script of a job: one task per machine, in which torchrun starts one process per GPU.

    Args:
        command: Words of the partseg command, without --out.
        job: Resources of the job.
        name: Name of the recipe.
        workers: Data-loading processes of each process.

    Raises:
        UsageError: A value of the job cannot be written into a script.
    """
    _check(job)
    cores = job.cpus or job.gpus * (1 + workers)
    options: dict[str, object] = {
        "job-name": job.name or name,
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
    run = shlex.quote(f"runs/train/{name}-slurm-") + '"$SLURM_JOB_ID"' if job.out is None else shlex.quote(str(job.out))
    # SLURM signals torchrun too, which would die of USR1 and end the others
    inner = """trap "" USR1; exec torchrun --rdzv-conf "is_host=$((SLURM_NODEID == 0))" "$@\""""
    lines = [
        "#!/usr/bin/env bash",
        *(f"#SBATCH --{key}={shlex.quote(str(value))}" for key, value in options.items() if value is not None),
        "#SBATCH --requeue",
        "",
        "set -euo pipefail",
        # what activates an environment often reads variables that are not set
        *(["set +u", job.setup, "set -u"] if job.setup else []),
        "",
        "# All machines meet at the first one.",
        'hosts=$(scontrol show hostnames "$SLURM_JOB_NODELIST")',
        "host=${hosts%%$'\\n'*}",
        f"port=$(({FIRST_PORT} + SLURM_JOB_ID % {PORTS}))",
        f"run={run}",
        "",
        f"# USR1, {NOTICE} s before the end, is for the processes that train; torchrun itself has to outlive it.",
        f"srun --kill-on-bad-exit=1 --cpus-per-task={cores} bash -c '{inner}' torchrun \\",
        f"  --nnodes {job.nodes} --nproc-per-node {job.gpus} \\",
        '  --rdzv-id "$SLURM_JOB_ID" --rdzv-backend c10d --rdzv-endpoint "$host:$port" \\',
        f"  -m partseg_cli {shlex.join(command)} \\",
        '  --out "$run" --resume auto --requeue',
    ]
    return "\n".join(lines) + "\n"


def _check(job: SlurmJob) -> None:
    if job.time is not None and not TIME.fullmatch(job.time):
        raise UsageError(f"--time must be minutes, HH:MM:SS or D-HH:MM:SS, got {job.time!r}; for example 12:00:00")
    words = {"partition": job.partition, "account": job.account, "mem": job.memory, "job-name": job.name}
    for option, value in words.items():
        if value is not None and not (value and value.isprintable()):
            raise UsageError(
                f"--{option} must be a word that SLURM knows, got {value!r}; leave it out for the usual one"
            )


def submit(script: str) -> str:
    """Submit a script with sbatch and return its answer.

    Raises:
        UsageError: There is no sbatch on this machine.
        PartsegError: sbatch refuses the job.
    """
    sbatch = shutil.which("sbatch")
    if sbatch is None:
        raise UsageError("launch slurm needs sbatch, got none on PATH; run it on the cluster, or add --dry-run")
    done = subprocess.run([sbatch], input=script, capture_output=True, text=True, check=False)
    if done.returncode:
        said = one_line(done.stderr) or "nothing"
        raise PartsegError(f"sbatch must take the job, got exit {done.returncode} and {said!r}; see --dry-run")
    return done.stdout.strip()
