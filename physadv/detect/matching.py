"""Who of the people that are there was found: one-to-one matching for recall, any overlap for strict attack success.

One copy of each figure's rules, for training, evaluation and the live demo.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from physadv.detect.boxes import area, intersection, iou
from physadv.types import BoolArray, Detections, Float32Array

# COCO's: boxes counted in an image, and the recalls at which precision is read.
MAX_BOXES = 100
RECALLS = np.linspace(0, 1, 101)
# From this overlap on a box and a labelled person are taken for the same: AP50, recall, attack success, keypoints.
MATCH_IOU = 0.5
# A box that overlaps a person by more than this says that somebody is there: the strict reading of "not hidden".
STRICT_IOU = 0.1
# Confidence from which a person counts as found, and the lowest that AP looks at.
FOUND_CONF, AP_CONF = 0.25, 0.001
# From this confidence on what the clean detector says is taken for truth: people where no one labelled them, keypoints.
LABEL_CONF = 0.4


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


def match_keypoints(people: Float32Array, answer: Detections) -> Float32Array:
    """Return (n, 17, 3) keypoints of the detection that fits each person best; confidence 0 where none overlaps by .5.

    people: (n, 4) xyxy. Without keypoints in the answer nobody has any.
    """
    out = np.zeros((len(people), 17, 3), np.float32)
    if answer.keypoints is None or not len(answer) or not len(people):
        return out
    overlap = iou(people, answer.xyxy)
    best = overlap.argmax(1)
    sure = overlap[np.arange(len(people)), best] >= MATCH_IOU
    out[sure] = answer.keypoints[best[sure]]
    return out


def judge(
    targets: Float32Array, ignored: Float32Array, answer: Detections, *, iou_at_least: float = MATCH_IOU
) -> tuple[Float32Array, BoolArray]:
    """Return scores and hits of the boxes that count, best first, at most 100 of an image, matched as COCO does.

    targets: (n, 4) people, each of whom is hit once. ignored: (m, 4) people of whom a box says nothing: one that lies
    mostly on them counts for nothing, unless it fits somebody who counts.

    Source: COCO's evaluation, ignored people as crowds.
    """
    boxes = answer.pick(np.argsort(-answer.score, kind="stable")[:MAX_BOXES])
    overlap = iou(boxes.xyxy, targets)
    # Of a crowd COCO takes the share of the box, not the union.
    share = intersection(boxes.xyxy, ignored) / np.maximum(area(boxes.xyxy), 1e-9)[:, None]
    free = np.ones(len(targets), bool)
    hit, count = np.zeros(len(boxes), bool), np.ones(len(boxes), bool)
    for i in range(len(boxes)):
        fit = np.where(free, overlap[i], -1)
        if len(fit) and fit.max() >= iou_at_least:
            free[fit.argmax()], hit[i] = False, True
        elif share.shape[1] and share[i].max() >= iou_at_least:
            count[i] = False
    return boxes.score[count], hit[count]


def average_precision(right: BoolArray, people: float, often: npt.NDArray[np.float64] | None = None) -> float:
    """Return the mean precision at 101 recalls, as COCO reads it; NaN if there are no people.

    right: (n,) whether each box, best first over all images, is somebody's first. often: (n,) how many times each box
    counts where images are drawn again; once without it.

    Source: COCO's evaluation, pycocotools' interpolation.
    """
    if people == 0:
        return float("nan")
    each = np.ones(len(right)) if often is None else often
    true, every = np.cumsum(each * right), np.cumsum(each)
    precision = np.divide(true, every, out=np.zeros_like(true), where=every > 0)
    precision = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    # Rounding must not put a recall that is reached just out of reach.
    at = np.searchsorted(true / people, RECALLS - 1e-12, side="left")
    return float(precision[at].mean())
