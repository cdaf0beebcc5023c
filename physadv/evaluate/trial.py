"""Patterns and their controls on the same people, before every detector and behind every defence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np

from physadv.controls import CONTROLS, Control, control
from physadv.defend import Pipeline, forget
from physadv.errors import DataError
from physadv.evaluate import doubts
from physadv.evaluate.cell import Cell
from physadv.evaluate.coco import ap50
from physadv.evaluate.metrics import figures, tally
from physadv.evaluate.place import PLAIN, ROBUST, Condition, Dresser, Placement
from physadv.evaluate.scene import Scenes
from physadv.evaluate.settings import EvaluateSettings
from physadv.patch import Patch
from physadv.types import Detections, Detector, Frame, UInt8Array

Progress = Callable[[float, str], None]
Shown = Callable[[str, str, int, UInt8Array, Detections], None]


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing to score: what is worn (None for nothing), what it is called, under which condition of the grid."""

    condition: str
    name: str | None
    patch: Patch | None
    transform: Condition = PLAIN
    attack: str = ""
    of: Patch | None = None


@dataclass(slots=True)
class Trial:
    """Scores entries on the same pictures; what the bare detector says of the clean ones is asked once.

    shown: told of every plain, undefended answer (condition, pattern, picture's number, pixels, boxes) for a report.
    scored: told of all cells so far whenever there is another, so that none is lost if what comes after fails.
    """

    scenes: Scenes
    detector: Detector
    settings: EvaluateSettings
    shown: Shown | None = None
    progress: Progress | None = None
    scored: Callable[[list[Cell]], None] | None = None
    cells: list[Cell] = field(default_factory=list)
    _clean: list[Detections] = field(default_factory=list)
    _data_doubts: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._clean = [self.detector.detect(Frame(s.pixels, 0, 0, 0.0)) for s in self.scenes.scenes]
        self._data_doubts = doubts.of_data(self.scenes)

    def score(self, entry: Entry, pipeline: Pipeline | None = None) -> Cell:
        """Return the cell of one entry behind a defence, and keep it in `cells`."""
        defence = "none" if pipeline is None or not pipeline.defences else str(pipeline)
        guarded = self.detector if pipeline is None else pipeline.guard(self.detector)
        answers, times, costs = self._answers(entry, guarded, tell=defence == "none")
        scenes = self.scenes.scenes
        rng = np.random.default_rng(self.settings.seed)
        tallies = [tally(s, c, a) for s, c, a in zip(scenes, self._clean, answers, strict=True)]
        figured = figures(tallies, ap50=ap50(scenes, answers), resamples=self.settings.resamples, rng=rng)
        cell = Cell(
            self.detector.name,
            self.settings.imgsz,
            entry.condition,
            entry.name,
            defence,
            len(scenes),
            self.scenes.n_people,
            figured,
            transform=entry.transform.name,
            attack=entry.attack if defence != "none" or entry.attack == "adaptive" else "",
            ms=_percentiles(times),
            extra=_costs(costs),
            doubts=list(self._data_doubts),
        )
        if entry.condition == "patch" and entry.of is not None:
            cell.doubts += doubts.of_patch(entry.of, self.scenes)
        self.cells.append(cell)
        self.tell()
        return cell

    def tell(self) -> None:
        """Hand over the cells so far."""
        if self.scored is not None:
            self.scored(self.cells)

    def _answers(
        self, entry: Entry, guarded: Detector, *, tell: bool
    ) -> tuple[list[Detections], list[float], list[float]]:
        """Return the answers for every picture, the milliseconds each took, and the defence's own part of them."""
        plain = entry.patch is None and not entry.transform.of_picture
        dresser = Dresser(entry.patch, self._placement(), self.settings.seed)
        answers: list[Detections] = []
        times: list[float] = []
        costs: list[float] = []
        for i, scene in enumerate(self.scenes.scenes):
            if plain and guarded is self.detector:
                pixels, answer = scene.pixels, self._clean[i]
            else:
                pixels = dresser.apply(scene, i, entry.transform)
                # Photographs have nothing to do with each other: no memory from one to the next, and each a batch of one,
                # so that a defence which spreads its views over frames looks at all of them.
                forget(guarded)
                start = perf_counter()
                answer = guarded.detect_batch([pixels])[0]
                times.append((perf_counter() - start) * 1000)
                if guarded is not self.detector:
                    costs.append(float(getattr(guarded, "cost_ms", 0.0)))
            answers.append(answer)
            if tell and self.shown is not None and entry.transform is PLAIN:
                self.shown(entry.condition, entry.name or "", i, pixels, answer)
        return answers, times, costs

    def _placement(self) -> Placement:
        return Placement(self.settings.rule, self.settings.scale, self.settings.at)


