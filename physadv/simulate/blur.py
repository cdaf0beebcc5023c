"""Gaussian blur of a single image, within its edges or across them."""

from __future__ import annotations

import math

import torch
from kornia.filters import gaussian_blur2d


def blurred(image: torch.Tensor, sigma: float, *, tiles: bool) -> torch.Tensor:
    """Return image (c, h, w) blurred by `sigma` pixels; with `tiles` it goes on across the edges."""
    size = 2 * min(math.ceil(3 * sigma), (min(image.shape[-2:]) - 1) // 2) + 1
    border = "circular" if tiles else "replicate"
    return gaussian_blur2d(image[None], (size, size), (sigma, sigma), border_type=border)[0]
