"""The figures of one cell: AP by COCO's rules, recall, attack success, false boxes, with bootstrap intervals by picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from physadv.detect.matching import STRICT_IOU, average_precision, best_score, found, judge, touched
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


@dataclass(frozen=True, slots=True)
class Figures:
    """Each figure with its 95 % interval (low, high); None where nothing can be counted."""

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
    intervals.
    """
    n = len(tallies)
    weights = np.vstack([np.ones(n), rng.multinomial(n, np.full(n, 1 / n), resamples)]) if n else np.ones((1, 0))
    drawn = {
        "ap50": _average_precision(tallies, weights),
        "recall25": _mean(tallies, weights, lambda t: t.found25),
        "asr_strict25": _mean(tallies, weights, lambda t: t.strict25),
        "asr_strict50": _mean(tallies, weights, lambda t: t.strict50),
        "asr_lenient50": _mean(tallies, weights, lambda t: t.lenient50),
        "false_boxes_per_image": weights @ np.array([_false(t) for t in tallies]) / max(n, 1),
        "mean_max_conf": _mean(tallies, weights, lambda t: t.best),
    }
    value = {name: _number(v[0]) for name, v in drawn.items()}
    if ap50 is not None:
        value["ap50"] = _number(ap50)
    return Figures(value, {name: _interval(v[1:]) if n > 1 else None for name, v in drawn.items()})


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
    low, high = np.percentile(good, [2.5, 97.5])
    return round(float(low), 4), round(float(high), 4)


def _number(value: float) -> float | None:
    return round(float(value), 4) if np.isfinite(value) else None
