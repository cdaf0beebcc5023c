"""The mask of a person in a photograph, by GrabCut (Rother et al. 2004) begun from a box and joints."""

from __future__ import annotations

import cv2
import numpy as np

from physadv.simulate.joints import VISIBLE
from physadv.types import Float32Array, UInt8Array

# Limbs that are drawn as sure parts of a body, by COCO's joints: arms, legs, torso, head.
LIMBS = ((5, 7), (7, 9), (6, 8), (8, 10), (11, 13), (13, 15), (12, 14), (14, 16), (5, 6), (11, 12), (5, 11), (6, 12),
         (0, 1), (0, 2), (1, 3), (2, 4))  # fmt: skip
# GrabCut takes 0.1 s on so many rows, and a mask needs no more.
ROWS, ROUNDS = 160, 4
# Share of a box that a person's mask takes; beyond it GrabCut has taken the background, or lost the body.
LEAST, MOST = 0.25, 0.92
# Softness of a mask's edge, as a part of the person's height.
SOFT = 0.012


def soft_mask(pixels: UInt8Array, box: np.ndarray, keypoints: Float32Array) -> UInt8Array:
    """Return (h, w) uint8, 255 on a person, falling softly at the edge.

    pixels: (h, w, 3) around the box (4,). keypoints: (17, 3); those not seen are passed over.
    """
    scale = min(ROWS / pixels.shape[0], 1.0)
    size = (max(round(pixels.shape[1] * scale), 2), max(round(pixels.shape[0] * scale), 2))
    small = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
    mask = _grab_cut(small, box * scale, keypoints * np.array([scale, scale, 1], np.float32))
    mask = np.asarray(cv2.resize(mask, pixels.shape[1::-1], interpolation=cv2.INTER_LINEAR), np.uint8)
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), max(SOFT * (box[3] - box[1]), 0.8)), np.uint8)


def _grab_cut(pixels: UInt8Array, box: np.ndarray, keypoints: Float32Array) -> UInt8Array:
    x0, y0, x1, y1 = (round(float(v)) for v in box)
    ellipse = np.zeros(pixels.shape[:2], np.uint8)
    middle, axes = ((x0 + x1) // 2, (y0 + y1) // 2), (max((x1 - x0) // 2, 1), max((y1 - y0) // 2, 1))
    cv2.ellipse(ellipse, middle, axes, 0, 0, 360, 255, -1)
    marks = np.full(pixels.shape[:2], cv2.GC_BGD, np.uint8)
    marks[y0:y1, x0:x1] = cv2.GC_PR_BGD
    marks[ellipse > 0] = cv2.GC_PR_FGD
    _draw_limbs(marks, keypoints, max(round(0.07 * (y1 - y0)), 2))
    try:
        cv2.grabCut(pixels, marks, None, np.zeros((1, 65)), np.zeros((1, 65)), ROUNDS, cv2.GC_INIT_WITH_MASK)  # type: ignore[call-overload]
    except cv2.error:
        # Without any sure background, where a person fills the image, or of one colour.
        return ellipse
    body = np.isin(marks, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(body)
    if count < 2:
        return ellipse
    body = (labels == 1 + stats[1:, cv2.CC_STAT_AREA].argmax()).astype(np.uint8)
    share = float(body.sum()) / max((x1 - x0) * (y1 - y0), 1)
    return np.asarray(body * 255, np.uint8) if LEAST <= share <= MOST else ellipse


def _draw_limbs(marks: np.ndarray, keypoints: Float32Array, thickness: int) -> None:
    seen = keypoints[:, 2] >= VISIBLE
    at = [tuple(int(v) for v in point) for point in keypoints[:, :2].round()]
    for a, b in LIMBS:
        if seen[a] and seen[b]:
            cv2.line(marks, at[a], at[b], cv2.GC_FGD, thickness)
