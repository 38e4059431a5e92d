"""Figures of a bottle, a potted plant and a screen; all measures in the units of `Pen`."""

from __future__ import annotations

import math

import numpy as np

from partseg_cli.data.cartoon.pen import Colour, Pen, blob, box, ellipse, limb, panel, polygon, shade, tint

DRINKS = ((70, 150, 90), (190, 110, 50), (120, 190, 220), (200, 70, 80), (236, 196, 90), (110, 84, 160))
CAPS = ((212, 58, 66), (56, 118, 206), (250, 250, 246), (246, 190, 66), (60, 60, 68))
LABELS = ((250, 246, 232), (246, 214, 110), (220, 90, 90), (120, 170, 220))
POTS = ((200, 106, 70), (176, 84, 56), (228, 220, 206), (90, 130, 170), (150, 116, 90))
LEAVES = ((70, 150, 76), (104, 176, 84), (60, 126, 92), (140, 170, 70))
BLOOMS = ((240, 110, 140), (250, 200, 70), (240, 240, 236), (170, 110, 210))
CASES = ((44, 46, 54), (90, 94, 104), (224, 224, 220), (120, 84, 60))
PICTURES = ((90, 170, 230), (40, 60, 110), (120, 200, 150), (240, 170, 90), (30, 34, 44))
SOIL = (96, 66, 48)


def bottle(pen: Pen, rng: np.random.Generator) -> None:
    """Draw a bottle, tall with a long neck, round or like a can of soda water, its cap on."""
    glass, cap, style = tint(DRINKS, rng), tint(CAPS, rng), int(rng.integers(3))
    half = float(rng.uniform(0.34, 0.46))
    shoulder, top = ((1.0, 1.66), (1.3, 1.7), (0.8, 1.5))[style]
    mouth = (0.15, 0.24, 0.18)[style]
    left = ((-half, 0.0), (-half, shoulder * 0.6), (-half, shoulder), (-mouth, shoulder + 0.26), (-mouth, top))
    right = tuple((-x, y) for x, y in reversed(left))
    body = pen.part("body", polygon(*left, *right), glass)
    pen.detail(box(-half + 0.08, 0.14, -half + 0.16, shoulder * 0.9, 0.03), shade(glass, 1.5), on=body)
    low, high = 0.22 * shoulder, rng.uniform(0.6, 0.78) * shoulder
    pen.detail(box(-half + 0.01, low, half - 0.01, high), tint(LABELS, rng), on=body)
    pen.detail(ellipse(0.0, (low + high) / 2, 0.16, 0.13), shade(cap, 1.1), on=body)
    wide, height = mouth + 0.05, rng.uniform(0.24, 0.34)
    lid = pen.part("cap", box(-wide, top - 0.02, wide, top + height, 0.05), cap)
    for x in (-0.08, 0.06):
        pen.detail(box(x, top + 0.03, x + 0.03, top + height - 0.05), shade(cap, 0.75), on=lid)


def pottedplant(pen: Pen, rng: np.random.Generator) -> None:
    """Draw a plant in a pot: long leaves, a round bush, or flowers."""
    leaf, pot = tint(LEAVES, rng), tint(POTS, rng)
    style, wide = int(rng.integers(3)), float(rng.uniform(0.46, 0.6))
    rim = float(rng.uniform(0.6, 0.78))
    (_long_leaves, _bush, _flowers)[style](pen, rng, leaf, rim)
    base = polygon((-wide * 0.68, 0.0), (wide * 0.68, 0.0), (wide * 0.92, rim - 0.1), (-wide * 0.92, rim - 0.1))
    vessel = pen.part("pot", base, pot)
    pen.detail(limb(((-wide * 0.6, 0.24), (wide * 0.6, 0.24)), 0.08, 0.08), shade(pot, 0.8), on=vessel)
    pen.part("pot", box(-wide, rim - 0.14, wide, rim + 0.04, 0.04), shade(pot, 1.15))


def _long_leaves(pen: Pen, rng: np.random.Generator, leaf: Colour, rim: float) -> None:
    pen.detail(ellipse(0.0, rim, 0.4, 0.06), SOIL, on=pen.object)
    for step, lean in enumerate(np.linspace(-0.8, 0.8, int(rng.integers(4, 7)))):
        height = rim + rng.uniform(0.9, 1.25) * math.cos(lean * 0.8)
        path = ((lean * 0.12, rim - 0.05), (lean * 0.4, height), (lean * 1.15, height - 0.1))
        blade = pen.part("plant", limb(path, 0.24, 0.06), shade(leaf, 0.85 + 0.12 * (step % 3)))
        pen.detail(limb(path, 0.04, 0.02), shade(leaf, 0.65), on=blade)


