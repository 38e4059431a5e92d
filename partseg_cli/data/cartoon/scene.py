"""Cartoon-Part: procedurally drawn scenes with exact, overlapping part masks, without any download.

An object is a function that draws its named parts with a `Pen`. To add one: write it, add it to `FIGURES`, and list
its parts in `data_manifests/cartoon_part.yaml`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Bool
from PIL import Image

from partseg_cli.data.cartoon.animals import bird, cat, dog
from partseg_cli.data.cartoon.grazers import cow, horse, sheep
from partseg_cli.data.cartoon.indoor import bottle, pottedplant, tvmonitor
from partseg_cli.data.cartoon.pen import Canvas, Pen, Points, ellipse
from partseg_cli.data.cartoon.people import person
from partseg_cli.data.cartoon.scenery import hide_some, paint_backdrop, relight
from partseg_cli.data.cartoon.vehicles import aeroplane, bicycle, bus, car, motorbike, train
from partseg_cli.data.converters.conversion import Conversion, Converted, SourceImage
from partseg_cli.data.manifest import Manifest
from partseg_cli.data.record import Instance, Part, Record
from partseg_cli.data.rle import Mask
from partseg_cli.errors import UsageError
from partseg_cli.io.atomic import atomic_write

Figure = Callable[[Pen, np.random.Generator], None]

FIGURES: dict[str, Figure] = {
    "aeroplane": aeroplane,
    "bicycle": bicycle,
    "bird": bird,
    "bottle": bottle,
    "bus": bus,
    "car": car,
    "cat": cat,
    "cow": cow,
    "dog": dog,
    "horse": horse,
    "motorbike": motorbike,
    "person": person,
    "pottedplant": pottedplant,
    "sheep": sheep,
    "train": train,
    "tvmonitor": tvmonitor,
}

IMAGE_ROOT = "images"
VAL_EVERY = 5
"""Every so many images, one belongs to val."""

SIZES = (64, 1024)
"""Smallest and largest side in pixels: parts stay recognisable, drawing stays within a few hundred megabytes."""

CROWDS = (0.6, 0.3, 0.1)
"""Probabilities of one, two and three objects in a scene."""

SIDEWAYS = 0.1
"""Largest offset of an object from the centre of its slot, as a fraction of the slot."""

UNITS = ((0.34, 0.44), (0.27, 0.36), (0.22, 0.3))
"""Length of an object's unit as a fraction of the image's side, in scenes of one, two, three objects."""


@dataclass(frozen=True)
class Drawn:
    """One object of a scene.

    Attributes:
        name: Name of the object, such as "cat".
        mask: Visible pixels.
        parts: Name and visible pixels of each part; parts may overlap, and one name may occur several times.
    """

    name: str
    mask: Bool[np.ndarray, "H W"]
    parts: tuple[tuple[str, Bool[np.ndarray, "H W"]], ...]


@dataclass(frozen=True)
class Scene:
    """One image with its objects, from back to front."""

    image: Image.Image
    objects: tuple[Drawn, ...]


@dataclass(frozen=True)
class Placement:
    """Pose of an object in a scene.

    Attributes:
        name: Name of the object.
        x: Horizontal position of the foot, as a fraction of the image's side from the left.
        y: Vertical position of the foot, as a fraction of the image's side from the bottom.
        unit: Length of the object's unit, as a fraction of the image's side.
        tilt: Angle in radians, to the left.
        is_flipped: True if the object faces left.
    """

    name: str
    x: float
    y: float
    unit: float
    tilt: float
    is_flipped: bool

    @property
    def shadow(self) -> Points:
        """Its shadow on the ground."""
        return ellipse(self.x, self.y + 0.01, 0.95 * self.unit, 0.13 * self.unit)


def draw_scene(seed: int, index: int, size: int) -> Scene:
    """Draw scene `index` of the world `seed`, a square of `size` pixels, from `default_rng([seed, index])` alone."""
    rng = np.random.default_rng([seed, index])
    placements = place(rng, index)
    canvas = Canvas(paint_backdrop(rng, size, [placement.shadow for placement in placements]))
    for spot in placements:
        foot = (spot.x * size, (1 - spot.y) * size)
        FIGURES[spot.name](Pen(canvas, spot.name, foot, spot.unit * size, spot.tilt, spot.is_flipped), rng)
    hide_some(canvas, rng, size)
    return Scene(relight(canvas.image(), rng), find_objects(canvas))


def place(rng: np.random.Generator, index: int) -> list[Placement]:
    """Choose one to three objects and their poses, from back to front.

    The front object is chosen by the scene's index in turn, so that every split soon contains every object.
    """
    count = 1 + int(rng.choice(len(CROWDS), p=CROWDS))
    names = list(FIGURES)
    cast = [*rng.choice(names, count - 1), names[index % len(names)]]
    depths = np.sort(rng.uniform(0.04, 0.1 + 0.05 * count, count))[::-1]
    slots = rng.permutation(count)
    return [
        Placement(
            name=str(name),
            x=float((slot + 0.5 + rng.uniform(-SIDEWAYS, SIDEWAYS)) * 0.84 / count + 0.08),
            y=float(depth),
            unit=float(rng.uniform(*UNITS[count - 1])),
            tilt=float(rng.uniform(-0.08, 0.08)),
            is_flipped=bool(rng.random() < 0.5),
        )
        for name, depth, slot in zip(cast, depths, slots, strict=True)
    ]


def find_objects(canvas: Canvas) -> tuple[Drawn, ...]:
    """Return the visible objects on a canvas with their visible parts; unnamed pieces only hide others."""
    masks = canvas.masks()
    shows = np.asarray(masks.any(axis=(1, 2)))
    objects: dict[int, list[tuple[str, Bool[np.ndarray, "H W"]]]] = {}
    owner = [0] * len(canvas.pieces)
    for number, piece in enumerate(canvas.pieces[1:], start=1):
        owner[number] = owner[piece.on] or number
        if owner[number] == number:
            objects[number] = []
        elif piece.name and shows[number]:
            objects[owner[number]].append((piece.name, masks[number]))
    return tuple(
        Drawn(canvas.pieces[number].name, masks[number], tuple(parts))
        for number, parts in objects.items()
        if shows[number] and canvas.pieces[number].name
    )


def convert(folder: Path, manifest: Manifest, *, images: int, seed: int, size: int) -> Conversion:
    """Build the conversion that draws a dataset, with its images in a subfolder of `folder`.

    Raises:
        UsageError: `images`, `seed` or `size` is out of range.
    """
    if images < 1:
        raise UsageError(f"cartoon: images must be >= 1, got {images}; draw at least one")
    if seed < 0:
        raise UsageError(f"cartoon: seed must be >= 0, got {seed}; choose another")
    if not SIZES[0] <= size <= SIZES[1]:
        raise UsageError(
            f"cartoon: size must be from {SIZES[0]} to {SIZES[1]} pixels, got {size}; 128 is a good choice"
        )
    image_folder = folder / IMAGE_ROOT
    items = [SourceImage(f"cartoon seed {seed} image {index}", index) for index in range(images)]
    return Conversion(image_folder, items, partial(_draw, image_folder, manifest, seed, size), IMAGE_ROOT)


def _draw(image_folder: Path, manifest: Manifest, seed: int, size: int, index: int) -> list[Converted]:
    """Draw one image into the folder `image_folder` and return its record."""
    scene = draw_scene(seed, index, size)
    image_id = f"cartoon_{index:05d}"
    file_name = f"{image_id}.png"
    with atomic_write(image_folder / file_name, is_durable=False) as temporary:
        scene.image.save(temporary, "PNG", compress_level=1)
    objects, parts = _annotations(scene, manifest)
    source = f"cartoon seed {seed} image {index}"
    split = "val" if index % VAL_EVERY == VAL_EVERY - 1 else "train"
    return [Converted(split, Record(image_id, file_name, size, size, source, objects, parts))]


def _annotations(scene: Scene, manifest: Manifest) -> tuple[tuple[Instance, ...], tuple[Part, ...]]:
    """Return the instances and parts of a scene in the form of a store.

    All parts have level 1: parts overlap only where one covers another, so painting by area is already exact.
    """
    pairs = {(pair.object, pair.part): index for index, pair in enumerate(manifest.vocabulary.pairs)}
    objects, parts = [], []
    for number, drawn in enumerate(scene.objects, start=1):
        objects.append(Instance(number, manifest.objects.index(drawn.name), Mask.encode(drawn.mask)))
        for name, mask in drawn.parts:
            parts.append(Part(number, pairs[drawn.name, name], name, 1, Mask.encode(mask)))
    return tuple(objects), tuple(parts)
