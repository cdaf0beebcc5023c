"""A print is true: markers and edges where they should be, the sheets join to the pattern, the same bytes each time."""

from pathlib import Path
from time import process_time
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image
from pypdf import PdfReader

from physadv.controls import control
from physadv.fabricate.poster import print_patch
from physadv.fabricate.settings import PrintSettings
from physadv.patch import Patch
from physadv.types import UInt8Array
from tests.fabricate.conftest import PER_MM, Rasterise, by_pdfium, by_poppler, found_markers, joined

TOLERANCE_MM = 0.2


def edges_mm(page: UInt8Array, x: float, y: float, width: float, height: float) -> list[float]:
    """Return left, right, top, bottom of a black-bordered print, found along its middle lines near where it should be."""
    grey = cv2.cvtColor(page, cv2.COLOR_RGB2GRAY).astype(np.float32)
    row, column = round((y + height * 0.5) * PER_MM), round((x + width * 0.5) * PER_MM)

    def edge(line: np.ndarray, guess: float, *, falling: bool) -> float:
        start = round(guess * PER_MM) - 12
        part = line[start : start + 24]
        light = (part if falling else part[::-1]) > 128
        count = int(np.argmin(light)) if not light.all() else 24
        return (start + (count if falling else 24 - count)) / PER_MM

    return [
        edge(grey[row], x, falling=True),
        edge(grey[row], x + width, falling=False),
        edge(grey[:, column], y, falling=True),
        edge(grey[:, column], y + height, falling=False),
    ]


@pytest.mark.parametrize("rasterise", [by_pdfium, by_poppler])
def test_markers_and_edges_within_a_fifth_of_a_millimetre_and_sheets_join(
    cells: Patch, tmp_path: Path, rasterise: Rasterise
) -> None:
    out = tmp_path / "s.pdf"
    start = process_time()
    done = print_patch(cells, PrintSettings(size=40, paper="a4"), out)
    assert process_time() - start < 5
    layout = done.layouts[""]
    assert (layout.columns, layout.rows) == (3, 2)
    pages = rasterise(out)
    assert len(pages) == 7, "the last says what to do with the others"
    for page, sheet in zip(pages[:6], layout.sheets, strict=True):
        seen = found_markers(page)
        for i, centre in enumerate(layout.markers()):
            assert np.abs(seen[4 * sheet.number + i] - centre).max() < TOLERANCE_MM
        left, right, top, bottom = edges_mm(page, sheet.x, sheet.y, sheet.width, sheet.height)
        # Only an outer edge of the print is black against white paper on every line.
        if sheet.column == 0:
            assert left == pytest.approx(sheet.x, abs=TOLERANCE_MM)
        if sheet.column == 2:
            assert right == pytest.approx(sheet.x + sheet.width, abs=TOLERANCE_MM)
        if sheet.row == 0:
            assert top == pytest.approx(sheet.y, abs=TOLERANCE_MM)
        if sheet.row == 1:
            assert bottom == pytest.approx(sheet.y + sheet.height, abs=TOLERANCE_MM)
    side = round(400 * PER_MM)
    whole = joined(pages, layout, (side, side))
    wanted = cv2.resize(cells.pixels, (side, side), interpolation=cv2.INTER_NEAREST)
    assert np.abs(whole.astype(int) - wanted).mean() < 2


def test_neighbours_share_ten_millimetres(cells: Patch, tmp_path: Path) -> None:
    layout = print_patch(cells, PrintSettings(size=40), tmp_path / "s.pdf").layouts[""]
    first, second = layout.sheets[0], layout.sheets[1]
    shared = (first.dots[2] - second.dots[0]) * 400 / round(400 * PER_MM)
    assert shared == pytest.approx(10, abs=0.1)


def test_smooth_is_linear_between_cell_centres(cells: Patch, tmp_path: Path) -> None:
    out = tmp_path / "s.pdf"
    layout = print_patch(cells, PrintSettings(size=20, texels="smooth", paper="a4"), out).layouts[""]
    side = round(200 * PER_MM)
    whole = joined(by_pdfium(out), layout, (side, side))
    wanted = cv2.resize(cells.pixels, (side, side), interpolation=cv2.INTER_LINEAR)
    assert np.abs(whole.astype(int) - wanted).mean() < 2


