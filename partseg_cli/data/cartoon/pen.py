"""Shapes, and the pen that places them on a canvas, whose map of pieces gives both the image and the masks."""

from __future__ import annotations

import cmath
import math
from copy import copy
from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Bool, Complex, Float
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
Point = tuple[float, float]
Points = Float[np.ndarray, "V 2"]

FINENESS = 3
"""Images are drawn this many times larger, then averaged; odd, so that each final pixel has a middle."""

INK_WIDTH = 1 / 128
"""Width of an outline as a fraction of the image's side."""

INK_SHADE = 0.5
"""An outline has its piece's colour, this much darker."""

# In ellipses, boxes and limbs a point x, y is the complex number x + iy: to turn it is to multiply it.
CIRCLE = np.exp(2j * math.pi * np.linspace(0, 1, 28, endpoint=False))
SPINE = np.linspace(0, 1, 9)
"""Places along a limb from its start to its end."""
CAP = np.exp(1j * np.linspace(math.pi / 2, -math.pi / 2, 7)[1:-1])
"""Half a circle around the start of the real axis, from left to right, without its ends."""
CUTS = 3
"""Rounds of corner cutting."""


def _bezier(count: int) -> Float[np.ndarray, "2 S {count}"]:
    """Return the Bernstein weights of `count` control points along `SPINE`, for the curve and for its derivative."""
    t, order = SPINE[:, None], np.arange(count)
    choose = np.asarray([math.comb(count - 1, k) for k in order])
    place = choose * t**order * (1 - t) ** (count - 1 - order)
    lower = np.asarray([math.comb(count - 2, k) for k in range(count - 1)])
    step = lower * t ** order[:-1] * (1 - t) ** (count - 2 - order[:-1])
    ends = np.zeros((len(SPINE), 1))
    return np.stack([place, np.hstack([ends, step]) - np.hstack([step, ends])])


BEZIER = {count: _bezier(count) for count in (2, 3, 4)}
"""Number of control points -> weights."""


@cache
def _chaikin(corners: int) -> Float[np.ndarray, "V {corners}"]:
    """Return the weights of the corners in the points of the curve after `CUTS` rounds of corner cutting."""
    points = np.eye(corners)
    for _ in range(CUTS):
        following = np.roll(points, -1, axis=0)
        cut = np.stack([0.75 * points + 0.25 * following, 0.25 * points + 0.75 * following], axis=1)
        points = cut.reshape(-1, corners)
    return points


def polygon(*corners: Point) -> Points:
    """Return the shape with these corners."""
    return np.asarray(corners, np.float64)


def ellipse(x: float, y: float, half_width: float, half_height: float, turn: float = 0.0) -> Points:
    """Return an ellipse around (x, y), turned to the left by `turn` radians."""
    upright = half_width * CIRCLE.real + 1j * half_height * CIRCLE.imag
    return _points(upright * cmath.exp(1j * turn) + complex(x, y))


def box(left: float, bottom: float, right: float, top: float, rounding: float = 0.0) -> Points:
    """Return an upright rectangle whose corners are quarters of a circle of radius `rounding`."""
    if not rounding:
        return polygon((right, top), (left, top), (left, bottom), (right, bottom))
    in_left, in_right, low, high = left + rounding, right - rounding, bottom + rounding, top - rounding
    middles = np.asarray(
        [complex(x, y) for x, y in ((in_right, high), (in_left, high), (in_left, low), (in_right, low))]
    )
    return _points((CIRCLE.reshape(4, -1) * rounding + middles[:, None]).ravel())


def blob(*corners: Point) -> Points:
    """Return a closed smooth curve inside these corners (Chaikin's corner cutting)."""
    return np.asarray(_chaikin(len(corners)) @ polygon(*corners))


def limb(path: tuple[Point, ...], start_width: float, end_width: float) -> Points:
    """Return a tapering band with round ends along the Bezier curve of the control points `path`."""
    spine, along = BEZIER[len(path)] @ np.asarray([complex(x, y) for x, y in path])
    along /= np.abs(along)
    radii = (start_width + (end_width - start_width) * SPINE) / 2
    across = 1j * along * radii
    start_cap = spine[0] - start_width / 2 * along[0] * CAP
    end_cap = spine[-1] + end_width / 2 * along[-1] * CAP
    return _points(np.concatenate([spine + across, end_cap, (spine - across)[::-1], start_cap]))


def _points(plane: Complex[np.ndarray, "V"]) -> Points:
    return plane.view(np.float64).reshape(-1, 2)


def panel(face: Points, left: float, bottom: float, right: float, top: float) -> Points:
    """Return a rectangle painted on a slanted face, its edges given as fractions of the face.

    The four corners of `face`, as those of the result: bottom left, bottom right, top right, top left.
    """
    weights = [
        [(1 - x) * (1 - y), x * (1 - y), x * y, (1 - x) * y]
        for x, y in ((left, bottom), (right, bottom), (right, top), (left, top))
    ]
    return np.asarray(np.asarray(weights) @ face)


def _rotation(turn: float) -> Float[np.ndarray, "2 2"]:
    """Return the matrix that, on the right of a row vector, turns it to the left."""
    return np.asarray([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])


def shade(colour: Colour, factor: float) -> Colour:
    """Return the colour darker (factor below 1) or lighter (above 1, 2 is white)."""
    light, own = max(factor - 1, 0), min(factor, 1)
    red, green, blue = colour
    return (
        round((255 - red) * light + red * own),
        round((255 - green) * light + green * own),
        round((255 - blue) * light + blue * own),
    )


