"""What goes onto cloth: mirrored where ironed face down, hard-edged for garment printers, panels that fit together."""

from dataclasses import replace
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from physadv.fabricate.clothes import PANELS, panels_of
from physadv.fabricate.layout import Layout, Sheet
from physadv.fabricate.panels import BLEED, CLOTH_WIDTH, SEAM, STRIP, Panel, line_length, offset, on_cloth
from physadv.fabricate.poster import cautions, layouts_of, preview_png, print_patch
from physadv.fabricate.settings import ClothesSize, PrintSettings
from physadv.fabricate.shirt import MEASURES, shirt_panels
from physadv.fabricate.trousers import CASING, legs, skirt_panels, trouser_panels
from physadv.patch import Patch
from physadv.types import UInt8Array
from tests.fabricate.conftest import PER_MM, by_pdfium, found_markers, joined


def drawn(patch: Patch, settings: PrintSettings, layout: Layout, sheet: Sheet) -> UInt8Array:
    """Return one sheet at 300 dpi; all those of a garment take half a minute."""
    data, _ = preview_png(patch, settings, sheet=sheet.number, width=round(layout.paper[0] * PER_MM))
    return np.asarray(Image.open(BytesIO(data)).convert("RGB"))


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
def test_a_sleeve_is_as_long_as_the_armholes_it_is_sewn_to(size: ClothesSize) -> None:
    chest, _, shoulders, _, depth, _, opening = MEASURES[size]
    front, back, sleeve, other = shirt_panels(size)

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
    for piece in (shirt_panels, trouser_panels, skirt_panels):
        widths = [np.ptp(piece(size)[0].seam[:, 0]) for size in MEASURES]
        assert widths == sorted(widths) and len(set(widths)) == len(widths)


@pytest.mark.parametrize("size", MEASURES)
def test_front_and_back_of_a_leg_are_as_long_along_both_seams_and_fit_the_hips(size: ClothesSize) -> None:
    front, back = legs(size)
    for seam in ("side", "inside"):
        assert line_length(getattr(front, seam)) == pytest.approx(line_length(getattr(back, seam)), abs=0.1)
    # The knees are notched, and lie as far from the hem on all four seams.
    below = [line_length(seam[-2:]) for leg in (front, back) for seam in (leg.side, leg.inside)]
    assert max(below) - min(below) < 0.1
    hips = 2 * sum(float(leg.middle[1, 0] - leg.side[1, 0]) for leg in (front, back))
    assert hips == pytest.approx({"S": 1000, "M": 1060, "L": 1120, "XL": 1180, "XXL": 1240}[size], abs=0.1)
    # The back's curve is the longer one, the two hang together as a whole body, and the waist goes over the hips.
    assert line_length(back.middle) > 1.15 * line_length(front.middle)
    waist = 2 * sum(float(leg.middle[0, 0] - leg.side[0, 0]) for leg in (front, back))
    assert hips - 80 < waist < hips


@pytest.mark.parametrize("clothes", PANELS)
@pytest.mark.parametrize("size", ["S", "XXL"])
def test_outlines_move_outward_evenly_and_have_no_loops(clothes: str, size: ClothesSize) -> None:
    for panel in PANELS[clothes](size):  # type: ignore[index]
        for outline, distance in ((panel.cut, SEAM), (panel.bleed, SEAM + BLEED)):
            # Along an outline without loops a line moved outward adds its length times the distance, and corners.
            around = line_length(np.vstack([panel.seam, panel.seam[:1]]))
            more = cv2.contourArea(outline) - cv2.contourArea(panel.seam)
            assert more == pytest.approx(around * distance, rel=0.07), panel.name
            apart = [abs(cv2.pointPolygonTest(panel.seam, point.tolist(), True)) for point in outline]
            assert min(apart) > 0.9 * distance, panel.name
        assert np.allclose(panel.bleed.min(0), [0, STRIP], atol=1e-3)


