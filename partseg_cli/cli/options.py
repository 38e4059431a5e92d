"""Options that several commands about models share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

RecipeName = Annotated[str, typer.Argument(help="A recipe file, or the name of a packaged one.")]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[SECTION.KEY=VALUE]...", help="Keys of the recipe to change.")
]
Gpus = Annotated[
    str | None,
    typer.Option(
        metavar="N",
        help="Devices, a process each: a number, all, or a list such as 0,2. With --device cpu: processes.",
        show_default=False,
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]


class PrecisionName(StrEnum):
    """In what the model computes."""

    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"


Precision = Annotated[
    PrecisionName,
    typer.Option(
        help="fp32: the published numbers. bf16, fp16: faster on a GPU; labels change where scores are close."
    ),
]
PromptChunk = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="Prompts that the decoder takes at once: fewer take less memory. [default: what suits the device]",
        show_default=False,
    ),
]
Checkpoint = Annotated[
    Path | None,
    typer.Option(
        help="A .safetensors checkpoint or a run folder. [default: the one in $PARTSEG_WEIGHTS or the user's cache]",
        show_default=False,
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Name of a checkpoint in $PARTSEG_WEIGHTS or the user's cache; clipseg-rd64-refined is fetched.",
        show_default=False,
    ),
]
Batch = Annotated[int, typer.Option(min=1, metavar="N", help="Photos in one forward pass.")]
