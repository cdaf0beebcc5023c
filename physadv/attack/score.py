"""Held-out people, scored quickly while training: whole images, the saved pattern, the rule it is judged by."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from physadv.arrays import to_image, to_tensor
from physadv.attack.crops import prints_of, shirt_prints, shirt_windows
from physadv.attack.losses import Goal
from physadv.dataset import LabelledImage
from physadv.detect.matching import FOUND_CONF, average_precisions, best_score_within, match_image
from physadv.marks import marked
from physadv.patch import Patch
from physadv.simulate.paste import Prints
from physadv.simulate.placement import Rule, chest_quads, side_px, square_quads
from physadv.simulate.world import World
from physadv.types import BoolArray, Detections, Detector, Frame, UInt8Array


@dataclass(frozen=True, slots=True)
class Placing:
    """Where a pattern goes when it is scored.

    A print as large as a square of `scale` by the rule, centred `at` the box's height, or on the chest by keypoints; a
    T-shirt texture over the whole torso where `shirt` is set.
    """

    rule: Rule = "area"
    scale: float = 0.35
    at: float = 0.42
    chest: bool = False
    shirt: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Score:
    """Figures over people of at least `dataset.MIN_AREA`; patterns are compared by `badness`, lower is better.

    recall25, ap50, asr_strict25, mean_max_conf: as `physadv evaluate` counts them. mean_max_conf_within: the mean of the
    highest confidence of a box on a person or within one, however small. hidden25: share of people for whom that is below
    .25.
    """

    n_images: int
    n_people: int
    recall25: float
    ap50: float
    asr_strict25: float
    mean_max_conf: float
    mean_max_conf_within: float
    hidden25: float

    def badness(self, goal: Goal = "vanish") -> float:
        """Return how far a pattern is from what it is trained for.

        vanish: recall, the share still seen in any way, a box on a part of them included, and the mean confidence of such
        boxes; the last tells even ones apart.
        missize: recall and AP, which boxes that do not fit lower; whether anybody is seen does not count.
        """
        if goal == "missize":
            return self.recall25 + self.ap50
        return self.recall25 + (1 - self.hidden25) + self.mean_max_conf_within

    def plain(self) -> dict[str, float | int | None]:
        """Return the figures for a record, rounded; None where there is no one to count (JSON has no NaN)."""
        return {n: round(v, 4) if math.isfinite(v) else None for n, v in asdict(self).items()}


def mean_badness(scores: Iterable[Score], goal: Goal = "vanish") -> float | None:
    """Return the badness of a pattern over all people of several scores, or None where there is nobody to count."""
    return _over_people((s.badness(goal), s.n_people) for s in scores)


def beats(scores: Mapping[str, Score], others: Mapping[str, Score], goal: Goal = "vanish") -> bool:
    """Return whether a pattern does better than another on the same people; names that one of them lacks do not count.

    Its badness is lower, and it hides no fewer people: badness alone may fall with the confidence in people who are seen
    all the same, while somebody who was hidden is found again. For the goal `missize` nobody need be hidden.
    """
    names = [name for name in scores if name in others]
    now, before = ([table[name] for name in names] for table in (scores, others))
    bad, reference = mean_badness(now, goal), mean_badness(before, goal)
    if bad is None or reference is None:
        return True
    return bad < reference and (goal == "missize" or _hidden(now) >= _hidden(before))


def _hidden(scores: Sequence[Score]) -> float:
    """Return the mean strict success over all people, rounded as records have it."""
    return round(_over_people((s.asr_strict25, s.n_people) for s in scores) or 0.0, 4)


def _over_people(figures: Iterable[tuple[float, int]]) -> float | None:
    """Return the mean of figures, each of so many people, over those that are known; None where none is."""
    known = [(figure, people) for figure, people in figures if math.isfinite(figure)]
    return sum(f * n for f, n in known) / sum(n for _, n in known) if known else None


class Scorer:
    """Scores patterns on the same people each time; what the clean detector finds is computed once."""

    def __init__(self, images: Sequence[LabelledImage], detector: Detector, placing: Placing, *, seed: int = 0) -> None:
        self.images, self.detector, self.placing, self.seed = list(images), detector, placing, seed
        self.large = [image.counts for image in self.images]
        self.clean = [detector.detect(Frame(p.pixels, 0, 0, 0.0)) for p in self.images]

    @property
    def people(self) -> int:
        """Return how many people are large enough to be scored."""
        return sum(int(large.sum()) for large in self.large)

    def score(self, patch: Patch | None) -> Score:
        """Return the figures of a pattern, or of the images as they are."""
        if patch is None:
            return self._figures(self.clean)
        return self._figures([self._answer(patch, i) for i in range(len(self.images))])

    def some(self, count: int) -> list[int]:
        """Return the numbers of up to `count` images in which somebody is scored, spread over all of them."""
        there = [i for i, large in enumerate(self.large) if large.any()]
        return [there[k] for k in np.linspace(0, len(there) - 1, min(count, len(there))).astype(int)]

    def shown(self, patch: Patch, i: int, *, height: int) -> UInt8Array:
        """Return image `i`, `height` pixels high, whose people wear the pattern, each marked as seen or hidden."""
        image, large = self.images[i], self.large[i]
        worn = wear(patch, image, large, self.placing, seed=self.seed + i)
        sure = best_score_within(image.boxes[large], self.detector.detect(Frame(worn, 0, 0, 0.0)))
        return marked(worn, image.boxes[large], sure, found=sure >= FOUND_CONF, height=height)

    def _answer(self, patch: Patch, i: int) -> Detections:
        """Return what is found in an image whose people wear the pattern."""
        image, large = self.images[i], self.large[i]
        if not large.any():
            return self.clean[i]
        worn = wear(patch, image, large, self.placing, seed=self.seed + i)
        return self.detector.detect(Frame(worn, 0, 0, 0.0))

    def _figures(self, answers: list[Detections]) -> Score:
        parts = zip(self.images, self.large, self.clean, answers, strict=True)
        tallies = [match_image(p.boxes, large, clean, answer) for p, large, clean, answer in parts]
        (ap50,) = average_precisions(tallies, np.ones((1, len(tallies))))
        sure = [
            best_score_within(p.boxes[large], a) for p, large, a in zip(self.images, self.large, answers, strict=True)
        ]
        within = np.concatenate(sure)
        return Score(
            len(self.images),
            len(within),
            _mean(np.concatenate([t.found25 for t in tallies])),
            float(ap50),
            _mean(np.concatenate([t.strict25 for t in tallies])),
            _mean(np.concatenate([t.best for t in tallies])),
            _mean(within),
            _mean(within < FOUND_CONF),
        )


def wear(patch: Patch, image: LabelledImage, large: BoolArray, placing: Placing, *, seed: int) -> UInt8Array:
    """Return the image's pixels with the pattern pasted flat on the chosen people."""
    prints = prints_on(patch, image, large, placing, np.random.default_rng(seed))
    if len(prints) == 0:
        return image.pixels
    pixels, mask = patch.tensors()
    world = World.of(0.0)
    draw = world.sample(len(prints), 1, torch.Generator().manual_seed(seed))
    with torch.inference_mode():
        out = world.apply(torch.cat([pixels, mask]), to_tensor(image.pixels)[None], prints, draw)
    return to_image(out[0])


def prints_on(patch: Patch, image: LabelledImage, who: BoolArray, placing: Placing, rng: np.random.Generator) -> Prints:
    """Return where the chosen people of one image wear the pattern."""
    boxes, points = image.boxes[who], image.keypoints[who]
    owner = np.zeros(len(boxes), np.int64)
    none = np.zeros((len(boxes), 2, 5), np.float32)
    if placing.shirt:
        whose, quads, sizes = shirt_prints(boxes, points)
        windows = shirt_windows(sizes, (patch.size_mm[0] / 10, patch.size_mm[1] / 10), rng)
        return prints_of(owner[whose], quads, none[whose], windows)
    side = side_px(boxes, placing.rule, placing.scale)
    aspect = patch.size_mm[0] / patch.size_mm[1]
    if placing.chest:
        quads = chest_quads(boxes, points, side=side, at=placing.at, aspect=aspect)
    else:
        quads = square_quads(boxes, side, placing.at, aspect=aspect)
    return prints_of(owner, quads, none, None)


def _mean(values: np.ndarray[Any, Any]) -> float:
    return float(values.mean()) if len(values) else float("nan")
