"""Exact occlusion sensitivity: what a person's score loses where a grey window hides a part of the image.

Nothing is assumed about the detector, which may stand behind a defence: every other map is held against this one.

Source: Zeiler and Fergus, "Visualizing and understanding convolutional networks" (2014), section 4.2.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from physadv.boxes import PAD_VALUE
from physadv.explain.cells import CellGrid
from physadv.explain.score import logit, person_scores
from physadv.types import Detector, Float32Array, UInt8Array

# Side of the window and its step, as parts of the root of the box's area: 90 to 130 places for somebody who stands.
WINDOW, STEP = 0.25, 0.125


def occlusion_map(detector: Detector, image: UInt8Array, box: Float32Array) -> Float32Array:
    """Return (h, w): how much of a person's logit is lost, on average, by the windows that hide each pixel.

    image: (h, w, 3) RGB. box: (4,) the person. Negative where hiding helps: there stands what speaks against a person. 0
    beyond the box and its margin.
    """
    windows = _windows(image, box)

    def views() -> Iterator[UInt8Array]:
        yield image
        for x0, y0, x1, y1 in windows:
            hidden = image.copy()
            hidden[y0:y1, x0:x1] = PAD_VALUE
            yield hidden

    scores = logit(person_scores(detector, views(), box))
    total, count = np.zeros(image.shape[:2], np.float32), np.zeros(image.shape[:2], np.float32)
    for (x0, y0, x1, y1), lost in zip(windows, (scores[0] - scores[1:]).tolist(), strict=True):
        total[y0:y1, x0:x1] += lost
        count[y0:y1, x0:x1] += 1
    return np.asarray(total / np.maximum(count, 1), np.float32)


def passes(image: UInt8Array, box: Float32Array) -> int:
    """Return how many times the detector looks at an image for one map."""
    return len(_windows(image, box)) + 1


def _windows(image: UInt8Array, box: Float32Array) -> list[tuple[int, int, int, int]]:
    """Return the windows, xyxy in pixels: their centres lie on a grid over the region, its rim included."""
    height, width = image.shape[:2]
    region = CellGrid.around(box, (width, height), cell=STEP)
    half = max(WINDOW / 2 * float(np.sqrt(max(np.prod(box[2:] - box[:2]), 1))), 1.0)
    return [
        (max(round(x - half), 0), max(round(y - half), 0), min(round(x + half), width), min(round(y + half), height))
        for y in np.linspace(region.top, region.bottom, region.rows + 1).tolist()
        for x in np.linspace(region.left, region.right, region.columns + 1).tolist()
    ]