def test_left_and_right_legs_mirror_each_other() -> None:
    right, left, other, last = trouser_panels("M")
    assert [p.name for p in (right, left, other, last)] == [
        "right front leg", "left front leg", "right back leg", "left back leg"
    ]  # fmt: skip
    for one, two in ((right, left), (last, other)):
        axis = one.bleed[:, 0].max() / 2
        assert np.allclose(np.sort(2 * axis - one.seam[:, 0]), np.sort(two.seam[:, 0]), atol=0.01)
        for a, b in zip(one.notches, reversed(two.notches), strict=True):
            assert np.allclose(one.seam[a] * (-1, 1) + (2 * axis, 0), two.seam[b], atol=0.01)

    def crotch(panel: Panel) -> str:
        """Return on which side the crotch is: its point is the outermost there, and lies lower than that of the hip."""
        x, y = panel.seam.T
        return "right" if y[np.argmax(x)] > y[np.argmin(x)] else "left"

    # Seen from outside the right front has its crotch at the right, and from behind at the left.
    assert [crotch(p) for p in (right, left, other, last)] == ["right", "left", "left", "right"]
    for panel in (right, left, other, last):
        assert panel.fold is not None
        x, y = panel.fold.mean(0)
        top = panel.seam[min(panel.notches, key=lambda i: panel.seam[i, 1])]
        assert CASING * 0.95 < np.hypot(*(top - (x, y))) < CASING * 1.3


def test_cloth_holds_every_panel_beside_the_others() -> None:
    for make in PANELS.values():
        pieces = make("XXL")
        corners, length = on_cloth(pieces)
        boxes = [(x, y, x + p.size_mm[0], y + p.size_mm[1]) for (x, y), p in zip(corners, pieces, strict=True)]
        assert all(x0 >= 0 and x1 <= CLOTH_WIDTH and y1 <= length for x0, _, x1, y1 in boxes)
        assert all(
            a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1] for i, a in enumerate(boxes) for b in boxes[:i]
        )
        # Cloth is not wasted beyond what panels of such shapes leave.
        assert sum(w * h for w, h in (p.size_mm for p in pieces)) > 0.45 * CLOTH_WIDTH * length


def test_an_outfit_prints_shirt_and_trousers_and_either_by_itself(cells: Patch, tmp_path: Path) -> None:
    texture = replace(cells, name="all", target="tshirt", size_mm=(120.0, 120.0))

    def parts(patch: Patch, **values: object) -> list[str]:
        settings = PrintSettings.model_validate({"garment": "panels", **values})
        return list(layouts_of(patch, settings, tmp_path / "o.pdf"))

    shirt, lower = [p.name for p in shirt_panels("M")], [p.name for p in trouser_panels("M")]
    assert parts(texture) == shirt and cautions(texture, PrintSettings(garment="panels")) == ()
    whole = replace(texture, target="outfit")
    assert parts(whole) == shirt + lower and parts(whole, clothes="shirt") == shirt
    (caution,) = cautions(whole, PrintSettings(garment="panels", clothes="skirt"))
    assert "nothing is known of all as skirt: it was trained and scored as T-shirt and trousers" in caution
    assert parts(texture, clothes="outfit") == shirt + lower and parts(texture, clothes="trousers") == lower
    assert parts(texture, clothes="skirt", shirt="L") == ["skirt front", "skirt back"]
    caution, *_ = cautions(texture, PrintSettings(garment="panels", clothes="skirt"))
    assert "nothing is known of all as skirt: it was trained and scored as T-shirt" in caution


