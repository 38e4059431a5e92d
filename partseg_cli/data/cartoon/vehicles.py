"""How a car and a bus look, one side and one end to us; all measures are drawn by eye, in the units of `Pen`."""

from __future__ import annotations

import numpy as np

from partseg_cli.data.cartoon.pen import Colour, Pen, Points, box, ellipse, limb, panel, polygon, shade, tint

PAINTS = (
    (214, 60, 58),
    (58, 118, 200),
    (244, 190, 48),
    (70, 160, 110),
    (238, 238, 234),
    (120, 92, 170),
    (240, 130, 60),
)
GLASS = ((176, 220, 240), (150, 200, 226), (200, 226, 236))
LAMP, TAIL_LAMP, PLATE = (255, 244, 170), (200, 40, 44), (246, 246, 240)
TYRE, HUB, CHROME = (46, 46, 54), (190, 194, 204), (150, 156, 168)
DEPTH = np.asarray([0.46, 0.11])
"""From the near edge of an end to its far edge."""

DOOR_SHADE = 0.7
"""Doors have the paint's colour, so much darker, and a shining handle."""

FRONTS = 0.65
"""How often a vehicle shows its front rather than its back."""


def car(pen: Pen, rng: np.random.Generator) -> None:
    """Draw a car, its front or its back to the right."""
    paint, glass, end = tint(PAINTS, rng), tint(GLASS, rng), _choose_end(rng)
    height, nose = rng.uniform(0.96, 1.12), rng.uniform(0.2, 0.36)
    cabin = polygon((-0.86, 0.6), (nose, 0.6), (nose - 0.26, height), (-0.6, height))
    hull = polygon((-1.0, 0.2), (0.64, 0.2), (0.64, 0.56), (nose, 0.6), (-0.86, 0.6), (-1.0, 0.54))
    _wheel(pen, 0.8, 0.28, 0.15)
    face = polygon((0.64, 0.2), (1.0, 0.29), (1.0, 0.62), (0.64, 0.56))
    bonnet = pen.part(end, np.stack([cabin[1], hull[2], face[2], cabin[1] + DEPTH]), shade(paint, 1.12))
    _fit_out(pen, end, pen.part("", face, shade(paint, 0.85), on=bonnet), face)
    pen.part("window", np.stack([cabin[1], cabin[1] + DEPTH, cabin[2] + DEPTH, cabin[2]]), shade(glass, 0.9))
    pen.part("roof", np.stack([cabin[3], cabin[2], cabin[2] + DEPTH, cabin[3] + DEPTH]), shade(paint, 1.25))
    outline = np.concatenate([hull[:4], cabin[2:], hull[4:]])
    side = pen.part("side", outline, paint)
    _car_doors(pen, side, cabin, paint, glass)
    pen.detail(limb(((-0.94, 0.3), (0.6, 0.3)), 0.04, 0.04), shade(paint, 0.7), on=side)
    for x in (-0.62, 0.3):
        _wheel(pen, x, 0.22, 0.22)
    _mirror(pen, nose - 0.04, 0.68)


def _car_doors(pen: Pen, side: int, cabin: Points, paint: Colour, glass: Colour) -> None:
    for left, right in ((0.1, 0.5), (0.53, 0.93)):
        upper = panel(cabin, left, 0.0, right, 0.94)
        sill = np.asarray([[upper[1][0], 0.26], [upper[0][0], 0.26]])
        door = pen.part("door", np.concatenate([upper[[0, 3, 2, 1]], sill]), shade(paint, DOOR_SHADE), on=side)
        window = pen.part("window", panel(cabin, left + 0.05, 0.12, right - 0.05, 0.86), glass, on=door)
        pen.detail(panel(cabin, left + 0.1, 0.16, left + 0.17, 0.76), shade(glass, 1.6), on=window)
        x = float(upper[0][0])
        pen.detail(box(x + 0.05, 0.48, x + 0.18, 0.53), CHROME, on=door)


def _choose_end(rng: np.random.Generator) -> str:
    return "front" if rng.random() < FRONTS else "back"


