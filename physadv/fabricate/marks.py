"""Draw what surrounds the pattern: crop marks, glue edges, ruler, markers, QR code and the map of the sheets."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import cv2
import numpy as np
import segno

from physadv.fabricate.document import FAINT, INK, QUIET, Document
from physadv.fabricate.layout import MARKER, OVERLAP, RULER, Layout, Sheet, row_name
from physadv.types import BoolArray, UInt8Array

# 5x5 bits and a black border of one; four ids a sheet, from the upper left corner clockwise, are enough for 250 sheets.
DICTIONARY = cv2.aruco.DICT_5X5_1000
GAP, CROP = 1.5, 4.0


def marker_ids(sheet: Sheet) -> list[int]:
    """Return the ids of a sheet's markers: upper left, upper right, lower right, lower left."""
    return [4 * sheet.number + i for i in range(4)]


def marker_cells(identity: int) -> BoolArray:
    """Return the (7, 7) grid of a marker, True where it is black."""
    dictionary = cv2.aruco.getPredefinedDictionary(DICTIONARY)
    return np.asarray(cv2.aruco.generateImageMarker(dictionary, identity, 7)) == 0


def markers(pdf: Document, layout: Layout, sheet: Sheet) -> None:
    """Draw the four markers in the sheet's corners."""
    for (x, y), identity in zip(layout.markers(), marker_ids(sheet), strict=True):
        pdf.cells(marker_cells(identity), x - MARKER / 2, y - MARKER / 2, MARKER / 7)


def crop_marks(pdf: Document, sheet: Sheet) -> None:
    """Draw hairlines outside the four corners, in line with the pattern's edges."""
    for x, outward in ((sheet.x, -1), (sheet.x + sheet.width, 1)):
        for y, away in ((sheet.y, -1), (sheet.y + sheet.height, 1)):
            pdf.line_to(x + outward * GAP, y, x + outward * (GAP + CROP), y)
            pdf.line_to(x, y + away * GAP, x, y + away * (GAP + CROP))


def glue_edges(pdf: Document, layout: Layout, sheet: Sheet) -> None:
    """Mark in the margin the strips that the next sheets cover, and name those sheets."""
    right, bottom = sheet.x + sheet.width, sheet.y + sheet.height
    thin = 0.9
    if sheet.column + 1 < layout.columns:
        for y in (sheet.y - GAP - thin, bottom + GAP):
            pdf.box(right - OVERLAP, y, OVERLAP, thin, grey=FAINT)
        with pdf.rotation(90, right + 4.4, sheet.y + sheet.height / 2):
            label = f"{row_name(sheet.row)}{sheet.column + 2} over this edge"
            pdf.words(right + 4.4, sheet.y + sheet.height / 2, label, size=6, grey=QUIET, align="C")
    if sheet.row + 1 < layout.rows:
        for x in (sheet.x - GAP - thin, right + GAP):
            pdf.box(x, bottom - OVERLAP, thin, OVERLAP, grey=FAINT)
        label = f"{row_name(sheet.row + 1)}{sheet.column + 1} over this edge"
        pdf.words(sheet.x + sheet.width / 2, bottom + 5, label, size=6, grey=QUIET, align="C")


def upright(pdf: Document, width_mm: float, rim: float, x: float, y: float) -> None:
    """Draw the triangle that points up in the white rim of a card whose upper left corner is at x, y.

    rim: its width as a part of the card's. To a camera the triangle is a grey pixel.
    """
    high = 0.6 * rim * width_mm
    middle, top = x + width_mm / 2, y + 0.2 * rim * width_mm
    pdf.set_fill_color(INK)
    pdf.polygon([(middle, top), (middle + 0.6 * high, top + high), (middle - 0.6 * high, top + high)], style="F")


def ruler(pdf: Document, x: float, y: float) -> None:
    """Draw 100 mm from x, its ticks hanging from y."""
    pdf.line_to(x - 0.05, y, x + RULER + 0.05, y, width=0.1)
    for mm in range(int(RULER) + 1):
        length = 3.2 if mm % 10 == 0 else 2.2 if mm % 5 == 0 else 1.3
        pdf.line_to(x + mm, y, x + mm, y + length, width=0.1)
        if mm % 10 == 0:
            pdf.words(x + mm, y + 5.4, str(mm), size=6, align="C")
    pdf.words(x + 1.6, y + 5.4, "mm", size=6, grey=QUIET)


@lru_cache(maxsize=4)
def qr_cells(text: str) -> BoolArray:
    """Return the QR code of a text as a square grid, True where it is dark, without its quiet zone."""
    code = segno.make(text, error="l", micro=False, boost_error=False)
    return np.array([list(row) for row in code.matrix], np.uint8) != 0


def qr(pdf: Document, text: str, x: float, y: float, side: float) -> None:
    """Draw a QR code of `side` millimetres, quiet zone not counted."""
    grid = qr_cells(text)
    pdf.cells(grid, x, y, side / len(grid))


def sheet_map(
    pdf: Document,
    layout: Layout,
    sheet: Sheet,
    image: Callable[[int, int], UInt8Array],
    size: tuple[float, float],
    corner: tuple[float, float],
) -> None:
    """Draw the whole print small, ruled into its sheets, the present one framed.

    image: gives the print at (width, height) dots, (h, w, channels) uint8. size: width and height in millimetres.
    corner: its upper left corner.
    """
    (x, y), (w, h) = corner, size
    dots = max(1, round(w * 4)), max(1, round(h * 4))
    pdf.raster([image(*dots)], dots, x, y, w, h)
    total_w, total_h = layout.sheets[-1].dots[2], layout.sheets[-1].dots[3]
    for other in layout.sheets:
        x0, y0, x1, y1 = other.dots
        pdf.frame(
            x + w * x0 / total_w, y + h * y0 / total_h, w * (x1 - x0) / total_w, h * (y1 - y0) / total_h,
            line=0.1, grey=255,
        )  # fmt: skip
    x0, y0, x1, y1 = sheet.dots
    place = x + w * x0 / total_w, y + h * y0 / total_h, w * (x1 - x0) / total_w, h * (y1 - y0) / total_h
    if len(layout.sheets) > 1:
        pdf.frame(*place, line=0.9, grey=255)
        pdf.frame(*place, line=0.45)
    else:
        pdf.frame(x, y, w, h, grey=QUIET)
