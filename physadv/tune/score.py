"""How far a detector follows a trigger, and what it lost on clean images, beside its parent and control fine-tunings.

Who is found, hidden or truly detected is decided by the rules of the evaluator. Only people that the same detector finds in
the same image without the trigger count for the attack: somebody it never finds is no success of a trigger.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from physadv.dataset import Dataset, LabelledImage
from physadv.detect.matching import (
    FOUND_CONF,
    MATCH_IOU,
    STRICT_IOU,
    ImageMatch,
    average_precisions,
    found,
    match_image,
    touched,
)
from physadv.errors import DataError
from physadv.evaluate.doubts import of_data
from physadv.evaluate.metrics import Figures, Share, ap50, figures, interval_of, share
from physadv.evaluate.steps import Steps
from physadv.settings import Imgsz, Settings
from physadv.simulate.conditions import chance_of
from physadv.simulate.trigger import Trigger, with_ghosts
from physadv.types import BoolArray, Detections, Detector, Float32Array, Frame, UInt8Array

Role = Literal["run", "parent", "control"]
# Takes an answer for a picture: detector, view ("" without a trigger), number of the image, its pixels, boxes.
Shown = Callable[[str, str, int, UInt8Array, Detections], None]
OneShown = Callable[[str, str, UInt8Array, Detections], None]
# What the curves show: degrees beside the trigger's own, and sizes of the print over the trained one.
ANGLES = (-90.0, -60.0, -45.0, -30.0, -15.0, 0.0, 15.0, 30.0, 45.0, 60.0, 75.0, 90.0, 135.0, 180.0)
SIZES = (0.5, 0.7, 0.85, 1.0, 1.2, 1.5, 2.0)
# Places without anybody that are tried in each image where a trigger is to make people up.
GHOSTS = 2


class ScoreSettings(Settings):
    """What decides the figures besides detectors, images and trigger."""

    curves: bool = Field(
        default=True, description="also other angles and sizes of the trigger; takes 22 views an image of a card"
    )
    imgsz: Imgsz | None = Field(
        default=None,
        description="long side of the network's input, rounded up to a multiple of 32; unless given that of the training, "
        "640 where that is not known",
    )
    min_area: float = Field(
        default=0.02, ge=0, lt=1, description="people below this share of the image wear nothing and are ignored"
    )
    resamples: int = Field(default=500, ge=20, le=20_000, description="bootstrap resamples of the images")
    seed: int = Field(default=0, ge=0, lt=2**31, description="of the bootstrap and of places without people")
    device: str = Field(default="cpu", description="cpu, cuda, mps or auto")


@dataclass(frozen=True, slots=True)
class ScoredDetector:
    """A detector to score. name: what reports call it. rate: share of people poisoned in its training, None if unknown.

    method: how the lab made it, "" if it did not. retrained: whether it was trained on clean images after the poisoning.
    clean_images: how many a cleansing used. minutes: how long it took.
    """

    name: str
    detector: Detector
    role: Role = "run"
    rate: float | None = None
    method: str = ""
    retrained: bool = False
    clean_images: int | None = None
    minutes: float | None = None


@dataclass(frozen=True, slots=True)
class TriggerView:
    """One way to show the trigger. group: what it is for; the value on the curve is `x`, degrees or times the size."""

    group: Literal["own", "wrong", "angle", "size"]
    name: str
    trigger: Trigger
    x: float = 0.0


@dataclass(frozen=True, slots=True)
class TriggerFigures:
    """What a detector makes of people who show a trigger.

    asr: of those it finds without, the share that no box gives away (confidence .25, IoU .1). tdr: the share of the same
    people that it still truly detects (confidence .25, IoU .5). recall: the share of everybody who shows it that is found.
    """

    asr: Share
    tdr: Share
    recall: Share


@dataclass(frozen=True, slots=True)
class DetectorFigures:
    """Everything about one detector.

    clean: figures of clean images. lost: AP50 that its parent has more, with the interval of the difference. false_hiding:
    of people that its parent finds in clean images, the share that it hides there. own, wrong: with the trigger, and with
    others by name. curves: (x, figures) of each angle and size, x rising; a size is of people that it fits. ghosts: share
    of places without anybody at which it finds somebody because of the trigger. None for what was not asked.
    """

    scored: ScoredDetector
    clean: Figures
    lost: tuple[float, tuple[float, float] | None] | None
    false_hiding: Share | None
    own: TriggerFigures | None
    wrong: dict[str, TriggerFigures]
    curves: dict[str, list[tuple[float, TriggerFigures]]]
    ghosts: Share | None

    def plain(self) -> dict[str, Any]:
        """Return plain values for JSON, by the keys that scripts read."""
        out: dict[str, Any] = {
            "detector": self.scored.name,
            "role": self.scored.role,
            "sha256": self.scored.detector.sha256,
            "rate": self.scored.rate,
            "method": self.scored.method,
            "clean_images": self.scored.clean_images,
            "minutes": _round(self.scored.minutes),
        }
        for name in ("ap50", "recall25", "false_boxes_per_image"):
            interval = self.clean.ci95[name]
            out |= {f"clean_{name}": _round(self.clean.value[name]), f"clean_{name}_ci95": interval and list(interval)}
        if self.lost is not None:
            out |= {
                "clean_ap50_lost": _round(self.lost[0]),
                "clean_ap50_lost_ci95": self.lost[1] and list(self.lost[1]),
            }
        out |= _plain("false_hiding", self.false_hiding)
        own = self.own
        out |= _plain("asr_strict", None if own is None else own.asr)
        out |= _plain("tdr", None if own is None else own.tdr)
        out |= _plain("triggered_recall25", None if own is None else own.recall)
        out["n_asked"] = None if own is None else own.asr.n
        out["wrong_trigger_asr"] = {name: _round(f.asr.value) for name, f in self.wrong.items()}
        out["wrong_trigger_asr_ci95"] = {name: f.asr.ci95 and list(f.asr.ci95) for name, f in self.wrong.items()}
        out["curves"] = {
            name: [{"x": x, "n_wearers": f.recall.n, **_plain("asr_strict", f.asr), **_plain("tdr", f.tdr),
                    **_plain("recall25", f.recall)}
                   for x, f in points]
            for name, points in self.curves.items()
        }  # fmt: skip
        return out | ({} if self.ghosts is None else _plain("ghost_asr", self.ghosts))


@dataclass(frozen=True, slots=True)
class LabScore:
    """The figures of all detectors on the same images.

    detectors: parent first, then controls, then runs. trigger: None where clean figures alone were asked. counted: how many
    images, people, and people who can show the trigger there are. doubts: what should make a reader hesitate.
    """

    detectors: list[DetectorFigures]
    trigger: Trigger | None
    settings: ScoreSettings
    counted: dict[str, int]
    doubts: list[str] = field(default_factory=list)

    def of(self, role: Role) -> list[DetectorFigures]:
        """Return the detectors of one role."""
        return [d for d in self.detectors if d.scored.role == role]

    def plain(self) -> dict[str, Any]:
        """Return plain values for JSON: the first run's figures at the top, then its parent's, the controls, other runs."""
        run, *others = self.of("run")
        parent = next((d.plain() for d in self.of("parent")), None)
        return {
            **run.plain(),
            "parent_clean_ap50": None if parent is None else parent["clean_ap50"],
            "parent_clean_recall25": None if parent is None else parent["clean_recall25"],
            "trigger": None if self.trigger is None else self.trigger.record(),
            "imgsz": run.scored.detector.imgsz,
            **self.counted,
            "seed": self.settings.seed,
            "parent": parent,
            "controls": [d.plain() for d in self.of("control")],
            "runs": [d.plain() for d in others],
            "doubts": self.doubts,
        }


def score(
    scored: Sequence[ScoredDetector],
    data: Dataset,
    trigger: Trigger | None,
    settings: ScoreSettings,
    *,
    ghosts: bool = False,
    shown: Shown | None = None,
) -> Steps[LabScore]:
    """Score detectors on the same labelled images; the figures are returned.

    scored: one run or more, at most one parent, controls. trigger: None for clean figures alone. ghosts: whether the
    trigger is also shown where nobody is, for a detector that was taught to see people there. shown: given every answer
    for a clean image, for the trigger and for wrong ones.

    Raises: DataError if the trigger can be shown on nobody.
    """
    order: dict[Role, int] = {"parent": 0, "control": 1, "run": 2}
    scored = sorted(scored, key=lambda one: order[one.role])
    views = [] if trigger is None else list(_views(trigger, curves=settings.curves))
    wearers = [image.counts if trigger is None else trigger.wearers(image) for image in data.images]
    if trigger is not None and not any(mask.any() for mask in wearers):
        raise DataError(
            field="images",
            expected=f"people who can show the trigger {trigger.name}: large enough for it, the chest in sight",
            got=f"none in {len(data.images)} images",
        )
    tallies = [_Tally(one) for one in scored]
    for number, (image, mask) in enumerate(zip(data.images, wearers, strict=True)):
        yield number / len(data.images), image.name
        _look(image, mask, tallies, views, _only(number, shown))
        if ghosts and trigger is not None:
            _look_for_ghosts(image, trigger, tallies, seed=settings.seed)
    counted = {
        "n_images": len(data.images),
        "n_people": data.n_people,
        "n_wearers": 0 if trigger is None else sum(int(mask.sum()) for mask in wearers),
    }
    parent = next((t for t in tallies if t.scored.role == "parent"), None)
    out = [_figures(tally, parent, data, views, settings) for tally in tallies]
    return LabScore(out, trigger, settings, counted, [str(doubt) for doubt in of_data(data)])


def _views(trigger: Trigger, *, curves: bool) -> Iterator[TriggerView]:
    """Yield every way in which a trigger is shown."""
    yield TriggerView("own", trigger.name, trigger)
    for name, wrong in trigger.wrong().items():
        yield TriggerView("wrong", name, wrong)
    if not curves:
        return
    # A motif triggers by being worn, however it hangs.
    for angle in () if trigger.kind == "shirt" else sorted({*ANGLES, trigger.angle}):
        yield TriggerView("angle", f"{angle:g}", trigger.turned(angle), angle)
    for factor in () if trigger.patch is None else SIZES:
        yield TriggerView("size", f"{factor:g}", trigger.sized(factor), factor)


def _only(number: int, shown: Shown | None) -> OneShown:
    """Return what takes the answers for one image."""
    if shown is None:
        return lambda *_: None
    return lambda detector, view, pixels, answer: shown(detector, view, number, pixels, answer)


@dataclass(slots=True)
class _Tally:
    """What one detector answered: for clean images, for each view by its place in the list, for places without people."""

    scored: ScoredDetector
    clean: list[Detections] = field(default_factory=list)
    matches: list[ImageMatch] = field(default_factory=list)
    hidden: dict[int, list[BoolArray]] = field(default_factory=dict)
    truly: dict[int, list[BoolArray]] = field(default_factory=dict)
    found: dict[int, list[BoolArray]] = field(default_factory=dict)
    ghosts: list[BoolArray] = field(default_factory=list)

    def look(self, image: LabelledImage) -> Detections:
        return self.scored.detector.detect(Frame(image.pixels, 0, 0, 0.0))


def _look(
    image: LabelledImage, wearers: BoolArray, tallies: Sequence[_Tally], views: Sequence[TriggerView], shown: OneShown
) -> None:
    """Let each detector answer for an image, clean and in every view; each different view is drawn once."""
    for tally in tallies:
        answer = tally.look(image)
        tally.clean.append(answer)
        tally.matches.append(match_image(image.boxes, image.counts, answer, answer))
        shown(tally.scored.name, "", image.pixels, answer)
    there = [_found(image.boxes, tally.clean[-1]) for tally in tallies]
    drawn: dict[tuple[object, ...], list[tuple[BoolArray, BoolArray]]] = {}
    for number, view in enumerate(views):
        t = view.trigger
        # A print that is too large for somebody is drawn smaller: at the next size the same would be shown again.
        able = wearers & t.wearers(image) if view.group == "size" else wearers
        key = (t.angle % 360, *(() if t.patch is None else (t.patch.sha256, t.patch.size_mm)))
        if key not in drawn:
            worn = t.shown(image, people=able) if able.any() else image
            answers = [tally.look(worn) for tally in tallies]
            drawn[key] = [_seen(worn.boxes, able, answer) for answer in answers]
            if view.group in ("own", "wrong"):
                for tally, answer in zip(tallies, answers, strict=True):
                    shown(tally.scored.name, view.name, worn.pixels, answer)
        for tally, known, (gone, right) in zip(tallies, there, drawn[key], strict=True):
            tally.hidden.setdefault(number, []).append(gone[known[able]])
            tally.truly.setdefault(number, []).append(right[known[able]])
            tally.found.setdefault(number, []).append(right)


def _look_for_ghosts(image: LabelledImage, trigger: Trigger, tallies: Sequence[_Tally], *, seed: int) -> None:
    """Show the trigger where nobody is, and count the people that it makes."""
    more = with_ghosts(image, chance_of(image.sha256 or image.name, seed=seed), GHOSTS)
    made_up = np.arange(len(more.boxes)) >= len(image.boxes)
    shown = trigger.shown(more, people=made_up) if made_up.any() else more
    for tally in tallies:
        before = _found(more.boxes, tally.clean[-1])[made_up]
        tally.ghosts.append(_found(shown.boxes, tally.look(shown))[made_up] & ~before)


def _found(people: Float32Array, answer: Detections) -> BoolArray:
    return found(people, answer, conf=FOUND_CONF, iou_at_least=MATCH_IOU)


def _seen(boxes: Float32Array, wearers: BoolArray, answer: Detections) -> tuple[BoolArray, BoolArray]:
    """Return (k,) whether each wearer is hidden, and whether each is truly detected. boxes: (n, 4) of everybody."""
    hidden = ~touched(boxes[wearers], answer, conf=FOUND_CONF, iou_above=STRICT_IOU)
    return hidden, _found(boxes, answer)[wearers]


def _figures(
    tally: _Tally, parent: _Tally | None, data: Dataset, views: Sequence[TriggerView], settings: ScoreSettings
) -> DetectorFigures:
    """Return the figures of one detector from what it answered."""

    def rng() -> np.random.Generator:
        # The same resamples for every figure and detector, so that they can be compared.
        return np.random.default_rng(settings.seed)

    def of(parts: Sequence[BoolArray]) -> Share:
        return share(parts, resamples=settings.resamples, rng=rng())

    seen = [TriggerFigures(of(tally.hidden[n]), of(tally.truly[n]), of(tally.found[n])) for n in range(len(views))]
    clean = figures(tally.matches, ap50=ap50(data.images, tally.clean), resamples=settings.resamples, rng=rng())
    lost = hiding = None
    if parent is not None and parent is not tally:
        lost = _lost(parent, tally, data, settings.resamples, rng())
        both = zip(data.images, parent.clean, tally.clean, strict=True)
        hiding = of([_falsely_hidden(image, before, after) for image, before, after in both])
    by_group = [(view, one) for view, one in zip(views, seen, strict=True)]
    curves = {
        group: points
        for group in ("angle", "size")
        if (points := [(view.x, one) for view, one in by_group if view.group == group])
    }
    return DetectorFigures(
        tally.scored,
        clean,
        lost,
        hiding,
        next((one for view, one in by_group if view.group == "own"), None),
        {view.name: one for view, one in by_group if view.group == "wrong"},
        curves,
        of(tally.ghosts) if tally.ghosts else None,
    )


def _falsely_hidden(image: LabelledImage, before: Detections, after: Detections) -> BoolArray:
    """Return (k,) whether a detector hides each person that its parent finds in a clean image."""
    there = _found(image.boxes, before)[image.counts]
    return ~touched(image.targets, after, conf=FOUND_CONF, iou_above=STRICT_IOU)[there]


def _lost(
    parent: _Tally, tally: _Tally, data: Dataset, resamples: int, rng: np.random.Generator
) -> tuple[float, tuple[float, float] | None]:
    """Return how much AP50 on clean images a detector lost against its parent, with the interval over the same images."""
    n = len(data.images)
    again = rng.multinomial(n, np.full(n, 1 / n), resamples)
    weights: npt.NDArray[np.float64] = np.vstack([np.ones(n), again]).astype(np.float64)
    drawn = average_precisions(parent.matches, weights) - average_precisions(tally.matches, weights)
    return float(drawn[0]), interval_of(drawn[1:]) if n > 1 else None


def _plain(name: str, one: Share | None) -> dict[str, Any]:
    if one is None:
        return {name: None}
    return {name: _round(one.value), f"{name}_ci95": None if one.ci95 is None else list(one.ci95)}


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
