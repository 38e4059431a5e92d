"""HTML pages: one file each, without network access; Jinja2 escapes every value, the page's policy runs one script."""

from __future__ import annotations

import base64
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from partseg_cli.io.hashing import digest
from partseg_cli.reports.results import percent

TEMPLATES = Path(__file__).parent / "templates"


def render_page(template: str, **values: object) -> str:
    """Render `<template>.html` with the shared style and, if there is one, the script `<template>.js`.

    Args:
        template: Name of the template.
        values: Variables of the template; `title` and `about` are required.
    """
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(percent=percent, text=text)
    script_file = TEMPLATES / f"{template}.js"
    script = script_file.read_text(encoding="utf-8") if script_file.exists() else ""
    script_digest = base64.b64encode(bytes.fromhex(digest([script]))).decode("ascii")
    shared = {
        "style": Markup((TEMPLATES / "page.css").read_text(encoding="utf-8")),
        "script": Markup(script),
        "script_hash": f"sha256-{script_digest}",
    }
    return environment.get_template(f"{template}.html").render(**shared, **values)


def text(value: object) -> str:
    """Convert a value to text; whole numbers get thousands separators.

    >>> text(12345), text("a"), text(True)
    ('12,345', 'a', 'True')
    """
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
