"""Masks -> pictures: overlays with a legend, label PNGs, contact sheets."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int, UInt8
from PIL import Image, ImageDraw, ImageFont

from partseg_cli.io.atomic import atomic_write

GOLDEN_RATIO = 0.618034
"""Steps of this size around the colour circle keep neighbours apart, however many there are."""
OPACITY, LIGHT = 0.55, 0.6
"""Of the colours, and of the white lines around them."""
NOTHING_8, NOTHING_16 = 255, 65535
PAPER, INK = (250, 250, 248), (32, 32, 36)


def palette(count: int) -> UInt8[np.ndarray, "{count} 3"]:
    """Give `count` colours that differ from each other, always the same ones."""
    colours = [
        colorsys.hsv_to_rgb((index * GOLDEN_RATIO) % 1, (0.85, 0.6)[index % 2], (1.0, 0.8, 0.95)[index % 3])
        for index in range(count)
    ]
    return (np.array(colours).reshape(count, 3) * 255).astype(np.uint8)


def colour(photo: Image.Image, labels: Int[np.ndarray, "H W"], colours: UInt8[np.ndarray, "C 3"]) -> Image.Image:
    """Lay colours over the labelled pixels (-1 = none) of a photo, with a light line around each region."""
    pixels = np.asarray(photo).astype(np.float32)
    inside = labels >= 0
    pixels[inside] = (1 - OPACITY) * pixels[inside] + OPACITY * colours[labels[inside]]
    edge = edges(labels)
    pixels[edge] = (1 - LIGHT) * pixels[edge] + LIGHT * 255
    return Image.fromarray(pixels.astype(np.uint8))


def edges(labels: Int[np.ndarray, "H W"]) -> Bool[np.ndarray, "H W"]:
    """Give the pixels whose label differs from that of their left or upper neighbour."""
    found = np.zeros(labels.shape, np.bool_)
    found[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    found[1:] |= labels[1:] != labels[:-1]
    return found


def with_legend(picture: Image.Image, entries: Sequence[tuple[Sequence[int], str]], title: str = "") -> Image.Image:
    """Add a panel at the right: a title, then a colour and its word on each line."""
    size = max(12, round(max(picture.size) / 40))
    font = ImageFont.load_default(size)
    lines = [text for _, text in entries] + [title]
    width = round(max(font.getlength(line) for line in lines)) + 4 * size
    height = max(picture.height, round((len(entries) + 2.5) * 1.5 * size))
    sheet = Image.new("RGB", (picture.width + width, height), PAPER)
    sheet.paste(picture, (0, 0))
    draw = ImageDraw.Draw(sheet)
    left = picture.width + size
    draw.text((left, size), title, fill=INK, font=font)
    for line, (fill, text) in enumerate(entries):
        top = round((1.6 + line) * 1.5 * size) + size // 2
        draw.rectangle((left, top, left + size, top + size), fill=tuple(fill), outline=INK)
        draw.text((left + 2 * size, top + size / 2), text, fill=INK, font=font, anchor="lm")
    return sheet


def contact_sheet(tiles: Sequence[Image.Image], columns: int = 4, edge: int = 360) -> Image.Image:
    """Arrange pictures in rows as high as they need, each picture made to fit a square of `edge` pixels."""
    columns, gap = min(columns, len(tiles)), edge // 30
    fitted = [_fitted(tile, edge) for tile in tiles]
    rows = [fitted[start : start + columns] for start in range(0, len(fitted), columns)]
    heights = [max(tile.height for tile in row) for row in rows]
    sheet = Image.new("RGB", (columns * (edge + gap) + gap, sum(heights) + (len(rows) + 1) * gap), PAPER)
    top = gap
    for row, height in zip(rows, heights, strict=True):
        for column, tile in enumerate(row):
            left = gap + column * (edge + gap)
            sheet.paste(tile, (left + (edge - tile.width) // 2, top + (height - tile.height) // 2))
        top += height + gap
    return sheet


def _fitted(tile: Image.Image, edge: int) -> Image.Image:
    scale = edge / max(tile.size)
    return tile.resize((max(1, round(tile.width * scale)), max(1, round(tile.height * scale))))


def save_picture(path: Path, picture: Image.Image) -> None:
    """Write a PNG, whole or not at all."""
    with atomic_write(path) as temporary:
        picture.save(temporary, "PNG")


def save_labels(path: Path, labels: Int[np.ndarray, "H W"], count: int) -> None:
    """Write labels (-1 = nothing) of `count` words as a PNG.

    8 bits with a palette and 255 for nothing; from 255 words on 16 bits without a palette and 65535 for nothing.
    """
    if count >= NOTHING_8:
        save_picture(path, Image.fromarray(np.where(labels < 0, NOTHING_16, labels).astype(np.uint16)))
        return
    picture = Image.fromarray(np.where(labels < 0, NOTHING_8, labels).astype(np.uint8))
    colours = np.zeros((NOTHING_8 + 1, 3), np.uint8)
    colours[:count] = palette(count)
    picture.putpalette(colours.tobytes())
    save_picture(path, picture)
