"""What goes onto cloth: mirrored where ironed face down, hard-edged for garment printers, panels that fit together."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from pypdf import PdfReader

from physadv.errors import FabricationError
from physadv.fabricate.document import LEAST_PT
from physadv.fabricate.poster import print_patch
from physadv.fabricate.settings import PrintSettings
from physadv.fabricate.shirt import MEASURES, SEAM, STRIP, offset, panels
from physadv.patch import Patch
from tests.fabricate.conftest import PER_MM, by_pdfium, found_markers, joined
from tests.fabricate.test_guide import smallest_type


@pytest.mark.parametrize(("garment", "mirrored"), [("light-transfer", True), ("dark-transfer", False)])
def test_only_transfers_for_light_cloth_are_mirrored(
    cells: Patch, tmp_path: Path, garment: str, mirrored: bool
) -> None:
    out = tmp_path / "t.pdf"
    settings = PrintSettings.model_validate({"size": "25cm", "garment": garment})
    layout = print_patch(cells, settings, out).layouts[""]
    side = round(250 * PER_MM)
    whole = joined(by_pdfium(out), layout, (side, side))
    pixels = cells.pixels[:, ::-1] if mirrored else cells.pixels
    wanted = cv2.resize(np.ascontiguousarray(pixels), (side, side), interpolation=cv2.INTER_NEAREST)
    assert np.abs(whole.astype(int) - wanted).mean() < 2


def test_dtg_is_srgb_unmirrored_hard_edged_at_300_dpi(cells: Patch, tmp_path: Path) -> None:
    mask = cells.mask.copy()
    mask[:5] = 100
    out = tmp_path / "d.png"
    print_patch(Patch("dtg", cells.pixels, mask, (300, 300)), PrintSettings(garment="dtg", size=20), out)
    with Image.open(out) as image:
        assert image.mode == "RGBA" and image.info["icc_profile"]
        assert image.info["dpi"] == pytest.approx((300, 300), abs=0.02)
        rgba = np.asarray(image)
    assert rgba.shape[1] / 300 * 25.4 == pytest.approx(200, abs=0.05)
    assert set(np.unique(rgba[..., 3])) == {0, 255}
    wanted = cv2.resize(cells.pixels, rgba.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    inked = rgba[..., 3] == 255
    assert np.abs(rgba[inked][:, :3].astype(int) - wanted[inked]).mean() < 2
    assert inked[-1].all() and not inked[0].any()


@pytest.mark.parametrize("size", MEASURES)
def test_a_sleeve_is_as_long_as_the_armholes_it_is_sewn_to(size: str) -> None:
    chest, _, shoulders, _, depth, _, opening = MEASURES[size]  # type: ignore[index]
    front, back, sleeve, other = panels(size)  # type: ignore[arg-type]

    def armhole(outline: np.ndarray) -> float:
        axis = (outline[:, 0].min() + outline[:, 0].max()) / 2
        x, y = outline[:, 0] - axis, outline[:, 1]
        tip = int(np.argmin(np.abs(x - shoulders / 2)))
        under = int(np.argmin(np.abs(x - chest / 2) + np.abs(y - (y[tip] + depth))))
        low, high = sorted((tip, under))
        return float(np.linalg.norm(np.diff(outline[low : high + 1], axis=0), axis=1).sum())

    # The cap runs from underarm to underarm: the outline without its two lower corners.
    cap = sleeve.seam[:-2]
    around = float(np.linalg.norm(np.diff(cap, axis=0), axis=1).sum())
    assert around == pytest.approx(armhole(front.seam) + armhole(back.seam), rel=0.01)
    assert np.array_equal(sleeve.seam, other.seam)
    assert np.ptp(sleeve.seam[-2:, 0]) == pytest.approx(2 * opening, abs=0.01)


def test_sizes_grow() -> None:
    widths = [np.ptp(panels(size)[0].seam[:, 0]) for size in MEASURES]
    assert widths == sorted(widths) and len(set(widths)) == len(widths)


def test_a_square_moved_outward_keeps_its_corners() -> None:
    square = np.array([[0, 0], [10, 0], [10, 10], [0, 10]], np.float32)
    assert np.allclose(offset(square, 2), [[-2, -2], [12, -2], [12, 12], [-2, 12]])


def test_panels_are_covered_up_to_their_bleed_and_repeat_without_a_seam(cells: Patch, tmp_path: Path) -> None:
    texture = replace(cells, name="shirt", target="tshirt", size_mm=(120.0, 120.0))
    out = tmp_path / "p.pdf"
    done = print_patch(texture, PrintSettings(garment="panels", shirt="S", paper="a3"), out)
    assert list(done.layouts) == ["front", "back", "left sleeve", "right sleeve"]
    assert smallest_type(PdfReader(out)) >= LEAST_PT
    layout = done.layouts["left sleeve"]
    sheets = by_pdfium(out, [sheet.number for sheet in layout.sheets])
    ids = [i for page in sheets for i in found_markers(page)]
    assert sorted(ids) == [4 * sheet.number + i for sheet in layout.sheets for i in range(4)]
    panel = panels("S")[2]
    width, height = (np.ceil(panel.bleed.max(0))).astype(int)
    size = (round(width * PER_MM), round(height * PER_MM))
    whole = joined(sheets, layout, size)
    # Well inside the cut line each point shows the texel that the repeat says, the axis in the middle of a repeat.
    inside = np.zeros(size[::-1], np.uint8)
    cv2.fillPoly(inside, [np.round(offset(panel.seam, -3) * PER_MM).astype(np.int32)], (255,))
    rng = np.random.default_rng(0)
    rows, columns = np.nonzero(inside)
    pick = rng.choice(len(rows), 4000, replace=False)
    u = ((columns[pick] + 0.5) / PER_MM - width / 2) / 120 + 0.5
    v = ((rows[pick] + 0.5) / PER_MM - STRIP) / 120
    wanted = cells.pixels[(v % 1 * 24).astype(int), (u % 1 * 24).astype(int)]
    assert np.abs(whole[rows[pick], columns[pick]].astype(int) - wanted).mean() < 2
    # Colour reaches beyond the cut, and ends at the bleed.
    ring = np.zeros(size[::-1], np.uint8)
    cv2.polylines(ring, [np.round(offset(panel.seam, SEAM + 2.5) * PER_MM).astype(np.int32)], True, (255,), 3)
    assert (whole[ring > 0].min(1) < 250).mean() > 0.95


def test_panels_of_a_pattern_with_edges_are_refused(cells: Patch, tmp_path: Path) -> None:
    with pytest.raises(FabricationError, match="repeats without a seam"):
        print_patch(cells, PrintSettings(garment="panels"), tmp_path / "p.pdf")
