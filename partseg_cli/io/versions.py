"""Versions of Python and of the packages that results depend on."""

from __future__ import annotations

import platform
from importlib.metadata import version

PACKAGES = ("partseg-cli", "torch", "open_clip_torch", "numpy", "pillow")


def package_versions() -> dict[str, str]:
    """Return the versions that results depend on, by package."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}
