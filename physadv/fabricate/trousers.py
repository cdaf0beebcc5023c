"""Straight trousers and a long skirt to cut and sew from a seamless texture, with an elastic in the waist.

The trousers are drafted as pattern books do it: the front's crotch runs out by a sixteenth of the hips, the back's by an
eighth, the back's middle seam leans and rises, and front and back are as long along both seams that join them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from physadv.fabricate.panels import Panel, bezier, line_length
from physadv.fabricate.settings import ClothesSize
from physadv.types import Float32Array

# Around the hips, waist to crotch, crotch to hem, across the leg at the knee and at the hem: loose and straight, finished
# measures in millimetres, without seam allowance.
MEASURES: dict[ClothesSize, tuple[float, ...]] = {
    "S": (1000, 275, 770, 236, 212),
    "M": (1060, 283, 785, 246, 220),
    "L": (1120, 291, 795, 256, 228),
    "XL": (1180, 299, 800, 266, 236),
    "XXL": (1240, 307, 805, 276, 244),
}
# Cloth above the waist, folded in for an elastic 30 mm wide.
CASING = 40.0
# The hip line above the crotch; how far the back's middle seam leans and rises.
HIP, LEAN, RISE = 75.0, 24.0, 25.0
# A back is so much wider than a front.
WIDER = 20.0
# The knee lies .45 of the way down the leg.
KNEE = 0.45
# Beside the skirt's waist on either side at its hem.
FLARE = 110.0
# A front has one notch in its waist, a back two so far apart.
PAIR = 8.0


class Leg(NamedTuple):
    """The seams of one front or back, its crotch at the right, each an (n, 2) line from the upper end down.

    middle: from the waist to the point of the crotch, whose curve it is. inside: from there to the hem. side: from the
    waist to the hem. knee: its y.
    """

    middle: Float32Array
    inside: Float32Array
    side: Float32Array
    knee: float


def trouser_panels(size: ClothesSize) -> tuple[Panel, ...]:
    """Return the fronts and the backs of trousers, each as it is printed.

    Right and left are the wearer's: the right front has its crotch at the right of who looks at it.
    """
    front, back = legs(size)
    right_front = _panel("right front leg", front, (0.0,))
    left_back = _panel("left back leg", back, (-PAIR / 2, PAIR / 2))
    all_four = (right_front, right_front.mirrored("left front leg"), left_back.mirrored("right back leg"), left_back)
    return tuple(panel.placed() for panel in all_four)


def legs(size: ClothesSize) -> tuple[Leg, Leg]:
    """Return a front and a back that are as long along the side and along the inside of the leg."""
    front = _leg(size, back=False, waist=0.0, drop=0.0)
    # Where the back's waist begins at the side, and how much lower than the front its crotch lies, decide its lengths.
    drop = _solved(
        lambda y: line_length(front.inside) - line_length(_leg(size, back=True, waist=0.0, drop=y).inside), -40.0, 40.0
    )
    waist = _solved(
        lambda y: line_length(front.side) - line_length(_leg(size, back=True, waist=y, drop=drop).side), -40.0, 40.0
    )
    return front, _leg(size, back=True, waist=waist, drop=drop)


def _solved(rising: Callable[[float], float], low: float, high: float) -> float:
    """Return where a rising function is 0, by halves."""
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < 0 else (low, middle)
    return low


def _leg(size: ClothesSize, *, back: bool, waist: float, drop: float) -> Leg:
    """Return a leg about its crease at x 0, the front's waist at y 0. waist: y of it at the side. drop: of the crotch."""
    hips, rise, inseam, knee_width, hem_width = MEASURES[size]
    wider = WIDER / 2 if back else -WIDER / 2
    hip, out = hips / 4 + wider, hips / 8 - 15 if back else hips / 16 - 5
    lean, up = (LEAN, RISE) if back else (4.0, 0.0)
    half, knee_half, hem_half = (hip + out) / 2, (knee_width + wider) / 2, (hem_width + wider) / 2
    knee, hem = rise + KNEE * inseam, rise + inseam
    taper = (knee_half - hem_half) / (hem - knee)
    top, hip_at, point = (half - out - lean, -up), (half - out, rise - HIP), (half, rise + drop)
    toward = np.subtract(hip_at, top) / np.linalg.norm(np.subtract(hip_at, top))
    bend = np.add(hip_at, toward * 0.75 * HIP)
    middle = np.vstack([[top], bezier(hip_at, bend.tolist(), (half - 0.62 * out, point[1]), point), [point]])
    # Between crotch and knee the inside runs in quickly, and comes down to the knee the way it goes on.
    down = knee - point[1]
    inner = bezier(
        point,
        (half - 0.5 * (half - knee_half), point[1] + 0.16 * down),
        (knee_half + taper * 0.45 * down, knee - 0.45 * down),
        (knee_half, knee),
    )
    inside = np.vstack([inner, [(knee_half, knee), (hem_half, hem)]])
    fall = knee - hip_at[1]
    outer = bezier(
        (-half, hip_at[1]),
        (-half, hip_at[1] + 0.35 * fall),
        (-knee_half - taper * 0.4 * fall, knee - 0.4 * fall),
        (-knee_half, knee),
    )
    side = np.vstack([[(-half + 5.0, waist)], outer, [(-knee_half, knee), (-hem_half, hem)]])
    return Leg(middle.astype(np.float32), inside.astype(np.float32), side.astype(np.float32), knee)


