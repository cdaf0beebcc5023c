"""Two answers for one frame as one: whoever the defended look shows, and whoever only the plain look shows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from physadv.detect.boxes import area, intersection, iou
from physadv.types import Detections

# From this overlap on two boxes are one person; from this share of its area on a box is part of a larger one.
SAME = 0.55
PART = 0.75
# A box this sure explains away the parts of it that the other look saw.
SURE = 0.25


def either(defended: Detections, plain: Detections) -> Detections:
    """Return the people of two answers for one frame, each once, with the better score and the box that has it.

    A box of the plain look that lies inside somebody the defended look is sure of is left out: half-hidden people show as
    such parts. Alerts and the image seen are those of the defended look, with the plain look's alerts behind.
    """
    whole = defended.keypoints is not None and plain.keypoints is not None
    xyxy, score = defended.xyxy.copy(), defended.score.copy()
    points = None if not whole or defended.keypoints is None else defended.keypoints.copy()
    overlap = iou(plain.xyxy, defended.xyxy)
    inside = intersection(plain.xyxy, defended.xyxy) / np.maximum(area(plain.xyxy), 1e-9)[:, None]
    inside = np.where(defended.score[None] >= SURE, inside, 0)
    taken = np.zeros(len(score), bool)
    added = []
    for one in range(len(plain)):
        free = np.where(taken, 0, overlap[one])
        at = int(free.argmax()) if len(score) else -1
        if at >= 0 and free[at] >= SAME:
            taken[at] = True
            if plain.score[one] > score[at]:
                xyxy[at], score[at] = plain.xyxy[one], plain.score[one]
                if points is not None and plain.keypoints is not None:
                    points[at] = plain.keypoints[one]
        elif not inside[one].max(initial=0) >= PART:
            added.append(one)
    xyxy = np.concatenate([xyxy, plain.xyxy[added]]).astype(np.float32)
    score = np.concatenate([score, plain.score[added]]).astype(np.float32)
    if points is not None and plain.keypoints is not None:
        points = np.concatenate([points, plain.keypoints[added]]).astype(np.float32)
    order = np.argsort(-score, kind="stable")
    return replace(
        defended,
        xyxy=xyxy[order],
        score=score[order],
        keypoints=None if points is None else points[order],
        alerts=(*defended.alerts, *plain.alerts),
        held=None,
        certified=None,
        track=None,
    )
