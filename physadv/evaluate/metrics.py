"""The figures of a cell: AP by COCO's rules, recall, attack success and false boxes, with 95 % intervals by image."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from physadv.dataset import LabelledImage
from physadv.detect.matching import AP_CONF, FOUND_CONF, MATCH_IOU, MAX_BOXES, ImageMatch, average_precisions
from physadv.types import BoolArray, Detections

T = TypeVar("T")
METRICS = (
    "ap50",
    "recall25",
    "asr_strict25",
    "asr_strict50",
    "asr_lenient50",
    "false_boxes_per_image",
    "mean_max_conf",
    "mean_max_conf_within",
    "hidden25",
)
# Fewer images than this are too few to be drawn again: percentiles of their resamples are narrower than 95 %.
FEW = 10
Z95 = 1.96
# The figures that are shares of people, by the people that count.
SHARES: dict[str, Callable[[ImageMatch], BoolArray]] = {
    "recall25": lambda m: m.found25,
    "asr_strict25": lambda m: m.strict25,
    "asr_strict50": lambda m: m.strict50,
    "asr_lenient50": lambda m: m.lenient50,
    "hidden25": lambda m: m.within < FOUND_CONF,
}


@dataclass(frozen=True, slots=True)
class Figures:
    """Each figure with its 95 % interval (low, high).

    A value is None where nothing can be counted. An interval also where there is one image, and of what is no share of
    people (AP, false boxes, mean confidence) where all resamples agree.
    """

    value: dict[str, float | None]
    ci95: dict[str, tuple[float, float] | None]


def figures(matches: Sequence[ImageMatch], *, ap50: float | None, resamples: int, rng: np.random.Generator) -> Figures:
    """Return every figure over all images, with percentile intervals from resampling whole images.

    ap50: from faster-coco-eval; the interval's resamples use the same matching. People in one image stand or fall
    together, so it is images that are drawn again, not people; one image alone says nothing of others, and has no
    intervals. Shares that are the same in every resample, or come from fewer than `FEW` images, have Wilson's interval
    with an image as one case.
    """
    n = len(matches)
    again = rng.multinomial(n, np.full(n, 1 / n), resamples).astype(np.float64) if n and resamples else np.ones((0, n))
    weights = np.vstack([np.ones(n), again])
    drawn = {
        "ap50": average_precisions(matches, weights),
        "false_boxes_per_image": weights @ np.array([_false(m) for m in matches]) / max(n, 1),
        "mean_max_conf": _mean(matches, weights, lambda m: m.best),
        "mean_max_conf_within": _mean(matches, weights, lambda m: m.within),
        **{name: _mean(matches, weights, part) for name, part in SHARES.items()},
    }
    value = {name: _number(drawn[name][0]) for name in METRICS}
    if ap50 is not None:
        value["ap50"] = _number(ap50)
    intervals: dict[str, tuple[float, float] | None] = dict.fromkeys(METRICS)
    if n > 1 and resamples:
        intervals = {name: interval_of(drawn[name][1:]) for name in METRICS}
        for name, part in SHARES.items():
            intervals[name] = share_interval(drawn[name], sum(len(part(m)) > 0 for m in matches))
    return Figures(value, intervals)


@dataclass(frozen=True, slots=True)
class Share:
    """A share of cases with its 95 % interval by image, as of `Figures`; n: how many cases there are."""

    value: float | None
    ci95: tuple[float, float] | None
    n: int


def share(parts: Sequence[BoolArray], *, resamples: int, rng: np.random.Generator) -> Share:
    """Return the share of people of which something holds, (k,) for each image, with its interval by `figures`' rules."""
    n = len(parts)
    again = rng.multinomial(n, np.full(n, 1 / n), resamples).astype(np.float64) if n and resamples else np.ones((0, n))
    drawn = _mean(parts, np.vstack([np.ones(n), again]), lambda part: part)
    interval = share_interval(drawn, sum(len(part) > 0 for part in parts)) if n > 1 and resamples else None
    return Share(_number(drawn[0]), interval, sum(map(len, parts)))


def share_interval(drawn: npt.NDArray[np.float64], images: int) -> tuple[float, float] | None:
    """Return the interval of a share. drawn: its value, then those of the resamples. images: how many units have a case."""
    interval = interval_of(drawn[1:])
    if images and (images < FEW or interval is None):
        low, high = wilson(float(drawn[0]), images)
        return round(low, 4), round(high, 4)
    return interval


