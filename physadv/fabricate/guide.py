"""Instructions from sheet to shirt: what to buy, temperature and time, which side up, in which order, where on the body.

Temperatures and times are usual ones of ink-jet transfer papers and of sublimation on polyester; papers differ, so each
list says that the maker's own leaflet goes before them.
"""

from __future__ import annotations

from dataclasses import dataclass

from physadv.arrays import counted
from physadv.fabricate import shirt
from physadv.fabricate.document import QUIET, Document
from physadv.fabricate.layout import Layout
from physadv.fabricate.settings import PrintSettings, ShirtSize
from physadv.fabricate.units import cm
from physadv.patch import Patch
from physadv.simulate.placement import CHEST_DROP_CM

# The page, and the scale at which a shirt is drawn on it.
WIDTH, HEIGHT, MARGIN, SCALE = 210.0, 297.0, 16.0, 1 / 6
# From line to line.
LEADING = 4.6
# From the point of the shoulder at the neck down to the line of the shoulder joints, on a grown-up.
NECK_CM = 5.0
# The upper edge of a large print lies so far below that line, as `chest_quads` puts it.
UNDER_CM = 3.0
# A poster's middle: .42 of a standing person of 170 cm below the crown, which is so far below the neck's point.
HELD_CM = 41.0
LEAFLET = "The leaflet of the paper goes before these figures; try it on a rag first."
WASH = "Wait a day before washing: inside out, 30 degrees, no tumble dryer, and never iron over it."


@dataclass(frozen=True, slots=True)
class Instructions:
    """What to do with a print. title: what it is. steps: in their order. place: where it goes on the body, in words."""

    title: str
    steps: tuple[str, ...]
    place: str


def guide(
    patch: Patch, settings: PrintSettings, size_mm: tuple[float, float], layouts: dict[str, Layout]
) -> Instructions:
    """Return what to do with a print of this size on these sheets, none for a garment printer's image."""
    garment = settings.garment
    kind = "print on paper" if garment is None else f"{garment} {settings.shirt}" if garment == "panels" else garment
    title = f"{patch.name}, {cm(size_mm[0])} x {cm(size_mm[1])} cm: {kind}"
    makers = {None: _paper, "light-transfer": _light, "dark-transfer": _dark, "dtg": _dtg, "panels": _panels}
    steps = makers[garment](layouts)
    return Instructions(title, (*_printing(layouts), *steps), _place(patch, settings, size_mm))


def sheets_in_words(layouts: dict[str, Layout]) -> str:
    """Return how many sheets a print takes in all, and of which paper: `8 sheets of 297 x 210 mm`."""
    papers: dict[tuple[float, float], int] = {}
    for layout in layouts.values():
        papers[layout.paper] = papers.get(layout.paper, 0) + len(layout.sheets)
    listed = [f"{counted(n, 'sheet')} of {w:g} x {h:g} mm" for (w, h), n in papers.items()]
    total = sum(papers.values())
    return listed[0] if len(listed) == 1 else f"{counted(total, 'sheet')} in all: {', '.join(listed)}"


def _several(layouts: dict[str, Layout]) -> bool:
    return any(len(layout.sheets) > 1 for layout in layouts.values())


def _printing(layouts: dict[str, Layout]) -> tuple[str, ...]:
    if not layouts:
        return ()
    return (
        f"Print {sheets_in_words(layouts)} at 100 %, not fitted to the page, in the highest quality. The ruler on each "
        "sheet must measure 100 mm.",
    )


def _paper(layouts: dict[str, Layout]) -> tuple[str, ...]:
    glue = (
        "Cut along the marks. Glue row by row, A1 A2 ..., then B1 B2 ...: each sheet lies over the grey edges of the one "
        "before; the map on the sheet shows where it belongs."
        if _several(layouts)
        else "Cut along the marks."
    )
    return ("Matt paper, 120 g/m2 or more; gloss mirrors lamps.", glue, "Mount it flat on cardboard, without folds.")


