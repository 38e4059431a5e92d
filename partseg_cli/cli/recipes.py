"""Commands about recipes: list, show, copy, check."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from partseg_cli.cli import console
from partseg_cli.cli.options import Overrides
from partseg_cli.errors import DataError, RecipeError

if TYPE_CHECKING:
    from partseg_cli.pipeline.recipes import RecipeCheck

app = typer.Typer(no_args_is_help=True, help="List the packaged recipes, copy one to edit it, check what they need.")

RecipeArgument = Annotated[str, typer.Argument(help="Name of a packaged recipe, or a file.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a table.")]


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """List the packaged recipes and their purposes.

    Example: **partseg recipes list**
    """
    from rich.table import Table

    from partseg_cli.pipeline.recipes import list_recipes

    entries = list_recipes()
    if as_json:
        console.document({"recipes": [entry.to_json() for entry in entries]})
        return
    table = Table(title="recipes: partseg train NAME")
    for column in ("name", "task", "dataset", "model", "purpose"):
        table.add_column(column, no_wrap=column != "purpose")
    for entry in entries:
        table.add_row(entry.name, entry.task, entry.dataset, entry.model, entry.purpose)
    console.table(table)


@app.command()
def show(recipe: RecipeArgument, overrides: Overrides = None) -> None:
    """Print a recipe: its file as it is, or the result of overrides.

    Example: **partseg recipes show pascal_zeroshot train.lr=1e-3**
    """
    from partseg_cli.pipeline.recipes import show_recipe

    typer.echo(show_recipe(recipe, overrides or []), nl=False)


@app.command()
def copy(
    recipe: RecipeArgument,
    to: Annotated[
        Path | None, typer.Argument(help="New file, or a folder for it. [default: ./NAME.yaml]", show_default=False)
    ] = None,
) -> None:
    """Copy a recipe to edit it; existing files are never overwritten.

    Example: **partseg recipes copy pascal_zeroshot mine.yaml**
    """
    from partseg_cli.pipeline.recipes import copy_recipe

    typer.echo(str(copy_recipe(recipe, to)))


@app.command()
def check(
    recipes: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME|FILE]...", help="Recipes to check. [default: all packaged ones]", show_default=False
        ),
    ] = None,
    gpus: Annotated[
        int, typer.Option(min=1, metavar="N", help="Number of processes, over all machines, that share a batch.")
    ] = 1,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 3 if data, a split or weights are missing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check whether recipes can be trained here: their keys, data, split file, start weights and batch.

    Exits with 2 if a recipe is invalid, or its batch does not divide over the processes. What is missing is listed; the
    network is not used.

    Example: **partseg recipes check pascal_zeroshot --gpus 8**
    """
    from partseg_cli.pipeline.recipes import check_recipes

    checks = check_recipes(recipes or [], gpus)
    if as_json:
        console.document({"processes": gpus, "checked": [check.to_json() for check in checks]})
    else:
        _show_checks(checks, gpus)
    problems = [check.problem for check in checks if check.problem]
    if len(problems) > 1:
        for problem in problems:
            console.note(problem)
        raise RecipeError(f"{len(problems)} of {len(checks)} recipes cannot be trained; fix them, or see --gpus")
    if problems:
        raise RecipeError(problems[0])
    incomplete = sum(bool(check.missing) for check in checks)
    if strict and incomplete:
        raise DataError(f"--strict: nothing may be missing, got {incomplete} of {len(checks)} recipes that lack some")


def _show_checks(checks: list[RecipeCheck], processes: int) -> None:
    from rich.table import Table

    table = Table(title=f"recipes, over {processes} process{'es' if processes > 1 else ''}")
    for column in ("recipe", "verdict", "data", "split", "weights", "passes x images"):
        table.add_column(column, overflow="fold")
    for check in checks:
        states = ("missing" if what in check.missing else "there" for what in ("data", "split", "weights"))
        table.add_row(check.recipe, *(("fails", *"----") if check.problem else ("good", *states, check.share)))
    console.table(table)
    for text in dict.fromkeys(text for check in checks for text in check.missing.values()):
        console.note(f"{', '.join(check.recipe for check in checks if text in check.missing.values())}: {text}")
