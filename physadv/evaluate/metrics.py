"""The figures of one cell: AP by COCO's rules, recall, attack success, false boxes, with bootstrap intervals by image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from physadv.detect.matching import FOUND_CONF, ImageMatch, average_precisions
from physadv.evaluate.interval import wilson
from physadv.types import BoolArray

METRICS = (
    "ap50",
    "recall25",
    "asr_strict25",
    "asr_strict50",
    "asr_lenient50",
    "false_boxes_per_image",
    "mean_max_conf",
)
# Fewer images than this are too few to be drawn again: percentiles of their resamples are narrower than 95 %.
FEW = 10


# The figures that are shares of people, by whom they count.
SHARES: dict[str, Callable[[ImageMatch], BoolArray]] = {
    "recall25": lambda t: t.found25,
    "asr_strict25": lambda t: t.strict25,
    "asr_strict50": lambda t: t.strict50,
    "asr_lenient50": lambda t: t.lenient50,
}


@dataclass(frozen=True, slots=True)
class Figures:
    """Each figure with its 95 % interval (low, high).

    A value is None where nothing can be counted. An interval also where there is one image, and of what is no share of
    people (AP, false boxes, mean confidence) where all resamples agree.
    """

    value: dict[str, float | None]
    ci95: dict[str, tuple[float, float] | None]


def figures(tallies: Sequence[ImageMatch], *, ap50: float | None, resamples: int, rng: np.random.Generator) -> Figures:
    """Return every figure over all images, with percentile intervals from resampling whole images.

    ap50: from faster-coco-eval; the interval's resamples use the same matching. People in one image stand or fall
    together, so it is images that are drawn again, not people; one image alone says nothing of others, and has no
    intervals. Shares that are the same in every resample, or come from fewer than `FEW` images, have Wilson's interval
    with an image as one case.
    """
    n = len(tallies)
    weights = np.vstack([np.ones(n), rng.multinomial(n, np.full(n, 1 / n), resamples)]) if n else np.ones((1, 0))
    drawn = {
        "ap50": average_precisions(tallies, weights),
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
            images = sum(len(part(t)) > 0 for t in tallies)
            if images and (images < FEW or intervals[name] is None):
                low, high = wilson(float(drawn[name][0]), images)
                intervals[name] = round(low, 4), round(high, 4)
    return Figures(value, intervals)


def _false(one: ImageMatch) -> float:
    return float(((one.scores >= FOUND_CONF) & ~one.right).sum())


def _mean(
    tallies: Sequence[ImageMatch],
    weights: npt.NDArray[np.float64],
    part: Callable[[ImageMatch], npt.NDArray[np.generic]],
) -> npt.NDArray[np.float64]:
    total = weights @ np.array([np.asarray(part(t), np.float64).sum() for t in tallies])
    count = weights @ np.array([float(len(part(t))) for t in tallies])
    with np.errstate(invalid="ignore"):
        return np.where(count > 0, total / count, np.nan)


def _interval(values: npt.NDArray[np.float64]) -> tuple[float, float] | None:
    good = values[np.isfinite(values)]
    if not len(good):
        return None
    low, high = (round(float(v), 4) for v in np.percentile(good, [2.5, 97.5]))
    # Resamples of what is all alike say nothing of what was not seen.
    return (low, high) if low < high else None


def _number(value: float) -> float | None:
    return round(float(value), 4) if np.isfinite(value) else None