def _panel(name: str, leg: Leg, marks: tuple[float, ...]) -> Panel:
    """Return the panel of a leg with its casing. marks: its notches in the waist, millimetres from the middle."""
    casing = _casing(leg.side, leg.middle)
    along = (casing[1] - casing[0]) / np.linalg.norm(casing[1] - casing[0])
    waist = np.array([(casing[0] + casing[1]) / 2 + along * mark for mark in marks], np.float32)
    side = leg.side[::-1]
    outline = np.vstack([casing[:1], waist, casing[1:], leg.middle, leg.inside[1:], side])
    # The knee is the last point but one of the inside, and the second from below of the side; the hip the last but one.
    inner_knee = 1 + len(waist) + len(leg.middle) + len(leg.inside) - 2
    notches = (*range(1, 1 + len(waist)), inner_knee, inner_knee + 3, len(outline) - 2)
    return Panel(name, outline.astype(np.float32), notches, np.stack([leg.side[0], leg.middle[0]]))


def _casing(left: Float32Array, right: Float32Array) -> Float32Array:
    """Return the two corners of the cloth above a waist, as its seams run below it seen in a mirror on the fold.

    left, right: (n, 2) seams from the fold down.
    """
    along = (right[0] - left[0]) / np.linalg.norm(right[0] - left[0])
    corners = []
    for seam in (left, right):
        way = seam[1] - seam[0]
        back = 2 * (way @ along) * along - way
        depth = abs(way[0] * along[1] - way[1] * along[0])
        corners.append(seam[0] + back * CASING / depth)
    return np.asarray(corners, np.float32)


def skirt_panels(size: ClothesSize) -> tuple[Panel, ...]:
    """Return front and back of a skirt to the ankles, wider at the hem, each as it is printed."""
    hips, rise, inseam, *_ = MEASURES[size]
    half, tall = hips / 4, rise + 0.85 * inseam
    low = tall * float(np.cos(np.arctan2(FLARE, tall)))
    right = np.array([[half, 0], [half + FLARE, low]], np.float32)
    left = right * np.array([-1, 1], np.float32)
    casing = _casing(left, right)
    # The hem is level on the body: as far from the waist in the middle as along the sides.
    hem = bezier((half + FLARE, low), (half * 0.6, tall), (-half * 0.6, tall), (-half - FLARE, low))
    out = []
    for name, marks in (("skirt front", (0.0,)), ("skirt back", (-PAIR / 2, PAIR / 2))):
        waist = np.array([(casing[0] + casing[1]) / 2 + (mark, 0) for mark in marks], np.float32)
        outline = np.vstack([casing[:1], waist, casing[1:], right[:1], hem, left[::-1]])
        out.append(
            Panel(name, outline.astype(np.float32), tuple(range(1, 1 + len(marks))), np.stack([left[0], right[0]]))
        )
    return tuple(panel.placed() for panel in out)