def _join(layouts: dict[str, Layout]) -> tuple[str, ...]:
    """Return how several transfers meet: films that lie over each other do not hold."""
    if not _several(layouts):
        return ("Cut along the marks: what is white is film too.",)
    return (
        "Cut along the marks. Cut off the strips between the grey edges too, so that neighbouring sheets meet edge to "
        "edge: film does not hold on film. Press A1 first, then its neighbours, each once the one before is cold.",
    )


def _light(layouts: dict[str, Layout]) -> tuple[str, ...]:
    return (
        "Product: ink-jet transfer paper for LIGHT cloth, and a white shirt of cotton or at least half cotton (where the "
        "pattern is white the cloth shows).",
        *_join(layouts),
        "The print is mirrored: lay it FACE DOWN on the cloth, paper side up.",
        "Heat: press at 185 degrees C for 20 s, firm pressure; or an iron at its cotton setting (about 200 degrees C), no "
        "steam, on a hard table: 20 s on each place, all of an A4 sheet in about 2 minutes, the edges twice.",
        "Peel the paper off slowly from a corner, hot or cold as its leaflet says.",
        LEAFLET,
        WASH,
    )


def _dark(layouts: dict[str, Layout]) -> tuple[str, ...]:
    return (
        "Product: ink-jet transfer paper for DARK cloth (a white film), and a shirt of any colour, cotton or at least half "
        "cotton.",
        *_join(layouts),
        "The print is not mirrored: peel the backing off, lay the film FACE UP, and cover it with the sheet of silicone or "
        "baking paper that comes with it.",
        "Heat: press at 170 degrees C for 20 s, medium pressure; or an iron at its cotton setting, no steam, 15 s on each "
        "place through the cover.",
        "Let it cool, then take the cover off.",
        LEAFLET,
        WASH,
    )


def _dtg(_: dict[str, Layout]) -> tuple[str, ...]:
    return (
        "Ask the shop for a direct-to-garment print on cotton, unscaled (the PNG is 300 dpi and true size), not mirrored; "
        "on a dark shirt with a white underbase, on a white one without.",
        "The shop pretreats and fixes it: about 160 degrees C, 90 s for a white shirt, longer for a dark one.",
        WASH,
    )


def _panels(_: dict[str, Layout]) -> tuple[str, ...]:
    seam = f"{shirt.SEAM:g} mm"
    return (
        "Product: white polyester jersey, 150 to 200 g/m2. A shop prints it from this file (all-over or sublimation "
        "print); or print sublimation paper, mirrored by the printer's driver, and press it FACE DOWN at 195 degrees C for "
        "50 s.",
        "The grain arrow runs along the cloth, the way that stretches least. Cut each panel once, along the drawn line.",
        f"Sew right sides together, {seam} inside the line, with a stretch or zigzag stitch, in this order:",
        "   1 shoulders: front to back.   2 neck: a strip of ribbing, or turned in by the allowance.",
        "   3 sleeves: the middle of the cap to the shoulder seam, then around the armhole, flat.",
        "   4 sides: one seam from the hem of the sleeve over the underarm to the hem of the body.",
        "   5 hems of sleeves and body: turned in by the allowance.",
        LEAFLET,
    )


def _place(patch: Patch, settings: PrintSettings, size_mm: tuple[float, float]) -> str:
    if patch.target == "tshirt":
        return "The texture covers the whole shirt; wear it without a jacket, bag or scarf over it."
    width = size_mm[0] / 10
    where = (
        f"its upper edge {top_cm(patch, size_mm):.0f} cm below the point where shoulder and neck meet, in the middle"
    )
    if patch.target == "poster":
        return f"Hold it upright and flat before the body, {where}; no finger over its face."
    fits = fitting_shirt(width * 10)
    cloth = settings.garment is not None
    size = (
        f"it takes a T-shirt of size {fits} or larger" if fits else "it is wider than any T-shirt: mount it on a board"
    )
    return f"{'Lay the shirt flat' if cloth else 'Fix it flat on the chest'}: {where}; no folds across it" + (
        f"; {size}." if cloth else "."
    )


