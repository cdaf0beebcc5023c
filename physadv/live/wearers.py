"""Those who wear the pattern, each in one state: what is drawn around them, counted, sent to the page and recorded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from physadv.boxes import area, intersection, iou
from physadv.detect.matching import STRICT_IOU, best_score
from physadv.live.draw import found_elsewhere, style
from physadv.types import BoolArray, Detections, Float32Array, Int64Array

State = Literal["seen", "held", "missed", "hidden", "unknown"]
# A box of which more than this lies within somebody's is theirs: a head, a pair of legs.
WITHIN = 0.6
# Alerts that say that somebody is there that no box shows.
MISSING = ("vanished", "faded", "probe", "inconsistent", "uncovered")


@dataclass(frozen=True, slots=True)
class Wearer:
    """One who wears the pattern. xyxy: in frame pixels, from the image before the pattern was put on.

    state: "seen" if a box of the detector is theirs, "held" if only a defence vouches for that box, "missed" if they have
    none and a defence raises an alarm about them, "hidden" if there is neither; "unknown" if there is neither and they were
    not found in the clean image either, so that it is not the pattern that hides them. person: number of their box among
    those drawn, or -1. score: of that box; without one the best of the weaker candidates, below the threshold.
    """

    xyxy: tuple[float, float, float, float]
    state: State
    person: int
    score: float


@dataclass(frozen=True, slots=True)
class Hiding:
    """How many wear the pattern, in all and in each state, and the highest score that any of them gets."""

    count: int
    seen: int
    held: int
    missed: int
    hidden: int
    unknown: int
    best: float

    @classmethod
    def of(cls, wearers: Sequence[Wearer]) -> Hiding:
        """Return the counts of some wearers."""
        states = [w.state for w in wearers]
        return cls(
            count=len(states),
            seen=states.count("seen"),
            held=states.count("held"),
            missed=states.count("missed"),
            hidden=states.count("hidden"),
            unknown=states.count("unknown"),
            best=max((w.score for w in wearers), default=0.0),
        )


def reported(answer: Detections, conf: float) -> Detections:
    """Return the people that are drawn: those of at least `conf`, and those that a defence holds.

    Only people that a defence alone reports stay held; those that the detector reports need no memory.
    """
    people = answer.above(conf)
    if people.held is None:
        return people
    needed = [people.score[i] < conf or found_elsewhere(people, i) for i in range(len(people))]
    return replace(people, held=people.held & np.array(needed, bool))


def judged(on: Float32Array, found: BoolArray, answer: Detections, conf: float) -> tuple[Wearer, ...]:
    """Return the states, by an answer down to its lowest scores, of those who wear the pattern.

    on: (n, 4) their boxes. found: (n,) which of them were found in the clean image. conf: as for `reported`, which contain
    the wearers' boxes. Each box is one wearer's: where two stand close, the one it fits better. It fits by an IoU
    above `STRICT_IOU`, or where more than `WITHIN` of it lies within the wearer.
    """
    drawn = reported(answer, conf)
    held = np.zeros(len(answer), bool) if answer.held is None else answer.held
    weaker = best_score(on, answer.pick((answer.score < conf) & ~held), iou_above=STRICT_IOU)
    out = []
    for i, person in enumerate(_boxes_of(on, drawn.xyxy).tolist()):
        x1, y1, x2, y2 = (float(v) for v in on[i])
        score = float(drawn.score[person]) if person >= 0 else float(weaker[i])
        out.append(Wearer((x1, y1, x2, y2), _state(on[i], person, drawn, found=bool(found[i])), person, score))
    return tuple(out)


def _state(box: Float32Array, person: int, drawn: Detections, *, found: bool) -> State:
    if person >= 0:
        return "held" if style(drawn, person)[1] in ("held", "uncovered") else "seen"
    missing = np.array([a.xyxy for a in drawn.alerts if a.kind in MISSING and a.xyxy is not None], np.float32)
    if len(missing) and (_fit(box[None], missing) > 0).any():
        return "missed"
    return "hidden" if found else "unknown"


def _boxes_of(on: Float32Array, boxes: Float32Array) -> Int64Array:
    """Return (n,) the number of each wearer's box, or -1: the assignment of the largest fit in all."""
    # Half a second to load: a recording is replayed without it.
    from scipy.optimize import linear_sum_assignment

    out = np.full(len(on), -1, np.int64)
    fit = _fit(on, boxes)
    rows, columns = linear_sum_assignment(-fit)
    fits = fit[rows, columns] > 0
    out[rows[fits]] = columns[fits]
    return out


def _fit(on: Float32Array, boxes: Float32Array) -> Float32Array:
    """Return (n, m) how well boxes fit wearers: the overlap, by a little more than 0 at least; 0 where they do not."""
    overlap = iou(on, boxes)
    within = intersection(on, boxes) > WITHIN * area(boxes)[None]
    return np.where((overlap > STRICT_IOU) | (within & (area(boxes) > 0)[None]), np.maximum(overlap, 1e-3), 0.0).astype(
        np.float32
    )
