"""What stands in front of a cartoon scene and hides some of its objects: a bush, a post, a ball, a fence."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from partseg_cli.data.cartoon.pen import Canvas, Pen, box, ellipse, limb, shade, tint

HIDDEN = 0.3
"""How often something stands in front."""

HEDGES = ((90, 140, 70), (120, 160, 80), (70, 120, 84))
WOODS = ((150, 110, 72), (196, 170, 130), (110, 110, 118))
BALLS = ((226, 70, 70), (70, 130, 220), (246, 200, 70), (240, 240, 240))


def hide_some(canvas: Canvas, rng: np.random.Generator, size: int) -> None:
    """Draw something nameless in front of some scenes."""
    if rng.random() < HIDDEN:
        foot = (float(rng.uniform(0.05, 0.95)) * size, float(rng.uniform(0.9, 1.02)) * size)
        pen = Pen(canvas, "", foot, 0.3 * size, 0.0, bool(rng.random() < 0.5))
        kinds: tuple[Callable[[Pen, np.random.Generator], None], ...] = (_bush, _post, _ball, _fence)
        kinds[rng.integers(len(kinds))](pen, rng)


def _bush(pen: Pen, rng: np.random.Generator) -> None:
    leaves = tint(HEDGES, rng)
    for x, y in ((-0.4, 0.12), (0.4, 0.12), (0.0, 0.26)):
        pen.part("", ellipse(x, y, rng.uniform(0.3, 0.44), rng.uniform(0.26, 0.4)), leaves)


def _post(pen: Pen, rng: np.random.Generator) -> None:
    wood, height = tint(WOODS, rng), rng.uniform(0.9, 2.4)
    pole = pen.part("", box(-0.1, -0.2, 0.1, height), wood)
    pen.detail(box(-0.05, -0.1, 0.0, height - 0.1), shade(wood, 1.3), on=pole)


def _ball(pen: Pen, rng: np.random.Generator) -> None:
    colour, radius = tint(BALLS, rng), rng.uniform(0.24, 0.4)
    ball = pen.part("", ellipse(0.0, radius, radius, radius), colour)
    for turn in (0.4, 1.9):
        pen.detail(ellipse(0.0, radius, radius * 0.9, radius * 0.16, turn), shade(colour, 0.7), on=ball)


def _fence(pen: Pen, rng: np.random.Generator) -> None:
    wood = tint(WOODS, rng)
    pen.part("", limb(((-0.75, 0.3), (0.75, 0.3)), 0.12, 0.12), shade(wood, 0.9))
    for x in (-0.6, -0.2, 0.2, 0.6):
        pen.part("", box(x - 0.09, -0.1, x + 0.09, 0.55, 0.05), wood)
