"""The colour chart: which colours are where on the sheet, in millimetres, and how the sheet looks.

A lattice through the colour cube and its cells' centres, a grey ramp and known colours, each printed twice at random
places, and white and grey cells spread evenly; two prints of one colour differ by light and noise, not by ink.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np

from physadv.types import Float32Array, UInt8Array

# Printed charts must stay readable: never change version 1, add another.
VERSION = 1
PAGE_MM = (210.0, 297.0)
COLUMNS, ROWS, CELL_MM = 18, 26, 9.0
LEFT_MM, TOP_MM = 24.0, 31.5
MARKER_MM = 15.0
# Top-left, top-right, bottom-right, bottom-left, as (id, left, top) in millimetres.
MARKERS = ((90, 11.0, 11.0), (91, 184.0, 11.0), (92, 184.0, 271.0), (93, 11.0, 271.0))
CORNER_NAMES = {90: "top left", 91: "top right", 92: "bottom right", 93: "bottom left"}
DICTIONARY = cv2.aruco.DICT_4X4_100
# The 24 colours of the usual colour-rendition charts, as their sRGB approximations.
KNOWN = (
    (115, 82, 68), (194, 150, 130), (98, 122, 157), (87, 108, 67), (133, 128, 177), (103, 189, 170),
    (214, 126, 44), (80, 91, 166), (193, 90, 99), (94, 60, 108), (157, 188, 64), (224, 163, 46),
    (56, 61, 150), (70, 148, 73), (175, 54, 60), (231, 199, 31), (187, 86, 149), (8, 133, 161),
    (243, 243, 242), (200, 200, 200), (160, 160, 160), (122, 122, 121), (85, 85, 85), (52, 52, 52),
)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Chart:
    """colours: (n, 3) uint8, the distinct colours. cell: (rows, columns) int64, which of them each cell shows."""

    colours: UInt8Array
    cell: np.ndarray[tuple[int, int], np.dtype[np.int64]]

    def centres_mm(self) -> Float32Array:
        """Return (rows * columns, 2) centres of the cells in millimetres from the page's top left, row by row."""
        y, x = np.mgrid[0:ROWS, 0:COLUMNS]
        at = np.stack([LEFT_MM + (x + 0.5) * CELL_MM, TOP_MM + (y + 0.5) * CELL_MM], -1)
        return at.reshape(-1, 2).astype(np.float32)

    def grid(self) -> UInt8Array:
        """Return the (rows, columns, 3) uint8 colours, one pixel a cell."""
        return self.colours[self.cell]

    def image(self, dpi: float) -> UInt8Array:
        """Return the page as (h, w, 3) uint8 RGB at so many dots an inch, without its text."""
        scale = dpi / 25.4
        width, height = (round(side * scale) for side in PAGE_MM)
        page = np.full((height, width, 3), 255, np.uint8)
        size = (round(COLUMNS * CELL_MM * scale), round(ROWS * CELL_MM * scale))
        left, top = round(LEFT_MM * scale), round(TOP_MM * scale)
        page[top : top + size[1], left : left + size[0]] = cv2.resize(
            self.grid(), size, interpolation=cv2.INTER_NEAREST_EXACT
        )
        side = round(MARKER_MM * scale)
        for number, x, y in MARKERS:
            marker = cv2.resize(marker_bits(number), (side, side), interpolation=cv2.INTER_NEAREST_EXACT)
            page[round(y * scale) : round(y * scale) + side, round(x * scale) : round(x * scale) + side] = marker[
                ..., None
            ]
        return page


def marker_bits(number: int) -> UInt8Array:
    """Return the (6, 6) uint8 cells of a chart marker, border included: 0 black, 255 white."""
    dictionary = cv2.aruco.getPredefinedDictionary(DICTIONARY)
    return cv2.aruco.generateImageMarker(dictionary, number, 6)  # type: ignore[return-value]


def marker_corners_mm(number: int) -> Float32Array:
    """Return the (4, 2) corners of a marker in millimetres, clockwise from its top left."""
    x, y = next((x, y) for n, x, y in MARKERS if n == number)
    s = MARKER_MM
    return np.array([[x, y], [x + s, y], [x + s, y + s], [x, y + s]], np.float32)


@cache
def chart() -> Chart:
    """Return the chart, version 1: always the same."""
    line, between = np.linspace(0, 255, 5), (np.arange(4) + 0.5) * 255 / 4
    lattice = np.stack(np.meshgrid(line, line, line, indexing="ij"), -1).reshape(-1, 3)
    body = np.stack(np.meshgrid(between, between, between, indexing="ij"), -1).reshape(-1, 3)
    ramp = np.linspace(0, 255, 17)[:, None].repeat(3, 1)
    stacked = np.concatenate([lattice, body, ramp, np.array(KNOWN, float)])
    colours = np.array(list(dict.fromkeys(map(tuple, np.round(stacked).astype(int).tolist()))), np.uint8)
    return Chart(colours, _placed(colours))


def _placed(colours: UInt8Array) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    """Return which colour each cell shows: references on an even raster, all colours twice in random order in the rest."""
    cells = ROWS * COLUMNS
    white = int(np.flatnonzero((colours == 255).all(1))[0])
    grey = int(np.flatnonzero((colours == 128).all(1))[0])
    out = np.full(cells, -1, np.int64)
    spare = cells - 2 * len(colours)
    at = _spread(spare)
    out[at] = np.where(np.arange(spare) % 2 == 0, white, grey)
    free = np.flatnonzero(out < 0)
    copies = np.repeat(np.arange(len(colours)), 2)
    # A hash is the random order: unlike a library's random numbers it never changes.
    lots = [hashlib.sha256(f"chart {VERSION} {k}".encode()).digest() for k in range(len(free))]
    out[free[np.array(sorted(range(len(free)), key=lots.__getitem__))]] = copies
    return out.reshape(ROWS, COLUMNS)


def _spread(count: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return `count` cells that lie evenly over the grid: the additive sequence of the plastic number."""
    plastic = 1.324717957244746
    found: dict[int, None] = {}
    step = 0
    while len(found) < count:
        step += 1
        x, y = (0.5 + step / plastic) % 1, (0.5 + step / plastic**2) % 1
        found.setdefault(int(y * ROWS) * COLUMNS + int(x * COLUMNS))
    return np.array(list(found), np.int64)
