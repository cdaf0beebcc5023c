"""Local gradient smoothing: where the picture's gradient is strong over a whole block, it is turned down."""

from __future__ import annotations

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field

from physadv.defend.picture import PictureDefence, View
from physadv.types import Detector, Float32Array, UInt8Array

# Strength of the gradient that counts as full, in grey levels a pixel: a fixed scale, so that one sharp edge somewhere in
# the picture does not change what happens elsewhere.
FULL = 100.0
LUMA = (0.299, 0.587, 0.114)


class LocalGradientSmoothing(PictureDefence):
    """Pixels multiplied by 1 - smoothing * gradient in blocks whose mean gradient is above a threshold."""

    name = "lgs"
    title = "strong local gradients turned down"
    cost = "no more passes; about 2 ms a frame"
    paper = "Naseer, Khan, Porikli, 'Local gradients smoothing' (WACV 2019)"
    threshold: float = Field(default=0.5, ge=0, le=1, description="mean gradient of a block from which it is smoothed")
    smoothing: float = Field(default=1.5, ge=0, le=10, description="how strongly gradients are turned down")
    block: int = Field(default=15, ge=4, le=64, description="side of a block in pixels")
    step: int = Field(default=5, ge=1, le=64, description="distance between blocks in pixels")

    def view(self, picture: UInt8Array, rng: np.random.Generator, detector: Detector) -> View:
        """Return the smoothed picture."""
        grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
        dx = np.empty_like(grey)
        dy = np.empty_like(grey)
        np.subtract(grey[:, 1:], grey[:, :-1], out=dx[:, :-1])
        np.subtract(grey[1:], grey[:-1], out=dy[:-1])
        dx[:, -1] = 0
        dy[-1] = 0
        gradient = np.minimum(np.asarray(cv2.magnitude(dx, dy)) / FULL, 1)
        share = np.asarray(gradient * self.smoothing * self._suspicious(gradient), np.float32)
        if not share.any():
            return View(picture)
        keep = np.clip(1 - share, 0, 1)
        return View((picture * keep[..., None]).astype(np.uint8))

    def _suspicious(self, gradient: Float32Array) -> Float32Array:
        """Return (h, w) 0 or 1: pixels in some block whose mean gradient reaches the threshold."""
        mean = np.asarray(cv2.boxFilter(gradient, -1, (self.block, self.block), borderType=cv2.BORDER_REFLECT_101))
        half = self.block // 2
        marks = np.zeros_like(gradient)
        marks[half :: self.step, half :: self.step] = mean[half :: self.step, half :: self.step] >= self.threshold
        return np.asarray(cv2.dilate(marks, np.ones((self.block, self.block), np.uint8)), np.float32)

    def differentiable(self, images: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        """Return the smoothed images: exact, but for the choice of blocks, which is held fixed as it falls."""
        weights = torch.tensor(LUMA, dtype=images.dtype, device=images.device)
        grey = (images * weights[:, None, None]).sum(1) * 255
        dx = F.pad(grey[:, :, 1:] - grey[:, :, :-1], (0, 1))
        dy = F.pad(grey[:, 1:] - grey[:, :-1], (0, 0, 0, 1))
        gradient = ((dx**2 + dy**2 + 1e-12).sqrt() / FULL).clamp(max=1)
        marks = [self._suspicious(g) for g in gradient.detach().float().cpu().numpy()]
        blocks = torch.from_numpy(np.stack(marks)).to(images)
        return images * (1 - self.smoothing * gradient * blocks).clamp(0, 1)[:, None]
