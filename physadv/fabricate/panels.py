"""Panels of cloth cut from a seamless texture: outlines, the raster under them, what is drawn over it, the cloth needed.

Outlines are closed, (n, 2) in millimetres, x right, y down, clockwise as seen. `shirt` and `trousers` draft them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import cv2
import numpy as np

from physadv.fabricate.artwork import Positions, Raster, sample
from physadv.fabricate.document import INK, QUIET, Document
from physadv.fabricate.settings import ClothesSize, Texels
from physadv.patch import Patch
from physadv.types import Float32Array, UInt8Array

SEAM, BLEED = 10.0, 5.0
# Above each panel, for its name and the grain line; nothing is printed on the cloth itself.
STRIP = 30.0
NOTCH = 5.0
# Jersey as it is sold and printed, and what is left free between panels laid out on it.
CLOTH_WIDTH, CLOTH_GAP = 1500.0, 10.0


@dataclass(frozen=True, slots=True)
class Panel:
    """One piece of cloth, cut once.

    seam: (n, 2) outline where it is sewn. notches: points of the seam, by their index, that are marked at the cut. fold:
    (2, 2) ends of the line along which the upper edge is folded in, or None.
    """

    name: str
    seam: Float32Array
    notches: tuple[int, ...] = ()
    fold: Float32Array | None = None

    @property
    def cut(self) -> Float32Array:
        """Return the outline to cut along, the seam allowance outside the seam."""
        return offset(self.seam, SEAM)

    @property
    def bleed(self) -> Float32Array:
        """Return the outline up to which colour is printed."""
        return offset(self.seam, SEAM + BLEED)

    @property
    def size_mm(self) -> tuple[float, float]:
        """Return the width and height of the printed cloth."""
        width, height = np.ptp(self.bleed, axis=0)
        return float(width), float(height)

    def placed(self) -> Panel:
        """Return the panel moved so that its bleed starts at 0, `STRIP`, as it is printed."""
        shift = np.array([0, STRIP], np.float32) - self.bleed.min(0)
        fold = None if self.fold is None else (self.fold + shift).astype(np.float32)
        return replace(self, seam=(self.seam + shift).astype(np.float32), fold=fold)

    def mirrored(self, name: str) -> Panel:
        """Return the panel for the other side of the body, under another name."""
        flip = np.array([-1, 1], np.float32)
        fold = None if self.fold is None else self.fold[::-1] * flip
        notches = tuple(sorted(len(self.seam) - 1 - i for i in self.notches))
        return Panel(name, np.ascontiguousarray(self.seam[::-1] * flip), notches, fold)


def offset(outline: Float32Array, distance: float) -> Float32Array:
    """Return a closed outline moved outward by `distance`, its corners kept sharp up to three times that distance.

    outline: (n, 2), clockwise as seen with y down, without loops; no bay narrower than twice `distance`.
    """
    before, after = outline - np.roll(outline, 1, 0), np.roll(outline, -1, 0) - outline
    normals = []
    for edge in (before, after):
        unit = edge / np.linalg.norm(edge, axis=1, keepdims=True)
        normals.append(np.stack([unit[:, 1], -unit[:, 0]], 1))
    a, b = normals
    middle = a + b
    middle /= np.maximum(np.linalg.norm(middle, axis=1, keepdims=True), 1e-6)
    stretch = 1 / np.maximum((middle * a).sum(1, keepdims=True), 1 / 3)
    return (outline + middle * stretch * distance).astype(np.float32)


def bezier(*points: Sequence[float], steps: int = 48) -> Float32Array:
    """Return a cubic curve through four control points, its last point left out."""
    t = np.linspace(0, 1, steps, endpoint=False)[:, None]
    p = np.array(points, np.float32)
    weights = ((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3)
    return np.asarray(sum(w * q for w, q in zip(weights, p, strict=True)), np.float32)


def line_length(line: Float32Array) -> float:
    """Return the length of an open line (n, 2)."""
    return float(np.linalg.norm(np.diff(line, axis=0), axis=1).sum())


@dataclass(frozen=True)
class PanelRaster(Raster):
    """A texture repeated every `repeat_mm` over a panel and its bleed, transparent outside, one repeat on its axis."""

    patch: Patch
    panel: Panel
    repeat_mm: tuple[float, float]
    texels: Texels = "texel"

    def at(self, rows: Positions, columns: Positions) -> UInt8Array:
        """Return the image where `rows` and `columns` cross, (h, w, 4) uint8 RGBA, straight alpha."""
        pitch_x, pitch_y = self.width_mm / self.width, self.height_mm / self.height
        h, w = self.patch.mask.shape
        across = (columns * pitch_x - self.width_mm / 2) / self.repeat_mm[0] + 0.5
        down = (rows * pitch_y - STRIP) / self.repeat_mm[1]
        out = sample(self._tile, (down % 1) * h + 1, (across % 1) * w + 1, self.texels)
        mask = np.zeros(out.shape[:2], np.uint8)
        start = np.array([columns[0] * pitch_x, rows[0] * pitch_y], np.float32)
        step = np.array([_step(columns) * pitch_x, _step(rows) * pitch_y], np.float32)
        dots = (self.panel.bleed - start) / step
        cv2.fillPoly(mask, [np.round(dots * 16).astype(np.int32)], (255,), shift=4)
        out[mask == 0] = 0
        return out

    @cached_property
    def _tile(self) -> UInt8Array:
        # One texel of the neighbour on every side, so that "smooth" blends over the seam of a repeat.
        return np.pad(self.patch.rgba(), ((1, 1), (1, 1), (0, 0)), mode="wrap")


def _step(positions: Positions) -> float:
    return float(positions[1] - positions[0]) if len(positions) > 1 else 1.0


def panel_raster(patch: Patch, panel: Panel, repeat_mm: tuple[float, float], texels: Texels) -> PanelRaster:
    """Return the raster of one panel, with the strip for its name above it."""
    width, height = (float(math.ceil(v)) for v in panel.bleed.max(0))
    return PanelRaster(width, height, patch, panel, repeat_mm, texels)


def draw_lines(pdf: Document, panel: Panel, size: ClothesSize, x: float, y: float) -> None:
    """Draw cut line, notches, fold, name and grain line of a panel whose raster's corner lies at x, y."""
    shift = np.array([x, y], np.float32)
    cut, seam = panel.cut + shift, panel.seam + shift
    for width, grey in ((0.5, 255), (0.18, INK)):
        pdf.set_line_width(width)
        pdf.set_draw_color(grey)
        pdf.polygon([(float(a), float(b)) for a, b in cut], style="D")
    for i in panel.notches:
        inward = (seam[i] - cut[i]) / np.linalg.norm(seam[i] - cut[i])
        _two_toned(pdf, cut[i] - inward * NOTCH / 2, cut[i] + inward * NOTCH)
    if panel.fold is not None:
        pdf.set_dash_pattern(dash=4, gap=2.5)
        _two_toned(pdf, *(panel.fold + shift))
        pdf.set_dash_pattern()
    axis = float((cut[:, 0].min() + cut[:, 0].max()) / 2)
    top = y + 9.0
    left = axis - 52.0
    pdf.words(left, top, panel.name.capitalize(), size=15, bold=True)
    note = f"Size {size}   cut 1   seam allowance {SEAM:g} mm inside the line   bleed {BLEED:g} mm"
    pdf.words(left, top + 5, note, size=6.6, grey=QUIET)
    _grain(pdf, axis + 46.0, y + 2, 20.0)


