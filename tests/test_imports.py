"""Every import of the package against a table of its parts, so that data keep flowing one way."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import partseg_cli

PACKAGE = Path(partseg_cli.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))

TABLE = {
    "io": set(),
    "vocabulary": set(),
    "structures": set(),
    "runtime": {"io"},
    "config": {"io"},
    "data": {"io", "runtime", "vocabulary", "structures"},
    "models": {"io", "vocabulary", "structures"},
    "training": {"data", "runtime", "io", "structures"},
    "inference": {"models", "data", "runtime", "io", "vocabulary", "structures"},
    "evaluation": {"data", "inference", "runtime", "io", "vocabulary", "structures"},
    "reports": {"evaluation", "data", "io", "vocabulary", "structures"},
}
"""Part -> what it may import besides `errors` and itself. `pipeline` may import all but `cli`; for `cli` see below."""

MOST_ENTRIES = 15
MOST_AT_THE_TOP = 16
CLI_EVERYWHERE, CLI_IN_COMMANDS = {"errors", "config"}, {"reports", "pipeline"}


class Arrow(NamedTuple):
    """One import: from which file and part to which part, and whether it runs when the file is imported."""

    file: str
    line: int
    part: str
    target: str
    in_function: bool
    types_only: bool

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.part} -> {self.target}"


def part_of(path: Path) -> str:
    """Give the first folder below the package, or the module right in it."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def modules(node: ast.AST, path: Path) -> list[str]:
    """Give the dotted names that a node imports; `from a import b` gives a.b, which may be a module."""
    if isinstance(node, ast.Import):
        return [name.name for name in node.names]
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, f"{path}:{node.lineno}: imports are written in full"
        return [f"{node.module}.{name.name}" for name in node.names]
    return []


def imports(path: Path) -> Iterator[tuple[str, int, bool, bool]]:
    """Give (dotted name, line, in a function, for types only) of each import in a file."""

    def visit(node: ast.AST, in_function: bool, types_only: bool) -> Iterator[tuple[str, int, bool, bool]]:
        for name in modules(node, path):
            yield name, node.lineno, in_function, types_only
        for child in ast.iter_child_nodes(node):
            is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            guards = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING" and child in node.body
            yield from visit(child, in_function or is_function, types_only or guards)

    yield from visit(ast.parse(path.read_text(encoding="utf-8")), False, False)


def arrows(path: Path) -> list[Arrow]:
    """Give the imports of other parts of the package."""
    found = []
    for name, line, in_function, types_only in imports(path):
        top, _, below = name.partition(".")
        target = below.split(".")[0]
        is_module = (PACKAGE / target).is_dir() or (PACKAGE / f"{target}.py").is_file()
        if top == "partseg_cli" and is_module and target != part_of(path):
            found.append(
                Arrow(path.relative_to(PACKAGE.parent).as_posix(), line, part_of(path), target, in_function, types_only)
            )
    return found


def is_allowed(arrow: Arrow) -> bool:
    if arrow.part == "__main__":
        return arrow.target == "cli"
    if arrow.part == "pipeline":
        return arrow.target != "cli"
    if arrow.part == "cli":
        allowed = CLI_EVERYWHERE | (CLI_IN_COMMANDS if arrow.in_function else set())
        return arrow.types_only or arrow.target in allowed
    return arrow.target in {"errors"} | TABLE[arrow.part]


def test_the_table_names_every_part_of_the_package():
    parts = {part_of(path) for path in FILES} - {"__init__", "__main__", "errors", "pipeline", "cli"}
    assert parts == set(TABLE)


def test_no_import_runs_against_the_table():
    assert [str(arrow) for path in FILES for arrow in arrows(path) if not is_allowed(arrow)] == []


def test_no_folder_is_crowded():
    folders = {path.parent for path in FILES}
    sizes = {
        folder.relative_to(PACKAGE).as_posix(): sum(
            entry.name not in {"__init__.py", "__pycache__"} for entry in folder.iterdir()
        )
        for folder in folders
    }
    assert sizes.pop(".") <= MOST_AT_THE_TOP
    assert {name: size for name, size in sizes.items() if size > MOST_ENTRIES} == {}


def test_the_walk_finds_arrows_and_tells_the_wrong_ones(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    (tmp_path / "reports.py").touch()
    path = tmp_path / "data" / "odd.py"
    path.write_text(
        "from typing import TYPE_CHECKING\nfrom partseg_cli.reports import total\nimport partseg_cli.data.store\n"
        "if TYPE_CHECKING:\n    from partseg_cli import reports\n"
        "def late():\n    import partseg_cli.reports.masks\n"
    )
    monkeypatch.setattr(sys.modules[__name__], "PACKAGE", tmp_path)
    found = [(arrow.line, arrow.target, arrow.in_function, arrow.types_only) for arrow in arrows(path)]
    assert found == [(2, "reports", False, False), (5, "reports", False, True), (7, "reports", True, False)]
    assert not any(is_allowed(arrow) for arrow in arrows(path))
    assert str(arrows(path)[0]).endswith("data/odd.py:2: data -> reports")


def test_only_model_clip_imports_open_clip():
    users = {path.relative_to(PACKAGE).as_posix() for path in FILES for name in imports(path) if "open_clip" in name[0]}
    assert users == {"models/clip/model.py"}


def test_only_cli_prints():
    printers = [
        f"{path.relative_to(PACKAGE)}:{node.lineno}"
        for path in FILES
        if part_of(path) != "cli"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in {"print", "typer.echo", "sys.stdout.write", "sys.stderr.write"}
    ]
    assert printers == []


def test_only_cli_and_main_exit():
    leavers = {
        part_of(path)
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"exit", "quit", "sys.exit", "os._exit"}
    }
    assert leavers <= {"cli", "__main__"}


@pytest.mark.parametrize("module", ["partseg_cli.cli.app", "partseg_cli.config.recipe"])
def test_the_command_line_starts_without_the_heavy_libraries(module):
    program = (
        f"import sys, {module}; print(*sorted({{'torch', 'numpy', 'open_clip', 'PIL', 'scipy'}} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"
