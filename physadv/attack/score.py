"""Held-out people, scored quickly while training: whole images, the saved pattern, the rule it is judged by."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

import numpy as np

from physadv.attack.settings import Goal
from physadv.controls import control
from physadv.dataset import Dataset, LabelledImage
from physadv.detect.matching import FOUND_CONF, ImageMatch, best_score_within
from physadv.evaluate.cell import Cell
from physadv.evaluate.scorer import Entry, Scorer
from physadv.evaluate.settings import EvaluateSettings
from physadv.evaluate.sides import Matched, at_distance, conditions_of, joint, matched
from physadv.marks import marked
from physadv.patch import Patch
from physadv.simulate.activation import PARAMETERS, Activation, State
from physadv.simulate.conditions import PLAIN, Condition
from physadv.simulate.placement import Placement
from physadv.types import Detector, Frame, UInt8Array

# How much a person who is lost where a pattern must not act counts beside one who is seen where it acts.
DORMANT = 3.0


@dataclass(frozen=True, slots=True, eq=False)
class Score:
    """Figures over people of at least `dataset.MIN_AREA`; patterns are compared by `badness`, lower is better.

    recall25, ap50, asr_strict25, mean_max_conf: as `physadv evaluate` counts them. mean_max_conf_within: the mean of the
    highest confidence of a box on a person or within one, however small. hidden25: share of people whose value is below
    .25. Of a pattern with a condition these are where it acts, and there are also dormant_recall25 and dormant_grey25, the
    recall where it must not act under it and under a grey print in its place, and joint25: the share of people found
    without it who are strictly gone where it acts and seen where it must not; None without a condition. n_unworn: how many
    more do not show the chest, on which the print hangs; None for nobody. badness_each: what each person adds, by goal;
    its mean is `badness` but for AP and without a condition; in no record.
    """

    n_images: int
    n_people: int
    recall25: float
    ap50: float
    asr_strict25: float
    mean_max_conf: float
    mean_max_conf_within: float
    hidden25: float
    dormant_recall25: float | None = None
    dormant_grey25: float | None = None
    joint25: float | None = None
    n_unworn: int | None = None
    badness_each: Mapping[Goal, tuple[float, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, cell: Cell, matches: Sequence[ImageMatch] = ()) -> Score:
        """Return the figures that a cell of an evaluation has. matches: what was found of its images' people."""

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
            n_unworn=cell.counted.get("n_unworn"),
            badness_each=_badness_each(matches),
        )

    def badness(self, goal: Goal = "vanish") -> float:
        """Return how far a pattern is from what it is trained for.

        With a condition whoever is not gone where it acts and seen where not stands in place of all who are seen in any
        way, and what fewer than under grey are seen where it must not act counts `DORMANT` times.

        vanish: recall, the share still seen in any way, a box on a part of them included, and the mean confidence of such
        boxes; the last decides between equal ones.
        missize: recall and AP, which boxes that do not fit lower; whether anybody is seen does not count.
        """
        if goal == "missize":
            return self.recall25 + self.ap50 + DORMANT * self.unseen
        done = self.hidden25 if self.joint25 is None else self.joint25
        return self.recall25 + (1 - done) + self.mean_max_conf_within + DORMANT * self.unseen

    @property
    def unseen(self) -> float:
        """Return how many fewer people are seen than under grey where the pattern must not act; 0 without a condition."""
        if self.dormant_recall25 is None or self.dormant_grey25 is None:
            return 0.0
        return max(self.dormant_grey25 - self.dormant_recall25, 0.0)

    def plain(self) -> dict[str, float | int | None]:
        """Return the figures for a record, rounded; None where there is no one to count (JSON has no NaN)."""
        known = {n: v for n, v in asdict(self).items() if v is not None and n != "badness_each"}
        return {n: round(v, 4) if math.isfinite(v) else None for n, v in known.items()}


def _badness_each(matches: Sequence[ImageMatch]) -> dict[Goal, tuple[float, ...]]:
    """Return what each person adds to a pattern's badness, by goal."""
    found = [float(one) for match in matches for one in match.found25]
    within = [float(one) for match in matches for one in match.within]
    vanish = tuple(f + float(w >= FOUND_CONF) + w for f, w in zip(found, within, strict=True))
    return {"vanish": vanish, "missize": tuple(found)}


def mean_badness(scores: Iterable[Score], goal: Goal = "vanish") -> float | None:
    """Return the badness of a pattern over all people of several scores, or None where there is nobody to count."""
    return _over_people((s.badness(goal), s.n_people) for s in scores)