def test_a_leg_is_true_to_the_millimetre_over_its_sheets(cells: Patch, tmp_path: Path) -> None:
    texture = replace(cells, name="all", target="tshirt", size_mm=(120.0, 120.0))
    settings = PrintSettings(garment="panels", clothes="trousers", shirt="S", paper="a4")
    layout = layouts_of(texture, settings, tmp_path / "o.pdf")["right front leg"]
    panel = panels_of(texture, settings)[0]
    assert layout.rows > 3 and len(layout.sheets) < 20
    # The knee's and the hem's left sheets: the outline crosses both.
    pages = {}
    for row in (layout.rows - 2, layout.rows - 1):
        sheet = layout.sheets[row * layout.columns]
        page = drawn(texture, settings, layout, sheet)
        seen = found_markers(page)
        for i, centre in enumerate(layout.markers()):
            assert np.abs(seen[4 * sheet.number + i] - centre).max() < 0.2
        pages[row] = page, sheet
    width, height = np.ceil(panel.bleed.max(0))
    for page, sheet in pages.values():
        size = np.array([sheet.width, sheet.height])
        pitch = width / round(width * PER_MM), height / round(height * PER_MM)
        corner = np.array([sheet.dots[0] * pitch[0], sheet.dots[1] * pitch[1]])

        def at(
            points: np.ndarray, corner: np.ndarray = corner, page: np.ndarray = page, sheet: Sheet = sheet
        ) -> np.ndarray:
            """Return the colours at points of the panel, in millimetres."""
            x, y = ((points - corner + (sheet.x, sheet.y)) * PER_MM).astype(int).T
            return page[y, x].astype(int)

        rng = np.random.default_rng(0)
        spread = rng.uniform(corner + 1, corner + size - 1, (3000, 2))
        depth = np.array([cv2.pointPolygonTest(panel.bleed, p.tolist(), True) for p in spread.astype(np.float32)])
        # Inside the cut's white rim.
        inside = spread[depth > BLEED + 1]
        u, v = ((inside[:, 0] - width / 2) / 120 + 0.5) % 1, ((inside[:, 1] - STRIP) / 120) % 1
        wanted = cells.pixels[(v * 24).astype(int), (u * 24).astype(int)]
        assert np.abs(at(inside) - wanted).mean() < 2
        # Colour ends at the bleed, to a fifth of a millimetre, and the cut runs 5 mm inside it, black between white.
        just_out, just_in = spread[(depth > -3) & (depth < -0.2)], spread[(depth > 0.2) & (depth < BLEED - 1)]
        assert min(len(just_out), len(just_in)) > 5 and (at(just_out).min(1) > 250).all()
        assert (at(just_in).min(1) > 250).mean() < 0.05
        line = np.array([p for p in panel.cut if (corner + 2 < p).all() and (p < corner + size - 2).all()])
        assert not len(line) or at(line).max() < 140


def test_a_square_moved_outward_keeps_its_corners() -> None:
    square = np.array([[0, 0], [10, 0], [10, 10], [0, 10]], np.float32)
    assert np.allclose(offset(square, 2), [[-2, -2], [12, -2], [12, 12], [-2, 12]])


def test_panels_are_covered_up_to_their_bleed_and_repeat_without_a_seam(cells: Patch, tmp_path: Path) -> None:
    texture = replace(cells, name="shirt", target="tshirt", size_mm=(120.0, 120.0))
    settings = PrintSettings(garment="panels", shirt="S", paper="a3")
    layouts = layouts_of(texture, settings, tmp_path / "p.pdf")
    assert list(layouts) == ["front", "back", "left sleeve", "right sleeve"]
    layout = layouts["left sleeve"]
    sheets = [drawn(texture, settings, layout, sheet) for sheet in layout.sheets]
    ids = [i for page in sheets for i in found_markers(page)]
    assert sorted(ids) == [4 * sheet.number + i for sheet in layout.sheets for i in range(4)]
    panel = shirt_panels("S")[2]
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


def test_a_print_larger_than_garment_printers_take_is_said(tall: Patch, cells: Patch) -> None:
    (caution,) = cautions(tall, PrintSettings(garment="dtg"))
    assert caution.startswith("36 x 72 cm is more than most garment printers take (40 x 50 cm)")
    assert cautions(cells, PrintSettings(garment="dtg")) == cautions(tall, PrintSettings()) == ()
