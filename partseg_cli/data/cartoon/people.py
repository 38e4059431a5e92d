"""Figure of a person; all measures in the units of `Pen`."""

from __future__ import annotations

import math

import numpy as np

from partseg_cli.data.cartoon.pen import Colour, Pen, Point, blend, blob, box, ellipse, limb, shade, tint

SKIN = ((250, 214, 180), (232, 182, 140), (190, 132, 92), (136, 90, 62))
HAIR = ((60, 42, 34), (112, 70, 40), (222, 176, 88), (178, 76, 44), (150, 146, 150), (36, 34, 44))
CLOTHES = (
    (218, 72, 76),
    (66, 126, 206),
    (88, 172, 110),
    (246, 190, 66),
    (156, 104, 190),
    (244, 244, 240),
    (64, 70, 100),
)
HAIR_LENGTHS = (0.4, 0.68, 0.98)
"""Down to behind the head, to the chin, over the shoulders."""

WHITE, BLACK, LIPS = (252, 252, 250), (36, 32, 36), (206, 74, 84)


def person(pen: Pen, rng: np.random.Generator) -> None:
    """Draw a person with a large head, facing us, arms and legs in some pose."""
    skin, hair, shirt, trousers = (tint(colours, rng) for colours in (SKIN, HAIR, CLOTHES, CLOTHES))
    length = rng.choice(HAIR_LENGTHS)
    pen.part("hair", box(-0.42, 1.84 - length, 0.42, 1.84, 0.2), shade(hair, 0.85))
    _legs(pen, rng, trousers)
    _arm(pen, rng, -1, skin, shirt)
    corners = ((-0.4, 1.08), (0.4, 1.08), (0.36, 0.74), (0.38, 0.4), (-0.38, 0.4), (-0.36, 0.74))
    torso = pen.part("torso", blob(*corners), shirt)
    if rng.random() < 0.5:
        pen.detail(limb(((-0.24, 0.72), (0.24, 0.72)), 0.1, 0.1), tint(CLOTHES, rng), on=torso)
    _arm(pen, rng, 1, skin, shirt)
    pen.part("neck", limb(((0.0, 1.06), (0.0, 1.3)), 0.26, 0.24), shade(skin, 0.9))
    _head(pen, rng, skin, hair)


def _legs(pen: Pen, rng: np.random.Generator, trousers: Colour) -> None:
    shoes = shade(tint(CLOTHES, rng), 0.7)
    for side in (-1, 1):
        foot = side * rng.uniform(0.14, 0.3)
        pen.part("leg", limb(((side * 0.15, 0.5), (foot, 0.12)), 0.27, 0.22), trousers)
        pen.part("foot", ellipse(foot + side * 0.05, 0.07, 0.18, 0.085), shoes)


def _arm(pen: Pen, rng: np.random.Generator, side: int, skin: Colour, shirt: Colour) -> None:
    """Draw upper arm, lower arm and hand of one side; some arms wave."""
    if rng.random() < 0.3:
        upper_angle, lower_angle = rng.uniform(-0.1, 0.3), rng.uniform(1.0, 1.5)
    else:
        upper_angle = rng.uniform(-1.35, -0.7)
        lower_angle = upper_angle + rng.uniform(-0.3, 0.5)
    shoulder = (side * 0.29, 0.92)
    elbow = _reach(shoulder, side, upper_angle, 0.34)
    wrist = _reach(elbow, side, lower_angle, 0.3)
    pen.part("lower arm", limb((elbow, wrist), 0.16, 0.13), skin)
    pen.part("hand", ellipse(*wrist, 0.11, 0.11), shade(skin, 1.1))
    pen.part("upper arm", limb((shoulder, elbow), 0.22, 0.19), shade(shirt, 0.92))


def _reach(start: Point, side: int, angle: float, length: float) -> Point:
    """Return the place `length` away from `start`, outwards and then up by `angle` radians."""
    return start[0] + side * length * math.cos(angle), start[1] + length * math.sin(angle)


def _head(pen: Pen, rng: np.random.Generator, skin: Colour, hair: Colour) -> None:
    y = 1.58
    for side in (-1, 1):
        pen.part("ear", ellipse(side * 0.43, y - 0.06, 0.12, 0.15), shade(skin, 0.93))
    head = pen.part("head", ellipse(0.0, y, 0.4, 0.4), skin)
    for side in (-1, 1):
        pen.detail(ellipse(side * 0.25, y - 0.15, 0.08, 0.05), blend(skin, LIPS, 0.35), on=head)
    _face(pen, rng, head, y, hair, skin)
    _hair(pen, rng, head, hair)


def _hair(pen: Pen, rng: np.random.Generator, head: int, hair: Colour) -> None:
    """Draw the hair on top: parted, a fringe or curls, with a bun on some."""
    if rng.random() < 0.25:
        pen.part("hair", ellipse(0.0, 2.04, 0.17, 0.15), shade(hair, 0.9))
    crown = ((0.46, 1.54), (0.48, 1.84), (0.34, 2.1), (-0.34, 2.1), (-0.48, 1.84), (-0.46, 1.54))
    parting = rng.uniform(-0.22, 0.22)
    hairlines: tuple[tuple[Point, ...], ...] = (
        ((-0.36, 1.7), (parting - 0.06, 1.88), (parting, 1.94), (parting + 0.06, 1.88), (0.36, 1.7)),
        tuple((0.12 * step, 1.86 - 0.14 * (step % 2)) for step in range(-3, 4)),
        ((-0.36, 1.74), (0.0, 1.84), (0.36, 1.74)),
    )
    style = int(rng.integers(len(hairlines)))
    front = pen.part("hair", blob(*crown, *hairlines[style]), hair, on=head)
    pen.detail(limb(((-0.28, 1.92), (-0.16, 2.0), (0.0, 2.02)), 0.035, 0.035), shade(hair, 1.35), on=front)
    for turn in np.linspace(-0.3, math.pi + 0.3, 8) if style == 2 else ():
        pen.detail(ellipse(0.4 * math.cos(turn), 1.68 + 0.36 * math.sin(turn), 0.13, 0.12), hair, on=front)


def _face(pen: Pen, rng: np.random.Generator, head: int, y: float, hair: Colour, skin: Colour) -> None:
    smile = rng.uniform(0.04, 0.2)
    for side in (-1, 1):
        eye = pen.feature("eye", ellipse(side * 0.17, y - 0.03, 0.115, 0.125), WHITE, on=head)
        pen.detail(ellipse(side * 0.17 + 0.01, y - 0.035, 0.07, 0.085), BLACK, on=eye)
        pen.detail(ellipse(side * 0.17 + 0.03, y + 0.0, 0.028, 0.028), WHITE, on=eye)
        brow = limb(((side * 0.07, y + 0.12), (side * 0.17, y + 0.19), (side * 0.28, y + 0.12)), 0.09, 0.08)
        pen.feature("eyebrow", brow, shade(hair, 0.8), on=head)
    pen.feature("nose", ellipse(0.0, y - 0.12, 0.09, 0.07), shade(skin, 0.78), on=head)
    mouth = limb(((-0.15, y - 0.23), (0.0, y - 0.25 - smile), (0.15, y - 0.23)), 0.09, 0.09)
    pen.feature("mouth", mouth, LIPS, on=head)
