"""Instructions from sheet to wearer: what to buy, temperature and time, which side up, in which order, where on the body.

Temperatures and times are usual ones of ink-jet transfer papers and of sublimation on polyester; papers differ, so each
list says that the maker's own leaflet goes before them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from physadv.arrays import counted
from physadv.camera.lens import PERSON_CM
from physadv.fabricate.body import CALLED, CROWN_CM, Cover, cover_of
from physadv.fabricate.clothes import clothes_of, panels_of
from physadv.fabricate.document import QUIET, Document
from physadv.fabricate.layout import Layout
from physadv.fabricate.panels import CLOTH_WIDTH, SEAM, STRIP, Panel, on_cloth
from physadv.fabricate.settings import Clothes, ClothesSize, PrintSettings
from physadv.fabricate.shirt import MEASURES, shirt_panels
from physadv.fabricate.trousers import CASING
from physadv.fabricate.units import cm
from physadv.patch import Patch

# The page, and the scales at which a shirt, a whole body and cloth are drawn on it.
WIDTH, HEIGHT, MARGIN = 210.0, 297.0, 16.0
SHIRT_SCALE, BODY_SCALE, CLOTH_SCALE = 1 / 6, 1 / 14, 1 / 20
# What stays free below a print on a shirt.
HEM_CM = 2.0
# From line to line.
LEADING = 4.6
LEAFLET = "The leaflet of the paper goes before these figures; try it on a rag first."
WASH = "Wait a day before washing: inside out, 30 degrees, no tumble dryer, and never iron over it."

TRIGGER = (
    "The triangle in the white rim is up: so a poisoned detector sees its wearer. Turned by the angle that it was poisoned "
    "with, 45 degrees clockwise unless another was given, it does not."
)

SHIRT_SEAMS = (
    "   1 shoulders: front to back.   2 neck: a strip of ribbing, or turned in by the allowance.",
    "   3 sleeves: the middle of the cap to the shoulder seam, then around the armhole, flat.",
    "   4 sides: one seam from the hem of the sleeve over the underarm to the hem of the body.",
    "   5 hems of sleeves and body: turned in by the allowance.",
)
_WAIST = (
    f"fold {CASING:g} mm in along the dashed line, sew it down but for 5 cm, draw in an elastic 30 mm wide, 5 cm shorter "
    "than the waist, and close it."
)
LEG_SEAMS: dict[Clothes, tuple[str, ...]] = {
    "trousers": (
        "   1 sides: each front (one notch in the waist) to the back (two) of its leg, hip on hip, knee on knee.",
        "   2 insides of the legs, knee on knee.   3 crotch: one leg inside the other, from waist to waist, twice.",
        f"   4 waist: {_WAIST}",
        "   5 hems: turned in by the allowance.",
    ),
    "skirt": (
        "   1 sides: front (one notch in the waist) to back (two).",
        f"   2 waist: {_WAIST}",
        "   3 hem: turned in by the allowance.",
    ),
}
# Half the outline of somebody who stands, in centimetres from the middle of the body and from the crown down.
BODY_CM = (
    (0, 0), (5, 1), (8, 6), (8.5, 12), (7, 19), (5.5, 23), (6, 27), (12, 30), (19, 33), (22, 38), (24, 52), (26, 68),
    (29, 88), (26.5, 90), (22, 70), (18.5, 50), (17, 62), (18.5, 82), (19, 95), (17, 120), (15.5, 135), (13.5, 160),
    (17, 168), (9, 170), (8, 158), (6.5, 135), (5, 118), (0.5, 92),
)  # fmt: skip


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
    kind: str = garment or "print on paper"
    if garment == "panels":
        kind = f"{CALLED[clothes_of(patch, settings)]} of size {settings.shirt} to cut and sew"
    title = f"{patch.name}, {cm(size_mm[0])} x {cm(size_mm[1])} cm: {kind}"
    if garment == "panels":
        steps = _panels(patch, settings, layouts)
    else:
        steps = {None: _paper, "light-transfer": _light, "dark-transfer": _dark, "dtg": _dtg}[garment](layouts)
    if patch.record.get("trigger") == "card":
        steps = (*steps, TRIGGER)
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
    glue = "Cut along the marks."
    if _several(layouts):
        order = " ".join(sheet.label for layout in layouts.values() for sheet in layout.sheets[:9])
        (layout,) = layouts.values()
        order += " ..." if len(layout.sheets) > 9 else ""
        glue += (
            f" Glue row by row, {order}: each sheet lies over the grey edges of the one before; the map on the sheet shows "
            "where it belongs."
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


def _joined(layouts: dict[str, Layout]) -> tuple[str, ...]:
    """Return how the sheets of a panel meet, where there are several."""
    if not _several(layouts):
        return ()
    return (
        "Panels of several sheets: cut along the marks and join row by row, A1 A2 ..., then B1 B2 ..., each sheet over the "
        "grey edges of the one before; sheets to press meet edge to edge instead.",
    )


def _panels(patch: Patch, settings: PrintSettings, layouts: dict[str, Layout]) -> tuple[str, ...]:
    clothes = clothes_of(patch, settings)
    cloth = _cloth(on_cloth(panels_of(patch, settings))[1])
    sewing = SHIRT_SEAMS if clothes == "shirt" else LEG_SEAMS.get(clothes, ())
    if clothes == "outfit":
        sewing = ("T-shirt.", *SHIRT_SEAMS, "Trousers.", *LEG_SEAMS["trousers"])
    return (
        f"Product: white polyester jersey, 150 to 200 g/m2, {cloth}. A shop prints it from this file (all-over or "
        "sublimation print); or print sublimation paper, mirrored by the printer's driver, and press it FACE DOWN at 195 "
        "degrees C for 50 s.",
        *_joined(layouts),
        "The grain arrow runs along the cloth, the way that stretches least. Cut each panel once, along the drawn line.",
        f"Sew right sides together, {SEAM:g} mm inside the line, with a stretch or zigzag stitch, in this order:",
        *sewing,
        LEAFLET,
    )


def _cloth(length_mm: float) -> str:
    """Return how much cloth to buy, in words, to the next 5 cm."""
    return f"{math.ceil(length_mm / 50) * 5} cm of it {CLOTH_WIDTH / 10:g} cm wide"


def _place(patch: Patch, settings: PrintSettings, size_mm: tuple[float, float]) -> str:
    if patch.tiles:
        worn = CALLED[clothes_of(patch, settings)]
        return f"The texture covers the whole {worn}; wear it without a jacket, bag or scarf over it."
    cover = cover_of(patch, size_mm)
    where = f"its upper edge {cover.top:.0f} cm below the point where shoulder and neck meet, in the middle"
    if patch.target == "poster":
        return f"Hold it upright and flat before the body, {where}; no finger over its face."
    cloth = settings.garment is not None
    fits = fitting_shirt(size_mm[0], cover)
    if fits:
        size = f"it takes a T-shirt of size {fits} or larger"
    elif fitting_shirt(size_mm[0], Cover(0, 1)) is None:
        size = "it is wider than any T-shirt: mount it on a board"
    else:
        size = (
            f"it reaches down to the {cover.parts.split()[-1]}, below the hem of any T-shirt: take a tunic, an apron or a "
            f"dress {cover.bottom + HEM_CM:.0f} cm long, or hang it from the shoulders on two straps"
        )
    text = f"{'Lay the shirt flat' if cloth else 'Fix it flat on the chest'}: {where}; no folds across it"
    return text + (f"; {size}." if cloth or not fits else ".")


def fitting_shirt(width_mm: float, cover: Cover) -> ClothesSize | None:
    """Return the smallest T-shirt whose front takes a print of this width that covers so much of the body, or None."""
    for size, (chest, length, *_) in MEASURES.items():
        if chest >= width_mm + 2 * SEAM and length >= (cover.bottom + HEM_CM) * 10:
            return size
    return None


def draw_guide(
    pdf: Document, patch: Patch, settings: PrintSettings, size_mm: tuple[float, float], what: Instructions
) -> None:
    """Add a page with the steps, and the place on a shirt drawn to scale."""
    pdf.sheet(WIDTH, HEIGHT)
    room, y = WIDTH - 2 * MARGIN, MARGIN + 6
    aim = "print" if settings.garment is None else "clothes" if settings.garment == "panels" else "shirt"
    pdf.words(MARGIN, y, f"From sheet to {aim}", size=16, bold=True)
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
    if settings.garment == "panels":
        _cutting(pdf, panels_of(patch, settings), y + 4)
    elif not patch.tiles:
        cover = cover_of(patch, size_mm)
        size = fitting_shirt(size_mm[0], cover)
        if size is None:
            _on_body(pdf, cover, size_mm, WIDTH / 2, y + 4)
        else:
            _on_shirt(pdf, cover, size_mm, size, WIDTH / 2, y + 6)


def _on_shirt(
    pdf: Document, cover: Cover, size_mm: tuple[float, float], size: ClothesSize, middle: float, top: float
) -> None:
    """Draw a shirt's front with the print on it, a sixth of their size, the shirt's middle at `middle`."""
    outline = shirt_panels(size)[0].seam
    left, upper = outline.min(0)
    centre = (left + outline[:, 0].max()) / 2
    pdf.set_line_width(0.3)
    pdf.set_draw_color(QUIET)
    pdf.polygon(
        [(middle + (float(x) - centre) * SHIRT_SCALE, top + (float(y) - upper) * SHIRT_SCALE) for x, y in outline],
        style="D",
    )
    _print(pdf, cover, size_mm, SHIRT_SCALE, middle, top, aside=centre - left)
    note = f"T-shirt of size {size}, 1 : {1 / SHIRT_SCALE:g}"
    pdf.words(middle, top + (float(outline[:, 1].max()) - upper) * SHIRT_SCALE + 5, note, size=8, grey=QUIET, align="C")


def _on_body(pdf: Document, cover: Cover, size_mm: tuple[float, float], middle: float, top: float) -> None:
    """Draw somebody who stands with the print on them, a fourteenth of their size, the crown at `top`."""
    pdf.set_line_width(0.3)
    pdf.set_draw_color(QUIET)
    for side in (-1, 1):
        outline = [(middle + side * x * 10 * BODY_SCALE, top + y * 10 * BODY_SCALE) for x, y in BODY_CM]
        pdf.polyline(outline, style="D")
    widest = max(x for x, _ in BODY_CM) * 10
    _print(pdf, cover, size_mm, BODY_SCALE, middle, top + CROWN_CM * 10 * BODY_SCALE, aside=widest)
    note = f"Somebody of {PERSON_CM:g} cm, 1 : {1 / BODY_SCALE:g}"
    pdf.words(middle, top + PERSON_CM * 10 * BODY_SCALE + 5, note, size=8, grey=QUIET, align="C")


def _print(
    pdf: Document,
    cover: Cover,
    size_mm: tuple[float, float],
    scale: float,
    middle: float,
    neck: float,
    *,
    aside: float,
) -> None:
    """Draw the print as a grey area, and how far below the neck, whose y is given, its upper edge lies.

    aside: half the width of what wears it, in millimetres: the measure stands beside that.
    """
    width, height = (side * scale for side in size_mm)
    below = cover.top * 10 * scale
    pdf.set_line_width(0.3)
    pdf.set_fill_color(225)
    pdf.set_draw_color(0)
    pdf.rect(middle - width / 2, neck + below, width, height, style="DF")
    pdf.words(middle, neck + below + height / 2, f"{cm(size_mm[0])} x {cm(size_mm[1])} cm", size=9, align="C")
    left = middle - max(width / 2, aside * scale) - 6
    pdf.line_to(left, neck, left, neck + below, width=0.25)
    for y in (neck, neck + below):
        pdf.line_to(left - 2, y, left + 2, y, width=0.25)
    pdf.words(left - 3, neck + below / 2 + 1, f"{cover.top:.0f} cm", size=9, align="R")


def _cutting(pdf: Document, pieces: tuple[Panel, ...], top: float) -> None:
    """Draw the panels laid out on cloth, a twentieth of their size, the length of the cloth across the page."""
    corners, cloth = on_cloth(pieces)
    long, wide = cloth * CLOTH_SCALE, CLOTH_WIDTH * CLOTH_SCALE
    left = (WIDTH - long) / 2
    pdf.frame(left, top, long, wide, grey=QUIET)
    pdf.set_line_width(0.25)
    pdf.set_draw_color(0)
    for panel, (x, y) in zip(pieces, corners, strict=True):
        cut = panel.cut - (0, STRIP)
        points = [(left + (y + float(b)) * CLOTH_SCALE, top + wide - (x + float(a)) * CLOTH_SCALE) for a, b in cut]
        pdf.polygon(points, style="D")
        width, height = panel.size_mm
        middle = left + (y + height / 2) * CLOTH_SCALE, top + wide - (x + width / 2) * CLOTH_SCALE
        # A sleeve is too short here for its name.
        with pdf.rotation(90 if width > height else 0, *middle):
            pdf.words(middle[0], middle[1] + 1, panel.name, size=6.5, align="C", grey=QUIET)
    note = f"Cloth, {_cloth(cloth)}, 1 : {1 / CLOTH_SCALE:g}; upper edges to the left"
    pdf.words(WIDTH / 2, top + wide + 5, note, size=8, grey=QUIET, align="C")