def _fit_out(pen: Pen, end: str, body: int, face: Points) -> None:
    """Draw bumper, number plate and lamps on the end of a vehicle."""
    pen.detail(panel(face, 0.0, 0.0, 1.0, 0.16), CHROME, on=body)
    pen.part("license plate", panel(face, 0.22, 0.04, 0.78, 0.36), PLATE, on=body)
    lamps = [panel(face, left, 0.42, left + 0.26, 0.8) for left in (0.04, 0.7)]
    if end == "front":
        pen.detail(panel(face, 0.36, 0.52, 0.64, 0.74), shade(CHROME, 0.5), on=body)
        for lamp in lamps:
            pen.part("headlight", lamp, LAMP, on=body)
    else:
        for lamp in lamps:
            pen.detail(lamp, TAIL_LAMP, on=body)


def _mirror(pen: Pen, x: float, y: float) -> None:
    pen.part("mirror", box(x - 0.07, y - 0.1, x + 0.07, y + 0.1, 0.05), TYRE)


def _wheel(pen: Pen, x: float, y: float, radius: float) -> None:
    tyre = pen.part("wheel", ellipse(x, y, radius, radius), TYRE)
    pen.detail(ellipse(x, y, radius * 0.55, radius * 0.55), HUB, on=tyre)
    pen.detail(ellipse(x, y, radius * 0.2, radius * 0.2), shade(HUB, 0.6), on=tyre)


def bus(pen: Pen, rng: np.random.Generator) -> None:
    """Draw a bus with a row of windows, its front or its back to the right."""
    paint, glass, stripe, end = tint(PAINTS, rng), tint(GLASS, rng), tint(PAINTS, rng), _choose_end(rng)
    height = rng.uniform(1.2, 1.4)
    wall = polygon((-1.0, 0.18), (0.6, 0.18), (0.6, height), (-1.0, height))
    face = np.stack([wall[1], wall[1] + DEPTH, wall[2] + DEPTH, wall[2]])
    _wheel(pen, 0.8, 0.24, 0.14)
    pen.part("roof", np.stack([wall[3], wall[2], face[2], wall[3] + DEPTH]), shade(paint, 1.35))
    panelling = pen.part(end, face, shade(paint, 0.85))
    screen = pen.part("window", panel(face, 0.1, 0.46, 0.9, 0.82), shade(glass, 0.9), on=panelling)
    pen.detail(panel(face, 0.2, 0.5, 0.34, 0.78), shade(glass, 1.5), on=screen)
    pen.detail(panel(face, 0.2, 0.86, 0.8, 0.95), shade(TYRE, 0.8), on=panelling)
    _fit_out(pen, end, panelling, panel(face, 0.0, 0.0, 1.0, 0.42))
    side = pen.part("side", wall, paint)
    pen.detail(panel(wall, 0.0, 0.3, 1.0, 0.4), stripe, on=side)
    _bus_openings(pen, rng, side, wall, glass, shade(paint, DOOR_SHADE))
    for x in (-0.62, 0.28):
        _wheel(pen, x, 0.19, 0.19)
    for x, y in face[2:].tolist() if end == "front" else ():
        _mirror(pen, x, y - 0.34)


def _bus_openings(
    pen: Pen, rng: np.random.Generator, side: int, wall: Points, glass: Colour, door_colour: Colour
) -> None:
    """Draw the doors, then windows in the rest of the wall."""
    columns = int(rng.integers(4, 7))
    doors = {columns - 1, 2} if rng.random() < 0.5 else {columns - 1}
    for column in range(columns):
        left, right = (column + 0.1) / columns, (column + 0.9) / columns
        if column in doors:
            door = pen.part("door", panel(wall, left, 0.04, right, 0.92), door_colour, on=side)
            pen.part("window", panel(wall, left + 0.02, 0.46, right - 0.02, 0.86), glass, on=door)
            pen.detail(panel(wall, left + 0.02, 0.34, left + 0.06, 0.39), CHROME, on=door)
        else:
            window = pen.part("window", panel(wall, left, 0.5, right, 0.84), glass, on=side)
            pen.detail(panel(wall, left + 0.02, 0.56, left + 0.035, 0.78), shade(glass, 1.6), on=window)
