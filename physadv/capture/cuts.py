"""Find cuts: images in which another scene begins, from the pixels alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import cv2
import numpy as np

from physadv.types import UInt8Array

# Images are compared at this width and height. 30,000 pixels fewer of noise, and a tenth of a millisecond.
SMALL = (64, 48)
# Nine windows of so much of each side are looked for in the next image, each up to REACH of a side away: a shake, a pan
# or a walk between two images of a slow loop.
WINDOW, REACH = 0.4, 0.15
# The second best of the nine correlations. Between images that follow each other in four clips it was .95 or more, .86
# eight images apart, .76 under shakes of an eighth of the image; between 1,386 pairs of unlike photographs below .68
# in 95 of 100.
FOUND_AGAIN, SURELY = 0.72, 0.85
# In between, images are of two scenes where the other windows and the colours are unlike as well.
MEAN_AGAIN, SAME_COLOURS = 0.45, 0.6
# A window of less contrast (standard deviation, of 255) has nothing to look for: two such are alike by their brightness.
FLAT, SAME_FLAT = 3.0, 24.0
# Share of clipped pixels from which on an image cannot be compared: a flash in the lens, black between two scenes.
CLIPPED = 0.85

Step = Literal["on", "cut", "blank"]


class Cuts:
    """Classifies how each image follows the one before it.

    "cut": it is of another scene. "on": the scene goes on: two of nine windows of the image before are found
    again near their places. Shakes, pans, flashes (correlation ignores brightness) and people who walk by leave at least
    two. "blank": there is nothing to compare; the next image is compared with the one before it.
    A dissolve is no cut.
    """

    def __init__(self) -> None:
        self._before: UInt8Array | None = None

    def step(self, pixels: UInt8Array) -> Step:
        """Take an image (h, w, 3) uint8 RGB and return how it follows; the first one is "on". Under half a millisecond."""
        now = _small(pixels)
        if _blank(_grey(now)):
            return "blank"
        before, self._before = self._before, now
        return "on" if before is None or _same_scene(before, now) else "cut"


def _small(pixels: UInt8Array) -> UInt8Array:
    """Return the image at `SMALL`: some of its pixels first, as reading a large one whole takes longer than the rest."""
    some = cv2.resize(pixels, (SMALL[0] * 4, SMALL[1] * 4), interpolation=cv2.INTER_NEAREST)
    return cv2.resize(some, SMALL, interpolation=cv2.INTER_AREA)  # type: ignore[return-value]


def _grey(small: UInt8Array) -> UInt8Array:
    return cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)  # type: ignore[return-value]


def _contrast(grey: UInt8Array) -> tuple[float, float]:
    """Return mean and standard deviation; in a tenth of numpy's time."""
    mean, spread = cv2.meanStdDev(grey)
    return float(mean[0, 0]), float(spread[0, 0])


def _blank(grey: UInt8Array) -> bool:
    clipped = grey.size - cv2.countNonZero(cv2.inRange(grey, 5, 250))
    return clipped > CLIPPED * grey.size or _contrast(grey)[1] < FLAT


def _same_scene(before: UInt8Array, now: UInt8Array) -> bool:
    scores = list[float]()
    for score in _found_again(_grey(before), _grey(now)):
        scores.append(score)
        # Of most images the first two windows say all.
        if sum(known >= SURELY for known in scores) == 2:
            return True
    second, mean = sorted(scores)[-2], sum(scores) / len(scores)
    if second < FOUND_AGAIN:
        return False
    return mean >= MEAN_AGAIN or _common_colours(before, now) >= SAME_COLOURS


def _found_again(before: UInt8Array, now: UInt8Array) -> Iterator[float]:
    """Yield how well each of nine windows of a grey image is found again near its place in another: correlations."""
    width, height = SMALL
    w, h, far_x, far_y = round(WINDOW * width), round(WINDOW * height), round(REACH * width), round(REACH * height)
    for y in (0, (height - h) // 2, height - h):
        for x in (0, (width - w) // 2, width - w):
            window = before[y : y + h, x : x + w]
            around = now[max(y - far_y, 0) : y + h + far_y, max(x - far_x, 0) : x + w + far_x]
            yield _likeness(window, around, now[y : y + h, x : x + w])


def _likeness(window: UInt8Array, around: UInt8Array, there: UInt8Array) -> float:
    """Return a window's best correlation anywhere in `around`; of windows without contrast whether `there` is alike."""
    (level, contrast), (level_there, contrast_there) = _contrast(window), _contrast(there)
    if contrast >= FLAT and _contrast(around)[1] >= FLAT:
        return float(cv2.matchTemplate(around, window, cv2.TM_CCOEFF_NORMED).max())
    return float(contrast < FLAT and contrast_there < FLAT and abs(level - level_there) < SAME_FLAT)


def _common_colours(before: UInt8Array, now: UInt8Array) -> float:
    """Return the share of pixels whose colours two images have in common, brightness and contrast taken out."""
    return float(np.minimum(_colours(before), _colours(now)).sum())


def _colours(small: UInt8Array) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    values = small.astype(np.float32)
    values = (values - values.mean((0, 1))) / (values.std() + 1e-6)
    r, g, b = np.moveaxis(np.clip((values + 1.5) / 3 * 4, 0, 3).astype(np.int64), 2, 0)
    return np.bincount((r * 16 + g * 4 + b).ravel(), minlength=64) / r.size
