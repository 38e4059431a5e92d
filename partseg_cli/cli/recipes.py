"""Commands about recipes: list, show, copy, check."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from partseg_cli.cli import console as shown
from partseg_cli.cli.options import Overrides
from partseg_cli.errors import DataError, RecipeError

if TYPE_CHECKING:
    from partseg_cli.pipeline.recipe_check import Checked
    from partseg_cli.pipeline.recipes import Listed

app = typer.Typer(no_args_is_help=True, help="See the packaged recipes, copy one to edit, check what they need.")

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a table.")]


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """Show the packaged recipes and what each is for.

    Example: **partseg recipes list**
    """
    from partseg_cli.pipeline import recipes as story

    listed = story.list_recipes()
    if as_json:
        shown.document({"recipes": [one.to_json() for one in listed]})
    else:
        _show_list(listed)


def _show_list(listed: list[Listed]) -> None:
    from rich.table import Table

    table = Table(title="recipes: partseg train NAME")
    for column in ("name", "task", "data set", "model", "purpose"):
        table.add_column(column, no_wrap=column != "purpose")
    for one in listed:
        table.add_row(one.name, one.task, one.dataset, one.model, one.purpose)
    shown.table(table)


@app.command()
def show(
    recipe: Annotated[str, typer.Argument(help="The name of a packaged recipe, or a file.")],
    overrides: Overrides = None,
) -> None:
    """Print a recipe: the file as it is, or what overrides make of it.

    Example: **partseg recipes show pascal_zeroshot train.lr=1e-3**
    """
    from partseg_cli.pipeline import recipes as story

    typer.echo(story.show_recipe(recipe, overrides or []), nl=False)


@app.command()
def copy(
    recipe: Annotated[str, typer.Argument(help="The name of a packaged recipe, or a file.")],
    to: Annotated[
        Path | None,
        typer.Argument(help="The new file, or a folder for it. [default: ./NAME.yaml]", show_default=False),
    ] = None,
) -> None:
    """Copy a recipe to edit it; no file is ever overwritten.

    Example: **partseg recipes copy pascal_zeroshot mine.yaml**
    """
    from partseg_cli.pipeline import recipes as story

    typer.echo(str(story.copy_recipe(recipe, to)))


@app.command()
def check(
    recipes: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME|FILE]...", help="Which. [default: all packaged]", show_default=False),
    ] = None,
    gpus: Annotated[
        int, typer.Option(min=1, metavar="N", help="Processes, over all machines, that a batch is shared out to.")
    ] = 1,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit 3 where data, a split or weights are missing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Tell whether recipes can be trained here: their keys, data, split file, start weights and batch.

    Exit 2 where a recipe is broken, or its batch does not divide over the processes. What is missing is told; the
    network is not asked.

    Example: **partseg recipes check pascal_zeroshot --gpus 8**
    """
    from partseg_cli.pipeline import recipe_check as story

    checked = story.check_recipes(recipes or [], gpus)
    if as_json:
        shown.document({"processes": gpus, "checked": [one.to_json() for one in checked]})
    else:
        _show_checked(checked, gpus)
    _judge(checked, strict)


def _show_checked(checked: list[Checked], processes: int) -> None:
    from rich.table import Table

    table = Table(title=f"recipes, over {processes} process{'es' if processes > 1 else ''}")
    for column in ("recipe", "verdict", "data", "split", "weights", "passes x photos"):
        table.add_column(column, overflow="fold")
    for one in checked:
        states = ("missing" if what in one.missing else "there" for what in ("data", "split", "weights"))
        table.add_row(one.recipe, *(("fails", *"----") if one.problem else ("good", *states, one.share)))
    shown.table(table)
    texts = dict.fromkeys(text for one in checked for text in one.missing.values())
    for text in texts:
        shown.note(f"{', '.join(one.recipe for one in checked if text in one.missing.values())}: {text}")


def _judge(checked: list[Checked], strict: bool) -> None:
    """End with the exit code that the findings ask for."""
    problems = [one.problem for one in checked if one.problem]
    if len(problems) > 1:
        for problem in problems:
            shown.note(problem)
        raise RecipeError(f"{len(problems)} of {len(checked)} recipes cannot be trained so; mend them, or see --gpus")
    if problems:
        raise RecipeError(problems[0])
    lacking = [one.recipe for one in checked if one.missing]
    if strict and lacking:
        raise DataError(
            f"--strict: everything must be there, got {len(lacking)} of {len(checked)} recipes that lack some"
        )
