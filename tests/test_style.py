"""Names and English of the package, as far as a machine can check them."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import partseg_cli

PACKAGE = Path(partseg_cli.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
NOT_FIRST = re.compile(r"(Give|Tell|Say|Let|Bring|Hand|Put|What|How|Whether|Which|Who|Where)\b")
"""First words that neither command, as those of functions do, nor name a thing, as those of classes do."""
LONGEST = 45  # lines of a body


def definitions() -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module]]:
    """Yield every module, class and function with its place."""
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module):
                yield f"{path.relative_to(PACKAGE)}:{getattr(node, 'lineno', 1)}", node


def test_one_name_is_one_class():
    places = defaultdict(list)
    for place, node in definitions():
        if isinstance(node, ast.ClassDef):
            places[node.name.lstrip("_")].append(place)
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


def test_docstrings_open_with_a_command_or_a_noun():
    texts = [(place, ast.get_docstring(node) or "") for place, node in definitions()]
    assert [f"{place}: {text.splitlines()[0]}" for place, text in texts if NOT_FIRST.match(text)] == []


def test_no_function_is_longer_than_a_page():
    long = []
    for place, node in definitions():
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            if body and body[-1].end_lineno - body[0].lineno + 1 > LONGEST:
                long.append(place)
    assert long == []
