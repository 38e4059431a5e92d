"""How a bicycle and a motorbike look; all measures are drawn by eye, in the units that `Pen` tells of."""

from __future__ import annotations

import math

import numpy as np

from partseg_cli.data.cartoon.pen import Colour, Pen, Point, blob, box, ellipse, limb, shade, tint
from partseg_cli.data.cartoon.vehicles import CHROME, HUB, LAMP, PAINTS, TYRE

LEATHER = ((60, 46, 44), (120, 78, 50), (36, 36, 40), (150, 60, 50))
RIM = (206, 214, 222)


def bicycle(pen: Pen, rng: np.random.Generator) -> None:
    """Draw a bicycle, with a straight bar or a low one, its handlebar flat, raised or dropped."""
    paint, radius = tint(PAINTS, rng), float(rng.uniform(0.44, 0.52))
    back, front = (-0.66, radius), (0.66, radius)
    hub, seat, head = (-0.1, radius + 0.02), (-0.3, 1.08), (0.44, 1.12)
    for place in (back, front):
        _spoked_wheel(pen, place, radius)
    low = rng.random() < 0.4
    bars = [(back, hub), (hub, seat), (back, seat), (hub, head), (head, front)]
    bars.append(((-0.2, 0.8), head) if low else (seat, head))
    for start, end in bars:
        pen.part("", limb((start, end), 0.09, 0.09), paint)
    _chainwheel(pen, rng, hub)
    saddle = ((seat[0] - 0.3, 1.2), (seat[0] + 0.32, 1.18), (seat[0] + 0.1, 1.06), (seat[0] - 0.26, 1.04))
    pen.part("saddle", blob(*saddle, (seat[0] - 0.34, 1.26)), tint(LEATHER, rng))
    grip = ((0.66, 1.4), (0.76, 1.1), (0.2, 1.42))[int(rng.integers(3))]
    pen.part("handlebar", limb((head, (0.4, 1.46), grip), 0.13, 0.12), shade(TYRE, 1.2))
    _lamp(pen, (0.66, 0.96), 0.13)


def _spoked_wheel(pen: Pen, place: Point, radius: float) -> None:
    x, y = place
    tyre = pen.part("wheel", ellipse(x, y, radius, radius), TYRE)
    pen.detail(ellipse(x, y, radius * 0.8, radius * 0.8), RIM, on=tyre)
    for turn in (0.3, 0.3 + math.pi / 3, 0.3 + 2 * math.pi / 3):
        pen.detail(ellipse(x, y, radius * 0.8, 0.018, turn), HUB, on=tyre)
    pen.detail(ellipse(x, y, 0.07, 0.07), shade(HUB, 0.6), on=tyre)


def _chainwheel(pen: Pen, rng: np.random.Generator, hub: Point) -> None:
    x, y = hub
    turn = rng.uniform(0, math.pi)
    disc = pen.part("chainwheel", ellipse(x, y, 0.19, 0.19), shade(CHROME, 0.8))
    pen.detail(ellipse(x, y, 0.09, 0.09), shade(CHROME, 1.4), on=disc)
    for sign in (-1, 1):
        pedal = (x + sign * 0.3 * math.cos(turn), y + sign * 0.3 * math.sin(turn))
        pen.detail(limb((hub, pedal), 0.06, 0.06), CHROME, on=pen.object)
        pen.detail(box(pedal[0] - 0.1, pedal[1] - 0.035, pedal[0] + 0.1, pedal[1] + 0.035), TYRE, on=pen.object)


def _lamp(pen: Pen, place: Point, size: float) -> None:
    x, y = place
    lamp = pen.part("headlight", ellipse(x, y, size, size), LAMP)
    pen.detail(ellipse(x + size * 0.2, y + size * 0.2, size * 0.4, size * 0.4), (255, 255, 240), on=lamp)


