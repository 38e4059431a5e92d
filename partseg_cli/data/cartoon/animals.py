"""Figures of a cat, a dog and a bird, and the features that all animals share; all measures in the units of `Pen`."""

from __future__ import annotations

import math

import numpy as np

from partseg_cli.data.cartoon.pen import Colour, Pen, Point, Points, blend, blob, ellipse, limb, polygon, shade, tint

RED = (226, 92, 100)
CAT_FUR = ((236, 152, 62), (150, 152, 164), (84, 80, 92), (238, 224, 200), (176, 128, 92))
DOG_FUR = ((192, 128, 68), (226, 186, 116), (132, 88, 56), (230, 222, 210), (98, 92, 96))
FEATHERS = ((72, 152, 226), (232, 92, 74), (92, 182, 98), (250, 196, 60), (160, 112, 210), (240, 140, 170))
CAT_EYES = ((150, 208, 88), (246, 206, 70), (122, 196, 230))
COLLARS = ((212, 58, 66), (56, 118, 206), (48, 160, 112), (150, 84, 190))
BEAKS = ((248, 160, 40), (240, 120, 40), (90, 84, 80))
NOSES = ((30, 28, 34), (66, 44, 40), (236, 140, 150))

PRICKED_SHARE = 0.5
"""Share of dogs with pointed ears; those of the others hang."""
FOLDED_SHARE = 0.25
"""Share of cats with hanging ears."""


def cat(pen: Pen, rng: np.random.Generator) -> None:
    """Draw a cat that stands or sits, facing the viewer."""
    fur = tint(CAT_FUR, rng)
    stripe = shade(fur, 0.68) if rng.random() < 0.6 else fur
    if rng.random() < 0.5:
        _standing_cat(pen, rng, fur, stripe)
    else:
        _sitting_cat(pen, rng, fur, stripe)


def _standing_cat(pen: Pen, rng: np.random.Generator, fur: Colour, stripe: Colour) -> None:
    sway, lift = rng.uniform(-0.25, 0.2), rng.uniform(-0.1, 0.1)
    pen.part("tail", limb(((-0.6, 0.72), (-1.15, 0.8), (-0.75 + sway, 1.5)), 0.2, rng.uniform(0.12, 0.26)), fur)
    for x in (-0.34, 0.5):
        _leg(pen, rng, (x, 0.55), shade(fur, 0.82), 0.2)
    body = pen.part("torso", limb(((-0.5, 0.68), (0.0, 0.62), (0.42, 0.7)), 0.52, 0.46), fur)
    pen.detail(ellipse(0.0, 0.5, 0.42, 0.08), shade(fur, 1.45), on=body)
    for x in (-0.4, -0.15, 0.1):
        pen.detail(limb(((x, 0.9), (x + 0.06, 0.7)), 0.09, 0.03), stripe, on=body)
    for x in (-0.56, 0.28):
        _leg(pen, rng, (x, 0.55), fur, 0.22)
    _neck(pen, rng, limb(((0.36, 0.78), (0.56, 1.08)), 0.46, 0.4), ((0.3, 0.98), (0.7, 0.86)), fur)
    _cat_head(pen.within((0.6, 1.3 + lift), size=1.15), rng, fur, stripe)


def _sitting_cat(pen: Pen, rng: np.random.Generator, fur: Colour, stripe: Colour) -> None:
    curl = rng.uniform(0.0, 0.5)
    pen.part("tail", limb(((-0.3, 0.14), (-1.0, -0.02), (-0.95, 0.3 + curl)), 0.2, rng.uniform(0.12, 0.26)), fur)
    corners = ((-0.2, 1.18), (0.2, 1.18), (0.42, 0.5), (0.6, 0.0), (0.0, -0.04), (-0.6, 0.0), (-0.42, 0.5))
    body = pen.part("torso", blob(*corners), fur)
    pen.detail(ellipse(0.0, 0.66, 0.17, 0.28), shade(fur, 1.5), on=body)
    for side in (-1, 1):
        pen.part("leg", ellipse(side * 0.36, 0.24, 0.19, 0.24, side * 0.3), fur)
        pen.part("paw", ellipse(side * 0.42, 0.06, 0.17, 0.08), shade(fur, 1.35))
        pen.detail(limb(((side * 0.34, 0.62), (side * 0.2, 0.6)), 0.08, 0.03), stripe, on=body)
    for x in (-0.12, 0.12):
        _leg(pen, rng, (x, 0.56), fur, 0.19, stride=0.03)
    _neck(pen, rng, limb(((0.0, 0.95), (0.0, 1.15)), 0.46, 0.4), ((-0.2, 0.98), (0.2, 0.98)), fur)
    _cat_head(pen.within((rng.uniform(-0.06, 0.06), 1.42), size=1.15), rng, fur, stripe)


