"""Patterns and their controls on the same people, before one detector, bare or behind a defence."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from time import perf_counter

import numpy as np

from physadv.controls import CONTROLS, Control, control
from physadv.dataset import Dataset, LabelledImage
from physadv.defend import Pipeline
from physadv.detect.matching import ImageMatch, match_image
from physadv.errors import DataError
from physadv.evaluate import doubts
from physadv.evaluate.breakdown import covered_by, details
from physadv.evaluate.cell import NO_DEFENCE, Case, Cell
from physadv.evaluate.doubt_codes import Doubt
from physadv.evaluate.memory import peak_memory, used_memory
from physadv.evaluate.metrics import ap50, figures
from physadv.evaluate.own import share_of_image
from physadv.evaluate.settings import EvaluateSettings
from physadv.evaluate.steps import Steps, finish, part_of
from physadv.patch import Patch
from physadv.simulate.conditions import PLAIN, Condition, apply_patch, chance_of
from physadv.simulate.placement import Placement, people_of
from physadv.types import Alert, BoolArray, Detections, Detector, Frame, UInt8Array

# What the controls of two patterns must have in common to be the same: the mask, proportions, how often they repeat, and
# how they are worn.
Shape = tuple[bytes, int, tuple[float, float], Placement]
# Takes an answer for a report: condition, pattern, number of the image, pixels, boxes.
Shown = Callable[[str, str, int, UInt8Array, Detections], None]


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing to score: what is worn (None for nothing) and how, what it is called, under which condition of the grid.

    of: the pattern whose record says what it was trained on. stands_for: of a control, the patterns it is the control of.
    """

    condition: str
    name: str | None
    patch: Patch | None
    placement: Placement | None = None
    transform: Condition = PLAIN
    attack: str = ""
    of: Patch | None = None
    stands_for: tuple[str, ...] = ()


