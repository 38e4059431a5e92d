"""Figures of a cow, a horse and a sheep; all measures in the units of `Pen`."""

from __future__ import annotations

import numpy as np

from partseg_cli.data.cartoon.animals import (
    EYES,
    PINK,
    WHITE,
    cloud,
    draw_curls,
    draw_eye,
    draw_muzzle,
    hanging_ear,
    muzzle_colour,
    pricked_ear,
    stance,
)
from partseg_cli.data.cartoon.pen import Colour, Pen, Point, Points, blob, ellipse, limb, polygon, shade, tint

COW_COATS = ((242, 238, 230), (168, 98, 58), (74, 64, 62), (206, 148, 96), (242, 238, 230))
COW_SPOTS = ((52, 46, 48), (140, 78, 46), (96, 66, 52))
MUZZLES = ((240, 174, 170), (228, 158, 150), (246, 194, 180))
HORNS = ((238, 222, 180), (206, 186, 146), (226, 206, 160))
HORSE_COATS = ((150, 86, 46), (196, 128, 62), (92, 62, 50), (204, 198, 192), (226, 190, 128), (70, 66, 72))
MANES = ((54, 42, 40), (244, 226, 178), (38, 36, 42), (112, 66, 40))
HOOVES = ((62, 54, 52), (48, 46, 50), (88, 74, 62))
WOOL = ((246, 242, 230), (232, 222, 200), (196, 188, 180), (116, 104, 100))
FACES = ((58, 54, 58), (92, 78, 70), (232, 200, 170), (208, 176, 150))

COW_HORN_SHARE = 0.7
SHEEP_HORN_SHARE = 0.6
SHAGGY_SHARE = 0.35
"""Share of cows with long hair."""
HANGING_SHARE = 0.4
"""Share of cows with hanging ears."""
CURLED_SHARE = 0.5
"""Share of horned sheep with curled horns; the others have short, upright ones."""


def _leg(pen: Pen, path: tuple[Point, ...], width: float, coat: Colour) -> int:
    return pen.part("leg", limb(path, width, width * 0.82), coat)


def _hoof(foot: Point, width: float) -> Points:
    x, y = foot
    half = width / 2
    top, bottom = y + 0.07, y - 0.1
    return polygon((x - half, top), (x + half, top), (x + half * 1.5, bottom), (x - half * 1.15, bottom))


def cow(pen: Pen, rng: np.random.Generator) -> None:
    """Draw a cow that stands, grazes or turns facing the viewer."""
    coat = tint(COW_COATS, rng)
    is_pale = sum(coat) > 600
    spot = tint(COW_SPOTS, rng) if is_pale else shade(coat, 1.85)
    is_horned = rng.random() < COW_HORN_SHARE
    pose = rng.integers(3)
    _cow_body(pen, rng, coat, spot, is_pale or rng.random() < 0.5)
    if pose == 0:
        pen.part("neck", limb(((0.22, 1.02), (0.56, 0.74)), 0.62, 0.42), shade(coat, 0.9))
        _cow_profile(pen.within((0.66, 0.64), rng.uniform(-1.1, -0.8), 1.12), rng, coat, is_horned)
        return
    rise = rng.uniform(-0.12, 0.02)
    pen.part("neck", limb(((0.28, 1.0), (0.62, 1.3 + rise)), 0.68, 0.44), shade(coat, 0.9))
    if pose == 1:
        _cow_profile(pen.within((0.68, 1.46 + rise), rng.uniform(-0.6, -0.35), 1.12), rng, coat, is_horned)
    else:
        _cow_front(pen.within((0.64, 1.42 + rise), size=1.12), rng, coat, is_horned)


