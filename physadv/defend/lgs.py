"""Local gradient smoothing: strong gradients that fill a block are turned down."""

from __future__ import annotations

import math
from typing import ClassVar

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field, model_validator

from physadv.defend.image import ONCE_MORE, PLAIN, ImageDefence, ImageView
from physadv.types import Detector, Float32Array, Int64Array, UInt8Array

LUMA = (0.299, 0.587, 0.114)
# Share of white below which an image's strongest gradient is not stretched to 1: a blurred or empty image would be smoothed
# all over. None of 61 measured photographs is so flat.
FLAT = 0.2


class LocalGradientSmoothing(ImageDefence):
    """Pixels multiplied by 1 - smoothing * gradient in blocks whose mean gradient is above a threshold.

    As in the paper the image's smallest gradient is 0 and its largest 1, and the defaults are the paper's. Printed patterns
    are full of moderate gradients, which a high threshold leaves alone: with .5 of 100 grey levels 1 to 4 % of their pixels
    were smoothed, with the paper's threshold 92 to 98 %.
    """

    name = "lgs"
    title = "strong local gradients turned down"
    cost = f"about 1 ms a frame, and {ONCE_MORE}"
    paper = "Naseer, Khan, Porikli, 'Local gradients smoothing' (WACV 2019)"
    of_image_alone: ClassVar[bool] = True
    threshold: float = Field(
        default=0.1, ge=0, le=1, description="mean gradient above which a block is smoothed, 1: the image's strongest"
    )
    smoothing: float = Field(default=2.3, ge=0, le=10, description="how strongly gradients are turned down")
    block: int = Field(default=15, ge=4, le=64, description="width of a block in pixels")
    overlap: int = Field(default=5, ge=0, le=63, description="pixels by which neighbouring blocks overlap")
    plain: bool = Field(default=True, description=PLAIN)

    @model_validator(mode="after")
    def _moves_on(self) -> LocalGradientSmoothing:
        if self.overlap >= self.block:
            raise ValueError(f"overlap: expected less than the block's {self.block} pixels, got {self.overlap}")
        return self

    def view(self, image: UInt8Array, rng: np.random.Generator, detector: Detector) -> ImageView:
        """Return the smoothed image."""
        gradient = _gradient(np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8))
        low, high, _, _ = cv2.minMaxLoc(gradient)
        span = max(high - low, 255 * FLAT)
        marks = self._suspicious(gradient, low + self.threshold * span)
        if not marks.any():
            return ImageView(image)
        # Everything from here on in bytes, in OpenCV's loops: at 640 x 480 it takes a third of the time of floats, and a
        # pixel differs by 1 of 255 at most.
        steep = 255 * self.smoothing / span
        keep = cv2.addWeighted(gradient, -steep, gradient, 0, 255 + steep * low, dtype=cv2.CV_8U)
        keep = cv2.bitwise_or(keep, cv2.bitwise_not(marks))
        if (keep == 255).all():
            return ImageView(image)
        smoothed = cv2.multiply(image, cv2.cvtColor(keep, cv2.COLOR_GRAY2RGB), scale=1 / 255)
        return ImageView(np.asarray(smoothed, np.uint8))

    def _suspicious(self, gradient: Float32Array, above: float) -> UInt8Array:
        """Return (h, w) 255 for pixels in some block whose mean gradient is above a value, else 0."""
        height, width = gradient.shape
        # Blocks are counted in cells of which they consist, where the image does too: their means are those of the cells.
        unit = math.gcd(self.block, self.block - self.overlap)
        if height % unit or width % unit:
            unit = 1
        cells = cv2.resize(gradient, (width // unit, height // unit), interpolation=cv2.INTER_AREA)
        side, (rows, columns) = self.block // unit, cells.shape
        top, left = self._starts(height) // unit, self._starts(width) // unit
        bottom, right = np.minimum(top + side, rows), np.minimum(left + side, columns)
        sums = cv2.integral(cells)
        total = sums[np.ix_(bottom, right)] - sums[np.ix_(top, right)] - sums[np.ix_(bottom, left)]
        mean = (total + sums[np.ix_(top, left)]) / np.outer(bottom - top, right - left)
        marks = np.zeros(cells.shape, np.uint8)
        marks[np.ix_(top, left)] = np.where(mean > above, 255, 0)
        # Each mark covers the block that begins with it: the kernel's anchor is its last cell.
        marks = np.asarray(cv2.dilate(marks, np.ones((side, side), np.uint8), anchor=(side - 1,) * 2), np.uint8)
        return np.asarray(cv2.resize(marks, (width, height), interpolation=cv2.INTER_NEAREST), np.uint8)

    def _starts(self, length: int) -> Int64Array:
        """Return where blocks begin along an axis; the last block ends with the image, so that all pixels are in one."""
        last = max(length - self.block, 0)
        return np.array([*range(0, last, self.block - self.overlap), last], np.int64)

    def differentiable(self, images: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        """Return the smoothed images: exact, with the choice of blocks held fixed."""
        weights = torch.tensor(LUMA, dtype=images.dtype, device=images.device)
        grey = (images * weights[:, None, None]).sum(1)
        dx = F.pad(grey[:, :, 1:] - grey[:, :, :-1], (0, 1))
        dy = F.pad(grey[:, 1:] - grey[:, :-1], (0, 0, 0, 1))
        gradient = (dx**2 + dy**2 + 1e-12).sqrt()
        low, high = gradient.amin((1, 2), keepdim=True), gradient.amax((1, 2), keepdim=True)
        gradient = (gradient - low) / (high - low).clamp_min(FLAT)
        marks = [self._suspicious(g, self.threshold) for g in gradient.detach().float().cpu().numpy()]
        blocks = torch.from_numpy(np.stack(marks)).to(images) / 255
        return images * (1 - self.smoothing * gradient * blocks).clamp(0, 1)[:, None]


def _gradient(grey: UInt8Array) -> Float32Array:
    """Return (h, w) the length of the forward differences of a grey image, 0 beyond its last row and column."""
    dx, dy = np.zeros(grey.shape, np.float32), np.zeros(grey.shape, np.float32)
    cv2.subtract(grey[:, 1:], grey[:, :-1], dst=dx[:, :-1], dtype=cv2.CV_32F)
    cv2.subtract(grey[1:], grey[:-1], dst=dy[:-1], dtype=cv2.CV_32F)
    return np.asarray(cv2.magnitude(dx, dy), np.float32)
