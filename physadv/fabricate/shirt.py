"""A T-shirt to cut and sew from a seamless texture: front, back and two sleeves."""

from __future__ import annotations

import numpy as np

from physadv.fabricate.panels import Panel, bezier, line_length
from physadv.fabricate.settings import ClothesSize
from physadv.types import Float32Array

# Half the chest, body length, shoulder to shoulder, neck width, armhole depth, sleeve length, half the sleeve's opening.
# A loose unisex cut as shops sell it; finished measures in millimetres, without seam allowance.
MEASURES: dict[ClothesSize, tuple[float, ...]] = {
    "S": (460, 710, 430, 172, 215, 205, 168),
    "M": (510, 740, 460, 178, 226, 212, 178),
    "L": (560, 760, 490, 184, 237, 219, 188),
    "XL": (610, 790, 520, 190, 248, 226, 198),
    "XXL": (660, 810, 550, 196, 259, 233, 208),
}
NECK_FRONT, NECK_BACK, SLOPE = 95.0, 25.0, 42.0
# Points from a sleeve's underarm up to the top of its cap.
CAP_STEPS = 48


def shirt_panels(size: ClothesSize) -> tuple[Panel, ...]:
    """Return front, back, left and right sleeve of a T-shirt, each as it is printed."""
    chest, length, shoulders, neck, armhole, sleeve, opening = MEASURES[size]
    hole = line_length(_armhole(chest, shoulders, armhole))
    arm = _sleeve(sleeve, opening, chest, 2 * hole)
    out = []
    for name, drop in (("front", NECK_FRONT), ("back", NECK_BACK)):
        outline, hem = _body(chest, length, shoulders, neck, armhole, drop)
        # Notches at the middle of neck and hem.
        out.append(Panel(name, outline, (0, hem)))
    out += [Panel(name, arm, (CAP_STEPS,)) for name in ("left sleeve", "right sleeve")]
    return tuple(panel.placed() for panel in out)


def _armhole(chest: float, shoulders: float, depth: float) -> Float32Array:
    """Return the right armhole from shoulder tip down to the underarm."""
    tip, under = (shoulders / 2, SLOPE), (chest / 2, SLOPE + depth)
    curve = bezier(tip, (tip[0] - 14, SLOPE + 0.45 * depth), (tip[0] - 10, under[1] - 4), under)
    return np.vstack([curve, [under]]).astype(np.float32)


def _body(
    chest: float, length: float, shoulders: float, neck: float, armhole: float, drop: float
) -> tuple[Float32Array, int]:
    """Return the outline of a front or back, clockwise from the middle of the neck, its top at y 0.

    Second, the index of the middle of its hem.
    """
    half = [
        bezier((0, drop), (neck * 0.32, drop), (neck / 2, drop * 0.62), (neck / 2, 0)),
        np.array([[neck / 2, 0]], np.float32),
        _armhole(chest, shoulders, armhole),
        np.array([[chest / 2, length]], np.float32),
    ]
    right = np.vstack(half).astype(np.float32)
    left = right[::-1] * np.array([-1, 1], np.float32)
    # The middle of the neck would be there twice.
    return np.vstack([right, [[0, length]], left[:-1]]).astype(np.float32), len(right)


def _cap(width: float, height: float) -> Float32Array:
    """Return a sleeve's cap from its left underarm over the top to the right one."""
    w = width / 2
    rise = bezier((-w, height), (-0.62 * w, height), (-0.52 * w, 0), (0, 0), steps=CAP_STEPS)
    fall = bezier((0, 0), (0.52 * w, 0), (0.62 * w, height), (w, height), steps=CAP_STEPS)
    return np.vstack([rise, fall, [[w, height]]]).astype(np.float32)


def _sleeve(length: float, opening: float, chest: float, around: float) -> Float32Array:
    """Return a sleeve whose cap is as long as the two armholes it is sewn to, `around`."""
    width = 2 * opening + 0.1 * chest
    low, high = 5.0, length
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if line_length(_cap(width, middle)) < around else (low, middle)
    hem = np.array([[opening, length], [-opening, length]], np.float32)
    return np.vstack([_cap(width, low), hem]).astype(np.float32)
