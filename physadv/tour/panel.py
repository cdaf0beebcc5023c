"""An image of the tour's video: the picture, and below it what is done, the number and the reason."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw

from physadv.marks import PERSON
from physadv.tour.fonts import Font, sized
from physadv.types import UInt8Array

# Pixels: of the whole image, of the picture in it, of the margin, and between the columns.
WIDTH, HEIGHT, PICTURE, MARGIN, BETWEEN = 1280, 840, 540, 36, 48
GROUND, INK, SOFT = (13, 20, 21), (230, 236, 236), (147, 162, 163)
# Sizes of the text that are tried, until all of it is within the panel; titles are larger by so much.
SIZES, LARGER = (20, 19, 18, 17, 16, 15, 14, 13, 12), 1.4
# A Chinese character or a word with the space after it; what may not begin a line stays with what is before it.
PIECES = re.compile(r"(?:[\u2e80-\uffef]|[^ \u2e80-\uffef]+)[，。：；、）！？”》]* *")


@dataclass(frozen=True)
class Caption:
    """What is written under a picture.

    place: which stop of how many. done: what the picture shows now. now: live figures. labels: of what is done, of the
    live figures, of the measured ones, of the reason and of what to read.
    """

    place: str
    title: str
    do: str
    done: str
    now: tuple[str, ...]
    measured: str
    why: str
    read: str
    labels: tuple[str, str, str, str]


def composed(picture: UInt8Array, caption: Caption, font: Path | None) -> UInt8Array:
    """Return an image (HEIGHT, WIDTH, 3) uint8 RGB: a picture of any size (h, w, 3) above its caption."""
    out = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    out[:] = GROUND
    high, wide = picture.shape[:2]
    scale = min(WIDTH / wide, PICTURE / high)
    size = (max(round(wide * scale), 1), max(round(high * scale), 1))
    small = (
        picture
        if size == (wide, high)
        else cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    )
    left, top = (WIDTH - size[0]) // 2, (PICTURE - size[1]) // 2
    out[top : top + size[1], left : left + size[0]] = small
    out[PICTURE:] = drawn_caption(caption, font)
    return out


@lru_cache(maxsize=64)
def drawn_caption(caption: Caption, font: Path | None) -> UInt8Array:
    """Return a caption (HEIGHT - PICTURE, WIDTH, 3) uint8 RGB, in the largest size in which all of it is there."""
    for size in SIZES:
        out = Image.new("RGB", (WIDTH, HEIGHT - PICTURE), GROUND)
        if max(_left(out, caption, font, size), _right(out, caption, font, size)) <= out.height - MARGIN // 3:
            break
    return np.asarray(out)


def _left(out: Image.Image, caption: Caption, font: Path | None, size: int) -> float:
    column = _Column(out, MARGIN, font)
    column.write(caption.place, round(size * 0.8), SOFT)
    column.write(caption.title, round(size * LARGER), INK, gap=size * 0.6)
    column.write(caption.do, size, INK, gap=size * 0.6)
    column.write(caption.done, size, PERSON, gap=size * 0.8)
    column.write(caption.labels[0], round(size * 0.8), SOFT)
    for line in caption.now:
        column.write(line, round(size * 1.15), INK)
    return column.y


def _right(out: Image.Image, caption: Caption, font: Path | None, size: int) -> float:
    column = _Column(out, MARGIN + _Column.width + BETWEEN, font)
    for label, text in zip(caption.labels[1:3], (caption.measured, caption.why), strict=True):
        column.write(label, round(size * 0.8), SOFT)
        column.write(text, size, INK, gap=size * 0.6)
    column.write(f"{caption.labels[3]}: {caption.read}", round(size * 0.8), SOFT)
    return column.y


class _Column:
    """Writes texts below each other. y: where the next begins."""

    width = (WIDTH - 2 * MARGIN - BETWEEN) // 2

    def __init__(self, out: Image.Image, x: int, font: Path | None) -> None:
        self.y = 14.0
        self._draw, self._x, self._font = ImageDraw.Draw(out), x, font

    def write(self, text: str, size: int, colour: tuple[int, int, int], *, gap: float = 2.0) -> None:
        """Write a text, wrapped, `size` pixels high. gap: pixels below it."""
        font = sized(self._font, size)
        for line in wrapped(text, font, self.width):
            self._draw.text((self._x, self.y), line, colour, font)
            self.y += size * 1.3
        self.y += gap


def wrapped(text: str, font: Font, width: float) -> list[str]:
    """Return a text as lines of at most `width` pixels; a single word may be wider."""
    lines = [""]
    for piece in PIECES.findall(text):
        longer = lines[-1] + piece
        if lines[-1] and font.getlength(longer.rstrip()) > width:
            lines.append(piece)
        else:
            lines[-1] = longer
    return [line.rstrip() for line in lines]
