"""One evaluation: patches on images or a recording, before several detectors and defences, adaptive or not."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from physadv.dataset import Dataset, LabelledImage, split_images
from physadv.defend import Pipeline, parse_pipeline
from physadv.detect import check_attackable, load_detector, load_gradient_detector
from physadv.detect.base import BareDetector
from physadv.detect.changed import changed
from physadv.detect.matching import AP_CONF
from physadv.detect.names import path_in
from physadv.detect.pytorch import pick_device
from physadv.detect.weights import record_of
from physadv.errors import DataError, SettingsError, naming
from physadv.evaluate import doubts
from physadv.evaluate.adaptive import AdaptiveAttack, score_adaptive
from physadv.evaluate.cell import Cell
from physadv.evaluate.certified import certify
from physadv.evaluate.curve import Curve, score_curve
from physadv.evaluate.doubt_codes import Doubt
from physadv.evaluate.images import VIDEO_SUFFIXES, Labeller, labelling, read_dataset
from physadv.evaluate.own import FILLS, Fit, fit_of, in_words, share_of_image
from physadv.evaluate.pairs import Pairs, PairScorer
from physadv.evaluate.results import Examples, Results
from physadv.evaluate.scorer import Scorer, entries, score_all
from physadv.evaluate.settings import USUAL_IMGSZ, EvaluateSettings
from physadv.evaluate.steps import Steps, T, part_of
from physadv.evaluate.video import Recording, VideoScorer, alarms_per_1000
from physadv.files import file_name, shortest_ends
from physadv.lineage import Seen
from physadv.patch import Patch, load_patch
from physadv.simulate.conditions import FOLDS, ROBUST, Condition
from physadv.simulate.placement import BOX_AT, Placement
from physadv.types import Detector

EXAMPLES = 3
# Of a pattern trained in the street, where nothing else is said.
USUAL_SCALE = 0.35
Patches = Patch | str | Path | Sequence[Patch | str | Path]
Data = str | Path | Dataset | Recording | Pairs | Sequence[LabelledImage]
Detectors = str | Detector | Sequence[str | Detector]
DefencesGiven = str | Pipeline | Iterable[str | Pipeline]
Grid = Literal["robust", "folds"]
Conditions = Grid | Sequence[Condition]
GRIDS: dict[str, tuple[Condition, ...]] = {"robust": ROBUST, "folds": FOLDS}


@dataclass(frozen=True, slots=True)
class Update:
    """How far an evaluation is: share done from 0 to 1 of a part, None where that cannot be known, and what is done now.

    results: all that was found so far; it grows. note: a line to be said once, on files that are left out.
    """

    share: float | None
    what: str
    part: str
    results: Results
    note: str = ""


def start(
    patches: Patches,
    data: Data,
    detectors: Detectors,
    defences: DefencesGiven,
    conditions: Conditions,
    *,
    settings: EvaluateSettings | None = None,
    labels: Path | str | None = None,
    held_out: bool = False,
    adaptive: AdaptiveAttack | None = None,
    certify: bool = False,
    clean_video: Path | str | None = None,
    curve: str | None = None,
) -> Iterator[Update]:
    """Return the steps of an evaluation; arguments as of `physadv.evaluate.evaluate`.

    What can be known to be wrong is raised at once, before the first step.

    Raises: DataError if there are no images. SettingsError for patterns beside recordings that are compared. Other kinds of
    PhysadvError as `physadv.evaluate` does.
    """
    asked = Asked(
        settings or EvaluateSettings(),
        load_patches(patches),
        [detectors] if isinstance(detectors, str | Detector) else list(detectors),
        [parse_pipeline(d) if isinstance(d, str) else d for d in _one_or_more(defences)],
        _conditions(conditions),
        None if labels is None else Path(labels),
        held_out,
        adaptive,
        certify,
        None if clean_video is None else Path(clean_video),
        curve,
    )
    asked.check()
    if isinstance(data, str | Path) and Path(data).suffix.lower() in VIDEO_SUFFIXES and Path(data).is_file():
        data = Recording(Path(data))
    if not isinstance(data, str | Path | Dataset | Recording | Pairs) and not len(data):
        raise DataError(field="data", expected="a folder, a recording or one labelled image or more", got="none")
    work = Evaluation(asked)
    if isinstance(data, Pairs):
        if asked.patches:
            raise SettingsError(
                "recordings that are compared are scored as they are",
                field="patches",
                expected="none beside `pair`",
                got=", ".join(p.name for p in asked.patches),
            )
        return work.of_pairs(data)
    if isinstance(data, Recording):
        return work.of_video(data)
    return work.of_images(Path(data) if isinstance(data, str) else data)


def _one_or_more(defences: DefencesGiven) -> Iterable[str | Pipeline]:
    return [defences] if isinstance(defences, str | Pipeline) else defences


def _conditions(given: str | Sequence[object]) -> tuple[Condition, ...]:
    """Return the conditions to score beside the clean one.

    Raises: SettingsError for what is no condition.
    """
    if isinstance(given, str) and given in GRIDS:
        return GRIDS[given]
    wrong = given if isinstance(given, str) else next((c for c in given if not isinstance(c, Condition)), None)
    if wrong is not None:
        expected = f"{', '.join(GRIDS)} or conditions of `physadv.simulate.conditions`"
        raise SettingsError(field="conditions", expected=expected, got=repr(wrong))
    return tuple(c for c in given if isinstance(c, Condition))


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked of an evaluation, besides the images or the video."""

    settings: EvaluateSettings
    patches: list[Patch]
    detectors: list[str | Detector]
    pipelines: list[Pipeline]
    conditions: tuple[Condition, ...] = ()
    labels: Path | None = None
    held_out: bool = False
    adaptive: AdaptiveAttack | None = None
    certify: bool = False
    clean_video: Path | None = None
    curve: str | None = None

    def check(self) -> None:
        """Check what can be known before anything is read or loaded.

        Raises: SettingsError for what does not go together. DefenceError for a defence whose weights cannot be read.
        """
        other = next((p for p in self.patches if not p.tiles), None)
        if self.settings.at in ("shirt", "outfit") and other is not None:
            raise SettingsError(
                field=f"at={self.settings.at}",
                expected="textures of cloth (`physadv train --target tshirt`, or outfit)",
                got=f"{other.name}, a {other.target} pattern",
                hint="score it with `at=chest`",
            )
        if self.curve is not None:
            self._check_curve(self.curve)
        if self.adaptive is not None and not any(p.defences for p in self.pipelines):
            raise SettingsError(field="adaptive", expected="a defence to attack", hint="name one or more with `defend`")
        pick_device(self.settings.device)
        if self.adaptive is not None:
            for name in self.named_detectors:
                check_attackable(self.path_of(name))
        self.named_detectors  # noqa: B018 -- refuses two equal names
        for pipeline in self.pipelines:
            with naming("defend"):
                pipeline.weights()
            if self.adaptive is not None and pipeline.defences and all(d.over_time for d in pipeline.defences):
                raise SettingsError(
                    f"{pipeline} does nothing in single images, so there is nothing to attack",
                    field="adaptive",
                    hint="leave it out, or score a recording",
                )

    def _check_curve(self, name: str) -> None:
        """Raise SettingsError for what is not scored over a condition."""
        Curve.of(name, self.patches)
        others = {
            "certify": self.certify,
            "adaptive": self.adaptive is not None,
            "conditions": self.conditions,
        }
        if given := next((n for n, there in others.items() if there), None):
            raise SettingsError(
                "is not scored over a condition",
                field=given,
                hint="leave it out, or `curve`: each has its own evaluation",
            )

    @property
    def usual_placement(self) -> Placement:
        """Return how patterns are worn where none is given that says so."""
        s = self.settings
        return Placement.of(BOX_AT if s.at is None else s.at, s.rule or "area", s.scale or USUAL_SCALE)

    def path_of(self, name: str) -> str:
        """Return the name or path of a detector's weights, for the network with gradients.

        Raises: SettingsError for a detector that was not given by its name or path.
        """
        given = self.named_detectors[name]
        if not isinstance(given, str):
            raise SettingsError(field="adaptive", expected="detectors by name or path", got=f"{name} itself")
        return given

    @property
    def named_detectors(self) -> dict[str, str | Detector]:
        """Return each detector by what reports call it: as its file, and those of one name after its folder too.

        Raises: SettingsError if one is named twice, or two have equal names.
        """
        names = [path_in(d) if isinstance(d, str) else d.name for d in self.detectors]
        # A detector that is given has its own size, which tells its rows from those of others.
        paths = [
            n if isinstance(d, str) or names.count(n) == 1 else f"{n}-{d.imgsz}"
            for n, d in zip(names, self.detectors, strict=True)
        ]
        files = [Path(f"{p}.pt").expanduser().resolve() for p in paths]
        twice = next((p for p, f in zip(paths, files, strict=True) if files.count(f) > 1), None)
        if twice is not None:
            raise SettingsError(f"{twice} is named twice", field="detector", hint="name each detector once")
        names = apart([Path(p).name for p in paths], paths, what="detectors")
        return dict(zip(names, self.detectors, strict=True))


