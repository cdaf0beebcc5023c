"""Draw a print on sheets of paper: the pattern true to the millimetre, and the marks to check, cut and join it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from physadv.fabricate import marks
from physadv.fabricate.artwork import Raster, on_white
from physadv.fabricate.document import QUIET, Document
from physadv.fabricate.inks import Inks
from physadv.fabricate.layout import BOTTOM, EDGE, MARKER, Layout, Sheet
from physadv.types import UInt8Array

# Rows rendered at a time: a poster of three metres is never whole in memory.
BAND = 256
HEAD = 16.0


@dataclass(frozen=True, slots=True)
class Legend:
    """The words on a sheet. title: the pattern's name. note: how it goes on (garments). sha256: of what is printed."""

    title: str
    kind: str
    sha256: str
    note: str
    advice: str


def draw(
    pdf: Document,
    raster: Raster,
    layout: Layout,
    legend: Legend,
    inks: Inks,
    over: Callable[[float, float], None] | None = None,
    *,
    only: int | None = None,
) -> None:
    """Add every sheet of one print to a document, or the one numbered `only`.

    over: draws lines on top of the raster, given where its upper left corner lies in millimetres; what falls outside the
    sheet's piece is clipped.
    """
    for sheet in layout.sheets:
        if only is not None and sheet.number != only:
            continue
        pdf.sheet(*layout.paper)
        x0, y0, x1, y1 = sheet.dots
        pdf.raster(_bands(raster, sheet, inks), (x1 - x0, y1 - y0), sheet.x, sheet.y, sheet.width, sheet.height)
        if over is not None:
            with pdf.rect_clip(sheet.x, sheet.y, sheet.width, sheet.height):
                over(sheet.x - x0 * raster.width_mm / raster.width, sheet.y - y0 * raster.height_mm / raster.height)
        marks.crop_marks(pdf, sheet)
        marks.glue_edges(pdf, layout, sheet)
        marks.markers(pdf, layout, sheet)
        _head(pdf, raster, layout, sheet, legend, inks)
        _foot(pdf, layout, sheet, legend, inks)


def _bands(raster: Raster, sheet: Sheet, inks: Inks) -> Iterator[UInt8Array]:
    x0, y0, x1, y1 = sheet.dots
    for top in range(y0, y1, BAND):
        yield inks.convert(on_white(raster.piece(x0, top, x1, min(top + BAND, y1))))


def _head(pdf: Document, raster: Raster, layout: Layout, sheet: Sheet, legend: Legend, inks: Inks) -> None:
    """Write what this is, above the pattern: label, name, size, how to print; map and QR at the right."""
    left, right, top = EDGE + MARKER + 4, layout.paper[0] - EDGE - MARKER - 4, EDGE
    side = HEAD
    marks.qr(pdf, _code(raster, legend), right - side, top, side)
    right -= side + 4
    shape = min(HEAD / raster.height_mm, 26 / raster.width_mm)
    size = (raster.width_mm * shape, raster.height_mm * shape)
    marks.sheet_map(pdf, layout, sheet, lambda w, h: inks.convert(raster.small(w, h)), size, (right - size[0], top))
    right -= size[0] + 4
    if len(layout.sheets) > 1:
        pdf.words(left - 0.6, top + 9.2, sheet.label, size=33, bold=True)
        pdf.set_font("Helvetica", "B", 33)
        left += pdf.get_string_width(sheet.label) + 4
    pdf.words(left, top + 4.6, legend.title, size=15, bold=True, width=right - left)
    lines = [_measure(raster, layout, sheet, legend)]
    lines += [part for text in (legend.note, legend.advice) if text for part in
              pdf.lines_of(text, size=6.6, width=right - left)]  # fmt: skip
    for i, text in enumerate(lines[:5]):
        pdf.words(left, top + 9.0 + i * 2.9, text, size=6.6, grey=QUIET if i else 40, width=right - left)


def _measure(raster: Raster, layout: Layout, sheet: Sheet, legend: Legend) -> str:
    parts = [f"{raster.width_mm:.1f} × {raster.height_mm:.1f} mm".replace(".0", "")]
    if len(layout.sheets) > 1:
        parts.append(f"sheet {sheet.row * layout.columns + sheet.column + 1} of {len(layout.sheets)}")
    return "   ".join([*parts, legend.kind] if legend.kind else parts)


def _code(raster: Raster, legend: Legend) -> str:
    name = legend.title.encode("ascii", "replace").decode()
    return f"physadv {name} {raster.width_mm:.1f}x{raster.height_mm:.1f}mm sha256:{legend.sha256}"


def _foot(pdf: Document, layout: Layout, sheet: Sheet, legend: Legend, inks: Inks) -> None:
    """Draw the ruler and the small print under the pattern."""
    width, height = layout.paper
    left, right, top = EDGE + MARKER + 4, width - EDGE - MARKER - 4, height - BOTTOM + 11
    ids = marks.marker_ids(sheet)
    (x0, y0), _, (x1, y1), _ = layout.markers()
    across = f"{x1 - x0:.1f} × {y1 - y0:.1f} mm".replace(".0", "")
    marks.ruler(pdf, left, top)
    small = [
        f"sha256 {legend.sha256}",
        f"markers {ids[0]} to {ids[3]} of 5x5_1000, centres {across} apart   300 dpi   {inks.name}",
    ]
    for i, text in enumerate(small):
        pdf.words(left, top + 8.6 + i * 2.6, text, size=6, grey=QUIET, mono=not i, width=min(right - left, 112))
