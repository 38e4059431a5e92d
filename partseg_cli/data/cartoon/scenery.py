"""Backdrops of scenes, lighting, and objects in the foreground that hide some of a scene."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from partseg_cli.data.cartoon.pen import Canvas, Colour, Pen, Points, box, ellipse, limb, polygon, shade, tint

BLUR = 1 / 128
"""Half the width of the box that the blur averages, as a fraction of the image's side."""

SHADOW = (0, 0, 0, 56)
"""Colour and opacity, of 255, of shadows."""

SKIES = ((150, 206, 244), (190, 222, 246), (250, 206, 170), (170, 190, 226))
GRASS = ((140, 196, 100), (168, 206, 110), (112, 176, 108))
TREES = ((84, 148, 84), (104, 160, 80), (140, 168, 70), (214, 140, 60))
FLOWERS = ((250, 240, 120), (246, 150, 170), (250, 250, 246), (180, 140, 230))
HOUSES = ((224, 176, 140), (206, 150, 130), (180, 190, 206), (230, 212, 170), (170, 186, 160))
ROADS = ((134, 136, 146), (150, 146, 144), (116, 120, 132))
WALLS = ((240, 220, 190), (196, 218, 210), (216, 204, 228), (244, 206, 196), (204, 216, 234))
FLOORS = ((196, 150, 104), (176, 128, 90), (190, 176, 160))
FABRICS = ((190, 84, 84), (86, 124, 176), (120, 156, 110), (226, 186, 96), (150, 110, 160))
WINDOW, SUN, BARK = (250, 232, 160), (255, 240, 176), (126, 92, 66)


class Backdrop:
    """Image to paint on; x goes to the right and y up, both from 0 to 1."""

    def __init__(self, size: int, sky: Colour, ground: Colour, horizon: float) -> None:
        """Begin with a sky that pales towards the horizon above a ground that darkens away from it."""
        self.size = size
        up = (size - np.arange(size) - 0.5)[:, None] / size  # H 1
        pale = 1 + 0.5 * (1 - (up - horizon) / (1 - horizon))
        above = np.asarray(sky) + (255 - np.asarray(sky)) * (pale - 1)
        below = np.asarray(ground) * (0.8 + 0.2 * up / horizon)
        rows = np.where(up > horizon, above, below).clip(0, 255).astype(np.uint8)
        self._picture = Image.fromarray(np.ascontiguousarray(np.broadcast_to(rows[:, None], (size, size, 3))))
        self._pen, self._glaze = ImageDraw.Draw(self._picture), ImageDraw.Draw(self._picture, "RGBA")
        self._to_pixels, self._origin = np.asarray((size, -size)), np.asarray((0, size))

    def fill(self, shape: Points, colour: Colour) -> None:
        """Paint one shape."""
        self._pen.polygon(self._corners(shape), fill=colour)

    def darken(self, shape: Points) -> None:
        """Paint the shadow of this shape."""
        self._glaze.polygon(self._corners(shape), fill=SHADOW)

    def _corners(self, shape: Points) -> list[float]:
        corners: list[float] = (shape * self._to_pixels + self._origin).ravel().tolist()
        return corners

    def soft(self) -> Image.Image:
        """Return the image, a little out of focus."""
        return self._picture.filter(ImageFilter.BoxBlur(BLUR * self.size))


def paint_backdrop(rng: np.random.Generator, size: int, shadows: list[Points]) -> Image.Image:
    """Paint one of the places, with shadows (in its own units) on the ground."""
    places: tuple[Callable[[np.random.Generator, int], Backdrop], ...] = (_meadow, _street, _room)
    backdrop = places[rng.integers(len(places))](rng, size)
    for shadow in shadows:
        backdrop.darken(shadow)
    return backdrop.soft()


