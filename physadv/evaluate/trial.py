"""Patterns and their controls on the same people, before every detector and behind every defence."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter

import numpy as np

from physadv.controls import CONTROLS, Control, control
from physadv.dataset import Dataset
from physadv.defend import Pipeline
from physadv.detect.matching import match_image
from physadv.errors import DataError
from physadv.evaluate import doubts
from physadv.evaluate.cell import Cell
from physadv.evaluate.metrics import ap50, figures
from physadv.evaluate.own import share_of_image
from physadv.evaluate.settings import EvaluateSettings
from physadv.patch import Patch
from physadv.simulate.conditions import PLAIN, ROBUST, Condition, apply_patch, chance_of
from physadv.simulate.placement import Placement, people_of
from physadv.types import Detections, Detector, Frame, UInt8Array

Progress = Callable[[float | None, str], None]
# What the controls of two patterns must have in common to be the same: the mask, proportions, how often they repeat, and
# how they are worn, None for as the evaluation's settings say.
Shape = tuple[bytes, int, tuple[float, float], Placement | None]
Shown = Callable[[str, str, int, UInt8Array, Detections], None]


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing to score: what is worn (None for nothing), what it is called, under which condition of the grid.

    of: the pattern whose record says what it was trained on. stands_for: of a control, the patterns it is the control of.
    placement: how it is worn, None for as the evaluation's settings say.
    """

    condition: str
    name: str | None
    patch: Patch | None
    transform: Condition = PLAIN
    attack: str = ""
    of: Patch | None = None
    stands_for: tuple[str, ...] = ()
    placement: Placement | None = None