def _false(one: ImageMatch) -> float:
    return float(((one.scores >= FOUND_CONF) & ~one.right).sum())


def _mean(
    matches: Sequence[T],
    weights: npt.NDArray[np.float64],
    part: Callable[[T], npt.NDArray[np.generic]],
) -> npt.NDArray[np.float64]:
    total = weights @ np.array([np.asarray(part(m), np.float64).sum() for m in matches])
    count = weights @ np.array([float(len(part(m))) for m in matches])
    with np.errstate(invalid="ignore"):
        return np.where(count > 0, total / count, np.nan)


def interval_of(values: npt.NDArray[np.float64]) -> tuple[float, float] | None:
    """Return the 95 % percentile interval of resampled values, NaN left out; None where all agree, or there are none."""
    good = values[np.isfinite(values)]
    if not len(good):
        return None
    low, high = (round(float(v), 4) for v in np.percentile(good, [2.5, 97.5]))
    # Resamples of what is all alike say nothing of what was not seen.
    return (low, high) if low < high else None


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def wilson(share: float, n: float, *, z: float = Z95) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share seen among `n` independent cases; (0, 1) where there are none.

    Also where all cases agree it has a width. Cases that stand or fall together, as people in one image or neighbouring
    frames of a video, count as one. z: of another level.

    Source: Wilson 1927; Brown, Cai & DasGupta 2001, Interval estimation for a binomial proportion.
    """
    if n <= 0:
        return 0.0, 1.0
    z2 = z * z
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    reach = z / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return max(0.0, middle - reach), min(1.0, middle + reach)


def newcombe(first: float, second: float, n: int, *, z: float = Z95) -> tuple[float, float]:
    """Return the 95 % interval of the difference of two shares of `n` cases each, from Wilson's intervals of the two.

    Of the same cases on both sides it is rather too wide than too narrow. z: of another level.

    Source: Newcombe 1998, Interval estimation for the difference between independent proportions, method 10.
    """
    (l1, u1), (l2, u2) = wilson(first, n, z=z), wilson(second, n, z=z)
    apart = first - second
    low = apart - math.hypot(first - l1, u2 - second)
    high = apart + math.hypot(u1 - first, second - l2)
    return round(low, 4), round(high, 4)


def ap50(images: Sequence[LabelledImage], answers: Sequence[Detections]) -> float | None:
    """Return AP at IoU .5 by faster-coco-eval over the people who count; None if nobody counts.

    It is the reference for every AP that is published. Boxes with score >= .001 are looked at.
    People too small to count are crowds in COCO's sense: a box on them is neither right nor wrong.
    """
    # Loaded by who scores: size curves take nothing but `wilson` from here.
    from faster_coco_eval import COCO, COCOeval_faster

    truth: list[dict[str, Any]] = []
    boxes: list[list[float]] = []
    for number, (image, answer) in enumerate(zip(images, answers, strict=True), 1):
        for xyxy, counts in zip(image.boxes, image.counts, strict=True):
            x1, y1, x2, y2 = (float(v) for v in xyxy)
            bbox = [x1, y1, x2 - x1, y2 - y1]
            truth.append({
                "id": len(truth) + 1, "image_id": number, "category_id": 1, "bbox": bbox,
                "area": max(bbox[2] * bbox[3], 1e-3), "iscrowd": 0 if counts else 1,
            })  # fmt: skip
        kept = answer.above(AP_CONF)
        for xyxy, score in zip(kept.xyxy.tolist(), kept.score.tolist(), strict=True):
            boxes.append([number, xyxy[0], xyxy[1], xyxy[2] - xyxy[0], xyxy[3] - xyxy[1], score, 1])
    if not any(t["iscrowd"] == 0 for t in truth):
        return None
    if not boxes:
        return 0.0
    sizes = [{"id": i, "width": s.size[0], "height": s.size[1]} for i, s in enumerate(images, 1)]
    dataset = {"images": sizes, "annotations": truth, "categories": [{"id": 1, "name": "person"}], "info": {}}
    coco = COCO(dataset)
    judge = COCOeval_faster(coco, coco.loadRes(np.array(boxes)), iouType="bbox")
    judge.params.iouThrs = np.array([MATCH_IOU])
    judge.params.maxDets = [1, 10, MAX_BOXES]
    judge.params.areaRng, judge.params.areaRngLbl = [[0, 1e10]], ["all"]
    judge.evaluate()
    judge.accumulate()
    precision = np.asarray(judge.eval["precision"])[0, :, 0, 0, -1]
    return float(precision[precision > -1].mean())
