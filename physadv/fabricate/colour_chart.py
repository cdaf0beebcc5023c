"""The colour chart as a sheet: true millimetres, sRGB images as the patterns themselves are printed."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from physadv.arrays import signed_png
from physadv.camera.chart import (
    CELL_MM,
    COLUMNS,
    LEFT_MM,
    MARKER_MM,
    MARKERS,
    PAGE_MM,
    ROWS,
    TOP_MM,
    VERSION,
    chart,
    marker_bits,
)
from physadv.errors import FabricationError
from physadv.fabricate.document import QUIET, Document
from physadv.files import atomic_write
from physadv.patch import srgb_profile

# A cell is many dots wide, so that a viewer that smooths images leaves its middle alone.
DOTS = 24
HOW_TO = (
    "Print at 100 % on the paper or cloth, and with the settings, of the pattern itself. Let it dry; lay it flat.",
    "Photograph the whole sheet with the camera of the demo: even light, no flash, no reflections, exposure and white "
    "balance locked.",
    "Then: physadv calibrate colour --photo PHOTO --printer NAME --camera NAME",
)


def write_chart(path: Path) -> None:
    """Write the colour chart as a .pdf sheet (A4) or a .png of 300 dots an inch.

    Raises: FabricationError for another ending. OSError if the file cannot be written.
    """
    makers = {".pdf": chart_pdf, ".png": chart_png}
    if path.suffix.lower() not in makers:
        raise FabricationError(field="chart", expected="a file ending in .pdf or .png", got=repr(str(path)))
    with atomic_write(path) as stream:
        stream.write(makers[path.suffix.lower()]())


def chart_png() -> bytes:
    """Return the page as PNG, its size and sRGB profile inside, for printers that take images."""
    out = BytesIO()
    Image.fromarray(chart().image(300)).save(out, "PNG", dpi=(300, 300), icc_profile=srgb_profile(), optimize=True)
    return signed_png(out.getvalue())


def chart_pdf() -> bytes:
    """Return the A4 sheet as PDF with its instructions."""
    pdf = Document(
        title="physadv colour chart",
        subject=f"version {VERSION}: colours in known places, to measure a printer through a camera",
        profile=srgb_profile(),
        profile_name="sRGB IEC61966-2.1",
    )
    pdf.sheet(*PAGE_MM)
    width, height = COLUMNS * CELL_MM, ROWS * CELL_MM
    cells = chart().grid().repeat(DOTS, 0).repeat(DOTS, 1)
    pdf.raster([cells], (COLUMNS * DOTS, ROWS * DOTS), LEFT_MM, TOP_MM, width, height)
    for number, x, y in MARKERS:
        pdf.cells(np.asarray(marker_bits(number)) == 0, x, y, MARKER_MM / 6)
    middle = PAGE_MM[0] / 2
    pdf.words(middle, 17.5, f"physadv colour chart {VERSION}", size=13, bold=True, align="C")
    pdf.words(middle, 23, "all four corner markers must be in the photograph", size=8, grey=QUIET, align="C")
    y = 270.5
    for number, text in enumerate(HOW_TO, 1):
        y = pdf.paragraph(32, y, f"{number}. {text}", size=7.5, width=145, leading=3.6)
    pdf.line_to(55, 288.5, 155, 288.5, width=0.2)
    for x in range(55, 156, 10):
        pdf.line_to(x, 287, x, 288.5, width=0.2)
    pdf.words(157, 288.5, "100 mm", size=7, grey=QUIET)
    return bytes(pdf.output())
