"""Who of the people that are there was found: one-to-one matching for recall, any overlap for strict attack success."""

from __future__ import annotations

import numpy as np

from physadv.detect.boxes import intersection, iou
from physadv.types import BoolArray, Detections, Float32Array


def found(people: Float32Array, detections: Detections, *, conf: float, iou_at_least: float) -> BoolArray:
    """Return an (n,) mask of the people who are found: each takes the best-scored free box that overlaps enough.

    people: (n, 4) xyxy. Boxes with score >= conf (and those a defence holds) are handed out by falling score, each to the
    person it overlaps most among those without one, as COCO's evaluation does; so one box never counts for two people.
    """
    out = np.zeros(len(people), bool)
    boxes = detections.above(conf).xyxy
    if not len(boxes) or not len(people):
        return out
    overlap = iou(boxes, people)
    for row in overlap:
        free = np.where(out, -1, row)
        best = int(free.argmax())
        if free[best] >= iou_at_least:
            out[best] = True
    return out


def touched(people: Float32Array, detections: Detections, *, conf: float, iou_above: float) -> BoolArray:
    """Return an (n,) mask of the people whom any box with score >= conf overlaps by more than `iou_above`.

    The strict reading of "invisible" is that nobody is touched: a box shared with a neighbour counts against the attack.
    """
    boxes = detections.above(conf).xyxy
    if not len(boxes):
        return np.zeros(len(people), bool)
    return np.any(iou(boxes, people) > iou_above, axis=0)


def best_score(people: Float32Array, detections: Detections, *, iou_above: float) -> Float32Array:
    """Return (n,) the highest score among boxes that overlap each person by more than `iou_above`; 0 where none does."""
    if not len(detections):
        return np.zeros(len(people), np.float32)
    hit = iou(detections.xyxy, people) > iou_above
    return np.where(hit, detections.score[:, None], 0).max(0).astype(np.float32)


def inside(boxes: Float32Array, regions: Float32Array, *, share: float) -> BoolArray:
    """Return an (n,) mask of boxes that lie in one of `regions` (m, 4) with at least `share` of their own area."""
    if not len(regions):
        return np.zeros(len(boxes), bool)
    size = np.maximum(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1), 1e-9)
    return np.any(intersection(boxes, regions) / size[:, None] >= share, axis=1)
