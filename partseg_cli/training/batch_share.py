"""The global batch of a recipe, shared out to processes: what each takes, and which numbers cannot work."""

from __future__ import annotations

from dataclasses import dataclass

from partseg_cli.config.recipe import AnyRecipe, Recipe
from partseg_cli.errors import RecipeError


@dataclass(frozen=True)
class Share:
    """What each process takes of a batch.

    Attributes:
        images: in each step.
        micro_batch: of these, in one forward pass.
    """

    images: int
    micro_batch: int

    @property
    def accumulate(self) -> int:
        """Forward passes of a step."""
        return self.images // self.micro_batch


def share_batch(recipe: AnyRecipe, processes: int, where: str) -> Share:
    """Give each of `processes` its share of the batch.

    The micro-batch is lowered to the largest divisor of the share that is not above the recipe's. A recipe that is not
    about parts trains in one process, and has no micro-batch.

    Args:
        recipe: holds the global batch.
        processes: over all machines.
        where: opens each error message.

    Raises:
        RecipeError: the batch does not divide, or has to stay in one process.
    """
    batch = recipe.train.batch_size
    if not isinstance(recipe, Recipe):
        if processes > 1:
            raise RecipeError(
                f"{where}: a recipe of task {recipe.task} trains in one process, got {processes}; use one"
            )
        return Share(batch, batch)
    if recipe.loss.loss_mean == "batch" and processes > 1:
        raise RecipeError(
            f"{where}: loss.loss_mean batch pools the whole batch in one process, got {processes}; "
            "use loss.loss_mean=image, or one process"
        )
    if batch % processes:
        raise RecipeError(
            f"{where}: train.batch_size must be divisible by the number of processes, got {batch} over {processes}; "
            f"{_advice(batch, processes)}"
        )
    images = batch // processes
    micro = max(size for size in range(1, min(images, recipe.train.micro_batch_size) + 1) if images % size == 0)
    return Share(images, micro)


def _advice(batch: int, processes: int) -> str:
    """Name the nearest numbers that would work; another batch size is another training."""
    fewer = max(number for number in range(1, min(batch, processes) + 1) if batch % number == 0)
    more = -(-batch // processes) * processes
    return f"use {fewer} process{'es' if fewer > 1 else ''}, or another training with train.batch_size={more}"
