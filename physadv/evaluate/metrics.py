"""The figures of one cell: AP by COCO's rules, recall, attack success, false boxes, with bootstrap intervals by picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from physadv.detect.matching import STRICT_IOU, average_precision, best_score, found, judge, touched
from physadv.evaluate.interval import wilson
from physadv.evaluate.scene import Scene
from physadv.types import BoolArray, Detections, Float32Array

AP_CONF = 0.001
AP_IOU = 0.5
METRICS = (
    "ap50",
    "recall25",
    "asr_strict25",
    "asr_strict50",
    "asr_lenient50",
    "false_boxes_per_image",
    "mean_max_conf",
)
# Fewer pictures than this are too few to be drawn again: percentiles of their resamples are narrower than 95 %.
FEW = 10


@dataclass(frozen=True, slots=True, eq=False)
class Tally:
    """One picture's part in every figure, over the people who count.

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
        """Return how many people count in this picture."""
        return len(self.found25)


# The figures that are shares of people, by whom they count.
SHARES: dict[str, Callable[[Tally], BoolArray]] = {
    "recall25": lambda t: t.found25,
    "asr_strict25": lambda t: t.strict25,
    "asr_strict50": lambda t: t.strict50,
    "asr_lenient50": lambda t: t.lenient50,
}


@dataclass(frozen=True, slots=True)
class Figures:
    """Each figure with its 95 % interval (low, high).

    A value is None where nothing can be counted. An interval also where there is one picture, and of what is no share of
    people (AP, false boxes, mean confidence) where all resamples agree.
    """

    value: dict[str, float | None]
    ci95: dict[str, tuple[float, float] | None]


def tally(scene: Scene, clean: Detections, answer: Detections) -> Tally:
    """Return one picture's part. clean: what the undefended detector says of the untouched picture."""
    who = scene.counts
    scores, right = judge(scene.targets, scene.ignored, answer.above(AP_CONF), iou_at_least=AP_IOU)

    def lost(conf: float, gone: Callable[[], BoolArray]) -> BoolArray:
        """Return who is gone, of those whom the clean detector finds at `conf`."""
        there = found(scene.people, clean, conf=conf, iou_at_least=AP_IOU)[who]
        return gone()[there]

    targets = scene.targets
    return Tally(
        scores,
        right,
        found(scene.people, answer, conf=0.25, iou_at_least=AP_IOU)[who],
        lost(0.25, lambda: ~touched(targets, answer, conf=0.25, iou_above=STRICT_IOU)),
        lost(0.5, lambda: ~touched(targets, answer, conf=0.5, iou_above=STRICT_IOU)),
        lost(0.5, lambda: ~touched(targets, answer, conf=0.5, iou_above=AP_IOU)),
        best_score(targets, answer, iou_above=STRICT_IOU),
    )


def figures(tallies: Sequence[Tally], *, ap50: float | None, resamples: int, rng: np.random.Generator) -> Figures:
    """Return every figure over all pictures, with percentile intervals from resampling whole pictures.

    ap50: from faster-coco-eval; the interval's resamples use the same matching. People in one picture stand or fall
    together, so it is pictures that are drawn again, not people; one picture alone says nothing of others, and has no
    intervals. Shares that are the same in every resample, or come from fewer than `FEW` pictures, have Wilson's interval
    with a picture as one case.
    """
    n = len(tallies)
    weights = np.vstack([np.ones(n), rng.multinomial(n, np.full(n, 1 / n), resamples)]) if n else np.ones((1, 0))
    drawn = {
        "ap50": _average_precision(tallies, weights),
        "false_boxes_per_image": weights @ np.array([_false(t) for t in tallies]) / max(n, 1),
        "mean_max_conf": _mean(tallies, weights, lambda t: t.best),
        **{name: _mean(tallies, weights, part) for name, part in SHARES.items()},
    }
    value = {name: _number(drawn[name][0]) for name in METRICS}
    if ap50 is not None:
        value["ap50"] = _number(ap50)
    intervals: dict[str, tuple[float, float] | None] = dict.fromkeys(METRICS)
    if n > 1:
        intervals = {name: _interval(drawn[name][1:]) for name in METRICS}
        for name, part in SHARES.items():
            pictures = sum(len(part(t)) > 0 for t in tallies)
            if pictures and (pictures < FEW or intervals[name] is None):
                low, high = wilson(float(drawn[name][0]), pictures)
                intervals[name] = round(low, 4), round(high, 4)
    return Figures(value, intervals)


def _false(one: Tally) -> float:
    return float(((one.scores >= 0.25) & ~one.right).sum())


def _mean(
    tallies: Sequence[Tally], weights: npt.NDArray[np.float64], part: Callable[[Tally], npt.NDArray[np.generic]]
) -> npt.NDArray[np.float64]:
    total = weights @ np.array([np.asarray(part(t), np.float64).sum() for t in tallies])
    count = weights @ np.array([float(len(part(t))) for t in tallies])
    with np.errstate(invalid="ignore"):
        return np.where(count > 0, total / count, np.nan)


def _average_precision(tallies: Sequence[Tally], weights: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return AP at IoU .5 (101 recall points) for each row of picture weights.

    Sorting is done once: a resample only changes how often each box counts.
    """
    owner = np.repeat(np.arange(len(tallies)), [len(t.scores) for t in tallies])
    scores = np.concatenate([t.scores for t in tallies]) if tallies else np.zeros(0)
    right = np.concatenate([t.right for t in tallies]) if tallies else np.zeros(0, bool)
    order = np.argsort(-scores, kind="stable")
    owner, right = owner[order], right[order]
    people = weights @ np.array([float(t.n_people) for t in tallies])
    return np.array([average_precision(right, n, row[owner]) for n, row in zip(people, weights, strict=True)])


def _interval(values: npt.NDArray[np.float64]) -> tuple[float, float] | None:
    good = values[np.isfinite(values)]
    if not len(good):
        return None
    low, high = (round(float(v), 4) for v in np.percentile(good, [2.5, 97.5]))
    # Resamples of what is all alike say nothing of what was not seen.
    return (low, high) if low < high else None


def _number(value: float) -> float | None:
    return round(float(value), 4) if np.isfinite(value) else None