@dataclass(frozen=True, slots=True)
class Round:
    """What is scored at one size of image: the size, and how each pattern is worn, by name."""

    imgsz: int
    placements: dict[str, Placement]


@dataclass(slots=True)
class Evaluation:
    """The work: every detector at every size of image, bare and behind every defence; its results grow cell by cell.

    loader: in place of `load_detector`, by who keeps detectors for the next evaluation.
    """

    asked: Asked
    loader: Callable[..., BareDetector] | None = None
    results: Results = field(init=False)
    _settled: list[Cell] = field(default_factory=list)
    # About each detector itself, by its name.
    detector_doubts: dict[str, list[Doubt]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        defences = [str(p) for p in self.asked.pipelines]
        self.results = Results(
            self.asked.settings, tuple(self.asked.patches), facts={"detectors": [], "defences": defences}
        )

    def of_images(self, data: Path | Dataset | Sequence[LabelledImage]) -> Iterator[Update]:
        """Score images, then certificates; adaptive attacks train on those that are not scored.

        Raises: DataError if images or labels cannot be read, or nobody is left to be scored or trained on.
        """
        scored, others = yield from self._data(data)
        for line in self.results.skipped:
            yield Update(None, "", "reading images", self.results, note=line)
        filling = share_of_image(scored.images) > FILLS
        rounds = _rounds(
            self.asked, {p.name: fit_of(p, self.asked.settings, filling=filling) for p in self.asked.patches}
        )
        for first, (name, detector, number, turn) in enumerate(self._detectors(rounds)):
            part = f"{name} at {detector.imgsz} px"
            for pipeline in self.asked.pipelines:
                # A defence that cannot work with this detector is said before anything is scored.
                pipeline.guard(detector)
            examples = None
            if not first or (name == next(iter(self.asked.named_detectors)) and number):
                suffix = f"-{turn.imgsz}" if len(rounds) > 1 else ""
                examples = Examples(_most_people(scored), self.asked.settings.conf, suffix)
                self.results.examples.append(examples)
            if self.asked.curve is not None:
                self.results.examples.clear()
                these = [p for p in self.asked.patches if p.name in turn.placements]
                over = Curve.of(self.asked.curve, these or self.asked.patches)
                behind = [p for p in self.asked.pipelines if p.defences]
                steps = score_curve(over, scored, detector, self.asked.settings, these, turn.placements, behind)
                yield self._settle((yield from self._updates(steps, part)))
                continue
            worn = list(turn.placements.values())
            scorer = Scorer(scored, detector, self.asked.settings, placements=worn, shown=examples)
            if scored.n_people and not scorer.data.n_people:
                raise DataError(
                    f"none of {scored.n_people} people shows the chest, on which the pattern is worn",
                    hint="give images that show people down to the chest, or `at` to place it by their boxes",
                )
            given = self.asked.named_detectors[name]
            if not number and isinstance(given, str):
                self.detector_doubts[name] += doubts.of_making(record_of(given), scored)
            yield from self._of_detector(scorer, name, turn, others, part)
            if self.asked.certify:
                steps = certify(scored, detector, self.asked.pipelines)
                yield self._settle((yield from self._updates(steps, f"{part}, certificates")))
        yield self._finish()

    def of_video(self, recording: Recording) -> Iterator[Update]:
        """Score a recording frame by frame, every pattern in every frame.

        Raises: SourceError if it cannot be read. DataError if nobody is ever found to wear a pattern.
        """
        self.results.facts["video"] = recording.path.name
        for called, scorer in self.video_scorers(recording):
            detector = scorer.detector
            cells = yield from self._updates(scorer.scoring(), f"{detector.name} at {detector.imgsz} px")
            for line in scorer.notes:
                yield Update(None, "", "", self.results, note=line)
            self.results.frames[called] = scorer.table()
            yield self._settle(cells)
        yield self._finish()

    def video_scorers(self, recording: Recording) -> Iterator[tuple[str, VideoScorer]]:
        """Yield what scores a recording by each detector at each size of image, and what files call that."""
        rounds = _rounds(self.asked, {p.name: fit_of(p, self.asked.settings, filling=True) for p in self.asked.patches})
        for name, detector, _, turn in self._detectors(rounds):
            these = [p for p in self.asked.patches if p.name in turn.placements]
            listed = entries(these, turn.placements, seed=self.asked.settings.seed)
            called = name + (f"-{turn.imgsz}" if len(rounds) > 1 else "")
            yield called, VideoScorer(recording, listed, detector, self.asked.settings, self.asked.pipelines)

    def bare_detectors(self) -> Iterator[Detector]:
        """Yield each detector at the size at which recordings are compared."""
        for _, detector, _, _ in self._detectors(_rounds(self.asked, {})):
            for pipeline in self.asked.pipelines:
                # As with images: before hours of looking with the bare detector.
                pipeline.guard(detector)
            yield detector

    def of_pairs(self, pairs: Pairs) -> Iterator[Update]:
        """Compare recordings of several arms, as they are.

        Raises: SourceError if one cannot be read. DataError if nobody is found without a pattern.
        """
        self.results.facts["pairs"] = pairs.names()
        for detector in self.bare_detectors():
            scorer = PairScorer(pairs, detector, self.asked.settings, self.asked.pipelines)
            cells = yield from self._updates(scorer.scoring(), f"{detector.name} at {detector.imgsz} px")
            self.results.facts["recordings"] = scorer.hashes()
            for line in scorer.notes:
                yield Update(None, "", "", self.results, note=line)
            yield self._settle(cells)
        yield self._finish()

    def _of_detector(
        self, scorer: Scorer, name: str, turn: Round, others: Sequence[LabelledImage], part: str
    ) -> Iterator[Update]:
        """Score one detector at one size: every pattern bare and behind every defence, adaptive attacks, false alarms."""
        asked, pipelines = self.asked, self.asked.pipelines
        these = [p for p in asked.patches if p.name in turn.placements]
        listed = entries(these, turn.placements, grid=asked.conditions, seed=asked.settings.seed)
        yield from self._updates(score_all(scorer, listed, pipelines), part, scorer.cells)
        if asked.adaptive is not None:
            attacked = load_gradient_detector(asked.path_of(name), device=asked.settings.device)
            attacked.name = name
            placement = next(iter(turn.placements.values()), asked.usual_placement)
            attack = score_adaptive(scorer, pipelines, asked.adaptive, attacked, others, placement, these)
            yield from self._updates(attack, f"{part}, adaptive", scorer.cells)
        doubts.unattacked(scorer.cells)
        if asked.clean_video is not None:
            yield from self._updates(self._alarms(scorer, pipelines), f"{part}, false alarms", scorer.cells)
        yield self._settle(scorer.cells)

    def _alarms(self, scorer: Scorer, pipelines: Sequence[Pipeline]) -> Steps[None]:
        """Count each defence's false alarms on the clean video, and write them into its cell without a pattern."""
        assert self.asked.clean_video is not None
        for number, pipeline in enumerate(pipelines):
            steps = alarms_per_1000(self.asked.clean_video, pipeline.guard(scorer.detector))
            counted = yield from part_of(steps, number, len(pipelines), str(pipeline))
            for cell in scorer.cells:
                if cell.defence == str(pipeline) and cell.condition == "none":
                    cell.extra |= counted

    def _detectors(self, rounds: Sequence[Round]) -> Iterator[tuple[str, Detector, int, Round]]:
        """Yield each detector at each size of image: its name, itself, the number of the round and the round."""
        for name, given in self.asked.named_detectors.items():
            for number, asked_for in enumerate(rounds):
                detector: Detector
                turn = asked_for
                if isinstance(given, str):
                    # The reference: PyTorch, float32, down to the lowest score that AP counts.
                    loaded = (self.loader or load_detector)(
                        given,
                        backend="reference",
                        precision="fp32",
                        imgsz=turn.imgsz,
                        min_conf=AP_CONF,
                        device=self.asked.settings.device,
                    )
                    last = loaded.own_size
                    detector = loaded
                    if last:
                        # It would answer the same at every size that is asked for: all patterns are scored at its own.
                        turn = Round(detector.imgsz, {k: v for r in rounds for k, v in r.placements.items()})
                    detector.name = name
                else:
                    detector, last = given, False
                if not number:
                    self.results.facts["detectors"].append({"name": name, "sha256": detector.sha256 or ""})
                    known = loaded.weights_known if isinstance(given, str) else True
                    self.detector_doubts[name] = doubts.of_detector(
                        name, detector.sha256, self.asked.patches, changed(given), known=known
                    )
                yield name, detector, number, turn
                if last:
                    break

    def _data(
        self, data: Path | Dataset | Sequence[LabelledImage]
    ) -> Generator[Update, None, tuple[Dataset, list[LabelledImage]]]:
        """Return the images to score, and those left for adaptive attacks to train on."""
        if isinstance(data, Path):
            settings = self.asked.settings
            fits = [fit_of(p, settings, filling=filling) for p in self.asked.patches for filling in (False, True)]
            keypoints = self.asked.adaptive is not None or any(fit.placement.target != "poster" for fit in fits)
            steps = read_dataset(
                data, self.asked.labels, Labeller(labelling), keypoints=keypoints, min_area=settings.min_area
            )
            self.results.facts["images"] = data.resolve().name
            read = yield from self._updates(steps, "reading images")
            self.results.skipped = read.notes()
            return self._split(read, data)
        return self._split(data if isinstance(data, Dataset) else Dataset(list(data)), "the images given")

    def _split(self, data: Dataset, where: Path | str) -> tuple[Dataset, list[LabelledImage]]:
        """Return the images to score, and those that patterns were or will be trained on, with people in them.

        Raises: DataError if nobody is left on a side that is needed.
        """
        asked, adaptive = self.asked, self.asked.adaptive is not None
        trained = doubts.trained_on(asked.patches)
        drawn = adaptive and not any(trained.saw(i.name, i.sha256) for i in data.images)
        if drawn:
            known = [(i.name, i.sha256) for i in data.images]
            names, _ = split_images(known, held_out=asked.settings.score_share, seed=asked.settings.seed)
            trained = Seen((name, ()) for name in names)
        if not (asked.held_out or adaptive):
            return data, []
        left = [i for i in data.images if not trained.saw(i.name, i.sha256)]
        others = [i for i in data.images if trained.saw(i.name, i.sha256) and len(i.boxes)]
        if not any(i.counts.any() for i in left):
            raise _nobody(asked, where, "score", drawn=drawn)
        if adaptive and not others:
            raise _nobody(asked, where, "train on", drawn=drawn)
        return replace(data, images=left), others

    def _updates(self, steps: Steps[T], part: str, growing: Sequence[Cell] = ()) -> Generator[Update, None, T]:
        """Yield an update for each step, and return what the steps return. growing: cells that they add to."""
        while True:
            try:
                share, what = next(steps)
            except StopIteration as end:
                self.results.cells = [*self._settled, *growing]
                return end.value
            self.results.cells = [*self._settled, *growing]
            yield Update(share, what, part, self.results)

    def _settle(self, cells: Sequence[Cell]) -> Update:
        """Keep the cells of what is finished, with the doubts about its detector, and return the update that says so."""
        for cell in cells:
            cell.doubts += self.detector_doubts.get(cell.detector, ())
        self._settled += cells
        self.results.cells = list(self._settled)
        return Update(None, "", "", self.results)

    def _finish(self) -> Update:
        self.results.done = True
        return Update(1.0, "", "", self.results)


def _rounds(asked: Asked, fits: dict[str, Fit]) -> list[Round]:
    """Return the sizes of image, each with the patterns that are scored at it.

    Raises: SettingsError where adaptive attacks would have to be made for patterns that are worn in several ways.
    """
    if not fits:
        return [Round(asked.settings.imgsz or USUAL_IMGSZ, {})]
    sizes = list(dict.fromkeys(s for fit in fits.values() for s in fit.sizes))
    placements = list(dict.fromkeys(fit.placement for fit in fits.values()))
    adaptive = asked.adaptive is not None
    if adaptive and len(placements) > 1:
        raise SettingsError(
            field="adaptive",
            expected="patterns that are worn alike, since attacks are trained as they are worn",
            got="; ".join(map(in_words, placements)),
            hint="give `scale` and `at`, or evaluate them apart",
        )
    whole = not all(isinstance(d, str) for d in asked.detectors)
    if adaptive or whole:
        # One attack a defence is dear enough: the largest of the patterns' sizes. A detector that is given has its own.
        sizes = [max(sizes)]
    return [
        Round(size, {n: fit.placement for n, fit in fits.items() if adaptive or whole or size in fit.sizes})
        for size in sizes
    ]


def _nobody(asked: Asked, where: Path | str, use: Literal["score", "train on"], *, drawn: bool) -> DataError:
    """Return the error where a split leaves nobody. drawn: by `score_share`, else by the patterns' own records."""
    trained = f"the patterns were trained on every image of {where} that shows people"
    if asked.adaptive is None:
        return DataError(trained, field="held_out")
    if drawn:
        change = "raise" if use == "score" else "lower"
        return DataError(
            f"`score_share` {asked.settings.score_share:g} leaves nobody of {where} to {use}",
            field="adaptive",
            hint=f"{change} it, or give more images of people",
        )
    why = trained if use == "score" else f"nobody is in the images of {where} that the patterns were trained on"
    return DataError(f"{why}, and their records go before `score_share`", field="adaptive", hint="give other images")


def apart(names: Sequence[str], paths: Sequence[str], *, what: str) -> list[str]:
    """Return the names, those that several share replaced by the ends of the paths by which they differ.

    Raises: SettingsError if some are still the same.
    """
    out = [file_name(e) if names.count(n) > 1 else n for n, e in zip(names, shortest_ends(paths), strict=True)]
    twice = next((n for n in out if out.count(n) > 1), None)
    if twice is not None:
        raise SettingsError(
            f"two {what} are called {twice!r}: their rows would look the same; rename one's file or folder"
        )
    return out


def load_patches(given: Patches) -> list[Patch]:
    """Return patches by name, file or run folder; those of one name are called after the file or folder given.

    Raises: PatchError if one cannot be read. SettingsError if two have equal names.
    """
    listed = [given] if isinstance(given, Patch | str | Path) else list(given)
    patches = [p if isinstance(p, Patch) else load_patch(p) for p in listed]
    paths = [p.name if isinstance(p, Patch) else _without_ending(p) for p in listed]
    names = apart([p.name for p in patches], paths, what="patterns")
    return [replace(p, name=n) for p, n in zip(patches, names, strict=True)]


def _without_ending(where: str | Path) -> str:
    return str(Path(where).with_suffix("")) if Path(where).is_file() else str(where)


def _most_people(data: Dataset) -> tuple[int, ...]:
    order = sorted(range(len(data.images)), key=lambda i: -int(data.images[i].counts.sum()))
    return tuple(order[:EXAMPLES])
