"""Defences that change the image before the detector sees it: one guard and one twin for all of them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import cv2
import numpy as np
import torch
from pydantic import Field

from physadv.arrays import to_image, to_tensor
from physadv.defend.base import Defence, Guarded, Twin
from physadv.defend.either import either
from physadv.defend.geometry import Affine, boxes_back, boxes_through, compose, inverse, points_through, scaling
from physadv.detect.boxes import Letterbox
from physadv.detect.gradients import joined
from physadv.simulate.placement import MIRRORED
from physadv.types import Alert, Candidates, Detections, Detector, Frame, GradientDetector, UInt8Array


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """An image as the detector will be given it.

    pixels: (h, w, 3) uint8 RGB. forward: affine from the pixels that came to these, or None where they coincide.
    alerts: what the defence did, boxes in the pixels that came. changed: False where it left every pixel as it was.
    """

    pixels: UInt8Array
    forward: Affine | None = None
    alerts: tuple[Alert, ...] = ()
    changed: bool = True


PLAIN = "look at the unchanged image too, where it was changed, and report whom either shows"
# What that costs.
ONCE_MORE = "1 more pass where it changed the image"


class ImageDefence(Defence):
    """A defence that is a function of one image.

    Unless `full_size` is set it works on the frame scaled as the network will scale it: the same answer for the network,
    for less work on a large frame.
    """

    full_size: ClassVar[bool] = False
    plain: bool = Field(default=False, description=PLAIN)

    @property
    def first_seed(self) -> int:
        """Return the seed with which the random draws of a guard or twin begin; random defences say theirs."""
        return 0

    @abstractmethod
    def view(self, image: UInt8Array, rng: np.random.Generator, detector: Detector) -> View:
        """Return the changed image; all chance comes from `rng`. detector: the one within, for its attention."""

    @abstractmethod
    def differentiable(self, images: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        """Return images (b, 3, h, w) in [0, 1] changed alike and of the same size, with gradients (exact or BPDA)."""

    def guard(self, detector: Detector) -> Detector:
        """Return the detector that sees changed images."""
        return ImageGuard(self, detector)

    def twin(self, detector: GradientDetector) -> GradientDetector:
        """Return the differentiable twin; chance is drawn anew at each call, as EOT needs."""
        return ImageTwin(self, detector)


def beside_plain(defence: ImageDefence, found: Candidates, inner: GradientDetector, images: torch.Tensor) -> Candidates:
    """Return a twin's candidates, with those of the unchanged images beside them if the defence looks at these too.

    Whoever either look shows is reported, so an attack has to silence both.
    """
    if not defence.plain:
        return found
    return joined([found, inner.candidates(images)])


class ImageGuard(Guarded[ImageDefence]):
    """The detector behind an `ImageDefence`: boxes and keypoints come back in frame pixels."""

    def __init__(self, defence: ImageDefence, inner: Detector) -> None:
        super().__init__(defence, inner)
        self._rng = np.random.default_rng(defence.first_seed)

    def reset(self) -> None:
        """Forget earlier frames; a random defence starts its sequence again."""
        super().reset()
        self._rng = np.random.default_rng(self.defence.first_seed)

    def respond(self, frame: Frame) -> Detections:
        """Return the people found in the changed image, in pixels of the frame."""
        view = self._view(frame.pixels)
        found = back_to_frame(self.ask(frame.with_pixels(view.pixels)), view, frame.size)
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

    def _view(self, image: UInt8Array) -> View:
        if self.defence.full_size:
            return self.defence.view(image, self._rng, self.inner)
        small, scale = at_network_size(image, self.imgsz)
        view = self.defence.view(small, self._rng, self.inner)
        changed = view.pixels is not small
        if scale is None:
            return replace(view, changed=changed)
        undo = inverse(scale)
        alerts = tuple(_alert_through(a, undo) for a in view.alerts)
        return View(view.pixels, scale if view.forward is None else compose(view.forward, scale), alerts, changed)


def at_network_size(image: UInt8Array, imgsz: int) -> tuple[UInt8Array, Affine | None]:
    """Return the image scaled as the network would scale it, and the affine that did, or None if it was that size."""
    height, width = image.shape[:2]
    inner = Letterbox.fit(width, height, imgsz).inner
    if inner == (width, height):
        return image, None
    small = cv2.resize(image, inner, interpolation=cv2.INTER_LINEAR)
    return np.asarray(small, np.uint8), scaling(inner[0] / width, inner[1] / height)


def back_to_frame(found: Detections, view: View, frame_size: tuple[int, int]) -> Detections:
    """Return an answer given for a view in the pixels of the image that came; boxes are clipped to it.

    Keypoints of a mirrored view exchange left and right. The image seen and its affine are carried along.
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
    """The attacked detector behind an `ImageDefence` that keeps the image's geometry."""

    def __init__(self, defence: ImageDefence, inner: GradientDetector) -> None:
        super().__init__(inner, seed=defence.first_seed)
        self.defence = defence

    def candidates(self, images: torch.Tensor) -> Candidates:
        """Return what the detector thinks of the defended images, with gradients to the images given."""
        found = self.inner.candidates(self.defence.differentiable(images, self._rng))
        return beside_plain(self.defence, found, self.inner, images)


def straight_through(images: torch.Tensor, change: Callable[[UInt8Array], UInt8Array]) -> torch.Tensor:
    """Return each image changed by `change` in 8 bit, with the gradient of the identity.

    Source: Athalye, Carlini, Wagner, "Obfuscated gradients give a false sense of security" (2018): BPDA.
    """
    with torch.no_grad():
        changed = torch.stack([to_tensor(change(to_image(image))) for image in images]).to(images)
    return images + (changed - images).detach()