@dataclass(slots=True)
class Trial:
    """Scores entries on the same images; what the bare detector says of the clean ones is asked once.

    shown: told of every plain, undefended answer (condition, pattern, image's number, pixels, boxes) for a report.
    scored: told of all cells so far whenever there is another, so that none is lost if what comes after fails. progress:
    told which share of an entry's images is done.
    """

    data: Dataset
    detector: Detector
    settings: EvaluateSettings
    shown: Shown | None = None
    progress: Progress | None = None
    scored: Callable[[list[Cell]], None] | None = None
    cells: list[Cell] = field(default_factory=list)
    _clean: list[Detections] = field(default_factory=list)
    _data_doubts: list[str] = field(default_factory=list)
    _share: float = 0.0
    _shapes: dict[str, Shape] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for number, image in enumerate(self.data.images):
            if self.progress is not None:
                self.progress(number / len(self.data.images), "clean images")
            self._clean.append(self.detector.detect(Frame(image.pixels, 0, 0, 0.0)))
        self._data_doubts = doubts.of_data(self.data)
        self._share = share_of_image(self.data.images)

    def score(
        self, entry: Entry, pipeline: Pipeline | None = None, *, each: Callable[[float], None] = lambda _: None
    ) -> Cell:
        """Return the cell of one entry behind a defence, and keep it in `cells`. each: told the share of images done."""
        defence = "none" if pipeline is None or not pipeline.defences else str(pipeline)
        guarded = self.detector if pipeline is None else pipeline.guard(self.detector)
        answers, times, costs = self._answers(entry, guarded, tell=defence == "none", each=each)
        images = self.data.images
        rng = np.random.default_rng(self.settings.seed)
        tallies = [match_image(i.boxes, i.counts, c, a) for i, c, a in zip(images, self._clean, answers, strict=True)]
        figured = figures(tallies, ap50=ap50(images, answers), resamples=self.settings.resamples, rng=rng)
        cell = Cell(
            self.detector.name,
            self.settings.side_of(self.detector),
            entry.condition,
            entry.name,
            defence,
            len(images),
            self.data.n_people,
            figured,
            transform=entry.transform.name,
            attack=entry.attack if defence != "none" or entry.attack == "adaptive" else "",
            stands_for=entry.stands_for,
            worn=None if entry.patch is None else self._placement(entry),
            ms=_percentiles(times),
            extra=_costs(costs),
            doubts=list(self._data_doubts),
        )
        if entry.condition == "patch" and entry.of is not None:
            cell.doubts += doubts.of_patch(entry.of, self.data)
            if entry.attack in ("", "oblivious"):
                cell.doubts += doubts.of_worn(entry.of, self._placement(entry), cell.imgsz, self._share)
            self._shapes[entry.of.name] = _shape(entry.of, self._placement(entry))
        self.cells.append(cell)
        self.tell()
        return cell

    def controls(self, patch: Patch, pipeline: Pipeline) -> None:
        """Score the controls of a pattern behind a defence; one of equal shape that is there already stands for it too."""
        for entry in controls_of(patch, [patch], CONTROLS, seed=self.settings.seed):
            same = [
                c for c in self.cells if (c.condition, c.defence, c.transform) == (entry.condition, str(pipeline), "")
            ]
            there = next((c for c in same if patch.name in c.stands_for), None)
            if there is None and entry.condition != "shuffled":
                shape = _shape(patch, self._placement(entry))
                there = next((c for c in same if any(self._shapes.get(n) == shape for n in c.stands_for)), None)
            if there is None:
                self.score(replace(entry, name=patch.name), pipeline)
            elif patch.name not in there.stands_for:
                there.stands_for = (*there.stands_for, patch.name)

    def tell(self) -> None:
        """Hand over the cells so far."""
        if self.scored is not None:
            self.scored(self.cells)

    def _answers(
        self, entry: Entry, guarded: Detector, *, tell: bool, each: Callable[[float], None]
    ) -> tuple[list[Detections], list[float], list[float]]:
        """Return the answers for every image, the milliseconds each took, and the defence's own part of them."""
        plain = entry.patch is None and not entry.transform.of_image
        settings, placement, condition = self.settings, self._placement(entry), entry.transform
        answers: list[Detections] = []
        times: list[float] = []
        costs: list[float] = []
        for i, image in enumerate(self.data.images):
            each(i / len(self.data.images))
            if plain and guarded is self.detector:
                pixels, answer = image.pixels, self._clean[i]
            else:
                pixels = apply_patch(
                    image.pixels,
                    people_of(image.targets, image.keypoints[image.counts]),
                    entry.patch,
                    placement,
                    condition,
                    rng=chance_of(image.name, seed=settings.seed, condition=condition),
                    imgsz=settings.side_of(self.detector),
                )
                # Photographs have nothing to do with each other: no memory from one to the next, and each a batch of one,
                # so that a defence which spreads its views over frames looks at all of them.
                guarded.reset()
                start = perf_counter()
                answer = guarded.detect_batch([pixels])[0]
                times.append((perf_counter() - start) * 1000)
                if guarded is not self.detector:
                    costs.append(guarded.cost_ms)
            answers.append(answer)
            if tell and self.shown is not None and entry.transform is PLAIN:
                for name in entry.stands_for or (entry.name or "",):
                    self.shown(entry.condition, name, i, pixels, answer)
        return answers, times, costs

    def _placement(self, entry: Entry) -> Placement:
        return entry.placement or Placement.of(self.settings.at, self.settings.rule, self.settings.scale)


def entries(
    patches: Sequence[Patch], *, robust: bool, seed: int, worn: Mapping[str, Placement] | None = None
) -> list[Entry]:
    """Return everything that is scored for these patterns: nothing, controls of equal size, each pattern, the grid.

    Grey, white and noise are shared by patterns of the same shape that are worn alike, and carry no name where all are;
    shuffling is each pattern's own. worn: how each is worn, by name; None for as the evaluation's settings say.
    """
    out = [Entry("none", None, None)]
    places = {p.name: (worn or {}).get(p.name) for p in patches}
    groups: dict[Shape, list[Patch]] = {}
    for patch in patches:
        groups.setdefault(_shape(patch, places[patch.name]), []).append(patch)
    for patch in patches:
        place = places[patch.name]
        group = groups[_shape(patch, place)]
        kinds = CONTROLS if patch is group[0] else ("shuffled",)
        for entry in controls_of(patch, group, kinds, seed=seed):
            unnamed = len(groups) == 1 and entry.condition != "shuffled"
            out.append(replace(entry, name=None if unnamed else entry.name, placement=place))
        out.append(Entry("patch", patch.name, patch, of=patch, placement=place))
    return out + ([replace(e, transform=condition) for condition in ROBUST for e in out] if robust else [])


