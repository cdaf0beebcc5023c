"""Images that let a person judge a calibration."""

from __future__ import annotations

import math

import cv2
import numpy as np

from physadv.camera.fit import Samples
from physadv.camera.lens import Undistorter
from physadv.camera.profile import CameraProfile, PrinterProfile
from physadv.types import UInt8Array

LINE = (255, 64, 160)


def undistortion_preview(profile: CameraProfile, pixels: UInt8Array) -> UInt8Array:
    """Return the image as it came over the image with the lens taken out, ruled so that bent lines show."""
    flat = Undistorter(profile, (pixels.shape[1], pixels.shape[0])).apply(pixels)
    out = np.concatenate([_ruled(pixels), _ruled(flat)], 0)
    scale = min(1.0, 1600 / max(out.shape[:2]))
    return np.ascontiguousarray(cv2.resize(out, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))


def comparison(profile: PrinterProfile, samples: Samples) -> UInt8Array:
    """Return an image of up to 120 colours: each a square of what was asked for, and in it predicted over seen."""
    at = np.linspace(0, len(samples) - 1, min(len(samples), 120)).round().astype(int)
    digital = np.round(samples.digital[at] * 255).astype(np.uint8)
    predicted = profile.colour_map().image(digital[None])[0]
    seen = np.round(samples.seen[at] * 255).astype(np.uint8)
    columns, cell = 15, 48
    out = np.full((math.ceil(len(at) / columns) * cell, columns * cell, 3), 255, np.uint8)
    for k in range(len(at)):
        y, x = k // columns * cell, k % columns * cell
        out[y : y + cell, x : x + cell] = digital[k]
        out[y + 10 : y + cell // 2, x + 10 : x + cell - 10] = predicted[k]
        out[y + cell // 2 : y + cell - 10, x + 10 : x + cell - 10] = seen[k]
    return out


def _ruled(pixels: UInt8Array) -> UInt8Array:
    out = pixels.copy()
    h, w = out.shape[:2]
    thick = max(1, round(w / 900))
    for k in range(1, 8):
        cv2.line(out, (round(k * w / 8), 0), (round(k * w / 8), h), LINE, thick)
        cv2.line(out, (0, round(k * h / 8)), (w, round(k * h / 8)), LINE, thick)
    return out
