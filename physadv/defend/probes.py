"""Traps for a hidden pattern: a person pasted beside it, and pecks at the place where it may be.

A pattern that hides its wearer also hides people beside it: a canary pasted there and not found gives it away. And a
pattern works only as a whole: if part of it is covered, its wearer is found again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import cv2
import numpy as np
import torch
from pydantic import Field, model_validator

from physadv.boxes import corners, covered_by, iou
from physadv.defend.base import Defence, Twin, Watching
from physadv.defend.canaries import LEAST, Cutout, canary_box, cutouts, overlay, peck_boxes
from physadv.detect.gradients import joined
from physadv.types import Alert, Candidates, Detections, Detector, Float32Array, Frame, GradientDetector, UInt8Array

# Frames for which the last place of a person who vanished is probed.
MEMORY = 20
# Smallest height of a suspicious place that is probed, as a fraction of the image's height.
SMALLEST = 0.12
# Overlap with a suspicious place from which a box counts as the person there.
SAME = 0.3
# Overlap with the canary from which a candidate counts as finding it.
HEARD = 0.4


class Probes(Defence):
    """Randomised probes near weak candidates: a canary that vanishes, or a person who appears under pecks, is an alarm.

    conf: score from which a person counts as found. canary, woodpecker: which of the two traps are set. rise: score that a
    pecked candidate has to reach. restore: report the person who appeared (held). places: suspicious places a frame. pecks:
    pecked views a frame. seed: of the random draws; None for the operating system's, which nobody can foresee.

    In single images 2 pecks found 5 of 35 hidden people and canaries 1 (docs/defences.md); a video gives more chances.
    """

    random: ClassVar[bool] = True
    name: ClassVar[str] = "probes"
    title: ClassVar[str] = "canaries and woodpeckers: random probes where somebody may be hidden"
    cost: ClassVar[str] = "up to 3 more passes"
    paper: ClassVar[str] = "Feng et al., Fight Fire with Fire: pattern-randomised defensive patches, 2023"
    order: ClassVar[int] = 2

    conf: float = Field(default=0.25, gt=0, lt=1, description="score from which a person counts as found")
    canary: bool = Field(default=True, description="paste people as canaries")
    woodpecker: bool = Field(default=True, description="peck at suspicious places")
    rise: float = Field(default=0.45, gt=0, lt=1, description="score a pecked candidate must reach to raise the alarm")
    restore: bool = Field(default=True, description="report the person who appears under pecks")
    places: int = Field(default=2, ge=1, le=8, description="suspicious places probed a frame")
    pecks: int = Field(default=2, ge=1, le=8, description="pecked views a frame")
    seed: int | None = Field(default=None, ge=0, description="seed of the draws; none: the system's own chance")

    @model_validator(mode="after")
    def _some_trap(self) -> Probes:
        if not (self.canary or self.woodpecker):
            raise ValueError("probes: expected canary, woodpecker or both, got neither")
        return self

    def guard(self, detector: Detector) -> Detector:
        """Return the detector that sets traps.

        Raises: DefenceError if the photographs from which canaries are cut are not installed.
        """
        return ProbesGuard(self, detector)

    def twin(self, detector: GradientDetector) -> GradientDetector:
        """Return the twin, which adds candidates of pecked views, and one whose logit rises as the canary vanishes."""
        return ProbeTwin(detector, canary=self.canary, pecks=self.pecks if self.woodpecker else 0, seed=self.seed)


@dataclass(frozen=True, slots=True, eq=False)
class _Lost:
    """Where somebody was last found. age: frames since."""

    box: Float32Array
    age: int


class ProbesGuard(Watching[Probes]):
    """The detector behind probes, drawn anew for every frame."""

    def __init__(self, defence: Probes, inner: Detector) -> None:
        super().__init__(defence, inner)
        self._cutouts = cutouts() if defence.canary else ()
        self._rng = np.random.default_rng(defence.seed)
        self._lost: list[_Lost] = []

    def reset(self) -> None:
        """Forget where people were."""
        super().reset()
        self._lost = []

    def respond(self, frame: Frame) -> Detections:
        """Return the people of the frame, alarms, and with `restore` the people who appear under pecks."""
        whole = self.ask(frame)
        strong = whole.xyxy[whole.score >= self.defence.conf]
        self._lost = _remember(self._lost, strong)
        places = np.concatenate([self._weak(whole, frame.pixels), *(x.box[None] for x in self._lost if x.age > 0)])
        return self._probe(whole, frame.pixels, places)

    def respond_batch(self, images: Sequence[UInt8Array]) -> list[Detections]:
        """Return the same for images that are no sequence."""
        return [self._probe(w, i, self._weak(w, i)) for w, i in zip(self.ask_batch(images), images, strict=True)]

    def _weak(self, whole: Detections, image: UInt8Array) -> Float32Array:
        """Return (n, 4) candidates below `conf`, large enough to judge, that no found box covers, strongest first."""
        found = whole.xyxy[whole.score >= self.defence.conf]
        weak = whole.xyxy[whole.score < self.defence.conf]
        tall = weak[:, 3] - weak[:, 1] >= SMALLEST * image.shape[0]
        weak = weak[tall & (covered_by(weak, found) < 0.5)]
        keep: list[int] = []
        for i in range(len(weak)):
            if not keep or iou(weak[i : i + 1], weak[keep]).max() < 0.5:
                keep.append(i)
        return weak[keep]

    def _probe(self, whole: Detections, image: UInt8Array, places: Float32Array) -> Detections:
        if len(places) == 0:
            return whole
        chosen = self._rng.permutation(len(places))[: self.defence.places]
        places = places[np.sort(chosen)]
        out = whole
        if self.defence.woodpecker:
            out = self._peck(out, image, places)
        if self.defence.canary:
            out = self._sing(out, image, places)
        return out

    def _peck(self, whole: Detections, image: UInt8Array, places: Float32Array) -> Detections:
        views = [pecked(image, places, self._rng) for _ in range(self.defence.pecks)]
        for found in self.plain.detect_batch(views):
            found = found.pick(found.score >= self.defence.rise)
            new = np.flatnonzero(covered_by(found.xyxy, whole.above(self.defence.conf).xyxy) < 0.5)
            for i in new:
                if iou(found.xyxy[i : i + 1], places).max() < SAME:
                    continue
                text = "a person appears when part of this place is covered: a pattern may be hiding them"
                alert = Alert("probe", text, corners(found.xyxy[i]))
                if (
                    self.defence.restore
                    and covered_by(found.xyxy[i : i + 1], whole.above(self.defence.conf).xyxy)[0] < 0.5
                ):
                    points = None if found.keypoints is None else found.keypoints[i : i + 1]
                    whole, _ = whole.with_held(found.xyxy[i : i + 1], found.score[i : i + 1], points)
                if all(a.kind != "probe" or a.xyxy is None or _apart(a.xyxy, alert.xyxy) for a in whole.alerts):
                    whole = replace(whole, alerts=(*whole.alerts, alert))
        return whole

    def _sing(self, whole: Detections, image: UInt8Array, places: Float32Array) -> Detections:
        """Return the answer with an alarm for each high place beside which a canary was missed twice."""
        missed = places[places[:, 3] - places[:, 1] >= LEAST * image.shape[0]]
        for _ in range(2):
            if len(missed) == 0:
                return whole
            view, canaries = self._with_canaries(image, missed)
            found = self.plain.detect_batch([view])[0]
            seen = found.xyxy[found.score >= self.defence.conf]
            heard = iou(canaries, seen).max(1) >= SAME if len(seen) else np.zeros(len(canaries), bool)
            missed = missed[~heard]
        text = "a person pasted here twice was not found: something suppresses people at this place"
        return replace(whole, alerts=(*whole.alerts, *(Alert("probe", text, corners(b)) for b in missed)))

    def _with_canaries(self, image: UInt8Array, places: Float32Array) -> tuple[UInt8Array, Float32Array]:
        view, boxes = image.copy(), []
        for place in places:
            cutout = self._cutouts[self._rng.integers(len(self._cutouts))]
            box = canary_box(place, cutout.pixels.shape[1] / cutout.pixels.shape[0], image.shape[1::-1], self._rng)
            gain, mirror = float(self._rng.uniform(0.8, 1.2)), bool(self._rng.integers(2))
            overlay(view, cutout, int(box[0]), int(box[1]), int(box[3] - box[1]), gain=gain, mirror=mirror)
            boxes.append(box)
        return view, np.array(boxes, np.float32)


def pecked(image: UInt8Array, places: Float32Array, rng: np.random.Generator) -> UInt8Array:
    """Return the image with a random part of each place covered by its blur, its mean colour or noise."""
    out = image.copy()
    for x0, y0, x1, y1 in peck_boxes(places, rng):
        a, b, c, d = max(int(x0), 0), max(int(y0), 0), int(np.ceil(x1)), int(np.ceil(y1))
        part = out[b:d, a:c]
        if part.size == 0:
            continue
        kind = rng.integers(3)
        if kind == 0:
            part[:] = cv2.GaussianBlur(part, (0, 0), max((c - a) / 6, 1.0))
        elif kind == 1:
            part[:] = part.mean((0, 1)).astype(np.uint8)
        else:
            part[:] = np.clip(part.mean((0, 1)) + rng.normal(0, 40, part.shape), 0, 255).astype(np.uint8)
    return out


def _remember(lost: list[_Lost], strong: Float32Array) -> list[_Lost]:
    """Return the places where people are found now, or were within the last frames and nobody is found since."""
    old = [_Lost(x.box, x.age + 1) for x in lost if x.age < MEMORY]
    old = [x for x in old if len(strong) == 0 or iou(x.box[None], strong).max() < SAME]
    return [_Lost(box, 0) for box in strong] + old


def _apart(a: tuple[float, ...], b: tuple[float, ...] | None) -> bool:
    return b is None or iou(np.array([a], np.float32), np.array([b], np.float32))[0, 0] < SAME


class ProbeTwin(Twin):
    """An attacked detector whose candidates include the alarms of the probes, drawn anew at each call.

    The suspicious place is the image's strongest candidate, which an attack tries to lower. Pecked views of it add their
    candidates: lowering them keeps the woodpecker silent. A canary beside it adds one candidate there, whose logit is the
    negative of the best logit that finds the canary: lowering it leaves the canary to be found.
    """

    def __init__(self, inner: GradientDetector, *, canary: bool, pecks: int, seed: int | None) -> None:
        super().__init__(inner, seed=seed)
        self._canary = canary
        self._pecks = pecks

    def candidates(self, images: torch.Tensor) -> Candidates:
        """Return candidates for images (b, 3, h, w) in [0, 1], RGB, h and w multiples of `stride`."""
        plain = self.inner.candidates(images)
        places = _places(plain)
        views = [plain, *(self.inner.candidates(self._peck(images, places)) for _ in range(self._pecks))]
        if self._canary:
            view, boxes = self._sing(images, places)
            found = self.inner.candidates(view)
            views.append(Candidates(-_heard(found, boxes), torch.from_numpy(places).to(images)[:, None]))
        return joined(views)

    def _peck(self, images: torch.Tensor, places: Float32Array) -> torch.Tensor:
        keep = torch.ones_like(images[:, :1])
        for i, (x0, y0, x1, y1) in enumerate(peck_boxes(places, self._rng)):
            keep[i, :, max(int(y0), 0) : int(np.ceil(y1)), max(int(x0), 0) : int(np.ceil(x1))] = 0
        fill = images.detach().mean((2, 3), keepdim=True)
        return images * keep + fill * (1 - keep)

    def _sing(self, images: torch.Tensor, places: Float32Array) -> tuple[torch.Tensor, torch.Tensor]:
        height, width = images.shape[2:]
        layer, alpha = torch.zeros_like(images), torch.zeros_like(images[:, :1])
        boxes = []
        for i, place in enumerate(places):
            cutout = cutouts()[int(self._rng.integers(len(cutouts())))]
            box = canary_box(place, cutout.pixels.shape[1] / cutout.pixels.shape[0], (width, height), self._rng)
            x0, y0, x1, y1 = (int(v) for v in box)
            pixels, cover = _scaled(cutout, x1 - x0, y1 - y0)
            layer[i, :, y0:y1, x0:x1] = torch.from_numpy(pixels).to(images)
            alpha[i, :, y0:y1, x0:x1] = torch.from_numpy(cover).to(images)
            boxes.append(box)
        return images * (1 - alpha) + layer * alpha, torch.from_numpy(np.array(boxes, np.float32)).to(images)


def _places(found: Candidates) -> Float32Array:
    """Return (b, 4) the box of each image's strongest candidate, at least 8 pixels wide and high."""
    best = found.logit.detach().argmax(1)
    boxes: Float32Array = found.xyxy.detach()[torch.arange(len(best)), best].float().cpu().numpy().copy()
    boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 8)
    return boxes


def _heard(found: Candidates, canaries: torch.Tensor) -> torch.Tensor:
    """Return (b, 1) the best logit of a candidate that overlaps the canary; -10 if there is none."""
    low = torch.maximum(found.xyxy[..., :2], canaries[:, None, :2])
    high = torch.minimum(found.xyxy[..., 2:], canaries[:, None, 2:])
    common = (high - low).clamp_min(0).prod(2)
    both = (found.xyxy[..., 2:] - found.xyxy[..., :2]).clamp_min(0).prod(2)
    own = (canaries[:, 2:] - canaries[:, :2]).prod(1)[:, None]
    near = common / (both + own - common).clamp_min(1e-6) >= HEARD
    return found.logit.masked_fill(~near, -10.0).amax(1, keepdim=True)


def _scaled(cutout: Cutout, width: int, height: int) -> tuple[Float32Array, Float32Array]:
    pixels = cv2.resize(cutout.pixels, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    alpha = cv2.resize(cutout.alpha, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)), alpha[None]
