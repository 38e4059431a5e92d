"""Options shared by the commands that run models."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

RecipeName = Annotated[str, typer.Argument(help="Recipe file or name of a packaged recipe.")]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[SECTION.KEY=VALUE]...", help="Recipe keys to override.")
]
Gpus = Annotated[
    str | None,
    typer.Option(
        metavar="N",
        help="GPUs, one process each: a number, all, or a list such as 0,2. With --device cpu: number of processes.",
        show_default=False,
    ),
]
Device = Annotated[str, typer.Option(help="Device: auto, cpu, cuda, cuda:N or mps.")]


class PrecisionName(StrEnum):
    """Floating-point precision of the model."""

    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"


Precision = Annotated[
    PrecisionName,
    typer.Option(
        help="fp32 gives the published numbers; bf16 and fp16 are faster on a GPU but change labels with close scores."
    ),
]
PromptChunk = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="Prompts per decoder pass; fewer use less memory. [default: chosen for the device]",
        show_default=False,
    ),
]
Checkpoint = Annotated[
    Path | None,
    typer.Option(
        help="Checkpoint (.safetensors) or run directory. [default: from $PARTSEG_WEIGHTS or the user's cache]",
        show_default=False,
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Checkpoint name in $PARTSEG_WEIGHTS or the user's cache; clipseg-rd64-refined is downloaded.",
        show_default=False,
    ),
]
Batch = Annotated[int, typer.Option(min=1, metavar="N", help="Images per forward pass.")]
