"""Shapes, and the pen that draws them: into the picture for the eye, and into a map of pieces for the masks."""

from __future__ import annotations

import math
from copy import copy
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
Point = tuple[float, float]
Points = Float[np.ndarray, "V 2"]

FINENESS = 3
"""Pictures are drawn this many times larger, then averaged; odd, so that each final pixel has a middle."""

INK_WIDTH = 1 / 128
"""Width of an outline as a fraction of the picture's side."""

INK_SHADE = 0.5
"""An outline has its piece's colour, this much darker."""

TURNS = np.linspace(0, 2 * math.pi, 28, endpoint=False)
CIRCLE = np.stack([np.cos(TURNS), np.sin(TURNS)], axis=1)
SPINE = np.linspace(0, 1, 9)
"""Places along a limb from its start to its end."""
BENDS = np.linspace(0, math.pi, 7)[1:-1]
CAP = np.stack([np.cos(BENDS), np.sin(BENDS)], axis=1)
"""Half a circle, without its ends: across the limb and along it."""


def _bezier(count: int) -> Float[np.ndarray, "2 S {count}"]:
    """Give, at each place of `SPINE`, the weights of `count` control points in the curve, and in its derivative."""
    t, order = SPINE[:, None], np.arange(count)
    choose = np.asarray([math.comb(count - 1, k) for k in order])
    place = choose * t**order * (1 - t) ** (count - 1 - order)
    lower = np.asarray([math.comb(count - 2, k) for k in range(count - 1)])
    step = lower * t ** order[:-1] * (1 - t) ** (count - 2 - order[:-1])
    ends = np.zeros((len(SPINE), 1))
    return np.stack([place, np.hstack([ends, step]) - np.hstack([step, ends])])


BEZIER = {count: _bezier(count) for count in (2, 3, 4)}
"""Of curves with so many control points."""


def polygon(*corners: Point) -> Points:
    """Give the shape with these corners."""
    return np.asarray(corners, np.float64)


def ellipse(x: float, y: float, half_width: float, half_height: float, turn: float = 0.0) -> Points:
    """Give an ellipse around (x, y), turned to the left by `turn` radians."""
    return np.asarray((CIRCLE * (half_width, half_height)) @ _rotation(turn) + (x, y))


