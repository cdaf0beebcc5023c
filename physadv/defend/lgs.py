"""Local gradient smoothing: strong gradients that fill a block are turned down."""

from __future__ import annotations

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field, model_validator

from physadv.defend.image import ONCE_MORE, PLAIN, ImageDefence, ImageView
from physadv.types import Detector, Float32Array, UInt8Array

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
    cost = f"about 2 ms a frame, and {ONCE_MORE}"
    paper = "Naseer, Khan, Porikli, 'Local gradients smoothing' (WACV 2019)"
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
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
        dx = np.empty_like(grey)
        dy = np.empty_like(grey)
        np.subtract(grey[:, 1:], grey[:, :-1], out=dx[:, :-1])
        np.subtract(grey[1:], grey[:-1], out=dy[:-1])
        dx[:, -1] = 0
        dy[-1] = 0
        gradient = np.asarray(cv2.magnitude(dx, dy))
        low, high = float(gradient.min()), float(gradient.max())
        gradient = (gradient - low) / max(high - low, 255 * FLAT)
        share = np.asarray(gradient * self.smoothing * self._suspicious(gradient), np.float32)
        if not share.any():
            return ImageView(image)
        keep = np.clip(1 - share, 0, 1)
        return ImageView((image * keep[..., None] + 0.5).astype(np.uint8))

    def _suspicious(self, gradient: Float32Array) -> Float32Array:
        """Return (h, w) 1 for pixels in some block whose mean gradient is above the threshold, else 0."""
        side = (self.block, self.block)
        mean = np.asarray(cv2.boxFilter(gradient, -1, side, borderType=cv2.BORDER_REFLECT_101))
        rows, columns = (self._middles(length) for length in gradient.shape)
        at = np.ix_(rows, columns)
        marks = np.zeros_like(gradient)
        marks[at] = mean[at] > self.threshold
        # A block begins block // 2 pixels before the filter's middle: the anchor makes dilation cover just the block.
        anchor = (self.block - 1 - self.block // 2,) * 2
        return np.asarray(cv2.dilate(marks, np.ones(side, np.uint8), anchor=anchor), np.float32)

    def _middles(self, length: int) -> list[int]:
        """Return the middles of blocks along an axis; the last block ends with the image, so that all pixels are in one."""
        last = max(length - self.block, 0)
        starts = [*range(0, last, self.block - self.overlap), last]
        return [min(start + self.block // 2, length - 1) for start in starts]

    def differentiable(self, images: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        """Return the smoothed images: exact, with the choice of blocks held fixed."""
        weights = torch.tensor(LUMA, dtype=images.dtype, device=images.device)
        grey = (images * weights[:, None, None]).sum(1)
        dx = F.pad(grey[:, :, 1:] - grey[:, :, :-1], (0, 1))
        dy = F.pad(grey[:, 1:] - grey[:, :-1], (0, 0, 0, 1))
        gradient = (dx**2 + dy**2 + 1e-12).sqrt()
        low, high = gradient.amin((1, 2), keepdim=True), gradient.amax((1, 2), keepdim=True)
        gradient = (gradient - low) / (high - low).clamp_min(FLAT)
        marks = [self._suspicious(g) for g in gradient.detach().float().cpu().numpy()]
        blocks = torch.from_numpy(np.stack(marks)).to(images)
        return images * (1 - self.smoothing * gradient * blocks).clamp(0, 1)[:, None]
