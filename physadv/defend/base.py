"""The seam of every defence: it wraps a detector into a detector, and an attacked detector into an attacked detector."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from physadv.settings import Settings
from physadv.types import Detector, GradientDetector


class Defence(Settings):
    """A defence is its parameters; `guard` gives the defended detector.

    name: its key in the registry. title: one line for the page. paper: where it comes from. Instances are immutable, so
    one may guard many detectors; all state lives in what `guard` returns.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    paper: ClassVar[str]
    # Below 1 it changes the picture, from 1 on it watches answers: `pipeline` puts the picture's side nearest the network.
    order: ClassVar[int] = 0

    @abstractmethod
    def guard(self, detector: Detector) -> Detector:
        """Return the defended detector."""

    @abstractmethod
    def twin(self, detector: GradientDetector) -> GradientDetector:
        """Return the differentiable twin, exact or by BPDA, through which an adaptive attacker trains."""
