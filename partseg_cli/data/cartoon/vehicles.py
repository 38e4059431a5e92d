"""Figures of road vehicles, trains and aeroplanes; all measures in the units of `Pen`."""

from __future__ import annotations

import math

import numpy as np

from partseg_cli.data.cartoon.pen import (
    Colour,
    Pen,
    Point,
    Points,
    blob,
    box,
    ellipse,
    limb,
    panel,
    polygon,
    shade,
    tint,
)

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
"""Share of vehicles that show their front, not their back."""


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


LIVERIES = ((244, 244, 246), (214, 226, 238), (246, 232, 190), (190, 200, 212))
TRAIN_DEPTH = np.asarray([0.3, 0.1])
"""From the near edge of an end to its far edge."""
TRAIN_FRONTS = 0.75
"""Share of trains that show their front, not their back."""


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
    end = "front" if rng.random() < TRAIN_FRONTS else "back"
    split = float(rng.uniform(-0.3, -0.06))
    for x in (-0.98, -0.56, 0.06, 0.46):
        pen.detail(ellipse(x, 0.16, 0.15, 0.15), TYRE, on=pen.object)
    coach = polygon((-1.26, 0.18), (split - 0.06, 0.18), (split - 0.06, height), (-1.26, height))
    pen.part("roof", np.stack([coach[3], coach[2], coach[2] + TRAIN_DEPTH, coach[3] + TRAIN_DEPTH]), shade(CHROME, 1.2))
    waggon = pen.part("coach", coach, shade(paint, 1.3))
    pen.detail(panel(coach, 0.0, 0.12, 1.0, 0.26), paint, on=waggon)
    for left in (0.08, 0.4, 0.7):
        pen.detail(panel(coach, left, 0.45, left + 0.22, 0.82), glass, on=waggon)
    wall = polygon((split, 0.18), (0.66, 0.18), (0.66, height), (split, height))
    _engine(pen, wall, end, paint, glass)


def _engine(pen: Pen, wall: Points, end: str, paint: Colour, glass: Colour) -> None:
    """Draw the engine: its head holds the cab, which shows, its side and its front or back."""
    face = np.stack([wall[1], wall[1] + TRAIN_DEPTH * (1.5, 1), wall[2] + TRAIN_DEPTH * (1.0, 0.6), wall[2]])
    far = np.stack([wall[3], wall[2], face[2], wall[3] + TRAIN_DEPTH])
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
