"""Local against global: people that crops, the mirror image, other scales or turns show and the whole image does not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np
import torch
from pydantic import Field

from physadv.boxes import corners, covered_by, iou
from physadv.defend.base import Defence, Twin, Watching
from physadv.defend.geometry import (
    Affine,
    boxes_back,
    boxes_through,
    compose,
    inverse,
    points_through,
    scaling,
    shift,
    turn,
    warp,
    warp_tensor,
)
from physadv.defend.rolling import RollingViews
from physadv.detect.gradients import joined, parted
from physadv.simulate.joints import MIRRORED
from physadv.types import Alert, Candidates, Detections, Detector, Float32Array, Frame, GradientDetector, UInt8Array

# A crop shows this part of the image's width and height, enlarged to the whole.
CROP = 0.65
SMALLER = 0.7
DEGREES = 12.0
# Overlap from which boxes of two views are one person; share of a box that the whole image must cover to explain it.
SAME = 0.4
EXPLAINED = 0.5


class Consistency(Defence):
    """Alerts about people found in some views of an image but not in the whole, and with `restore` reports them.

    conf: score from which a view's people count. whole_conf: score from which the whole image's people explain them.
    agree: views that must show the person. smallest: least height of a person as a fraction of the image's, since
    enlarging finds small people without any attack. per_frame: views a frame in live use; 0 asks all eight each frame.

    A strong pattern hides its wearer in every view: 2 of 35 hidden people were found (docs/defences.md).
    """

    name: ClassVar[str] = "consistency"
    title: ClassVar[str] = "crops, mirror, scales and turns must show the same people as the whole"
    cost: ClassVar[str] = "2 more passes a frame live, 8 a photograph"
    paper: ClassVar[str] = "after Xiang and Mittal, DetectorGuard, CCS 2021"
    order: ClassVar[int] = 2

    conf: float = Field(default=0.6, gt=0, lt=1, description="score from which a view's people count")
    whole_conf: float = Field(default=0.25, gt=0, lt=1, description="score from which the whole's people explain them")
    agree: int = Field(default=2, ge=1, le=8, description="views that must show the person")
    smallest: float = Field(default=0.2, ge=0, lt=1, description="least height of a person, fraction of the image")
    restore: bool = Field(default=True, description="report these people as found (held)")
    per_frame: int = Field(default=2, ge=0, le=8, description="views a frame in live use; 0: all")

    def guard(self, detector: Detector) -> Detector:
        """Return the detector that compares views."""
        return ConsistencyGuard(self, detector)

    def twin(self, detector: GradientDetector) -> GradientDetector:
        """Return the twin: candidates of the whole image and of two views drawn at each call, with exact gradients."""
        return ConsistencyTwin(detector)


def views(width: int, height: int) -> list[tuple[str, Affine]]:
    """Return the name of each view and its affine from the image. All views have the image's size."""
    middle, back = shift(-width / 2, -height / 2), shift(width / 2, height / 2)
    about = [
        ("mirrored", compose(shift(width, 0), scaling(-1, 1))),
        ("smaller", compose(back, compose(scaling(SMALLER, SMALLER), middle))),
        ("turned left", compose(back, compose(turn(DEGREES), middle))),
        ("turned right", compose(back, compose(turn(-DEGREES), middle))),
    ]
    enlarge = scaling(1 / CROP, 1 / CROP)
    rest = (1 - CROP) * width, (1 - CROP) * height
    crops = [
        (f"{v} {h} part", compose(enlarge, shift(-x * rest[0], -y * rest[1])))
        for v, y in (("upper", 0.0), ("lower", 1.0))
        for h, x in (("left", 0.0), ("right", 1.0))
    ]
    # Crops and whole views alternate, so that any few views in a row differ in kind.
    return [v for pair in zip(about, crops, strict=True) for v in pair]


