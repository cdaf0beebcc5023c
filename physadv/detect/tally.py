"""One image's part in every figure, and AP over images: the same counts while training and in an evaluation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from physadv.detect.matching import (
    AP_CONF,
    FOUND_CONF,
    MATCH_IOU,
    STRICT_IOU,
    average_precision,
    best_score,
    found,
    judge,
    touched,
)
from physadv.types import BoolArray, Detections, Float32Array


@dataclass(frozen=True, slots=True, eq=False)
class Tally:
    """One image's part in every figure, over the people who count.

    scores, right: the boxes that count, best first, and whether each is a person's first. found25: who has a box at .25 and
    IoU .5. strict25, strict50, lenient50: of those whom the clean detector finds at that confidence, who has none that
    touches them (IoU .1) or fits (IoU .5). best: highest confidence of a box on each.
    """

    scores: Float32Array
    right: BoolArray
    found25: BoolArray
    strict25: BoolArray
    strict50: BoolArray
    lenient50: BoolArray
    best: Float32Array

    @property
    def n_people(self) -> int:
        """Return how many people count in this image."""
        return len(self.found25)


def tally(people: Float32Array, counts: BoolArray, clean: Detections, answer: Detections) -> Tally:
    """Return one image's part.

    people: (n, 4) xyxy of everybody labelled. counts: (n,) who is scored; of the others a box says nothing. clean: what the
    undefended detector says of the untouched image.
    """
    targets = people[counts]
    scores, right = judge(targets, people[~counts], answer.above(AP_CONF))

    def lost(conf: float, gone: Callable[[], BoolArray]) -> BoolArray:
        """Return who is gone, of those whom the clean detector finds at `conf`."""
        there = found(people, clean, conf=conf, iou_at_least=MATCH_IOU)[counts]
        return gone()[there]

    return Tally(
        scores,
        right,
        found(people, answer, conf=FOUND_CONF, iou_at_least=MATCH_IOU)[counts],
        lost(FOUND_CONF, lambda: ~touched(targets, answer, conf=FOUND_CONF, iou_above=STRICT_IOU)),
        lost(0.5, lambda: ~touched(targets, answer, conf=0.5, iou_above=STRICT_IOU)),
        lost(0.5, lambda: ~touched(targets, answer, conf=0.5, iou_above=MATCH_IOU)),
        best_score(targets, answer, iou_above=STRICT_IOU),
    )


def average_precisions(tallies: Sequence[Tally], weights: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return (r,) AP at IoU .5 (101 recall points) for each row of image weights, (r, n); NaN where nobody counts.

    Sorting is done once: a row only changes how often each box counts.
    """
    owner = np.repeat(np.arange(len(tallies)), [len(t.scores) for t in tallies])
    scores = np.concatenate([t.scores for t in tallies]) if tallies else np.zeros(0)
    right = np.concatenate([t.right for t in tallies]) if tallies else np.zeros(0, bool)
    order = np.argsort(-scores, kind="stable")
    owner, right = owner[order], right[order]
    people = weights @ np.array([float(t.n_people) for t in tallies])
    return np.array([average_precision(right, n, row[owner]) for n, row in zip(people, weights, strict=True)])