def _two_toned(pdf: Document, start: Float32Array, end: Float32Array) -> None:
    """Draw a black line on a white one, which is seen on every colour."""
    for width, grey in ((0.7, 255), (0.25, INK)):
        pdf.line_to(*(float(v) for v in (*start, *end)), width=width, grey=grey)


def _grain(pdf: Document, x: float, y: float, length: float) -> None:
    pdf.line_to(x, y, x, y + length, width=0.25)
    for end, way in ((y, 1), (y + length, -1)):
        pdf.line_to(x, end, x - 1.6, end + way * 3, width=0.25)
        pdf.line_to(x, end, x + 1.6, end + way * 3, width=0.25)
    with pdf.rotation(90, x + 3.2, y + length / 2):
        pdf.words(x + 3.2, y + length / 2, "grain", size=6.6, grey=QUIET, align="C")


def on_cloth(pieces: Sequence[Panel]) -> tuple[tuple[tuple[float, float], ...], float]:
    """Return where each panel's upper left corner lies on cloth `CLOTH_WIDTH` wide, and the length of cloth that takes.

    Millimetres. All panels stand upright, as the texture does; the tallest come first, each in the first row with room.
    """
    rows: list[tuple[float, float]] = []
    corners: dict[int, tuple[float, float]] = {}
    end = CLOTH_GAP
    for i in sorted(range(len(pieces)), key=lambda i: -pieces[i].size_mm[1]):
        width, height = pieces[i].size_mm
        row = next((k for k, (x, _) in enumerate(rows) if x + width + CLOTH_GAP <= CLOTH_WIDTH), len(rows))
        if row == len(rows):
            rows.append((CLOTH_GAP, end))
            end += height + CLOTH_GAP
        corners[i] = rows[row]
        rows[row] = (rows[row][0] + width + CLOTH_GAP, rows[row][1])
    return tuple(corners[i] for i in range(len(pieces))), end