def beats(scores: Mapping[str, Score], others: Mapping[str, Score], goal: Goal = "vanish") -> bool:
    """Return whether a pattern does better than another on the same people; names that one of them lacks do not count.

    Its badness is lower, and it hides no fewer people: badness alone may fall with the confidence in people who are seen
    all the same, while somebody who was hidden is found again. For the goal `missize` nobody need be hidden. Of a pattern
    with a condition its badness decides: one that acts always hides more, and that is what it is not to do.
    """
    names = [name for name in scores if name in others]
    now, before = ([table[name] for name in names] for table in (scores, others))
    bad, reference = mean_badness(now, goal), mean_badness(before, goal)
    if bad is None or reference is None:
        return True
    conditional = any(score.dormant_recall25 is not None for score in now)
    return bad < reference and (goal == "missize" or conditional or _hidden(now) >= _hidden(before))


def _hidden(scores: Sequence[Score]) -> float:
    """Return the mean strict success over all people, rounded as records have it."""
    return round(_over_people((s.asr_strict25, s.n_people) for s in scores) or 0.0, 4)


def _over_people(figures: Iterable[tuple[float, int]]) -> float | None:
    """Return the mean of figures, each of so many people, over those that are known; None where none is."""
    known = [(figure, people) for figure, people in figures if math.isfinite(figure)]
    return sum(f * n for f, n in known) / sum(n for _, n in known) if known else None


class HeldOutPeople:
    """Scores patterns on the same people each time, by the evaluation's own scorer; images, patterns and people as there.

    What the clean detector finds is computed once. activation: the patterns' condition; they are then scored on both sides
    of it, each image in a state that its own chance draws.
    """

    def __init__(
        self,
        images: Sequence[LabelledImage],
        detector: Detector,
        placement: Placement,
        *,
        seed: int = 0,
        activation: Activation | None = None,
    ) -> None:
        self.placement = placement
        active: Sequence[State] = () if activation is None else [activation.active]
        dormant: Sequence[State] = () if activation is None else activation.dormant
        settings = EvaluateSettings(seed=seed)

        def side(state: State) -> Scorer:
            """Return what scores people in a state: on the images as they are, or on people at its distance."""
            shown = images
            if "distance" in state:
                shown = at_distance(images, state["distance"], detector.imgsz, seed=seed)
            elif activation is not None and "distance" in activation.parameters:
                shown = at_distance(images, PARAMETERS["distance"].whole, detector.imgsz, seed=seed)
            return Scorer(Dataset(list(shown)), detector, settings, placements=[placement], intervals=False)

        apart = activation is not None and "distance" in activation.parameters
        self._scorer = side(active[0] if apart else {})
        self._on = conditions_of("active", active)
        self._off = [
            (side(state) if apart else self._scorer, condition)
            for state, condition in zip(dormant, conditions_of("dormant", dormant), strict=True)
        ]
        self._grey: dict[bytes, float] = {}

    @property
    def images(self) -> list[LabelledImage]:
        """Return the images that are scored."""
        return self._scorer.data.images

    @property
    def people(self) -> int:
        """Return how many people are large enough to be scored."""
        return self._scorer.data.n_people

    def score(self, patch: Patch | None) -> Score:
        """Return the figures of a pattern, or of the images as they are; with a condition those of both its sides."""
        if not self._off:
            cell = self._scorer.score(self._entry(patch))
            return Score.of(cell, self._scorer.matches[-1])
        cell, on = self._scored(self._scorer, self._entry(patch, self._on[0]))
        clean = on if patch is None else self._scored(self._scorer, self._entry(None, self._on[0]))[1]
        off = [self._scored(scorer, self._entry(patch, condition)) for scorer, condition in self._off]
        recall = _mean_recall(c for c, _ in off)
        both = joint(on, [m for _, m in off], clean, resamples=0, seed=0).value
        return replace(
            Score.of(cell),
            dormant_recall25=recall,
            dormant_grey25=recall if patch is None else self._under_grey(patch),
            joint25=math.nan if both is None else both,
        )

    def _under_grey(self, patch: Patch) -> float:
        """Return the recall where a pattern must not act under a grey print of its shape, computed once."""
        shape = patch.mask.tobytes()
        if shape not in self._grey:
            grey = control(patch, "grey", np.random.default_rng(0))
            cells = [self._scored(scorer, self._entry(grey, condition))[0] for scorer, condition in self._off]
            self._grey[shape] = _mean_recall(cells)
        return self._grey[shape]

    @staticmethod
    def _scored(scorer: Scorer, entry: Entry) -> tuple[Cell, Matched]:
        cell = scorer.score(entry)
        return cell, matched(scorer.data.images, scorer.matches[-1])

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

    def _entry(self, patch: Patch | None, condition: Condition = PLAIN) -> Entry:
        if patch is None:
            return Entry("none", None, None, transform=condition)
        return Entry("patch", patch.name, patch, self.placement, condition)


def _mean_recall(cells: Iterable[Cell]) -> float:
    """Return the mean recall of cells, NaN where nobody counts."""
    known = [math.nan if (recall := cell["recall25"]) is None else recall for cell in cells]
    return float(np.mean(known))