def motorbike(pen: Pen, rng: np.random.Generator) -> None:
    """Draw a motorbike with a tank and an open engine, or a scooter with a shield before the legs."""
    paint, seat = tint(PAINTS, rng), tint(LEATHER, rng)
    if rng.random() < 0.65:
        _heavy_bike(pen, rng, paint, seat)
    else:
        _scooter(pen, rng, paint, seat)


def _heavy_bike(pen: Pen, rng: np.random.Generator, paint: Colour, seat: Colour) -> None:
    radius = float(rng.uniform(0.38, 0.44))
    for x in (-0.72, 0.74):
        _fat_wheel(pen, (x, radius), radius, paint)
    pen.part("", limb(((0.74, radius), (0.42, 1.12)), 0.11, 0.1), CHROME)
    pen.part("", limb(((-0.72, radius), (-0.1, 0.62)), 0.14, 0.2), shade(paint, 0.7))
    engine = pen.part("", blob((-0.3, 0.28), (0.34, 0.28), (0.42, 0.78), (-0.3, 0.8)), shade(CHROME, 0.75))
    for y in (0.42, 0.54, 0.66):
        pen.detail(box(-0.14, y, 0.24, y + 0.04), shade(CHROME, 1.3), on=engine)
    pen.part("", limb(((0.1, 0.34), (-0.9, 0.3)), 0.12, 0.16), shade(CHROME, 1.2))
    tank = pen.part("", blob((-0.16, 0.78), (0.5, 0.84), (0.5, 1.12), (0.1, 1.16), (-0.18, 0.98)), paint)
    pen.detail(ellipse(0.16, 0.98, 0.16, 0.06), shade(paint, 1.5), on=tank)
    rise = rng.uniform(0.0, 0.14)
    corners = ((-0.96, 0.98 + rise), (-0.9, 0.84), (-0.14, 0.78), (-0.06, 0.94), (-0.4, 0.96), (-0.8, 1.06 + rise))
    pen.part("saddle", blob(*corners), seat)
    reach = float(rng.uniform(-0.05, 0.2))
    pen.part("handlebar", limb(((0.46, 1.1), (0.5, 1.38), (0.18 - reach, 1.4)), 0.14, 0.13), TYRE)
    _lamp(pen, (0.68, 1.08), 0.16)


def _scooter(pen: Pen, rng: np.random.Generator, paint: Colour, seat: Colour) -> None:
    radius = float(rng.uniform(0.28, 0.33))
    for x in (-0.62, 0.7):
        _fat_wheel(pen, (x, radius), radius, paint)
    floor = ((-0.96, 0.42), (-0.5, 0.3), (0.36, 0.26), (0.4, 0.4), (0.0, 0.42), (-0.1, 0.8), (-0.92, 0.82))
    pen.part("", blob(*floor, (-1.06, 0.6)), paint)
    shield = pen.part("", limb(((0.36, 0.3), (0.62, 0.5), (0.46, 1.26)), 0.24, 0.2), shade(paint, 1.1))
    pen.detail(limb(((0.5, 0.56), (0.48, 1.1)), 0.05, 0.05), shade(paint, 1.5), on=shield)
    pen.part("", limb(((0.76, radius + 0.2), (0.66, 0.7)), 0.22, 0.14), shade(paint, 0.85))
    pen.part("saddle", blob((-1.04, 0.94), (-0.96, 0.78), (0.0, 0.76), (0.02, 0.96), (-0.5, 0.98)), seat)
    pen.part("handlebar", limb(((0.46, 1.24), (0.42, 1.42), (0.1, 1.44)), 0.14, 0.13), TYRE)
    _lamp(pen, (0.62, 1.22), 0.15)


def _fat_wheel(pen: Pen, place: Point, radius: float, paint: Colour) -> None:
    x, y = place
    tyre = pen.part("wheel", ellipse(x, y, radius, radius), TYRE)
    pen.detail(ellipse(x, y, radius * 0.56, radius * 0.56), HUB, on=tyre)
    pen.detail(ellipse(x, y, radius * 0.24, radius * 0.24), shade(paint, 0.8), on=tyre)
