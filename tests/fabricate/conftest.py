"""A printer made of software: pages as images at 300 dpi, cut at their marks and joined."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pypdfium2
import pytest

from physadv.fabricate.layout import Layout
from physadv.patch import Patch
from physadv.types import Float32Array, UInt8Array

DPI = 300
PER_MM = DPI / 25.4
Rasterise = Callable[[Path], list[UInt8Array]]


def by_pdfium(path: Path, numbers: list[int] | None = None) -> list[UInt8Array]:
    document = pypdfium2.PdfDocument(path)
    pages = [document[i] for i in (range(len(document)) if numbers is None else numbers)]
    return [np.ascontiguousarray(p.render(scale=DPI / 72, rev_byteorder=True).to_numpy()[..., :3]) for p in pages]


def by_poppler(path: Path) -> list[UInt8Array]:
    if shutil.which("pdftoppm") is None:
        pytest.skip("LOUD SKIP: pdftoppm is not installed; the same is checked with pdfium only")
    stem = path.with_suffix("")
    subprocess.run(["pdftoppm", "-r", str(DPI), path, stem], check=True, timeout=120)
    pages = sorted(path.parent.glob(f"{stem.name}-*.ppm"))
    images = []
    for page in pages:
        images.append(cv2.imread(str(page), cv2.IMREAD_COLOR_RGB))
        page.unlink()
    return images  # type: ignore[return-value]


def found_markers(page: UInt8Array) -> dict[int, Float32Array]:
    """Return the centre of each marker on a page in millimetres from its upper left corner, by id.

    Looked for in the sheet's four corners, which is where a reader of the sheet looks too, and quicker.
    """
    parameters = cv2.aruco.DetectorParameters()
    parameters.cornerRefinementMethod = cv2.aruco.CORNER_REFINE_SUBPIX
    detector = cv2.aruco.ArucoDetector(cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_5X5_1000), parameters)
    height, width = page.shape[:2]
    reach = round(26 * PER_MM)
    found = {}
    for x in (0, width - reach):
        for y in (0, height - reach):
            part = cv2.cvtColor(page[y : y + reach, x : x + reach], cv2.COLOR_RGB2GRAY)
            corners, ids, _ = detector.detectMarkers(part)
            for identity, corner in zip([] if ids is None else ids.ravel(), corners, strict=True):
                # Pixel centres are whole numbers in OpenCV; on paper the first pixel begins at 0.
                found[int(identity)] = (corner.reshape(4, 2).mean(0) + (x, y) + 0.5) / PER_MM
    return found


def joined(pages: list[UInt8Array], layout: Layout, size: tuple[int, int]) -> UInt8Array:
    """Return the print at `size` (width, height) dots from its sheets, each found by its markers, cut and laid in order.

    pages: the sheets, and perhaps the page behind them that tells what to do.
    """
    out = np.zeros((size[1], size[0], 3), np.uint8)
    for page, sheet in zip(pages[: len(layout.sheets)], layout.sheets, strict=True):
        seen = found_markers(page)
        ids = [4 * sheet.number + i for i in range(4)]
        on_page = np.array([seen[i] for i in ids], np.float32) * PER_MM - 0.5
        # Where the markers would be if the upper left corner of this sheet's piece were the origin, in dots.
        x0, y0, x1, y1 = sheet.dots
        scale = np.array([(x1 - x0) / sheet.width, (y1 - y0) / sheet.height])
        there = (np.array(layout.markers()) - [sheet.x, sheet.y]) * scale - 0.5
        matrix, _ = cv2.estimateAffine2D(on_page, there.astype(np.float32))
        out[y0:y1, x0:x1] = cv2.warpAffine(page, matrix, (x1 - x0, y1 - y0), flags=cv2.INTER_LINEAR)
    return out


@pytest.fixture
def tall() -> Patch:
    """A print for the whole front, of 32 x 64 random cells in a black border."""
    pixels = np.random.default_rng(8).integers(0, 256, (64, 32, 3), dtype=np.uint8)
    pixels[[0, -1]] = 0
    pixels[:, [0, -1]] = 0
    return Patch("tall", pixels, np.full((64, 32), 255, np.uint8), (360.0, 720.0), "portrait")


@pytest.fixture
def cells() -> Patch:
    """A pattern of 24 x 24 random cells in a black border, so that its edges can be found on white paper."""
    rng = np.random.default_rng(7)
    pixels = rng.integers(0, 256, (24, 24, 3), dtype=np.uint8)
    pixels[[0, -1]] = 0
    pixels[:, [0, -1]] = 0
    return Patch("cells", pixels, np.full((24, 24), 255, np.uint8), (360.0, 360.0))
