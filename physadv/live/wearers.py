"""What a detector makes of those who wear the pattern: how many of them it misses, and how sure it is of the best seen."""

from __future__ import annotations

from dataclasses import dataclass

from physadv.detect.matching import STRICT_IOU, best_score, touched
from physadv.simulate.wear import wears
from physadv.types import Detections


@dataclass(frozen=True, slots=True)
class Hiding:
    """count: how many wear the pattern. hidden: how many of them no box reports. best: the highest score of their boxes."""

    count: int
    hidden: int
    best: float


def hiding(clean: Detections, answer: Detections, *, conf: float) -> Hiding:
    """Return what `answer`, down to its lowest scores, makes of those of `clean` who wear the pattern.

    clean: people found in the picture before the pattern was put on. conf: confidence from which a box reports somebody;
    people whom a defence holds are reported whatever theirs.
    """
    people = clean.xyxy[wears(clean)]
    near = best_score(people, answer, iou_above=STRICT_IOU)
    seen = touched(people, answer, conf=conf, iou_above=STRICT_IOU)
    return Hiding(len(people), int((~seen).sum()), float(near.max(initial=0.0)))
