"""What animals share: eyes, ears, muzzles, legs, wool; so the parts of one look like those of another."""

from __future__ import annotations

import math

import numpy as np

from partseg_cli.data.cartoon.pen import Colour, Pen, Point, Points, blend, ellipse, limb, shade

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
    """Draw an ear of a face that looks at us, on its left (-1) or right (1)."""
    pen.part("ear", limb(((side * 0.18, 0.1), (side * 0.46, 0.12), (side * 0.56, -0.18)), 0.2, 0.17), colour)


def draw_muzzle(pen: Pen, shape: Points, colour: Colour, nostrils: tuple[Point, ...], head: int) -> None:
    """Draw a muzzle, its nostrils and its mouth."""
    muzzle = pen.part("muzzle", shape, colour, on=head)
    x, y = shape.mean(axis=0).tolist()
    for nostril in nostrils:
        pen.detail(ellipse(*nostril, 0.045, 0.04), shade(colour, 0.4), on=muzzle)
    pen.detail(limb(((x - 0.09, y - 0.1), (x + 0.09, y - 0.1)), 0.03, 0.03), shade(colour, 0.4), on=muzzle)


def muzzle_colour(coat: Colour) -> Colour:
    """Give a colour that stands out: darker on a pale coat, paler on a dark one."""
    return blend(coat, (92, 82, 84), 0.6) if sum(coat) > 440 else shade(coat, 1.45)


def stance(rng: np.random.Generator, x: float, top: float, stride: float) -> tuple[Point, ...]:
    """Give the path of a leg that stands on the ground."""
    foot = x + rng.uniform(-stride, stride)
    return (x, top), (x, top / 2), (foot, 0.1)


def cloud(x: float, y: float, half_width: float, half_height: float, lobes: int) -> Points:
    """Give an ellipse whose edge is a ring of round lobes."""
    turns = (np.arange(lobes)[:, None] + LOBE_TURNS / math.pi).ravel() * (2 * math.pi / lobes)
    reach = 0.86 + 0.14 * np.tile(np.sin(LOBE_TURNS), lobes)
    circle = np.stack([np.cos(turns), np.sin(turns)], axis=1) * reach[:, None]
    return np.asarray(circle * (half_width, half_height) + (x, y))


def draw_curls(pen: Pen, hair: Colour, body: int) -> None:
    """Draw locks of long hair on a body."""
    for x, y in ((-0.5, 0.98), (-0.14, 1.1), (-0.2, 0.76), (0.16, 0.92)):
        pen.detail(limb(((x - 0.1, y), (x, y - 0.14), (x + 0.1, y)), 0.04, 0.04), shade(hair, 0.8), on=body)