def entries(patches: Sequence[Patch], *, robust: bool, seed: int) -> list[Entry]:
    """Return everything that is scored for these patterns: nothing, controls of equal size, each pattern, the grid.

    Grey, white and noise are shared by patterns of the same shape; shuffling is each pattern's own.
    """
    out = [Entry("none", None, None)]
    shapes: set[tuple[bytes, tuple[int, ...]]] = set()
    for patch in patches:
        shape = (b"" if bool((patch.mask == 255).all()) else patch.mask.tobytes(), _ratio(patch))
        kinds: list[Control] = list(CONTROLS) if shape not in shapes else ["shuffled"]
        shapes.add(shape)
        for kind in kinds:
            rng = np.random.default_rng([seed, CONTROLS.index(kind)])
            shared = kind != "shuffled" and shape[0] == b""
            out.append(Entry(kind, None if shared else patch.name, control(patch, kind, rng)))
        out.append(Entry("patch", patch.name, patch, of=patch))
    if robust:
        grey = next((e for e in out if e.condition == "grey"), None)
        for condition in ROBUST:
            out.append(Entry("none", None, None, condition))
            if grey is not None:
                out.append(Entry("grey", None, grey.patch, condition))
            out += [Entry("patch", p.name, p, condition, of=p) for p in patches]
    return out


def _ratio(patch: Patch) -> tuple[int, ...]:
    h, w = patch.pixels.shape[:2]
    return (round(100 * w / h),)


def run(
    trial: Trial, patches: Sequence[Patch], *, pipelines: Sequence[Pipeline] = (), robust: bool = False
) -> list[Cell]:
    """Return the cells of one detector: every entry bare, then clean, grey and every pattern behind each defence.

    Raises: DataError if the detector's weights or buffers changed while it was being scored.
    """
    before = _fingerprint(trial.detector)
    everything = entries(patches, robust=robust, seed=trial.settings.seed)
    plain = [e for e in everything if e.transform is PLAIN]
    jobs: list[tuple[Entry, Pipeline | None]] = [(e, None) for e in everything]
    for defended in (p for p in pipelines if p.defences):
        jobs += [(e, defended) for e in plain if e.condition in ("none", "grey", "patch")]
    for number, (entry, pipeline) in enumerate(jobs):
        if trial.progress is not None:
            what = " ".join(filter(None, [entry.condition, entry.name, entry.transform.name, str(pipeline or "")]))
            trial.progress(number / len(jobs), what)
        if pipeline is not None and entry.condition == "patch":
            entry = Entry(entry.condition, entry.name, entry.patch, attack="oblivious", of=entry.of)
        trial.score(entry, pipeline)
    if _fingerprint(trial.detector) != before:
        raise DataError(
            f"{trial.detector.name}: weights or buffers changed while it was scored: no figure can be trusted"
        )
    doubts.compare(trial.cells)
    return trial.cells


def _percentiles(values: Sequence[float]) -> tuple[float, float] | None:
    """Return the median and the 95th percentile, or None of nothing."""
    if not values:
        return None
    middle, high = np.percentile(values, [50, 95])
    return round(float(middle), 1), round(float(high), 1)


def _costs(values: Sequence[float]) -> dict[str, float]:
    both = _percentiles(values)
    return {} if both is None else {"defence_ms_median": both[0], "defence_ms_p95": both[1]}


def _fingerprint(detector: Detector) -> str:
    net = getattr(detector, "net", None)
    if net is None:
        return ""
    from physadv.detect.yolo import fingerprint

    return fingerprint(net)