def box(left: float, bottom: float, right: float, top: float, rounding: float = 0.0) -> Points:
    """Give an upright rectangle whose corners are quarters of a circle of radius `rounding`."""
    arcs = CIRCLE.reshape(4, -1, 2) * rounding
    inner = np.asarray([[right, top], [left, top], [left, bottom], [right, bottom]], np.float64)
    inwards = np.asarray([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * rounding
    return np.asarray(arcs + (inner + inwards)[:, None]).reshape(-1, 2)


def blob(*corners: Point) -> Points:
    """Give a closed smooth curve inside these corners (Chaikin's corner cutting, three times)."""
    points = polygon(*corners)
    for _ in range(3):
        following = np.roll(points, -1, axis=0)
        cut = np.stack([0.75 * points + 0.25 * following, 0.25 * points + 0.75 * following], axis=1)  # V 2 2
        points = cut.reshape(-1, 2)
    return points


def limb(path: tuple[Point, ...], start_width: float, end_width: float) -> Points:
    """Give a tapering band with round ends along the Bezier curve of the control points `path`."""
    spine, along = BEZIER[len(path)] @ polygon(*path)
    along /= np.sqrt((along * along).sum(axis=1, keepdims=True))
    across = np.stack([-along[:, 1], along[:, 0]], axis=1)
    radii = (start_width + (end_width - start_width) * SPINE[:, None]) / 2
    start_cap = spine[0] - radii[0] * (CAP @ np.stack([across[0], along[0]]))
    end_cap = spine[-1] + radii[-1] * (CAP @ np.stack([across[-1], along[-1]]))
    return np.concatenate([spine + across * radii, end_cap, (spine - across * radii)[::-1], start_cap])


def panel(face: Points, left: float, bottom: float, right: float, top: float) -> Points:
    """Give a rectangle painted on a slanted face, its edges given as fractions of the face.

    The four corners of `face`, as those of the result: bottom left, bottom right, top right, top left.
    """
    across = np.asarray([left, right, right, left])[:, None]
    up = np.asarray([bottom, bottom, top, top])[:, None]
    lower = face[0] + (face[1] - face[0]) * across
    upper = face[3] + (face[2] - face[3]) * across
    return np.asarray(lower + (upper - lower) * up)


def _rotation(turn: float) -> Float[np.ndarray, "2 2"]:
    """Give the matrix that, on the right of a row vector, turns it to the left."""
    return np.asarray([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])


def shade(colour: Colour, factor: float) -> Colour:
    """Give the colour darker (factor below 1) or lighter (above 1, 2 is white)."""
    light = max(factor - 1, 0)
    red, green, blue = (round((255 - c) * light + c * min(factor, 1)) for c in colour)
    return red, green, blue


def blend(one: Colour, other: Colour, share: float) -> Colour:
    """Give the colour between the two that holds this share of the other."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return red, green, blue


def tint(colours: tuple[Colour, ...], rng: np.random.Generator) -> Colour:
    """Choose one of the colours, and vary its light a little and its hue still less."""
    chosen = colours[rng.integers(len(colours))]
    light, *hue = rng.integers((-12, -6, -6, -6), (13, 7, 7, 7)).tolist()
    red, green, blue = (min(max(c + light + shift, 0), 255) for c, shift in zip(chosen, hue, strict=True))
    return red, green, blue


@dataclass(frozen=True)
class Piece:
    """One thing drawn, or a whole object.

    Attributes:
        name: of an object or a part; empty for what has no name of its own, such as a pupil or a stripe.
        on: number of the piece that it is a detail of and whose mask keeps its pixels; 0 for an object.
    """

    name: str
    on: int


class Canvas:
    """A square picture, and for each of its pixels the number of the piece on top (0 where the backdrop shows)."""

    def __init__(self, backdrop: Image.Image) -> None:
        fine = (backdrop.width * FINENESS, backdrop.height * FINENESS)
        self.pieces = [Piece("", 0)]
        self._picture = backdrop.resize(fine, Image.Resampling.NEAREST)
        self._owners = Image.new("I", fine)
        self._picture_pen, self._owner_pen = ImageDraw.Draw(self._picture), ImageDraw.Draw(self._owners)
        self._ink_width = max(1, round(INK_WIDTH * fine[0]))

    def add(self, piece: Piece) -> int:
        """Give the piece its number."""
        self.pieces.append(piece)
        return len(self.pieces) - 1

    def fill(self, pixels: Points, number: int, colour: Colour, ink: Colour | None) -> None:
        """Draw one shape, its corners in final pixels, with an outline if there is ink for it."""
        edge = (np.concatenate([pixels, pixels[:1]]) * FINENESS).ravel().tolist()
        self._picture_pen.polygon(edge, fill=colour)
        self._owner_pen.polygon(edge, fill=number)
        if ink is not None:
            self._picture_pen.line(edge, fill=ink, width=self._ink_width)
            self._owner_pen.line(edge, fill=number, width=self._ink_width)

    def image(self) -> Image.Image:
        """Give the picture at its final size."""
        return self._picture.reduce(FINENESS)

    def masks(self) -> Bool[np.ndarray, "pieces H W"]:
        """Give what shows of each piece and of all that is drawn on it, at the middle of each final pixel."""
        middle = slice(FINENESS // 2, None, FINENESS)
        owners: Int[np.ndarray, "H W"] = np.asarray(self._owners)[middle, middle]
        belongs = np.zeros((len(self.pieces), len(self.pieces)), bool)  # to piece (row), what is owned by (column)
        for number, piece in enumerate(self.pieces):
            belongs[number, number] = True
            belongs[:, number] |= belongs[:, piece.on]
        return np.take(belongs, owners, axis=1)


class Pen:
    """Draws one object on a canvas, in the object's own units.

    An object stands on y = 0 around x = 0, looks to +x, y points up; it is about 2 wide or 2 high.
    """

    def __init__(self, canvas: Canvas, name: str, foot: Point, unit: float, tilt: float, is_flipped: bool) -> None:
        """Begin the object called `name` at `foot`, `unit` pixels to the unit, turned left by `tilt` radians."""
        self.canvas, self._origin = canvas, np.asarray(foot)
        self.object = canvas.add(Piece(name, 0))
        mirror = np.asarray([[-unit if is_flipped else unit, 0.0], [0.0, -unit]])
        self._to_pixels = mirror @ _rotation(-tilt)

    def within(self, at: Point, turn: float = 0.0, size: float = 1.0) -> Pen:
        """Give a pen for a group of parts of the same object, such as a head.

        Args:
            at: its origin, in this pen's units.
            turn: how far it is turned to the left, in radians.
            size: its unit, in this pen's units.
        """
        pen = copy(self)
        pen._origin = np.asarray(at) @ self._to_pixels + self._origin
        pen._to_pixels = size * _rotation(turn) @ self._to_pixels
        return pen

    def part(self, name: str, shape: Points, colour: Colour, on: int | None = None) -> int:
        """Draw a part with an outline; what it covers leaves every mask but that of the piece it is `on`."""
        return self._draw(Piece(name, on or self.object), shape, colour, shade(colour, INK_SHADE))

    def feature(self, name: str, shape: Points, colour: Colour, on: int) -> int:
        """Draw a small part without outline `on` a piece: a mouth, a nose."""
        return self._draw(Piece(name, on), shape, colour, None)

    def detail(self, shape: Points, colour: Colour, on: int) -> int:
        """Draw something nameless without outline `on` a piece: a pupil, a stripe, a hub."""
        return self._draw(Piece("", on), shape, colour, None)

    def _draw(self, piece: Piece, shape: Points, colour: Colour, ink: Colour | None) -> int:
        number = self.canvas.add(piece)
        self.canvas.fill(shape @ self._to_pixels + self._origin, number, colour, ink)
        return number
