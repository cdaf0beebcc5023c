"""Averaging and voting: the detector's answers to several transformed images are merged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from pydantic import Field, field_validator, model_validator

from physadv.boxes import iou
from physadv.defend.base import Defence, Guarded, Twin
from physadv.defend.image import ImageDefence, ImageView, at_network_size, back_to_frame, view_of
from physadv.defend.transforms import OLDEST, BitDepth, Brightness, Flip, Jpeg, Median, Rotate, Stretch
from physadv.detect.gradients import joined
from physadv.types import Candidates, Detections, Detector, Float32Array, Frame, GradientDetector, UInt8Array

VIEWS: dict[str, ImageDefence | None] = {
    "plain": None,
    "flip": Flip(plain=False),
    "stretch": Stretch(plain=False),
    "rotate": Rotate(),
    "turn": Rotate(degrees=-8),
    "bright": Brightness(),
    "dark": Brightness(gain=0.7),
    "jpeg": Jpeg(plain=False),
    "median": Median(size=5, plain=False),
    "bit-depth": BitDepth(),
}


class Vote(Defence):
    """Several views of one image, merged by the mean of their scores, or by the score that enough of them reach."""

    name = "vote"
    title = "several transformed views, answers merged"
    cost = "3 more passes"
    paper = f"{OLDEST}; merging after Solovyev et al., 'Weighted boxes fusion' (2021)"
    views: str = Field(default="plain+flip+bright+median", description=f"names joined by +, of {', '.join(VIEWS)}")
    merge: Literal["mean", "vote"] = Field(
        "vote", description="mean of all scores, or the score that `agree` views reach"
    )
    agree: int = Field(default=1, ge=1, le=10, description="with vote: how many views must see a person; 1: any")
    overlap: float = Field(default=0.55, ge=0.3, le=0.9, description="IoU from which boxes of two views are one person")

    @field_validator("views")
    @classmethod
    def _known(cls, views: str) -> str:
        names = views.split("+")
        unknown = [n for n in names if n not in VIEWS]
        if unknown:
            raise ValueError(f"expected names of {', '.join(VIEWS)} joined by +, got {unknown[0]!r}")
        if len(names) < 2 or len(set(names)) != len(names):
            raise ValueError("expected two different views or more")
        return views

    @model_validator(mode="after")
    def _enough(self) -> Vote:
        if self.merge == "vote" and self.agree > len(self.names):
            raise ValueError(f"agree: expected at most {len(self.names)}, one for each view, got {self.agree}")
        return self

    @property
    def names(self) -> list[str]:
        """Return the names of the views."""
        return self.views.split("+")

    def guard(self, detector: Detector) -> Detector:
        """Return the detector that votes."""
        return VoteGuard(self, detector)

    def twin(self, detector: GradientDetector) -> GradientDetector:
        """Return the twin: candidates of all views side by side, since an attack has to lower all of them."""
        return VoteTwin(self, detector)


class VoteGuard(Guarded[Vote]):
    """The detector asked once for each view."""

    def __init__(self, defence: Vote, inner: Detector) -> None:
        super().__init__(defence, inner)
        # No view draws at random, but `view` takes a generator.
        self._rng = np.random.default_rng(0)

    def respond(self, frame: Frame) -> Detections:
        """Return the merged answer, boxes in frame pixels."""
        return self.respond_batch([frame.pixels])[0]

    def respond_batch(self, images: Sequence[UInt8Array]) -> list[Detections]:
        """Return the merged answer for each image; views of one size share a pass."""
        views = [[self._view(image, name) for name in self.defence.names] for image in images]
        flat = [v for each in views for v in each]
        found: list[Detections | None] = [None] * len(flat)
        shapes = [v.pixels.shape for v in flat]
        for shape in dict.fromkeys(shapes):
            index = [i for i, s in enumerate(shapes) if s == shape]
            for i, d in zip(index, self.ask_batch([flat[i].pixels for i in index]), strict=True):
                found[i] = d
        count = len(self.defence.names)
        out = []
        for n, image in enumerate(images):
            size = (image.shape[1], image.shape[0])
            part = [
                back_to_frame(d, v, size)
                for d, v in zip(found[n * count : (n + 1) * count], views[n], strict=True)
                if d is not None
            ]
            out.append(self._merged(part))
        return out

    def _view(self, image: UInt8Array, name: str) -> ImageView:
        transform = VIEWS[name]
        if transform is None:
            return ImageView(*at_network_size(image, self.imgsz))
        return view_of(image, transform, self._rng, self.inner)

    def _merged(self, parts: list[Detections]) -> Detections:
        agree = self.defence.agree if self.defence.merge == "vote" else None
        return fuse(parts, overlap=self.defence.overlap, agree=agree)


def fuse(parts: list[Detections], *, overlap: float, agree: int | None = None) -> Detections:
    """Return the people of several answers for one frame, each once.

    Boxes that overlap by `overlap` or more become one, the mean weighted by score, at most one from each answer. Its score
    is the mean over all answers (0 where it is missing) or, with `agree`, the score that so many answers reach. Keypoints
    are those of the best box. Alerts of all answers are kept.
    """
    xyxy = np.concatenate([p.xyxy for p in parts])
    score = np.concatenate([p.score for p in parts])
    owner = np.concatenate([np.full(len(p), i) for i, p in enumerate(parts)])
    whole = all(p.keypoints is not None for p in parts)
    keypoints = np.concatenate([p.keypoints for p in parts if p.keypoints is not None]) if whole else None
    overlaps = iou(xyxy, xyxy)
    free = np.ones(len(score), bool)
    boxes: list[Float32Array] = []
    scores: list[float] = []
    best: list[int] = []
    for lead in np.argsort(-score, kind="stable"):
        if not free[lead]:
            continue
        members = []
        for answer in range(len(parts)):
            near = np.flatnonzero(free & (owner == answer) & (overlaps[lead] >= overlap))
            if len(near):
                members.append(int(near[np.argmax(overlaps[lead][near] + (near == lead))]))
        # Other boxes of the same answer stay: the detector's suppression has kept them apart.
        free[members] = False
        reached = np.sort(score[members])[::-1]
        value = (
            float(reached.sum() / len(parts))
            if agree is None
            else float(reached[agree - 1])
            if len(reached) >= agree
            else 0.0
        )
        if value <= 0:
            continue
        weight = score[members][:, None]
        boxes.append(((xyxy[members] * weight).sum(0) / weight.sum()).astype(np.float32))
        scores.append(value)
        best.append(int(lead))
    order = np.argsort(-np.array(scores), kind="stable")
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4)[order],
        np.array(scores, np.float32)[order],
        None if keypoints is None else keypoints[np.array(best, np.intp)][order],
        alerts=tuple(a for p in parts for a in p.alerts),
    )


class VoteTwin(Twin):
    """The attacked detector behind a vote."""

    def __init__(self, defence: Vote, inner: GradientDetector) -> None:
        super().__init__(inner)
        self.defence = defence

    def candidates(self, images: torch.Tensor) -> Candidates:
        """Return the candidates of every view along `a`, boxes in pixels of the given images."""
        found = []
        for name in self.defence.names:
            transform = VIEWS[name]
            twin = self.inner if transform is None else transform.twin(self.inner)
            found.append(twin.candidates(images))
        return joined(found)