def _leg(pen: Pen, rng: np.random.Generator, hip: Point, fur: Colour, width: float, stride: float = 0.12) -> None:
    """Draw a leg down to the ground, and its paw."""
    foot = hip[0] + rng.uniform(-stride, stride)
    pen.part("leg", limb((hip, (hip[0], hip[1] / 2), (foot, 0.1)), width, width * 0.8), fur)
    pen.part("paw", ellipse(foot + 0.04, 0.07, width * 0.62, 0.08), shade(fur, 1.35))


def _neck(pen: Pen, rng: np.random.Generator, shape: Points, collar: tuple[Point, Point], fur: Colour) -> None:
    """Draw the neck, with a collar on some."""
    neck = pen.part("neck", shape, shade(fur, 0.92))
    if rng.random() < 0.6:
        pen.detail(limb(collar, 0.1, 0.1), tint(COLLARS, rng), on=neck)


def _cat_head(pen: Pen, rng: np.random.Generator, fur: Colour, stripe: Colour) -> None:
    is_folded = rng.random() < FOLDED_SHARE
    for side in (-1, 1):
        if is_folded:
            corners = ((0.1, 0.36), (0.36, 0.34), (0.6, 0.0), (0.42, -0.12), (0.3, 0.1))
            pen.part("ear", blob(*((side * x, y) for x, y in corners)), shade(fur, 0.8))
        else:
            pricked_ear(pen, polygon((side * 0.43, 0.1), (side * 0.42, 0.62), (side * 0.02, 0.3)), fur)
    head = pen.part("head", ellipse(0.0, 0.0, 0.46, 0.38), fur)
    for shift in (-0.12, 0.0, 0.12):
        pen.detail(limb(((shift, 0.34), (shift * 0.7, 0.2)), 0.06, 0.02), stripe, on=head)
    for side in (-1, 1):
        pen.detail(ellipse(side * 0.1, -0.2, 0.14, 0.11), shade(fur, 1.6), on=head)
    iris = tint(CAT_EYES, rng)
    for side in (-1, 1):
        draw_eye(pen, side * 0.21, 0.05, iris, head)
        lip = limb(((0.0, -0.22), (side * 0.06, -0.27), (side * 0.12, -0.22)), 0.03, 0.02)
        pen.detail(lip, BLACK, on=head)
    pen.part("nose", ellipse(0.0, -0.13, 0.11, 0.085), tint(NOSES, rng), on=head)


def dog(pen: Pen, rng: np.random.Generator) -> None:
    """Draw a dog that stands or sits, its long muzzle to the right."""
    fur = tint(DOG_FUR, rng)
    patch = shade(fur, 0.6)
    if rng.random() < 0.6:
        _standing_dog(pen, rng, fur, patch)
    else:
        _sitting_dog(pen, rng, fur, patch)


def _standing_dog(pen: Pen, rng: np.random.Generator, fur: Colour, patch: Colour) -> None:
    wag = rng.uniform(-0.15, 0.25)
    pen.part("tail", limb(((-0.6, 0.92), (-1.0, 0.96), (-1.0 + wag, 1.56)), 0.2, rng.uniform(0.1, 0.26)), fur)
    for x in (-0.42, 0.36):
        _leg(pen, rng, (x, 0.66), shade(fur, 0.8), 0.19)
    corners = ((-0.78, 1.06), (0.0, 0.98), (0.52, 1.16), (0.66, 0.7), (0.3, 0.42), (-0.2, 0.6), (-0.72, 0.5))
    body = pen.part("torso", blob(*corners), fur)
    if rng.random() < 0.6:
        pen.detail(ellipse(rng.uniform(-0.35, -0.1), 0.84, 0.2, 0.13), patch, on=body)
    for x in (-0.58, 0.2):
        _leg(pen, rng, (x, 0.66), fur, 0.22)
    _neck(pen, rng, limb(((0.38, 0.88), (0.56, 1.22)), 0.42, 0.34), ((0.34, 1.1), (0.68, 0.98)), fur)
    _dog_head(pen.within((0.56, 1.44), size=1.25), rng, fur, patch)


