"""Label maps drawn over images: overlays with a legend, contact sheets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int, UInt8
from PIL import Image, ImageDraw, ImageFont

OPACITY, LIGHT = 0.55, 0.6
"""Opacity of the colours, and of the white lines between regions."""
PAPER, INK = (250, 250, 248), (32, 32, 36)
"""Background and text colours of figures."""


def overlay_labels(
    image: Image.Image, labels: Int[np.ndarray, "H W"], colours: UInt8[np.ndarray, "C 3"]
) -> Image.Image:
    """Draw a label map (-1 = void) over an image, with a light line around each region."""
    pixels = np.asarray(image).astype(np.float32)
    inside = labels >= 0
    pixels[inside] = (1 - OPACITY) * pixels[inside] + OPACITY * colours[labels[inside]]
    edge = label_edges(labels)
    pixels[edge] = (1 - LIGHT) * pixels[edge] + LIGHT * 255
    return Image.fromarray(pixels.astype(np.uint8))


def label_edges(labels: Int[np.ndarray, "H W"]) -> Bool[np.ndarray, "H W"]:
    """Return the mask of pixels whose label differs from that of their left or upper neighbour."""
    edges = np.zeros(labels.shape, np.bool_)
    edges[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    edges[1:] |= labels[1:] != labels[:-1]
    return edges


def add_legend(figure: Image.Image, entries: Sequence[tuple[Sequence[int], str]], title: str = "") -> Image.Image:
    """Return the figure with a panel on its right: the title, then one line for each (colour, name)."""
    size = max(12, round(max(figure.size) / 40))
    font = ImageFont.load_default(size)
    lines = [text for _, text in entries] + [title]
    width = round(max(font.getlength(line) for line in lines)) + 4 * size
    height = max(figure.height, round((len(entries) + 2.5) * 1.5 * size))
    sheet = Image.new("RGB", (figure.width + width, height), PAPER)
    sheet.paste(figure, (0, 0))
    draw = ImageDraw.Draw(sheet)
    left = figure.width + size
    draw.text((left, size), title, fill=INK, font=font)
    for line, (fill, text) in enumerate(entries):
        top = round((1.6 + line) * 1.5 * size) + size // 2
        draw.rectangle((left, top, left + size, top + size), fill=tuple(fill), outline=INK)
        draw.text((left + 2 * size, top + size / 2), text, fill=INK, font=font, anchor="lm")
    return sheet


def contact_sheet(figures: Sequence[Image.Image], columns: int = 4, edge: int = 360) -> Image.Image:
    """Return the figures in rows, each one resized to fit a square of `edge` pixels."""
    columns, gap = min(columns, len(figures)), edge // 30
    tiles = []
    for figure in figures:
        scale = edge / max(figure.size)
        tiles.append(figure.resize((max(1, round(figure.width * scale)), max(1, round(figure.height * scale)))))
    rows = [tiles[start : start + columns] for start in range(0, len(tiles), columns)]
    heights = [max(tile.height for tile in row) for row in rows]
    sheet = Image.new("RGB", (columns * (edge + gap) + gap, sum(heights) + (len(rows) + 1) * gap), PAPER)
    top = gap
    for row, height in zip(rows, heights, strict=True):
        for column, tile in enumerate(row):
            left = gap + column * (edge + gap)
            sheet.paste(tile, (left + (edge - tile.width) // 2, top + (height - tile.height) // 2))
        top += height + gap
    return sheet