class Scorer:
    """Scores entries on the same images; what the bare detector says of the clean ones is asked once.

    cells: all that were scored. matches: of each cell, what was found of each image's people; alerts: what
    a defence said of each image. shown: given every plain,
    undefended answer, for the examples of a report. intervals: False where only the figures are wanted, as while training.
    placements: how what is scored is worn; whoever could not wear all of it counts in no cell, so that all are of the same
    people.
    """

    def __init__(
        self,
        data: Dataset,
        detector: Detector,
        settings: EvaluateSettings,
        *,
        placements: Iterable[Placement] = (),
        shown: Shown | None = None,
        intervals: bool = True,
    ) -> None:
        data = dressed(data, placements)
        self.data, self.detector, self.settings = data, detector, settings
        self._resamples = settings.resamples if intervals else 0
        self.cells: list[Cell] = []
        self.matches: list[list[ImageMatch]] = []
        self.alerts: list[list[tuple[Alert, ...]]] = []
        self.clean: list[Detections] = []
        self._shown = shown
        self._doubts = doubts.of_data(data) + doubts.of_lowest(detector)
        self._share = share_of_image(data.images)
        self._shapes: dict[str, Shape] = {}
        self._patches: dict[str, list[Doubt]] = {}

    def score(self, entry: Entry, pipeline: Pipeline | None = None) -> Cell:
        """Return the cell of one entry behind a defence, and keep it in `cells`."""
        return finish(self.scoring(entry, pipeline))

    def scoring(self, entry: Entry, pipeline: Pipeline | None = None) -> Steps[Cell]:
        """Score one entry behind a defence, image by image; the cell is returned, and kept in `cells`."""
        defence = NO_DEFENCE if pipeline is None or not pipeline.defences else str(pipeline)
        guarded = self.detector if pipeline is None else pipeline.guard(self.detector)
        yield from self._look()
        before = used_memory() if guarded is not self.detector else None
        answers, times, costs, covered = yield from self._answers(entry, guarded)
        images = self.data.images
        matches = [match_image(i.boxes, i.counts, c, a) for i, c, a in zip(images, self.clean, answers, strict=True)]
        cell = Cell(
            self.detector.name,
            self.detector.imgsz,
            entry.condition,
            entry.name,
            defence,
            self._counted(),
            figures(
                matches,
                ap50=ap50(images, answers),
                resamples=self._resamples,
                rng=np.random.default_rng(self.settings.seed),
            ),
            transform=entry.transform.name,
            attack=entry.attack if defence != NO_DEFENCE or entry.attack == "adaptive" else "",
            stands_for=entry.stands_for,
            placement=None if entry.patch is None else entry.placement,
            ms=_percentiles(times),
            extra=_costs(costs) | _memory(before),
            doubts=list(self._doubts),
            cases=[
                case
                for image, match, share in zip(images, matches, covered, strict=True)
                for case in _cases(image, match, self.detector.imgsz, share)
            ],
        )
        if self._resamples:
            cell.extra |= details(matches, cell.cases)
        if entry.condition == "none" and guarded is not self.detector and entry.transform is PLAIN:
            cell.doubts += doubts.of_threshold(self.detector, guarded, self.clean, answers)
        if entry.condition == "patch" and entry.of is not None and entry.placement is not None:
            cell.doubts += self._of_patch(entry.of)
            cell.doubts += doubts.of_joints(entry.placement, self.data)
            if entry.attack in ("", "oblivious"):
                cell.doubts += doubts.of_placement(entry.of, entry.placement, cell.imgsz, self._share)
            self._shapes[entry.of.name] = _shape(entry.of, entry.placement)
        self.cells.append(cell)
        self.matches.append(matches)
        self.alerts.append([answer.alerts for answer in answers])
        return cell

    def _of_patch(self, patch: Patch) -> list[Doubt]:
        """Return the doubts about a pattern and these images, looked for once."""
        if patch.name not in self._patches:
            self._patches[patch.name] = doubts.of_patch(patch, self.data) + doubts.of_print(patch)
        return self._patches[patch.name]

    def score_controls(self, patch: Patch, placement: Placement, pipeline: Pipeline) -> Steps[None]:
        """Score the controls of a pattern behind a defence; one of equal shape that is there already stands for it too."""
        for entry in controls_of(patch, placement, [patch], CONTROLS, seed=self.settings.seed):
            same = [
                c for c in self.cells if (c.condition, c.defence, c.transform) == (entry.condition, str(pipeline), "")
            ]
            there = next((c for c in same if patch.name in c.stands_for), None)
            if there is None and entry.condition != "shuffled":
                shape = _shape(patch, placement)
                there = next((c for c in same if any(self._shapes.get(n) == shape for n in c.stands_for)), None)
            if there is None:
                yield from self.scoring(entry, pipeline)
            elif patch.name not in there.stands_for:
                there.stands_for = (*there.stands_for, patch.name)

    def wear(self, image: LabelledImage, entry: Entry) -> UInt8Array:
        """Return the pixels of an image whose people wear what an entry has, under its condition.

        The same image gets the same pixels wherever it stands in a list: its content decides what chance there is.
        """
        return apply_patch(
            image.pixels,
            people_of(image.targets, image.keypoints[image.counts]),
            entry.patch,
            entry.placement,
            entry.transform,
            rng=chance_of(image.sha256 or image.name, seed=self.settings.seed, condition=entry.transform),
            imgsz=self.detector.imgsz,
            lit=self.settings.wear_lit,
        )

    def _counted(self) -> dict[str, int]:
        """Return how many images and people the figures are of, and how many more people could wear nothing, if any."""
        unworn = sum(self.data.unworn.values())
        counted = {"n_images": len(self.data.images), "n_people": self.data.n_people}
        return counted | ({"n_unworn": unworn} if unworn else {})

    def _look(self) -> Steps[None]:
        """Ask the bare detector about the clean images, the first time."""
        for image in self.data.images[len(self.clean) :]:
            yield len(self.clean) / len(self.data.images), "clean images"
            self.clean.append(self.detector.detect(Frame(image.pixels, 0, 0, 0.0)))

    def _answers(
        self, entry: Entry, guarded: Detector
    ) -> Steps[tuple[list[Detections], list[float], list[float], list[list[float]]]]:
        """Return the answers for every image, the milliseconds each took, the defence's own part of them, and the share of
        each person that is covered, none where nothing is worn."""
        covered: list[list[float]] = []
        answers: list[Detections] = []
        times: list[float] = []
        costs: list[float] = []
        for i, image in enumerate(self.data.images):
            yield i / len(self.data.images), ""
            plain = not entry.transform.of_image and (entry.patch is None or not image.counts.any())
            if plain and guarded is self.detector:
                pixels, answer = image.pixels, self.clean[i]
                covered.append([])
            else:
                pixels = self.wear(image, entry)
                worn = entry.patch is not None and entry.transform is PLAIN
                covered.append(covered_by(image.pixels, pixels, image.targets) if worn else [])
                # Photographs have nothing to do with each other: no memory from one to the next, and each a batch of one,
                # so that a defence which spreads its views over frames looks at all of them.
                guarded.reset()
                start = perf_counter()
                answer = guarded.detect_batch([pixels])[0]
                times.append((perf_counter() - start) * 1000)
                if guarded is not self.detector:
                    costs.append(guarded.cost_ms)
            answers.append(answer)
            if self._shown is not None and guarded is self.detector and entry.transform is PLAIN:
                for name in entry.stands_for or (entry.name or "",):
                    self._shown(entry.condition, name, i, pixels, answer)
        return answers, times, costs, covered


