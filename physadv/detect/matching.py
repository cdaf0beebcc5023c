"""Which people a detector found: one-to-one matching for recall, any overlap for strict attack success, and AP.

Training, evaluation and the live demo count by these rules.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from physadv.boxes import coverage, iou
from physadv.types import BoolArray, Detections, Float32Array

# COCO's: boxes counted in an image, and the recalls at which precision is read.
MAX_BOXES = 100
RECALLS = np.linspace(0, 1, 101)
# Overlap from which a box and a labelled person count as the same: AP50, recall, attack success, keypoints.
MATCH_IOU = 0.5
# A box that overlaps a person by more than this gives the person away: the strict reading of "not hidden".
STRICT_IOU = 0.1
# Share of its own area from which a box lies within a person, as in the loss of training.
WITHIN = 0.6
# Confidence from which a person counts as found, and the lowest that AP looks at.
FOUND_CONF, AP_CONF = 0.25, 0.001
# Confidence from which the clean detector's answer counts as truth: unlabelled people, keypoints.
LABEL_CONF = 0.4


def found(people: Float32Array, detections: Detections, *, conf: float, iou_at_least: float) -> BoolArray:
    """Return (n,) whether each person is found: each takes the best-scored free box that overlaps enough.

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
    """Return (n,) whether any box with score >= conf overlaps each person by more than `iou_above`.

    A person is strictly invisible if no box touches them: a box shared with a neighbour counts against the attack.
    """
    boxes = detections.above(conf).xyxy
    if not len(boxes):
        return np.zeros(len(people), bool)
    return np.any(iou(boxes, people) > iou_above, axis=0)


def best_score(people: Float32Array, detections: Detections, *, iou_above: float) -> Float32Array:
    """Return (n,) the highest score of a box that overlaps each person by more than `iou_above`; 0 without one."""
    if not len(detections):
        return np.zeros(len(people), np.float32)
    hit = iou(detections.xyxy, people) > iou_above
    return np.where(hit, detections.score[:, None], 0).max(0).astype(np.float32)


def gives_away(people: Float32Array, boxes: Float32Array) -> BoolArray:
    """Return (n, m) whether each of (m, 4) boxes gives each of (n, 4) people away: it lies on the person or within."""
    return np.asarray((iou(people, boxes) > STRICT_IOU) | (coverage(boxes, people).T > WITHIN))


def best_score_within(people: Float32Array, answer: Detections) -> Float32Array:
    """Return (n,) the highest score of a box on each person or within one; 0 where there is none."""
    near = np.where(gives_away(people, answer.xyxy), answer.score, 0)
    return near.max(1, initial=0).astype(np.float32)


def match_keypoints(people: Float32Array, answer: Detections) -> Float32Array:
    """Return (n, 17, 3) keypoints of the detection that fits each person best; confidence 0 where none overlaps by .5.

    people: (n, 4) xyxy. An answer without keypoints gives confidence 0 for everybody.
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

    targets: (n, 4) people who count, each hit once at most. ignored: (m, 4) people who do not count: a box that lies
    mostly on one of them is left out, unless it fits somebody who counts.

    Source: COCO's evaluation, ignored people as crowds.
    """
    boxes = answer.pick(np.argsort(-answer.score, kind="stable")[:MAX_BOXES])
    overlap = iou(boxes.xyxy, targets)
    # For crowds COCO divides by the box's area, not by the union.
    share = coverage(boxes.xyxy, ignored)
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

    right: (n,) whether each box, best first over all images, is the first on a person. often: (n,) how many times each
    box counts in a bootstrap sample; None for once.

    Source: COCO's evaluation, pycocotools' interpolation.
    """
    return float("nan") if people == 0 else float(precision_at(right, people, often).mean())


def precision_at(
    right: BoolArray, people: float, often: npt.NDArray[np.float64] | None = None
) -> npt.NDArray[np.float64]:
    """Return (101,) the precision at each of `RECALLS`; arguments as of `average_precision`, people at least 1."""
    each = np.ones(len(right)) if often is None else often
    true, every = np.cumsum(each * right), np.cumsum(each)
    precision = np.divide(true, every, out=np.zeros_like(true), where=every > 0)
    precision = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    # Less than rounding errors, which could put a reached recall out of reach.
    at = np.searchsorted(true / people, RECALLS - 1e-12, side="left")
    return np.asarray(precision[at])


@dataclass(frozen=True, slots=True, eq=False)
class ImageMatch:
    """What one image adds to every figure, over the people who count.

    scores, right: the boxes that count, best first, and whether each is the first on a person. found25: whether each
    person has a box at .25 and IoU .5. there25: whether the clean detector finds each at that confidence. strict25,
    strict50, lenient50: of the people that the clean detector finds at that confidence, whether no box touches them
    (IoU .1) or fits them (IoU .5). best: highest confidence of a box on each. within: the same with boxes that lie within
    the person, however small: these give the person away, too.
    """

    scores: Float32Array
    right: BoolArray
    found25: BoolArray
    there25: BoolArray
    strict25: BoolArray
    strict50: BoolArray
    lenient50: BoolArray
    best: Float32Array
    within: Float32Array

    @property
    def n_people(self) -> int:
        """Return how many people count in this image."""
        return len(self.found25)


def match_image(people: Float32Array, counts: BoolArray, clean: Detections, answer: Detections) -> ImageMatch:
    """Return what one image adds to every figure.

    people: (n, 4) xyxy of everybody labelled. counts: (n,) whether each is scored; the others are ignored. clean: the
    undefended detector's answer for the untouched image.
    """
    targets = people[counts]
    scores, right = judge(targets, people[~counts], answer.above(AP_CONF))

    there25, there50 = (found(people, clean, conf=conf, iou_at_least=MATCH_IOU)[counts] for conf in (FOUND_CONF, 0.5))

    return ImageMatch(
        scores,
        right,
        found(people, answer, conf=FOUND_CONF, iou_at_least=MATCH_IOU)[counts],
        there25,
        ~touched(targets, answer, conf=FOUND_CONF, iou_above=STRICT_IOU)[there25],
        ~touched(targets, answer, conf=0.5, iou_above=STRICT_IOU)[there50],
        ~touched(targets, answer, conf=0.5, iou_above=MATCH_IOU)[there50],
        best_score(targets, answer, iou_above=STRICT_IOU),
        best_score_within(targets, answer),
    )


def average_precisions(matches: Sequence[ImageMatch], weights: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return (r,) AP at IoU .5 (101 recall points) for each row of image weights, (r, n); NaN where nobody counts.

    The boxes are sorted once: a row only changes how often each box counts.
    """
    owner = np.repeat(np.arange(len(matches)), [len(t.scores) for t in matches])
    scores = np.concatenate([t.scores for t in matches]) if matches else np.zeros(0)
    right = np.concatenate([t.right for t in matches]) if matches else np.zeros(0, bool)
    order = np.argsort(-scores, kind="stable")
    owner, right = owner[order], right[order]
    people = weights @ np.array([float(t.n_people) for t in matches])
    return np.array([average_precision(right, n, row[owner]) for n, row in zip(people, weights, strict=True)])
