"""`partseg launch slurm`: a training run as a job of a SLURM cluster."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from partseg_cli.config.recipe import load_recipe
from partseg_cli.errors import RecipeError
from partseg_cli.pipeline.train import check_batch
from partseg_cli.runtime.slurm import SlurmJob, job_script, submit

__all__ = ["SlurmJob", "launch_slurm", "slurm_script"]


def launch_slurm(
    recipe: str, overrides: Sequence[str], job: SlurmJob, *, dry_run: bool, log: Callable[[str], None]
) -> str:
    """Submit a training run and return the answer of sbatch; a dry run returns the script instead.

    Args:
        recipe: Recipe file or name.
        overrides: Changes of its keys, such as "train.lr=1e-4".
        job: Resources of the job.
        dry_run: Whether to submit nothing; a batch that does not divide is then only logged.
        log: Callback for one-line status messages.

    Raises:
        RecipeError: The recipe is invalid, or its batch does not divide among the processes.
        UsageError: A value of the job is invalid, or there is no sbatch.
        PartsegError: sbatch refuses the job.
    """
    script = slurm_script(recipe, overrides, job)
    try:
        check_batch(load_recipe(recipe, overrides), job.nodes * job.gpus, recipe)
    except RecipeError as error:
        if not dry_run:
            raise
        log(f"warning: the job would end with: {error}")
    return script if dry_run else submit(script)


def slurm_script(recipe: str, overrides: Sequence[str], job: SlurmJob) -> str:
    """Build the job script of a training run.

    Raises:
        RecipeError: The recipe is invalid.
        UsageError: A value of the job is invalid.
    """
    loaded = load_recipe(recipe, overrides)
    return job_script(["train", recipe, *overrides], job, name=loaded.name, workers=loaded.data.workers)