def dressed(data: Dataset, placements: Iterable[Placement]) -> Dataset:
    """Return the data in which people are marked who cannot wear a pattern in all of these ways: they show no chest."""
    worn = list(dict.fromkeys(placements))

    def bare(image: LabelledImage) -> BoolArray:
        people = people_of(image.boxes, image.keypoints)
        return ~np.all([placement.dresses(people, image.size) for placement in worn], axis=0)

    if not worn:
        return data
    return replace(data, images=[replace(image, unworn=bare(image)) for image in data.images])


def entries(
    patches: Sequence[Patch], placements: Mapping[str, Placement], *, grid: Sequence[Condition] = (), seed: int = 0
) -> list[Entry]:
    """Return everything that is scored for these patterns: nothing, controls of equal size, each pattern, the grid.

    Grey, white and noise are shared by patterns of the same shape that are worn alike, and carry no name where all are;
    shuffling is each pattern's own. placements: how each is worn, by name.
    """
    out = [Entry("none", None, None)]
    groups: dict[Shape, list[Patch]] = {}
    for patch in patches:
        groups.setdefault(_shape(patch, placements[patch.name]), []).append(patch)
    for patch in patches:
        placement = placements[patch.name]
        group = groups[_shape(patch, placement)]
        kinds = CONTROLS if patch is group[0] else ("shuffled",)
        for entry in controls_of(patch, placement, group, kinds, seed=seed):
            unnamed = len(groups) == 1 and entry.condition != "shuffled"
            out.append(replace(entry, name=None if unnamed else entry.name))
        out.append(Entry("patch", patch.name, patch, placement, of=patch))
    return out + [replace(e, transform=condition) for condition in grid for e in out]


def controls_of(
    patch: Patch, placement: Placement, group: Sequence[Patch], kinds: Sequence[Control], *, seed: int
) -> Iterator[Entry]:
    """Yield the controls of a pattern; all but its own pixels shuffled stand for the whole group."""
    for kind in kinds:
        worn = control(patch, kind, np.random.default_rng([seed, CONTROLS.index(kind)]))
        who = (patch.name,) if kind == "shuffled" else tuple(p.name for p in group)
        yield Entry(kind, patch.name, worn, placement, stands_for=who)


def cell_name(entry: Entry) -> str:
    """Return what is worn, as progress says it."""
    return " ".join(filter(None, [entry.condition, entry.name]))


