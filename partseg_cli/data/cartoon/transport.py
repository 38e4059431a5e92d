"""How an aeroplane and a train look; all measures are drawn by eye, in the units that `Pen` tells of."""

from __future__ import annotations

import numpy as np

from partseg_cli.data.cartoon.pen import Colour, Pen, Points, blob, box, ellipse, limb, panel, polygon, shade, tint
from partseg_cli.data.cartoon.vehicles import CHROME, GLASS, LAMP, PAINTS, TAIL_LAMP, TYRE

LIVERIES = ((244, 244, 246), (214, 226, 238), (246, 232, 190), (190, 200, 212))
DEPTH = np.asarray([0.3, 0.1])
"""From the near edge of an end to its far edge."""
FRONTS = 0.75
"""How often a train shows its front rather than its back."""


def aeroplane(pen: Pen, rng: np.random.Generator) -> None:
    """Draw an airliner from its side, or a propeller plane, its wheels out."""
    skin, paint = tint(LIVERIES, rng), tint(PAINTS, rng)
    if rng.random() < 0.6:
        _airliner(pen, rng, skin, paint)
    else:
        _propeller_plane(pen, rng, paint, skin)


def _airliner(pen: Pen, rng: np.random.Generator, skin: Colour, paint: Colour) -> None:
    y = float(rng.uniform(0.72, 0.86))
    for x in (-0.16, 0.66):
        pen.detail(box(x - 0.03, 0.16, x + 0.03, y - 0.1), shade(CHROME, 0.8), on=pen.object)
        pen.part("wheel", ellipse(x, 0.14, 0.14, 0.14), TYRE)
    pen.part("wing", polygon((0.2, y + 0.14), (-0.16, y + 0.14), (-0.5, y + 0.62), (-0.3, y + 0.62)), shade(paint, 0.8))
    pen.part("stern", polygon((-0.7, y + 0.14), (-1.12, y + 0.14), (-1.22, y + 0.8), (-0.98, y + 0.8)), paint)
    tube = ((-1.24, y + 0.2), (-0.8, y + 0.26), (0.8, y + 0.26), (1.24, y + 0.1), (1.26, y - 0.1), (0.8, y - 0.24))
    body = pen.part("body", blob(*tube, (-0.6, y - 0.24)), skin)
    pen.detail(limb(((-0.9, y - 0.02), (1.0, y - 0.02)), 0.06, 0.06), paint, on=body)
    for x in np.linspace(-0.62, 0.68, 6).tolist():
        pen.detail(ellipse(x, y + 0.1, 0.06, 0.06), tint(GLASS, rng), on=body)
    pen.detail(polygon((0.86, y + 0.08), (1.08, y + 0.06), (1.0, y + 0.18), (0.88, y + 0.2)), (80, 110, 140), on=body)
    pen.part("tail", polygon((-0.8, y + 0.12), (-1.02, y + 0.14), (-1.36, y - 0.06), (-1.16, y - 0.08)), paint)
    engine = pen.part("engine", box(-0.06, y - 0.46, 0.36, y - 0.22, 0.1), shade(skin, 0.85))
    pen.detail(box(0.26, y - 0.44, 0.33, y - 0.24, 0.03), shade(CHROME, 0.6), on=engine)
    pen.part("wing", polygon((0.28, y - 0.06), (-0.14, y - 0.04), (-0.72, y - 0.5), (-0.46, y - 0.52)), paint)