class ConsistencyGuard(Watching[Consistency]):
    """The detector that compares its answers to several views."""

    def __init__(self, defence: Consistency, inner: Detector) -> None:
        super().__init__(defence, inner)
        self._rolling = RollingViews(8)

    def reset(self) -> None:
        """Forget what earlier frames showed."""
        super().reset()
        self._rolling.clear()

    def respond(self, frame: Frame) -> Detections:
        """Return the people of the frame and alerts about people that only views show, who are held with `restore`."""
        whole = self.ask(frame)
        if self.defence.per_frame == 0:
            return self._compare(whole, self._look(frame.pixels, range(8)), frame.size[1])
        rolling = self._rolling
        rolling.begin(frame.pixels)
        chosen = rolling.choose(self.defence.per_frame, self._unexplained(whole))
        for view, people in zip(chosen, self._look(frame.pixels, chosen), strict=True):
            rolling.keep(view, people)
        current = [
            p.people.pick(rolling.standing(v, p.people.xyxy)) for v, p in enumerate(rolling.answers) if p is not None
        ]
        return self._compare(whole, current, frame.size[1])

    def respond_batch(self, images: Sequence[UInt8Array]) -> list[Detections]:
        """Return the same for images that are no sequence: all views of each are asked."""
        whole = self.ask_batch(images)
        return [self._compare(w, self._look(i, range(8)), i.shape[0]) for w, i in zip(whole, images, strict=True)]

    def _look(self, image: UInt8Array, chosen: Sequence[int]) -> list[Detections]:
        """Return the people of some views in pixels of the image, as far as they score `conf` and are high enough."""
        height, width = image.shape[:2]
        every = views(width, height)
        out = []
        found = self.plain.detect_batch([warp(image, every[v][1], (width, height)) for v in chosen])
        for view, people in zip(chosen, found, strict=True):
            name, forward = every[view]
            people = people.pick(people.score >= self.defence.conf)
            xyxy = boxes_back(forward, people.xyxy)
            points = None if people.keypoints is None else points_through(inverse(forward), people.keypoints)
            if points is not None and name == "mirrored":
                points = points[:, MIRRORED]
            tall = xyxy[:, 3] - xyxy[:, 1] >= self.defence.smallest * height
            out.append(Detections(_clip(xyxy, width, height), people.score, points).pick(tall))
        return out

    def _unexplained(self, whole: Detections) -> list[int]:
        known = [(v, p.people.xyxy) for v, p in enumerate(self._rolling.answers) if p is not None]
        return [v for v, boxes in known if len(self._absent(whole, boxes))]

    def _absent(self, whole: Detections, boxes: Float32Array) -> list[int]:
        known = whole.above(self.defence.whole_conf).xyxy
        return [int(i) for i in np.flatnonzero(covered_by(boxes, known) < EXPLAINED)]

    def _compare(self, whole: Detections, parts: Sequence[Detections], height: int) -> Detections:
        absent = [p.pick(np.array(self._absent(whole, p.xyxy), np.intp)) for p in parts]
        absent = [a for a in absent if len(a)]
        for part in sorted(absent, key=lambda d: -float(d.score[0])):
            for i in range(len(part)):
                box = part.xyxy[i : i + 1]
                shown = sum(bool((iou(box, other.xyxy) >= SAME).any()) for other in absent)
                reported = np.array([a.xyxy for a in whole.alerts if a.kind == "inconsistent"], np.float32).reshape(
                    -1, 4
                )
                if shown < self.defence.agree or (len(reported) and iou(box, reported).max() >= SAME):
                    continue
                if self.defence.restore:
                    points = None if part.keypoints is None else part.keypoints[i : i + 1]
                    whole, _ = whole.with_held(box, part.score[i : i + 1], points)
                text = f"{shown} views of the image show a person here, the image as a whole does not"
                whole = replace(whole, alerts=(*whole.alerts, Alert("inconsistent", text, corners(box[0]))))
        return whole


def _clip(xyxy: Float32Array, width: int, height: int) -> Float32Array:
    return np.clip(xyxy, 0, np.array([width, height, width, height], np.float32)).astype(np.float32)


class ConsistencyTwin(Twin):
    """An attacked detector that lists the candidates of the whole image and of two views, in pixels of the image."""

    def candidates(self, images: torch.Tensor) -> Candidates:
        """Return candidates for images (b, 3, h, w) in [0, 1], RGB, h and w multiples of `stride`."""
        height, width = images.shape[2:]
        every = views(width, height)
        drawn = [every[i][1] for i in self._rng.choice(len(every), 2, replace=False)]
        stack = torch.cat([images, *(warp_tensor(images, f, (width, height)) for f in drawn)])
        whole, *others = parted(self.inner.candidates(stack), 3)
        back = [replace(c, xyxy=_boxes_through(inverse(f), c.xyxy)) for f, c in zip(drawn, others, strict=True)]
        return joined([whole, *back])


def _boxes_through(affine: Affine, xyxy: torch.Tensor) -> torch.Tensor:
    """Return (b, a, 4) upright boxes around the mapped boxes, without gradients: an attack needs those of the logits."""
    flat: Float32Array = xyxy.detach().reshape(-1, 4).float().cpu().numpy()
    return torch.from_numpy(boxes_through(affine, flat)).to(xyxy).reshape(xyxy.shape)