def score_all(scorer: Scorer, listed: Sequence[Entry], pipelines: Sequence[Pipeline] = ()) -> Steps[list[Cell]]:
    """Score every entry bare, then all but the grid behind each defence; the cells are returned.

    What a defence costs on clean images is in its cell without a pattern: `ap50_lost`, against the bare detector.

    Raises: DataError if the detector's weights or buffers changed while it was being scored.
    """
    before = scorer.detector.fingerprint()
    jobs: list[tuple[Entry, Pipeline | None]] = [(e, None) for e in listed]
    for pipeline in (p for p in pipelines if p.defences):
        attacked = (replace(e, attack="oblivious") if e.condition == "patch" else e for e in listed)
        jobs += [(e, pipeline) for e in attacked if e.transform is PLAIN]
    for number, (entry, behind) in enumerate(jobs):
        what = " ".join(filter(None, [entry.condition, entry.name, entry.transform.name, str(behind or "")]))
        yield from part_of(scorer.scoring(entry, behind), number, len(jobs), what)
        # The cell can be kept before the next one is begun.
        yield (number + 1) / len(jobs), what
    if scorer.detector.fingerprint() != before:
        raise DataError(
            f"{scorer.detector.name}: weights or buffers changed while it was scored: no figure can be trusted"
        )
    _compare_clean(scorer.cells)
    doubts.compare(scorer.cells, scorer.cells)
    return scorer.cells


def _shape(patch: Patch, placement: Placement) -> Shape:
    h, w = patch.pixels.shape[:2]
    mask = b"" if bool((patch.mask == 255).all()) else patch.mask.tobytes()
    return mask, round(100 * w / h), patch.size_mm if patch.tiles else (0.0, 0.0), placement


def _compare_clean(cells: Sequence[Cell]) -> None:
    """Write down what each defence loses of AP on clean images."""
    clean = {c.defence: c for c in cells if (c.condition, c.transform) == ("none", "")}
    for cell in clean.values():
        bare, own = clean[NO_DEFENCE]["ap50"], cell["ap50"]
        if cell.defence != NO_DEFENCE and bare is not None and own is not None:
            cell.extra["ap50_lost"] = round(bare - own, 4)


def _cases(image: LabelledImage, match: ImageMatch, imgsz: int, covered: Sequence[float]) -> Iterator[Case]:
    """Yield what became of each person of an image that counts, known by the image's content and their box.

    imgsz: long side at which the detector looks. covered: share of each person under the print, none where nothing is worn.
    """
    hidden: list[float | None] = [None] * match.n_people
    for i, gone in zip(np.flatnonzero(match.there25).tolist(), match.strict25.tolist(), strict=True):
        hidden[i] = float(gone)
    scale = imgsz / max(image.size)
    for i, box in enumerate(image.targets.tolist()):
        case = " ".join(f"{v:.0f}" for v in box)
        yield Case(
            image.sha256 or image.name,
            case,
            1,
            float(match.found25[i]),
            hidden[i],
            float(match.best[i]),
            round((box[3] - box[1]) * scale, 1),
            round(covered[i], 4) if covered else None,
        )


def _percentiles(values: Sequence[float]) -> tuple[float, float] | None:
    """Return the median and the 95th percentile, or None of nothing."""
    if not values:
        return None
    middle, high = np.percentile(values, [50, 95])
    return round(float(middle), 1), round(float(high), 1)


def _memory(before: int | None) -> dict[str, float]:
    """Return by how many MB memory was above `before` at the most; nothing where that is not known."""
    most = None if before is None else peak_memory()
    return {} if before is None or most is None else {"defence_memory_mb": round(max(most - before, 0) / 2**20, 1)}


def _costs(values: Sequence[float]) -> dict[str, float]:
    both = _percentiles(values)
    return {} if both is None else {"defence_ms_median": both[0], "defence_ms_p95": both[1]}
