"""Pictures that let a person judge a camera's calibration."""

from __future__ import annotations

import cv2
import numpy as np

from physadv.camera.lens import Undistorter
from physadv.camera.profile import CameraProfile
from physadv.types import UInt8Array

LINE = (255, 64, 160)


def undistortion_preview(profile: CameraProfile, pixels: UInt8Array) -> UInt8Array:
    """Return the picture as it came over the picture with the lens taken out, ruled so that bent lines show."""
    flat = Undistorter(profile, (pixels.shape[1], pixels.shape[0])).apply(pixels)
    out = np.concatenate([_ruled(pixels), _ruled(flat)], 0)
    scale = min(1.0, 1600 / max(out.shape[:2]))
    return np.ascontiguousarray(cv2.resize(out, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))


def _ruled(pixels: UInt8Array) -> UInt8Array:
    out = pixels.copy()
    h, w = out.shape[:2]
    thick = max(1, round(w / 900))
    for k in range(1, 8):
        cv2.line(out, (round(k * w / 8), 0), (round(k * w / 8), h), LINE, thick)
        cv2.line(out, (0, round(k * h / 8)), (w, round(k * h / 8)), LINE, thick)
    return out