def _cow_body(pen: Pen, rng: np.random.Generator, coat: Colour, spot: Colour, is_spotted: bool) -> None:
    swing = rng.uniform(-0.1, 0.12)
    tail = pen.part("tail", limb(((-0.8, 1.24), (-1.1, 1.2), (-1.02 + swing, 0.62)), 0.17, 0.12), coat)
    pen.detail(ellipse(-1.02 + swing, 0.52, 0.1, 0.17), shade(spot, 0.75), on=tail)
    for x in (-0.44, 0.38):
        _cow_leg(pen, stance(rng, x, 0.6, 0.08), shade(coat, 0.8))
    corners = ((-0.98, 1.38), (-0.3, 1.34), (0.2, 1.3), (0.62, 1.42), (0.66, 0.5), (0.0, 0.42), (-0.92, 0.46))
    if rng.random() < SHAGGY_SHARE:
        body = pen.part("torso", cloud(-0.16, 0.92, 0.86, 0.56, int(rng.integers(14, 20))), coat)
        draw_curls(pen, coat, body)
    else:
        body = pen.part("torso", blob(*corners), coat)
    if is_spotted:
        x, y = rng.uniform(-0.06, 0.06, 2)
        shoulder = ((-0.16 + x, 1.26), (0.24 + x, 1.24), (0.28 + x, 0.9 + y), (0.02 + x, 0.72 + y), (-0.14 + x, 1.0))
        pen.detail(blob(*shoulder), spot, on=body)
        pen.detail(ellipse(-0.56 + x, 0.98 + y, 0.2, 0.16, 0.6), spot, on=body)
        pen.detail(ellipse(-0.14 - x, 0.66 + y / 2, 0.12, 0.09), spot, on=body)
    pen.detail(ellipse(-0.34, 0.46, 0.2, 0.14), PINK, on=body)
    for shift in (-0.08, 0.08):
        pen.detail(ellipse(-0.32 + shift, 0.33, 0.04, 0.06), shade(PINK, 0.9), on=body)
    for x in (-0.68, 0.22):
        _cow_leg(pen, stance(rng, x, 0.64, 0.08), coat)


def _cow_leg(pen: Pen, path: tuple[Point, ...], coat: Colour) -> None:
    """Draw a leg with its cloven foot."""
    leg = _leg(pen, path, 0.24, coat)
    x = path[-1][0]
    pen.detail(_hoof((x, 0.08), 0.2), shade(coat, 0.4), on=leg)
    pen.detail(polygon((x + 0.0, 0.12), (x + 0.05, -0.02), (x - 0.02, -0.02)), shade(coat, 1.3), on=leg)


def _cow_profile(pen: Pen, rng: np.random.Generator, coat: Colour, is_horned: bool) -> None:
    horn = tint(HORNS, rng)
    if is_horned:
        pen.part("horn", limb(((0.0, 0.22), (0.2, 0.42), (0.16, 0.68)), 0.2, 0.08), shade(horn, 0.85))
    corners = ((-0.42, 0.36), (0.1, 0.36), (0.6, 0.22), (0.62, -0.26), (0.1, -0.34), (-0.42, -0.34))
    head = pen.part("head", blob(*corners), coat)
    pen.detail(limb(((0.0, 0.24), (0.3, 0.17)), 0.12, 0.1), shade(coat, 1.7), on=head)
    draw_muzzle(pen, ellipse(0.43, -0.03, 0.18, 0.25), _cow_muzzle(coat, rng), ((0.48, 0.07),), head)
    draw_eye(pen, 0.05, 0.1, tint(EYES, rng), head)
    if is_horned:
        pen.part("horn", limb(((-0.2, 0.26), (-0.04, 0.5), (-0.14, 0.74)), 0.21, 0.08), horn)
    if rng.random() < HANGING_SHARE:
        pen.part("ear", limb(((-0.16, 0.08), (-0.38, 0.06), (-0.5, -0.3)), 0.2, 0.17), shade(coat, 0.85))
    else:
        pricked_ear(pen, polygon((-0.2, 0.12), (-0.34, 0.32), (-0.68, 0.36), (-0.64, 0.12), (-0.36, 0.0)), coat)


