"""Compute where everything lies on every sheet, in millimetres from its upper left corner; nothing is drawn."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from physadv.errors import FabricationError

OVERLAP = 10.0
# Home printers leave 3 to 6 mm white at the edge.
EDGE = 8.0
MARKER = 12.0
RULER = 100.0
# Room above the pattern for title, map and QR, below it for the ruler, beside it for crop marks and the notes on glueing.
TOP, BOTTOM, SIDE = 33.0, 31.0, 12.0
# Between the upper and the lower markers the ruler needs its 100 mm and some air.
MIN_WIDTH = 2 * (EDGE + MARKER) + RULER + 4
MIN_TILE = 40.0
MAX_SHEETS = 240


@dataclass(frozen=True, slots=True)
class Sheet:
    """One sheet: which part of the raster it shows and where.

    row, column: from 0. label: "A1" is the upper left one, letters go down, numbers across. x, y, width, height: of the
    piece on the paper, in millimetres. dots: (x0, y0, x1, y1) of the raster. number: from 0 over the whole document.
    """

    number: int
    row: int
    column: int
    label: str
    x: float
    y: float
    width: float
    height: float
    dots: tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Layout:
    """How a raster is spread over sheets of one paper.

    paper: (width, height) in millimetres, turned as it serves best. overlap: what neighbours share, in millimetres.
    """

    paper: tuple[float, float]
    columns: int
    rows: int
    overlap: float
    sheets: tuple[Sheet, ...]

    def markers(self) -> list[tuple[float, float]]:
        """Return the centres of the four markers in millimetres: upper left, upper right, lower right, lower left."""
        w, h = self.paper
        low, right, down = EDGE + MARKER / 2, w - EDGE - MARKER / 2, h - EDGE - MARKER / 2
        return [(low, low), (right, low), (right, down), (low, down)]


def row_name(row: int) -> str:
    """Return A, B, ... Z, AA, AB, ... for 0, 1, ..."""
    name = ""
    row += 1
    while row:
        row, rest = divmod(row - 1, 26)
        name = chr(65 + rest) + name
    return name


def fitting_paper(width_mm: float, height_mm: float) -> tuple[float, float]:
    """Return the smallest sheet, in whole millimetres, that takes a print of this size with its marks at once."""
    return float(math.ceil(max(width_mm + 2 * SIDE, MIN_WIDTH))), float(math.ceil(height_mm + TOP + BOTTOM))


def plan(
    width_mm: float, height_mm: float, dots: tuple[int, int], paper: tuple[float, float], *, first: int = 0
) -> Layout:
    """Return the layout with the fewest sheets, the paper turned where that saves some, the pieces of one size.

    width_mm, height_mm, dots: size of the raster. paper: its two sides. first: number of the first sheet, which decides
    the ids of the markers.

    Raises: FabricationError if the paper is too small for its marks, or it would take more than 240 sheets.
    """
    ways = dict.fromkeys([paper, paper[::-1]])
    grids = {way: grid for way in ways if (grid := _grid(width_mm, height_mm, way)) is not None}
    if not grids:
        need = f"{MIN_WIDTH:g} x {TOP + BOTTOM + MIN_TILE:g}"
        raise FabricationError(
            f"{paper[0]:g} x {paper[1]:g} mm is too small for ruler, markers and pattern",
            field="paper",
            expected=f"at least {need} mm (a5 is 148 x 210)",
        )
    best = min(grids, key=lambda way: (grids[way][0] * grids[way][1], _waste(width_mm, height_mm, way, grids[way])))
    columns, rows = grids[best]
    if first + columns * rows > MAX_SHEETS:
        raise FabricationError(
            f"{width_mm / 10:g} x {height_mm / 10:g} cm would take {first + columns * rows} sheets of "
            f"{paper[0]:g} x {paper[1]:g} mm, more than {MAX_SHEETS}",
            field="paper",
            hint="choose a larger paper (or fit) or a smaller size",
        )
    sheets = tuple(_sheets(width_mm, height_mm, dots, best, columns, rows, first))
    return Layout(best, columns, rows, OVERLAP if len(sheets) > 1 else 0.0, sheets)


def _room(paper: tuple[float, float]) -> tuple[float, float]:
    return paper[0] - 2 * SIDE, paper[1] - TOP - BOTTOM


def _grid(width_mm: float, height_mm: float, paper: tuple[float, float]) -> tuple[int, int] | None:
    """Return (columns, rows) that cover the print on this paper as it lies, or None if it is too small for the marks."""
    w, h = _room(paper)
    if paper[0] < MIN_WIDTH or min(w - min(width_mm, MIN_TILE), h - min(height_mm, MIN_TILE)) < 0:
        return None
    return tuple(  # type: ignore[return-value]
        max(1, math.ceil((size - OVERLAP - 1e-6) / (room - OVERLAP))) if size > room + 1e-6 else 1
        for size, room in ((width_mm, w), (height_mm, h))
    )


def _waste(width_mm: float, height_mm: float, paper: tuple[float, float], grid: tuple[int, int]) -> float:
    """Return how far a piece is from the paper's own shape: of two ways with as many sheets, the better filled one."""
    room = _room(paper)
    fill = (width_mm / grid[0] / room[0], height_mm / grid[1] / room[1])
    return abs(fill[0] - fill[1])


def _cuts(size: int, count: int, overlap: int) -> list[tuple[int, int]]:
    """Return `count` spans of dots that cover 0..size, neighbours sharing `overlap`, as even as whole dots allow."""
    length = (size + (count - 1) * overlap) / count
    starts = [round(i * (length - overlap)) for i in range(count)]
    ends = [start + overlap for start in starts[1:]] + [size]
    return list(zip(starts, ends, strict=True))


def _sheets(
    width_mm: float,
    height_mm: float,
    dots: tuple[int, int],
    paper: tuple[float, float],
    columns: int,
    rows: int,
    first: int,
) -> Iterator[Sheet]:
    pitch_x, pitch_y = width_mm / dots[0], height_mm / dots[1]
    room_w, room_h = _room(paper)
    across = _cuts(dots[0], columns, round(OVERLAP / pitch_x))
    down = _cuts(dots[1], rows, round(OVERLAP / pitch_y))
    for row, (y0, y1) in enumerate(down):
        for column, (x0, x1) in enumerate(across):
            width, height = (x1 - x0) * pitch_x, (y1 - y0) * pitch_y
            x, y = SIDE + (room_w - width) / 2, TOP + (room_h - height) / 2
            label = f"{row_name(row)}{column + 1}"
            yield Sheet(first + row * columns + column, row, column, label, x, y, width, height, (x0, y0, x1, y1))
