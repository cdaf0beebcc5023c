"""Half-plane masking: people are found in views that hide one half of the image, where no one patch can hide them all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np
from pydantic import Field

from physadv.boxes import corners
from physadv.defend.base import Defence, Watching
from physadv.defend.certify import PRUNE, STILL, bears, certified_by, join, refuse_random
from physadv.defend.masks import MaskedTwin, PatchSize, Where, half_planes, hide, windows
from physadv.defend.rolling import RollingViews, in_batches
from physadv.types import (
    Alert,
    BoolArray,
    Detections,
    Detector,
    Float32Array,
    Frame,
    GradientDetector,
    Int64Array,
    UInt8Array,
)

WORDS: dict[str, str] = {
    "anywhere": "anywhere in the image",
    "far": "that stays far from the person",
    "close": "close to the person but not on it",
    "over": "on the person",
}


class ObjectSeeker(Defence):
    """Half-plane masking after ObjectSeeker: adds people that masked views show, certifies those that no patch can hide.

    lines: upright lines and level lines; 4 views each. grid: besides, k x k square masks sized for the stated patch, which
    hide less and so certify more, for k * k more views; 0 for none. conf: score from which a masked view's people count;
    certificates hold for callers' thresholds up to it. whole_conf: score from which the whole image's people stand for
    masked ones. prune: share of a masked box that must be covered for it to be merged (IoA). still: share of a person's box
    that must stay covered for the person to count as found. patch: area of the certified patch, as a fraction of the
    image's, or with `of_box` of the person's box. margin: pixels by which a codec may smear the patch, on each side. where:
    the location class that is certified. per_frame: views a frame in live use; 0 asks all of them each frame.
    """

    name: ClassVar[str] = "objectseeker"
    title: ClassVar[str] = "half-plane masks: people that no one patch can hide"
    cost: ClassVar[str] = "1 more pass a frame live, 20 a photograph"
    certifies: ClassVar[bool] = True
    paper: ClassVar[str] = "Xiang et al., ObjectSeeker, IEEE S&P 2023"
    order: ClassVar[int] = 1

    lines: int = Field(default=5, ge=1, le=30, description="lines each way; each gives two masked views")
    grid: int = Field(default=0, ge=0, le=12, description="besides, k x k square masks sized for the patch")
    conf: float = Field(default=0.5, gt=0, lt=1, description="score from which people in masked views count")
    whole_conf: float = Field(
        default=0.25, gt=0, lt=1, description="score from which people of the whole cover masked ones"
    )
    prune: float = Field(default=PRUNE, gt=0, le=1, description="part of a masked box that must be covered to merge it")
    still: float = Field(
        default=STILL, ge=0, lt=1, description="part of a person that must stay covered to count as found"
    )
    patch: float = Field(default=0.01, gt=0, le=1, description="patch area certified against, as a fraction")
    of_box: bool = Field(default=False, description="the fraction is of the person's box, not of the image")
    margin: int = Field(
        default=0, ge=0, le=64, description="pixels that a lossy codec may smear the patch on each side"
    )
    where: Where = Field(
        default="anywhere", description="where the patch may be: anywhere, far, close or over the person"
    )
    per_frame: int = Field(default=1, ge=0, le=64, description="masked views a frame in live use; 0: all")

    def guard(self, detector: Detector) -> Detector:
        """Return the detector that also reports people that only masked views show.

        Raises: DefenceError if a random defence stands between it and the network.
        """
        return ObjectSeekerGuard(self, detector)

    def twin(self, detector: GradientDetector) -> GradientDetector:
        """Return the twin: candidates of the whole image and of two masked views drawn at each call, exact gradients."""
        return MaskedTwin(detector, self._masks_for_twin)

    def _masks_for_twin(self, width: int, height: int, rng: np.random.Generator) -> list[Int64Array]:
        every = self.masks(width, height)
        return [every[i : i + 1] for i in rng.choice(len(every), 2, replace=False)]

    def masks(self, width: int, height: int) -> Int64Array:
        """Return the (m, 4) masks for images of that size.

        Raises: DefenceError if the image is too small for the lines, or for the patch.
        """
        planes = half_planes(width, height, self.lines)
        if self.grid == 0:
            return planes
        return np.concatenate([planes, windows(width, height, self.patch_for(width, height), self.grid)])

    def patch_for(self, width: int, height: int, person: Float32Array | None = None) -> PatchSize:
        """Return the size of the patch for an image, or with `of_box` for a person (4,) in it.

        Raises: DefenceError if the image is smaller.
        """
        whole = float(width * height)
        if self.of_box and person is not None:
            whole = float(np.prod(np.maximum(person[2:] - person[:2], 1)))
        size = PatchSize.of_area(self.patch * whole, margin=self.margin)
        if not self.of_box:
            size.check(width, height)
        return size

    def certify(
        self, people: Float32Array, views: Sequence[Float32Array], masks: Int64Array, frame: tuple[int, int]
    ) -> BoolArray:
        """Return (n,) whether each of (n, 4) people is certified by the boxes of each masked view."""
        out = np.zeros(len(people), bool)
        # For all people at once: a detector of 300 weak candidates would make thousands of calls a frame.
        good = np.array([bears(people, v, self.still) for v in views], bool).reshape(len(views), len(people))
        for i in np.flatnonzero(good.any(0)):
            person = people[i]
            size = self.patch_for(*frame, person)
            if size.width > frame[0] or size.height > frame[1]:
                continue
            out[i] = certified_by(good[:, i], person, masks, size, frame, self.where) is True
        return out

    def claim(self, certified: int, people: int) -> str:
        """Return in one sentence how many of the reported people are certified, and what that means."""
        of = "the person's box" if self.of_box else "the image"
        how = "rolling, assumes a static scene" if self.per_frame else "this frame alone"
        proof = (
            f"no single patch of up to {self.patch * 100:.3g} % of {of}'s area, {WORDS[self.where]}, added to what is seen "
            f"here, can stop a box covering {self.still:.0%} of the person from being reported ({how})"
        )
        if certified:
            return f"{certified} of {people} {'person' if people == 1 else 'people'} certified: {proof}"
        return f"nobody in this image is certified; of somebody certified it would be proven that {proof}"


class ObjectSeekerGuard(Watching[ObjectSeeker]):
    """The detector behind half-plane masks."""

    def __init__(self, defence: ObjectSeeker, inner: Detector) -> None:
        super().__init__(defence, inner)
        refuse_random(self.plain, defence.name)
        self._claim = defence.claim(0, 0)
        self._masks = np.zeros((0, 4), np.int64)
        self._rolling = RollingViews(0)

    @property
    def claim(self) -> str:
        """Return how many of the last image's people are certified, and of what."""
        return self._claim

    def reset(self) -> None:
        """Forget what earlier frames showed."""
        super().reset()
        self._rolling.clear()

    def respond(self, frame: Frame) -> Detections:
        """Return the people of the frame and of masked views (held, with an alert), and who is certified."""
        if self.defence.per_frame == 0:
            return self._all_at_once(self.ask(frame), frame.pixels)
        self._prepare(frame)
        rolling, masks, whole = self._rolling, self._masks, self.ask(frame)
        chosen = rolling.choose(self.defence.per_frame, self._unexplained(whole))
        for view, people in zip(
            chosen, self.plain.detect_batch([hide(frame.pixels, masks[v : v + 1]) for v in chosen]), strict=True
        ):
            rolling.keep(view, people.pick(people.score >= self.defence.conf))
        views = [self._current(v) for v in range(len(masks))]
        return self._report(whole, views, masks, frame.size, rolling=True)

    def respond_batch(self, images: Sequence[UInt8Array]) -> list[Detections]:
        """Return the same for images that are no sequence: every view of each is asked."""
        return [self._all_at_once(w, i) for w, i in zip(self.ask_batch(images), images, strict=True)]

    def _all_at_once(self, whole: Detections, image: UInt8Array) -> Detections:
        size = (image.shape[1], image.shape[0])
        masks = self.defence.masks(*size)
        views = in_batches(self.plain, (hide(image, m[None]) for m in masks))
        return self._report(whole, [v.pick(v.score >= self.defence.conf) for v in views], masks, size, rolling=False)

    def _prepare(self, frame: Frame) -> None:
        if frame.size != self._rolling.size:
            self._masks = self.defence.masks(*frame.size)
            self._rolling = RollingViews(len(self._masks))
        self._rolling.begin(frame.pixels)

    def _current(self, view: int) -> Detections:
        """Return the people of a view's last answer where the scene is still the same."""
        answer = self._rolling.answers[view]
        if answer is None:
            return Detections.empty()
        return answer.people.pick(self._rolling.standing(view, answer.people.xyxy, self._masks[view]))

    def _unexplained(self, whole: Detections) -> list[int]:
        """Return the views, strongest first, that showed somebody the whole image does not, to be asked again at once."""
        scored = []
        for view, answer in enumerate(self._rolling.answers):
            if answer is None or len(answer.people) == 0:
                continue
            d = self.defence
            out, added = join(whole, [answer.people], conf=d.conf, whole_conf=d.whole_conf, prune=d.prune)
            if added.any():
                scored.append((float(out.score[added].max()), view))
        return [view for _, view in sorted(scored, reverse=True)]

    def _report(
        self, whole: Detections, views: list[Detections], masks: Int64Array, size: tuple[int, int], *, rolling: bool
    ) -> Detections:
        d = self.defence
        out, added = join(whole, views, conf=d.conf, whole_conf=d.whole_conf, prune=d.prune)
        ask = added | (out.score >= d.whole_conf)
        sure = np.zeros(len(out), bool)
        sure[ask] = d.certify(out.xyxy[ask], [v.xyxy for v in views], masks, size)
        self._claim = d.claim(int(sure.sum()), int(ask.sum()))
        how = " (rolling, assumes a static scene)" if rolling else ""
        alerts = tuple(
            Alert("uncovered", f"a person is seen only with part of the image hidden{how}", corners(box))
            for box in out.xyxy[added]
        )
        before = whole.certified is not None
        return replace(out, certified=sure | out.certified if before else sure, alerts=out.alerts + alerts)
