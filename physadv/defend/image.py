"""Defences that change the image before the detector sees it: one guard and one twin for all of them."""

from __future__ import annotations

from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import ClassVar, NamedTuple

import cv2
import numpy as np
import torch
from pydantic import Field

from physadv.arrays import to_image, to_tensor
from physadv.boxes import Letterbox, coverage, iou
from physadv.defend.base import Defence, Guarded, Twin
from physadv.defend.geometry import Affine, boxes_back, boxes_through, compose, inverse, points_through, scaling
from physadv.detect.gradients import joined
from physadv.simulate.joints import MIRRORED
from physadv.types import Alert, Candidates, Detections, Detector, Frame, GradientDetector, UInt8Array

# From this overlap on two boxes are one person; from this share of its area on a box is part of a larger one.
SAME = 0.55
PART = 0.75
# A box with this score explains the parts of it that the other view shows.
SURE = 0.25
PLAIN = "where the image was changed, ask about the unchanged one too, and report people that either shows"
# What `plain` costs.
ONCE_MORE = "1 more pass where it changed the image"


# Views of frames to come that are kept.
MADE_AHEAD = 4


@dataclass(frozen=True, slots=True, eq=False)
class ImageView:
    """An image as the detector is given it.

    pixels: (h, w, 3) uint8 RGB. forward: affine from the given image's pixels to these; None where they coincide. alerts:
    what the defence did, boxes in pixels of the given image. changed: False if no pixel was changed.
    """

    pixels: UInt8Array
    forward: Affine | None = None
    alerts: tuple[Alert, ...] = ()
    changed: bool = True


class MadeView(NamedTuple):
    """A view of a frame, the frame with its pixels, and the seconds that it took."""

    view: ImageView
    asked: Frame
    took_s: float