def _cow_muzzle(coat: Colour, rng: np.random.Generator) -> Colour:
    return shade(coat, 1.4) if rng.random() < 0.4 else tint(MUZZLES, rng)


def _cow_front(pen: Pen, rng: np.random.Generator, coat: Colour, is_horned: bool) -> None:
    horn, is_hanging = tint(HORNS, rng), rng.random() < HANGING_SHARE
    for side in (-1, 1):
        if is_horned:
            curve = ((side * 0.16, 0.3), (side * 0.44, 0.34), (side * 0.36, 0.74))
            pen.part("horn", limb(curve, 0.21, 0.08), horn)
        if is_hanging:
            hanging_ear(pen, side, shade(coat, 0.85))
        else:
            pricked_ear(pen, ellipse(side * 0.46, 0.18, 0.24, 0.13, side * -0.25), shade(coat, 0.9))
    corners = ((-0.34, 0.44), (0.34, 0.44), (0.36, 0.0), (0.3, -0.5), (-0.3, -0.5), (-0.36, 0.0))
    head = pen.part("head", blob(*corners), coat)
    pen.detail(limb(((0.0, 0.3), (0.0, -0.1)), 0.1, 0.16), shade(coat, 1.7), on=head)
    iris = tint(EYES, rng)
    for side in (-1, 1):
        draw_eye(pen, side * 0.17, 0.1, iris, head)
    draw_muzzle(pen, ellipse(0.0, -0.3, 0.32, 0.19), _cow_muzzle(coat, rng), ((-0.13, -0.26), (0.13, -0.26)), head)


def horse(pen: Pen, rng: np.random.Generator) -> None:
    """Draw a horse that stands, trots, grazes or turns facing the viewer."""
    coat, mane = tint(HORSE_COATS, rng), tint(MANES, rng)
    pose = rng.integers(4)
    _horse_body(pen, rng, coat, mane, is_trotting=bool(pose == 1))
    if pose == 0:
        neck = pen.part("neck", limb(((0.34, 1.02), (0.74, 1.08), (0.84, 0.7)), 0.5, 0.28), shade(coat, 0.92))
        pen.detail(limb(((0.3, 1.24), (0.88, 1.28), (0.96, 0.76)), 0.14, 0.16), mane, on=neck)
        _horse_profile(pen.within((0.86, 0.66), rng.uniform(-1.25, -1.0), 1.12), rng, coat, mane)
        return
    rise = rng.uniform(-0.16, -0.06)
    path = ((0.36, 1.02), (0.5, 1.4), (0.66, 1.7 + rise))
    neck = pen.part("neck", limb(path, 0.54, 0.3), shade(coat, 0.92))
    pen.detail(limb(((0.14, 1.16), (0.26, 1.6), (0.56, 1.84 + rise)), 0.16, 0.16), mane, on=neck)
    if pose == 3:
        _horse_front(pen.within((0.7, 1.58 + rise), size=1.12), rng, coat, mane)
    else:
        _horse_profile(pen.within((0.7, 1.72 + rise), rng.uniform(-0.9, -0.6), 1.12), rng, coat, mane)


def _horse_body(pen: Pen, rng: np.random.Generator, coat: Colour, mane: Colour, is_trotting: bool) -> None:
    swing, hoof = rng.uniform(-0.08, 0.14), tint(HOOVES, rng)
    pen.part("tail", limb(((-0.62, 1.18), (-1.06, 1.24), (-0.96 + swing, 0.5)), 0.17, 0.24), mane)
    stride = 0.12 if is_trotting else 0.06
    for x in (-0.34, 0.2):
        _horse_leg(pen, stance(rng, x, 0.84, stride), shade(coat, 0.8), hoof)
    corners = (
        (-0.8, 1.34),
        (-0.2, 1.2),
        (0.3, 1.28),
        (0.62, 1.2),
        (0.58, 0.72),
        (0.0, 0.74),
        (-0.4, 0.76),
        (-0.76, 0.7),
    )
    pen.part("torso", blob(*corners), coat)
    _horse_leg(pen, stance(rng, -0.62, 0.88, stride / 2), coat, hoof)
    if is_trotting:
        knee, foot = (
            (rng.uniform(0.78, 0.92), rng.uniform(0.72, 0.86)),
            (rng.uniform(0.6, 0.72), rng.uniform(0.26, 0.4)),
        )
        _horse_leg(pen, ((0.36, 0.9), knee, knee, foot), coat, hoof)
    else:
        _horse_leg(pen, stance(rng, 0.48, 0.86, stride), coat, hoof)


