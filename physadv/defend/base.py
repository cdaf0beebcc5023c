"""What every defence does: it wraps a detector into a detector, and an attacked detector into an attacked detector."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import ClassVar, Generic, TypeVar

import numpy as np

from physadv.detect.base import WrappedDetector
from physadv.detect.gradients import WrappedGradient
from physadv.settings import Settings
from physadv.types import Detections, Detector, Frame, GradientDetector, UInt8Array

D_co = TypeVar("D_co", bound="Defence", covariant=True)


class Defence(Settings):
    """A defence is its parameters; `guard` gives the defended detector.

    name: its key in the registry. title: what it does, in one line. cost: what it takes beyond the detector's own pass at
    the default parameters; milliseconds as in docs/defences.md, at 416 px on one CPU core. paper: where it comes from.
    certifies: whether it proves anything. Instances are immutable, so one may guard many detectors; all state lives in what
    `guard` returns.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    cost: ClassVar[str]
    paper: ClassVar[str]
    certifies: ClassVar[bool] = False
    # Whether it draws at random: equal images then get unequal answers, about which no certificate can speak.
    random: ClassVar[bool] = False
    # Below 1 it changes images, from 1 on it compares answers: a pipeline puts what changes images nearest the network.
    order: ClassVar[int] = 0
    # Whether it needs a sequence of frames: its twin is the bare detector, since attacks train on single images.
    over_time: ClassVar[bool] = False

    @abstractmethod
    def guard(self, detector: Detector) -> Detector:
        """Return the defended detector."""

    @abstractmethod
    def twin(self, detector: GradientDetector) -> GradientDetector:
        """Return the differentiable twin, exact or by BPDA, through which an adaptive attacker trains."""

    def at_size(self, imgsz: int) -> Defence:
        """Return the defence as it works on a detector's input of that long side: itself, unless that decides anything."""
        return self

    def weights_path(self) -> Path | None:
        """Return the weights file of the network that the defence carries, or None if it carries none."""
        return None


class Twin(WrappedGradient):
    """An attacked detector behind a defence: takes the images that the detector takes, and draws as the defence does.

    seed: where its random draws begin; None for the system's own.
    """

    def __init__(self, inner: GradientDetector, *, seed: int | None = 0) -> None:
        super().__init__(inner)
        self._seed = seed
        self._rng = np.random.default_rng(seed)

    def reseed(self, seed: tuple[int, ...]) -> None:
        """Restart all random draws, here and further in: equal seeds give equal draws, whatever was drawn before."""
        own = () if self._seed is None else (self._seed,)
        self._rng = np.random.default_rng([*seed, *own])
        self.inner.reseed((*seed, 1))


class Guarded(WrappedDetector, ABC, Generic[D_co]):
    """A detector behind a defence: a detector again, which measures what the defence costs.

    Subclasses write `respond` (and `respond_batch`, if images can go in together) and reach the detector through `ask`
    and `ask_batch`. cost_ms: milliseconds an image that the last call took beyond one plain pass of the bare detector,
    the costs of defences further in included; further passes a defence asks for are part of its price.
    """

    def __init__(self, defence: D_co, inner: Detector) -> None:
        super().__init__(inner)
        self.defence = defence
        self.deterministic = inner.deterministic and not defence.random
        self._asked_s = 0.0
        self._asked = 0

    @property
    def claim(self) -> str:
        """Return what is proven of the last image, in one sentence for people; "" without a certificate."""
        return ""

    def ahead(self, frame: Frame) -> Frame | None:
        """Return what the detector will be asked about a frame that comes soon, or None if that cannot be said before.

        It may be called on another thread than `detect`, which then asks about this very object.
        """
        return None

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

    def ask(self, frame: Frame) -> Detections:
        """Return the inner detector's answer; its time is measured apart from the defence's own."""
        start = perf_counter()
        out = self.inner.detect(frame)
        self._asked_s += perf_counter() - start
        self._asked += 1
        return out

    def ask_batch(self, images: Sequence[UInt8Array]) -> list[Detections]:
        """Return the inner detector's answers for several images of one size in one pass."""
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
        within = self.inner.cost_ms if self._asked else 0.0
        self.cost_ms = max(total - plain, 0.0) / images * 1000 + within


class Watching(Guarded[D_co]):
    """A guard that compares answers, and changes no image on the way to the detector.

    plain: the detector that further views go to: the network and what changes images, nothing that watches answers.
    """

    def __init__(self, defence: D_co, inner: Detector) -> None:
        super().__init__(defence, inner)
        self.plain: Detector = inner.plain if isinstance(inner, Watching) else inner
