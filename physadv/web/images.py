"""Images as the page gets them: made smaller, as JPEG."""

from __future__ import annotations

import cv2
import numpy as np

from physadv.types import UInt8Array


def shrunk(pixels: UInt8Array, longest: int) -> UInt8Array:
    """Return an image whose longer side has at most `longest` pixels; one that fits as it is."""
    height, width = pixels.shape[:2]
    if max(width, height) <= longest:
        return pixels
    scale = longest / max(width, height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)


def jpeg(pixels: UInt8Array, quality: int) -> bytes:
    """Return an image (h, w, 3) uint8 RGB as JPEG."""
    _, data = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return data.tobytes()