def test_a_transparent_corner_prints_as_paper(cells: Patch, tmp_path: Path) -> None:
    mask = cells.mask.copy()
    mask[:12, :12] = 0
    out = tmp_path / "s.pdf"
    patch = Patch("corner", cells.pixels, mask, (100, 100))
    layout = print_patch(patch, PrintSettings(), out).layouts[""]
    side = round(100 * PER_MM)
    whole = joined(by_pdfium(out), layout, (side, side))
    assert whole[5 : side // 2 - 5, 5 : side // 2 - 5].min() > 253


def test_a_pdf_asks_for_no_scaling_and_carries_its_colour_space(cells: Patch, tmp_path: Path) -> None:
    out = tmp_path / "s.pdf"
    print_patch(cells, PrintSettings(size=30), out)
    reader: Any = PdfReader(out)
    root = reader.trailer["/Root"]
    assert root["/ViewerPreferences"]["/PrintScaling"] == "/None"
    intent = root["/OutputIntents"][0]["/DestOutputProfile"].get_object()
    assert b"acsp" in intent.get_data()[:128]
    images = [x.get_object() for x in reader.pages[0]["/Resources"]["/XObject"].values()]
    assert images and all(i["/ColorSpace"][0] == "/ICCBased" for i in images)
    text = reader.pages[0].extract_text()
    assert cells.sha256 in text and "A1" in text and "300 × 300 mm" in text
    assert [float(v) for v in reader.pages[0].mediabox[2:]] == pytest.approx(
        [210 / 25.4 * 72, 297 / 25.4 * 72], abs=0.02
    )


def test_the_same_print_gives_the_same_bytes(cells: Patch, tmp_path: Path) -> None:
    for name in ("a.pdf", "b.pdf"):
        print_patch(cells, PrintSettings(size=20), tmp_path / name)
    assert (tmp_path / "a.pdf").read_bytes() == (tmp_path / "b.pdf").read_bytes()


def test_a_png_is_one_sheet_of_its_own_size_at_300_dpi(cells: Patch, tmp_path: Path) -> None:
    out = tmp_path / "s.png"
    done = print_patch(cells, PrintSettings(size=20), out)
    assert done.paths == (out,)
    with Image.open(out) as image:
        assert image.info["dpi"] == pytest.approx((300, 300), abs=0.02)
        assert image.info["icc_profile"]
        page = np.asarray(image)
    layout = done.layouts[""]
    assert page.shape[1] == pytest.approx(layout.paper[0] * PER_MM, abs=1.5)
    seen = found_markers(page)
    assert np.abs(seen[0] - np.array(layout.markers()[0])).max() < TOLERANCE_MM


def test_png_sheets_of_a_given_paper_are_a_file_each(cells: Patch, tmp_path: Path) -> None:
    done = print_patch(cells, PrintSettings(size=25, paper="a4"), tmp_path / "s.png")
    assert {p.name for p in done.paths} in ({"s-A1.png", "s-A2.png"}, {"s-A1.png", "s-B1.png"})
    assert all(p.is_file() for p in done.paths)


def test_sheets_of_a_tall_print_and_of_its_controls_join_to_its_shape(tall: Patch, tmp_path: Path) -> None:
    out = tmp_path / "t.pdf"
    # Half the size, so that few dots are drawn: two sheets, one above the other.
    for shown, values in ((tall, {}), (control(tall, "shuffled", np.random.default_rng(0)), {"control": "shuffled"})):
        done = print_patch(tall, PrintSettings.model_validate({"size": "18cm", **values}), out)
        layout = done.layouts[""]
        assert done.size_mm == (180.0, 360.0)
        assert (layout.columns, layout.rows) == (1, 2)
        size = round(180 * PER_MM), round(360 * PER_MM)
        pages = by_pdfium(out)
        for page, sheet in zip(pages, layout.sheets, strict=False):
            seen = found_markers(page)
            for i, centre in enumerate(layout.markers()):
                assert np.abs(seen[4 * sheet.number + i] - centre).max() < TOLERANCE_MM
        whole = joined(pages, layout, size)
        wanted = cv2.resize(shown.pixels, size, interpolation=cv2.INTER_NEAREST)
        assert np.abs(whole.astype(int) - wanted).mean() < 2


def test_a_tall_prints_controls_are_as_coarse_as_those_of_a_square_of_its_width(tall: Patch) -> None:
    square = Patch("square", tall.pixels[:32], tall.mask[:32], (360.0, 360.0))
    for patch in (tall, square):
        noise = control(patch, "noise", np.random.default_rng(0))
        assert noise.size_mm == patch.size_mm
        changes = (np.diff(noise.pixels.astype(int), axis=1) != 0).any((0, 2))
        assert np.flatnonzero(changes).tolist() == list(range(1, 31, 2)), "cells of two texels"


@pytest.mark.parametrize("kind", ["grey", "white", "noise", "shuffled"])
def test_controls_print_at_the_patterns_size(cells: Patch, tmp_path: Path, kind: str) -> None:
    out = tmp_path / "c.pdf"
    done = print_patch(cells, PrintSettings.model_validate({"size": "15cm", "control": kind}), out)
    assert done.size_mm == pytest.approx((150, 150))
    text = PdfReader(out).pages[0].extract_text()
    assert f"{kind} control" in text and cells.sha256 not in text
    side = round(150 * PER_MM)
    whole = joined(by_pdfium(out), done.layouts[""], (side, side))
    spread = float(whole[40:-40, 40:-40].std())
    assert (spread < 1.5) == (kind in ("grey", "white"))
