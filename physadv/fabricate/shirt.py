"""A T-shirt to cut and sew from a seamless texture: front, back and sleeves, with bleed, seam allowance, grain line."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from physadv.fabricate.artwork import Positions, Raster, sample
from physadv.fabricate.document import INK, QUIET, Document
from physadv.fabricate.settings import ShirtSize, Texels
from physadv.patch import Patch
from physadv.types import Float32Array, UInt8Array

SEAM, BLEED = 10.0, 5.0
# Above each panel, for its name and the grain line; nothing is printed on the cloth itself.
STRIP = 30.0
# Half the chest, body length, shoulder to shoulder, neck width, armhole depth, sleeve length, half the sleeve's opening.
# A loose unisex cut as shops sell it; finished measures in millimetres, without seam allowance.
MEASURES: dict[ShirtSize, tuple[float, ...]] = {
    "S": (460, 710, 430, 172, 215, 205, 168),
    "M": (510, 740, 460, 178, 226, 212, 178),
    "L": (560, 760, 490, 184, 237, 219, 188),
    "XL": (610, 790, 520, 190, 248, 226, 198),
    "XXL": (660, 810, 550, 196, 259, 233, 208),
}
NECK_FRONT, NECK_BACK, SLOPE = 95.0, 25.0, 42.0


@dataclass(frozen=True, slots=True)
class Panel:
    """One piece of cloth. seam: (n, 2) outline in millimetres where it is sewn, x right, y down, closed. copies: to cut."""

    name: str
    seam: Float32Array

    @property
    def cut(self) -> Float32Array:
        """Return the outline to cut along, the seam allowance outside the seam."""
        return offset(self.seam, SEAM)

    @property
    def bleed(self) -> Float32Array:
        """Return the outline up to which colour is printed."""
        return offset(self.seam, SEAM + BLEED)


def panels(size: ShirtSize) -> tuple[Panel, ...]:
    """Return front, back, left and right sleeve of a T-shirt, each moved so that its bleed starts at 0, STRIP."""
    chest, length, shoulders, neck, armhole, sleeve, opening = MEASURES[size]
    front = _body(chest, length, shoulders, neck, armhole, NECK_FRONT)
    back = _body(chest, length, shoulders, neck, armhole, NECK_BACK)
    hole = _length(_armhole(chest, shoulders, armhole))
    arm = _sleeve(sleeve, opening, chest, 2 * hole)
    named = (("front", front), ("back", back), ("left sleeve", arm), ("right sleeve", arm))
    return tuple(Panel(name, _to_origin(outline)) for name, outline in named)


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


def _bezier(*points: Sequence[float], steps: int = 48) -> Float32Array:
    """Return a cubic curve through four control points, its last point left out."""
    t = np.linspace(0, 1, steps, endpoint=False)[:, None]
    p = np.array(points, np.float32)
    weights = ((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3)
    return np.asarray(sum(w * q for w, q in zip(weights, p, strict=True)), np.float32)


def _length(line: Float32Array) -> float:
    return float(np.linalg.norm(np.diff(line, axis=0), axis=1).sum())


def _armhole(chest: float, shoulders: float, depth: float) -> Float32Array:
    """Return the right armhole from shoulder tip down to the underarm."""
    tip, under = (shoulders / 2, SLOPE), (chest / 2, SLOPE + depth)
    curve = _bezier(tip, (tip[0] - 14, SLOPE + 0.45 * depth), (tip[0] - 10, under[1] - 4), under)
    return np.vstack([curve, [under]]).astype(np.float32)


def _body(chest: float, length: float, shoulders: float, neck: float, armhole: float, drop: float) -> Float32Array:
    """Return the outline of a front or back, clockwise from the middle of the neck, its top at y 0."""
    half = [
        _bezier((0, drop), (neck * 0.32, drop), (neck / 2, drop * 0.62), (neck / 2, 0)),
        np.array([[neck / 2, 0]], np.float32),
        _armhole(chest, shoulders, armhole),
        np.array([[chest / 2, length]], np.float32),
    ]
    right = np.vstack(half).astype(np.float32)
    left = right[::-1] * np.array([-1, 1], np.float32)
    # The middle of the neck and of the hem would be there twice.
    return np.vstack([right, left[:-1]]).astype(np.float32)


def _cap(width: float, height: float) -> Float32Array:
    """Return a sleeve's cap from its left underarm over the top to the right one."""
    w = width / 2
    rise = _bezier((-w, height), (-0.62 * w, height), (-0.52 * w, 0), (0, 0))
    fall = _bezier((0, 0), (0.52 * w, 0), (0.62 * w, height), (w, height))
    return np.vstack([rise, fall, [[w, height]]]).astype(np.float32)


def _sleeve(length: float, opening: float, chest: float, around: float) -> Float32Array:
    """Return a sleeve whose cap is as long as the two armholes it is sewn to, `around`."""
    width = 2 * opening + 0.1 * chest
    low, high = 5.0, length
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if _length(_cap(width, middle)) < around else (low, middle)
    hem = np.array([[opening, length], [-opening, length]], np.float32)
    return np.vstack([_cap(width, low), hem]).astype(np.float32)


def _to_origin(outline: Float32Array) -> Float32Array:
    low = offset(outline, SEAM + BLEED).min(0)
    return (outline - low + np.array([0, STRIP], np.float32)).astype(np.float32)


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


def draw_lines(pdf: Document, panel: Panel, size: ShirtSize, x: float, y: float) -> None:
    """Draw cut line, notches, name and grain line of a panel whose raster's corner lies at x, y."""
    shift = np.array([x, y], np.float32)
    cut = panel.cut + shift
    for width, grey in ((0.5, 255), (0.18, INK)):
        pdf.set_line_width(width)
        pdf.set_draw_color(grey)
        pdf.polygon([(float(a), float(b)) for a, b in cut], style="D")
    axis = float((cut[:, 0].min() + cut[:, 0].max()) / 2)
    top = y + 9.0
    left = axis - 52.0
    pdf.words(left, top, panel.name.capitalize(), size=15, bold=True)
    note = f"Size {size}   cut 1   seam allowance {SEAM:g} mm inside the line   bleed {BLEED:g} mm"
    pdf.words(left, top + 5, note, size=6.6, grey=QUIET)
    _grain(pdf, axis + 46.0, y + 2, 20.0)
    # Notches at the middle of hem and top, where front, back and sleeve are pinned first.
    for edge in (float(cut[:, 1].max()), float(_at_axis(cut, axis))):
        pdf.line_to(axis, edge - 2.5, axis, edge + 2.5, width=0.25)


def _at_axis(outline: Float32Array, axis: float) -> float:
    """Return the y of the upper edge on the panel's axis."""
    near = np.abs(outline[:, 0] - axis) < 12
    return float(outline[near, 1].min())


def _grain(pdf: Document, x: float, y: float, length: float) -> None:
    pdf.line_to(x, y, x, y + length, width=0.25)
    for end, way in ((y, 1), (y + length, -1)):
        pdf.line_to(x, end, x - 1.6, end + way * 3, width=0.25)
        pdf.line_to(x, end, x + 1.6, end + way * 3, width=0.25)
    with pdf.rotation(90, x + 3.2, y + length / 2):
        pdf.words(x + 3.2, y + length / 2, "grain", size=6.6, grey=QUIET, align="C")
