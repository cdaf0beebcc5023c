"""Held-out people, scored quickly while training: whole images, the saved pattern, the rule it is judged by."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from physadv.attack.settings import Goal
from physadv.dataset import Dataset, LabelledImage
from physadv.detect.matching import FOUND_CONF, best_score_within
from physadv.evaluate.cell import Cell
from physadv.evaluate.scorer import Entry, Scorer
from physadv.evaluate.settings import EvaluateSettings
from physadv.marks import marked
from physadv.patch import Patch
from physadv.simulate.placement import Placement
from physadv.types import Detector, Frame, UInt8Array


@dataclass(frozen=True, slots=True, eq=False)
class Score:
    """Figures over people of at least `dataset.MIN_AREA`; patterns are compared by `badness`, lower is better.

    recall25, ap50, asr_strict25, mean_max_conf: as `physadv evaluate` counts them. mean_max_conf_within: the mean of the
    highest confidence of a box on a person or within one, however small. hidden25: share of people whose value is below
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

    @classmethod
    def of(cls, cell: Cell) -> Score:
        """Return the figures that a cell of an evaluation has."""

        def value(name: str) -> float:
            figure = cell[name]
            return math.nan if figure is None else figure

        return cls(
            cell.counted["n_images"],
            cell.counted["n_people"],
            value("recall25"),
            value("ap50"),
            value("asr_strict25"),
            value("mean_max_conf"),
            value("mean_max_conf_within"),
            value("hidden25"),
        )

    def badness(self, goal: Goal = "vanish") -> float:
        """Return how far a pattern is from what it is trained for.

        vanish: recall, the share still seen in any way, a box on a part of them included, and the mean confidence of such
        boxes; the last decides between equal ones.
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


class HeldOutPeople:
    """Scores patterns on the same people each time, by the evaluation's own scorer; images, patterns and people as there.

    What the clean detector finds is computed once.
    """

    def __init__(
        self, images: Sequence[LabelledImage], detector: Detector, placement: Placement, *, seed: int = 0
    ) -> None:
        settings = EvaluateSettings(seed=seed)
        self.placement = placement
        self._scorer = Scorer(Dataset(list(images)), detector, settings, intervals=False)

    @property
    def images(self) -> list[LabelledImage]:
        """Return the images that are scored."""
        return self._scorer.data.images

    @property
    def people(self) -> int:
        """Return how many people are large enough to be scored."""
        return self._scorer.data.n_people

    def score(self, patch: Patch | None) -> Score:
        """Return the figures of a pattern, or of the images as they are."""
        return Score.of(self._scorer.score(self._entry(patch)))

    def some(self, count: int) -> list[int]:
        """Return the numbers of up to `count` images in which somebody is scored, spread over all of them."""
        there = [i for i, image in enumerate(self.images) if image.counts.any()]
        return [there[k] for k in np.linspace(0, len(there) - 1, min(count, len(there))).astype(int)]

    def shown(self, patch: Patch, i: int, *, height: int) -> UInt8Array:
        """Return image `i`, `height` pixels high, whose people wear the pattern, each marked as seen or hidden."""
        people = self.images[i].targets
        worn = self._scorer.wear(self.images[i], self._entry(patch))
        sure = best_score_within(people, self._scorer.detector.detect(Frame(worn, 0, 0, 0.0)))
        return marked(worn, people, sure, found=sure >= FOUND_CONF, height=height)

    def _entry(self, patch: Patch | None) -> Entry:
        if patch is None:
            return Entry("none", None, None)
        return Entry("patch", patch.name, patch, self.placement)