def _horse_leg(pen: Pen, path: tuple[Point, ...], coat: Colour, hoof: Colour) -> None:
    _leg(pen, path, 0.2, coat)
    pen.part("hoof", _hoof(path[-1], 0.19), hoof)


def _horse_profile(pen: Pen, rng: np.random.Generator, coat: Colour, mane: Colour) -> None:
    for x, light in ((0.04, 0.8), (-0.2, 1.0)):
        pricked_ear(pen, polygon((x - 0.18, 0.08), (x - 0.04, 0.58), (x + 0.17, 0.12)), shade(coat, light))
    corners = ((-0.36, 0.24), (0.08, 0.26), (0.66, 0.14), (0.68, -0.2), (0.2, -0.2), (-0.08, -0.34), (-0.34, -0.26))
    head = pen.part("head", blob(*corners), coat)
    if rng.random() < 0.5:
        pen.detail(limb(((0.04, 0.17), (0.36, 0.1)), 0.07, 0.06), WHITE, on=head)
    pen.detail(limb(((-0.24, 0.2), (-0.06, 0.24), (0.08, 0.12)), 0.13, 0.05), mane, on=head)
    draw_muzzle(pen, ellipse(0.47, -0.03, 0.19, 0.175), muzzle_colour(coat), ((0.54, 0.04),), head)
    draw_eye(pen, 0.03, 0.05, tint(EYES, rng), head)


def _horse_front(pen: Pen, rng: np.random.Generator, coat: Colour, mane: Colour) -> None:
    for side in (-1, 1):
        pricked_ear(pen, polygon((side * 0.29, 0.16), (side * 0.24, 0.64), (0.0, 0.28)), shade(coat, 0.9))
    corners = (
        (-0.28, 0.36),
        (0.28, 0.36),
        (0.3, 0.0),
        (0.2, -0.4),
        (0.22, -0.66),
        (-0.22, -0.66),
        (-0.2, -0.4),
        (-0.3, 0),
    )
    head = pen.part("head", blob(*corners), coat)
    if rng.random() < 0.6:
        pen.detail(limb(((0.0, 0.1), (0.0, -0.32)), 0.08, 0.1), WHITE, on=head)
    pen.detail(polygon((-0.12, 0.34), (0.14, 0.34), (0.1, 0.14), (0.02, 0.02)), mane, on=head)
    iris = tint(EYES, rng)
    for side in (-1, 1):
        draw_eye(pen, side * 0.15, 0.02, iris, head)
    draw_muzzle(pen, ellipse(0.0, -0.46, 0.2, 0.18), muzzle_colour(coat), ((-0.08, -0.42), (0.08, -0.42)), head)


def sheep(pen: Pen, rng: np.random.Generator) -> None:
    """Draw a sheep that stands, grazes or turns facing the viewer."""
    wool, face = tint(WOOL, rng), tint(FACES, rng)
    is_horned = rng.random() < SHEEP_HORN_SHARE
    pose = rng.integers(3)
    _sheep_body(pen, rng, wool, face)
    if pose == 0:
        pen.part("neck", limb(((0.4, 0.86), (0.66, 0.66)), 0.56, 0.44), shade(wool, 0.9))
        _sheep_profile(pen.within((0.76, 0.58), rng.uniform(-1.1, -0.8), 1.2), rng, wool, face, is_horned)
        return
    rise = rng.uniform(-0.08, 0.08)
    pen.part("neck", limb(((0.34, 0.92), (0.6, 1.2 + rise)), 0.62, 0.46), shade(wool, 0.9))
    if pose == 1:
        _sheep_profile(pen.within((0.72, 1.34 + rise), rng.uniform(-0.6, -0.3), 1.2), rng, wool, face, is_horned)
    else:
        _sheep_front(pen.within((0.66, 1.32 + rise), rng.uniform(-0.12, 0.12), 1.2), rng, wool, face, is_horned)


