"""A PDF in true millimetres: colour space declared, no scaling by the viewer, the same bytes each time."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from datetime import UTC, datetime

import numpy as np
from fpdf import FPDF
from fpdf.enums import OutputIntentSubType
from fpdf.image_datastructures import RasterImageInfo
from fpdf.output import PDFICCProfile
from fpdf.prefs import ViewerPreferences

from physadv.types import UInt8Array

# A fixed day: the same print asked for twice gives the same file.
DAY = datetime(2024, 1, 1, tzinfo=UTC)
INK, QUIET, FAINT = 0, 110, 205
# Smaller type is not read on paper.
LEAST_PT = 6.0


class Document(FPDF):
    """Sheets in millimetres, and what is drawn on them: hairlines, boxes, words, images given row by row."""

    def __init__(self, *, title: str, subject: str, profile: bytes, profile_name: str, channels: int = 3) -> None:
        """profile: ICC bytes of every image put here, with `channels` 3 for RGB and 4 for CMYK."""
        super().__init__(unit="mm", format=(100, 100))
        self.set_auto_page_break(False)
        self.set_margin(0)
        self.c_margin = 0
        self.set_creation_date(DAY)
        self.set_producer("physadv")
        self.set_creator("physadv print")
        self.set_title(latin(title))
        self.set_subject(latin(subject))
        self.viewer_preferences = ViewerPreferences(print_scaling="None", display_doc_title=True)
        self.profile = profile
        self.channels = channels
        self.add_output_intent(
            OutputIntentSubType.PDFA if channels == 3 else OutputIntentSubType.PDFX,
            output_condition_identifier=latin(profile_name),
            dest_output_profile=PDFICCProfile(profile, channels, "DeviceRGB" if channels == 3 else "DeviceCMYK"),
            info=latin(profile_name),
        )

    def sheet(self, width: float, height: float) -> None:
        """Begin a page of this size in millimetres."""
        # fpdf2 turns a format so that it stands; say which way it lies.
        self.add_page(orientation="L" if width > height else "P", format=(min(width, height), max(width, height)))

    def raster(
        self, bands: Iterable[UInt8Array], dots: tuple[int, int], x: float, y: float, width: float, height: float
    ) -> None:
        """Put an image on the page, its upper left corner at x, y.

        bands: its rows from the top in pieces (h, dots[0], channels) uint8; only one is held at a time.
        """
        name = f"image-{len(self.image_cache.images)}"
        profile = self.image_cache.icc_profiles.setdefault(self.profile, len(self.image_cache.icc_profiles))
        info = RasterImageInfo(
            data=deflate(bands),
            w=dots[0],
            h=dots[1],
            cs="DeviceRGB" if self.channels == 3 else "DeviceCMYK",
            dpn=self.channels,
            bpc=8,
            f="FlateDecode",
            inverted=False,
            dp=f"/Predictor 15 /Colors {self.channels} /Columns {dots[0]}",
            i=len(self.image_cache.images) + 1,
            usages=0,
            iccp=None,
            iccp_i=profile,
        )
        self.image_cache.images[name] = info
        self.image(name, x, y, width, height)

    def line_to(self, x1: float, y1: float, x2: float, y2: float, *, width: float = 0.1, grey: int = INK) -> None:
        """Draw a line `width` millimetres wide."""
        self.set_line_width(width)
        self.set_draw_color(grey)
        self.line(x1, y1, x2, y2)

    def box(self, x: float, y: float, width: float, height: float, *, grey: int = INK) -> None:
        """Fill a rectangle."""
        self.set_fill_color(grey)
        self.rect(x, y, width, height, style="F")

    def frame(self, x: float, y: float, width: float, height: float, *, line: float = 0.1, grey: int = INK) -> None:
        """Draw the outline of a rectangle."""
        self.set_line_width(line)
        self.set_draw_color(grey)
        self.rect(x, y, width, height)

    def words(
        self,
        x: float,
        y: float,
        text: str,
        *,
        size: float,
        grey: int = INK,
        bold: bool = False,
        mono: bool = False,
        align: str = "L",
        width: float | None = None,
    ) -> None:
        """Write one line with its baseline at y, from x (L), up to x (R) or around x (C).

        size: points, `LEAST_PT` at least. width: a longer line is set smaller, to three quarters, and then cut short with
        dots.
        """
        text, size = latin(text), max(size, LEAST_PT)
        self.set_font("Courier" if mono else "Helvetica", "B" if bold else "", size)
        if width is not None and self.get_string_width(text) > width:
            self.set_font_size(max(LEAST_PT, size * 0.75, size * width / self.get_string_width(text)))
            while len(text) > 1 and self.get_string_width(text) > width:
                text = text.removesuffix("...")[:-1].rstrip() + "..."
        self.set_text_color(grey)
        shift = {"L": 0.0, "R": 1.0, "C": 0.5}[align] * self.get_string_width(text)
        self.text(x - shift, y, text)

    def lines_of(self, text: str, *, size: float, width: float) -> list[str]:
        """Return `text` broken at blanks into lines of at most `width` millimetres in Helvetica of `size` points."""
        self.set_font("Helvetica", "", size)
        lines = [""]
        for word in latin(text).split():
            longer = f"{lines[-1]} {word}".strip()
            if lines[-1] and self.get_string_width(longer) > width:
                lines.append(word)
            else:
                lines[-1] = longer
        return lines

    def paragraph(
        self, x: float, y: float, text: str, *, size: float, width: float, leading: float, grey: int = INK
    ) -> float:
        """Write `lines_of` a text one below the other, the first baseline at y, and return where the next would be."""
        for line in self.lines_of(text, size=size, width=width):
            self.words(x, y, line, size=size, grey=grey)
            y += leading
        return y

    def cells(self, dark: np.ndarray, x: float, y: float, cell: float) -> None:
        """Fill the true cells of a (rows, columns) grid with black, in runs along and across so that no seam shows."""
        self.set_fill_color(INK)
        for grid, along in ((dark, True), (dark.T, False)):
            for i, row in enumerate(grid):
                edges = np.flatnonzero(np.diff(np.concatenate([[0], row.astype(np.int8), [0]])))
                for start, end in edges.reshape(-1, 2):
                    a, b, length = start * cell, i * cell, (end - start) * cell
                    if along:
                        self.rect(x + a, y + b, length, cell, style="F")
                    else:
                        self.rect(x + b, y + a, cell, length, style="F")


def latin(text: str) -> str:
    """Return text with what the PDF's own fonts cannot show replaced by question marks."""
    return text.encode("latin-1", "replace").decode("latin-1")


def deflate(bands: Iterable[UInt8Array]) -> bytes:
    """Return images stacked from the top as a zlib stream of PNG-predicted rows ("up"), the fastest that packs well."""
    packer = zlib.compressobj(1)
    out = []
    above: UInt8Array | None = None
    for band in bands:
        rows = band.reshape(len(band), -1)
        first = np.zeros_like(rows[:1]) if above is None else above
        coded = np.empty((len(rows), rows.shape[1] + 1), np.uint8)
        coded[:, 0] = 2
        np.subtract(rows[:1], first, out=coded[:1, 1:])
        np.subtract(rows[1:], rows[:-1], out=coded[1:, 1:])
        above = rows[-1:].copy()
        out.append(packer.compress(coded.tobytes()))
    out.append(packer.flush())
    return b"".join(out)
