"""Pixel deflection: random pixels replaced by neighbours where the detector is not looking, then wavelet denoising."""

from __future__ import annotations

from typing import Protocol, cast, runtime_checkable

import cv2
import numpy as np
import pywt
import torch
from pydantic import Field

from physadv.defend.picture import ONCE_MORE, PLAIN, PictureDefence, View, straight_through
from physadv.types import Detector, Float32Array, Frame, UInt8Array


@runtime_checkable
class Attentive(Protocol):
    """A detector that shows its own activations, as every network here does, whatever runs it."""

    def activation(self, image: UInt8Array) -> Float32Array:
        """Return a coarse map in [0, 1] over the (h, w, 3) image: the class activation of "person" at each place."""
        ...


class PixelDeflection(PictureDefence):
    """Pixels away from the detector's attention replaced by neighbours; BayesShrink in wavelets smooths the rest."""

    name = "pixel-deflection"
    title = "random neighbours, then wavelet denoising"
    cost = f"1 more pass, and {ONCE_MORE}"
    paper = "Prakash et al., 'Deflecting adversarial attacks with pixel deflection' (CVPR 2018)"
    deflections: int = Field(default=2000, ge=0, le=500_000, description="pixels drawn for each picture")
    window: int = Field(default=10, ge=3, le=101, description="side of the window a neighbour is drawn from")
    sigma: float = Field(default=0.03, ge=0, le=0.3, description="noise that the wavelets take out, 1 is white")
    attention: bool = Field(default=True, description="spare what the detector attends to; costs one more pass of it")
    seed: int = Field(default=0, ge=0, description="where the random sequence starts")
    plain: bool = Field(default=True, description=PLAIN)

    def view(self, picture: UInt8Array, rng: np.random.Generator, detector: Detector) -> View:
        """Return the deflected and denoised picture."""
        chance = None if not self.attention else 1 - attention_map(detector, picture)
        return View(denoised(deflected(picture, self.deflections, self.window, chance, rng), self.sigma))

    def differentiable(self, images: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        """Return the changed images with the gradient of the identity (BPDA), deflected everywhere alike.

        The twin knows no detector whose attention it could ask; deflecting more than the defence does makes no difference
        to a gradient that is the identity's.
        """
        return straight_through(
            images, lambda p: denoised(deflected(p, self.deflections, self.window, None, rng), self.sigma)
        )


def attention_map(detector: Detector, picture: UInt8Array) -> Float32Array:
    """Return an (h, w) float32 map in [0, 1] of where the detector looks for people, from one more pass of it.

    It is the detector's class activation map, as in the paper; of a detector that shows none (`Attentive`), its candidates
    down to `min_conf`, each box filled with its score.
    """
    height, width = picture.shape[:2]
    inside: object = detector
    while not isinstance(inside, Attentive) and hasattr(inside, "inner"):
        inside = inside.inner
    if isinstance(inside, Attentive):
        coarse = inside.activation(picture)
        return np.clip(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR), 0, 1).astype(np.float32)
    out = np.zeros((height, width), np.float32)
    found = cast(Detector, inside).detect(Frame(picture, 0, 0, 0.0))
    for (x1, y1, x2, y2), score in zip(found.xyxy.round().astype(int).tolist(), found.score.tolist(), strict=True):
        part = out[max(y1, 0) : y2, max(x1, 0) : x2]
        np.maximum(part, score, out=part)
    return out


def deflected(
    picture: UInt8Array, count: int, window: int, chance: Float32Array | None, rng: np.random.Generator
) -> UInt8Array:
    """Return the picture with `count` random pixels replaced by random neighbours.

    chance: (h, w) in [0, 1], the probability that a pixel drawn is really replaced; None: always.
    """
    height, width = picture.shape[:2]
    y, x = rng.integers(0, height, count), rng.integers(0, width, count)
    luck = rng.random(count, dtype=np.float32)
    half = window // 2
    from_y = np.clip(y + rng.integers(-half, half + 1, count), 0, height - 1)
    from_x = np.clip(x + rng.integers(-half, half + 1, count), 0, width - 1)
    if chance is not None:
        kept = luck < chance[y, x]
        y, x, from_y, from_x = y[kept], x[kept], from_y[kept], from_x[kept]
    out = picture.copy()
    out[y, x] = picture[from_y, from_x]
    return out


def denoised(picture: UInt8Array, sigma: float) -> UInt8Array:
    """Return the picture with noise of `sigma` (1 is white) taken out by soft thresholds in two levels of db1 wavelets.

    Source: Chang, Yu, Vetterli, "Adaptive wavelet thresholding for image denoising" (2000): BayesShrink.
    """
    if sigma == 0:
        return picture
    planes = cv2.cvtColor(picture, cv2.COLOR_RGB2YCrCb).astype(np.float32).transpose(2, 0, 1)
    noise = (sigma * 255) ** 2
    parts = pywt.wavedec2(planes, "db1", level=2, axes=(1, 2))
    for level in range(1, len(parts)):
        parts[level] = tuple(_shrunk(band, noise) for band in parts[level])
    back = pywt.waverec2(parts, "db1", axes=(1, 2))[:, : picture.shape[0], : picture.shape[1]]
    out = np.ascontiguousarray(back.transpose(1, 2, 0)).round().clip(0, 255).astype(np.uint8)
    return np.asarray(cv2.cvtColor(out, cv2.COLOR_YCrCb2RGB), np.uint8)


def _shrunk(band: Float32Array, noise: float) -> Float32Array:
    """Return each plane of (3, h, w) coefficients soft-thresholded at noise / signal's standard deviation."""
    signal = np.sqrt(np.maximum((band**2).mean((1, 2)) - noise, 1e-6))
    limit = np.minimum(noise / signal, np.abs(band).max((1, 2)))[:, None, None]
    return (np.sign(band) * np.maximum(np.abs(band) - limit, 0)).astype(np.float32)