def _propeller_plane(pen: Pen, rng: np.random.Generator, paint: Colour, skin: Colour) -> None:
    y = float(rng.uniform(0.68, 0.8))
    for x in (0.1, 0.56):
        pen.detail(limb(((x - 0.04, y - 0.1), (x, 0.16)), 0.06, 0.06), shade(CHROME, 0.8), on=pen.object)
        pen.part("wheel", ellipse(x, 0.16, 0.16, 0.16), TYRE)
    pen.part("stern", blob((-0.66, y + 0.1), (-1.1, y), (-1.3, y + 0.72), (-0.92, y + 0.72)), skin)
    pen.part("wing", limb(((0.16, y + 0.56), (-0.46, y + 0.76)), 0.18, 0.14), shade(skin, 0.8))
    tube = ((-1.2, y + 0.18), (-0.5, y + 0.28), (0.1, y + 0.56), (0.46, y + 0.3), (0.96, y + 0.26), (0.96, y - 0.22))
    body = pen.part("body", blob(*tube, (0.0, y - 0.3), (-0.7, y - 0.14)), paint)
    pen.detail(blob((0.0, y + 0.18), (0.4, y + 0.16), (0.26, y + 0.44), (0.02, y + 0.4)), tint(GLASS, rng), on=body)
    pen.part("tail", limb(((-0.84, y + 0.1), (-1.22, y + 0.02)), 0.16, 0.12), shade(skin, 0.9))
    pen.part("engine", box(0.66, y - 0.26, 1.08, y + 0.26, 0.12), shade(CHROME, 1.1))
    pen.detail(ellipse(1.16, y, 0.05, 0.46), shade(TYRE, 1.3), on=pen.object)
    pen.detail(ellipse(1.12, y, 0.09, 0.09), paint, on=pen.object)
    pen.part("wing", limb(((0.36, y + 0.0), (-0.5, y - 0.16)), 0.22, 0.16), skin)


def train(pen: Pen, rng: np.random.Generator) -> None:
    """Draw an engine and a coach, seen from one side and the engine's front, or from behind."""
    paint, glass, height = tint(PAINTS, rng), tint(GLASS, rng), float(rng.uniform(1.0, 1.16))
    end = "front" if rng.random() < FRONTS else "back"
    split = float(rng.uniform(-0.3, -0.06))
    for x in (-0.98, -0.56, 0.06, 0.46):
        pen.detail(ellipse(x, 0.16, 0.15, 0.15), TYRE, on=pen.object)
    coach = polygon((-1.26, 0.18), (split - 0.06, 0.18), (split - 0.06, height), (-1.26, height))
    pen.part("roof", np.stack([coach[3], coach[2], coach[2] + DEPTH, coach[3] + DEPTH]), shade(CHROME, 1.2))
    waggon = pen.part("coach", coach, shade(paint, 1.3))
    pen.detail(panel(coach, 0.0, 0.12, 1.0, 0.26), paint, on=waggon)
    for left in (0.08, 0.4, 0.7):
        pen.detail(panel(coach, left, 0.45, left + 0.22, 0.82), glass, on=waggon)
    wall = polygon((split, 0.18), (0.66, 0.18), (0.66, height), (split, height))
    _engine(pen, wall, end, paint, glass)


def _engine(pen: Pen, wall: Points, end: str, paint: Colour, glass: Colour) -> None:
    """Draw the engine: its head holds the cab, which shows, its side and its front or back."""
    face = np.stack([wall[1], wall[1] + DEPTH * (1.5, 1), wall[2] + DEPTH * (1.0, 0.6), wall[2]])
    far = np.stack([wall[3], wall[2], face[2], wall[3] + DEPTH])
    pen.part("roof", far, shade(CHROME, 1.35))
    head = pen.part("head", np.concatenate([wall[[0, 1]], face[[1, 2]], wall[[2, 3]]]), paint)
    pen.detail(panel(wall, 0.7, 0.46, 0.94, 0.84), glass, on=head)
    hull = panel(wall, 0.0, 0.0, 0.64, 1.0)
    side = pen.part("side", hull, shade(paint, 1.1), on=head)
    pen.detail(panel(hull, 0.0, 0.1, 1.0, 0.24), shade(paint, 0.7), on=side)
    for left in (0.12, 0.56):
        pen.detail(panel(hull, left, 0.48, left + 0.3, 0.82), glass, on=side)
    nose = pen.part(end, face, shade(paint, 0.82), on=head)
    pen.detail(panel(face, 0.12, 0.5, 0.88, 0.88), shade(glass, 0.9), on=nose)
    for left in (0.06, 0.64):
        lamp = panel(face, left, 0.16, left + 0.3, 0.36)
        if end == "front":
            pen.part("headlight", lamp, LAMP, on=nose)
        else:
            pen.detail(lamp, TAIL_LAMP, on=nose)