def blend(one: Colour, other: Colour, share: float) -> Colour:
    """Return the colour between the two that holds this share of the other."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return red, green, blue


def tint(colours: tuple[Colour, ...], rng: np.random.Generator) -> Colour:
    """Choose one of the colours, and vary its light a little and its hue still less."""
    chosen = colours[rng.integers(len(colours))]
    light, *hue = rng.integers(*TINTS).tolist()
    red, green, blue = (min(max(c + light + shift, 0), 255) for c, shift in zip(chosen, hue, strict=True))
    return red, green, blue


TINTS = np.asarray((-12, -6, -6, -6)), np.asarray((13, 7, 7, 7))
"""Bounds of the random shifts of light, red, green and blue; the upper ones are exclusive."""


OPAQUE = 255


@dataclass(frozen=True)
class Piece:
    """An object, a part or an unnamed detail.

    Attributes:
        name: Name of the object or part; empty for a detail such as a pupil or a stripe.
        on: Number of the piece that this one belongs to and whose mask includes it; 0 for an object.
    """

    name: str
    on: int


class Canvas:
    """Square canvas over a backdrop: a map of the topmost sticker gives both the image and the masks.

    Shapes are drawn at `FINENESS` times the backdrop's resolution; 0 is the backdrop.
    """

    def __init__(self, backdrop: Image.Image) -> None:
        self.pieces = [Piece("", 0)]
        self._backdrop = backdrop
        self._map = Image.new("I", (backdrop.width * FINENESS, backdrop.height * FINENESS))
        self._pen = ImageDraw.Draw(self._map)
        self._ink_width = max(1, round(INK_WIDTH * self._map.width))
        self._colours: list[tuple[int, int, int, int]] = [(0, 0, 0, 0)]
        self._owners = [0]

    def add(self, piece: Piece) -> int:
        """Add a piece and return its number."""
        self.pieces.append(piece)
        return len(self.pieces) - 1

    def fill(self, pixels: Points, number: int, colour: Colour, ink: Colour | None) -> None:
        """Draw one shape of a piece, its corners in final pixels, with an outline if there is ink for it."""
        edge = (np.concatenate([pixels, pixels[:1]]) * FINENESS).ravel().tolist()
        self._pen.polygon(edge, fill=self._sticker(number, colour))
        if ink is not None:
            self._pen.line(edge, fill=self._sticker(number, ink), width=self._ink_width)

    def _sticker(self, number: int, colour: Colour) -> int:
        self._colours.append((*colour, OPAQUE))
        self._owners.append(number)
        return len(self._owners) - 1

    def image(self) -> Image.Image:
        """Return the image at its final size."""
        fine = np.take(np.asarray(self._colours, np.uint8).view(np.uint32)[:, 0], np.asarray(self._map))
        stuck = np.asarray(Image.frombuffer("RGBX", self._map.size, fine).reduce(FINENESS), np.uint16)  # H W 4
        shows = OPAQUE - stuck[..., 3:]
        return Image.fromarray(
            (stuck[..., :3] + (np.asarray(self._backdrop, np.uint16) * shows + OPAQUE // 2) // OPAQUE).astype(np.uint8)
        )

    def masks(self) -> Bool[np.ndarray, "pieces H W"]:
        """Return the visible pixels of each piece, including the pieces on it, sampled at pixel centres."""
        middles = self._map.resize(self._backdrop.size, Image.Resampling.NEAREST)
        owners = np.asarray(self._owners)[np.asarray(middles)]  # H W
        belongs = np.eye(len(self.pieces), dtype=bool)  # to piece (row), what is owned by (column)
        for number, piece in enumerate(self.pieces):
            belongs[:, number] |= belongs[:, piece.on]
        shows: Bool[np.ndarray, "pieces H W"] = np.take(belongs, owners, axis=1)
        return shows


class Pen:
    """Pen for one object on a canvas, in the object's own units.

    The object stands on y = 0, centred on x = 0, faces +x and is about 2 units wide or high; y points up.
    """

    def __init__(self, canvas: Canvas, name: str, foot: Point, unit: float, tilt: float, is_flipped: bool) -> None:
        """Start the object `name` at `foot`, with `unit` pixels per unit, rotated to the left by `tilt` radians."""
        self.canvas, self._origin = canvas, np.asarray(foot)
        self.object = canvas.add(Piece(name, 0))
        mirror = np.asarray([[-unit if is_flipped else unit, 0.0], [0.0, -unit]])
        self._to_pixels = mirror @ _rotation(-tilt)

    def within(self, at: Point, turn: float = 0.0, size: float = 1.0) -> Pen:
        """Return a pen for a group of parts of the same object, such as a head.

        Args:
            at: Origin, in this pen's units.
            turn: Rotation to the left, in radians.
            size: Length of its unit, in this pen's units.
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
        """Draw an unnamed detail without outline `on` a piece: a pupil, a stripe, a hub."""
        return self._draw(Piece("", on), shape, colour, None)

    def _draw(self, piece: Piece, shape: Points, colour: Colour, ink: Colour | None) -> int:
        number = self.canvas.add(piece)
        self.canvas.fill(shape @ self._to_pixels + self._origin, number, colour, ink)
        return number
