"""Pixel deflection: random pixels away from people are replaced by neighbours, then wavelets remove noise."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import pywt
import torch
from pydantic import Field

from physadv.defend.image import ONCE_MORE, PLAIN, ImageDefence, ImageView, straight_through
from physadv.types import Detector, Float32Array, UInt8Array

# Weights of red, green and blue in OpenCV's Y, Cr and Cb (BT.601).
WEIGHTS = np.array(
    [
        [0.299, 0.587, 0.114],
        [0.713 * 0.701, 0.713 * -0.587, 0.713 * -0.114],
        [0.564 * -0.299, 0.564 * -0.587, 0.564 * 0.886],
    ],
    np.float32,
)
# Deviation of noise in Y, Cr and Cb when that of red, green and blue is 1: .669, .657 and .623.
NOISE: Float32Array = np.sqrt((WEIGHTS**2).sum(1))
# The coarsest levels, which hold shapes and hardly any noise, are not thresholded.
COARSEST = 3


class PixelDeflection(ImageDefence):
    """Pixels away from the detector's attention are replaced by neighbours; BayesShrink in wavelets removes noise."""

    random = True
    name = "pixel-deflection"
    title = "random neighbours, then wavelet denoising"
    cost = f"1 more pass, and {ONCE_MORE}"
    paper = "Prakash et al., 'Deflecting adversarial attacks with pixel deflection' (CVPR 2018)"
    deflections: int = Field(default=2000, ge=0, le=500_000, description="pixels replaced in each image")
    window: int = Field(
        default=10, ge=1, le=50, description="pixels from which a neighbour is drawn, in each direction"
    )
    sigma: float = Field(
        default=0.04, ge=0, le=0.3, description="noise of red, green and blue that the wavelets take out, 1 is white"
    )
    attention: bool = Field(default=True, description="spare what the detector attends to; costs one more pass of it")
    seed: int = Field(default=0, ge=0, description="where the random sequence starts")
    plain: bool = Field(default=True, description=PLAIN)

    @property
    def first_seed(self) -> int:
        """Return `seed`."""
        return self.seed

    def view(self, image: UInt8Array, rng: np.random.Generator, detector: Detector) -> ImageView:
        """Return the deflected and denoised image."""
        chance = None if not self.attention else 1 - attention_map(detector, image)
        return ImageView(denoised(deflected(image, self.deflections, self.window, chance, rng), self.sigma))

    def differentiable(self, images: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        """Return the changed images with the gradient of the identity (BPDA), deflected everywhere alike.

        The twin has no detector to ask for its attention. Deflecting more than the defence does makes no difference to the
        gradient of the identity.
        """
        return straight_through(
            images, lambda p: denoised(deflected(p, self.deflections, self.window, None, rng), self.sigma)
        )


def attention_map(detector: Detector, image: UInt8Array) -> Float32Array:
    """Return an (h, w) float32 map in [0, 1] of where the detector sees people, from one more pass of it.

    Of a network it is the class activation map, as in the paper; of any other detector its boxes, filled with their scores.
    """
    coarse = detector.activation(image)
    size = (image.shape[1], image.shape[0])
    return np.clip(cv2.resize(coarse, size, interpolation=cv2.INTER_LINEAR), 0, 1).astype(np.float32)


def deflected(
    image: UInt8Array, count: int, window: int, chance: Float32Array | None, rng: np.random.Generator
) -> UInt8Array:
    """Return the image with `count` random pixels replaced by random neighbours within the image.

    window: largest distance of a neighbour, in pixels along each axis. chance: (h, w) in [0, 1], the probability that a
    drawn pixel is replaced; another is drawn for each that is spared. None: all alike.
    """
    height, width = image.shape[:2]
    y, x = _drawn(height, width, count, chance, rng)
    from_y = rng.integers(np.maximum(y - window, 0), np.minimum(y + window, height - 1), endpoint=True)
    from_x = rng.integers(np.maximum(x - window, 0), np.minimum(x + window, width - 1), endpoint=True)
    out = image.copy()
    out[y, x] = image[from_y, from_x]
    return out


def _drawn(
    height: int, width: int, count: int, chance: Float32Array | None, rng: np.random.Generator
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return rows and columns of pixels drawn in proportion to `chance`; none if it is 0 everywhere."""
    if chance is None:
        return rng.integers(0, height, count), rng.integers(0, width, count)
    # The same as drawing uniformly until enough pixels are not spared.
    total = np.cumsum(chance, dtype=np.float64)
    count = count if total[-1] > 0 else 0
    at = np.searchsorted(total, rng.random(count) * total[-1], side="right")
    return np.divmod(at, width)


def denoised(image: UInt8Array, sigma: float) -> UInt8Array:
    """Return the image with noise of `sigma` (1 is white) removed by soft thresholds in levels of db1 wavelets.

    sigma: of red, green and blue. Luma and the two differences of colour, sums of the three, hold less of it. All
    levels but the three coarsest are thresholded, as in scikit-image, with which the paper's figures were made.

    Source: Chang, Yu, Vetterli, "Adaptive wavelet thresholding for image denoising" (2000): BayesShrink.
    """
    if sigma == 0:
        return image
    planes = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2YCrCb).transpose(2, 0, 1)
    noise = (np.float32(sigma) * NOISE) ** 2
    level = max(pywt.dwtn_max_level(planes.shape[1:], "db1") - COARSEST, 1)
    parts = pywt.wavedec2(planes, "db1", level=level, axes=(1, 2))
    for number in range(1, len(parts)):
        parts[number] = tuple(_shrunk(band, noise) for band in parts[number])
    back = pywt.waverec2(parts, "db1", axes=(1, 2))[:, : image.shape[0], : image.shape[1]]
    out = cv2.cvtColor(np.ascontiguousarray(back.transpose(1, 2, 0)), cv2.COLOR_YCrCb2RGB)
    return np.asarray((out * 255).round().clip(0, 255), np.uint8)


def _shrunk(band: Float32Array, noise: Float32Array) -> Float32Array:
    """Return each plane of (3, h, w) coefficients soft-thresholded at noise variance (3,) over signal deviation."""
    signal = np.sqrt(np.maximum((band**2).mean((1, 2)) - noise, 1e-12))
    limit = np.minimum(noise / signal, np.abs(band).max((1, 2)))[:, None, None]
    return (np.sign(band) * np.maximum(np.abs(band) - limit, 0)).astype(np.float32)
