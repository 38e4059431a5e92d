"""What every HTML page of ours shares: one file, no network, a policy that lets no script but its own run."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template

from partseg_cli.io.hashing import digest

HERE = Path(__file__).parent / "templates"
SORTED = ' aria-sort="descending"'


def fill(name: str, values: Mapping[str, str]) -> str:
    """Fill the template `<name>.html` with HTML, the shared style, and `<name>.js`, if any, with its digest."""
    file = HERE / f"{name}.js"
    script = file.read_text(encoding="utf-8") if file.exists() else ""
    script_digest = base64.b64encode(bytes.fromhex(digest([script]))).decode("ascii")
    shared = {
        "style": (HERE / "page.css").read_text(encoding="utf-8"),
        "script": script,
        "script_hash": f"sha256-{script_digest}",
    }
    return Template((HERE / f"{name}.html").read_text(encoding="utf-8")).substitute({**shared, **values})


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Give a table of text and whole numbers, which get separators."""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in header)
    body = "".join("<tr>" + "".join(f"<td>{text(value)}</td>" for value in row) + "</tr>\n" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table>"


def text(value: object) -> str:
    """Give a value as HTML; whole numbers get separators."""
    return f"{value:,}" if isinstance(value, int) else escape(str(value))


def options(names: Iterable[str]) -> str:
    """Give the choices of a list, each name once, sorted."""
    return "".join(f'<option value="{escape(name)}">{escape(name)}</option>' for name in sorted(set(names)))


def swatch(colour: Sequence[int]) -> str:
    """Give a small square in a colour (red, green, blue)."""
    return '<i style="background:#{:02x}{:02x}{:02x}"></i>'.format(*colour)


def scroll(label: str, inner: str) -> str:
    """Give a box that scrolls by itself, also by keyboard."""
    return f'<div class="scroll tall" tabindex="0" role="region" aria-label="{escape(label)}">{inner}</div>'


def bar(percent: float | None, kind: str) -> str:
    """Give a cell with a bar behind its number; "-" where there is none."""
    if percent is None:
        return "<td>-</td>"
    return f'<td class="bar {kind}" data-value="{percent:.4f}" style="--v:{percent:.1f}%">{percent:.2f}</td>'


def number(value: float | None, form: str) -> str:
    """Give a cell with a number that can be sorted by; "-" where there is none."""
    return "<td>-</td>" if value is None else f'<td data-value="{value}">{value:{form}}</td>'


def sortable(identity: str, names: Sequence[str], rows: str, *, sorted_by: str) -> str:
    """Give a table that the page's script sorts by any column; its rows come sorted by one, the largest first."""
    head = "".join(
        f'<th scope="col"{SORTED if name == sorted_by else ""}><button type="button">{escape(name)}</button></th>'
        for name in names
    )
    return f'<table class="sortable" id="{identity}"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
