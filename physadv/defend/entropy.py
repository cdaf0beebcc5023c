"""Local entropy: regions whose grey levels are unusually many and evenly spread are removed."""

from __future__ import annotations

import cv2
import numpy as np
from pydantic import Field

from physadv.defend.image import ONCE_MORE, PLAIN
from physadv.defend.removal import RemovalDefence
from physadv.types import Float32Array, UInt8Array

LEVELS = 16


class LocalEntropy(RemovalDefence):
    """Regions of high local entropy, compared with the whole image, removed and filled."""

    name = "entropy"
    title = "regions richer in detail than the rest removed"
    cost = ONCE_MORE
    paper = "after Tarchoun et al., 'Jedi: entropy-based localization and removal of adversarial patches' (CVPR 2023)"
    plain: bool = Field(default=True, description=PLAIN)
    window: int = Field(default=12, ge=4, le=64, description="width of the window in half-size pixels")
    floor: float = Field(
        default=0.8, ge=0.3, le=1, description="entropy never suspicious below this, 1 is the highest possible"
    )
    above: float = Field(default=1.5, ge=0, le=6, description="standard deviations above the image's mean entropy")
    smallest: float = Field(default=0.001, ge=0, le=0.2, description="share of the image below which a region is kept")
    largest: float = Field(default=0.08, gt=0, le=1, description="share of the image above which a region is scenery")

    def locate(self, image: UInt8Array) -> UInt8Array:
        """Return the mask of regions of high entropy, completed to their convex hulls."""
        height, width = image.shape[:2]
        half = cv2.resize(image, (max(width // 2, 1), max(height // 2, 1)), interpolation=cv2.INTER_AREA)
        value = local_entropy(np.asarray(cv2.cvtColor(half, cv2.COLOR_RGB2GRAY), np.uint8), self.window)
        limit = max(self.floor, float(value.mean() + self.above * value.std()))
        hot = (value >= limit).astype(np.uint8)
        # The window smears a region by half its width; what is thinner than that is an edge.
        hot = np.asarray(cv2.morphologyEx(hot, cv2.MORPH_OPEN, np.ones((self.window // 2,) * 2, np.uint8)), np.uint8)
        mask = np.zeros(hot.shape, np.uint8)
        contours, _ = cv2.findContours(hot, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        for contour in contours:
            if self.smallest * hot.size <= cv2.contourArea(contour) <= self.largest * hot.size:
                cv2.fillPoly(mask, [cv2.convexHull(contour)], (255,))
        return np.asarray(cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST), np.uint8)

    @property
    def reason(self) -> str:
        """Return why a region was removed."""
        return "its local entropy is far above the image's"


def local_entropy(grey: UInt8Array, window: int) -> Float32Array:
    """Return (h, w) entropy of 16 grey levels over a square window around each pixel; 1 if all are equally frequent."""
    level = grey >> 4
    out = np.zeros(grey.shape, np.float32)
    table = np.arange(256 * 16 + 1, dtype=np.float32) / (256 * 16)
    table = np.where(table > 0, -table * np.log(np.maximum(table, 1e-12)), 0).astype(np.float32) / np.log(LEVELS)
    for k in range(LEVELS):
        share = np.asarray(cv2.boxFilter((level == k).astype(np.float32), -1, (window, window)))
        out += table[(share * 4096).astype(np.int32)]
    return out