def _sheep_body(pen: Pen, rng: np.random.Generator, wool: Colour, face: Colour) -> None:
    wag = rng.uniform(-0.1, 0.12)
    pen.part("tail", limb(((-0.74, 1.1), (-1.06, 1.12), (-1.0 + wag, 0.62)), 0.22, 0.26), shade(wool, 0.9))
    for x in (-0.36, 0.28):
        _leg(pen, stance(rng, x, 0.5, 0.07), 0.17, shade(face, 0.8))
    body = pen.part("torso", cloud(-0.12, 0.88, 0.82, 0.58, int(rng.integers(10, 14))), wool)
    draw_curls(pen, wool, body)
    for x in (-0.54, 0.14):
        _leg(pen, stance(rng, x, 0.42, 0.07), 0.18, face)


def _sheep_profile(pen: Pen, rng: np.random.Generator, wool: Colour, face: Colour, is_horned: bool) -> None:
    corners = ((-0.34, 0.3), (0.1, 0.3), (0.5, 0.14), (0.5, -0.2), (0.1, -0.28), (-0.34, -0.28))
    head = pen.part("head", blob(*corners), face)
    pen.detail(cloud(-0.12, 0.2, 0.26, 0.2, 7), wool, on=head)
    draw_muzzle(pen, ellipse(0.33, -0.04, 0.18, 0.2), muzzle_colour(face), ((0.4, 0.04),), head)
    draw_eye(pen, 0.09, 0.05, tint(EYES, rng), head)
    pen.part("ear", limb(((-0.12, 0.06), (-0.34, 0.04), (-0.44, -0.3)), 0.2, 0.16), shade(face, 0.85))
    if is_horned and rng.random() < CURLED_SHARE:
        curl = ((-0.06, 0.24), (-0.62, 0.56), (-0.66, -0.24), (-0.2, -0.02))
        pen.part("horn", limb(curl, 0.22, 0.08), tint(HORNS, rng))
    elif is_horned:
        for x in (0.02, -0.18):
            pen.part("horn", limb(((x, 0.24), (x + 0.04, 0.48), (x - 0.16, 0.7)), 0.21, 0.08), tint(HORNS, rng))


def _sheep_front(pen: Pen, rng: np.random.Generator, wool: Colour, face: Colour, is_horned: bool) -> None:
    horn = tint(HORNS, rng)
    curl = ((0.12, 0.26), (0.5, 0.56), (0.66, 0.16), (0.36, 0.14))
    curve = curl if rng.random() < CURLED_SHARE else ((0.14, 0.28), (0.4, 0.34), (0.32, 0.7))
    for side in (-1, 1):
        hanging_ear(pen, side, shade(face, 0.85))
        if is_horned:
            pen.part("horn", limb(tuple((side * x, y) for x, y in curve), 0.2, 0.08), horn)
    corners = ((-0.3, 0.36), (0.3, 0.36), (0.3, 0.0), (0.18, -0.46), (-0.18, -0.46), (-0.3, 0.0))
    head = pen.part("head", blob(*corners), face)
    pen.detail(cloud(0.0, 0.28, 0.28, 0.17, 7), wool, on=head)
    iris = tint(EYES, rng)
    for side in (-1, 1):
        draw_eye(pen, side * 0.13, 0.03, iris, head)
    draw_muzzle(pen, ellipse(0.0, -0.26, 0.2, 0.17), muzzle_colour(face), ((-0.07, -0.22), (0.07, -0.22)), head)