def _bush(pen: Pen, rng: np.random.Generator, leaf: Colour, rim: float) -> None:
    pen.part("plant", limb(((0.0, rim - 0.05), (0.0, rim + 0.3)), 0.16, 0.14), (120, 90, 60))
    size = rng.uniform(0.5, 0.62)
    for x, y in ((-0.36, 0.5), (0.36, 0.5), (0.0, 0.78)):
        crown = pen.part("plant", ellipse(x, rim + y, size * 0.86, size * 0.72), shade(leaf, rng.uniform(0.85, 1.15)))
        for _ in range(3):
            spot = rng.uniform(-0.24, 0.24, 2)
            pen.detail(ellipse(x + spot[0], rim + y + spot[1], 0.07, 0.05), shade(leaf, 1.35), on=crown)


def _flowers(pen: Pen, rng: np.random.Generator, leaf: Colour, rim: float) -> None:
    bloom = tint(BLOOMS, rng)
    for x in (-0.42, 0.42):
        corners = ((0.0, rim - 0.05), (x, rim + 0.42), (x * 1.9, rim + 0.3), (x * 1.1, rim + 0.02))
        pen.part("plant", blob(*corners), leaf)
    for x in (-0.5, 0.5, 0.0):
        top = rim + rng.uniform(0.66, 1.1)
        pen.part("plant", limb(((x * 0.2, rim - 0.05), (x * 0.5, rim + 0.4), (x, top)), 0.11, 0.09), shade(leaf, 0.85))
        head = pen.part("plant", ellipse(x, top, 0.27, 0.25), bloom)
        pen.detail(ellipse(x, top, 0.11, 0.1), (250, 210, 80), on=head)


def tvmonitor(pen: Pen, rng: np.random.Generator) -> None:
    """Draw a flat screen on a stand or an old set with knobs, something showing."""
    case = tint(CASES, rng)
    wide, high = rng.uniform(0.92, 1.1), rng.uniform(1.1, 1.4)
    if rng.random() < 0.6:
        pen.detail(box(-0.12, 0.0, 0.12, 0.4), shade(case, 0.8), on=pen.object)
        pen.part("", box(-0.45, 0.0, 0.45, 0.12, 0.05), shade(case, 0.9))
        pen.part("", box(-wide, 0.3, wide, 0.3 + high, 0.06), case)
        _screen(pen, rng, (-wide + 0.09, 0.42, wide - 0.09, 0.21 + high))
    else:
        for side in (-1, 1):
            pen.detail(limb(((0.0, high), (side * 0.45, high + 0.5)), 0.05, 0.04), shade(case, 0.8), on=pen.object)
            pen.detail(box(side * 0.6 - 0.08, 0.0, side * 0.6 + 0.08, 0.2), shade(case, 0.7), on=pen.object)
        shell = pen.part("", box(-wide, 0.1, wide, high, 0.12), case)
        for y in (high - 0.3, high - 0.6):
            pen.detail(ellipse(wide - 0.2, y, 0.1, 0.1), shade(case, 1.6), on=shell)
        _screen(pen, rng, (-wide + 0.12, 0.24, wide - 0.4, high - 0.14))


def _screen(pen: Pen, rng: np.random.Generator, edges: tuple[float, float, float, float]) -> None:
    """Draw what shows: hills under a sun, stripes, or a dark screen with a gleam."""
    left, bottom, right, top = edges
    face = polygon((left, bottom), (right, bottom), (right, top), (left, top))
    light = tint(PICTURES, rng)
    screen, style = pen.part("screen", face, light), int(rng.integers(3))
    if style == 0:
        pen.detail(panel(face, 0.0, 0.0, 1.0, 0.35), shade(tint(LEAVES, rng), 0.9), on=screen)
        sun = face[0] + (face[2] - face[0]) * (rng.uniform(0.2, 0.8), 0.72)
        pen.detail(ellipse(float(sun[0]), float(sun[1]), 0.16, 0.16), (255, 236, 150), on=screen)
    elif style == 1:
        for start in (0.12, 0.42, 0.7):
            pen.detail(panel(face, 0.1, start, rng.uniform(0.4, 0.9), start + 0.12), shade(light, 1.5), on=screen)
    gleam = panel(face, 0.06, 0.5, 0.2, 0.94)
    pen.detail(gleam, shade(light, 1.35), on=screen)
