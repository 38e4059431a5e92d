"""The `partseg` command: its subcommands, and errors as one line with an exit code."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from partseg_cli.cli import bench, evaluate, export, inspect, recipes, split, train, weights
from partseg_cli.cli import compare as results
from partseg_cli.cli import predict as run
from partseg_cli.cli import prepare as data
from partseg_cli.errors import PartsegError, UsageError, one_line

app = typer.Typer(
    name="partseg",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Open-vocabulary part segmentation: part masks of images from words.\n\n"
    "First steps: **partseg demo**. Then: prepare, inspect, split, train, evaluate, predict. "
    "**partseg weights import** imports published models.",
)
app.command()(data.prepare)
app.command()(inspect.inspect)
app.command()(split.split)
app.command()(train.train)
app.command()(evaluate.evaluate)
app.command()(results.compare)
app.command()(evaluate.merge)
app.command()(run.predict)
app.command()(export.export)
app.command()(run.demo)
app.add_typer(weights.app, name="weights")
app.add_typer(recipes.app, name="recipes")
app.add_typer(train.launch_app, name="launch")
app.add_typer(bench.app, name="bench")


INTERRUPTED = 130
RENAMED_OPTIONS = {"--draws": "--bootstrap-samples"}
"""Former name of an option -> its current name."""


def _show_version(wanted: bool | None) -> None:
    if wanted:
        from partseg_cli import __version__

        typer.echo(f"partseg {__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool | None, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = None,
) -> None:
    """Parse the options before a command."""


def main() -> None:
    """Run the command line; user errors are one line on stderr with an exit code."""
    try:
        _check_renamed(sys.argv[1:])
        app()
    except PartsegError as error:
        sys.exit(_complain(f"error: {error}", error.exit_code))
    except OSError as error:
        sys.exit(_complain(f"error: {error}", 1))
    except SystemExit as stop:
        if stop.code == INTERRUPTED:
            _complain("interrupted", INTERRUPTED)
        raise


def _check_renamed(words: list[str]) -> None:
    for option in (word.partition("=")[0] for word in words):
        if new := RENAMED_OPTIONS.get(option):
            raise UsageError(f"{option} has been renamed, use {new}")


def _complain(text: str, code: int) -> int:
    typer.echo(one_line(text), err=True)
    return code