def _sitting_dog(pen: Pen, rng: np.random.Generator, fur: Colour, patch: Colour) -> None:
    wag = rng.uniform(-0.1, 0.35)
    pen.part("tail", limb(((-0.5, 0.16), (-1.0, 0.06), (-1.02, 0.5 + wag)), 0.2, rng.uniform(0.1, 0.26)), fur)
    _leg(pen, rng, (0.36, 0.7), shade(fur, 0.8), 0.18, stride=0.04)
    corners = ((-0.66, 0.0), (-0.66, 0.5), (-0.16, 1.1), (0.3, 1.22), (0.5, 0.7), (0.3, 0.2), (0.0, 0.0))
    body = pen.part("torso", blob(*corners), fur)
    pen.detail(ellipse(0.3, 0.76, 0.1, 0.24, -0.1), shade(fur, 1.5), on=body)
    pen.part("leg", ellipse(-0.28, 0.28, 0.27, 0.25, 0.4), fur)
    pen.part("paw", ellipse(-0.02, 0.07, 0.2, 0.085), shade(fur, 1.35))
    _leg(pen, rng, (0.2, 0.72), fur, 0.2, stride=0.04)
    _neck(pen, rng, limb(((0.12, 0.98), (0.22, 1.24)), 0.44, 0.36), ((-0.02, 1.1), (0.38, 1.06)), fur)
    _dog_head(pen.within((0.22, 1.46), size=1.25), rng, fur, patch)


def _dog_head(pen: Pen, rng: np.random.Generator, fur: Colour, patch: Colour) -> None:
    is_pricked = rng.random() < PRICKED_SHARE
    droop = rng.uniform(-0.05, 0.08)
    if is_pricked:
        pricked_ear(pen, polygon((0.02, 0.26), (0.24, 0.66), (0.34, 0.14)), shade(fur, 0.85))
    else:
        pen.part("ear", blob((0.02, 0.34), (0.24, 0.36), (0.36, 0.06), (0.3, -0.04 - droop)), shade(patch, 0.85))
    head = pen.part("head", ellipse(0.0, 0.0, 0.36, 0.33), fur)
    if rng.random() < 0.5:
        pen.detail(limb(((0.1, 0.3), (0.24, 0.05)), 0.1, 0.14), shade(fur, 1.6), on=head)
    if rng.random() < 0.6:
        pen.detail(limb(((0.34, -0.24), (0.38, -0.4)), 0.12, 0.14), RED, on=head)
    muzzle = pen.part("muzzle", limb(((0.2, -0.1), (0.52, -0.13)), 0.4, 0.32), shade(fur, 1.4), on=head)
    pen.detail(limb(((0.18, -0.16), (0.36, -0.26), (0.6, -0.2)), 0.03, 0.03), BLACK, on=muzzle)
    pen.part("nose", ellipse(0.6, 0.0, 0.11, 0.09), tint(NOSES, rng), on=muzzle)
    iris = tint(EYES, rng)
    for x in (0.22, -0.03):
        draw_eye(pen, x, 0.13, iris, head)
    if is_pricked:
        pricked_ear(pen, polygon((-0.36, 0.08), (-0.28, 0.68), (0.04, 0.28)), fur)
    else:
        near_ear = ((-0.12, 0.38), (-0.34, 0.34), (-0.52, -0.3 - droop), (-0.18, -0.42 - droop))
        pen.part("ear", blob(*near_ear, (-0.12, 0.0)), patch)


def bird(pen: Pen, rng: np.random.Generator) -> None:
    """Draw a plump bird on two thin legs, seen from its side, its wing folded or raised."""
    coat, beak = tint(FEATHERS, rng), tint(BEAKS, rng)
    wing = shade(coat, 0.75) if rng.random() < 0.5 else tint(FEATHERS, rng)
    lean = rng.uniform(-0.1, 0.12)
    tail = ((-0.42, 0.78), (-1.12, 0.62 + lean), (-1.16, 0.82 + lean), (-1.0, 1.02 + lean), (-0.4, 1.0))
    pen.part("tail", polygon(*tail), wing)
    for x in (-0.12, 0.16):
        foot = x + rng.uniform(-0.06, 0.06)
        pen.part("leg", limb(((x, 0.5), (foot, 0.08)), 0.13, 0.1), beak)
        pen.part("foot", blob((foot - 0.2, 0.0), (foot - 0.02, 0.16), (foot + 0.3, 0.0)), beak)
    torso = pen.part("torso", ellipse(-0.02, 0.82, 0.62, 0.45, 0.25), coat)
    pen.detail(ellipse(0.2, 0.66, 0.34, 0.25, 0.5), shade(coat, 1.6), on=torso)
    pen.part("neck", limb(((0.3, 1.02), (0.5, 1.34)), 0.56, 0.44), shade(coat, 0.88))
    _bird_head(pen.within((0.56, 1.5), size=1.3), rng, coat, beak)
    corners: tuple[Point, ...]
    if rng.random() < 0.35:
        corners = ((0.2, 0.92), (0.2, 1.2), (-0.3, 1.9), (-0.75, 2.0), (-0.7, 1.5), (-0.45, 0.92), (-0.1, 0.72))
    else:
        corners = ((0.28, 1.0), (0.1, 0.52), (-0.4, 0.5), (-0.95, 0.62 + lean), (-0.5, 1.0), (-0.1, 1.16))
    plumes = pen.part("wing", blob(*corners), wing)
    tip = polygon(*corners[3:5]).mean(axis=0)
    for drop in (0.0, 0.14):
        root, end = (0.0, 0.95 - drop), (float(tip[0]) * 0.8, float(tip[1]) * 0.97 - drop / 2)
        pen.detail(limb((root, end), 0.035, 0.02), shade(wing, 0.65), on=plumes)