def relight(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Change light and hue of the whole image, as the time of day does."""
    gains = rng.uniform(0.82, 1.12) * rng.uniform(0.94, 1.06, 3)
    pixels = np.asarray(picture) * gains + rng.uniform(-8, 8)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def _meadow(rng: np.random.Generator, size: int) -> Backdrop:
    grass, horizon = tint(GRASS, rng), rng.uniform(0.35, 0.55)
    backdrop = Backdrop(size, tint(SKIES, rng), grass, horizon)
    if rng.random() < 0.6:
        backdrop.fill(ellipse(rng.random(), rng.uniform(0.8, 0.95), 0.08, 0.08), SUN)
    for _ in range(rng.integers(1, 4)):
        x, y = rng.random(), rng.uniform(0.7, 0.95)
        for shift in (-0.08, 0.0, 0.07):
            backdrop.fill(ellipse(x + shift, y + shift / 4, 0.08, 0.045), (252, 252, 250))
    for _ in range(2):
        backdrop.fill(ellipse(rng.random(), horizon, rng.uniform(0.3, 0.6), rng.uniform(0.08, 0.2)), shade(grass, 0.88))
    backdrop.fill(box(0.0, horizon - 0.15, 1.0, horizon), grass)
    for _ in range(rng.integers(2, 6)):
        _tree(backdrop, rng, horizon)
    for x, y in rng.uniform((0, 0), (1, horizon - 0.06), (int(rng.integers(8, 24)), 2)):
        colour = tint(FLOWERS, rng) if rng.random() < 0.4 else shade(grass, 0.8)
        backdrop.fill(ellipse(x, y, 0.008, 0.012), colour)
    return backdrop


def _tree(backdrop: Backdrop, rng: np.random.Generator, horizon: float) -> None:
    x, foot, height = rng.random(), horizon - rng.uniform(0.0, 0.06), rng.uniform(0.14, 0.36)
    leaves = tint(TREES, rng)
    backdrop.fill(box(x - 0.018, foot, x + 0.018, foot + height / 2), BARK)
    if rng.random() < 0.4:
        width = height * 0.35
        crown = polygon((x - width, foot + height / 4), (x + width, foot + height / 4), (x, foot + height * 1.2))
        backdrop.fill(crown, leaves)
    else:
        for shift in (-0.05, 0.05, 0.0):
            backdrop.fill(ellipse(x + shift, foot + height * 0.7 + abs(shift), height * 0.28, height * 0.3), leaves)


def _street(rng: np.random.Generator, size: int) -> Backdrop:
    road, horizon = tint(ROADS, rng), rng.uniform(0.36, 0.48)
    backdrop = Backdrop(size, tint(SKIES, rng), road, horizon)
    left = rng.uniform(-0.15, 0.0)
    while left < 1:
        right = left + rng.uniform(0.18, 0.36)
        _house(backdrop, rng, left, right, horizon)
        left = right + rng.uniform(0.0, 0.05)
    backdrop.fill(box(0.0, horizon - 0.06, 1.0, horizon), shade(road, 1.45))
    backdrop.fill(box(0.0, horizon - 0.075, 1.0, horizon - 0.06), shade(road, 0.7))
    y, start = rng.uniform(0.08, 0.2), rng.uniform(-0.2, 0.0)
    for x in np.arange(start, 1, 0.3):
        backdrop.fill(polygon((x, y), (x + 0.16, y), (x + 0.18, y + 0.022), (x + 0.02, y + 0.022)), (240, 236, 220))
    if rng.random() < 0.5:
        _tree(backdrop, rng, horizon)
    return backdrop


def _house(backdrop: Backdrop, rng: np.random.Generator, left: float, right: float, foot: float) -> None:
    wall, top = tint(HOUSES, rng), foot + rng.uniform(0.2, 0.5)
    backdrop.fill(box(left, foot, right, top), wall)
    if rng.random() < 0.5:
        roof = polygon((left - 0.02, top), (right + 0.02, top), ((left + right) / 2, top + 0.1))
        backdrop.fill(roof, shade(wall, 0.6))
    pane = WINDOW if rng.random() < 0.4 else shade(wall, 0.7)
    for y in np.arange(foot + 0.06, top - 0.07, 0.11):
        for x in np.arange(left + 0.03, right - 0.06, 0.09):
            backdrop.fill(box(x, y, x + 0.05, y + 0.06), pane)


def _room(rng: np.random.Generator, size: int) -> Backdrop:
    wall, floor, horizon = tint(WALLS, rng), tint(FLOORS, rng), rng.uniform(0.26, 0.4)
    backdrop = Backdrop(size, wall, floor, horizon)
    if rng.random() < 0.5:
        for x in np.arange(rng.uniform(0, 0.08), 1, 0.1):
            backdrop.fill(box(x, horizon, x + 0.03, 1.0), shade(wall, 0.94))
    _wall_window(backdrop, rng) if rng.random() < 0.5 else _paintings(backdrop, rng)
    backdrop.fill(box(0.0, horizon, 1.0, horizon + 0.03), shade(wall, 1.6))
    for x in np.arange(rng.uniform(-0.4, -0.3), 1.4, 0.16):
        slant = (x - 0.5) * 0.5
        backdrop.fill(
            polygon((x, horizon), (x + 0.008, horizon), (x + slant + 0.01, 0), (x + slant, 0)), shade(floor, 0.8)
        )
    if rng.random() < 0.6:
        _sofa(backdrop, rng, horizon)
    if rng.random() < 0.6:
        x, rug = rng.uniform(0.3, 0.7), tint(FABRICS, rng)
        backdrop.fill(ellipse(x, horizon / 2, 0.4, horizon * 0.3), rug)
        backdrop.fill(ellipse(x, horizon / 2, 0.32, horizon * 0.22), shade(rug, 1.3))
    return backdrop


def _wall_window(backdrop: Backdrop, rng: np.random.Generator) -> None:
    x, y = rng.uniform(0.05, 0.6), rng.uniform(0.55, 0.65)
    backdrop.fill(box(x, y, x + 0.3, y + 0.3), (250, 248, 240))
    for left, bottom in ((0.02, 0.02), (0.16, 0.02), (0.02, 0.16), (0.16, 0.16)):
        backdrop.fill(box(x + left, y + bottom, x + left + 0.12, y + bottom + 0.12), tint(SKIES, rng))


def _paintings(backdrop: Backdrop, rng: np.random.Generator) -> None:
    for start in (0.04, 0.38, 0.7):
        x, y, side = start + rng.uniform(0, 0.1), rng.uniform(0.6, 0.75), rng.uniform(0.12, 0.2)
        backdrop.fill(box(x, y, x + side, y + side), BARK)
        backdrop.fill(box(x + 0.015, y + 0.015, x + side - 0.015, y + side - 0.015), tint(SKIES, rng))
        backdrop.fill(ellipse(x + side / 2, y + side / 2.5, side / 4, side / 5), tint(FABRICS, rng))


def _sofa(backdrop: Backdrop, rng: np.random.Generator, foot: float) -> None:
    x, fabric = rng.uniform(-0.1, 0.6), tint(FABRICS, rng)
    backdrop.fill(box(x, foot, x + 0.5, foot + 0.3, 0.06), shade(fabric, 0.85))
    backdrop.fill(box(x - 0.03, foot - 0.05, x + 0.53, foot + 0.13, 0.03), fabric)
    for left in (x + 0.08, x + 0.32):
        backdrop.fill(box(left, foot + 0.1, left + 0.13, foot + 0.24, 0.03), tint(FABRICS, rng))


HIDDEN = 0.3
"""Share of scenes with an object in the foreground."""

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
