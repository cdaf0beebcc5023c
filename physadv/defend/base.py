"""The seam of every defence: it wraps a detector into a detector, and an attacked detector into an attacked detector."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from time import perf_counter
from typing import ClassVar

import numpy as np
import torch

from physadv.detect.attacked import device_of, precision_of, reseed, stride_of
from physadv.settings import Settings
from physadv.types import Candidates, Detections, Detector, Frame, GradientDetector, UInt8Array


def forget(detector: Detector) -> None:
    """Make a detector forget everything that came from earlier frames, if it keeps anything."""
    reset = getattr(detector, "reset", None)
    if reset is not None:
        reset()


class Defence(Settings):
    """A defence is its parameters; `guard` gives the defended detector.

    name: its key in the registry. title: what it does, in one line. cost: what it takes beyond the detector's own pass, at
    the parameters as they are; milliseconds as in docs/defences.md, at 416 px on one CPU core. paper: where it comes from.
    certifies: whether it proves anything of anybody. Instances are immutable, so one may guard many detectors; all state
    lives in what `guard` returns.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    cost: ClassVar[str]
    paper: ClassVar[str]
    certifies: ClassVar[bool] = False
    # Below 1 it changes the image, from 1 on it watches answers: a pipeline puts the image's side nearest the network.
    order: ClassVar[int] = 0
    # Whether it works from image to image alone: on single ones, on which attacks train, its twin is the bare detector.
    over_time: ClassVar[bool] = False

    @abstractmethod
    def guard(self, detector: Detector) -> Detector:
        """Return the defended detector."""

    @abstractmethod
    def twin(self, detector: GradientDetector) -> GradientDetector:
        """Return the differentiable twin, exact or by BPDA, through which an adaptive attacker trains."""


class Twin(ABC):
    """An attacked detector behind a defence: takes the images that the detector takes, and keeps the defence's chance.

    seed: where that chance begins; None for the system's own.
    """

    def __init__(self, inner: GradientDetector, *, seed: int | None = 0) -> None:
        self.inner = inner
        self.name = inner.name
        self._seed = seed
        self._rng = np.random.default_rng(seed)

    @property
    def device(self) -> torch.device:
        """Return the device of the detector within."""
        return device_of(self.inner)

    @property
    def precision(self) -> str:
        """Return what the detector within computes in."""
        return precision_of(self.inner)

    @property
    def stride(self) -> int:
        """Return the pixels of which the sides of images must be multiples."""
        return stride_of(self.inner)

    def reseed(self, seed: tuple[int, ...]) -> None:
        """Start all chance anew, here and further in: the same seed gives the same draws, whatever was drawn before."""
        own = () if self._seed is None else (self._seed,)
        self._rng = np.random.default_rng([*seed, *own])
        reseed(self.inner, (*seed, 1))

    @abstractmethod
    def candidates(self, images: torch.Tensor) -> Candidates:
        """Return candidates for images (b, 3, h, w) in [0, 1], RGB, h and w multiples of `stride`."""


class Guarded(ABC):
    """A detector behind a defence: answers as the detector does, and keeps account of what the defence costs.

    Subclasses write `respond` (and `respond_batch`, if images can go in together) and reach the detector through `ask`
    and `ask_batch`. cost_ms: milliseconds an image that the last call took beyond one plain pass of the bare detector,
    the costs of defences further in included; further passes a defence asks for are part of its price.
    """

    def __init__(self, inner: Detector) -> None:
        self.inner = inner
        self.name = inner.name
        self.backend = inner.backend
        self.precision = inner.precision
        self.min_conf = inner.min_conf
        self.cost_ms = 0.0
        self._asked_s = 0.0
        self._asked = 0

    @property
    def imgsz(self) -> int:
        """Return the long side in pixels that the network scales images to; 640 where the detector does not say."""
        return int(getattr(self.inner, "imgsz", 640))

    @abstractmethod
    def respond(self, frame: Frame) -> Detections:
        """Return the defended answer for one frame."""

    def respond_batch(self, images: Sequence[UInt8Array]) -> list[Detections]:
        """Return the defended answer for each image on its own, without memory from one to the next."""
        return [self.respond(Frame(image, i, 0, 0.0)) for i, image in enumerate(images)]

    def detect(self, frame: Frame) -> Detections:
        """Return the defended answer for one frame, boxes in its own pixels."""
        start = self._begin()
        out = self.respond(frame)
        self._end(start, 1)
        return out

    def detect_batch(self, images: Sequence[UInt8Array]) -> list[Detections]:
        """Return the defended answer for each (h, w, 3) uint8 RGB image of one common size."""
        if not images:
            return []
        start = self._begin()
        out = self.respond_batch(images)
        self._end(start, len(images))
        return out

    def reset(self) -> None:
        """Forget everything that came from earlier frames, here and further in."""
        forget(self.inner)

    def ask(self, frame: Frame) -> Detections:
        """Return what the detector within says, its time kept apart from the defence's own."""
        start = perf_counter()
        out = self.inner.detect(frame)
        self._asked_s += perf_counter() - start
        self._asked += 1
        return out

    def ask_batch(self, images: Sequence[UInt8Array]) -> list[Detections]:
        """Return what the detector within says of several images of one size in one pass."""
        start = perf_counter()
        out = self.inner.detect_batch(images)
        self._asked_s += perf_counter() - start
        self._asked += len(images)
        return out

    def _begin(self) -> float:
        self._asked_s, self._asked = 0.0, 0
        return perf_counter()

    def _end(self, start: float, images: int) -> None:
        total = perf_counter() - start
        plain = self._asked_s * images / self._asked if self._asked else 0.0
        within = float(getattr(self.inner, "cost_ms", 0.0)) if self._asked else 0.0
        self.cost_ms = max(total - plain, 0.0) / images * 1000 + within
