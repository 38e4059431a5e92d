"""Label maps drawn over images: overlays with a legend, contact sheets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int, UInt8
from PIL import Image, ImageDraw, ImageFont

OPACITY, LIGHT = 0.55, 0.6
"""Of the colours, and of the white lines around them."""
PAPER, INK = (250, 250, 248), (32, 32, 36)


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
