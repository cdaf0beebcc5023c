"""The people who wear the patch, each in one state that is drawn, counted, sent to the page and recorded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from physadv.boxes import iou
from physadv.detect.matching import STRICT_IOU, best_score, gives_away
from physadv.live.draw import found_elsewhere, style
from physadv.types import BoolArray, Detections, Float32Array, Int64Array

State = Literal["seen", "held", "missed", "hidden", "unknown"]
# Alerts about a person without a box.
MISSING = ("vanished", "faded", "probe", "inconsistent", "uncovered")


@dataclass(frozen=True, slots=True)
class Wearer:
    """A person who wears the patch. xyxy: in frame pixels, found before the patch was drawn.

    state: "seen" with a box of the detector, "held" with a box that only a defence vouches for, "missed" without a box but
    with a defence's alarm, "hidden" without either. "unknown" is without either too, but the clean image did not show the
    person, so the patch may not be the cause. person: number of the box among those drawn, or -1. score: of that box;
    without one the best of the weaker candidates, below the threshold.
    """

    xyxy: tuple[float, float, float, float]
    state: State
    person: int
    score: float


@dataclass(frozen=True, slots=True)
class Hiding:
    """Counts of the people who wear the patch, in all and by state, and the highest score of any of them."""

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

    A person stays marked as held only if the detector itself does not report it.
    """
    people = answer.above(conf)
    if people.held is None:
        return people
    needed = [people.score[i] < conf or found_elsewhere(people, i) for i in range(len(people))]
    return replace(people, held=people.held & np.array(needed, bool))


def judged(on: Float32Array, found: BoolArray, answer: Detections, conf: float) -> tuple[Wearer, ...]:
    """Return the state of each person who wears the patch.

    on: (n, 4) boxes of these people. found: (n,) whether each was found in the clean image. answer: of the detector, down
    to its lowest scores. conf: threshold of the boxes that count, as in `reported`. Each box goes to one person, the one it
    fits best, of those that `gives_away` the person: a head or a pair of legs is enough.
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
    alarms = np.array([a.xyxy for a in drawn.alerts if a.kind in MISSING and a.xyxy is not None], np.float32)
    if len(alarms) and (_fit(box[None], alarms) > 0).any():
        return "missed"
    return "hidden" if found else "unknown"


def _boxes_of(on: Float32Array, boxes: Float32Array) -> Int64Array:
    """Return (n,) the number of each person's box, or -1: the assignment with the largest total fit."""
    # Half a second to load: a recording is replayed without it.
    from scipy.optimize import linear_sum_assignment

    out = np.full(len(on), -1, np.int64)
    fit = _fit(on, boxes)
    rows, columns = linear_sum_assignment(-fit)
    fits = fit[rows, columns] > 0
    out[rows[fits]] = columns[fits]
    return out


def _fit(on: Float32Array, boxes: Float32Array) -> Float32Array:
    """Return (n, m) how well boxes fit people: the IoU, at least .001 where a box gives a person away, else 0."""
    return np.where(gives_away(on, boxes), np.maximum(iou(on, boxes), 1e-3), 0.0).astype(np.float32)
