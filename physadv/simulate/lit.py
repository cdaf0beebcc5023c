"""Light, blur and noise of the cloth under a print, read from the image: drawn with them it looks photographed, not pasted.

Light and the colour of cloth cannot be separated in one image, so every estimate is bounded and none goes far.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from functools import cache
from zlib import crc32

import cv2
import numpy as np

from physadv.simulate.placement import Prints
from physadv.types import Float32Array, UInt8Array

# Paper in a dim room is not white: a print is dimmed where even the brightest 5 % of its wearer (skin, a collar) stay below
# this value, and is no brighter than the brightest 1 % of the image. Nothing printed is darker than the darkest 2 % of the
# wearer, up to a veil as bright as that: webcams show no black.
LIT_VALUE, DIMMEST, VEIL = 200.0, 0.7, 45.0
# The light's colour by the Minkowski mean of the image (shades of grey, Finlayson and Trezzi 2004): half of what it says,
# as a lawn is green in any light.
MINKOWSKI, TINT, MOST_TINT = 6, 0.5, 0.08
# Shading is read on so many points each way as a surface of second order in the logarithm, and bounded to these factors.
GRID = 12
DARKEST, BRIGHTEST = 0.65, 1.25
# Cloth with a motif of its own fits no smooth surface: so large a residual halves the shading.
MOTIF = 0.35
# Blur and noise are read in a window of at most so many pixels a side, about the head and shoulders, where edges are.
WINDOW = 144
# Standard deviations in pixels: of the two known blurs whose slopes are compared, of the slope over two pixels and of a
# print as it is drawn, which a blur does not add to, and the widest. Compared with the image itself noise steepens the
# slopes: of 45 people blurred by 2 pixels 1.7 were read so, and 1.0 under noise of 3; now 1.9 and 1.8, by 3 pixels 2.9
# and 2.6.
ONCE, AGAIN, SLOPE, DRAWN, WIDEST = 1.0, 2.0, 0.6, 0.45, 4.0
# Order statistics of pixels are taken of every second one each way: they are the same, in a quarter of the time.
FEW = slice(None, None, 2)
# Weaker noise cannot be seen; stronger is texture.
LEAST_NOISE, MOST_NOISE = 0.5, 12.0
LEAST_BLUR = 0.25
# A table of noise as bytes around 128, of which each print takes a part.
NOISE_SIDE, NOISE_DEVIATION = 256, 32.0
# Of a smooth surface over the print: x, y, x2, xy, y2, each from -1 to 1 across it.
_axis = (np.arange(GRID, dtype=np.float32) + 0.5) / GRID * 2 - 1
_x, _y = (part.ravel() for part in np.meshgrid(_axis, _axis))
SURFACE: Float32Array = np.stack([_x, _y, _x * _x, _x * _y, _y * _y, np.ones_like(_x)], 1)
_CORNERS = np.array([[0, 0], [GRID, 0], [GRID, GRID], [0, GRID]], np.float32) - 0.5
_LAPLACIAN = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Lit:
    """How an image shows the cloth on one person.

    low, high: (3,) what black ink and white paper are there, RGB of 255. shading: (GRID, GRID) factors over the front of
    the print. blur: (2,) standard deviations in pixels along x and y. noise: (1,) standard deviation, of 255.
    """

    low: Float32Array
    high: Float32Array
    shading: Float32Array
    blur: Float32Array
    noise: Float32Array

    def shone_on(self, colour: UInt8Array, corners: Float32Array | None) -> UInt8Array:
        """Return the colours (h, w, 3) of a print in this light.

        corners: (4, 2) of the print within them, for its shading; None leaves that out.
        """
        steps = np.arange(256, dtype=np.float32)[:, None] / 255
        table = (self.low + steps * (self.high - self.low) + 0.5).astype(np.uint8)
        out = cv2.LUT(colour, table[None])
        if corners is None:
            return np.asarray(out, np.uint8)
        # Once more as bytes, of which 128 is a factor of 1: arithmetic in floating point takes three times as long.
        factors = cv2.merge([np.clip(self.shading * 128, 0, 255).astype(np.uint8)] * 3)
        matrix = cv2.getPerspectiveTransform(_CORNERS, corners)
        field = cv2.warpPerspective(
            factors, matrix, colour.shape[1::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        return np.asarray(cv2.multiply(out, field, scale=1 / 128), np.uint8)

    def blurred(self, part: UInt8Array) -> UInt8Array:
        """Return colours or cover as blurred as the image is, beyond what drawing has blurred already."""
        across, down = (float(np.sqrt(max(s**2 - DRAWN**2, 0))) for s in self.blur)
        if max(across, down) < LEAST_BLUR:
            return part
        # OpenCV takes 0 for as much as along the other axis.
        across, down = max(across, 0.01), max(down, 0.01)
        return np.asarray(
            cv2.GaussianBlur(part, (0, 0), across, sigmaY=down, borderType=cv2.BORDER_REPLICATE), np.uint8
        )

    def grained(self, colour: UInt8Array) -> UInt8Array:
        """Return colours (h, w, 3) with noise, the same for the same light, which no two images share."""
        deviation = float(self.noise[0])
        if deviation < LEAST_NOISE:
            return colour
        height, width = colour.shape[:2]
        y, x = divmod(crc32(self.shading.tobytes()), 1 << 16)
        rows, columns = (start % NOISE_SIDE + np.arange(n) for start, n in ((y, height), (x, width)))
        grain = _noise()[np.ix_(rows % NOISE_SIDE, columns % NOISE_SIDE)]
        scale = deviation / NOISE_DEVIATION
        return np.asarray(cv2.addWeighted(colour, 1, cv2.merge([grain] * 3), scale, -128 * scale), np.uint8)

    def towards(self, other: Lit, weight: float) -> Lit:
        """Return the mean with another one that has this weight, of 1: what is read of each image alone flickers."""
        return Lit(*((1 - weight) * getattr(self, f.name) + weight * getattr(other, f.name) for f in fields(self)))


# As a print is drawn without a look at what is under it.
FLAT = Lit(
    np.zeros(3, np.float32),
    np.full(3, 255, np.float32),
    np.ones((GRID, GRID), np.float32),
    np.zeros(2, np.float32),
    np.zeros(1, np.float32),
)


@cache
def _noise() -> UInt8Array:
    drawn = np.random.default_rng(0).normal(128, NOISE_DEVIATION, (NOISE_SIDE, NOISE_SIDE))
    return np.clip(drawn + 0.5, 0, 255).astype(np.uint8)


def fronts_of(prints: Prints) -> dict[int, int]:
    """Return the number of each person's first print, by the person's: of a T-shirt its front, which shading is read on."""
    who, first = np.unique(prints.person, return_index=True)
    return dict(zip(who.tolist(), first.tolist(), strict=True))


def lit_of(
    image: UInt8Array, boxes: Float32Array, prints: Prints, people: Iterable[int] | None = None
) -> dict[int, Lit]:
    """Return how an image (h, w, 3) uint8 RGB without a print shows those who are to wear one, by their numbers.

    boxes: (n, 4) of all people. people: numbers of those that are looked at; everybody unless given.
    """
    fronts = fronts_of(prints)
    wanted = fronts.keys() if people is None else [i for i in people if i in fronts]
    white = _white(image) if wanted else np.zeros(3, np.float32)
    return {i: _lit(image, boxes[i], prints.quads[fronts[i]], white) for i in wanted}


def _lit(image: UInt8Array, box: Float32Array, quad: Float32Array, white: Float32Array) -> Lit:
    person = _inside(image, box)
    if min(person.shape[:2]) < 8:
        return FLAT
    few = person[::4, ::4].reshape(-1, 3).max(1)
    order = np.sort(few)
    dark, bright = float(order[len(order) // 50]), float(order[len(order) * 19 // 20])
    blur, noise = _sharpness(person)
    return Lit(
        np.full(3, min(dark, VEIL), np.float32),
        np.minimum(white, 255 * np.clip(bright / LIT_VALUE, DIMMEST, 1)).astype(np.float32),
        _shading(image, quad),
        blur,
        np.array([noise], np.float32),
    )


def _inside(image: UInt8Array, box: Float32Array) -> UInt8Array:
    height, width = image.shape[:2]
    left, top, right, bottom = np.clip(box, 0, [width, height, width, height]).astype(int)
    return image[top:bottom, left:right]


def _white(image: UInt8Array) -> Float32Array:
    """Return (3,) what white paper would be at most in an image: its brightest parts, in the light's colour."""
    few = image[::8, ::8].reshape(-1, 3).astype(np.float32) / 255
    mean = np.mean(few**MINKOWSKI, 0) ** (1 / MINKOWSKI) + 1e-3
    tint = np.clip(1 + TINT * (mean / mean.mean() - 1), 1 - MOST_TINT, 1 + MOST_TINT)
    grey = np.sort(few.mean(1))
    brightest = max(float(grey[len(grey) * 99 // 100]), DIMMEST)
    return np.minimum(255 * brightest * tint, 255).astype(np.float32)


def _shading(image: UInt8Array, quad: Float32Array) -> Float32Array:
    """Return (GRID, GRID) factors of the light over a quad (4, 2), 1 on average: a smooth surface through the cloth's."""
    box = np.concatenate([np.floor(quad.min(0)), np.ceil(quad.max(0))])
    cloth = _inside(image, box)
    if min(cloth.shape[:2]) < GRID:
        return FLAT.shading
    grey = cv2.cvtColor(cloth, cv2.COLOR_RGB2GRAY)
    # Averaged first: threads and printed dots are no light.
    small = cv2.resize(grey, (2 * GRID, 2 * GRID), interpolation=cv2.INTER_AREA)
    origin = np.maximum(box[:2], 0)
    corners = (quad - origin) * (2 * GRID / np.array(grey.shape[::-1], np.float32)) - 0.5
    matrix = cv2.getPerspectiveTransform(corners.astype(np.float32), _CORNERS)
    seen = cv2.warpPerspective(small, matrix, (GRID, GRID), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    level = np.log(seen.ravel().astype(np.float32) + 8)
    weight = np.ones_like(level)
    surface = residual = np.zeros_like(level)
    for _ in range(3):
        weighted = SURFACE * weight[:, None]
        found = np.linalg.solve(weighted.T @ SURFACE + 1e-3 * np.eye(6, dtype=np.float32), weighted.T @ level)
        surface = SURFACE @ found
        residual = np.abs(level - surface)
        # Of Huber: a collar or a zip pulls no harder than what is next to it.
        weight = np.minimum(1, 0.1 / np.maximum(residual, 1e-6)).astype(np.float32)
    trust = 1 / (1 + (float(np.median(residual)) / MOTIF) ** 2)
    factors = np.exp((surface - np.median(surface)) * trust)
    return np.clip(factors, DARKEST, BRIGHTEST).reshape(GRID, GRID).astype(np.float32)


def _sharpness(person: UInt8Array) -> tuple[Float32Array, float]:
    """Return the blur (2,) along x and y and the noise of a person's pixels (h, w, 3).

    Blur: how much weaker the slope of edges is after one known blur than after another (Zhuo and Sim 2011), for each axis
    by itself, so that motion differs from defocus. Noise: the median of what a Laplacian leaves (Immerkaer 1996).
    """
    width = person.shape[1]
    left = max((width - WINDOW) // 2, 0)
    grey = np.asarray(cv2.cvtColor(person[:WINDOW, left : left + WINDOW], cv2.COLOR_RGB2GRAY), np.float32)
    noise = float(np.median(np.abs(cv2.filter2D(grey, -1, _LAPLACIAN)[FEW, FEW]))) / (0.6745 * 6)
    noise = 0.0 if noise < LEAST_NOISE else min(noise, MOST_NOISE)
    once = np.asarray(cv2.GaussianBlur(grey, (0, 0), ONCE), np.float32)
    again = np.asarray(cv2.GaussianBlur(once, (0, 0), (AGAIN**2 - ONCE**2) ** 0.5), np.float32)
    return np.array([_blur(once, again, noise, axis) for axis in (1, 0)], np.float32), noise


def _blur(once: Float32Array, again: Float32Array, noise: float, axis: int) -> float:
    """Return the standard deviation of the blur along an axis, in pixels."""
    first, second = (np.abs(_slopes(part, axis)) for part in (once, again))
    few = first[FEW, FEW].ravel()
    least = max(float(np.partition(few, int(0.9 * few.size))[int(0.9 * few.size)]), 6 + 3 * noise)
    peak = first >= least
    # The slope of an edge is judged at its steepest.
    inner = [slice(None)] * 2
    inner[axis] = slice(1, -1)
    before, after = inner.copy(), inner.copy()
    before[axis], after[axis] = slice(None, -2), slice(2, None)
    steep = peak[tuple(inner)] & (first[tuple(inner)] >= np.maximum(first[tuple(before)], first[tuple(after)]))
    ratio = first[tuple(inner)][steep] / np.maximum(second[tuple(inner)][steep], 1e-3)
    if len(ratio) < 8:
        return 0.0
    squared = float(np.median(ratio)) ** 2
    wide = (AGAIN**2 - squared * ONCE**2) / max(squared - 1, 1e-3) - SLOPE**2
    return float(np.sqrt(np.clip(wide, 0, WIDEST**2)))


def _slopes(grey: Float32Array, axis: int) -> Float32Array:
    return grey[:, 2:] - grey[:, :-2] if axis == 1 else grey[2:] - grey[:-2]