class ImageDefence(Defence):
    """A defence that is a function of one image.

    Unless `full_size` is set it works on the frame as the network scales it: the network gets the same input for less work.
    """

    full_size: ClassVar[bool] = False
    # Whether a view depends on the image alone: not on chance, earlier images or the detector. It may be made ahead.
    of_image_alone: ClassVar[bool] = False
    plain: bool = Field(default=False, description=PLAIN)

    @property
    def first_seed(self) -> int:
        """Return the seed of the random draws in a guard or twin; random defences overwrite it with theirs."""
        return 0

    @abstractmethod
    def view(self, image: UInt8Array, rng: np.random.Generator, detector: Detector) -> ImageView:
        """Return the changed image; all random draws come from `rng`. detector: the inner one, for its activation."""

    @abstractmethod
    def differentiable(self, images: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        """Return images (b, 3, h, w) in [0, 1] with the same change, in the same size, with gradients (exact or BPDA)."""

    def guard(self, detector: Detector) -> Detector:
        """Return the detector that sees changed images."""
        return ImageGuard(self, detector)

    def twin(self, detector: GradientDetector) -> GradientDetector:
        """Return the differentiable twin; it draws anew at each call, as EOT needs."""
        return ImageTwin(self, detector)


def beside_plain(defence: ImageDefence, found: Candidates, inner: GradientDetector, images: torch.Tensor) -> Candidates:
    """Return a twin's candidates, with those of the unchanged images if the defence asks about these too.

    The defence reports people that either view shows, so an attack has to hide them in both.
    """
    if not defence.plain:
        return found
    return joined([found, inner.candidates(images)])


class ImageGuard(Guarded[ImageDefence]):
    """The detector behind an `ImageDefence`: boxes and keypoints come back in frame pixels."""

    def __init__(self, defence: ImageDefence, inner: Detector) -> None:
        super().__init__(defence, inner)
        self._rng = np.random.default_rng(defence.first_seed)
        self._made: OrderedDict[Frame, MadeView] = OrderedDict()

    def ahead(self, frame: Frame) -> Frame | None:
        """Return the view that the detector will be asked about, made now, if it depends on the frame alone."""
        if not self.defence.of_image_alone or isinstance(self.inner, Guarded):
            return None
        made = self._make(frame)
        self._made[frame] = made
        while len(self._made) > MADE_AHEAD:
            self._made.popitem(last=False)
        return made.asked

    def _make(self, frame: Frame) -> MadeView:
        start = perf_counter()
        view = self.view_of_frame(frame)
        return MadeView(view, frame.with_pixels(view.pixels), perf_counter() - start)

    def reset(self) -> None:
        """Forget earlier frames; a random defence restarts its sequence."""
        super().reset()
        self._rng = np.random.default_rng(self.defence.first_seed)

    def respond(self, frame: Frame) -> Detections:
        """Return the people found in the changed image, in pixels of the frame."""
        made = self._made.pop(frame, None)
        if made is None:
            made = self._make(frame)
        else:
            # A view is the defence's own work, whenever it was done.
            self._asked_s -= made.took_s
        view = made.view
        found = back_to_frame(self.ask(made.asked), view, frame.size)
        return either(found, self.ask(frame)) if self.defence.plain and view.changed else found

    def respond_batch(self, images: Sequence[UInt8Array]) -> list[Detections]:
        """Return the people in each image; views of one size go through the network together."""
        views = [self._view(image) for image in images]
        if len({v.pixels.shape for v in views}) == 1:
            found = self.ask_batch([v.pixels for v in views])
        else:
            found = [self.ask_batch([v.pixels])[0] for v in views]
        out = [back_to_frame(d, v, (i.shape[1], i.shape[0])) for d, v, i in zip(found, views, images, strict=True)]
        again = [n for n, view in enumerate(views) if self.defence.plain and view.changed]
        for n, plain in zip(again, self.ask_batch([images[n] for n in again]) if again else [], strict=True):
            out[n] = either(out[n], plain)
        return out

    def view_of_frame(self, frame: Frame) -> ImageView:
        """Return the changed image of a frame."""
        return self._view(frame.pixels)

    def _view(self, image: UInt8Array) -> ImageView:
        return view_of(image, self.defence, self._rng, self.inner)


def view_of(image: UInt8Array, defence: ImageDefence, rng: np.random.Generator, detector: Detector) -> ImageView:
    """Return a defence's view of an image, at the size at which the defence works; `detector` is the inner one."""
    if defence.full_size:
        return defence.view(image, rng, detector)
    return at_work_size(image, detector.imgsz, lambda small: defence.view(small, rng, detector))


def at_work_size(image: UInt8Array, imgsz: int, change: Callable[[UInt8Array], ImageView]) -> ImageView:
    """Return the view that `change` gives of an image as the network scales it, in pixels of the image itself."""
    small, scale = at_network_size(image, imgsz)
    view = change(small)
    changed = view.pixels is not small
    if scale is None:
        return replace(view, changed=changed)
    undo = inverse(scale)
    alerts = tuple(_alert_through(a, undo) for a in view.alerts)
    return ImageView(view.pixels, scale if view.forward is None else compose(view.forward, scale), alerts, changed)


def at_network_size(image: UInt8Array, imgsz: int) -> tuple[UInt8Array, Affine | None]:
    """Return the image as the network scales it, and the affine from the given one; None if it has that size already."""
    height, width = image.shape[:2]
    inner = Letterbox.fit(width, height, imgsz).inner
    if inner == (width, height):
        return image, None
    small = cv2.resize(image, inner, interpolation=cv2.INTER_LINEAR)
    return np.asarray(small, np.uint8), scaling(inner[0] / width, inner[1] / height)


def back_to_frame(found: Detections, view: ImageView, frame_size: tuple[int, int]) -> Detections:
    """Return the answer for a view in pixels of the frame, boxes clipped to it.

    Left and right keypoints of a mirrored view are exchanged. `seen` and `to_seen` are filled in.
    """
    forward = view.forward
    xyxy, keypoints, alerts = found.xyxy, found.keypoints, found.alerts
    if forward is not None:
        undo = inverse(forward)
        xyxy = boxes_back(forward, xyxy)
        limit = np.array(frame_size * 2, np.float32)
        xyxy = np.clip(xyxy, 0, limit).astype(np.float32)
        alerts = tuple(_alert_through(a, undo) for a in alerts)
        if keypoints is not None:
            keypoints = points_through(undo, keypoints)
            if np.linalg.det(forward[:, :2]) < 0:
                keypoints = keypoints[:, list(MIRRORED)]
    seen = view.pixels if found.seen is None else found.seen
    to_seen = (
        found.to_seen if forward is None else forward if found.to_seen is None else compose(found.to_seen, forward)
    )
    return replace(found, xyxy=xyxy, keypoints=keypoints, alerts=(*view.alerts, *alerts), seen=seen, to_seen=to_seen)


def _alert_through(alert: Alert, affine: Affine) -> Alert:
    if alert.xyxy is None:
        return alert
    x1, y1, x2, y2 = boxes_through(affine, np.array([alert.xyxy], np.float32))[0].tolist()
    return replace(alert, xyxy=(x1, y1, x2, y2))


class ImageTwin(Twin):
    """The attacked detector behind an `ImageDefence` that moves no pixels."""

    def __init__(self, defence: ImageDefence, inner: GradientDetector) -> None:
        super().__init__(inner, seed=defence.first_seed)
        self.defence = defence

    def candidates(self, images: torch.Tensor) -> Candidates:
        """Return the candidates of the defended images, with gradients to the given images."""
        found = self.inner.candidates(self.defence.differentiable(images, self._rng))
        return beside_plain(self.defence, found, self.inner, images)


def straight_through(images: torch.Tensor, change: Callable[[UInt8Array], UInt8Array]) -> torch.Tensor:
    """Return each image changed by `change` in 8 bit, with the gradient of the identity (BPDA).

    Source: Athalye, Carlini, Wagner, "Obfuscated gradients give a false sense of security" (2018): BPDA.
    """
    with torch.no_grad():
        changed = torch.stack([to_tensor(change(to_image(image))) for image in images]).to(images)
    return images + (changed - images).detach()


def either(defended: Detections, plain: Detections) -> Detections:
    """Return the people of two answers for one frame, each once, with the better score and its box.

    A plain box inside a defended box with score `SURE` or more is left out: half-hidden people show as such parts. The
    alerts are those of both answers, `seen` is that of the defended one.
    """
    whole = defended.keypoints is not None and plain.keypoints is not None
    xyxy, score = defended.xyxy.copy(), defended.score.copy()
    points = None if not whole or defended.keypoints is None else defended.keypoints.copy()
    overlap = iou(plain.xyxy, defended.xyxy)
    inside = coverage(plain.xyxy, defended.xyxy)
    inside = np.where(defended.score[None] >= SURE, inside, 0)
    taken = np.zeros(len(score), bool)
    added = []
    for one in range(len(plain)):
        free = np.where(taken, 0, overlap[one])
        at = int(free.argmax()) if len(score) else -1
        if at >= 0 and free[at] >= SAME:
            taken[at] = True
            if plain.score[one] > score[at]:
                xyxy[at], score[at] = plain.xyxy[one], plain.score[one]
                if points is not None and plain.keypoints is not None:
                    points[at] = plain.keypoints[one]
        elif not inside[one].max(initial=0) >= PART:
            added.append(one)
    xyxy = np.concatenate([xyxy, plain.xyxy[added]]).astype(np.float32)
    score = np.concatenate([score, plain.score[added]]).astype(np.float32)
    if points is not None and plain.keypoints is not None:
        points = np.concatenate([points, plain.keypoints[added]]).astype(np.float32)
    order = np.argsort(-score, kind="stable")
    return replace(
        defended,
        xyxy=xyxy[order],
        score=score[order],
        keypoints=None if points is None else points[order],
        alerts=(*defended.alerts, *plain.alerts),
        held=None,
        certified=None,
        track=None,
    )