def _bird_head(pen: Pen, rng: np.random.Generator, coat: Colour, beak: Colour) -> None:
    head = pen.part("head", ellipse(0.0, 0.0, 0.32, 0.31), coat)
    for turn in (0.0, 0.5) if rng.random() < 0.4 else ():
        pen.detail(ellipse(-0.12 - turn * 0.2, 0.36 - turn * 0.1, 0.06, 0.16, turn), shade(coat, 0.75), on=head)
    bill = pen.part("beak", polygon((0.2, 0.16), (0.66, -0.05), (0.18, -0.18)), beak, on=head)
    pen.detail(limb(((0.26, -0.01), (0.6, -0.04)), 0.03, 0.02), shade(beak, 0.6), on=bill)
    draw_eye(pen, 0.07, 0.09, tint(EYES, rng), head)


BLACK, WHITE, PINK = (30, 28, 34), (250, 248, 242), (240, 150, 160)
EYES = ((252, 250, 244), (252, 250, 244), (250, 226, 150), (196, 224, 240))
"""Colours around the pupils."""
LOBE_TURNS = np.linspace(0, math.pi, 6, endpoint=False)
"""Places along one lobe of a wool cloud."""


def pricked_ear(pen: Pen, shape: Points, fur: Colour) -> None:
    """Draw an ear and its pink inside."""
    pen.detail(0.6 * shape + 0.4 * shape.mean(axis=0), PINK, on=pen.part("ear", shape, fur))


def draw_eye(pen: Pen, x: float, y: float, iris: Colour, head: int) -> None:
    """Draw the eye of an animal."""
    eye = pen.part("eye", ellipse(x, y, 0.125, 0.135), iris, on=head)
    pen.detail(ellipse(x + 0.01, y, 0.07, 0.095), BLACK, on=eye)
    pen.detail(ellipse(x + 0.03, y + 0.05, 0.03, 0.035), WHITE, on=eye)


def hanging_ear(pen: Pen, side: int, colour: Colour) -> None:
    """Draw an ear of a face seen from the front, on its left (-1) or right (1)."""
    pen.part("ear", limb(((side * 0.18, 0.1), (side * 0.46, 0.12), (side * 0.56, -0.18)), 0.2, 0.17), colour)


def draw_muzzle(pen: Pen, shape: Points, colour: Colour, nostrils: tuple[Point, ...], head: int) -> None:
    """Draw a muzzle, its nostrils and its mouth."""
    muzzle = pen.part("muzzle", shape, colour, on=head)
    x, y = shape.mean(axis=0).tolist()
    for nostril in nostrils:
        pen.detail(ellipse(*nostril, 0.045, 0.04), shade(colour, 0.4), on=muzzle)
    pen.detail(limb(((x - 0.09, y - 0.1), (x + 0.09, y - 0.1)), 0.03, 0.03), shade(colour, 0.4), on=muzzle)


def muzzle_colour(coat: Colour) -> Colour:
    """Return a colour that stands out: darker on a pale coat, paler on a dark one."""
    return blend(coat, (92, 82, 84), 0.6) if sum(coat) > 440 else shade(coat, 1.45)


def stance(rng: np.random.Generator, x: float, top: float, stride: float) -> tuple[Point, ...]:
    """Return the path of a leg that stands on the ground."""
    foot = x + rng.uniform(-stride, stride)
    return (x, top), (x, top / 2), (foot, 0.1)


def cloud(x: float, y: float, half_width: float, half_height: float, lobes: int) -> Points:
    """Return an ellipse whose edge is a ring of round lobes."""
    turns = (np.arange(lobes)[:, None] + LOBE_TURNS / math.pi).ravel() * (2 * math.pi / lobes)
    reach = 0.86 + 0.14 * np.tile(np.sin(LOBE_TURNS), lobes)
    circle = np.stack([np.cos(turns), np.sin(turns)], axis=1) * reach[:, None]
    return np.asarray(circle * (half_width, half_height) + (x, y))


def draw_curls(pen: Pen, hair: Colour, body: int) -> None:
    """Draw locks of long hair on a body."""
    for x, y in ((-0.5, 0.98), (-0.14, 1.1), (-0.2, 0.76), (0.16, 0.92)):
        pen.detail(limb(((x - 0.1, y), (x, y - 0.14), (x + 0.1, y)), 0.04, 0.04), shade(hair, 0.8), on=body)