def top_cm(patch: Patch, size_mm: tuple[float, float]) -> float:
    """Return how far below the point where shoulder and neck meet a print's upper edge lies, as training has it."""
    half = size_mm[1] / 20
    if patch.target == "poster":
        return max(HELD_CM - half, 0.0)
    return NECK_CM + max(CHEST_DROP_CM, half + UNDER_CM) - half


def fitting_shirt(width_mm: float) -> ShirtSize | None:
    """Return the smallest T-shirt whose front takes a print of this width, or None."""
    return next((size for size, measures in shirt.MEASURES.items() if measures[0] >= width_mm + 2 * shirt.SEAM), None)


def draw_guide(
    pdf: Document, patch: Patch, settings: PrintSettings, size_mm: tuple[float, float], what: Instructions
) -> None:
    """Add a page with the steps, and the place on a shirt drawn to scale."""
    pdf.sheet(WIDTH, HEIGHT)
    room, y = WIDTH - 2 * MARGIN, MARGIN + 6
    pdf.words(MARGIN, y, "From sheet to shirt" if settings.garment else "From sheet to print", size=16, bold=True)
    y += 7
    y = pdf.paragraph(MARGIN, y, what.title, size=10, width=room, leading=LEADING, grey=QUIET) + 3
    number = 0
    for step in what.steps:
        inner = step.startswith(" ")
        number += 0 if inner else 1
        if not inner:
            pdf.words(MARGIN, y, f"{number}", size=10, bold=True)
        y = pdf.paragraph(MARGIN + (10 if inner else 7), y, step, size=10, width=room - 8, leading=LEADING)
        y += 0.6 if inner else 1.8
    y = pdf.paragraph(MARGIN, y + 2, f"Where: {what.place}", size=10, width=room, leading=LEADING)
    if patch.target != "tshirt":
        _template(pdf, patch, size_mm, WIDTH / 2, y + 6)


def _template(pdf: Document, patch: Patch, size_mm: tuple[float, float], middle: float, top: float) -> None:
    """Draw a shirt's front with the print on it, a sixth of their size, the shirt's middle at `middle`."""
    size = fitting_shirt(size_mm[0]) or "XXL"
    outline = shirt.panels(size)[0].seam
    left, upper = outline.min(0)
    centre = (left + outline[:, 0].max()) / 2
    pdf.set_line_width(0.3)
    pdf.set_draw_color(QUIET)
    pdf.polygon(
        [(middle + (float(x) - centre) * SCALE, top + (float(y) - upper) * SCALE) for x, y in outline], style="D"
    )
    width, height = (side * SCALE for side in size_mm)
    below = top_cm(patch, size_mm) * 10 * SCALE
    pdf.set_fill_color(225)
    pdf.set_draw_color(0)
    pdf.rect(middle - width / 2, top + below, width, height, style="DF")
    pdf.words(middle, top + below + height / 2, f"{cm(size_mm[0])} x {cm(size_mm[1])} cm", size=9, align="C")
    pdf.line_to(middle - width / 2 - 6, top, middle - width / 2 - 6, top + below, width=0.25)
    for y in (top, top + below):
        pdf.line_to(middle - width / 2 - 8, y, middle - width / 2 - 4, y, width=0.25)
    pdf.words(middle - width / 2 - 9, top + below / 2 + 1, f"{below / SCALE / 10:.0f} cm", size=9, align="R")
    note = f"T-shirt of size {size}, 1 : {1 / SCALE:g}"
    pdf.words(middle, top + (float(outline[:, 1].max()) - upper) * SCALE + 5, note, size=8, grey=QUIET, align="C")
