"""The ChArUco board as a sheet, true to the millimetre."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from physadv.camera.charuco import Board
from physadv.errors import FabricationError
from physadv.fabricate.document import QUIET, Document
from physadv.fabricate.units import PAPERS
from physadv.files import atomic_write
from physadv.patch import srgb_profile

# What common printers leave white at the paper's edge, in millimetres.
MARGIN = 5.0


def write_board(board: Board, path: Path, *, paper: str) -> None:
    """Write a board as a PDF sheet for a paper by name, upright or across as it fits.

    Raises: FabricationError if the file is not to be a PDF, the paper is not known, or the board does not fit on it.
    OSError if the file cannot be written.
    """
    if path.suffix.lower() != ".pdf":
        raise FabricationError(field="sheet", expected="a file ending in .pdf", got=repr(str(path)))
    data = board_pdf(board, paper=paper)
    with atomic_write(path) as stream:
        stream.write(data)


def board_pdf(board: Board, *, paper: str) -> bytes:
    """Return the sheet as PDF.

    Raises: FabricationError if the paper is not known or the board does not fit on it with its quiet rim.
    """
    if paper.lower() not in PAPERS:
        raise FabricationError(field="paper", expected=f"one of {', '.join(PAPERS)}", got=repr(paper))
    short, long = PAPERS[paper.lower()]
    w, h = board.size_mm
    page = (short, long) if h >= w else (long, short)
    if w > page[0] - 2 * MARGIN or h > page[1] - 2 * MARGIN - 12:
        raise FabricationError(
            f"a board of {w:g} x {h:g} mm does not fit on {paper} ({page[0]:g} x {page[1]:g} mm) with its rim "
            "and its line of text",
            field="paper",
            hint="choose larger paper or smaller squares",
        )
    pdf = Document(
        title=f"physadv ChArUco board, {board}",
        subject="camera calibration",
        profile=srgb_profile(),
        profile_name="sRGB IEC61966-2.1",
    )
    pdf.sheet(*page)
    x, y = (page[0] - w) / 2, (page[1] - h) / 2 - 3
    _draw(pdf, board, x, y)
    below = y + h + 6
    pdf.words(x, below, f"physadv ChArUco board: {board}", size=8)
    advice = "print at 100 %, glue to something flat; measure a square and give it with `square_mm`"
    pdf.words(x, below + 4, advice, size=7, grey=QUIET)
    return bytes(pdf.output())


def _draw(pdf: Document, board: Board, x: float, y: float) -> None:
    """Draw squares and markers as areas with exact edges."""
    side, marker = board.square_mm, board.marker_mm
    rows, columns = np.mgrid[0 : board.rows, 0 : board.columns]
    pdf.cells((rows + columns) % 2 == 0, x, y, side)
    for number, (row, column) in enumerate(
        (r, c) for r in range(board.rows) for c in range(board.columns) if (r + c) % 2
    ):
        bits = board.marker_bits(number)
        inset = (side - marker) / 2
        pdf.cells(bits == 0, x + column * side + inset, y + row * side + inset, marker / len(bits))