def controls_of(patch: Patch, group: Sequence[Patch], kinds: Sequence[Control], *, seed: int) -> Iterator[Entry]:
    """Yield the controls of a pattern; all but its own pixels shuffled stand for the whole group."""
    for kind in kinds:
        worn = control(patch, kind, np.random.default_rng([seed, CONTROLS.index(kind)]))
        who = (patch.name,) if kind == "shuffled" else tuple(p.name for p in group)
        yield Entry(kind, patch.name, worn, stands_for=who)


def _shape(patch: Patch, placement: Placement | None) -> Shape:
    h, w = patch.pixels.shape[:2]
    mask = b"" if bool((patch.mask == 255).all()) else patch.mask.tobytes()
    return mask, round(100 * w / h), patch.size_mm if patch.target == "tshirt" else (0.0, 0.0), placement


def run(
    trial: Trial,
    patches: Sequence[Patch],
    *,
    pipelines: Sequence[Pipeline] = (),
    robust: bool = False,
    worn: Mapping[str, Placement] | None = None,
) -> list[Cell]:
    """Return the cells of one detector: every entry bare, then all but the grid behind each defence.

    worn: as of `entries`. What a defence costs on clean images is in its cell without a pattern: `ap50_lost`, against the
    bare detector.

    Raises: DataError if the detector's weights or buffers changed while it was being scored.
    """
    before = trial.detector.fingerprint()
    everything = entries(patches, robust=robust, seed=trial.settings.seed, worn=worn)
    plain = [e for e in everything if e.transform is PLAIN]
    jobs: list[tuple[Entry, Pipeline | None]] = [(e, None) for e in everything]
    for defended in (p for p in pipelines if p.defences):
        jobs += [(e, defended) for e in plain]
    for number, (entry, pipeline) in enumerate(jobs):
        what = " ".join(filter(None, [entry.condition, entry.name, entry.transform.name, str(pipeline or "")]))

        def each(done: float, number: int = number, what: str = what) -> None:
            if trial.progress is not None:
                trial.progress((number + done) / len(jobs), what)

        if pipeline is not None and entry.condition == "patch":
            entry = replace(entry, attack="oblivious")
        trial.score(entry, pipeline, each=each)
    if trial.detector.fingerprint() != before:
        raise DataError(
            f"{trial.detector.name}: its weights or buffers changed while it was scored, so no figure can be trusted"
        )
    _compare_clean(trial.cells)
    doubts.compare(trial.cells, trial.cells)
    return trial.cells


def _compare_clean(cells: Sequence[Cell]) -> None:
    """Write down what each defence loses of AP on clean images."""
    clean = {c.defence: c for c in cells if (c.condition, c.transform) == ("none", "")}
    for cell in clean.values():
        bare, own = clean["none"]["ap50"], cell["ap50"]
        if cell.defence != "none" and bare is not None and own is not None:
            cell.extra["ap50_lost"] = round(bare - own, 4)


def _percentiles(values: Sequence[float]) -> tuple[float, float] | None:
    """Return the median and the 95th percentile, or None of nothing."""
    if not values:
        return None
    middle, high = np.percentile(values, [50, 95])
    return round(float(middle), 1), round(float(high), 1)


def _costs(values: Sequence[float]) -> dict[str, float]:
    both = _percentiles(values)
    return {} if both is None else {"defence_ms_median": both[0], "defence_ms_p95": both[1]}
