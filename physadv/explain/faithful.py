"""Whether a map is true of the detector: deletion and insertion, and what becomes of it when the weights are random.

Sources: Petsiuk et al., "RISE" (2018), deletion and insertion; Adebayo et al., "Sanity checks for saliency maps" (2018).
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np

from physadv.boxes import PAD_VALUE
from physadv.explain.cells import CellGrid
from physadv.explain.score import person_scores
from physadv.types import Detector, Float32Array, Int64Array, UInt8Array

# Steps from nothing to everything.
STEPS = 12
# Of the image that insertion begins with, as a part of the root of the box's area: no limb is seen.
BLUR = 0.15


def curves(
    detector: Detector, image: UInt8Array, box: Float32Array, region: CellGrid, orders: list[Int64Array]
) -> list[tuple[Float32Array, Float32Array]]:
    """Return for each order of the region's cells the person's scores as they are deleted, and as they are inserted.

    order: (cells,) numbers of cells, the most important first. Both curves have `STEPS` + 1 scores, from nothing changed.
    Deleted cells are grey. Insertion begins with a region that is blurred until no limb is seen.
    """
    sigma = max(BLUR * float(np.sqrt(max(np.prod(box[2:] - box[:2]), 1))), 1.0)
    blurred = np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.uint8)
    counts = np.linspace(0, region.cells, STEPS + 1).round().astype(int).tolist()

    def views() -> Iterator[UInt8Array]:
        for order in orders:
            for count in counts:
                chosen = np.zeros(region.cells, bool)
                chosen[order[:count]] = True
                yield region.filled(image, chosen, PAD_VALUE)
            for count in counts:
                chosen = np.ones(region.cells, bool)
                chosen[order[:count]] = False
                yield region.filled(image, chosen, blurred)

    scores = person_scores(detector, views(), box).reshape(len(orders), 2, STEPS + 1)
    return [(one[0], one[1]) for one in scores]


def ranked(region: CellGrid, heat: Float32Array) -> Int64Array:
    """Return (cells,) the cells of a region by falling mean of a map (h, w)."""
    return np.argsort(-region.of(heat).ravel(), kind="stable").astype(np.int64)


def auc(scores: Float32Array, whole: float) -> float:
    """Return the area under a curve of scores over the share of cells, as a part of the whole image's score."""
    return float(np.trapezoid(scores) / (len(scores) - 1) / max(whole, 1e-9))
